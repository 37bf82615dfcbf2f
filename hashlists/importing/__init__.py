"""What `hashlists.importer` is made of: files, requests, the pass over the records, reports."""
