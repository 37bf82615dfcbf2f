"""Rows of entry versions as columns of arrays: of each entry the newest committed version.

Invariants: an entry comes out iff that version is neither retracted nor long expired. Whether it
has expired, its reader judges at each moment by `EntryColumns.expires`. An entry that this clock
calls expired comes out all the same, so that a clock that was wrong for a moment loses nothing;
only what expired more than a week ago stays behind, as the dead weight that it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from sqlalchemy import func, select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.derived import confirmed, entries_with_derived, has_derived
from hashlists.catalog.list_handling import END_FACTS, EndsOfUse
from hashlists.catalog.schema import KIND_BITS, changes, entry_versions, extra_hashes, handlings
from hashlists.catalog.states import chunks
from hashlists.model import DIGEST_KINDS, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    #: For each kind rows and values, as in `EntryColumns.codes`.
    _Codes = dict[HashKind, tuple[NDArray[np.int64], NDArray[np.uint8]]]
    #: For each kind places and how each was made, as in `EntryColumns.derived`.
    _Derived = dict[HashKind, tuple[NDArray[np.int64], tuple[str, ...]]]
    #: For each kind further values: row, value, and how it was made (None: the source's own).
    _More = dict[HashKind, list[tuple[int, bytes, str | None]]]

#: Stands for "size unknown" in `EntryColumns.sizes`.
UNKNOWN_SIZE = -1
#: Stands for "no classification" in `EntryColumns.classification_ids`.
NO_CLASSIFICATION = 0
#: Stands for "never" in `EntryColumns.expires`.
NEVER = 0

#: Entries come out for so long after they have expired; a clock may be wrong by as much.
EXPIRED_KEPT_SECONDS = 7 * 86_400

_LAST_SECOND = 2**32 - 1  # in 2106
MICROSECONDS = 1_000_000


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """`M` entries, as columns, ordered by entry id: in force, but for expiry.

    Attributes:
        entry_ids: `(M,) int64`.
        list_ids: `(M,) int32`, as in `ListRecord.list_id`.
        classification_ids: `(M,) int32`, keys of `CatalogReader.classifications`; 0 for none.
        flags: `(M,) uint16`, set bits of `EntryFlag`.
        sizes: `(M,) int64` bytes; -1 where unknown.
        expires: `(M,) uint32`, seconds since 1970 UTC from which on the entry must not be used,
            rounded up; 0 for never, and for what lies past the year 2106.
        codes: for each kind that any of these entries carries: rows of this batch `(K,) int64`,
            ascending, and values `(K, kind.nbytes) uint8`. A row comes once for every value.
        derived: for each kind with codes that are not the source's own: their places `(D,) int64`
            among `codes`, ascending, and how each was made, e.g. `crop:0.02`.
    """

    entry_ids: NDArray[np.int64]
    list_ids: NDArray[np.int32]
    classification_ids: NDArray[np.int32]
    flags: NDArray[np.uint16]
    sizes: NDArray[np.int64]
    expires: NDArray[np.uint32]
    codes: Mapping[HashKind, tuple[NDArray[np.int64], NDArray[np.uint8]]] = field(repr=False)
    derived: Mapping[HashKind, tuple[NDArray[np.int64], tuple[str, ...]]] = field(
        default_factory=dict, repr=False
    )

    def __len__(self) -> int:
        return len(self.entry_ids)


#: Every version, as `EntryBatches` takes them.
VERSION_ROWS = select(
    entry_versions.c.entry_id,
    entry_versions.c.change_id,
    entry_versions.c.version_id,
    entry_versions.c.handling_id,
    entry_versions.c.flags,
    func.coalesce(entry_versions.c.size, UNKNOWN_SIZE),
    func.coalesce(entry_versions.c.classification_id, NO_CLASSIFICATION),
    *(entry_versions.c[kind.value] for kind in KIND_BITS),
)
#: The same for `EntryBatches.ends_of_use`.
END_ROWS = select(
    entry_versions.c.entry_id, entry_versions.c.change_id, entry_versions.c.handling_id
)
IN_ORDER = (entry_versions.c.entry_id, entry_versions.c.version_id)
_ENTRY, _CHANGE, _VERSION, _HANDLING, _FLAGS, _SIZE, _CLASS, _FIRST_HASH = range(8)
_CHANGE_FACTS = BulkSelect(
    changes.c.change_id,
    select(changes.c.change_id, func.coalesce(changes.c.revision, 0), changes.c.list_id),
)
_HANDLING_FACTS = BulkSelect(handlings.c.handling_id, select(handlings.c.handling_id, *END_FACTS))


class _Facts:
    """What rows refer to by id, looked up once for each id and forgotten after the next batch."""

    def __init__(self, connection: Connection, query: BulkSelect) -> None:
        self._connection = connection
        self._query = query
        self._known: dict[int, Sequence[int]] = {}

    def of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """`(M, columns) int64` for `(M,)` ids: what the query selects beside the id."""
        different, position = np.unique(ids, return_inverse=True)
        wanted = different.tolist()
        missing = [each for each in wanted if each not in self._known]
        for rows in self._query.run(self._connection, missing):
            self._known.update((row[0], row[1:]) for row in rows)
        self._known = {each: self._known[each] for each in wanted}
        return np.array(list(self._known.values()), np.int64)[position]


class _Chosen(NamedTuple):
    """Some of the rows, by entry id: their places, lists and ends of use in microseconds."""

    rows: NDArray[np.int64]
    list_ids: NDArray[np.int64]
    expires_at: NDArray[np.int64]


class EntryBatches:
    """Turns `VERSION_ROWS` into columns."""

    def __init__(self, connection: Connection, *, now: int) -> None:
        self._connection = connection
        self._kept_from = now - EXPIRED_KEPT_SECONDS * MICROSECONDS
        self._changes = _Facts(connection, _CHANGE_FACTS)
        self._handlings = _Facts(connection, _HANDLING_FACTS)
        self._ends = EndsOfUse(connection)
        query = select(extra_hashes.c.version_id).limit(1)
        self._has_extras = connection.execute(query).first() is not None
        self._has_derived = has_derived(connection)

    def columns(self, rows: Sequence[Any], retracted: NDArray[np.int64]) -> EntryColumns | None:
        """Of each entry the newest committed version, unless it is retracted or long expired.

        Args:
            rows: at least one; all versions of every entry among them.
            retracted: ids, ascending; those of other entries do no harm.
        """
        entry_ids, change_ids = _numbers(rows, _ENTRY), _numbers(rows, _CHANGE)
        chosen = self._in_force(entry_ids, change_ids, _numbers(rows, _HANDLING), retracted)
        if not len(chosen.rows):
            return None
        return self._of_chosen(
            [rows[row] for row in chosen.rows.tolist()], chosen.list_ids, chosen.expires_at
        )

    def ends_of_use(
        self, rows: Sequence[Any], retracted: NDArray[np.int64]
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32]]:
        """Ids and ends of use of what `columns` would give, as it has them, in the same order.

        Args:
            rows: of `END_ROWS`, as for `columns`.
            retracted: as for `columns`.
        """
        entry_ids, change_ids, handling_ids = np.array(rows, np.int64).reshape(-1, 3).T
        chosen = self._in_force(entry_ids, change_ids, handling_ids, retracted)
        return entry_ids[chosen.rows], _seconds(chosen.expires_at)

    def _in_force(
        self,
        entry_ids: NDArray[np.int64],
        change_ids: NDArray[np.int64],
        handling_ids: NDArray[np.int64],
        retracted: NDArray[np.int64],
    ) -> _Chosen:
        facts = self._changes.of(change_ids)
        revision, list_ids = facts[:, 0], facts[:, 1]
        handling = self._handlings.of(handling_ids)
        expires_at = self._ends.of(list_ids, handling[:, 0], handling[:, 1] == 1)
        order = np.lexsort((revision, entry_ids))
        newest = np.ones(len(entry_ids), np.bool_)
        newest[:-1] = entry_ids[order][1:] != entry_ids[order][:-1]
        chosen = order[newest]
        wanted = (revision[chosen] > 0) & (expires_at[chosen] > self._kept_from)
        wanted &= ~np.isin(entry_ids[chosen], retracted)
        chosen = chosen[wanted]
        return _Chosen(chosen, list_ids[chosen], expires_at[chosen])

    def _of_chosen(
        self, rows: Sequence[Any], list_ids: NDArray[np.int64], expires_at: NDArray[np.int64]
    ) -> EntryColumns:
        columns = list(zip(*rows, strict=True))
        codes = {
            kind: _codes(kind, columns[_FIRST_HASH + position])
            for position, kind in enumerate(KIND_BITS)
        }
        derived: _Derived = {}
        if self._has_extras:
            _add_values(codes, derived, self._extras(columns[_VERSION]))
        if self._has_derived:
            _add_values(codes, derived, self._made_here(codes, columns[_ENTRY]))
        return EntryColumns(
            entry_ids=np.array(columns[_ENTRY], np.int64),
            list_ids=list_ids.astype(np.int32),
            classification_ids=np.array(columns[_CLASS], np.int32),
            flags=np.array(columns[_FLAGS], np.uint16),
            sizes=np.array(columns[_SIZE], np.int64),
            expires=_seconds(expires_at),
            codes={kind: pair for kind, pair in codes.items() if len(pair[0])},
            derived=derived,
        )

    def _extras(self, version_ids: Sequence[int]) -> _More:
        """Values beyond the first of their kind."""
        row_of = {version_id: row for row, version_id in enumerate(version_ids)}
        more: _More = {}
        table = extra_hashes.c
        query = select(table.version_id, table.kind, table.value, table.derivation)
        for chunk in chunks(version_ids):
            for version_id, kind, value, derivation in self._connection.execute(
                query.where(table.version_id.in_(chunk)).order_by(table.version_id, table.ordinal)
            ):
                more.setdefault(HashKind(kind), []).append((row_of[version_id], value, derivation))
        return more

    def _made_here(self, codes: _Codes, entry_ids: Sequence[int]) -> _More:
        """Codes that were made here from the file that the entry's newest version names."""
        row_of = {entry_id: row for row, entry_id in enumerate(entry_ids)}
        chosen = entries_with_derived(self._connection, entry_ids)
        wanted = [row_of[entry_id] for entry_id in chosen]
        digests: dict[int, set[tuple[HashKind, bytes]]] = {entry_id: set() for entry_id in chosen}
        for kind in DIGEST_KINDS:
            rows, values = codes[kind]
            for place in np.flatnonzero(np.isin(rows, wanted)).tolist():
                digests[entry_ids[rows[place]]].add((kind, values[place].tobytes()))
        more: _More = {}
        for entry_id, found in confirmed(self._connection, digests).items():
            for each in found:
                made = row_of[entry_id], each.value, each.derivation
                more.setdefault(each.kind, []).append(made)
        return more


def _add_values(codes: _Codes, derived: _Derived, more: _More) -> None:
    """Puts further values behind those that the rows have, and tells which were derived."""
    for kind, found in more.items():
        rows, values = codes[kind]
        extra_rows = np.array([row for row, _, _ in found], np.int64)
        extra_values = _matrix(kind, [value for _, value, _ in found])
        both = np.concatenate([rows, extra_rows])
        order = np.argsort(both, kind="stable")
        codes[kind] = both[order], np.concatenate([values, extra_values])[order]
        new = [(len(rows) + at, made) for at, (_, _, made) in enumerate(found) if made is not None]
        places, names = derived.get(kind, (np.empty(0, np.int64), ()))
        told = [*zip(places.tolist(), names, strict=True), *new]
        if told:
            derived[kind] = _moved(told, order)


def _moved(
    told: Sequence[tuple[int, str]], order: NDArray[np.int64]
) -> tuple[NDArray[np.int64], tuple[str, ...]]:
    """Places and what is told of them, once the values stand in another order."""
    new_place = np.empty(len(order), np.int64)
    new_place[order] = np.arange(len(order))
    moved = sorted((int(new_place[place]), made) for place, made in told)
    return np.array([place for place, _ in moved], np.int64), tuple(made for _, made in moved)


def whole_entries(parts: Iterator[Sequence[Any]], size: int) -> Iterator[list[Any]]:
    """The same rows, cut so that the versions of one entry never fall into two parts.

    `parts` have `size` rows each, and only the last may have fewer.
    """
    carried: list[Any] = []
    for part in parts:
        rows = [*carried, *part]
        last = rows[-1][_ENTRY]
        cut = len(rows)
        while len(part) == size and cut and rows[cut - 1][_ENTRY] == last:
            cut -= 1
        if cut:
            yield rows[:cut]
        carried = rows[cut:]
    if carried:
        yield carried


def _numbers(rows: Sequence[Any], column: int) -> NDArray[np.int64]:
    return np.fromiter((row[column] for row in rows), np.int64, len(rows))


def _seconds(expires_at: NDArray[np.int64]) -> NDArray[np.uint32]:
    """Microseconds as `EntryColumns.expires` has them."""
    seconds = np.maximum(-(-expires_at // MICROSECONDS), 1)  # 0 is never
    return np.where(seconds > _LAST_SECOND, NEVER, seconds).astype(np.uint32)


def _codes(
    kind: HashKind, values: Sequence[bytes | None]
) -> tuple[NDArray[np.int64], NDArray[np.uint8]]:
    if None not in values:
        return np.arange(len(values), dtype=np.int64), _matrix(kind, values)
    rows = np.array([row for row, value in enumerate(values) if value is not None], np.int64)
    return rows, _matrix(kind, [value for value in values if value is not None])


def _matrix(kind: HashKind, values: Sequence[bytes | None]) -> NDArray[np.uint8]:
    joined = b"".join(chain(values))  # type: ignore[arg-type]
    return np.frombuffer(joined, np.uint8).reshape(len(values), kind.nbytes)
