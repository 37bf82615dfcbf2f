"""What `hashlists.inspection` is made of: findings as types, and one reading of one part."""
