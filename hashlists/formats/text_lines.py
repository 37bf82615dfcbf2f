r"""Lines of a text file in blocks, for formats that are read line by line and not as CSV.

Only ASCII matters to these formats: names of files are dropped. So the encoding is told and never
asked for: UTF-16 by its byte-order mark or by its zero bytes, and all else is taken byte by byte,
which is right for ASCII, UTF-8 (a byte-order mark is skipped) and every Latin code page alike.

Invariants: a line ends with \n, \r\n or \r and nowhere else; no line is longer than its limit; a
file with zero characters is refused, since what stands behind one could hide from a line's pattern.
"""

from __future__ import annotations

import codecs
import io
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.model import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashlists.limits import ImportLimits

_MARKS: Final = (
    (codecs.BOM_UTF8, "latin-1"),
    (codecs.BOM_UTF16_LE, "utf-16-le"),
    (codecs.BOM_UTF16_BE, "utf-16-be"),
)
_LOOK_BYTES: Final = 256


@dataclass(frozen=True, slots=True)
class LineBlock:
    """Lines of a file, one after the other, without their ends.

    Attributes:
        first: number of the first line, from 1.
        open_ended: the last of these lines has no line end, and the file ends with it.
    """

    first: int
    lines: Sequence[str] = field(repr=False)
    open_ended: bool = False


class TextLines:
    """Reads a file block by block.

    Args:
        stream: the file; read from its start.
        limits: of the import.
        max_line: characters of a line; None for the limit of lines of tables.

    Attributes:
        encoding: codec by which the file is read.
        bytes_read: bytes of the file read so far.
    """

    def __init__(
        self, stream: BinaryIO, limits: ImportLimits, *, max_line: int | None = None
    ) -> None:
        stream.seek(0)
        self.encoding, skipped = detect(stream.read(_LOOK_BYTES))
        stream.seek(skipped)
        self.bytes_read = skipped
        self._stream = stream
        self._limits = limits
        self._max_line = max_line or limits.max_line_chars

    def blocks(self) -> Iterator[LineBlock]:
        """All lines, at most `max_batch_rows` of them at a time.

        Raises:
            FormatError: a line is too long, or the file has characters that no text has.
        """
        decoder = io.IncrementalNewlineDecoder(
            codecs.getincrementaldecoder(self.encoding)("replace"), translate=True
        )
        rest, number = "", 1
        while data := self._stream.read(self._limits.block_bytes):
            self.bytes_read += len(data)
            lines = (rest + decoder.decode(data)).split("\n")
            rest = lines.pop()
            self._check([*lines, rest], number)
            yield from self._parts(lines, number)
            number += len(lines)
        lines = (rest + decoder.decode(b"", final=True)).split("\n")
        rest = lines.pop()
        yield from self._parts(lines, number)
        if rest:
            yield LineBlock(number + len(lines), [rest], open_ended=True)

    def _parts(self, lines: Sequence[str], number: int) -> Iterator[LineBlock]:
        size = self._limits.max_batch_rows
        for start in range(0, len(lines), size):
            yield LineBlock(number + start, lines[start : start + size])

    def _check(self, lines: Sequence[str], number: int) -> None:
        limit = self._max_line
        if max(map(len, lines)) > limit:
            at = next(at for at, line in enumerate(lines) if len(line) > limit)
            raise FormatError(
                f"the line exceeds {limit} characters", place=Place("line", number + at)
            )
        if any("\0" in line for line in lines):
            at = next(at for at, line in enumerate(lines) if "\0" in line)
            raise FormatError(
                "the line holds zero characters, so this is no text; a list that was written with"
                " zeros for line ends (md5sum --zero) has to be written with line ends",
                place=Place("line", number + at),
            )


def detect(head: bytes) -> tuple[str, int]:
    """The codec of a file by its first bytes, and how many of them are a byte-order mark."""
    for mark, codec in _MARKS:
        if head.startswith(mark):
            return codec, len(mark)
    pairs = len(head) // 2
    if pairs and not any(head[1 : 2 * pairs : 2]) and all(head[: 2 * pairs : 2]):
        return "utf-16-le", 0
    if pairs and not any(head[: 2 * pairs : 2]) and all(head[1 : 2 * pairs : 2]):
        return "utf-16-be", 0
    return "latin-1", 0


def first_lines(head: bytes) -> list[str]:
    """The lines at the beginning of a file, as far as `head` goes; the last one may be cut."""
    codec, skipped = detect(head[:_LOOK_BYTES])
    text = head[skipped:].decode(codec, "replace")
    return text.replace("\r\n", "\n").replace("\r", "\n").split("\n")


class LinePlaces:
    """Places by line number."""

    __slots__ = ("_numbers",)

    def __init__(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers

    def __call__(self, row: int, /) -> Place:
        """The line of row `row`."""
        return Place("line", self._numbers[row])


__all__ = ["LineBlock", "LinePlaces", "TextLines", "detect", "first_lines"]
