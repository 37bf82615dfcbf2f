"""A withdrawal keeps when its source made it; of those before, that is not known."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None

# As the tables have all large numbers.
_NUMBER = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Adds a column."""
    op.add_column("retractions", sa.Column("told_at", _NUMBER, nullable=True))
