"""Members of archives among the objects: zip, tar, gz, and tar within gz.

Invariants:

* Bytes come in and members go out, one at a time: nothing is written to disk, and no name is used
  as a path.
* What comes out is bounded (`ArchiveLimits`), whatever the archive says of itself. What was taken
  before a limit, or before damage, stays taken.
* Archives within archives are members like any other: none is opened but a tar within gz.
"""

from __future__ import annotations

import gzip
import io
from typing import TYPE_CHECKING, Final

from matcher.scan.model import FailureReason
from matcher.scan.sources.tar_members import BLOCK_BYTES, is_tar, tar_members
from matcher.scan.sources.unpacking import (
    DAMAGE,
    ArchiveLimits,
    ArchiveProblem,
    LimitPassedError,
    Member,
    Meter,
    damaged,
    named,
)
from matcher.scan.sources.zip_members import ZIP_MAGICS, zip_members

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.scan.model import Content

_SUFFIXES: Final = (".zip", ".tar", ".tgz", ".gz")
_GZIP_MAGIC: Final = b"\x1f\x8b"


def is_archive(key: str) -> bool:
    """Whether an object is opened as an archive, by its name."""
    return key.lower().endswith(_SUFFIXES)


def is_packed(data: bytes | None) -> bool:
    """Whether bytes are an archive's, as far as their beginning tells; None, for many, may be."""
    if data is None:
        return True
    return data.startswith((*ZIP_MAGICS, _GZIP_MAGIC)) or is_tar(data[:BLOCK_BYTES])


def members(content: Content, limits: ArchiveLimits) -> Iterator[Member | ArchiveProblem]:
    """What an archive holds, one by one; what it is is told by its bytes.

    Args:
        content: the archive; without data it counts as one that passes the limit.
        limits: what of it is taken.
    """
    data = content.data
    if data is None or len(data) > limits.archive_bytes:
        yield _over(f"it has more than {limits.archive_bytes} bytes")
        return
    meter = Meter(limits, len(data))
    try:
        if data.startswith(ZIP_MAGICS):
            yield from zip_members(data, limits, meter)
        elif data.startswith(_GZIP_MAGIC):
            yield from _gzip_members(data, content.listed.key, meter)
        elif is_tar(data[:BLOCK_BYTES]):
            yield from tar_members(io.BytesIO(data), meter, packed=False)
        else:
            yield damaged("it is no archive of a kind that is opened: zip, tar or gz")
    except LimitPassedError as error:
        yield _over(str(error))


def _gzip_members(data: bytes, key: str, meter: Meter) -> Iterator[Member | ArchiveProblem]:
    stream = gzip.GzipFile(fileobj=io.BytesIO(data))
    try:
        if is_tar(stream.peek(BLOCK_BYTES)):
            yield from tar_members(stream, meter, packed=True)
        else:
            meter.count_entry()
            yield meter.member(_within(key), stream)
    except LimitPassedError:
        raise
    except DAMAGE:
        yield damaged("it is cut off or damaged")


def _within(key: str) -> str:
    name = key.rpartition("/")[2]
    return named(name[:-3] if name.lower().endswith(".gz") else name)


def _over(detail: str) -> ArchiveProblem:
    return ArchiveProblem(FailureReason.ARCHIVE_LIMIT, detail)


__all__ = [
    "ArchiveLimits",
    "ArchiveProblem",
    "Member",
    "is_archive",
    "is_packed",
    "members",
]
