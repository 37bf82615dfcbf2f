"""The machine's one right to build into a folder of snapshots.

A lock of the operating system on a file there: it ends with the process that holds it, however
that ends, and the file stays.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

BUILD_LOCK_FILE = ".build.lock"


@contextlib.contextmanager
def build_lock(snapshots_dir: Path) -> Iterator[None]:
    """Waits for the right to build, and holds it.

    Raises:
        OSError: the folder cannot be made or written.
    """
    snapshots_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    handle = _open_lock(snapshots_dir)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def is_build_locked(snapshots_dir: Path) -> bool:
    """Whether some process is building into that folder just now."""
    if not snapshots_dir.is_dir():
        return False
    handle = _open_lock(snapshots_dir)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return True
    else:
        return False
    finally:
        os.close(handle)


def _open_lock(snapshots_dir: Path) -> int:
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
    return os.open(snapshots_dir / BUILD_LOCK_FILE, flags, 0o600)


__all__ = ["BUILD_LOCK_FILE", "build_lock", "is_build_locked"]
