"""Tags of files: extended attributes `user.hashwarden.KEY`, which are no part of the content."""

from __future__ import annotations

import errno
import os
import stat
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

from matcher.errors import in_words
from matcher.scan.tagging.model import Came, Done

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from matcher.scan.tagging.model import Target

PREFIX: Final = "user.hashwarden."
_READ: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_CAME: Final = {
    errno.ENOENT: Came.GONE,
    errno.ENOTDIR: Came.LINK,
    errno.ELOOP: Came.LINK,
    errno.EACCES: Came.FORBIDDEN,
    errno.EPERM: Came.FORBIDDEN,
    errno.EROFS: Came.FORBIDDEN,
    errno.ENOTSUP: Came.UNSUPPORTED,
    errno.ENOSPC: Came.FULL,
    errno.EDQUOT: Came.FULL,
    errno.E2BIG: Came.FULL,
}


class FileTagger:
    """Tags files of a folder.

    Args:
        place: the scan's folder, or its one file; links on the way to it are the operator's own.
    """

    def __init__(self, place: str) -> None:
        path = Path(place)
        self._folder = path if path.is_dir() else path.parent

    def tag(self, target: Target, tags: Mapping[str, str]) -> Done:
        """Sets tags, if the file still is what was scanned."""
        name = target.raw or os.fsencode(target.key)
        try:
            with _opened(self._folder, name.split(b"/")) as file:
                return _tag(file, target, tags)
        except OSError as error:
            came = _CAME.get(error.errno or 0, Came.FAILED)
            return Done(came, in_words(OSError(error.errno, error.strerror)))


def _tag(file: int, target: Target, tags: Mapping[str, str]) -> Done:
    told = os.fstat(file)
    if not stat.S_ISREG(told.st_mode):
        return Done(Came.CHANGED, "it is no file any more")
    if (told.st_size, told.st_mtime_ns / 1e9) != (target.size, target.modified):
        return Done(Came.CHANGED, "its size or its time is another than when it was scanned")
    changes = [
        (name, value.encode())
        for name, value in ((f"{PREFIX}{key}", value) for key, value in tags.items())
        if _attribute(file, name) != value.encode()
    ]
    for name, value in changes:
        os.setxattr(file, name, value)
    return Done(Came.TAGGED if changes else Came.ALREADY)


def _attribute(file: int, name: str) -> bytes | None:
    with suppress(OSError):
        return os.getxattr(file, name)
    return None


@contextmanager
def _opened(folder: Path, parts: list[bytes]) -> Iterator[int]:
    """A file below a folder; none of the parts of its name may be a link.

    Raises:
        OSError: it cannot be opened, or a link leads to it (ELOOP, ENOTDIR).
    """
    here = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for part in parts[:-1]:
            below = os.open(part, _READ | os.O_DIRECTORY, dir_fd=here)
            os.close(here)
            here = below
        file = os.open(parts[-1], _READ, dir_fd=here)
        os.close(here)
        here = file
        yield file
    finally:
        os.close(here)


__all__ = ["PREFIX", "FileTagger"]
