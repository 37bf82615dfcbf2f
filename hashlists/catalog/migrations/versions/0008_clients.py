"""Clients are kept in a database of their own (`hashlists.access`); this table never held one."""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drops a table."""
    op.drop_table("clients")
