"""A change holds no more counts in memory than it may: the others are kept beside its rows."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds a table."""
    op.create_table(
        "staged_counts",
        sa.Column("change_id", _ID, autoincrement=False, nullable=False),
        sa.Column("kinds", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("handling_id", _ID, autoincrement=False, nullable=False),
        sa.Column("entries", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_staged_counts_change_id")
        ),
        sa.PrimaryKeyConstraint("change_id", "kinds", "handling_id", name=op.f("pk_staged_counts")),
    )
