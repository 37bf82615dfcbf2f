"""Rows in bulk: statements compiled once and run with tuples, which go to the driver as they are.

Building one dictionary per row would cost more than the database does. Columns come in as
sequences of equal length and leave as tuples; nothing here looks at a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import ColumnElement, Select, Table, bindparam, insert
from sqlalchemy.dialects import sqlite

from hashlists.catalog.schema import KIND_BITS, entries, entry_versions, extra_hashes
from hashlists.model import EntryBatch, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from sqlalchemy import Connection
    from sqlalchemy.sql.dml import Insert


class BulkInsert:
    """One INSERT, compiled for positional parameters in the order of `columns`."""

    def __init__(
        self, table: Table, columns: Sequence[str], statement: Insert | None = None
    ) -> None:
        compiled = (insert(table) if statement is None else statement).compile(
            dialect=sqlite.dialect(), column_keys=list(columns)
        )
        assert compiled.positiontup is not None
        self.columns = tuple(compiled.positiontup)
        self._sql = str(compiled)

    def run(self, connection: Connection, rows: Iterable[tuple[Any, ...]]) -> int:
        """Inserts `rows`, each in the order of `self.columns`; returns how many went in."""
        listed = list(rows)
        if not listed:
            return 0
        return int(connection.exec_driver_sql(self._sql, listed).rowcount)


class BulkSelect:
    """One SELECT with an IN list, compiled for a few lengths of the list.

    A list of another length is filled up with its last value, which changes nothing of the result.
    """

    _LENGTHS = (1, 32, 1_000)

    def __init__(self, column: ColumnElement[Any], statement: Select[Any]) -> None:
        """Takes the column that the IN list is about, and the rest of the statement."""
        self._column = column
        self._statement = statement
        self._compiled: dict[int, tuple[str, tuple[str, ...]]] = {}

    def run(
        self, connection: Connection, values: Sequence[Any], **bound: Any
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yields the rows for `values`, list by list; `bound` are the statement's other values."""
        longest = self._LENGTHS[-1]
        for start in range(0, len(values), longest):
            chunk = values[start : start + longest]
            length = next(each for each in self._LENGTHS if each >= len(chunk))
            sql, names = self._for_length(length)
            given = {f"in_{position}": value for position, value in enumerate(chunk)}
            parameters = tuple(
                bound[name] if name in bound else given.get(name, chunk[-1]) for name in names
            )
            yield connection.exec_driver_sql(sql, parameters).fetchall()

    def _for_length(self, length: int) -> tuple[str, tuple[str, ...]]:
        if length not in self._compiled:
            marks: list[Any] = [bindparam(f"in_{position}") for position in range(length)]
            statement = self._statement.where(self._column.in_(marks))
            compiled = statement.compile(dialect=sqlite.dialect())
            assert compiled.positiontup is not None
            self._compiled[length] = str(compiled), tuple(compiled.positiontup)
        return self._compiled[length]


#: Leaves out keys that the list holds already; the number of rows tells.
INSERT_NEW_ENTRIES = BulkInsert(
    entries,
    ("entry_id", "list_id", "change_id", "source_key"),
    sqlite.insert(entries).on_conflict_do_nothing(index_elements=["list_id", "source_key"]),
)
INSERT_EXTRA_HASHES = BulkInsert(extra_hashes, ("version_id", "ordinal", "kind", "value"))

_PLAIN_COLUMNS = tuple(
    column.name for column in entry_versions.columns if column.name not in set(KIND_BITS)
)
_version_inserts: dict[tuple[HashKind, ...], BulkInsert] = {}


def insert_versions(
    connection: Connection,
    plain: Mapping[str, Sequence[Any]],
    hashes: Mapping[HashKind, Sequence[bytes | None]],
) -> None:
    """Appends rows of `entry_versions`, given as columns: `plain` by name, and the hashes by kind.

    A kind that no row carries may be absent.
    """
    kinds = tuple(kind for kind in KIND_BITS if kind in hashes)
    if kinds not in _version_inserts:
        names = (*_PLAIN_COLUMNS, *(kind.value for kind in kinds))
        _version_inserts[kinds] = BulkInsert(entry_versions, names)
    statement = _version_inserts[kinds]
    columns = {**plain, **{kind.value: hashes[kind] for kind in kinds}}
    statement.run(connection, zip(*(columns[name] for name in statement.columns), strict=True))


def kinds_of(batch: EntryBatch) -> list[int]:
    """For each row of a batch, which hashes it carries, as `KIND_BITS`."""
    everywhere = 0
    partial: list[tuple[int, Sequence[bytes | None]]] = []
    for kind, values in batch.hashes.items():
        if None in values:
            partial.append((KIND_BITS[kind], values))
        else:
            everywhere |= KIND_BITS[kind]
    masks = [everywhere] * len(batch)
    for bit, values in partial:
        masks = [
            mask if value is None else mask | bit for mask, value in zip(masks, values, strict=True)
        ]
    return masks


def take(batch: EntryBatch, rows: Sequence[int]) -> EntryBatch:
    """The given rows of a batch, in that order."""
    new_row = {row: position for position, row in enumerate(rows)}
    return EntryBatch(
        keys=pick(batch.keys, rows),
        hashes={kind: pick(values, rows) for kind, values in batch.hashes.items()},
        extra_hashes=[
            (new_row[row], kind, value) for row, kind, value in batch.extra_hashes if row in new_row
        ],
        sizes=pick(batch.sizes, rows),
        classifications=pick(batch.classifications, rows),
        handlings=pick(batch.handlings, rows),
        flags=pick(batch.flags, rows),
        flags_known=pick(batch.flags_known, rows),
        verified_counts=pick(batch.verified_counts, rows),
        media_types=pick(batch.media_types, rows),
        source_ids=pick(batch.source_ids, rows),
        source_updated_at=pick(batch.source_updated_at, rows),
        content_digests=pick(batch.content_digests, rows),
        place_at=lambda row: batch.place_at(rows[row]),
    )


def pick(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    """`values` at `rows`."""
    return [values[row] for row in rows]
