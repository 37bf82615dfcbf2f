"""Looks at a Parquet file's table of contents and pages before anything is unpacked.

The footer of a file says how large its columns are unpacked, and may lie; the library that reads
Parquet believes each page's own header and allocates what that says. So every header of the wanted
columns is read first, by the positions that the library will go by, and a page that unpacks to too
much is refused. Two encodings let a small page stand for large values many times over: a dictionary
that rows refer to, and deltas (a value that repeats the beginning of the last one). Of these the
largest page is told, so that the reader takes fewer rows at a time.

The table of contents is read here a second time, since the library's Python side, asked for the
positions in a damaged one, ends the whole process.

Source: the Thrift definitions of `FileMetaData` and `PageHeader` (apache/parquet-format,
`parquet.thrift`) and the compact protocol of Apache Thrift. Nothing is unpacked and no value is
looked at here.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from hashlists.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.limits import ImportLimits

    _Struct = Mapping[int, Any]

#: Unpacked bytes of one page; writers commonly make pages of 1 MiB, some of up to 100.
MAX_PAGE_BYTES: Final = 128 * 1024 * 1024
#: The same of a page whose values may be repeated.
MAX_REPEATING_PAGE_BYTES: Final = 16 * 1024 * 1024
#: Values of one column in one group of rows.
MAX_CHUNK_VALUES: Final = 64 * 1024 * 1024
_HEADER_BYTES: Final = 64 * 1024
_RATIO_FROM_BYTES: Final = 1024 * 1024
_MAX_DEPTH: Final = 12

_ROW_GROUPS, _COLUMNS, _META_DATA, _FILE_PATH = 4, 1, 3, 1
_PATH, _CHUNK_VALUES, _CHUNK_LENGTH, _FIRST_DATA, _FIRST_DICTIONARY = 3, 5, 7, 9, 11
_TYPE, _UNPACKED, _PACKED, _DATA, _DICTIONARY, _DATA_V2 = 1, 2, 3, 5, 7, 8
_NUM_VALUES, _ENCODING, _ENCODING_V2 = 1, 2, 4
_DICTIONARY_PAGE: Final = 2
_DELTA_BYTE_ARRAY: Final = 7
_TRUE, _FALSE, _BYTE, _DOUBLE, _BINARY, _LIST, _SET, _STRUCT = 1, 2, 3, 7, 8, 9, 10, 12
_LONG_LIST: Final = 15
_INTEGERS: Final = (4, 5, 6)
_BOOLEANS: Final = (_TRUE, _FALSE)


@dataclass(frozen=True, slots=True)
class Chunk:
    """The pages of one column in one group of rows.

    Attributes:
        name: of the column, for messages.
        start: position of the first page.
        length: packed bytes of all pages, headers included.
        values: how many values the pages hold together.
    """

    name: str
    start: int
    length: int
    values: int


def read_chunks(footer: bytes) -> list[list[Chunk]]:
    """The columns of each group of rows, by a file's table of contents.

    Args:
        footer: the table as it stands in the file, without its length.

    Raises:
        FormatError: it cannot be read, or leads to another file.
    """
    try:
        contents, _ = _Compact(footer).struct()
        return [[_chunk(column) for column in group[_COLUMNS]] for group in contents[_ROW_GROUPS]]
    except (LookupError, ValueError, TypeError, AttributeError):
        raise FormatError("the Parquet file's table of contents is damaged") from None


def _chunk(column: _Struct) -> Chunk:
    if _FILE_PATH in column:  # of another file: nobody follows that
        raise ValueError
    said = column[_META_DATA]
    start, values, length = said[_FIRST_DATA], said[_CHUNK_VALUES], said[_CHUNK_LENGTH]
    first = said.get(_FIRST_DICTIONARY) or start
    if min(start, values, length, first) < 0:
        raise ValueError
    return Chunk(b".".join(said[_PATH]).decode(), min(start, first), length, values)


def largest_repeating_page(stream: BinaryIO, chunk: Chunk, limits: ImportLimits) -> int:
    """Checks every page of a column, and tells how large those are whose values may repeat.

    Args:
        stream: the file; its position changes.
        chunk: where the pages are.
        limits: for the ratio of unpacked to packed bytes.

    Returns:
        Unpacked bytes of the largest page that is a dictionary or of deltas; 0 where none is.

    Raises:
        FormatError: a page unpacks to too much, or is not where the file says.
    """
    largest = values = 0
    position, end = chunk.start, chunk.start + chunk.length
    while position < end and values < chunk.values:
        stream.seek(position)
        try:
            header, size = _Compact(stream.read(min(_HEADER_BYTES, end - position))).struct()
        except (IndexError, ValueError):
            raise _bad(chunk, "has a page without a readable header") from None
        unpacked, packed = header.get(_UNPACKED), header.get(_PACKED)
        if (
            not isinstance(unpacked, int)
            or not isinstance(packed, int)
            or min(unpacked, packed) < 0
        ):
            raise _bad(chunk, "has a page of unknown size")
        _require_modest(chunk, unpacked, packed, limits)
        if _may_repeat(header):
            if unpacked > MAX_REPEATING_PAGE_BYTES:
                limit = MAX_REPEATING_PAGE_BYTES
                raise _bad(chunk, f"has a dictionary or page of deltas of more than {limit} bytes")
            largest = max(largest, unpacked)
        values += _values_of(header)
        position += size + packed
    if values > MAX_CHUNK_VALUES:
        raise _bad(chunk, f"has a group of rows with more than {MAX_CHUNK_VALUES} values")
    return largest


def _require_modest(chunk: Chunk, unpacked: int, packed: int, limits: ImportLimits) -> None:
    if unpacked > MAX_PAGE_BYTES:
        raise _bad(chunk, f"has a page that unpacks to more than {MAX_PAGE_BYTES} bytes")
    if unpacked > _RATIO_FROM_BYTES + limits.max_unpacked_ratio * packed:
        ratio = limits.max_unpacked_ratio
        raise _bad(chunk, f"has a page that unpacks to more than {ratio} times its size")


def _may_repeat(header: _Struct) -> bool:
    encodings = (
        _part(header, _DATA).get(_ENCODING),
        _part(header, _DATA_V2).get(_ENCODING_V2),
    )
    return header.get(_TYPE) == _DICTIONARY_PAGE or _DELTA_BYTE_ARRAY in encodings


def _values_of(header: _Struct) -> int:
    """Values of a data page; 0 of any other."""
    for field in (_DATA, _DATA_V2):
        count = _part(header, field).get(_NUM_VALUES)
        if isinstance(count, int):
            return max(count, 0)
    return 0


def _part(header: _Struct, field: int) -> _Struct:
    part = header.get(field)
    return part if isinstance(part, dict) else {}


def _bad(chunk: Chunk, problem: str) -> FormatError:
    return FormatError(f"the column {chunk.name!r} {problem}")


class _Compact:
    """Reads structures of Thrift's compact protocol.

    Raises:
        IndexError, ValueError: the bytes end too early, or are no such structure.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int = 0) -> tuple[dict[int, Any], int]:
        """Values by field number, and where the structure ends."""
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            delta, kind = head >> 4, head & 0x0F
            number = number + delta if delta else self._integer()
            fields[number] = int(kind == _TRUE) if kind in _BOOLEANS else self._value(kind, depth)
        return fields, self._at

    def _value(self, kind: int, depth: int) -> Any:
        """An integer, bytes, a list or a structure; None for a double, which has no use here."""
        if depth > _MAX_DEPTH:
            raise ValueError
        if kind in _INTEGERS:
            return self._integer()
        if kind == _STRUCT:
            return self.struct(depth + 1)[0]
        if kind in (_BYTE, *_BOOLEANS):
            return self._byte()
        if kind == _DOUBLE:
            self._take(8)
            return None
        if kind == _BINARY:
            return self._take(self._varint())
        if kind in (_LIST, _SET):
            head = self._byte()
            size, kind = head >> 4, head & 0x0F
            size = self._varint() if size == _LONG_LIST else size
            return [self._value(kind, depth + 1) for _ in range(size)]
        raise ValueError  # a map, which neither structure has, or nothing that the protocol knows

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        self._at += size
        if len(taken) < size:
            raise ValueError
        return taken

    def _byte(self) -> int:
        value = self._data[self._at]
        self._at += 1
        return value

    def _varint(self) -> int:
        value = shift = 0
        while True:
            byte = self._byte()
            value |= (byte & 0x7F) << shift
            if byte < 0x80:  # noqa: PLR2004  # the protocol's mark of a last byte
                return value
            shift += 7
            if shift > 63:  # noqa: PLR2004  # no integer is longer
                raise ValueError

    def _integer(self) -> int:
        value = self._varint()
        return (value >> 1) ^ -(value & 1)
