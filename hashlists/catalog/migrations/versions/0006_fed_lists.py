"""A list has one exchange at most, and an exchange may owe a fetch of everything."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from hashlists.errors import CatalogError

revision = "0006"
down_revision = "0005"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Refuses a catalog in which two exchanges fill one list, and leaves it as it is."""
    several = "SELECT COUNT(*) - COUNT(DISTINCT list_id) FROM exchanges"
    if op.get_bind().execute(sa.text(several)).scalar_one():
        raise CatalogError(
            "two exchanges fill one list, and would withdraw each other's entries; remove one of"
            " them with the Hashwarden that this catalog was last opened with: hashwarden exchanges"
            " remove NAME"
        )
    op.add_column("exchanges", sa.Column("full_due_at", _ID, nullable=True))
    op.create_index("ix_exchanges_list_id", "exchanges", ["list_id"], unique=True)
