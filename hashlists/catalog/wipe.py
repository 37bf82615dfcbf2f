"""Wipes what was purged from the database's files, and remembers while that is owed.

Invariants: a purge notes in its own transaction that a wipe is owed, and only a wipe that began
after that and left no trace takes the note back. So it is known whatever happens in between, be it
a kill, a full disk or a lost connection.
"""

from __future__ import annotations

import secrets
from typing import TYPE_CHECKING

from sqlalchemy import delete, select

from hashlists.catalog.bulk import upsert
from hashlists.catalog.engine import catalog_errors, rewrite_files, writer
from hashlists.catalog.schema import WIPE_OWED_NAME, meta

if TYPE_CHECKING:
    from sqlalchemy import Connection, Engine

#: The note says which purge was the last, so that a wipe that began before it does not take it.
_NOTE_BYTES = 16


def owe_wipe(connection: Connection) -> None:
    """Notes, in a purge's transaction, that the files hold traces from its commit on."""
    insert_note = upsert(connection, meta).values(
        name=WIPE_OWED_NAME, value=secrets.token_bytes(_NOTE_BYTES)
    )
    connection.execute(
        insert_note.on_conflict_do_update(
            index_elements=[meta.c.name], set_={"value": insert_note.excluded.value}
        )
    )


def is_wipe_owed(connection: Connection) -> bool:
    """Whether a purge has left traces that no finished wipe has removed."""
    return _note(connection) is not None


def wipe_deleted(engine: Engine) -> bool:
    """Rewrites the database's files without a trace of what was deleted; see `Database`.

    Returns:
        False when traces are left, and it must be done again.

    Raises:
        CatalogError: the database failed; it is owed as before.
    """
    with catalog_errors():
        with engine.connect() as connection:
            note = _note(connection)
        if not rewrite_files(engine):
            return False
        if note is not None:
            with writer(engine).begin() as connection:
                this_note = meta.c.name == WIPE_OWED_NAME, meta.c.value == note
                connection.execute(delete(meta).where(*this_note))
    return True


def _note(connection: Connection) -> bytes | None:
    return connection.execute(select(meta.c.value).where(meta.c.name == WIPE_OWED_NAME)).scalar()
