"""Bytes of a file on their way to a stream, counted and digested: the end of an export's way."""

from __future__ import annotations

import hashlib
from typing import BinaryIO


class Measured:
    """Hands bytes on to a stream and tells, once all went through, what they were.

    Attributes:
        bytes: how many.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._digest = hashlib.sha256()
        self.bytes = 0

    @property
    def sha256(self) -> str:
        """Of all bytes so far, in lower-case hex."""
        return self._digest.hexdigest()

    def write(self, data: bytes) -> None:
        """Hands a piece on, whole."""
        left = memoryview(data)
        while left:  # an unbuffered stream may take a part only
            left = left[self._stream.write(left) :]
        self._digest.update(data)
        self.bytes += len(data)

    def finish(self) -> None:
        """Hands on what the stream still holds."""
        self._stream.flush()

    def abandon(self) -> None:
        """Nothing holds anything here."""


__all__ = ["Measured"]
