"""Streams the records of an XML document: `<root><container><record/>...</container>...</root>`.

The parser (`hashlists.formats.xml_parser`) calls Python for every tag and text, some forty times
for a record, which is most of the time. So records of plain shape are lifted out before the parser
sees them: a pattern takes a whole record, from its start tag to its end tag, with no entity,
comment, CDATA section or character beyond ASCII. That is sound only between two records of a
container, where such a text can mean one thing and taking it away leaves a document as good as
before. When that is so is not guessed: the parser itself names the byte at which a record's end tag
begins, and nothing behind that tag was fed. Every other record goes to the parser, with the same
outcome, so that the pattern decides about speed alone.

Invariants: memory is bounded by a few blocks and the longest record allowed; every byte up to the
end of the file is accounted for, so a file that was cut off or has something behind its end raises
`FormatError`. Knows nothing of hash lists.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import EMPTY, INSPECT, TO_UTF8
from hashlists.formats.chunk import Chunk
from hashlists.formats.xml_parser import Container, Element, GuardedParser, Layout
from hashlists.model import Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from hashlists.limits import ImportLimits

#: A record: one text or None for each of the columns that its format has.
Row = tuple[str | None, ...]

#: So many bytes tell what a file is.
_HEAD_BYTES: Final = 64
_UTF16: Final = f"is UTF-16, and only UTF-8 is read; {TO_UTF8}"
_FOREIGN: Final = (
    (b"\x1f\x8b", "is compressed with gzip; unpack it first"),
    (b"PK\x03\x04", "is a ZIP archive; unpack it first"),
    (b"\xff\xfe", _UTF16),
    (b"\xfe\xff", _UTF16),
    (b"<\x00", _UTF16),
    (b"\x00<", _UTF16),
    (b"{", f"is JSON, not XML; {INSPECT}"),
    (b"[", f"is JSON, not XML; {INSPECT}"),
)


@dataclass(frozen=True, slots=True)
class Shape:
    """What a document should look like, and what becomes of a record.

    Attributes:
        layout: where the records are.
        records: their usual names.
        interpret: makes a row of an element; told which row of the chunk it will be, and its place.
        plain: takes one record of plain shape with the white space before it; its groups are the
            row, the first of them the name in its start tag. It must match ASCII alone, no `&`, and
            `<` and `>` only of tags without a prefix.
    """

    layout: Layout
    records: tuple[str, ...]
    interpret: Callable[[Element, int, Place], Row | Rejection]
    plain: re.Pattern[str]


class XmlRecordStream:
    """Reads a document of a `Shape` by `chunks()`.

    Attributes:
        bytes_read: bytes taken from the stream so far.
        records_read: records so far, rejected ones included.
    """

    def __init__(self, stream: BinaryIO, shape: Shape, limits: ImportLimits) -> None:
        self.bytes_read = 0
        self.records_read = 0
        self._stream = stream
        self._shape = shape
        self._limits = limits
        self._parser = GuardedParser(shape.layout, limits, self)
        names = "|".join(map(re.escape, shape.records))
        self._record_end = re.compile(rf"</(?:{names})[ \t\r\n]*+>".encode())
        self._rest = b""
        self._ended = False
        self._done = False
        # Bytes that the parser never saw; it stands at byte `fed + lifted` of the file.
        self._lifted = 0
        # Whether the parser stands between two records, with nothing fed that it has not taken.
        self._at_rest = False
        self._rows: list[Row] = []
        self._places: list[tuple[int, int]] = []
        self._rejections: list[Rejection] = []

    @property
    def containers(self) -> Sequence[Container]:
        """Containers met so far."""
        return self._parser.containers

    @property
    def asides(self) -> Mapping[str, Element]:
        """Elements beside the containers that are kept, by name."""
        return self._parser.asides

    @property
    def notes(self) -> Mapping[str, int]:
        """Elements beside the containers that are not known, and how often they came."""
        return self._parser.notes

    @property
    def instruction(self) -> str | None:
        """Text of the layout's processing instruction; None where none came so far."""
        return self._parser.instruction

    def open_root(self) -> None:
        """Reads up to the outermost element.

        Raises:
            FormatError: not XML of that shape.
        """
        window = self._read_block(at_least=_HEAD_BYTES)
        _refuse_foreign(window)
        self._take(window)
        while not self._parser.has_root:
            self._take_more()

    def chunks(self) -> Iterator[Chunk[Row]]:
        """Yields all records, then reads the rest of the file.

        Raises:
            FormatError: the file is cut off, not XML, not of the shape, has a document type, goes
                beyond a limit, or goes on behind its end.
        """
        while not self._done:
            self._take_more()
            yield Chunk(self._rows, _Places(self._places), self._rejections)
            self._rows, self._places, self._rejections = [], [], []

    def _take_more(self) -> None:
        window = self._rest + self._read_block()
        if window:
            self._take(window)
        else:
            self._parser.finish()
            self._done = True

    def _take(self, window: bytes) -> None:
        """Takes records in turns: those of plain shape, then one by way of the parser."""
        text = window.decode("latin-1")  # one character for each byte
        pos = 0
        while pos < len(window):
            if self._at_rest:
                pos = self._lift(text, pos)
            found = self._record_end.search(window, pos)
            if found is None and self._at_rest and self._may_wait(len(window) - pos):
                break
            self._parser.feed(window[pos : found.end() if found else None])
            self._at_rest = found is not None and self._stands_behind(found)
            pos = found.end() if found else len(window)
            if not self._at_rest and pos < len(window):
                # What looks like an end is none, e.g. in a comment. There may be thousands more,
                # and the parser would begin with the comment anew for each: so all at once.
                self._parser.feed(window[pos:])
                pos = len(window)
        self._rest = window[pos:]

    def _may_wait(self, size: int) -> bool:
        """Whether the beginning of a record should be held back until the rest of it is there."""
        return not self._ended and size < self._limits.block_bytes

    def _stands_behind(self, end_tag: re.Match[bytes]) -> bool:
        """Whether what was fed ends with a record's end tag, by the parser's own word."""
        begins_at = self._parser.fed - (end_tag.end() - end_tag.start())
        return self._parser.in_plain_container and self._parser.record_end_at == begins_at

    def _lift(self, text: str, pos: int) -> int:
        """Takes records of plain shape; returns where the first other one begins."""
        plain = self._shape.plain
        start, before = pos, len(self._rows)
        offset = self._parser.fed + self._lifted - pos
        number = self.records_read
        longest = self._limits.max_record_bytes
        while (match := plain.match(text, pos)) is not None and match.end() - pos <= longest:
            number += 1
            self._rows.append(match.groups())
            self._places.append((number, offset + match.start(1) - 1))
            pos = match.end()
        self._lifted += pos - start
        self.records_read = number
        self._parser.containers[-1].records += len(self._rows) - before
        return pos

    def _read_block(self, at_least: int = 1) -> bytes:
        block = self._stream.read(max(self._limits.block_bytes, at_least))
        self.bytes_read += len(block)
        self._ended = not block
        return block

    def take(self, element: Element, at: int) -> None:
        """A record that the parser read."""
        place = self._begin_record(at)
        outcome = self._shape.interpret(element, len(self._rows), place)
        if isinstance(outcome, Rejection):
            self._rejections.append(outcome)
        else:
            self._rows.append(outcome)
            self._places.append((place.number, at + self._lifted))

    def reject(self, problem: str, at: int) -> None:
        """A record that the parser does not read to its end."""
        self._rejections.append(Rejection(self._begin_record(at), "", problem))

    def place(self, at: int) -> Place:
        """Where in the file stands what the parser is at."""
        return Place("record", self.records_read + 1, max(0, at) + self._lifted)

    def _begin_record(self, at: int) -> Place:
        place = self.place(at)
        self.records_read += 1
        self._parser.containers[-1].records += 1
        return place


class _Places:
    """Places by the number of the record and its byte."""

    __slots__ = ("_places",)

    def __init__(self, places: list[tuple[int, int]]) -> None:
        self._places = places

    def __call__(self, row: int, /) -> Place:
        number, offset = self._places[row]
        return Place("record", number, offset)


def _refuse_foreign(start: bytes) -> None:
    """Names the usual files that are not XML."""
    head = start.removeprefix(b"\xef\xbb\xbf").lstrip()
    if not start:
        raise FormatError(f"the file is {EMPTY}")
    for magic, problem in _FOREIGN:
        if head.startswith(magic):
            raise FormatError(f"the file {problem}")
    if not head.startswith(b"<"):
        raise FormatError(f"the file is not XML, for it does not begin with <; {INSPECT}")
