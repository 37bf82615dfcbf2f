"""Erases entries for good: the only act that takes away what readers could see.

Invariants: it leaves nothing of them but keyed tombstones, and with its commit they are out of
force; a wipe is owed from then on until the database's files hold no trace of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select

from hashlists.catalog.commit import ChangeAuthor, ChangeTotals, finish_change, insert_change
from hashlists.catalog.counts import Counts
from hashlists.catalog.engine import catalog_errors, writer
from hashlists.catalog.open_change import require_no_open_change
from hashlists.catalog.retract import require_states
from hashlists.catalog.schema import (
    KIND_BITS,
    ChangeState,
    derived_hashes,
    entries,
    entry_versions,
    extra_hashes,
    purged_entries,
    retractions,
)
from hashlists.catalog.states import chunks
from hashlists.catalog.text_uses import take_off, uses_by
from hashlists.catalog.tombstones import lay_tombstones
from hashlists.catalog.wipe import owe_wipe, wipe_deleted
from hashlists.errors import CatalogError
from hashlists.model import HashKind, PurgeReport

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine


def purge(engine: Engine, by: ChangeAuthor, entry_ids: Sequence[int]) -> PurgeReport:
    """Erases entries with all their versions for good, and wipes them from the database's files.

    Classifications and handlings that no other entry has go with them.

    The entries are out of force with its commit. Rewriting the files after that takes time in
    proportion to their size. In SQLite writers wait meanwhile; in PostgreSQL followers do, and for
    anyone else it gives way. So retract first where it is urgent, and purge in a quiet hour. Once
    committed it never fails: what kept the files from being rewritten leaves a wipe owed, see
    `wipe`.

    Raises:
        EntryNotFoundError: an id is not of this list; then nothing is purged.
        ImportInProgressError: an import of this list is under way. Retract the entries, which
            works at any time, and purge them when it has ended.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        require_no_open_change(connection, by)
        states = require_states(connection, by, entry_ids)
        ids = sorted(states)
        change_id = insert_change(connection, by, ChangeState.EMPTY)
        hashes = list(_values_of(connection, ids))
        laid = lay_tombstones(
            connection,
            list_id=by.list_id,
            change_id=change_id,
            keys=_keys_of(connection, ids),
            hashes=hashes,
        )
        uses = uses_by(connection, ids)
        versions = _erase(connection, by.list_id, change_id, ids)
        counts = Counts()
        for state in states.values():
            if state.in_force:
                counts[state.count_key] -= 1
        totals = ChangeTotals(retracted=sum(state.in_force for state in states.values()))
        revision = finish_change(connection, by, change_id, totals, counts, always=True)
        take_off(connection, uses)
        owe_wipe(connection)
    assert revision is not None
    return PurgeReport(
        revision=revision,
        entries=len(ids),
        versions=versions,
        values=len(hashes),
        tombstones=laid,
        traces_wiped=_wiped(engine),
        in_force=totals.retracted,
    )


def _wiped(engine: Engine) -> bool:
    try:
        return wipe_deleted(engine)
    except CatalogError:  # it is owed, and the next one says what is wrong
        return False


def _keys_of(connection: Connection, entry_ids: Sequence[int]) -> Iterable[bytes]:
    for chunk in chunks(entry_ids):
        query = select(entries.c.source_key).where(entries.c.entry_id.in_(chunk))
        yield from connection.execute(query).scalars()


def _values_of(
    connection: Connection, entry_ids: Sequence[int]
) -> Iterable[tuple[HashKind, bytes]]:
    for chunk in chunks(entry_ids):
        of_these = entry_versions.c.entry_id.in_(chunk)
        columns = [entry_versions.c[kind.value] for kind in KIND_BITS]
        for row in connection.execute(select(*columns).where(of_these)):
            yield from (
                (kind, value)
                for kind, value in zip(KIND_BITS, row, strict=True)
                if value is not None
            )
        extras = select(extra_hashes.c.kind, extra_hashes.c.value).join(entry_versions)
        for kind, value in connection.execute(extras.where(of_these)):
            yield HashKind(kind), value
        own = select(derived_hashes.c.kind, derived_hashes.c.value).distinct()
        for kind, value in connection.execute(own.where(derived_hashes.c.entry_id.in_(chunk))):
            yield HashKind(kind), value


def _erase(connection: Connection, list_id: int, change_id: int, entry_ids: Sequence[int]) -> int:
    versions = 0
    for chunk in chunks(entry_ids):
        of_these = select(entry_versions.c.version_id).where(entry_versions.c.entry_id.in_(chunk))
        connection.execute(delete(extra_hashes).where(extra_hashes.c.version_id.in_(of_these)))
        erased: Any = connection.execute(
            delete(entry_versions).where(entry_versions.c.entry_id.in_(chunk))
        )
        versions += erased.rowcount
        connection.execute(delete(retractions).where(retractions.c.entry_id.in_(chunk)))
        connection.execute(delete(derived_hashes).where(derived_hashes.c.entry_id.in_(chunk)))
        connection.execute(delete(entries).where(entries.c.entry_id.in_(chunk)))
        connection.execute(
            insert(purged_entries),
            [{"entry_id": i, "list_id": list_id, "change_id": change_id} for i in chunk],
        )
    return versions
