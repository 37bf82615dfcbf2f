"""What the readers of archives share: their words, their limits, and the meter that keeps to them.

Nothing here is ever written to disk, and a member's name is never used as a path.
"""

from __future__ import annotations

import struct
import tarfile
import zipfile
import zlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from matcher.hashing.digests import Digester
from matcher.scan.model import FailureReason

if TYPE_CHECKING:
    from matcher.model import Digests, NotHashableReason

#: What the standard library raises of a damaged archive; which, depends on the byte.
DAMAGE: Final = (
    ArithmeticError,
    EOFError,
    IndexError,
    KeyError,
    OSError,
    RuntimeError,
    ValueError,
    struct.error,
    tarfile.TarError,
    zipfile.BadZipFile,
    zlib.error,
)
_BLOCK_BYTES: Final = 1 << 18
_MOST_NAME: Final = 1024
_UNNAMED: Final = "(unnamed)"


@dataclass(frozen=True, slots=True)
class ArchiveLimits:
    """What of an archive is taken; beyond any of it the rest is left, and that is told.

    Attributes:
        archive_bytes: of the archive itself, which is held in memory.
        members: entries, folders and links among them.
        member_bytes: of a member that is held in memory; a larger one is digested.
        total_bytes: of all that is unpacked.
        ratio: of all that is unpacked to the archive's own size, beyond `slack_bytes`.
        slack_bytes: that may be unpacked whatever the ratio.
    """

    archive_bytes: int = 256 << 20
    members: int = 10_000
    member_bytes: int = 25 << 20
    total_bytes: int = 4 << 30
    ratio: int = 200
    slack_bytes: int = 64 << 20


@dataclass(frozen=True, slots=True)
class Member:
    """A file in an archive.

    Attributes:
        path: as the archive has it, never empty; foreign text, never used as a path.
        data: its bytes; None where there are more than `ArchiveLimits.member_bytes`.
        digests: of all its bytes where `data` is None; else None.
        size: bytes.
        modified: seconds since 1970, UTC; None where the archive does not tell.
    """

    path: str
    data: bytes | None = field(repr=False)
    digests: Digests | None
    size: int
    modified: float | None = None


@dataclass(frozen=True, slots=True)
class ArchiveProblem:
    """What of an archive could not be taken out, and why.

    Attributes:
        reason: `ENCRYPTED` and `UNSUPPORTED` are of a member that is whole and cannot be opened.
        detail: one line for a person.
        path: of the member; empty where it is the archive, or all the rest of it.
    """

    reason: FailureReason | NotHashableReason
    detail: str
    path: str = ""


class LimitPassedError(Exception):
    """The archive passes a limit; what is left of it is not read."""


class Readable(Protocol):
    """Gives at most so many bytes; none at the end."""

    def read(self, size: int, /) -> bytes:
        """The next bytes."""
        ...


class Meter:
    """Counts what comes out of one archive.

    Args:
        limits: that hold.
        packed: bytes of the archive.
    """

    def __init__(self, limits: ArchiveLimits, packed: int) -> None:
        self._limits = limits
        self._most = min(limits.total_bytes, limits.slack_bytes + limits.ratio * packed)
        self._entries = 0
        self._bytes = 0

    def count_entry(self) -> None:
        """One more entry of the directory.

        Raises:
            LimitPassedError: there are more than may be.
        """
        self._entries += 1
        if self._entries > self._limits.members:
            raise LimitPassedError(f"it holds more than {self._limits.members} entries")

    def count_bytes(self, number: int) -> None:
        """So many more bytes were unpacked.

        Raises:
            LimitPassedError: there are more than may be.
        """
        self._bytes += number
        if self._bytes > self._most:
            raise LimitPassedError(
                f"it unpacks to more than {self._most} bytes, as archives do that are made to fill"
                " memory"
            )

    def member(self, path: str, stream: Readable, modified: float | None = None) -> Member:
        """Reads a member to its end.

        Raises:
            LimitPassedError: with it too much was unpacked.
        """
        kept: list[bytes] = []
        digester: Digester | None = None
        size = 0
        while block := stream.read(_BLOCK_BYTES):
            self.count_bytes(len(block))
            size += len(block)
            if digester is None:
                kept.append(block)
                if size > self._limits.member_bytes:
                    digester = _digester_of(kept)
            else:
                digester.update(block)
        if digester is None:
            return Member(path, b"".join(kept), None, size, modified)
        return Member(path, None, digester.digests(), size, modified)


def _digester_of(kept: list[bytes]) -> Digester:
    digester = Digester()
    for block in kept:
        digester.update(block)
    kept.clear()
    return digester


def named(path: str) -> str:
    """A member's name as it is told: text, of bounded length, and never empty."""
    text = path.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
    return text[:_MOST_NAME] or _UNNAMED


def damaged(detail: str, path: str = "") -> ArchiveProblem:
    """Something cannot be taken out as it must once have been."""
    return ArchiveProblem(FailureReason.ARCHIVE_DAMAGED, detail, path)


__all__ = [
    "DAMAGE",
    "ArchiveLimits",
    "ArchiveProblem",
    "LimitPassedError",
    "Member",
    "Meter",
    "Readable",
    "damaged",
    "named",
]
