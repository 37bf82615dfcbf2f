"""What a list says of handling may change, so it is kept by change.

From now on versions keep what their record itself said. Those that are there keep what it and their
list said together, and `list_handling` tells how far that is known; none of them is written.

And records that exchanges set aside are known by keyed fingerprints alone.
"""

from __future__ import annotations

import hmac
import secrets

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_ROWS_AT_ONCE = 1_000
_NOTE_BYTES = 16


def upgrade() -> None:
    """Adds a table, and keys the fingerprints."""
    _keep_list_handlings()
    _key_set_aside()


def _keep_list_handlings() -> None:
    op.create_table(
        "list_handlings",
        sa.Column("change_id", _ID, autoincrement=False, nullable=False),
        sa.Column("list_id", _ID, nullable=False),
        sa.Column("handling_id", _ID, nullable=False),
        sa.ForeignKeyConstraint(
            ["change_id"], ["changes.change_id"], name=op.f("fk_list_handlings_change_id")
        ),
        sa.ForeignKeyConstraint(
            ["list_id"], ["hash_lists.list_id"], name=op.f("fk_list_handlings_list_id")
        ),
        sa.ForeignKeyConstraint(
            ["handling_id"], ["handlings.handling_id"], name=op.f("fk_list_handlings_handling_id")
        ),
        sa.PrimaryKeyConstraint("change_id", name=op.f("pk_list_handlings")),
    )
    for column in ("list_id", "handling_id"):
        op.create_index(f"ix_list_handlings_{column}", "list_handlings", [column])
    op.execute(
        """
        INSERT INTO list_handlings (change_id, list_id, handling_id)
        SELECT changes.change_id, hash_lists.list_id, hash_lists.handling_id
        FROM hash_lists JOIN changes ON changes.list_id = hash_lists.list_id
        WHERE changes.revision = (
            SELECT MIN(earlier.revision) FROM changes AS earlier
            WHERE earlier.list_id = hash_lists.list_id
        )
        """
    )


def _key_set_aside() -> None:
    """Keys what records are known by, once more where it was: the two look alike.

    What was keyed before is not known again when it comes mended; fetching all anew forgets it.
    """
    connection = op.get_bind()
    table = sa.table("exchange_set_aside", sa.column("set_aside_id"), sa.column("record_sha256"))
    rows = connection.execute(sa.select(table.c.set_aside_id, table.c.record_sha256)).all()
    if not rows:
        return
    meta = sa.table("meta", sa.column("name"), sa.column("value", sa.LargeBinary()))
    query = sa.select(meta.c.value).where(meta.c.name == "tombstone_key")
    key = bytes(connection.execute(query).scalar_one())
    keyed = [
        {"of": row_id, "known_by": hmac.digest(key, b"set aside\0" + bytes(known_by), "sha256")}
        for row_id, known_by in rows
    ]
    statement = (
        sa.update(table)
        .where(table.c.set_aside_id == sa.bindparam("of"))
        .values(record_sha256=sa.bindparam("known_by", type_=sa.LargeBinary()))
    )
    for start in range(0, len(keyed), _ROWS_AT_ONCE):
        connection.execute(statement, keyed[start : start + _ROWS_AT_ONCE])
    # Else the old ones stay in the files.
    connection.execute(sa.delete(meta).where(meta.c.name == "wipe_owed"))
    note = secrets.token_bytes(_NOTE_BYTES)
    connection.execute(sa.insert(meta).values(name="wipe_owed", value=note))
