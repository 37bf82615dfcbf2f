"""Writes a file whole or not at all.

The content goes into a file without a name in the target's own folder, readable by its owner alone,
and gets its name once every byte is on the disk: whatever ends the process before leaves nothing
behind. Where the file system knows no nameless files, it has a name that ends in `.partial` until
then. A file that is there already is never touched unless that was asked for; a symbolic link, or
what is no regular file, never.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, BinaryIO, Final, Self

from hashlists.errors import ExportTargetError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_MODE: Final = 0o600
_DESCRIPTORS: Final = "/proc/self/fd"
#: How file systems without hard links answer.
_NO_LINKS: Final = frozenset({errno.EPERM, errno.EOPNOTSUPP, errno.ENOSYS, errno.EMLINK})
#: How file systems answer that have no call to sync a folder.
_NO_FOLDER_SYNC: Final = frozenset({errno.EINVAL, errno.EOPNOTSUPP, errno.ENOSYS})


@contextmanager
def whole_file(target: Path, *, force: bool = False) -> Iterator[BinaryIO]:
    """A stream for the content of `target`, which is there, and whole, if the block ends well.

    The stream has no buffer, so that a write may take a part of what it is given.

    Args:
        target: the file; its folder must be there.
        force: it may take the place of a file that is there.

    Raises:
        ExportTargetError: it must not or cannot be written, or the disk takes no more; then there
            is no such file, or the one that was there before.
    """
    try:
        with _folder(target) as folder:
            _require_free(target, force=force)
            with _Unfinished(folder) as unfinished:
                yield unfinished.stream
                unfinished.publish(target.name, force=force)
            _sync(folder)
    except FileExistsError:
        raise _taken(target) from None
    except OSError as error:
        raise ExportTargetError(f"{target} was not written: {error.strerror}") from error


@contextmanager
def _folder(target: Path) -> Iterator[int]:
    if not target.name:
        raise ExportTargetError(f"{target} is a folder; name a file")
    handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)


def _require_free(target: Path, *, force: bool) -> None:
    """Tells before anything is written what would be told at the end."""
    try:
        mode = target.lstat().st_mode
    except FileNotFoundError:
        return
    if stat.S_ISLNK(mode):
        raise ExportTargetError(
            f"{target} is a symbolic link, which is never followed; name the file itself"
        )
    if not stat.S_ISREG(mode):
        raise ExportTargetError(
            f"{target} is no regular file; name a new file, or - for standard output"
        )
    if not force:
        raise _taken(target)


def _taken(target: Path) -> ExportTargetError:
    return ExportTargetError(
        f"{target} is there already and stays as it is; take another name, or --force to replace it"
    )


class _Unfinished:
    """A file that nobody can take for the target yet; gone at the end unless it was published."""

    def __init__(self, folder: int) -> None:
        self._folder = folder
        self._partial = f".hashwarden-{secrets.token_hex(8)}.partial"
        self._named = False
        self._handle = self._open()
        # Without a buffer: one would be written when the stream is closed, even after a failure.
        self.stream: BinaryIO = os.fdopen(self._handle, "wb", buffering=0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        try:
            if self._named:
                with suppress(FileNotFoundError):  # the name went over to the target
                    os.unlink(self._partial, dir_fd=self._folder)
        finally:
            self.stream.close()

    def publish(self, name: str, *, force: bool) -> None:
        """Gives it its name, once all of it is on the disk."""
        os.fsync(self._handle)
        if force:
            self._give_partial_name()
            os.replace(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
            return
        try:
            self._link(name)
        except OSError as error:
            if not self._named or error.errno not in _NO_LINKS:
                raise
            self._rename(name)

    def _open(self) -> int:
        flags = os.O_WRONLY | os.O_CLOEXEC
        if os.path.isdir(_DESCRIPTORS):  # noqa: PTH112  a constant of the system
            with suppress(OSError):  # not every file system has files without a name
                return os.open(".", flags | os.O_TMPFILE, _MODE, dir_fd=self._folder)
        flags |= os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW
        handle = os.open(self._partial, flags, _MODE, dir_fd=self._folder)
        self._named = True
        return handle

    def _give_partial_name(self) -> None:
        if not self._named:
            self._link(self._partial)
            self._named = True

    def _link(self, name: str) -> None:
        """Adds a name that must be free."""
        if self._named:
            os.link(
                *(self._partial, name),
                src_dir_fd=self._folder,
                dst_dir_fd=self._folder,
                follow_symlinks=False,
            )
        else:
            os.link(f"{_DESCRIPTORS}/{self._handle}", name, dst_dir_fd=self._folder)

    def _rename(self, name: str) -> None:
        """Where there are no links; a file that appears in this very moment is replaced."""
        with suppress(FileNotFoundError):
            os.stat(name, dir_fd=self._folder, follow_symlinks=False)
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST))
        os.rename(self._partial, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)


def _sync(folder: int) -> None:
    """Sees to it that the new name outlives a power cut."""
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno not in _NO_FOLDER_SYNC:
            raise


__all__ = ["whole_file"]
