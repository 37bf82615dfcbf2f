"""The members of a ZIP archive in memory."""

from __future__ import annotations

import io
import stat
import zipfile
from typing import TYPE_CHECKING, Final

from matcher.model import NotHashableReason
from matcher.scan.sources.unpacking import (
    DAMAGE,
    ArchiveProblem,
    LimitPassedError,
    Member,
    damaged,
    named,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.scan.sources.unpacking import ArchiveLimits, Meter

ZIP_MAGICS: Final = (b"PK\x03\x04", b"PK\x05\x06", b"PK\x07\x08")
_ENCRYPTED: Final = 0x2041  # encrypted, strongly so, or its directory masked
#: The other methods unpack without a bound, or take the memory that the archive asks for.
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
_DIRECTORY_BYTES_A_MEMBER: Final = 1024
_LEAST_DIRECTORY_BYTES: Final = 1 << 20
_MOST_LINK_BYTES: Final = 1024  # paths are seldom longer, and hardly a picture is smaller


def zip_members(
    data: bytes, limits: ArchiveLimits, meter: Meter
) -> Iterator[Member | ArchiveProblem]:
    """What can be taken out, one by one, and what cannot.

    Raises:
        LimitPassedError: the archive passes a limit.
    """
    try:
        archive = zipfile.ZipFile(_Guarded(data, limits.members))
        infos = archive.infolist()
    except DAMAGE:
        yield damaged("its directory is cut off or damaged")
        return
    for info in infos:
        meter.count_entry()
        if not _is_folder(info) and not _is_link(info):
            yield _member(archive, info, meter)


def _is_folder(info: zipfile.ZipInfo) -> bool:
    """A folder has no bytes; what has some is a file, whatever it is called."""
    return info.filename.endswith("/") and not info.file_size


def _is_link(info: zipfile.ZipInfo) -> bool:
    """A link has a path for its bytes; what has more is a file for some who unpack it."""
    return stat.S_ISLNK(info.external_attr >> 16) and info.file_size <= _MOST_LINK_BYTES


def _member(
    archive: zipfile.ZipFile, info: zipfile.ZipInfo, meter: Meter
) -> Member | ArchiveProblem:
    path = named(info.filename)
    if info.flag_bits & _ENCRYPTED:
        return ArchiveProblem(NotHashableReason.ENCRYPTED, "it is encrypted", path)
    if info.compress_type not in _METHODS:
        return ArchiveProblem(
            NotHashableReason.UNSUPPORTED, "it is packed in another way than deflated", path
        )
    try:
        with archive.open(info) as stream:
            # No time: the archive tells it without a time zone.
            return meter.member(path, stream)
    except LimitPassedError:
        raise
    except DAMAGE:
        return damaged("it is cut off or damaged", path)


class _Guarded(io.BytesIO):
    """The archive as the library reads it, which would take a directory of any size apart."""

    def __init__(self, data: bytes, members: int) -> None:
        super().__init__(data)
        self._most = max(_LEAST_DIRECTORY_BYTES, members * _DIRECTORY_BYTES_A_MEMBER)

    def read(self, size: int | None = -1, /) -> bytes:
        if size is not None and size > self._most:
            raise LimitPassedError(f"its directory is longer than {self._most} bytes")
        return super().read(size)


__all__ = ["ZIP_MAGICS", "zip_members"]
