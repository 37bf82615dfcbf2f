"""The end of the audit's chain, kept in a small file apart from the database.

Whoever cuts records off the end of the chain leaves a chain that is whole. This file says how far
it once went. It is only ever moved forward, and only along the chain: where the database has
another record under the number that stands here, or none, the file stays as it is, so that the gap
is told for as long as nobody removes the file.
"""

from __future__ import annotations

import fcntl
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.errors import AuditError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_DIGITS = 20
_MOST_BYTES = 1024
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class AuditHead:
    """An end that the chain has, or once had.

    Attributes:
        number: of its newest record; 0 for none.
        digest: of that record, 32 bytes.
    """

    number: int
    digest: bytes

    def __str__(self) -> str:
        return f"{self.number:0{_DIGITS}d} {self.digest.hex()}"

    @classmethod
    def parse(cls, text: str) -> AuditHead:
        """The end that `str` wrote; leading zeros may be left out.

        Raises:
            ValueError: it did not.
        """
        number, _, digest = text.strip().partition(" ")
        found = cls(int(number), bytes.fromhex(digest))
        if found.number < 0 or len(found.digest) != _DIGEST_BYTES:
            raise ValueError("no number and SHA-256")
        return found


class HeadFile:
    """The file.

    Args:
        path: of the file; its folder must be there. It is made for its owner alone.
    """

    def __init__(self, path: Path) -> None:
        self._path = path

    def read(self) -> AuditHead | None:
        """What stands there; None where there is no such file.

        Raises:
            AuditError: it cannot be read, or holds something else.
        """
        if not self._path.exists():
            return None
        with self.held() as held:
            return held.head

    @contextmanager
    def held(self) -> Iterator[HeldHead]:
        """The file, for this process alone.

        Raises:
            AuditError: it cannot be read, made or written, or holds something else.
        """
        try:
            handle = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX)
                yield HeldHead(handle, self._parsed(os.pread(handle, _MOST_BYTES, 0)))
            finally:
                os.close(handle)
        except OSError as error:
            raise AuditError(
                f"{self._path}: the end of the audit cannot be kept here: {error.strerror}"
            ) from error

    def _parsed(self, content: bytes) -> AuditHead | None:
        if not content:
            return None
        try:
            return AuditHead.parse(content.decode("ascii"))
        except ValueError:
            raise AuditError(
                f"{self._path}: does not say how far the audit went; see `hashwarden audit verify`,"
                " and move the file away"
            ) from None


@dataclass(frozen=True, slots=True)
class HeldHead:
    """The file while it is held.

    Attributes:
        head: what stands there; None for nothing.
    """

    _handle: int
    head: AuditHead | None

    def put(self, head: AuditHead) -> None:
        """Writes another end; a line of the same length, so that it is never half of one."""
        os.pwrite(self._handle, f"{head}\n".encode("ascii"), 0)
        os.fsync(self._handle)


__all__ = ["AuditHead", "HeadFile", "HeldHead"]
