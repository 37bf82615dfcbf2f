"""The text of a JSON file in blocks: a window that moves over it, and where values end in it.

Only quotes, escapes and nesting are followed here; whether a text is JSON, and what it means, its
decoder says.
"""

from __future__ import annotations

import re
from array import array
from contextlib import contextmanager
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.model import Place

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Stands for the byte behind the last one.
END: Final = -1
QUOTE, COMMA, COLON = b'",:'
OPEN_BRACE, CLOSE_BRACE, OPEN_BRACKET, CLOSE_BRACKET = b"{}[]"
_BACKSLASH = 0x5C
_SPACE = re.compile(rb"[ \t\n\r]*+")
_RECORD_ENDS = re.compile(rb"[ \t\n\r]*+[,\]]")
_STRUCTURE = re.compile(rb'["{}\[\]]')
_STRING_REST = re.compile(rb'[^"\\]*+(?:\\.[^"\\]*+)*+', re.DOTALL)
_SCALAR = re.compile(rb"[-+.0-9A-Za-z]*+")
_SCALAR_MAX = 4096
_CUT_TRIES = 4096
_RAW_RECORDS = msgspec.json.Decoder(list[msgspec.Raw])


class CutOffError(Exception):
    """The file ends inside a value."""


class NoValueError(Exception):
    """What comes next is no JSON value."""


class JsonText:
    """A window on the file: `data[pos:]` is what comes next, and `data[pos - 1]` exists.

    Each block has a buffer of its own, which is never written again once the next one is read.
    """

    def __init__(self, stream: BinaryIO, block_bytes: int) -> None:
        self._stream = stream
        self._block_bytes = block_bytes
        self._start = -1
        self._ended = False
        self.data = bytearray(1)
        self.pos = 1

    @property
    def offset(self) -> int:
        """Bytes of the file before `pos`."""
        return self._start + self.pos

    @property
    def bytes_read(self) -> int:
        """Bytes of the file before the end of the window."""
        return self._start + len(self.data)

    def more(self) -> bool:
        """Drops what is behind, reads another block (doubling, so that growth stays linear)."""
        rest = memoryview(self.data)[self.pos - 1 :]
        block = b"" if self._ended else self._stream.read(max(self._block_bytes, len(rest)))
        data = bytearray(len(rest) + len(block))
        data[: len(rest)] = rest
        data[len(rest) :] = block
        self._start += self.pos - 1
        self.pos = 1
        self.data = data
        self._ended = not block
        return bool(block)

    @contextmanager
    def bracketed(self, end: int) -> Iterator[memoryview]:
        """`data[pos:end]` between brackets, which for now take the place of the bytes around."""
        before, behind = self.data[self.pos - 1], self.data[end]
        self.data[self.pos - 1] = OPEN_BRACKET
        self.data[end] = CLOSE_BRACKET
        try:
            yield memoryview(self.data)[self.pos - 1 : end + 1]
        finally:
            self.data[self.pos - 1] = before
            self.data[end] = behind

    def need(self, size: int) -> None:
        """Reads until `size` bytes lie ahead, or the file ends."""
        while len(self.data) - self.pos < size and self.more():
            pass

    def top_up(self) -> None:
        """Reads one block when less than half a block lies ahead."""
        if len(self.data) - self.pos < max(1, self._block_bytes // 2):
            self.more()

    def peek(self) -> int:
        """The next byte that is not white space, or `END`; `pos` is moved there."""
        while True:
            match = _SPACE.match(self.data, self.pos)
            self.pos = match.end() if match else self.pos
            if self.pos < len(self.data):
                return self.data[self.pos]
            if not self.more():
                return END

    def skip_space(self) -> int:
        """Moves to the next byte that is not white space and tells its offset."""
        self.peek()
        return self.offset

    def take_value(self, limit: int) -> bytes | None:
        """The text of the next JSON value, or None for a longer one, which is skipped.

        Raises:
            CutOffError: the file ends inside it.
            NoValueError: no value starts here.
        """
        if self.peek() not in (QUOTE, OPEN_BRACE, OPEN_BRACKET):
            return self._take_scalar()
        scan = _Scan(self.pos)
        kept = True
        while True:
            end = scan.run(self.data)
            size = (scan.at if end is None else end) - self.pos
            kept = kept and size <= limit
            if end is not None:
                data = bytes(self.data[self.pos : end]) if kept else None
                self.pos = end
                return data
            if not kept:
                self.pos = scan.at
            scan.at -= self.pos - 1  # where it will stand in the next window
            if not self.more():
                raise CutOffError

    def _take_scalar(self) -> bytes:
        """The text of a number or a literal, unchecked."""
        self.need(_SCALAR_MAX)
        match = _SCALAR.match(self.data, self.pos)
        data = bytes(match.group()) if match else b""
        if self.pos == len(self.data):
            raise CutOffError
        if not data or len(data) >= _SCALAR_MAX:
            raise NoValueError
        self.pos += len(data)
        return data


class _Scan:
    """Finds where a string, object or array ends; can stop and go on when more was read.

    Only quotes, escapes and nesting matter here; whether the text is JSON, the decoder says.
    """

    __slots__ = ("_depth", "_in_string", "at")

    def __init__(self, at: int) -> None:
        self.at = at
        self._depth = 0
        self._in_string = False

    def run(self, data: bytearray) -> int | None:
        """The end of the value, or None with `at` where to go on."""
        at = self.at
        while True:
            if self._in_string:
                rest = _STRING_REST.match(data, at)
                at = rest.end() if rest else at
                if at == len(data) or data[at] == _BACKSLASH:
                    break
                at += 1
                self._in_string = False
            else:
                found = _STRUCTURE.search(data, at)
                if found is None:
                    at = len(data)
                    break
                at = found.end()
                self._open_or_close(data[at - 1])
            if self._depth == 0 and not self._in_string:
                return at
        self.at = at
        return None

    def _open_or_close(self, byte: int) -> None:
        if byte == QUOTE:
            self._in_string = True
        elif byte in (OPEN_BRACE, OPEN_BRACKET):
            self._depth += 1
        else:
            self._depth -= 1


class RecordPlaces:
    """Places of records decoded in one go; worked out for the first that is asked for.

    From then on the text of the block is no longer held.
    """

    __slots__ = ("_block", "_end", "_first", "_offset", "_offsets", "_start")

    def __init__(self, block: bytearray, start: int, end: int, offset: int, first: int) -> None:
        self._block = block
        self._start = start
        self._end = end
        self._offset = offset
        self._first = first
        self._offsets = array("q")

    def __call__(self, row: int, /) -> Place:
        """The place of row `row`."""
        if not self._offsets:
            self._find_offsets()
        return Place("record", self._first + row, self._offsets[row])

    def _find_offsets(self) -> None:
        """Finds the objects, between which there are but commas and white space."""
        at = self._start
        for text in _RAW_RECORDS.decode(b"[%b]" % bytes(self._block[at : self._end])):
            at = self._block.index(b"{", at)
            self._offsets.append(self._offset + at - self._start)
            at += memoryview(text).nbytes
        self._block = bytearray()


def likely_cut(data: bytearray, start: int, reach: int, max_objects: int) -> tuple[int, int] | None:
    """A place behind a `}` and before `,` or `]` where as many braces were opened as closed.

    Returns:
        The end of the record and the byte behind the comma or bracket, or None.
    """
    end = min(reach, len(data))
    opened = data.count(b"{", start, end)
    while opened > max_objects:
        end = start + (end - start) // 2
        opened = data.count(b"{", start, end)
    closed = data.count(b"}", start, end)
    for _ in range(_CUT_TRIES):
        brace = data.rfind(b"}", start, end)
        if brace < 0:
            return None
        opened -= data.count(b"{", brace, end)
        closed -= 1
        if opened == closed + 1:
            behind = _RECORD_ENDS.match(data, brace + 1)
            if behind:
                return brace + 1, behind.end()
        end = brace
    return None


__all__ = [
    "CLOSE_BRACE",
    "CLOSE_BRACKET",
    "COLON",
    "COMMA",
    "END",
    "OPEN_BRACE",
    "OPEN_BRACKET",
    "QUOTE",
    "CutOffError",
    "JsonText",
    "NoValueError",
    "RecordPlaces",
    "likely_cut",
]
