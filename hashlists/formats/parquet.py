"""Reads Parquet: tables of foreign layout, whose columns the importer declares, and our own.

Which column is which field the options say, as for CSV; a column within a structure is named with
dots between. Hashes may be text or raw bytes; a list holds several hashes of a kind, or several
recipients. Other columns are neither unpacked nor looked at.

Needs pyarrow (the extra `parquet`), which is imported when a file is opened. Rows are read some
hundred at a time, so memory depends on the pages of the file and not on its length; pages are
looked at before they are unpacked (`parquet_pages`). A file whose end is missing has no table of
contents and is refused.

Options: those of `hashlists.formats.field_mapping`, or `columns=hashwarden`, which is also assumed
where there are no options at all.
"""

from __future__ import annotations

import io
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, BinaryIO, Final

import numpy as np

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import own_layout
from hashlists.formats.advice import GET_AGAIN, INSPECT
from hashlists.formats.base import BatchReader, FileHeader, Format, Likeness, RawBatch
from hashlists.formats.delta_mark import SENDER, SINCE, UPTO, FileMark
from hashlists.formats.field_mapping import FieldMapping
from hashlists.formats.mapped_batch import with_status_told
from hashlists.formats.parquet_columns import ParquetColumns
from hashlists.formats.parquet_library import (
    LAYOUT_KEY,
    LAYOUT_VERSION,
    MARK_PREFIX,
    pyarrow_modules,
)
from hashlists.formats.parquet_pages import largest_repeating_page, read_chunks
from hashlists.formats.parquet_writer import ParquetWriter
from hashlists.formats.shown_columns import show_columns
from hashlists.formats.typed_batch import typed_batch
from hashlists.model import Place
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from typing_extensions import Buffer

    from hashlists.formats.base import Sample
    from hashlists.formats.table_columns import Column
    from hashlists.limits import ImportLimits

_MAGIC: Final = b"PAR1"
_ENCRYPTED_MAGIC: Final = b"PARE"
_TAIL_BYTES: Final = 8
_MAX_FOOTER_BYTES: Final = 64 * 1024 * 1024
_MAX_THRIFT_ITEMS: Final = 1_000_000
_READ_BYTES: Final = 256 * 1024
#: Unpacked bytes of the rows that are taken at once.
_MAX_ROWS_BYTES: Final = 64 * 1024 * 1024
_MAX_REPEATED_BYTES: Final = 256 * 1024 * 1024
#: Rows that a file may have whatever its length, before their number is measured by it.
_ROWS_FREE: Final = 1_000_000


class ParquetReader(BatchReader):
    """Iterates over a Parquet file (see `base.ListReader`); the module names the options.

    Raises:
        UnknownFormatError: pyarrow is not installed.
        OptionsError: the options are wrong, or name a column that the file does not have.
        FormatError: the file is not Parquet, is cut off, or unpacks to too much.
    """

    format: Final = "parquet"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        self._own = not options or own_layout.is_asked_for(options)
        self._mapping = own_layout.MAPPING if self._own else FieldMapping.parse(options)
        self._pa, parquet = pyarrow_modules()
        self._limits = limits
        self._stream = stream
        self._length, footer = _read_footer(stream)
        self._chunks = read_chunks(footer)
        with self._converted():
            self._file = parquet.ParquetFile(
                _View(stream),
                buffer_size=_READ_BYTES,
                pre_buffer=False,
                thrift_string_size_limit=_MAX_FOOTER_BYTES,
                thrift_container_size_limit=_MAX_THRIFT_ITEMS,
            )
            self._schema = self._file.schema_arrow
        if len(self._chunks) != self._file.metadata.num_row_groups:
            raise FormatError("the Parquet file's table of contents is damaged")
        self._require_own()
        version = LAYOUT_VERSION if self._own else ""
        self._header = FileHeader("parquet", version, self._mapping.scheme, self._mapping.profile)
        self._paths = self._find_columns()
        self._require_modest()
        self._done = 0
        self._batches = with_status_told(self._mapping, self._header, self._read())

    @property
    def header(self) -> FileHeader:
        """Scheme and profile as the options give them; the version of the own layout."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """As large a share of the file as of its rows were read."""
        rows = self._file.metadata.num_rows
        return self._length * self._done // rows if rows else self._length

    @property
    def columns(self) -> Sequence[Column]:
        """All columns, those within structures with dots, judged by their first rows."""
        columns = ParquetColumns(self._pa, self._file, self._stream, self._chunks, self._limits)
        with self._converted():
            return columns.seen()

    @contextmanager
    def _converted(self) -> Iterator[None]:
        """Turns what the library raises into our own error; its words may repeat values."""
        try:
            yield
        except (self._pa.ArrowException, OSError, ValueError, MemoryError) as error:
            if isinstance(error, OSError) and error.errno is not None:
                raise FormatError(f"the file cannot be read: {error.strerror}") from error
            raise FormatError(
                "the file is damaged, or uses what the Parquet library does not know"
            ) from None

    def _require_own(self) -> None:
        if not self._own:
            return
        found = (self._schema.metadata or {}).get(LAYOUT_KEY)
        if found is None:
            raise OptionsError(
                "the file is not of Hashwarden's own layout; for another say which column holds "
                f"what, e.g. --column md5=NAME; its columns are: {self._shown_columns()}"
            )
        if found != LAYOUT_VERSION.encode():
            raise FormatError(
                f"the file is of another version of the layout than {LAYOUT_VERSION}, the one "
                "known here"
            )

    def _shown_columns(self) -> str:
        return show_columns(self._schema.names, header_line=False)

    def _find_columns(self) -> Mapping[str, Sequence[str]]:
        """From what is wanted to the names that lead to its column."""
        wanted = self._mapping.all_columns()
        if self._own:
            wanted |= own_layout.further_columns(self._schema.names)
        if len(self._schema.names) > self._limits.max_columns:
            raise FormatError(
                f"the file has {len(self._schema.names)} columns; at most "
                f"{self._limits.max_columns} are read"
            )
        return {field: self._path(field, name) for field, name in wanted.items()}

    def _path(self, field: str, name: str) -> Sequence[str]:
        path = [name] if self._schema.names.count(name) else name.split(".")
        fields: Any = self._schema
        kind = None
        for step in path:
            at = fields.get_all_field_indices(step) if fields is not None else []
            if len(at) != 1:
                problem = "has more than once" if at else "does not have"
                raise OptionsError(
                    f"columns.{field} (--column {field}=NAME) names the column {name!r}, which "
                    f"the file {problem}; its columns are: {self._shown_columns()}"
                )
            kind = fields.field(at[0]).type
            fields = kind if self._pa.types.is_struct(kind) else None
        if fields is not None:
            raise OptionsError(f"the column {name!r} is a structure; name the part that is meant")
        return path

    def _require_modest(self) -> None:
        """Refuses a file that says itself that it holds more than its length can.

        Raises:
            FormatError: it does.
        """
        rows = self._file.metadata.num_rows
        if rows > _ROWS_FREE + self._limits.max_unpacked_ratio * self._length:
            raise FormatError("the file has more rows than its length can hold")

    def _read(self) -> Iterator[RawBatch]:
        said = self._schema.metadata or {}  # whatever the options take over
        told = {name: said.get(f"{MARK_PREFIX}{name}".encode()) for name in (SENDER, UPTO, SINCE)}
        mark = FileMark.of(told)
        if mark.says_anything:
            yield RawBatch.of_mark(self._header, mark)
        for group in range(len(self._chunks)):
            with self._converted():
                rows_at_once = self._check_group(group)
                parts = self._file.iter_batches(
                    batch_size=rows_at_once,
                    row_groups=[group],
                    columns=sorted({".".join(path) for path in self._paths.values()}),
                    use_threads=False,
                )
            yield from self._coalesced(parts)
        if self._done != self._file.metadata.num_rows:
            raise FormatError(
                f"the file says that it has {counted(self._file.metadata.num_rows, 'row')}, and "
                f"has {self._done:,}; {GET_AGAIN}"
            )

    def _check_group(self, group: int) -> int:
        """Looks at the pages of one group of rows; returns how many rows may be taken at once."""
        wanted = tuple(".".join(path) for path in self._paths.values())
        below = tuple(f"{name}." for name in wanted)
        largest = 1
        for chunk in self._chunks[group]:
            if chunk.name in wanted or chunk.name.startswith(below):
                largest = max(largest, largest_repeating_page(self._stream, chunk, self._limits))
        return max(min(_MAX_REPEATED_BYTES // largest, self._limits.max_batch_rows), 1)

    def _coalesced(self, parts: Iterator[Any]) -> Iterator[RawBatch]:
        """Batches of as many rows as the limits allow, of parts that may be smaller."""
        waiting: dict[str, list[Any]] = {}
        rows = 0
        while True:
            with self._converted():
                part = next(parts, None)
                if part is not None and sum(map(self._dense_bytes, part)) > _MAX_ROWS_BYTES:
                    raise FormatError(
                        f"{part.num_rows} rows unpack to more than {_MAX_ROWS_BYTES} bytes",
                        place=Place("row", self._done + rows + 1),
                    )
                columns = self._columns(part) if part is not None else {}
            if rows and (part is None or rows + part.num_rows > self._limits.max_batch_rows):
                yield self._to_batch(waiting, rows)
                waiting, rows = {}, 0
            if part is None:
                return
            for field, values in columns.items():
                waiting.setdefault(field, []).extend(values)
            rows += part.num_rows

    def _dense_bytes(self, column: Any) -> int:
        """At most so many bytes are in a column, each value of a dictionary counted as it comes."""
        size: int = column.nbytes
        if self._pa.types.is_dictionary(column.type) and len(column.dictionary):
            value_type = column.type.value_type
            if not self._pa.types.is_primitive(value_type):
                lengths = self._pa.compute.binary_length(column.dictionary)
                size += len(column) * (self._pa.compute.max(lengths).as_py() or 0)
        return size

    def _columns(self, part: Any) -> dict[str, list[Any]]:
        columns = {}
        for field, path in self._paths.items():
            column = part.column(part.schema.get_field_index(path[0]))
            for step in path[1:]:
                column = self._pa.compute.struct_field(column, step)
            columns[field] = self._values(column)
        return columns

    def _values(self, column: Any) -> list[Any]:
        """The values as Python has them; times as times, whole where the column is."""
        if column.null_count == len(column):
            return [None] * len(column)
        types = self._pa.types
        if types.is_fixed_size_binary(column.type) and not column.null_count:
            return _fixed_values(column)
        if types.is_timestamp(column.type):
            column = column.cast(self._pa.timestamp("us", column.type.tz), safe=False)
        try:
            values: list[Any] = column.to_pylist()
        except OverflowError:  # a time that Python cannot hold
            values = [_value_or_nothing_known(scalar) for scalar in column]
        except UnicodeDecodeError:
            raw = column.cast(self._pa.binary()).to_pylist()
            values = [
                None if value is None else value.decode("utf-8", "surrogateescape") for value in raw
            ]
        return values

    def _to_batch(self, columns: Mapping[str, Sequence[Any]], rows: int) -> RawBatch:
        first = self._done + 1
        self._done += rows
        return typed_batch(
            self._mapping,
            self._header,
            {
                field: values
                for field, values in columns.items()
                if not self._own or field == "releasable_to" or values.count(None) < rows
            },
            rows=rows,
            place_at=lambda row: Place("row", first + row),
        )


def _value_or_nothing_known(scalar: Any) -> Any:
    """The value, or an empty tuple, which is of the wrong type for every field."""
    try:
        return scalar.as_py()
    except OverflowError:
        return ()


def _fixed_values(column: Any) -> list[Any]:
    """Values of one length, none of them null, without the library's object for each."""
    width = column.type.byte_width
    data = memoryview(column.buffers()[1])[column.offset * width :][: len(column) * width]
    values: list[Any] = np.frombuffer(data, f"V{width}").tolist()
    return values


class _View(io.RawIOBase):
    """Reads from the stream; closing it, as wrappers do when collected, leaves the stream open."""

    def __init__(self, stream: BinaryIO) -> None:
        super().__init__()
        self._stream = stream

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        return self._stream.seek(offset, whence)

    def tell(self) -> int:
        return self._stream.tell()

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer)
        data = self._stream.read(len(view))
        view[: len(data)] = data
        return len(data)


def _read_footer(stream: BinaryIO) -> tuple[int, bytes]:
    """The file's length and table of contents, once beginning and end are those of Parquet.

    Raises:
        FormatError: they are not.
    """
    stream.seek(0)
    head = stream.read(len(_MAGIC))
    length = stream.seek(0, io.SEEK_END)
    stream.seek(max(length - _TAIL_BYTES, 0))
    tail = stream.read(_TAIL_BYTES)
    if _ENCRYPTED_MAGIC in (head, tail[-len(_MAGIC) :]):
        raise FormatError("the Parquet file is encrypted; decrypt it first")
    if head != _MAGIC:
        raise FormatError(f"the file is not Parquet; {INSPECT}")
    if tail[-len(_MAGIC) :] != _MAGIC or length < len(_MAGIC) + _TAIL_BYTES:
        raise FormatError(f"the Parquet file has no end: it was cut off; {GET_AGAIN}")
    footer = int.from_bytes(tail[: _TAIL_BYTES - len(_MAGIC)], "little")
    if footer > min(_MAX_FOOTER_BYTES, length - _TAIL_BYTES):
        raise FormatError("the Parquet file's table of contents is larger than it may be")
    stream.seek(length - _TAIL_BYTES - footer)
    return length, stream.read(footer)


def looks_like(sample: Sample) -> Likeness | None:
    """Whether the file begins as Parquet files do; its columns stand at its end."""
    if sample.head.startswith(_MAGIC):
        return Likeness(90, "it begins with PAR1, the mark of Parquet files")
    return None


FORMAT = Format(
    "parquet",
    "Parquet with declared columns",
    open_reader=ParquetReader,
    open_writer=ParquetWriter,
    looks_like=looks_like,
    tells_retractions=True,
    tells_delta=True,
    ending=".parquet",
    media_type="application/vnd.apache.parquet",
)
