"""The members of a tar archive, plain in memory or as it comes out of a gzip stream."""

from __future__ import annotations

import io
import tarfile
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, cast

from matcher.scan.sources.unpacking import DAMAGE, LimitPassedError, damaged, named

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.scan.sources.unpacking import ArchiveProblem, Member, Meter, Readable

BLOCK_BYTES: Final = tarfile.BLOCKSIZE
#: Of what the library reads at once, which is what a header says: names, and tables of holes.
_MOST_READ: Final = 1 << 20
_KEPT_BYTES: Final = 4096
_SKIPPED_BYTES: Final = 1 << 18
_FAR_FUTURE: Final = 1 << 40


def is_tar(block: bytes) -> bool:
    """Whether a first block is a header, by its check sum."""
    if len(block) < BLOCK_BYTES:
        return False
    try:
        tarfile.TarInfo.frombuf(block[:BLOCK_BYTES], "utf-8", "surrogateescape")
    except tarfile.HeaderError:
        return False
    return True


def tar_members(
    stream: Readable, meter: Meter, *, packed: bool
) -> Iterator[Member | ArchiveProblem]:
    """What can be taken out, one by one, and what cannot.

    Args:
        stream: the archive.
        meter: counts what comes out.
        packed: what is read over comes out of a compressed stream, and counts as unpacked.

    Raises:
        LimitPassedError: the archive passes a limit.
    """
    tape = _Tape(stream, meter if packed else None)
    try:
        archive: Any = tarfile.open(fileobj=cast("Any", tape), mode="r:")  # noqa: SIM115  # of bytes
        while (info := archive.next()) is not None:
            archive.members.clear()  # the library would keep them all
            meter.count_entry()
            if _is_file(info):
                yield _member(archive, info, meter, tape)
        whole = tape.is_end(archive.offset)
    except LimitPassedError:
        raise
    except DAMAGE:
        whole = False
    if not whole:
        yield damaged("it is cut off or damaged: what comes behind is not found")


def _member(archive: tarfile.TarFile, info: tarfile.TarInfo, meter: Meter, tape: _Tape) -> Member:
    stream = archive.extractfile(info)
    assert stream is not None  # of a file there always is one
    with tape.counted_by_member():
        member = meter.member(named(info.name), stream, _time(info))
    if member.size != info.size:
        raise EOFError
    return member


def _is_file(info: tarfile.TarInfo) -> bool:
    """As who unpacks it takes it: what is of no known type becomes a file."""
    return info.isfile() or (info.type not in tarfile.SUPPORTED_TYPES and info.size > 0)


def _time(info: tarfile.TarInfo) -> float | None:
    return float(info.mtime) if 0 <= info.mtime < _FAR_FUTURE else None


class _Tape(io.RawIOBase):
    """A stream that is read onwards; a little of what was read last can be read again.

    The library looks one byte back to see that a member was whole, and we a block, to see how the
    archive ends.
    """

    def __init__(self, stream: Readable, meter: Meter | None) -> None:
        super().__init__()
        self._stream = stream
        self._meter = meter
        self._counting = True
        self._kept = b""
        self._at = 0
        self._read_to = 0

    @contextmanager
    def counted_by_member(self) -> Iterator[None]:
        """While a member is read its reader counts."""
        self._counting = False
        try:
            yield
        finally:
            self._counting = True

    def read(self, size: int = -1, /) -> bytes:
        if not 0 <= size <= _MOST_READ:
            raise LimitPassedError(f"a header in it is longer than {_MOST_READ} bytes")
        back = self._read_to - self._at
        old = self._kept[len(self._kept) - back :][:size] if back else b""
        new = self._more(size - len(old))
        self._at += len(old) + len(new)
        return old + new

    def _more(self, size: int) -> bytes:
        pieces: list[bytes] = []
        while size and (block := self._stream.read(size)):
            pieces.append(block)
            size -= len(block)
        new = b"".join(pieces)
        if self._meter is not None and self._counting:
            self._meter.count_bytes(len(new))
        self._kept = (self._kept + new[-_KEPT_BYTES:])[-_KEPT_BYTES:]
        self._read_to += len(new)
        return new

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        if whence != io.SEEK_SET or offset < self._read_to - len(self._kept):
            raise EOFError("what lies so far back is not kept")
        self._at = min(offset, self._read_to)
        while self._at < offset:
            if not self.read(min(offset - self._at, _SKIPPED_BYTES)):
                raise EOFError("the archive ends before")
        return self._at

    def tell(self) -> int:
        return self._at

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def is_end(self, offset: int) -> bool:
        """Whether a block of zeros stands there, as at an archive's end."""
        self.seek(offset)
        return self.read(BLOCK_BYTES) == bytes(BLOCK_BYTES)


__all__ = ["BLOCK_BYTES", "is_tar", "tar_members"]
