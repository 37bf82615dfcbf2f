"""Writes tables as Parquet, in groups of rows; needs the extra `parquet`."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.formats.parquet_library import pyarrow_modules

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from typing_extensions import Buffer

_ROWS_IN_GROUP: Final = 65_536


class RowGroups:
    """A file of Parquet that is being written, compressed with Zstandard.

    A group of rows ends with the columns that make it 65,536 rows or more. The same columns give
    the same bytes with the same version of the library.

    Args:
        stream: written to; it stays the caller's to close.
        schema: a `pyarrow.Schema`.
        repetitive: columns of few different values, for which a dictionary pays.

    Raises:
        UnknownFormatError: pyarrow is not installed.
    """

    def __init__(self, stream: BinaryIO, schema: Any, repetitive: Sequence[str]) -> None:
        self._pa, parquet = pyarrow_modules()
        self._schema = schema
        self._waiting: list[Any] = []
        self._rows = 0
        self._writer = parquet.ParquetWriter(
            _Sink(stream), schema, compression="zstd", use_dictionary=list(repetitive)
        )

    def write(self, columns: Mapping[str, Sequence[Any]]) -> None:
        """Takes rows, one column for each field of the schema, all of one length."""
        arrays = [self._pa.array(columns[field.name], field.type) for field in self._schema]
        table = self._pa.table(arrays, schema=self._schema)
        self._waiting.append(table)
        self._rows += table.num_rows
        if self._rows >= _ROWS_IN_GROUP:
            self._write_waiting()

    def finish(self) -> None:
        """Writes the last group of rows, and the table of contents."""
        self._write_waiting()
        self._writer.close()

    def _write_waiting(self) -> None:
        if self._rows:
            table = self._pa.concat_tables(self._waiting)
            self._writer.write_table(table, row_group_size=self._rows)
        self._waiting, self._rows = [], 0


class _Sink(io.RawIOBase):
    """Writes to the stream; closing it, as the library may, leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def writable(self) -> bool:
        return True

    def write(self, data: Buffer, /) -> int:
        self._stream.write(data)
        return memoryview(data).nbytes


__all__ = ["RowGroups"]
