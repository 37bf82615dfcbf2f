"""Keeps a snapshot's pages in memory: pages of a mapped file are the first that a system gives up.

Where memory is short, or is reclaimed ahead of need as some virtual machines do, pages of the index
that were not asked for lately are dropped, and whoever asks next waits for the disk, with all
threads behind him where the interpreter's lock is held. A locked page is never dropped.

`mlock(2)` needs the right to lock so much (RLIMIT_MEMLOCK, or CAP_IPC_LOCK), and the memory.
A page is unlocked when the last mapping of it in this process ends.
"""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlists.snapshot.reader import Snapshot


def lock_in_memory(snapshot: Snapshot) -> int:
    """Locks every array of an opened snapshot; what is locked already stays so.

    Returns:
        The bytes that are locked.

    Raises:
        OSError: the system refuses; what was locked so far stays locked.
    """
    locked = 0
    for array in snapshot.arrays.values():
        if array.nbytes:  # what is empty is not mapped
            _lock(array.ctypes.data, array.nbytes)
            locked += array.nbytes
    return locked


def _lock(address: int, nbytes: int) -> None:
    try:
        mlock = ctypes.CDLL(None, use_errno=True).mlock
    except AttributeError as error:
        raise OSError("this system cannot lock memory") from error
    if mlock(ctypes.c_void_p(address), ctypes.c_size_t(nbytes)):
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


__all__ = ["lock_in_memory"]
