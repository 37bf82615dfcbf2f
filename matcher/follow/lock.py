"""The machine's one right to build into a folder of snapshots, and the others that there are.

Locks of the operating system on files there: each ends with the process that holds it, however
that ends, and the file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from contextlib import AbstractContextManager
    from pathlib import Path

BUILD_LOCK_FILE = ".build.lock"
PUBLISH_LOCK_FILE = ".publish.lock"
WITHDRAWN_LOCK_FILE = ".withdrawn.lock"


def build_lock(snapshots_dir: Path) -> AbstractContextManager[None]:
    """Waits for the right to build, and holds it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    return _held(snapshots_dir, BUILD_LOCK_FILE)


def publish_lock(snapshots_dir: Path) -> AbstractContextManager[None]:
    """Waits for the right to publish what is built there, and holds it; building goes on.

    Raises:
        OSError: as `build_lock`.
    """
    return _held(snapshots_dir, PUBLISH_LOCK_FILE)


@contextlib.contextmanager
def _held(snapshots_dir: Path, name: str) -> Iterator[None]:
    snapshots_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = _open_lock(snapshots_dir, name)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_build_locked(snapshots_dir: Path) -> bool:
    """Whether some process is building into that folder just now."""
    if not snapshots_dir.is_dir():
        return False
    handle = _open_lock(snapshots_dir, BUILD_LOCK_FILE)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


@contextlib.contextmanager
def withdrawn_lock(snapshots_dir: Path) -> Iterator[bool]:
    """The right to write which entries are withdrawn; False where another process has it.

    Raises:
        OSError: the folder is missing or cannot be written.
    """
    handle = _open_lock(snapshots_dir, WITHDRAWN_LOCK_FILE)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(handle)


def _open_lock(snapshots_dir: Path, name: str) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(snapshots_dir / name, flags, 0o600)


__all__ = [
    "BUILD_LOCK_FILE",
    "PUBLISH_LOCK_FILE",
    "WITHDRAWN_LOCK_FILE",
    "build_lock",
    "is_build_locked",
    "publish_lock",
    "withdrawn_lock",
]
