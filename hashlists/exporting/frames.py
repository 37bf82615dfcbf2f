"""What an export's child process says to its parent: frames through one pipe.

A frame is a header (one byte for its kind, four for the length of its content, big-endian) and its
content: a piece of the file, or, last and once, the report or the error as JSON. No content is
longer than `MAX_CONTENT_BYTES`. A pipe that ends without a report or an error has broken.
"""

from __future__ import annotations

import json
from enum import Enum
from struct import Struct
from typing import TYPE_CHECKING, Any, BinaryIO, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

    from typing_extensions import Buffer

HEADER: Final = Struct(">cI")
#: Of a piece of the file: small enough that handing one on takes no server's loop noticeable time.
PIECE_BYTES: Final = 256 * 1024
MAX_CONTENT_BYTES: Final = 1 << 20


class FrameKind(Enum):
    """What a frame holds."""

    PIECE = b"P"
    REPORT = b"R"
    ERROR = b"E"


def read_header(header: bytes) -> tuple[FrameKind, int]:
    """Kind and length of the content that follows.

    Raises:
        ValueError: it is the header of no frame.
    """
    kind, length = HEADER.unpack(header)
    if length > MAX_CONTENT_BYTES:
        raise ValueError("a frame is longer than any may be")
    return FrameKind(kind), length


class FrameWriter:
    """A stream whose bytes go out as frames. What it still holds goes out with `flush`."""

    def __init__(self, pipe: BinaryIO) -> None:
        self._pipe = pipe
        self._waiting = bytearray()

    def write(self, data: Buffer) -> int:
        """Takes bytes of the file, all of them.

        Raises:
            BrokenPipeError: nobody reads any more.
        """
        self._waiting += data
        while len(self._waiting) >= PIECE_BYTES:
            self._send(FrameKind.PIECE, bytes(self._waiting[:PIECE_BYTES]))
            del self._waiting[:PIECE_BYTES]
        return memoryview(data).nbytes

    def flush(self) -> None:
        """Sends what is held."""
        if self._waiting:
            self._send(FrameKind.PIECE, bytes(self._waiting))
            self._waiting.clear()

    def end(self, kind: FrameKind, content: Mapping[str, Any]) -> None:
        """Sends the last frame. Bytes that were not flushed are dropped: they are no whole file."""
        self._send(kind, json.dumps(content).encode())

    def _send(self, kind: FrameKind, content: bytes) -> None:
        self._pipe.write(HEADER.pack(kind.value, len(content)))
        self._pipe.write(content)
        self._pipe.flush()


__all__ = ["HEADER", "MAX_CONTENT_BYTES", "PIECE_BYTES", "FrameKind", "FrameWriter", "read_header"]
