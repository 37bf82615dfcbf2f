"""Lines of a file as bytes, with their places, one block at a time.

Lines end with LF or CR LF; blank ones are left out. A byte-order mark of UTF-8 is skipped. A line
that exceeds the limit is told without being held.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from hashlists.errors import FormatError

if TYPE_CHECKING:
    from hashlists.limits import ImportLimits

_READ_BYTES = 256 * 1024
_LEAST_READ_BYTES = 64  # a byte-order mark comes whole
_MARK = b"\xef\xbb\xbf"
_MARKS_OF_OTHERS = (b"\xff\xfe", b"\xfe\xff", b"\x00")


class ByteLine(NamedTuple):
    """One line.

    Attributes:
        number: counted from 1, blank lines included.
        offset: bytes from the start of the file.
        text: the line without its end; None where it exceeds the limit.
        is_ended: False for a last line without line end.
    """

    number: int
    offset: int
    text: bytes | None
    is_ended: bool = True


class ByteLines:
    """Reads the lines of a stream, from where it stands.

    Args:
        stream: never closed here.
        limits: of a block, and of lines taken at once.
        max_line: bytes of a line; None for the limit of records.

    Attributes:
        bytes_read: bytes taken from the stream.

    Raises:
        FormatError: the file is not UTF-8 text.
    """

    def __init__(
        self, stream: BinaryIO, limits: ImportLimits, *, max_line: int | None = None
    ) -> None:
        self.bytes_read = 0
        self._stream = stream
        self._block = max(min(limits.block_bytes, _READ_BYTES), _LEAST_READ_BYTES)
        self._most_bytes = max_line or limits.max_record_bytes
        self._most_lines = limits.max_batch_rows
        self._number = 0
        self._offset = 0
        self._begun = b""
        self._skipped = 0
        self._waiting: list[ByteLine] = []
        self._ended = False

    def take_first(self) -> ByteLine | None:
        """Takes the first line that is not blank; None where there is none."""
        first = self.see_first()
        self._waiting = self._waiting[1:]
        return first

    def see_first(self) -> ByteLine | None:
        """The first line that is not blank, which is left to be taken; None where there is none."""
        while not self._waiting and not self._ended:
            self._read()
        return self._waiting[0] if self._waiting else None

    def take(self) -> list[ByteLine]:
        """The next lines; none at the end of the file."""
        while not self._waiting and not self._ended:
            self._read()
        taken = self._waiting[: self._most_lines]
        self._waiting = self._waiting[self._most_lines :]
        return taken

    def _read(self) -> None:
        data = self._stream.read(self._block)
        if not self.bytes_read:
            self._begin(data[:3])
            if data.startswith(_MARK):
                self._offset = len(_MARK)
                self.bytes_read = len(_MARK)
                data = data[len(_MARK) :]
                if not data:
                    return
        self.bytes_read += len(data)
        *whole, begun = (self._begun + data).split(b"\n")
        for line in whole:
            self._add(line, ended=True)
        self._begun = begun
        if not data:
            self._ended = True
            if begun or self._skipped:
                self._add(begun, ended=False)
        elif len(begun) > self._most_bytes:
            self._skipped += len(begun)
            self._begun = b""

    def _begin(self, head: bytes) -> None:
        if head.startswith(_MARKS_OF_OTHERS):
            raise FormatError("the file is not UTF-8 text; JSON files are UTF-8")

    def _add(self, line: bytes, *, ended: bool) -> None:
        self._number += 1
        length = self._skipped + len(line)
        text = line.strip(b" \t\r") if not self._skipped and length <= self._most_bytes else None
        if text != b"":
            self._waiting.append(ByteLine(self._number, self._offset, text, ended))
        self._offset += length + ended
        self._skipped = 0
