"""Reads CSV files: of foreign layout, whose columns the importer declares, and Hashwarden's own.

Nothing is guessed: every column that is taken over is named in the options, by the header line of
the file, and every other column is never looked at. What does not fit as a line is rejected or
refused by `csv_table`; a last line without line end that fits is taken, with a note. A file cut off
exactly at a line end cannot be told from a whole one, nor one cut off inside a cell that reads well
when shortened; only the length and SHA-256 that the sender announces show that (gRPC imports take
both, and `importer.import_file` takes the digest).

Options, all texts: those of `hashlists.formats.field_mapping`, and
    delimiter: one character, or `tab`; a comma by default.
    encoding: `utf-8` (default; a byte-order mark is skipped), `utf-16`, `latin-1` or `cp1252`.
    multiline: `yes` takes over records of several lines whatever their lines look like; `no` is
        the default.
Instead of all these `columns=hashwarden` reads what `csv_writer` wrote.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import chain
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import csv_cells, own_layout
from hashlists.formats.base import BatchReader, FileHeader, Format, RawBatch
from hashlists.formats.csv_likeness import looks_like
from hashlists.formats.csv_table import ENCODINGS, TAB_WORDS, UNENDED_NOTE, Block, CsvTable
from hashlists.formats.csv_writer import CsvWriter
from hashlists.formats.field_mapping import FieldMapping, NoHashColumnError, yes_or_no
from hashlists.formats.mapped_batch import mapped_batch, with_status_told

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.limits import ImportLimits


@dataclass(frozen=True, slots=True)
class CsvOptions:
    """The options of one import, checked for themselves; the file may still lack a column.

    Attributes:
        mapping: which column is which field.
        delimiter: between cells.
        encoding: name of Python's codec.
        multiline: whether records of several lines are taken whatever their lines look like.
        own: whether the file is of Hashwarden's own layout.
    """

    mapping: FieldMapping
    delimiter: str = ","
    encoding: str = "utf-8-sig"
    multiline: bool = False
    own: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str]) -> CsvOptions:
        """Reads the options.

        Raises:
            OptionsError: one is unknown, or has a value that is not allowed.
        """
        if own_layout.is_asked_for(options):
            return cls(own_layout.MAPPING, own=True)
        mapping = FieldMapping.parse(options, also=("delimiter", "encoding", "multiline"))
        return cls(
            mapping=mapping,
            delimiter=_delimiter(options.get("delimiter", ",")),
            encoding=codec(options.get("encoding", "utf-8")),
            multiline=yes_or_no("multiline", options.get("multiline", "no")),
        )


class CsvReader(BatchReader):
    """Iterates over a CSV file (see `base.ListReader`); the module names the options.

    Raises:
        OptionsError: the options are wrong, or name a column that the file does not have.
        FormatError: the file has no header line, or is not text of that encoding.
    """

    format: Final = "csv"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        try:
            self._options = CsvOptions.parse(options)
        except NoHashColumnError as error:
            raise _with_columns(error, stream, options, limits) from None
        mapping = self._options.mapping
        self._stream = stream
        self._table = CsvTable(
            stream,
            limits,
            delimiter=self._options.delimiter,
            encoding=self._options.encoding,
            multiline=self._options.multiline,
        )
        self._header = FileHeader("csv", "", mapping.scheme, mapping.profile)
        own = own_layout.further_columns(self._table.columns) if self._options.own else {}
        self._positions = self._table.positions({**mapping.all_columns(), **own})
        mark = own_layout.columns_mark(self._table.columns)  # whatever the options take over
        first = [RawBatch.of_mark(self._header, mark)] if mark.says_anything else []
        blocks = map(self._to_batch, self._table.blocks())
        self._batches = chain(first, with_status_told(mapping, self._header, blocks))

    @property
    def header(self) -> FileHeader:
        """Scheme and profile as the options give them."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes taken from the stream; a little ahead of the lines handed on."""
        return self._stream.tell()

    def _to_batch(self, block: Block) -> RawBatch:
        """Turns cells into the columns that were asked for."""
        cells = {field: block.columns[position] for field, position in self._positions.items()}
        rows = len(block.lines)
        if self._options.own:
            batch = csv_cells.own_batch(self._header, cells, rows=rows, place_at=block.place_at)
        else:
            batch = mapped_batch(
                self._options.mapping, self._header, cells, rows=rows, place_at=block.place_at
            )
        return with_block(batch, block)


def _with_columns(
    error: NoHashColumnError, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits
) -> OptionsError:
    """What to say where no column is named: which there are, or that the layout is our own."""
    delimiter = _delimiter(options.get("delimiter", ","))
    encoding = codec(options.get("encoding", "utf-8"))
    try:
        table = CsvTable(stream, limits, delimiter=delimiter, encoding=encoding)
    except FormatError:
        return error
    if own_layout.has_its_columns(table.columns):
        return OptionsError(
            "the file is of Hashwarden's own layout: say --option columns=hashwarden, and no other"
        )
    return OptionsError(f"{error}; {table.shown_columns()}")


def with_block(batch: RawBatch, block: Block) -> RawBatch:
    """The batch with what its block says of records that do not fit, and of the file's end."""
    notes = {UNENDED_NOTE: 1} if block.open_ended else {}
    return replace(
        batch,
        rejections=block.rejections,
        notes={**notes, **batch.notes},
        open_ended=block.open_ended,
    )


def codec(encoding: str) -> str:
    """Python's codec for an encoding that the option of that name gives.

    Raises:
        OptionsError: it is none of those known here.
    """
    found = ENCODINGS.get(encoding.lower())
    if found is None:
        known = ", ".join(ENCODINGS)
        raise OptionsError(f"unknown encoding {encoding.lower()!r}; known encodings: {known}")
    return found


def _delimiter(text: str) -> str:
    if text in TAB_WORDS:
        return "\t"
    if len(text) != 1 or text in '"\r\n ':
        raise OptionsError("the delimiter must be one character, such as a comma, or the word tab")
    return text


FORMAT = Format(
    "csv",
    "CSV with declared columns",
    open_reader=CsvReader,
    open_writer=CsvWriter,
    looks_like=looks_like,
    tells_retractions=True,
    tells_delta=True,
    ending=".csv",
    media_type="text/csv",
)
