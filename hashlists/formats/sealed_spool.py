"""Where a writer keeps what can only be written later: in memory, then encrypted on the disk.

An export may be encrypted to its recipients; nothing of it must lie in the clear beside that. The
key is made anew for each spool and never leaves the process, so that what a killed one leaves on
the disk means nothing to anybody. The file has no name.
"""

from __future__ import annotations

import os
import tempfile
from typing import TYPE_CHECKING, Final

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes

if TYPE_CHECKING:
    from collections.abc import Iterator

_IN_MEMORY_BYTES: Final = 8 * 1024 * 1024
_PIECE_BYTES: Final = 1024 * 1024
_KEY_BYTES: Final = 32
_NONCE: Final = bytes(16)  # each key encrypts one stream


class SealedSpool:
    """Bytes that are written once, one behind the other, and then taken once.

    Args:
        memory_bytes: kept in memory; what is more goes to the disk.

    Attributes:
        bytes: how many were written.
    """

    def __init__(self, *, memory_bytes: int = _IN_MEMORY_BYTES) -> None:
        self._cipher = Cipher(algorithms.AES(os.urandom(_KEY_BYTES)), modes.CTR(_NONCE))
        self._encrypt = self._cipher.encryptor().update
        self._file = tempfile.SpooledTemporaryFile(memory_bytes)  # noqa: SIM115  `__del__` closes it
        self.bytes = 0

    def __del__(self) -> None:
        self._file.close()  # a writer that failed never takes what waits

    def write(self, data: bytes) -> None:
        """Adds to what is there.

        Raises:
            OSError: the disk takes no more.
        """
        self._file.write(self._encrypt(data))
        self.bytes += len(data)

    def take(self) -> Iterator[bytes]:
        """Gives it all back, in pieces."""
        decrypt = self._cipher.decryptor().update
        self._file.seek(0)
        while sealed := self._file.read(_PIECE_BYTES):
            yield decrypt(sealed)


__all__ = ["SealedSpool"]
