"""Which entries the revisions after a given one touched, for those who follow the catalog.

Invariants: every entry that a revision in the range gave a version, retracted, restored or purged
is told, and no entry that only an uncommitted change touched. The work grows with what changed,
not with the catalog: the rows of a change lie side by side in the primary key of `entry_versions`
and in the indexes by change of `retractions` and `purged_entries`, and neighbouring changes are
read as one range. Changes of a list's state or texts have no such rows. Where a list came to say
another end of use, every entry that had a version for which that counts is told, which takes a look
at all versions of the list; changes of what else it says of handling touch nothing that followers
need. Nothing here reads a hash. Handlings, of which a list may have one for each entry, are
remembered by a bit each.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Select, Table, func, select

from hashlists.catalog.bulk import streamed_columns
from hashlists.catalog.handling_uses import ends_in, entries_with, versions_with
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.list_handling import ENDLESS, EndsOfUse, ListHandling
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    changes,
    derived_hashes,
    entry_versions,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.states import retracted_among
from hashlists.id_arrays import distinct_ids
from hashlists.model import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

    #: First change and the one after the last.
    Range = tuple[int, int]

_LOOKED_UP = 5_000
_MANY = 100_000


def changed_count(connection: Connection, since: int) -> int:
    """At least as many entries as the revisions after `since` touched; only totals are read."""
    table = revisions.c
    totals = func.sum(table.added + table.updated + table.retracted + table.restored)
    told = connection.execute(select(totals).where(table.number > since)).scalar()
    # The totals of a purge leave out what was out of force before it.
    purged = select(func.count()).select_from(
        purged_entries.join(changes, changes.c.change_id == purged_entries.c.change_id)
    )
    erased = connection.execute(purged.where(*_purges(since))).scalar_one()
    retimed = sum(
        versions_with(connection, list_id, handling_ids)
        for list_id, handling_ids in _retimed(connection, since)
    )
    return int(told or 0) + int(erased) + retimed


def changed_parts(
    connection: Connection, since: int, *, upto: int | None = None, list_id: int | None = None
) -> Iterator[NDArray[np.int64]]:
    """Every entry that the revisions after `since` touched, `(K,) int64` at a time.

    They come in any order, and some several times. With `upto` no later revision counts, and with
    `list_id` no other list.
    """
    version, ids = entry_versions.c.version_id, entry_versions.c.entry_id
    ranges = _ranges(connection, since, upto=upto, list_id=list_id)
    return chain(
        _in_rows_of(connection, retractions, ranges),
        _in_rows_of(connection, purged_entries, ranges),
        _in_rows_of(connection, derived_hashes, ranges),
        (
            part
            for first, end in ranges
            for part in _ids(
                connection,
                select(ids).where(
                    version >= first * VERSIONS_PER_CHANGE, version < end * VERSIONS_PER_CHANGE
                ),
            )
        ),
    )


def changed_ids(connection: Connection, since: int) -> NDArray[np.int64]:
    """The same at once: `(K,) int64`, ascending."""
    return _union(changed_parts(connection, since))


def retimed_ids(connection: Connection, since: int, *, by: int | None = None) -> NDArray[np.int64]:
    """Entries whose end of use became another, since their list came to say another after `since`.

    Args:
        connection: of a read transaction.
        since: a revision.
        by: only those that end up to then, in microseconds since 1970; None for all.

    Returns:
        `(K,) int64`, ascending. A time that merely passed is no such change.
    """
    return _union(_retimed_parts(connection, since, by=by))


def ids_with_new_ends(
    connection: Connection, since: int, *, by: int | None = None
) -> NDArray[np.int64]:
    """Entries that may have come to an end of use after `since`, or to another.

    Args:
        connection: of a read transaction.
        since: a revision.
        by: only those that may have come to an end up to then, in microseconds since 1970; None for
            all, those that came to have no end among them.

    Returns:
        `(K,) int64`, ascending: those of which a version after `since`, that was not their first,
        has an end of use now, and `retimed_ids`.
    """
    return _union(
        chain(_brought_with_end(connection, since, by=by), _retimed_parts(connection, since, by=by))
    )


def _retimed_parts(
    connection: Connection, since: int, *, by: int | None
) -> Iterator[NDArray[np.int64]]:
    for list_id, handling_ids in _retimed(connection, since, by=by):
        yield from entries_with(connection, list_id, handling_ids)


def _brought_with_end(
    connection: Connection, since: int, *, by: int | None
) -> Iterator[NDArray[np.int64]]:
    of_lists = select(changes.c.list_id).where(changes.c.revision > since).distinct()
    list_ids, ends_of_use = connection.execute(of_lists).scalars().all(), EndsOfUse(connection)
    latest = ENDLESS - 1 if by is None else by
    for list_id in sorted(list_ids):
        ending = IdSet()
        for handling_ids, named, by_record in ends_in(connection, list_id, since=since):
            ends = ends_of_use.of(np.full(len(named), list_id), named, by_record == 1)
            ending.add_array(handling_ids[ends <= latest])
        yield from entries_with(connection, list_id, ending, since=since, older=True)


def out_of_force_since(connection: Connection, since: int) -> NDArray[np.int64]:
    """Those that the revisions after `since` retracted or purged and that are out of force now."""
    ranges = _ranges(connection, since)
    actions = _union(_in_rows_of(connection, retractions, ranges))
    retracted = (
        np.array(list(retracted_among(connection, part.tolist())), np.int64)
        for part in np.split(actions, range(_LOOKED_UP, len(actions), _LOOKED_UP))
    )
    return _union(chain(_in_rows_of(connection, purged_entries, ranges), retracted))


def purged_since(connection: Connection, since: int) -> bool:
    """Whether a revision after `since` purged any entry."""
    query = select(purged_entries.c.entry_id).join(
        changes, changes.c.change_id == purged_entries.c.change_id
    )
    return connection.execute(query.where(*_purges(since)).limit(1)).first() is not None


def last_purge(connection: Connection) -> int:
    """The newest revision that purged any entry; 0 where none did."""
    query = select(func.max(changes.c.revision)).where(*_purges(0))
    return int(connection.execute(query).scalar() or 0)


def revision_mark(connection: Connection, number: int) -> str | None:
    """What names the commit behind a revision number: see `CatalogReader.revision_mark`."""
    if number == 0:
        return ""
    query = select(revisions.c.mark).where(revisions.c.number == number)
    mark = connection.execute(query).scalar()
    return None if mark is None else bytes(mark).hex()


def _purges(since: int) -> tuple[ColumnElement[bool], ...]:
    return changes.c.revision > since, changes.c.kind == ChangeKind.PURGE


def _ranges(
    connection: Connection, since: int, *, upto: int | None = None, list_id: int | None = None
) -> Sequence[Range]:
    """Ids of the changes behind the revisions after `since`, neighbours together."""
    query = select(changes.c.change_id).where(changes.c.revision > since)
    if upto is not None:
        query = query.where(changes.c.revision <= upto)
    if list_id is not None:
        query = query.where(changes.c.list_id == list_id)
    change_ids = np.sort(np.fromiter(connection.execute(query).scalars(), np.int64))
    if not len(change_ids):
        return []
    cuts = np.flatnonzero(np.diff(change_ids) > 1)
    firsts = change_ids[np.concatenate([[0], cuts + 1])]
    lasts = change_ids[np.concatenate([cuts, [len(change_ids) - 1]])]
    return [(int(first), int(last) + 1) for first, last in zip(firsts, lasts, strict=True)]


def _retimed(
    connection: Connection, since: int, *, by: int | None = None
) -> Iterator[tuple[int, IdSet]]:
    """Lists that came to say another end of use, and the handlings for which that counts."""
    query = (
        select(changes.c.list_id)
        .where(changes.c.revision > since, changes.c.kind == ChangeKind.HANDLING)
        .distinct()
        .order_by(changes.c.list_id)
    )
    latest = ENDLESS if by is None else by
    for list_id in connection.execute(query).scalars().all():
        held = ListHandling.read(connection, list_id)
        if held.at(held.newest).expires_at == held.at(since).expires_at:
            continue
        other = IdSet()
        for handling_ids, named, by_record in ends_in(connection, list_id):
            now, then = (held.ends(named, by_record, each) for each in (held.newest, since))
            other.add_array(handling_ids[(now != then) & (now <= latest)])
        if not other.is_empty:
            yield list_id, other


def _in_rows_of(
    connection: Connection, table: Table, ranges: Sequence[Range]
) -> Iterator[NDArray[np.int64]]:
    """Entries of which a table has rows by one of the changes."""
    for first, end in ranges:
        within = table.c.change_id >= first, table.c.change_id < end
        yield from _ids(connection, select(table.c.entry_id).where(*within))


def _ids(connection: Connection, query: Select[Any]) -> Iterator[NDArray[np.int64]]:
    """Part by part, so that no list of Python integers grows with the change."""
    return (ids for (ids,) in streamed_columns(connection, query))


def _union(parts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    parts, few, number = iter(parts), [np.empty(0, np.int64)], 0
    for part in parts:
        few.append(part)
        number += len(part)
        if number > _MANY:  # sorting them would take three times what they do
            return IdSet.of(chain(few, parts)).to_array()
    return distinct_ids(np.concatenate(few))
