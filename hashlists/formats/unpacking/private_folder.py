"""Folders for files that need a name for a while: nobody else can enter them, and none is left.

A file without a name is gone however its program ends; some libraries open names only. So each
folder is locked as long as its maker lives, and whoever makes the next one, or begins an import,
removes those that no longer are: what a killed import left does not outlive the next one.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

#: Nothing else may give its folders such a name: they are removed once nobody holds them.
_PREFIX: Final = "hashwarden-private-"
_FLAGS: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@contextmanager
def private_folder(parent: Path | None) -> Iterator[Path]:
    """A new folder, removed when the context ends.

    Args:
        parent: where it is made; None for the folder of temporary files.

    Raises:
        OSError: it cannot be made.
    """
    remove_leftovers(parent)
    path, lock = _make_locked(parent)
    try:
        yield path
    finally:
        shutil.rmtree(path, ignore_errors=True)
        os.close(lock)


def remove_leftovers(parent: Path | None) -> None:
    """Removes the folders whose makers were killed; those in use, and of other users, stay."""
    for each in (parent or Path(tempfile.gettempdir())).glob(f"{_PREFIX}*"):
        with suppress(OSError):  # removed meanwhile, held by its maker, or somebody else's
            lock = os.open(each, _FLAGS)
            try:
                if os.fstat(lock).st_uid == os.geteuid():
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    shutil.rmtree(each)
            finally:
                os.close(lock)


def _make_locked(parent: Path | None) -> tuple[Path, int]:
    """A folder and the descriptor that locks it, which is let go of when the program ends."""
    while True:
        path = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
        with suppress(FileNotFoundError):  # taken for a leftover before it was locked
            lock = os.open(path, _FLAGS)
            with suppress(OSError):  # a file system without locks: then nobody removes it either
                fcntl.flock(lock, fcntl.LOCK_EX)
            if path.exists():
                return path, lock
            os.close(lock)


__all__ = ["private_folder", "remove_leftovers"]
