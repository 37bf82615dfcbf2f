"""For followers: a mark on every revision, sums by list instead of by change, purges by change.

And for lists with many recipients: handlings are told apart by the digest of their document.
"""

from __future__ import annotations

import hashlib
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_MARK_BYTES = 16


def upgrade() -> None:
    """Adds them, and fills them from what is there."""
    _mark_revisions()
    _fold_counts()
    _digest_handlings()
    op.create_index("ix_purged_entries_change_id", "purged_entries", ["change_id"])
    if op.get_bind().dialect.name == "postgresql":
        _keep_values_out_of_statistics()


#: Columns whose values the server would copy into its statistics, where no purge finds them.
_VALUES = {
    "classifications": ("scheme", "profile", "code"),
    "entries": ("source_key",),
    "entry_versions": (
        "media_type",
        "source_id",
        "source_updated_at",
        "content_digest",
        *("md5", "sha1", "sha256", "pdq", "phash", "dhash", "ahash", "whash", "photodna"),
    ),
    "extra_hashes": ("value",),
    "handlings": ("digest", "document"),
    "retractions": ("reason",),
}


def _keep_values_out_of_statistics() -> None:
    for table, columns in _VALUES.items():
        for column in columns:
            op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def _mark_revisions() -> None:
    op.add_column("revisions", sa.Column("mark", sa.LargeBinary(), nullable=True))
    table = sa.table("revisions", sa.column("number"), sa.column("mark", sa.LargeBinary()))
    connection = op.get_bind()
    marks = [
        {"of": number, "mark": secrets.token_bytes(_MARK_BYTES)}
        for number in connection.execute(sa.select(table.c.number)).scalars()
    ]
    if marks:
        connection.execute(sa.update(table).where(table.c.number == sa.bindparam("of")), marks)
    with op.batch_alter_table("revisions") as batch:
        batch.alter_column("mark", existing_type=sa.LargeBinary(), nullable=False)


def _digest_handlings() -> None:
    """Makes the table anew where a column cannot be added to it and filled.

    Lists refer to it: SQLite then checks at the commit that their rows are there again.
    """
    connection = op.get_bind()
    old = sa.table("handlings", *map(sa.column, ("handling_id", "document", "expires_at")))
    rows = [dict(row) for row in connection.execute(sa.select(old)).mappings()]
    for row in rows:
        row["digest"] = hashlib.sha256(row["document"].encode()).digest()
    if connection.dialect.name == "sqlite":
        op.execute("PRAGMA defer_foreign_keys = ON")
        op.drop_table("handlings")
        new = op.create_table(
            "handlings",
            sa.Column("handling_id", _ID, nullable=False),
            sa.Column("digest", sa.LargeBinary(), nullable=False),
            sa.Column("document", sa.Text(), nullable=False),
            sa.Column("expires_at", _ID, nullable=True),
            sa.PrimaryKeyConstraint("handling_id", name=op.f("pk_handlings")),
            sa.UniqueConstraint("digest", name=op.f("uq_handlings_digest")),
        )
        op.bulk_insert(new, rows)
        return
    op.add_column("handlings", sa.Column("digest", sa.LargeBinary(), nullable=True))
    for row in rows:
        connection.execute(
            sa.text("UPDATE handlings SET digest = :digest WHERE handling_id = :handling_id"),
            {"digest": row["digest"], "handling_id": row["handling_id"]},
        )
    op.alter_column("handlings", "digest", nullable=False)
    op.drop_constraint(op.f("uq_handlings_document"), "handlings")
    op.create_unique_constraint(op.f("uq_handlings_digest"), "handlings", ["digest"])


def _fold_counts() -> None:
    op.create_table(
        "list_counts",
        sa.Column("list_id", _ID, autoincrement=False, nullable=False),
        sa.Column("kinds", sa.SmallInteger(), autoincrement=False, nullable=False),
        sa.Column("handling_id", _ID, autoincrement=False, nullable=False),
        sa.Column("entries", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["list_id"], ["hash_lists.list_id"], name=op.f("fk_list_counts_list_id")
        ),
        sa.PrimaryKeyConstraint("list_id", "kinds", "handling_id", name=op.f("pk_list_counts")),
    )
    op.execute(
        """
        INSERT INTO list_counts (list_id, kinds, handling_id, entries)
        SELECT changes.list_id, counts.kinds, counts.handling_id, SUM(counts.entries)
        FROM change_counts AS counts JOIN changes ON changes.change_id = counts.change_id
        WHERE changes.revision IS NOT NULL
        GROUP BY changes.list_id, counts.kinds, counts.handling_id
        HAVING SUM(counts.entries) <> 0
        """
    )
    op.drop_table("change_counts")
