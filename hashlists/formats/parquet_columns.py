"""What stands in the columns of a Parquet file, as far as its schema and its first rows show.

Judged by the rule of all tables (`table_columns`): columns of text, numbers, times, yes and no by
their names and by the values of some rows. Lists, bytes and long texts say nothing of a record.

Invariants: of each column a few thousand rows are read, and no more bytes than `_MAX_BYTES` and one
step of rows; pages are looked at first (`parquet_pages`). A column that cannot be read harms no
other: it is judged by its type. No value goes on from here.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, BinaryIO, Final, TypeAlias

from hashlists.errors import FormatError
from hashlists.formats.parquet_pages import largest_repeating_page
from hashlists.formats.table_columns import MAX_ROWS, Column, may_be_status

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashlists.formats.parquet_pages import Chunk
    from hashlists.limits import ImportLimits

_Value: TypeAlias = str | float

_MAX_BYTES: Final = 16 * 1024 * 1024
#: Rows taken at once, unless values that may repeat are so long that fewer are.
_STEP: Final = 500
#: Packed bytes of a value on average; longer ones are no status.
_LONG: Final = 256
#: What a few pages may have beside their values, statistics included.
_PAGE_HEADERS: Final = 4096


class ParquetColumns:
    """The columns of one file.

    Args:
        pa: the library.
        file: opened by it.
        stream: the file's bytes; its position changes.
        chunks: the file's columns by groups of rows.
        limits: ceilings of an import.
    """

    def __init__(
        self,
        pa: Any,
        file: Any,
        stream: BinaryIO,
        chunks: Sequence[Sequence[Chunk]],
        limits: ImportLimits,
    ) -> None:
        self._pa = pa
        self._file = file
        self._stream = stream
        self._chunks = chunks
        self._limits = limits

    def seen(self) -> list[Column]:
        """All columns, those within structures with dots."""
        leaves = list(self._below(self._file.schema_arrow, ""))
        named = Counter(name for name, _ in leaves)
        return [
            Column(name, self._may_be_status(name, kind, is_alone=named[name] == 1))
            for name, kind in leaves
        ]

    def _below(self, fields: Any, prefix: str) -> Iterator[tuple[str, Any]]:
        for each in fields:
            if self._pa.types.is_struct(each.type):
                yield from self._below(each.type, f"{prefix}{each.name}.")
            else:
                yield f"{prefix}{each.name}", each.type

    def _may_be_status(self, name: str, kind: Any, *, is_alone: bool) -> bool:
        types = self._pa.types
        values = self._first_values(name) if is_alone and self._is_plain(kind) else None
        if values is None:
            return bool(types.is_boolean(kind) or types.is_dictionary(kind))
        return may_be_status(values)

    def _is_plain(self, kind: Any) -> bool:
        types = self._pa.types
        if types.is_dictionary(kind):
            kind = kind.value_type
        is_text = types.is_string(kind) or types.is_large_string(kind)
        return bool(is_text or (types.is_primitive(kind) and not types.is_null(kind)))

    def _first_values(self, name: str) -> list[_Value] | None:
        """The values of some rows; None where they are long, or cannot be read."""
        values: list[_Value] = []
        size = 0
        try:
            for part in self._parts(name):
                values += map(_value, part.to_pylist())
                size += part.nbytes
                if len(values) >= MAX_ROWS or size > _MAX_BYTES:
                    break
        except (self._pa.ArrowException, FormatError, OSError, ValueError, OverflowError):
            return None
        return values[:MAX_ROWS]

    def _parts(self, name: str) -> Iterator[Any]:
        for group, chunks in enumerate(self._chunks):
            (chunk,) = (each for each in chunks if each.name == name)
            if chunk.length > _PAGE_HEADERS + _LONG * chunk.values:
                raise FormatError("its values are long")
            largest = largest_repeating_page(self._stream, chunk, self._limits)
            for part in self._file.iter_batches(
                batch_size=max(min(_STEP, _MAX_BYTES // max(largest, 1)), 1),
                row_groups=[group],
                columns=[name],
                use_threads=False,
            ):
                column = part.column(0)
                while self._pa.types.is_struct(column.type):
                    column = self._pa.compute.struct_field(column, [0])
                yield column


def _value(value: object) -> _Value:
    """As the cell of a text table: nothing is empty, what is no number or yes or no is text."""
    if value is None:
        return ""
    if isinstance(value, bool | int | float):
        return value
    return str(value).strip()


__all__ = ["ParquetColumns"]
