"""Reads the whole catalog at one revision, in columns, for building an index.

Invariants: everything a reader returns comes from one read transaction, hence from one revision;
an entry comes out iff its newest committed version is neither retracted nor expired; memory is
bounded by the size of a batch, plus eight bytes for every retracted entry. Nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import func, select

from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.records import (
    ListRecord,
    expired_handlings,
    list_record,
    next_expiry,
    read_catalog_id,
)
from hashlists.catalog.schema import (
    KIND_BITS,
    Action,
    changes,
    classifications,
    entry_versions,
    extra_hashes,
    hash_lists,
    retractions,
)
from hashlists.catalog.states import chunks, read_head
from hashlists.model import Classification, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from numpy.typing import NDArray
    from sqlalchemy import Connection

#: Stands for "size unknown" in `EntryColumns.sizes`.
UNKNOWN_SIZE = -1
#: Stands for "no classification" in `EntryColumns.classification_ids`.
NO_CLASSIFICATION = 0


@dataclass(frozen=True, slots=True)
class EntryColumns:
    """`M` entries in force, as columns, ordered by entry id.

    Attributes:
        entry_ids: `(M,) int64`.
        list_ids: `(M,) int32`, as in `ListRecord.list_id`.
        classification_ids: `(M,) int32`, keys of `CatalogReader.classifications`; 0 for none.
        flags: `(M,) uint16`, set bits of `EntryFlag`.
        sizes: `(M,) int64` bytes; -1 where unknown.
        codes: for each kind that any of these entries carries: rows of this batch `(K,) int64`,
            ascending, and values `(K, kind.nbytes) uint8`. A row comes once for every value.
    """

    entry_ids: NDArray[np.int64]
    list_ids: NDArray[np.int32]
    classification_ids: NDArray[np.int32]
    flags: NDArray[np.uint16]
    sizes: NDArray[np.int64]
    codes: Mapping[HashKind, tuple[NDArray[np.int64], NDArray[np.uint8]]] = field(repr=False)

    def __len__(self) -> int:
        return len(self.entry_ids)


_SCAN = select(
    entry_versions.c.entry_id,
    entry_versions.c.change_id,
    entry_versions.c.version_id,
    entry_versions.c.handling_id,
    entry_versions.c.flags,
    func.coalesce(entry_versions.c.size, UNKNOWN_SIZE),
    func.coalesce(entry_versions.c.classification_id, NO_CLASSIFICATION),
    *(entry_versions.c[kind.value] for kind in KIND_BITS),
).order_by(entry_versions.c.entry_id, entry_versions.c.version_id)
_ENTRY, _CHANGE, _VERSION, _HANDLING, _FLAGS, _SIZE, _CLASS, _FIRST_HASH = range(8)


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

    def next_expiry(self) -> datetime | None:
        """When the next entries expire, and this view is no longer what the catalog shows."""
        with catalog_errors():
            return next_expiry(self._connection, now=self._now)

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

    def entry_columns(self, *, batch_size: int = 65_536) -> Iterator[EntryColumns]:
        """Streams the entries in force, ordered by entry id.

        Args:
            batch_size: versions read at a time; a batch has at most about so many entries.

        Raises:
            CatalogError: the database failed.
        """
        if batch_size < 1:
            raise ValueError("batch_size must be at least 1")
        return self._scan(batch_size)

    def _scan(self, batch_size: int) -> Iterator[EntryColumns]:
        with catalog_errors():
            revision_of, list_of = self._changes()
            retracted = self._retracted()
            expired = np.array(sorted(expired_handlings(self._connection, now=self._now)), np.int64)
            has_extras = self._has_extras()
            # As plain SQL, so that no value passes through SQLAlchemy's converters.
            dialect = self._connection.dialect
            sql = str(_SCAN.compile(dialect=dialect, compile_kwargs={"literal_binds": True}))
            result = self._connection.execution_options(stream_results=True).exec_driver_sql(sql)
            for rows in _whole_entries(result.partitions(batch_size), batch_size):
                kept = _in_force(rows, revision_of, retracted, expired)
                if kept:
                    yield self._columns(kept, list_of, has_extras=has_extras)

    def _changes(self) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
        """By change id: its revision (0: not committed) and its list."""
        query = select(changes.c.change_id, changes.c.revision, changes.c.list_id)
        rows = self._connection.execute(query).all()
        size = max((row.change_id for row in rows), default=0) + 1
        revision_of, list_of = np.zeros(size, np.int64), np.zeros(size, np.int32)
        for change_id, revision, list_id in rows:
            revision_of[change_id] = revision or 0
            list_of[change_id] = list_id
        return revision_of, list_of

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

    def _has_extras(self) -> bool:
        query = select(extra_hashes.c.version_id).limit(1)
        return self._connection.execute(query).first() is not None

    def _columns(
        self, rows: list[Any], list_of: NDArray[np.int32], *, has_extras: bool
    ) -> EntryColumns:
        columns = list(zip(*rows, strict=True))
        codes = {
            kind: _codes(kind, columns[_FIRST_HASH + position])
            for position, kind in enumerate(KIND_BITS)
        }
        if has_extras:
            self._add_extras(codes, columns[_VERSION])
        return EntryColumns(
            entry_ids=np.array(columns[_ENTRY], np.int64),
            list_ids=list_of[np.array(columns[_CHANGE], np.int64)],
            classification_ids=np.array(columns[_CLASS], np.int32),
            flags=np.array(columns[_FLAGS], np.uint16),
            sizes=np.array(columns[_SIZE], np.int64),
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


def _in_force(
    rows: list[Any],
    revision_of: NDArray[np.int64],
    retracted: NDArray[np.int64],
    expired: NDArray[np.int64],
) -> list[Any]:
    """Of each entry the newest committed version, unless it is retracted or expired."""
    number = len(rows)
    entry_ids = np.fromiter((row[_ENTRY] for row in rows), np.int64, number)
    revision = revision_of[np.fromiter((row[_CHANGE] for row in rows), np.int64, number)]
    handling_ids = np.fromiter((row[_HANDLING] for row in rows), np.int64, number)
    order = np.lexsort((revision, entry_ids))
    newest = np.ones(number, np.bool_)
    newest[:-1] = entry_ids[order][1:] != entry_ids[order][:-1]
    chosen = order[newest]
    wanted = revision[chosen] > 0
    wanted &= ~np.isin(entry_ids[chosen], retracted)
    wanted &= ~np.isin(handling_ids[chosen], expired)
    return [rows[row] for row in chosen[wanted].tolist()]


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
