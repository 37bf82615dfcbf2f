"""A seekable stream over bytes that are unpacked while they are read, within limits.

Seeking back begins again from the packed bytes, so readers that need more than a second pass take
`descriptors.descriptor_of`. What is read twice is counted once.
"""

from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import zlib
from typing import TYPE_CHECKING, BinaryIO, NoReturn, Protocol
from zipfile import BadZipFile

import zstandard

from hashlists.errors import FormatError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from typing_extensions import Buffer

    from hashlists.limits import ImportLimits

#: Unpacked bytes from which the ratio counts: small files may be very regular.
RATIO_COUNTS_FROM = 64 * 1024 * 1024
_READ_BYTES = 256 * 1024
#: What the libraries raise for bytes that are not what they should be.
DAMAGE = (
    BadZipFile,
    EOFError,
    NotImplementedError,
    OSError,
    OverflowError,
    ValueError,
    struct.error,
    zlib.error,
    zstandard.ZstdError,
)


class Unpacker(Protocol):
    """Gives the unpacked bytes in order; `b""` at the end, once all that is there was proved."""

    def read(self, size: int, /) -> bytes:
        """At most `size` bytes."""
        ...

    def close(self) -> None:
        """Ends reading."""
        ...


class Budget:
    """Counts what one packed file unpacks to, over all that it holds."""

    def __init__(self, limits: ImportLimits, packed_bytes: int) -> None:
        """Begins at nothing.

        Args:
            limits: how much is allowed.
            packed_bytes: of the file.
        """
        self._limits = limits
        self._by_ratio = max(RATIO_COUNTS_FROM, limits.max_unpacked_ratio * packed_bytes)
        self._spent = 0

    def spend(self, number: int) -> None:
        """Counts bytes.

        Raises:
            FormatError: they are too many.
        """
        self._spent += number
        if self._spent > self._limits.max_unpacked_bytes:
            raise FormatError(
                f"the file unpacks to more than {self._limits.max_unpacked_bytes:,} bytes "
                "(max_unpacked_bytes); nothing of it is imported"
            )
        if self._spent > self._by_ratio:
            raise FormatError(
                f"the file unpacks to more than {self._limits.max_unpacked_ratio} times its size "
                "(max_unpacked_ratio), as an archive made to fill disks does; unpack it yourself "
                "if it is an honest one"
            )


class _RawUnpacked(io.RawIOBase):
    """The unbuffered stream."""

    def __init__(self, begin: Callable[[], Unpacker], budget: Budget, what: str) -> None:
        super().__init__()
        self._begin = begin
        self._budget = budget
        self._what = what
        self._unpacker: Unpacker | None = None
        self._at = 0
        self._furthest = 0
        self.ended = False

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def readinto(self, buffer: Buffer, /) -> int:
        view = memoryview(buffer).cast("B")
        data = self._next(len(view))
        view[: len(data)] = data
        return len(data)

    def tell(self) -> int:
        return self._at

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        target = offset + (self._at if whence == io.SEEK_CUR else 0)
        if whence == io.SEEK_END:
            while self._next(_READ_BYTES):
                pass
            target = self._at + offset
        if target < 0:
            raise ValueError("a position before the beginning")
        if target < self._at:
            self._stop()
        while self._at < target and self._next(min(_READ_BYTES, target - self._at)):
            pass
        return self._at

    def close(self) -> None:
        if not self.closed:
            self._stop()
        super().close()

    def _next(self, size: int) -> bytes:
        try:
            if self._unpacker is None:
                self._unpacker = self._begin()
            data = self._unpacker.read(size)
        except DAMAGE as error:
            raise FormatError(
                f"the {self._what} is cut off or damaged ({_in_words(error)}); get it again from "
                "its source"
            ) from None
        self._at += len(data)
        self.ended = self.ended or not data
        if self._at > self._furthest:
            self._budget.spend(self._at - self._furthest)
            self._furthest = self._at
        return data

    def _stop(self) -> None:
        self._at = 0
        if self._unpacker is not None:
            unpacker, self._unpacker = self._unpacker, None
            unpacker.close()


class UnpackedStream(io.BufferedReader):
    """What a packed file, or one member of an archive, holds: read-only and seekable.

    Attributes:
        spool_dir: where its copy on disk lies; None for the folder of temporary files.
    """

    def __init__(
        self,
        begin: Callable[[], Unpacker],
        budget: Budget,
        what: str,
        *,
        spool_dir: Path | None = None,
        is_secret: bool = False,
    ) -> None:
        """Opens nothing yet.

        Args:
            begin: begins to unpack from the first byte.
            budget: of the packed file.
            what: what is unpacked, in words, for errors.
            spool_dir: where a copy on disk lies, if one is needed; None for the folder of temporary
                files.
            is_secret: no copy may lie on the disk in the clear.
        """
        self._is_secret = is_secret
        self._unpacked = _RawUnpacked(begin, budget, what)
        super().__init__(self._unpacked, _READ_BYTES)
        self.spool_dir = spool_dir
        self._spooled: BinaryIO | None = None

    def require_end(self) -> None:
        """Reads on to the end, unless it was reached, so that checksums are proved.

        Raises:
            FormatError: what follows is cut off, damaged or too much.
        """
        while not self._unpacked.ended:
            self.read(_READ_BYTES)

    def descriptor(self) -> int:
        """A descriptor of an unnamed copy on disk, valid until the stream is closed.

        Raises:
            FormatError: as when reading; or the disk takes no more, or must not.
        """
        if self._spooled is None:
            if self._is_secret:
                refuse_clear_copy()
            at = self.tell()
            self.seek(0)
            self._spooled = nameless_copy(self, self.spool_dir)
            self.seek(at)
        return self._spooled.fileno()

    def close(self) -> None:
        """Ends reading and erases the copy."""
        if self._spooled is not None:
            self._spooled.close()
        super().close()


def refuse_clear_copy() -> NoReturn:
    """What came encrypted is read from memory or sealed on the disk, in order.

    Raises:
        FormatError: always; says what to do.
    """
    raise FormatError(
        "the encrypted file holds a database, which can only be read from a file in the clear, and "
        "none is written of what came encrypted; decrypt it yourself and import what comes out"
    )


def nameless_copy(stream: BinaryIO, spool_dir: Path | None) -> BinaryIO:
    """What the stream holds from here on, in a file without a name.

    Raises:
        FormatError: the stream cannot be unpacked, or the disk takes no more.
    """
    copy = _nameless(spool_dir)
    try:
        shutil.copyfileobj(stream, copy, _READ_BYTES)
        copy.flush()
    except OSError as error:
        copy.close()
        raise FormatError(f"the unpacked file cannot be written: {error.strerror}") from error
    except BaseException:
        copy.close()
        raise
    return copy


def _nameless(folder: Path | None) -> BinaryIO:
    """A new file without a name, which can be given one where the file system allows that."""
    try:
        flags = os.O_TMPFILE | os.O_RDWR | os.O_CLOEXEC
        return os.fdopen(os.open(folder or tempfile.gettempdir(), flags, 0o600), "w+b")
    except OSError:
        return tempfile.TemporaryFile(dir=folder)


def _in_words(error: Exception) -> str:
    """What a library says of the damage; nothing that it may have quoted from the file."""
    if isinstance(error, EOFError):
        return "it ends early"
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    if isinstance(error, BadZipFile | OSError) and "CRC" in str(error):
        return "its checksum differs"
    if isinstance(error, NotImplementedError):
        return "it is packed in a way that is not read here"
    return "its bytes are not what they should be"


__all__ = [
    "DAMAGE",
    "Budget",
    "UnpackedStream",
    "Unpacker",
    "nameless_copy",
    "refuse_clear_copy",
]
