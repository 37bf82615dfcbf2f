"""A CSV file as a table: cells in columns, block by block, with the lines they stood in.

A line that does not fit is rejected alone, with its number; the file as a whole is refused where
its lines cannot be told apart any more.

A file that was cut off inside a record is refused: its last line has no line end, and its cells do
not fit. A last line without line end that fits is handed on as open-ended.

A stray pair of quotes makes one record of several without breaking any rule of CSV. So a record
over several lines is refused where one of its inner lines, or both its first and its last, have as
many cells as the header once quotes are disregarded. Honest prose may look like that, too: then
`multiline` allows it.

Nothing here knows what a column means.
"""

from __future__ import annotations

import codecs
import csv
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.advice import EMPTY, GET_AGAIN, cut_line
from hashlists.formats.csv_lines import Lines, block_columns
from hashlists.formats.shown_columns import show_columns
from hashlists.model import Place, Rejection
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.limits import ImportLimits

#: The names that the option `encoding` takes, and Python's codecs.
ENCODINGS: Final[Mapping[str, str]] = {
    "utf-8": "utf-8-sig",
    "utf-16": "utf-16",
    "latin-1": "latin-1",
    "cp1252": "cp1252",
}
#: How the option of a delimiter may name the tab.
TAB_WORDS: Final = ("tab", "\\t")
#: Note of a batch whose last row is open-ended.
UNENDED_NOTE: Final = "last line without line end taken as whole"
#: As `Lines` hands on bytes that are not of the encoding.
_RAW_BYTE = re.compile("[\udc80-\udcff]")
_LINE_END = re.compile(r"\r\n|\r|\n")
_Row = list[str]


#: Which a table may have in place of commas, and how the option names it.
_OTHER_DELIMITERS = {";": ";", "\t": "tab", "|": "|"}


@dataclass(frozen=True, slots=True)
class Block:
    """Some records of a table.

    Attributes:
        columns: cells of all columns, in file order.
        lines: the line at which each record begins; as many as a column has cells.
        rejections: records that do not fit; not in the columns.
        open_ended: whether the last record may be cut off, since it ends the file without a line
            end.
    """

    columns: Sequence[Sequence[str]]
    lines: Sequence[int]
    rejections: Sequence[Rejection] = ()
    open_ended: bool = False

    def place_at(self, row: int, /) -> Place:
        """The place of row `row`."""
        return Place("line", self.lines[row])


class CsvTable:
    """Reads a CSV file with a header line, from where the stream stands.

    Args:
        stream: never closed here.
        limits: of lines, records and blocks.
        delimiter: one character between cells.
        encoding: one of the values of `ENCODINGS`.
        multiline: whether records of several lines are taken whatever their lines look like.

    Attributes:
        columns: names of the columns, without blanks around them.

    Raises:
        OptionsError: the file is plainly of another encoding.
        FormatError: the file has no header line, or is not text of that encoding.
    """

    def __init__(
        self,
        stream: BinaryIO,
        limits: ImportLimits,
        *,
        delimiter: str = ",",
        encoding: str = "utf-8-sig",
        multiline: bool = False,
    ) -> None:
        _refuse_utf16(stream, encoding)
        self._delimiter = delimiter
        self._multiline = multiline
        self._lines = Lines(stream, encoding, limits)
        self._rows = csv.reader(self._lines, delimiter=delimiter, strict=True)
        self._limits = limits
        self.columns: Sequence[str] = self._read_header()

    def positions(self, wanted: Mapping[str, str]) -> dict[str, int]:
        """Where columns stand.

        Args:
            wanted: from a field to the name of its column.

        Raises:
            OptionsError: the file does not have a column exactly once.
        """
        positions = {}
        for field, name in wanted.items():
            found = self.columns.count(name)
            if found != 1:
                problem = "has more than once" if found else "does not have"
                raise OptionsError(
                    f"columns.{field} (--column {field}=NAME) names the column {name!r}, which "
                    f"the file {problem}; {self.shown_columns()}"
                )
            positions[field] = self.columns.index(name)
        return positions

    def shown_columns(self) -> str:
        """The columns in words, and what may be wrong with the way they are read."""
        told = f"its columns are: {show_columns(self.columns)}"
        if any(map(_RAW_BYTE.search, self.columns)):
            told += (
                "; the header line is not UTF-8 text: say its encoding, e.g. --option "
                "encoding=cp1252"
            )
        for sign, word in _OTHER_DELIMITERS.items():
            if len(self.columns) == 1 and sign in self.columns[0]:
                told += f"; they look parted by another sign: say --option 'delimiter={word}'"
        return told

    def blocks(self) -> Iterator[Block]:
        """All records behind the header, once.

        Raises:
            FormatError: the file is cut off, damaged, or past a limit.
        """
        limits, width = self._limits, len(self.columns)
        while lines := self._lines.peek(limits.max_batch_rows, limits.block_bytes):
            columns = block_columns(
                lines, width=width, delimiter=self._delimiter, max_chars=limits.max_record_bytes
            )
            if columns is None:
                block = self._read_singly(len(lines))
                if block.lines or block.rejections:
                    yield block
                continue
            first = self._lines.number + 1
            self._lines.skip(lines)
            numbers = range(first, first + len(lines))
            yield Block(columns, numbers, open_ended=self._lines.open_ended)

    def _read_header(self) -> _Row:
        try:
            header = next(self._rows, None)
        except csv.Error as error:
            raise FormatError(f"no header: {error}", place=Place("line", 1)) from None
        if header is None:
            raise FormatError(f"the file is {EMPTY}")
        if not header:
            raise FormatError("the first line must name the columns", place=Place("line", 1))
        if len(header) > self._limits.max_columns:
            raise FormatError(
                f"the file has {len(header)} columns; at most {self._limits.max_columns} are read",
                place=Place("line", 1),
            )
        return [name.strip() for name in header]

    def _read_singly(self, lines: int) -> Block:
        """Takes at least so many lines, record by record; the last record may need more."""
        rows: list[_Row] = []
        numbers: list[int] = []
        rejections: list[Rejection] = []
        stop = self._lines.number + lines
        while self._lines.number < stop:
            line = self._lines.number + 1
            outcome = self._next_row(line)
            if isinstance(outcome, Rejection):
                rejections.append(outcome)
            elif outcome:
                rows.append(outcome)
                numbers.append(line)
        columns: list[tuple[str, ...]] = list(zip(*rows, strict=True))
        open_ended = bool(rows) and self._lines.open_ended
        return Block(columns or [()] * len(self.columns), numbers, rejections, open_ended)

    def _next_row(self, line: int) -> _Row | Rejection:
        """The next row; [] for an empty line."""
        self._lines.start_row()
        try:
            row = next(self._rows, [])
        except csv.Error as error:
            return self._reject(line, str(error))
        if row and len(row) != len(self.columns):
            found, expected = len(row), len(self.columns)
            return self._reject(line, f"{counted(found, 'cell')} where the header has {expected}")
        if row and self._lines.number > line and not self._multiline:
            self._refuse_swallowed(row, line)
        return row

    def _refuse_swallowed(self, row: _Row, line: int) -> None:
        """Refuses a record of several lines that look like records themselves."""
        # Cells joined without their quotes are the physical lines again, quotes disregarded;
        # delimiters within a cell of one line are certainly none.
        delimiter, between = self._delimiter, len(self.columns) - 1
        text = delimiter.join(cell if _LINE_END.search(cell) else "" for cell in row)
        alike = [part.count(delimiter) == between for part in _LINE_END.split(text)]
        inner = next((at for at, found in enumerate(alike[1:-1], start=1) if found), None)
        if inner is None and not (alike[0] and alike[-1]):
            return
        raise FormatError(
            f"quotes make one record of the lines up to {self._lines.number}, but line "
            f"{line + (inner or 0)} looks like a record of its own; mend the quotes, or set the "
            "option multiline=yes if cells really hold such text",
            place=Place("line", line),
        )

    def _reject(self, line: int, problem: str) -> Rejection:
        """One bad line is rejected, but not good ones with it.

        Raises:
            FormatError: a quote without its end may have swallowed the lines behind it, or the file
            ends in this line.
        """
        place = Place("line", line)
        if "unexpected end of data" in problem or "field larger than field limit" in problem:
            raise FormatError(
                "a quoted cell that starts here is never closed; the file is cut off or damaged: "
                + GET_AGAIN,
                place=place,
            ) from None
        last = self._lines.number
        if last > line:
            raise FormatError(
                f"quotes make one record of the lines up to {last}, which does not fit: {problem}; "
                "a quote that is never closed may have swallowed other records; " + GET_AGAIN,
                place=place,
            ) from None
        if self._lines.open_ended:
            raise cut_line(f"does not hold a whole record ({problem})", place) from None
        return Rejection(place, "", f"not a row of this table: {problem}")


def _refuse_utf16(stream: BinaryIO, encoding: str) -> None:
    """Tells a file that is plainly UTF-16 from its byte-order mark, and leaves the stream there.

    Raises:
        OptionsError: it is, and the options say otherwise.
    """
    start = stream.tell()
    mark = stream.read(len(codecs.BOM_UTF16_LE))
    stream.seek(start)
    if encoding != "utf-16" and mark in (codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE):
        raise OptionsError("the file is UTF-16 text: say --option encoding=utf-16")
