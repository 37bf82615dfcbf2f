"""Which handlings the versions of a list have, and which entries have a version with some of them.

Invariants: only what was committed is told, and only changes that have such versions are read. Each
entry of a list may have a handling of its own, so all is read part by part, and what must be
remembered of handlings takes one bit each: `IdSet`. Nothing is sorted by the database either, which
would hold it all in memory for that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.bulk import streamed_columns, streamed_rows
from hashlists.catalog.interning import said_from_document
from hashlists.catalog.list_handling import END_FACTS, ListHandling
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    change_handlings,
    changes,
    entries,
    entry_versions,
    handlings,
    list_counts,
)
from hashlists.catalog.states import CHUNK
from hashlists.model import ApartFromList

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np
    from numpy.typing import NDArray
    from sqlalchemy import Connection, Select

    from hashlists.catalog.id_set import IdSet


def documents_in(connection: Connection, list_id: int) -> Iterator[Sequence[Any]]:
    """Handlings that versions of a list have or had: ids and documents.

    One comes once for each change that has versions with it.
    """
    return streamed_rows(connection, _joined(_uses(list_id), handlings.c.document))


def count_apart(connection: Connection, list_id: int) -> ApartFromList:
    """How many entries in force hold to another handling than their list says, by field."""
    held = ListHandling.read(connection, list_id)
    now = held.at(held.newest)
    query = (
        select(handlings.c.document, list_counts.c.entries)
        .join(list_counts, list_counts.c.handling_id == handlings.c.handling_id)
        .where(list_counts.c.list_id == list_id)
    )
    originator = releasable_to = expires_at = 0
    for rows in streamed_rows(connection, query):
        for document, entries_with_it in rows:
            each = held.holds(said_from_document(document), held.newest)
            others = frozenset(each.releasable_to) != frozenset(now.releasable_to)
            originator += entries_with_it * (each.originator != now.originator)
            releasable_to += entries_with_it * others
            expires_at += entries_with_it * (each.expires_at != now.expires_at)
    return ApartFromList(originator, releasable_to, expires_at)


def ends_in(
    connection: Connection, list_id: int, *, since: int = 0
) -> Iterator[Sequence[NDArray[np.int64]]]:
    """Likewise ids and `END_FACTS`, by columns, of those that changes after `since` brought."""
    return streamed_columns(connection, _joined(_uses(list_id, since=since), *END_FACTS))


def versions_with(connection: Connection, list_id: int, wanted: IdSet) -> int:
    """How many versions of a list have one of these handlings."""
    uses = _uses(list_id).with_only_columns(
        change_handlings.c.handling_id, change_handlings.c.versions
    )
    return sum(
        int(many[wanted.holds(ids)].sum()) for ids, many in streamed_columns(connection, uses)
    )


def entries_with(
    connection: Connection,
    list_id: int,
    wanted: IdSet,
    *,
    since: int = 0,
    upto: int | None = None,
    older: bool = False,
) -> Iterator[NDArray[np.int64]]:
    """Entries of which a revision after `since`, up to `upto`, gave a version with such a handling.

    Args:
        connection: of a read transaction.
        list_id: their list.
        wanted: ids of handlings.
        since: 0 for all.
        upto: None for all.
        older: leave out those that the revision itself brought.

    Yields:
        Ids `(K,) int64` in any order; one may come several times.
    """
    if wanted.is_empty:
        return
    uses = _uses(list_id, since=since, upto=upto).with_only_columns(
        change_handlings.c.change_id, change_handlings.c.handling_id
    )
    for change_id, handling_ids in _by_change(connection, uses, wanted):
        yield from _entries_of(connection, change_id, wanted, handling_ids, older=older)


def _uses(list_id: int, *, since: int = 0, upto: int | None = None) -> Select[Any]:
    """Changes of a list, each with the handlings that its versions have, side by side.

    They come by revision, as the index by list has them.
    """
    query = (
        select(change_handlings.c.handling_id)
        .join(changes, changes.c.change_id == change_handlings.c.change_id)
        .where(changes.c.list_id == list_id, changes.c.revision > since)
        .order_by(changes.c.revision)
    )
    return query if upto is None else query.where(changes.c.revision <= upto)


def _joined(uses: Select[Any], *told: Any) -> Select[Any]:
    joined = uses.join(handlings, handlings.c.handling_id == change_handlings.c.handling_id)
    return joined.with_only_columns(
        handlings.c.handling_id, *told, maintain_column_froms=True
    ).order_by(None)


def _by_change(
    connection: Connection, uses: Select[Any], wanted: IdSet
) -> Iterator[tuple[int, list[int]]]:
    """Changes that use any of the handlings, and which; beyond `CHUNK` of them no more are told."""
    of_change, found = 0, list[int]()
    for change_ids, handling_ids in streamed_columns(connection, uses):
        used = wanted.holds(handling_ids)
        pairs = zip(change_ids[used].tolist(), handling_ids[used].tolist(), strict=True)
        for change_id, handling_id in pairs:
            if change_id != of_change:
                if found:
                    yield of_change, found
                of_change, found = change_id, []
            if len(found) <= CHUNK:
                found.append(handling_id)
    if found:
        yield of_change, found


def _entries_of(
    connection: Connection,
    change_id: int,
    wanted: IdSet,
    handling_ids: Sequence[int],
    *,
    older: bool,
) -> Iterator[NDArray[np.int64]]:
    """Of one change, which is read once.

    The database compares a few handlings; more are compared here, so that no list of them is long.
    """
    table, first = entry_versions.c, change_id * VERSIONS_PER_CHANGE
    rows = [table.version_id >= first, table.version_id < first + VERSIONS_PER_CHANGE]
    if older:
        rows += [entries.c.entry_id == table.entry_id, entries.c.change_id != change_id]
    both = select(table.entry_id, table.handling_id).where(*rows)
    if len(handling_ids) <= CHUNK:
        both = both.where(table.handling_id.in_(handling_ids))
    for entry_ids, of_entries in streamed_columns(connection, both):
        yield entry_ids[wanted.holds(of_entries)]


__all__ = ["documents_in", "ends_in", "entries_with", "versions_with"]
