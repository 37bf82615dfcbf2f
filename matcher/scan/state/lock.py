"""One process at a time writes to a scan's folder. A process that is killed lets go of it."""

from __future__ import annotations

import fcntl
import os
import time
from typing import TYPE_CHECKING, Final

from matcher.scan.errors import StateError

if TYPE_CHECKING:
    from pathlib import Path

_FILE_NAME: Final = "state.lock"
_MOST_BYTES: Final = 32
_LOOKED_AT_SECONDS: Final = 0.1  # longer than `is_locked` holds on to it


class WriterLock:
    """Held from when it is made until `release`.

    Raises:
        StateError: another one holds it, or the folder cannot be written.
    """

    def __init__(self, folder: Path) -> None:
        self._handle: int | None = None
        try:
            handle = os.open(folder / _FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateError(f"{folder}: cannot be written: {error.strerror}") from error
        try:
            _take(handle)
            os.ftruncate(handle, 0)
            os.pwrite(handle, str(os.getpid()).encode(), 0)
        except BlockingIOError:
            holder = os.pread(handle, _MOST_BYTES, 0).decode("ascii", "replace")
            os.close(handle)
            raise StateError(
                f"{folder}: another scan is writing there, process {holder or '?'}; wait for its "
                "end, or stop it"
            ) from None
        except OSError as error:
            os.close(handle)
            raise StateError(f"{folder}: cannot be locked: {error.strerror}") from error
        self._handle = handle

    def release(self) -> None:
        """Lets another one write. May be called twice."""
        handle, self._handle = self._handle, None
        if handle is not None:
            os.close(handle)


def is_locked(folder: Path) -> bool:
    """Whether a process writes to a scan's folder now; so, too, where nobody can tell."""
    try:
        handle = os.open(folder / _FILE_NAME, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    try:
        fcntl.flock(handle, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    finally:
        os.close(handle)
    return False


def _take(handle: int) -> None:
    """Locks it; tries twice, for somebody may only be looking."""
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        time.sleep(_LOOKED_AT_SECONDS)
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


__all__ = ["WriterLock", "is_locked"]
