"""Where tests keep their files: in memory where there is room, for a disk makes them wait.

Most tests open a catalog, and each of its commits is a write. Nothing that is tested asks whether a
disk turns: tests of full disks and of what survives a cut of power say for themselves what they do.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

_IN_MEMORY = Path("/dev/shm")
#: Far more than all tests take together; containers often have 64 MB there.
_ROOM_BYTES = 4 << 30


def quick_folder() -> Path:
    """The folder below which tests make theirs; its path is short, as those of sockets must be."""
    usable = _IN_MEMORY.is_dir() and os.access(_IN_MEMORY, os.W_OK | os.X_OK)
    if usable and shutil.disk_usage(_IN_MEMORY).free >= _ROOM_BYTES:
        return _IN_MEMORY
    return Path("/tmp")
