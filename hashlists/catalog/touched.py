"""Which entries the revisions after a given one touched, for those who follow the catalog.

Invariants: every entry that a revision in the range gave a version, retracted, restored or purged
is told, and no entry that only an uncommitted change touched. The work grows with what changed,
not with the catalog: the rows of a change lie side by side in the primary key of `entry_versions`
and in the indexes by change of `retractions` and `purged_entries`, and neighbouring changes are
read as one range. Changes of a list's state or texts have no such rows. Where a list came to say
another end of use, every entry that had a version for which that counts is told, which takes a look
at all versions of the list; changes of what else it says of handling touch nothing that followers
need. Nothing here reads a hash.
"""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import Select, Table, func, select

from hashlists.catalog.list_handling import (
    END_FACTS,
    ENDLESS,
    EndsOfUse,
    ListHandling,
    with_another_end,
)
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    change_handlings,
    changes,
    derived_hashes,
    entries,
    entry_versions,
    handlings,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.states import CHUNK, retracted_among
from hashlists.id_arrays import distinct_ids
from hashlists.model import ChangeKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

    #: First change and the one after the last.
    Range = tuple[int, int]

_FETCHED_ROWS = 2_000


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
    table_of_uses = change_handlings.c
    retimed = 0
    for list_id, ids in _retimed(connection, since):
        of_list = _uses_in(list_id).with_only_columns(
            table_of_uses.handling_id, func.sum(table_of_uses.versions)
        )
        uses = connection.execute(of_list.group_by(table_of_uses.handling_id))
        retimed += sum(int(versions) for handling_id, versions in uses if handling_id in ids)
    return int(told or 0) + int(erased) + retimed


def changed_ids(
    connection: Connection, since: int, *, upto: int | None = None, list_id: int | None = None
) -> NDArray[np.int64]:
    """Every entry that the revisions after `since` touched, `(K,) int64`, ascending.

    With `upto` no later revision counts, and with `list_id` no other list.
    """
    version, ids = entry_versions.c.version_id, entry_versions.c.entry_id
    ranges = _ranges(connection, since, upto=upto, list_id=list_id)
    return _union(
        chain(
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
    )


def retimed_ids(connection: Connection, since: int) -> NDArray[np.int64]:
    """Entries whose end of use became another, since their list came to say another after `since`.

    Returns:
        `(K,) int64`, ascending. A time that merely passed is no such change.
    """
    return _union(
        ids_with_handlings(connection, list_id, ids) for list_id, ids in _retimed(connection, since)
    )


def ids_with_new_ends(connection: Connection, since: int) -> NDArray[np.int64]:
    """Entries that may have come to an end of use after `since`, or to another.

    Returns:
        `(K,) int64`, ascending: those of which a version after `since`, that was not their first,
        has an end of use now, and `retimed_ids`.
    """
    return _union([*_brought_with_end(connection, since), retimed_ids(connection, since)])


def _brought_with_end(connection: Connection, since: int) -> Iterator[NDArray[np.int64]]:
    table = change_handlings.c
    query = (
        select(table.change_id, table.handling_id, changes.c.list_id, *END_FACTS)
        .join(changes, changes.c.change_id == table.change_id)
        .join(handlings, handlings.c.handling_id == table.handling_id)
        .where(changes.c.revision > since)
    )
    rows = np.array([tuple(row) for row in connection.execute(query)], np.int64).reshape(-1, 5)
    ends = EndsOfUse(connection).of(rows[:, 2], rows[:, 3], rows[:, 4] == 1)
    yield from _with_handlings(connection, rows[ends != ENDLESS, :2].tolist(), older=True)


def ids_with_handlings(
    connection: Connection, list_id: int, handling_ids: Collection[int], *, upto: int | None = None
) -> NDArray[np.int64]:
    """Every entry that a version with one of these handlings was ever committed of, up to `upto`.

    Only changes that have such versions are read.

    Returns:
        `(K,) int64`, ascending.
    """
    if not handling_ids:
        return np.empty(0, np.int64)
    query = _uses_in(list_id)
    if upto is not None:
        query = query.where(changes.c.revision <= upto)
    uses = [tuple(row) for row in connection.execute(query) if row[1] in handling_ids]
    return _union(_with_handlings(connection, uses))


def handlings_in(connection: Connection, list_id: int) -> set[int]:
    """The handlings that committed versions of a list have, or had."""
    query = _uses_in(list_id).with_only_columns(change_handlings.c.handling_id).distinct()
    return set(connection.execute(query).scalars())


def out_of_force_since(connection: Connection, since: int) -> NDArray[np.int64]:
    """Those that the revisions after `since` retracted or purged and that are out of force now."""
    ranges = _ranges(connection, since)
    actions = _union(_in_rows_of(connection, retractions, ranges))
    retracted = retracted_among(connection, actions.tolist())
    return _union(
        [*_in_rows_of(connection, purged_entries, ranges), np.array(sorted(retracted), np.int64)]
    )


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


def _retimed(connection: Connection, since: int) -> Iterator[tuple[int, set[int]]]:
    """Lists that came to say another end of use, and the handlings for which that counts."""
    query = (
        select(changes.c.list_id)
        .where(changes.c.revision > since, changes.c.kind == ChangeKind.HANDLING)
        .distinct()
        .order_by(changes.c.list_id)
    )
    for list_id in connection.execute(query).scalars().all():
        held = ListHandling.read(connection, list_id)
        ids = with_another_end(connection, held, handlings_in(connection, list_id), since)
        if ids:
            yield list_id, ids


def _uses_in(list_id: int) -> Select[Any]:
    """Changes of a list and the handlings that their versions have."""
    table = change_handlings.c
    return (
        select(table.change_id, table.handling_id)
        .join(changes, changes.c.change_id == table.change_id)
        .where(changes.c.list_id == list_id, changes.c.revision.is_not(None))
    )


def _with_handlings(
    connection: Connection, uses: Iterable[Sequence[int]], *, older: bool = False
) -> Iterator[NDArray[np.int64]]:
    """Entries of which changes have versions with handlings, each use a pair of both ids.

    With `older` those that the change itself brought are left out.
    """
    by_change: dict[int, list[int]] = {}
    for change_id, handling_id in uses:
        by_change.setdefault(change_id, []).append(handling_id)
    for change_id, handling_ids in sorted(by_change.items()):
        yield from _with_handlings_in(connection, change_id, handling_ids, older=older)


def _with_handlings_in(
    connection: Connection, change_id: int, handling_ids: Sequence[int], *, older: bool
) -> Iterator[NDArray[np.int64]]:
    """The same of one change, which is read once, however many they are.

    The database compares a few handlings; more are compared here, so that no list of them is long.
    """
    table, first = entry_versions.c, change_id * VERSIONS_PER_CHANGE
    rows = [table.version_id >= first, table.version_id < first + VERSIONS_PER_CHANGE]
    if older:
        rows += [entries.c.entry_id == table.entry_id, entries.c.change_id != change_id]
    if len(handling_ids) <= CHUNK:
        these = select(table.entry_id).where(*rows, table.handling_id.in_(handling_ids))
        yield from _ids(connection, these)
        return
    wanted = np.array(handling_ids, np.int64)
    both = select(table.entry_id, table.handling_id).where(*rows)
    result = connection.execute(both, execution_options={"stream_results": True})
    for part in result.partitions(_FETCHED_ROWS):
        pairs = np.array([tuple(row) for row in part], np.int64)
        yield pairs[np.isin(pairs[:, 1], wanted), 0]


def _in_rows_of(
    connection: Connection, table: Table, ranges: Sequence[Range]
) -> Iterator[NDArray[np.int64]]:
    """Entries of which a table has rows by one of the changes."""
    for first, end in ranges:
        within = table.c.change_id >= first, table.c.change_id < end
        yield from _ids(connection, select(table.c.entry_id).where(*within))


def _ids(connection: Connection, query: Select[Any]) -> Iterator[NDArray[np.int64]]:
    """Part by part, so that no list of Python integers grows with the change."""
    result = connection.execute(query, execution_options={"stream_results": True})
    for rows in result.scalars().partitions(_FETCHED_ROWS):
        yield np.array(rows, np.int64)


def _union(parts: Iterable[NDArray[np.int64]]) -> NDArray[np.int64]:
    return distinct_ids(np.concatenate([np.empty(0, np.int64), *parts]))
