"""Copies of a catalog in SQLite that lie in clear beside it while it is backed up or restored.

Invariants: one process at a time has any; what a crash has left goes with the next backup, the next
restoring, and the next wipe of what was purged, whose end it would outlive.
"""

from __future__ import annotations

import fcntl
import os
import secrets
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_PREFIX: Final = ".catalog-copy-"
_LOCK_FILE: Final = ".catalog-copy.lock"


def copy_in(folder: Path) -> Path:
    """A name for a copy that is made by whoever is `alone` there."""
    return folder / f"{_PREFIX}{secrets.token_hex(8)}"


@contextmanager
def alone(folder: Path) -> Iterator[None]:
    """Waits until nobody else makes a copy there; removes what a crash has left."""
    with _lock(folder, fcntl.LOCK_EX):
        _remove(folder)
        yield


def remove_left(folder: Path) -> bool:
    """Removes what a crash has left; False where the system refuses, or a copy is being made."""
    if not any(folder.glob(f"{_PREFIX}*")):
        return True
    try:
        with _lock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB):
            _remove(folder)
    except OSError:
        return False
    return True


@contextmanager
def _lock(folder: Path, how: int) -> Iterator[None]:
    lock = os.open(folder / _LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, how)
        yield
    finally:
        os.close(lock)


def _remove(folder: Path) -> None:
    for each in folder.glob(f"{_PREFIX}*"):
        each.unlink(missing_ok=True)


__all__ = ["alone", "copy_in", "remove_left"]
