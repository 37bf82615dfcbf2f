"""How many versions of each change have a classification or handling is counted.

Whether any version has one is then told by these counts, and two indexes over all versions, which
took a tenth of an import's time, go.
"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")


def upgrade() -> None:
    """Counts what is there, which takes some seconds for each million entries."""
    op.drop_table("change_classifications")
    for text in ("classification", "handling"):
        table, column = f"change_{text}s", f"{text}_id"
        op.create_table(
            table,
            sa.Column("change_id", _ID, nullable=False),
            sa.Column(column, _ID, nullable=False),
            sa.Column("versions", _ID, nullable=False),
            sa.ForeignKeyConstraint(
                ["change_id"], ["changes.change_id"], name=op.f(f"fk_{table}_change_id")
            ),
            sa.ForeignKeyConstraint(
                [column], [f"{text}s.{column}"], name=op.f(f"fk_{table}_{column}")
            ),
            sa.PrimaryKeyConstraint("change_id", column, name=op.f(f"pk_{table}")),
        )
        op.create_index(f"ix_{table}_{column}", table, [column])
        op.execute(
            f"INSERT INTO {table} (change_id, {column}, versions)"  # noqa: S608 - our own names
            f" SELECT change_id, {column}, COUNT(*) FROM entry_versions"
            f" WHERE {column} IS NOT NULL GROUP BY change_id, {column}"
        )
        op.drop_index(f"ix_entry_versions_{column}", "entry_versions")
