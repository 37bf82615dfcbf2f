"""Lines of a CSV file, and whole blocks of them at once where every line is one record.

Two ways lead from lines to cells. `block_columns` takes many lines in a few steps of C code, and
declines as soon as one of them is anything but a record of its own with the right number of cells.
Then `hashlists.formats.csv` takes the same lines one after the other, names the ones at fault and
judges what quotes may have swallowed. Both ways give the same cells for the same lines.

Nothing here knows columns by name.
"""

from __future__ import annotations

import codecs
import csv
import io
from itertools import accumulate, repeat
from typing import TYPE_CHECKING, BinaryIO, NoReturn

from hashlists.errors import FormatError
from hashlists.model import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashlists.limits import ImportLimits

_READ_BYTES = 128 * 1024
_LEAST_READ_BYTES = 64


class Lines:
    r"""Lines of a text file with their ends (`\\n`, `\\r\\n` or `\\r`), within the limits.

    An iterator of lines, as `csv.reader` takes it; `peek` and `skip` take several at once. Holds a
    few blocks of the file, and never a line that exceeds its limit.

    Args:
        stream: taken from where it stands; never closed.
        encoding: name of Python's codec. Bytes that are not of it become surrogates, which
            validation rejects by line; in UTF-16, where one such byte shifts all others, the file
            is refused.
        limits: of a line, a record and a block.

    Attributes:
        number: lines handed on so far.
        last: the line handed on last.
    """

    def __init__(self, stream: BinaryIO, encoding: str, limits: ImportLimits) -> None:
        errors = "strict" if encoding == "utf-16" else "surrogateescape"
        self.number = 0
        self.last = ""
        self._stream = stream
        self._decoder = codecs.getincrementaldecoder(encoding)(errors)
        self._read_bytes = max(min(limits.block_bytes, _READ_BYTES), _LEAST_READ_BYTES)
        self._max_line = limits.max_line_chars
        self._max_row = limits.max_record_bytes
        self._row_chars = 0
        self._lines: list[str] = []
        self._at = 0
        self._begun = ""
        self._longest = 0  # characters of any line that waits, at most
        self._ended = False

    @property
    def open_ended(self) -> bool:
        """Whether the line handed on last has no line end, and so is the file's last."""
        return not self.last.endswith(("\n", "\r"))

    def start_row(self) -> None:
        """Says that the next line starts a row."""
        self._row_chars = 0

    def peek(self, most: int, chars: int) -> list[str]:
        """The next lines: at most `most`, and no more than it takes to reach `chars` characters.

        Raises:
            FormatError: a line exceeds its limit, or is not text of the encoding.
        """
        while len(self._lines) - self._at < most and not self._ended:
            if self._have_more_than(chars - 1, self._lines[self._at :]):
                break
            self._fill()
        lines = self._lines[self._at : self._at + most]
        if self._have_more_than(chars, lines):
            enough = next(
                n for n, total in enumerate(accumulate(map(len, lines)), 1) if total >= chars
            )
            return lines[:enough]
        return lines

    def skip(self, lines: Sequence[str]) -> None:
        """Counts what `peek` gave, at least one line, as handed on."""
        self._at += len(lines)
        self.number += len(lines)
        self.last = lines[-1]

    def __iter__(self) -> Iterator[str]:
        return self

    def __next__(self) -> str:
        while self._at == len(self._lines):
            if self._ended:
                raise StopIteration
            self._fill()
        line = self._lines[self._at]
        self._at += 1
        self.number += 1
        self._row_chars += len(line)
        if self._row_chars > self._max_row:
            self._fail(f"the record that ends here or later exceeds {self._max_row} characters", 0)
        self.last = line
        return line

    def _have_more_than(self, chars: int, lines: Sequence[str]) -> bool:
        """Of lines that wait; they are measured only where so many lines can have so much."""
        return len(lines) * self._longest > chars and sum(map(len, lines)) > chars

    def _fill(self) -> None:
        """Reads on; whole lines are added to those that wait, a begun one is kept apart."""
        data = self._stream.read(max(self._read_bytes, len(self._begun)))
        self._ended = not data
        text = self._begun + self._decoded(data)
        lines = io.StringIO(text, newline="").readlines()
        # A carriage return at the end may be the first half of a line end.
        self._begun = lines.pop() if lines and data and not lines[-1].endswith("\n") else ""
        self._lines = self._lines[self._at :] + lines
        self._at = 0
        longest = max(map(len, lines), default=0)
        self._longest = max(self._longest, longest)
        if max(longest, len(self._begun)) > self._max_line:
            waiting = (*self._lines, self._begun)
            first = next(n for n, line in enumerate(waiting, 1) if len(line) > self._max_line)
            self._fail(f"the line exceeds {self._max_line} characters", first)

    def _decoded(self, data: bytes) -> str:
        try:
            return self._decoder.decode(data, final=not data)
        except UnicodeError:
            self._fail("the file is not text of its encoding", len(self._lines) - self._at + 1)

    def _fail(self, problem: str, ahead: int) -> NoReturn:
        raise FormatError(problem, place=Place("line", self.number + ahead)) from None


def block_columns(
    lines: Sequence[str], *, width: int, delimiter: str, max_chars: int
) -> Sequence[Sequence[str]] | None:
    """Cells of lines that each are one record of `width` cells.

    Args:
        lines: at least one, with their ends; the file's last may have none.
        width: cells of each record.
        delimiter: one character between cells.
        max_chars: of one record.

    Returns:
        `width` columns of `len(lines)` cells, or None where at least one line is empty, a part of
        a record, too long, or has another number of cells.
    """
    if max(map(len, lines)) > min(max_chars, csv.field_size_limit()):
        return None
    text = "".join(lines)
    if '"' in text:
        return _quoted_columns(lines, width, delimiter)
    if "\r" in text:
        text = text.replace("\r\n", "\n")
        if "\r" in text:
            return _quoted_columns(lines, width, delimiter)
    if set(map(str.count, lines, repeat(delimiter))) != {width - 1}:
        return None
    if width == 1 and (text.startswith("\n") or "\n\n" in text):
        return None
    cells = text.removesuffix("\n").replace("\n", delimiter).split(delimiter)
    return [cells[at::width] for at in range(width)]


def _quoted_columns(
    lines: Sequence[str], width: int, delimiter: str
) -> Sequence[Sequence[str]] | None:
    try:
        rows = list(csv.reader(lines, delimiter=delimiter, strict=True))
    except csv.Error:
        return None
    # A record takes at least one line, so as many records as lines take one each.
    if len(rows) != len(lines) or set(map(len, rows)) != {width}:
        return None
    return list(zip(*rows, strict=True))
