"""MD5, SHA-1 and SHA-256 of bytes as received, in one pass over them.

Digests find exact copies of known files, so they are wanted of any file whatever: of videos and
documents, and of images that are too large or broken to decode. Lists hold MD5 and SHA-1 for their
age, not their strength; `matcher.policy` decides what a match on each is worth.

Nothing here keeps the bytes, and no limit of size applies: memory does not grow with the file.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Final

from matcher.model import Digests

if TYPE_CHECKING:
    from os import PathLike

    BytesLike = bytes | bytearray | memoryview

#: Small enough to stay in cache while three digests read it, large enough that `hashlib` lets other
#: threads run meanwhile.
_BLOCK_BYTES: Final = 256 * 1024


class Digester:
    """Digests bytes that arrive piece by piece."""

    def __init__(self) -> None:
        self._md5 = hashlib.md5(usedforsecurity=False)
        self._sha1 = hashlib.sha1(usedforsecurity=False)
        self._sha256 = hashlib.sha256(usedforsecurity=False)
        self._size = 0

    def update(self, data: BytesLike) -> None:
        """Takes the next bytes.

        Raises:
            TypeError: not a bytes-like object.
            BufferError: bytes that do not lie side by side.
        """
        view = memoryview(data)
        if not view.c_contiguous:
            raise BufferError("bytes to digest must be contiguous")
        view = view.cast("B")
        for start in range(0, len(view), _BLOCK_BYTES):
            block = view[start : start + _BLOCK_BYTES]
            for digest in (self._md5, self._sha1, self._sha256):
                digest.update(block)
        self._size += len(view)

    def digests(self) -> Digests:
        """Digests of all bytes so far."""
        return Digests(
            md5=self._md5.digest(),
            sha1=self._sha1.digest(),
            sha256=self._sha256.digest(),
            size=self._size,
        )


def digest_bytes(data: BytesLike) -> Digests:
    """Digests of bytes in memory.

    Args:
        data: any contiguous bytes-like object; empty is allowed.

    Raises:
        TypeError: not a bytes-like object.
        BufferError: bytes that do not lie side by side.
    """
    digester = Digester()
    digester.update(data)
    return digester.digests()


def digest_stream(stream: BinaryIO) -> Digests:
    """Digests of what is left in a binary stream.

    Raises:
        OSError: reading failed.
    """
    digester = Digester()
    while block := stream.read(_BLOCK_BYTES):
        digester.update(block)
    return digester.digests()


def digest_file(path: str | PathLike[str]) -> Digests:
    """Digests of a file, of any size.

    Raises:
        OSError: the file cannot be opened or read.
    """
    with Path(path).open("rb", buffering=0) as file:
        return digest_stream(file)
