"""Files for readers that need random access: SQLite and Parquet open files, not streams.

A plain file gives its own descriptor; what is packed, or only in memory, is first written to a file
without a name, which nobody else can open and which is gone once the stream is. SQLite opens names
only: `named` gives one for the moment of opening, in a `private_folder`.
"""

from __future__ import annotations

import io
import os
import shutil
import weakref
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from hashlists.formats.sealed_spool import SealedStream
from hashlists.formats.unpacking.private_folder import private_folder
from hashlists.formats.unpacking.stream import UnpackedStream, nameless_copy, refuse_clear_copy

if TYPE_CHECKING:
    from collections.abc import Iterator, MutableMapping

_COPIES: MutableMapping[BinaryIO, int] = weakref.WeakKeyDictionary()


def descriptor_of(stream: BinaryIO) -> int:
    """A file descriptor of all that the stream holds, valid as long as the stream is open.

    Whoever reads from the descriptor itself moves the position of a plain file's stream, too.

    Raises:
        FormatError: the stream unpacks what is damaged or too much, or the disk takes no more; or
            it came encrypted, and then nothing of it may lie on the disk in the clear.
    """
    if isinstance(stream, UnpackedStream):
        return stream.descriptor()
    if isinstance(stream, SealedStream):
        refuse_clear_copy()
    try:
        return stream.fileno()
    except io.UnsupportedOperation:
        return _copied(stream)


@contextmanager
def named(stream: BinaryIO, spool_dir: Path | None = None) -> Iterator[Path]:
    """A path under which all that the stream holds can be opened, within this context only.

    What was opened stays readable afterwards, while the stream is open.

    Args:
        stream: plain or unpacked.
        spool_dir: where the name is made, if the file has none; None for the stream's own.

    Raises:
        FormatError: as `descriptor_of`.
    """
    descriptor = descriptor_of(stream)
    own = _own_name(descriptor)
    if own is not None:
        yield own
        return
    if isinstance(stream, UnpackedStream):
        spool_dir = spool_dir or stream.spool_dir
    with private_folder(spool_dir) as folder:
        path = folder / "list"
        try:
            os.link(f"/proc/self/fd/{descriptor}", path)
        except OSError:  # another file system, or one that gives nameless files no name
            with open(f"/proc/self/fd/{descriptor}", "rb") as source, path.open("xb") as copy:  # noqa: PTH123 - no path that others know
                shutil.copyfileobj(source, copy)
        yield path


def _own_name(descriptor: int) -> Path | None:
    """The name that the file has, if it has one still."""
    path = Path(f"/proc/self/fd/{descriptor}").readlink()
    try:
        return path if os.path.samestat(path.stat(), os.fstat(descriptor)) else None
    except OSError:
        return None


def _copied(stream: BinaryIO) -> int:
    """A copy on disk of a stream in memory; closed with the stream's object."""
    if stream not in _COPIES:
        at = stream.tell()
        stream.seek(0)
        with nameless_copy(stream, None) as copy:
            descriptor = os.dup(copy.fileno())
        stream.seek(at)
        weakref.finalize(stream, os.close, descriptor)
        _COPIES[stream] = descriptor
    return _COPIES[stream]


__all__ = ["descriptor_of", "named"]
