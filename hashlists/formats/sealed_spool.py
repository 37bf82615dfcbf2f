"""Where content waits that must not lie in the clear: in memory, then encrypted on the disk.

An export may be encrypted to its recipients, and a list file may come encrypted; nothing of either
must lie on the disk beside that. The key is made anew for each spool and never leaves the process,
so that what a killed one leaves on the disk means nothing to anybody. The file has no name.
"""

from __future__ import annotations

import io
import os
import tempfile
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from cryptography.hazmat.primitives.ciphers import CipherContext
    from typing_extensions import Buffer

_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_READ_BYTES: Final = 256 * 1024
_KEY_BYTES: Final = 32
_BLOCK_BYTES: Final = 16


class SealedSpool:
    """Bytes that are written once, one behind the other, and read back afterwards.

    Args:
        memory_bytes: kept in memory; what is more goes to the disk.
        folder: where on the disk; None for the folder of temporary files.

    Attributes:
        bytes: how many were written.
    """

    def __init__(self, *, memory_bytes: int = _IN_MEMORY_BYTES, folder: Path | None = None) -> None:
        self._key = os.urandom(_KEY_BYTES)  # encrypts one stream, so that counting from 0 is safe
        self._encrypt = self._cipher_at(0).update
        where = None if folder is None else str(folder)
        self._file = tempfile.SpooledTemporaryFile(memory_bytes, dir=where)  # noqa: SIM115  `__del__` closes it
        self.bytes = 0

    def __del__(self) -> None:
        self.close()  # a writer that failed never takes what waits

    def close(self) -> None:
        """Erases it."""
        self._file.close()

    def write(self, data: bytes) -> None:
        """Adds to what is there; nothing may have been read yet.

        Raises:
            OSError: the disk takes no more.
        """
        self._file.write(self._encrypt(data))
        self.bytes += len(data)

    def take(self) -> Iterator[bytes]:
        """Gives it all back, in pieces."""
        decrypt = self._cipher_at(0).update
        self._file.seek(0)
        while sealed := self._file.read(_PIECE_BYTES):
            yield decrypt(sealed)

    def read_at(self, at: int, size: int) -> bytes:
        """At most `size` bytes from position `at` on."""
        self._file.seek(at)
        return self._cipher_at(at).update(self._file.read(size))

    def _cipher_at(self, at: int) -> CipherContext:
        """Encrypts and decrypts from position `at` on: in counter mode both are the same."""
        counter = (at // _BLOCK_BYTES).to_bytes(_BLOCK_BYTES, "big")
        cipher = Cipher(algorithms.AES(self._key), modes.CTR(counter)).encryptor()
        cipher.update(bytes(at % _BLOCK_BYTES))
        return cipher


class SealedStream(io.BufferedReader):
    """What a spool holds: read-only and seekable. Closing it erases the spool."""

    def __init__(self, spool: SealedSpool) -> None:
        super().__init__(_RawSealed(spool), _READ_BYTES)


class _RawSealed(io.RawIOBase):
    """The unbuffered stream."""

    def __init__(self, spool: SealedSpool) -> None:
        super().__init__()
        self._spool = spool
        self._at = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._spool.read_at(self._at, len(view))
        view[: len(data)] = data
        self._at += len(data)
        return len(data)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        start = {io.SEEK_SET: 0, io.SEEK_CUR: self._at, io.SEEK_END: self._spool.bytes}[whence]
        if start + offset < 0:
            raise ValueError("a position before the beginning")
        self._at = start + offset
        return self._at

    def close(self) -> None:
        self._spool.close()
        super().close()


__all__ = ["SealedSpool", "SealedStream"]
