"""Where objects come from: folders, buckets, inventories of buckets, and archives among objects."""
