"""Rows in bulk: columns of equal length in, statements of a thousand rows and more out.

One call, or one dictionary, for each row would cost more than the database does.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from operator import itemgetter
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import ColumnElement, Select, Table, bindparam, func

from hashlists.catalog.on_postgresql import copy_rows
from hashlists.catalog.packed_insert import PackedColumns
from hashlists.catalog.schema import KIND_BITS, entries, entry_versions, extra_hashes
from hashlists.model import EntryBatch, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from hashlists.catalog.packed_insert import Column

_FETCHED_ROWS = 2_000


def upsert(connection: Connection, table: Table) -> Any:
    """An INSERT in the database's own dialect, which knows what to do on a conflict."""
    # Loaded with the engine; the other database's dialect takes a while to load and is not needed.
    return import_module(f"sqlalchemy.dialects.{connection.dialect.name}").insert(table)


def or_add(insert_rows: Any, *names: str) -> Any:
    """An `upsert` that adds to these columns where its table has a row of that primary key."""
    table = insert_rows.table
    return insert_rows.on_conflict_do_update(
        index_elements=list(table.primary_key),
        set_={name: table.c[name] + insert_rows.excluded[name] for name in names},
    )


class BulkInsert:
    """One INSERT of many rows, given as columns; in PostgreSQL: COPY."""

    def __init__(self, table: Table, columns: Sequence[str], *, unless: Sequence[str] = ()) -> None:
        """Takes the table's columns that are given, and those whose conflict leaves a row out."""
        self.columns = tuple(columns)
        self._table = table
        self._unless = tuple(unless)

    def run(
        self,
        connection: Connection,
        columns: Sequence[Column],
        *,
        order: NDArray[np.intp] | None = None,
    ) -> int:
        """Inserts rows, given as one sequence for each of `self.columns`; returns how many.

        Columns and order are those of `PackedColumns`; PostgreSQL takes plain sequences, in order.

        Raises:
            ValueError: the columns are of unequal length.
        """
        if not columns:
            return 0
        if len({len(column) for column in columns}) > 1:
            raise ValueError(f"columns of unequal length for {self._table.name}")
        if not len(columns[0]):
            return 0
        if connection.dialect.name == "postgresql":
            rows = list(zip(*columns, strict=True))
            return copy_rows(connection, self._table, self.columns, rows, unless=self._unless)
        packed = PackedColumns(columns, order)
        otherwise = f" ON CONFLICT ({', '.join(self._unless)}) DO NOTHING" if self._unless else ""
        # OR ROLLBACK: else SQLite would keep a copy of every page that the statement changes.
        into = f"INSERT OR ROLLBACK INTO {self._table.name} ({', '.join(self.columns)})"
        sql = f"{into} {packed.sql}{otherwise}"
        return int(connection.exec_driver_sql(sql, tuple(packed.parameters)).rowcount)


class BulkSelect:
    """One SELECT about a list of values, compiled once for each database.

    PostgreSQL takes the list as one array. SQLite has it compiled for a few lengths: a list of
    another length is filled up with its last value, which changes nothing of the result.
    """

    _LENGTHS = (1, 32, 1_000)

    def __init__(self, column: ColumnElement[Any], statement: Select[Any]) -> None:
        """Takes the column that the list of values is about, and the rest of the statement."""
        self._column = column
        self._statement = statement
        self._compiled: dict[tuple[str, int], _Compiled] = {}

    def run(
        self, connection: Connection, values: Sequence[Any], **bound: Any
    ) -> Iterator[Sequence[tuple[Any, ...]]]:
        """Yields the rows for `values`, list by list; `bound` are the statement's other values."""
        longest = self._LENGTHS[-1]
        for start in range(0, len(values), longest):
            chunk = values[start : start + longest]
            if connection.dialect.name == "sqlite":
                length = next(each for each in self._LENGTHS if each >= len(chunk))
                filled = [*chunk, *[chunk[-1]] * (length - len(chunk))]
                given = {f"in_{position}": value for position, value in enumerate(filled)}
            else:
                length, given = 0, {"in_array": list(chunk)}
            compiled = self._for_length(connection, length)
            yield connection.exec_driver_sql(
                compiled.sql, compiled.parameters({**bound, **given})
            ).fetchall()

    def _for_length(self, connection: Connection, length: int) -> _Compiled:
        key = connection.dialect.name, length
        if key not in self._compiled:
            if length:
                marks: list[Any] = [bindparam(f"in_{position}") for position in range(length)]
                these: ColumnElement[bool] = self._column.in_(marks)
            else:
                these = self._column == func.any(bindparam("in_array"))
            self._compiled[key] = _Compiled.of(connection, self._statement.where(these))
        return self._compiled[key]


@dataclass(frozen=True, slots=True)
class _Compiled:
    """A statement for positional parameters."""

    sql: str
    names: tuple[str, ...]
    fixed: Mapping[str, Any]

    @classmethod
    def of(cls, connection: Connection, statement: Any) -> _Compiled:
        style = "qmark" if connection.dialect.name == "sqlite" else "format"
        own: Any = type(connection.dialect)
        dialect = own(paramstyle=style)
        compiled = statement.compile(dialect=dialect)
        assert compiled.positiontup is not None
        return cls(str(compiled), tuple(compiled.positiontup), dict(compiled.params))

    def parameters(self, given: Mapping[str, Any]) -> tuple[Any, ...]:
        return tuple(given[name] if name in given else self.fixed[name] for name in self.names)


def streamed_rows(connection: Connection, query: Select[Any]) -> Iterator[Sequence[Any]]:
    """The rows of a query, some thousand at a time; other queries may be made meanwhile."""
    result = connection.execute(query, execution_options={"stream_results": True})
    yield from result.partitions(_FETCHED_ROWS)


def streamed_columns(
    connection: Connection, query: Select[Any]
) -> Iterator[list[NDArray[np.int64]]]:
    """The same by columns, each `(K,) int64`; the query selects nothing but numbers."""
    for rows in streamed_rows(connection, query):
        yield list(np.array([tuple(row) for row in rows], np.int64).T)


_ENTRY_COLUMNS = ("entry_id", "list_id", "change_id", "source_key")
INSERT_ENTRIES = BulkInsert(entries, _ENTRY_COLUMNS)
#: Leaves out keys that the list holds already; the number of rows tells.
INSERT_NEW_ENTRIES = BulkInsert(entries, _ENTRY_COLUMNS, unless=("list_id", "source_key"))
INSERT_EXTRA_HASHES = BulkInsert(
    extra_hashes, ("version_id", "ordinal", "kind", "value", "derivation")
)

_PLAIN_COLUMNS = tuple(
    column.name for column in entry_versions.columns if column.name not in set(KIND_BITS)
)
_version_inserts: dict[tuple[HashKind, ...], BulkInsert] = {}


def insert_versions(
    connection: Connection,
    plain: Mapping[str, Sequence[Any]],
    hashes: Mapping[HashKind, Sequence[bytes | None]],
    order: NDArray[np.intp] | None = None,
) -> None:
    """Appends rows of `entry_versions`, given as columns: `plain` by name, and the hashes by kind.

    A kind that no row carries may be absent. `order` as for `BulkInsert.run`.
    """
    kinds = tuple(kind for kind in KIND_BITS if kind in hashes)
    if kinds not in _version_inserts:
        names = (*_PLAIN_COLUMNS, *(kind.value for kind in kinds))
        _version_inserts[kinds] = BulkInsert(entry_versions, names)
    statement = _version_inserts[kinds]
    columns = {**plain, **{kind.value: hashes[kind] for kind in kinds}}
    statement.run(connection, [columns[name] for name in statement.columns], order=order)


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
    new_row = {row: position for position, row in enumerate(rows)} if batch.extra_hashes else {}
    return EntryBatch(
        keys=pick(batch.keys, rows),
        hashes={kind: pick(values, rows) for kind, values in batch.hashes.items()},
        extra_hashes=[
            each._replace(row=new_row[each.row])
            for each in batch.extra_hashes
            if each.row in new_row
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
        said_handlings=batch.said_handlings and pick(batch.said_handlings, rows),
        stamped=batch.stamped and pick(batch.stamped, rows),
    )


def pick(values: Sequence[Any], rows: Sequence[int]) -> list[Any]:
    """`values` at `rows`."""
    if len(rows) < 2:  # noqa: PLR2004 - then the getter gives no tuple
        return [values[row] for row in rows]
    return list(itemgetter(*rows)(values))
