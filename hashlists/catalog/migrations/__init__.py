"""Alembic migrations of the catalog, applied by `hashlists.catalog.migrate`."""
