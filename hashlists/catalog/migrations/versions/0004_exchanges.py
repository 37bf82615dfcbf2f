"""For exchanges, codes that were derived here, and what lists do to the uploads of a day."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")

#: Columns whose values the server would copy into its statistics, where no purge finds them.
_VALUES = {
    "derived_hashes": ("value", "of_digest"),
    "exchange_set_aside": ("reason", "record_sha256"),
}


def upgrade() -> None:
    """Adds tables, and alters none."""
    _derived_hashes()
    _match_days()
    _exchanges()
    if op.get_bind().dialect.name == "postgresql":
        for table, columns in _VALUES.items():
            for column in columns:
                op.execute(f"ALTER TABLE {table} ALTER COLUMN {column} SET STATISTICS 0")


def _references(table: str, column: str, of: str) -> sa.ForeignKeyConstraint:
    return sa.ForeignKeyConstraint([column], [f"{of}.{column}"], name=op.f(f"fk_{table}_{column}"))


def _derived_hashes() -> None:
    op.create_table(
        "derived_hashes",
        sa.Column("derived_id", _ID, nullable=False),
        sa.Column("entry_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=False),
        sa.Column("action", sa.String(16), nullable=False),
        sa.Column("kind", sa.String(16), nullable=False),
        sa.Column("value", sa.LargeBinary(), nullable=False),
        sa.Column("derivation", sa.String(32), nullable=False),
        sa.Column("of_kind", sa.String(16), nullable=False),
        sa.Column("of_digest", sa.LargeBinary(), nullable=False),
        _references("derived_hashes", "entry_id", "entries"),
        _references("derived_hashes", "change_id", "changes"),
        sa.PrimaryKeyConstraint("derived_id", name=op.f("pk_derived_hashes")),
    )
    for column in ("entry_id", "change_id"):
        op.create_index(f"ix_derived_hashes_{column}", "derived_hashes", [column])


def _match_days() -> None:
    op.create_table(
        "match_days",
        sa.Column("list_id", _ID, autoincrement=False, nullable=False),
        sa.Column("day", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("policy", sa.String(63), nullable=False),
        sa.Column("uploads", _ID, nullable=False),
        sa.Column("exact", _ID, nullable=False),
        sa.Column("near", _ID, nullable=False),
        _references("match_days", "list_id", "hash_lists"),
        sa.PrimaryKeyConstraint("list_id", "day", "policy", name=op.f("pk_match_days")),
    )


def _exchanges() -> None:
    op.create_table(
        "exchanges",
        sa.Column("exchange_id", _ID, nullable=False),
        sa.Column("name", sa.String(63), nullable=False),
        sa.Column("kind", sa.String(32), nullable=False),
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("settings", sa.Text(), nullable=False),
        sa.Column("state", sa.String(16), nullable=False),
        sa.Column("created_at", _ID, nullable=False),
        sa.Column("full_at", _ID, nullable=True),
        _references("exchanges", "list_id", "hash_lists"),
        sa.PrimaryKeyConstraint("exchange_id", name=op.f("pk_exchanges")),
        sa.UniqueConstraint("name", name=op.f("uq_exchanges_name")),
        sqlite_autoincrement=True,
    )
    op.create_table(
        "exchange_checkpoints",
        sa.Column("exchange_id", _ID, autoincrement=False, nullable=False),
        sa.Column("number", _ID, nullable=False),
        sa.Column("document", sa.Text(), nullable=False),
        sa.Column("change_id", _ID, nullable=True),
        sa.Column("saved_at", _ID, nullable=False),
        _references("exchange_checkpoints", "exchange_id", "exchanges"),
        _references("exchange_checkpoints", "change_id", "changes"),
        sa.PrimaryKeyConstraint("exchange_id", name=op.f("pk_exchange_checkpoints")),
    )
    op.create_table(
        "exchange_set_aside",
        sa.Column("set_aside_id", _ID, nullable=False),
        sa.Column("exchange_id", _ID, nullable=False),
        sa.Column("change_id", _ID, nullable=True),
        sa.Column("seen_at", _ID, nullable=False),
        sa.Column("page", sa.Text(), nullable=False),
        sa.Column("place", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("record_sha256", sa.LargeBinary(), nullable=False),
        _references("exchange_set_aside", "exchange_id", "exchanges"),
        _references("exchange_set_aside", "change_id", "changes"),
        sa.PrimaryKeyConstraint("set_aside_id", name=op.f("pk_exchange_set_aside")),
        sa.UniqueConstraint(
            "exchange_id",
            "record_sha256",
            name=op.f("uq_exchange_set_aside_exchange_id_record_sha256"),
        ),
    )
    op.create_index(
        "ix_exchange_set_aside_exchange_id", "exchange_set_aside", ["exchange_id", "seen_at"]
    )
