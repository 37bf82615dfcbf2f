"""What a list says of handling may change, so it is kept by change.

From now on versions keep what their record itself said. Those that are there keep what it and their
list said together, and `list_handling` tells how far that is known; none of them is written.

And records that exchanges set aside, some of them known by fingerprints without key, are fetched
anew.
"""

from __future__ import annotations

import secrets
import time

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

# SQLite makes only INTEGER (not BIGINT) primary keys an alias of the row id.
_ID = sa.BigInteger().with_variant(sa.Integer(), "sqlite")
_NOTE_BYTES = 16


def upgrade() -> None:
    """Adds a table, and forgets what was set aside."""
    _keep_list_handlings()
    _forget_set_aside()


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


def _forget_set_aside() -> None:
    """Forgets such records, and has their exchanges fetched anew, which sets them aside again.

    Some catalogs keyed the fingerprints already, and the two look alike: one that was keyed twice
    would never be known again, and its record be told of for ever.
    """
    connection = op.get_bind()
    kept = sa.table("exchange_set_aside", sa.column("exchange_id"))
    its_exchanges = connection.execute(sa.select(kept.c.exchange_id).distinct()).scalars().all()
    if not its_exchanges:
        return
    exchanges = sa.table("exchanges", sa.column("exchange_id"), sa.column("full_due_at", _ID))
    owed = exchanges.c.exchange_id.in_(its_exchanges) & exchanges.c.full_due_at.is_(None)
    now = time.time_ns() // 1_000
    connection.execute(sa.update(exchanges).where(owed).values(full_due_at=now))
    connection.execute(sa.delete(kept))
    # Else the old ones stay in the files.
    meta = sa.table("meta", sa.column("name"), sa.column("value", sa.LargeBinary()))
    connection.execute(sa.delete(meta).where(meta.c.name == "wipe_owed"))
    note = secrets.token_bytes(_NOTE_BYTES)
    connection.execute(sa.insert(meta).values(name="wipe_owed", value=note))
