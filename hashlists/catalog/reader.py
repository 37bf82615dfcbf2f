"""Reads the catalog at one revision, all of it or what has changed, for building an index.

Invariants: everything a reader returns comes from one read transaction, hence from one revision;
an entry comes out iff its newest committed version is neither retracted nor long expired; memory
is bounded by the size of a batch, plus eight bytes for every retracted entry (reading all) or every
changed one (following). Opening one and asking for lists costs the same however many revisions
there are. Nothing here writes.

Whether an entry has expired, its reader judges at each moment by `EntryColumns.expires`. An entry
that this clock calls expired comes out all the same, so that a clock that was wrong for a moment
loses nothing; only what expired more than a week ago stays behind, as the dead weight that it is.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select

from hashlists.catalog import touched
from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.records import (
    ListRecord,
    list_record,
    read_catalog_id,
)
from hashlists.catalog.schema import (
    KIND_BITS,
    Action,
    changes,
    classifications,
    entry_versions,
    extra_hashes,
    handlings,
    hash_lists,
    retractions,
)
from hashlists.catalog.states import chunks, read_head, retracted_among
from hashlists.model import Classification, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

#: Stands for "size unknown" in `EntryColumns.sizes`.
UNKNOWN_SIZE = -1
#: Stands for "no classification" in `EntryColumns.classification_ids`.
NO_CLASSIFICATION = 0
#: Stands for "never" in `EntryColumns.expires`.
NEVER = 0

#: Entries come out for so long after they have expired; a clock may be wrong by as much.
EXPIRED_KEPT_SECONDS = 7 * 86_400

_LAST_SECOND = 2**32 - 1  # in 2106
_MICROSECONDS = 1_000_000
_ENDLESS = 2**62  # microseconds


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
    """

    entry_ids: NDArray[np.int64]
    list_ids: NDArray[np.int32]
    classification_ids: NDArray[np.int32]
    flags: NDArray[np.uint16]
    sizes: NDArray[np.int64]
    expires: NDArray[np.uint32]
    codes: Mapping[HashKind, tuple[NDArray[np.int64], NDArray[np.uint8]]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.entry_ids)


_ROWS = select(
    entry_versions.c.entry_id,
    entry_versions.c.change_id,
    entry_versions.c.version_id,
    entry_versions.c.handling_id,
    entry_versions.c.flags,
    func.coalesce(entry_versions.c.size, UNKNOWN_SIZE),
    func.coalesce(entry_versions.c.classification_id, NO_CLASSIFICATION),
    *(entry_versions.c[kind.value] for kind in KIND_BITS),
)
_IN_ORDER = (entry_versions.c.entry_id, entry_versions.c.version_id)
_ENTRY, _CHANGE, _VERSION, _HANDLING, _FLAGS, _SIZE, _CLASS, _FIRST_HASH = range(8)
_BY_ENTRY = BulkSelect(entry_versions.c.entry_id, _ROWS.order_by(*_IN_ORDER))
_CHANGE_FACTS = BulkSelect(
    changes.c.change_id,
    select(changes.c.change_id, func.coalesce(changes.c.revision, 0), changes.c.list_id),
)
_HANDLING_FACTS = BulkSelect(
    handlings.c.handling_id,
    select(handlings.c.handling_id, func.coalesce(handlings.c.expires_at, _ENDLESS)),
)


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


class CatalogReader:
    """One consistent view; valid inside the `with` block of `Catalog.read` only.

    Attributes:
        revision: the revision that it shows.
        catalog_id: this catalog's own identity, lower-case hex; no two catalogs share one.
    """

    def __init__(self, connection: Connection, *, now: int) -> None:
        self._connection = connection
        self._now = now
        self.revision = read_head(connection)
        self.catalog_id = read_catalog_id(connection)

    def lists(self) -> Sequence[ListRecord]:
        """All lists, by name."""
        with catalog_errors():
            rows = self._connection.execute(select(hash_lists).order_by(hash_lists.c.name)).all()
            return [list_record(self._connection, row, now=self._now) for row in rows]

    def classifications(self) -> Mapping[int, Classification]:
        """Every classification by its id; ids start at 1."""
        table = classifications.c
        query = select(table.classification_id, table.scheme, table.profile, table.code)
        with catalog_errors():
            rows = self._connection.execute(query.order_by(table.classification_id)).all()
        return {row[0]: Classification(row[1], row[2], row[3]) for row in rows}

    def changed_count(self, since: int) -> int:
        """At least as many entries as `changed_ids` would tell, at the cost of a few sums."""
        with catalog_errors():
            return touched.changed_count(self._connection, since)

    def changed_ids(self, since: int) -> NDArray[np.int64]:
        """The entries that revisions in (`since`, `revision`] touched.

        Returns:
            `(K,) int64`, ascending: every entry that those revisions gave a version, retracted,
            restored or purged. What happened to a list's state or texts touches no entry.
        """
        with catalog_errors():
            return touched.changed_ids(self._connection, since)

    def out_of_force_since(self, since: int) -> NDArray[np.int64]:
        """The entries that revisions in (`since`, `revision`] took out of force for now.

        The cost grows with what was retracted, restored and purged, not with what was imported.
        Expiry is not told here, but by `EntryColumns.expires` beforehand.

        Returns:
            `(K,) int64`, ascending, a part of `changed_ids`: retracted or purged by one of those
            revisions, and not in force now. All that was in force at `since` and no longer is,
            but for expiry, is among them.
        """
        with catalog_errors():
            return touched.out_of_force_since(self._connection, since)

    def purged_since(self, since: int) -> bool:
        """Whether a revision in (`since`, `revision`] purged any entry."""
        with catalog_errors():
            return touched.purged_since(self._connection, since)

    @property
    def purge_mark(self) -> str:
        """`revision_mark` of the newest revision that purged any entry; "" where none did."""
        with catalog_errors():
            mark = touched.revision_mark(self._connection, touched.last_purge(self._connection))
        assert mark is not None  # a revision that was just found
        return mark

    def revision_mark(self, number: int) -> str | None:
        """What names the commit behind a revision number, so that no other one is taken for it.

        A catalog that is restored from a backup and moved on gives numbers a second time.

        Returns:
            Lower-case hex, drawn at random with the commit; "" for revision 0, and None where
            there is no such revision.
        """
        with catalog_errors():
            return touched.revision_mark(self._connection, number)

    def entry_columns(
        self, *, batch_size: int = 65_536, entry_ids: NDArray[np.int64] | None = None
    ) -> Iterator[EntryColumns]:
        """Streams the entries in force, ordered by entry id.

        Those that have expired are among them for a week: see `EntryColumns.expires`.

        Args:
            batch_size: versions read at a time; a batch has at most about so many entries.
            entry_ids: `(K,) int64`, strictly ascending: only those of them that are in force, at
                a cost that grows with `K`; None for all.

        Raises:
            CatalogError: the database failed.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        if entry_ids is None:
            return self._scan(batch_size)
        if not (np.diff(entry_ids) > 0).all():
            raise ValueError("entry_ids must be strictly ascending")
        return self._look_up(entry_ids, batch_size)

    def _scan(self, batch_size: int) -> Iterator[EntryColumns]:
        with catalog_errors():
            retracted = self._retracted()
            batch = _Batches(self._connection, now=self._now)
            # As plain SQL, so that no value passes through SQLAlchemy's converters.
            query = _ROWS.order_by(*_IN_ORDER).compile(
                dialect=self._connection.dialect, compile_kwargs={"literal_binds": True}
            )
            result = self._connection.exec_driver_sql(
                str(query), execution_options={"stream_results": True}
            )
            for rows in _whole_entries(result.partitions(batch_size), batch_size):
                columns = batch.columns(rows, retracted)
                if columns is not None:
                    yield columns

    def _look_up(self, entry_ids: NDArray[np.int64], batch_size: int) -> Iterator[EntryColumns]:
        with catalog_errors():
            batch = _Batches(self._connection, now=self._now)
            for chosen in chunks(entry_ids.tolist(), batch_size):
                rows = list(chain.from_iterable(_BY_ENTRY.run(self._connection, chosen)))
                retracted = np.array(sorted(retracted_among(self._connection, chosen)), np.int64)
                columns = batch.columns(rows, retracted) if rows else None
                if columns is not None:
                    yield columns

    def _retracted(self) -> NDArray[np.int64]:
        """Ids of the entries that any origin holds retracted, ascending."""
        query = (
            select(retractions.c.entry_id, retractions.c.origin, retractions.c.action)
            .join(changes, changes.c.change_id == retractions.c.change_id)
            .where(changes.c.revision.is_not(None))
            .order_by(retractions.c.entry_id, retractions.c.origin, changes.c.revision.desc())
        )
        found: list[int] = []
        last: tuple[int, str] | None = None
        for entry_id, origin, action in self._connection.execute(query):
            if (entry_id, origin) != last and action == Action.RETRACT:
                found.append(entry_id)
            last = (entry_id, origin)
        return np.unique(np.array(found, np.int64))


class _Batches:
    """Turns rows of `_ROWS` into columns."""

    def __init__(self, connection: Connection, *, now: int) -> None:
        self._connection = connection
        self._kept_from = now - EXPIRED_KEPT_SECONDS * _MICROSECONDS
        self._changes = _Facts(connection, _CHANGE_FACTS)
        self._handlings = _Facts(connection, _HANDLING_FACTS)
        query = select(extra_hashes.c.version_id).limit(1)
        self._has_extras = connection.execute(query).first() is not None

    def columns(self, rows: Sequence[Any], retracted: NDArray[np.int64]) -> EntryColumns | None:
        """Of each entry the newest committed version, unless it is retracted or long expired.

        Args:
            rows: at least one; all versions of every entry among them.
            retracted: ids, ascending; those of other entries do no harm.
        """
        entry_ids = _numbers(rows, _ENTRY)
        facts = self._changes.of(_numbers(rows, _CHANGE))
        expires_at = self._handlings.of(_numbers(rows, _HANDLING))[:, 0]
        revision, list_ids = facts[:, 0], facts[:, 1]
        order = np.lexsort((revision, entry_ids))
        newest = np.ones(len(rows), np.bool_)
        newest[:-1] = entry_ids[order][1:] != entry_ids[order][:-1]
        chosen = order[newest]
        wanted = (revision[chosen] > 0) & (expires_at[chosen] > self._kept_from)
        wanted &= ~np.isin(entry_ids[chosen], retracted)
        chosen = chosen[wanted]
        if not len(chosen):
            return None
        return self._of_chosen(
            [rows[row] for row in chosen.tolist()], list_ids[chosen], expires_at[chosen]
        )

    def _of_chosen(
        self, rows: Sequence[Any], list_ids: NDArray[np.int64], expires_at: NDArray[np.int64]
    ) -> EntryColumns:
        columns = list(zip(*rows, strict=True))
        codes = {
            kind: _codes(kind, columns[_FIRST_HASH + position])
            for position, kind in enumerate(KIND_BITS)
        }
        if self._has_extras:
            self._add_extras(codes, columns[_VERSION])
        return EntryColumns(
            entry_ids=np.array(columns[_ENTRY], np.int64),
            list_ids=list_ids.astype(np.int32),
            classification_ids=np.array(columns[_CLASS], np.int32),
            flags=np.array(columns[_FLAGS], np.uint16),
            sizes=np.array(columns[_SIZE], np.int64),
            expires=_seconds(expires_at),
            codes={kind: pair for kind, pair in codes.items() if len(pair[0])},
        )

    def _add_extras(
        self,
        codes: dict[HashKind, tuple[NDArray[np.int64], NDArray[np.uint8]]],
        version_ids: Sequence[int],
    ) -> None:
        row_of = {version_id: row for row, version_id in enumerate(version_ids)}
        more: dict[HashKind, list[tuple[int, bytes]]] = {}
        for chunk in chunks(version_ids):
            query = select(extra_hashes.c.version_id, extra_hashes.c.kind, extra_hashes.c.value)
            for version_id, kind, value in self._connection.execute(
                query.where(extra_hashes.c.version_id.in_(chunk)).order_by(
                    extra_hashes.c.version_id, extra_hashes.c.ordinal
                )
            ):
                more.setdefault(HashKind(kind), []).append((row_of[version_id], value))
        for kind, pairs in more.items():
            rows, values = codes[kind]
            extra_rows = np.array([row for row, _ in pairs], np.int64)
            extra_values = _matrix(kind, [value for _, value in pairs])
            both = np.concatenate([rows, extra_rows])
            order = np.argsort(both, kind="stable")
            codes[kind] = both[order], np.concatenate([values, extra_values])[order]


def _whole_entries(parts: Iterator[Sequence[Any]], size: int) -> Iterator[list[Any]]:
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
    seconds = np.maximum(-(-expires_at // _MICROSECONDS), 1)  # 0 is never
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
