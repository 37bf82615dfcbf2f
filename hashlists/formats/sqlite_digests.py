"""Reads digests out of one table of a SQLite file, for the formats that are such files.

Values may be text in hex or raw bytes; what is neither, such as a number, rejects its row alone.
Repeats nothing of what else the table holds, since nothing else is selected.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.formats.base import (
    BatchReader,
    Encoding,
    FieldNames,
    FileHeader,
    HashColumn,
    RawBatch,
)
from hashlists.formats.encodings import kind_name
from hashlists.model import HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.sqlite_file import Row, SqliteFile, Table


@dataclass(frozen=True, slots=True)
class DigestTable:
    """What to read.

    Attributes:
        table: the table.
        digests: for each kind the name of its column.
        size: name of the column of sizes; None for none.
        key_kinds: the first of these that a row carries gives its key.
    """

    table: Table
    digests: Mapping[HashKind, str]
    size: str | None
    key_kinds: Sequence[HashKind]


class DigestTableReader(BatchReader):
    """Iterates over the rows of a table (see `base.ListReader`)."""

    def __init__(self, file: SqliteFile, wanted: DigestTable, header: FileHeader) -> None:
        self._file = file
        self._wanted = wanted
        self._header = header
        self._last = file.last_rowid(wanted.table)
        self._at = 0
        self._batches = self._read()

    @property
    def format(self) -> str:
        """Name of the format."""
        return self._header.format

    @property
    def header(self) -> FileHeader:
        """Name and version of the format."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """A share of the file as large as that of the rows read; SQLite tells no bytes."""
        share = min(self._at / self._last, 1.0) if self._last > 0 else 0.0
        return int(self._file.length * share)

    def _read(self) -> Iterator[RawBatch]:
        wanted = self._wanted
        names = [*wanted.digests.values(), *([wanted.size] if wanted.size else [])]
        first = 1
        for rows in self._file.rows(wanted.table, names):
            if isinstance(number := rows[-1][0], int):
                self._at = number
            yield self._to_batch(first, rows)
            first += len(rows)
        self._file.close()

    def _to_batch(self, first: int, rows: Sequence[Row]) -> RawBatch:
        numbers: Sequence[int] = range(first, first + len(rows))
        faults = self._faults(rows)
        if faults:
            kept = [at for at in range(len(rows)) if at not in faults]
            numbers = [first + at for at in kept]
            rows = [rows[at] for at in kept]
        width = 1 + len(self._wanted.digests) + bool(self._wanted.size)
        columns = list(zip(*rows, strict=True)) if rows else [()] * width
        names = self._wanted.digests.values()
        return RawBatch(
            rows=len(rows),
            header=self._header,
            hashes=[
                HashColumn(kind, _as_texts(values), Encoding.HEX, name)
                for kind, name, values in zip(
                    self._wanted.digests, names, columns[1:], strict=False
                )
            ],
            place_at=_Places(numbers),
            key_kinds=self._wanted.key_kinds,
            sizes=_as_sizes(columns[-1]) if self._wanted.size else None,
            names=FieldNames(
                key=kind_name(self._wanted.key_kinds[0]), size=self._wanted.size or "size"
            ),
            rejections=[
                Rejection(Place("row", first + at), name, "a number where a digest should be")
                for at, name in faults.items()
            ],
        )

    def _faults(self, rows: Sequence[Row]) -> Mapping[int, str]:
        """Rows with a digest that is neither text nor bytes, and its column."""
        faults: dict[int, str] = {}
        for column, name in enumerate(self._wanted.digests.values(), start=1):
            types = set(map(type, (row[column] for row in rows)))
            if types - {str, bytes, type(None)}:
                for at, row in enumerate(rows):
                    if not isinstance(row[column], str | bytes | None):
                        faults.setdefault(at, name)
        return faults


class _Places:
    """Places by the number of the row."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    def __call__(self, row: int, /) -> Place:
        return Place("row", self._numbers[row])


def _as_texts(values: Sequence[object]) -> Sequence[str | None]:
    if set(map(type, values)) == {str}:
        return values  # type: ignore[return-value]  # just checked
    return [value.hex() if isinstance(value, bytes) else value for value in values]  # type: ignore[misc]


def _as_sizes(values: Sequence[object]) -> Sequence[float | str | None]:
    if set(map(type, values)) == {int}:
        return values  # type: ignore[return-value]  # just checked
    return [value if isinstance(value, int | float | str) else None for value in values]


__all__ = ["DigestTable", "DigestTableReader"]
