"""Keeps a line of a library's own from standard error, and lets all else through at once."""

from __future__ import annotations

import os
import sys
import threading
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Iterator

_STDERR: Final = 2
#: Ray's core tells with it that it was told to be silent, before it is.
RAYS_LINE: Final = b"environment variable RAY_BACKEND_LOG_LEVEL"
#: For what was written last to come through; a process that was begun meanwhile may never end it.
_LAST_SECONDS: Final = 1.0


@contextmanager
def without_lines(holding: bytes) -> Iterator[None]:
    """Drops lines that hold these bytes of what this process writes to standard error meanwhile.

    Of every thread, and of libraries that write to it by themselves.
    """
    sys.stderr.flush()
    shown = os.dup(_STDERR)
    reading, writing = os.pipe()
    os.dup2(writing, _STDERR)
    os.close(writing)
    passing = threading.Thread(
        target=_pass_on, args=(reading, shown, holding), name="stderr", daemon=True
    )
    passing.start()
    try:
        yield
    finally:
        sys.stderr.flush()
        os.dup2(shown, _STDERR)
        passing.join(_LAST_SECONDS)


def _pass_on(reading: int, shown: int, holding: bytes) -> None:
    with os.fdopen(reading, "rb") as lines, os.fdopen(shown, "wb", buffering=0) as target:
        for line in lines:
            if holding not in line:
                target.write(line)


__all__ = ["RAYS_LINE", "without_lines"]
