"""A process that ends with the one that started it, however that ends. Linux alone."""

from __future__ import annotations

import ctypes
import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import signal

_PR_SET_PDEATHSIG = 1


def end_with(parent: int, sign: signal.Signals) -> bool:
    """Has the kernel send this process a signal when its parent ends.

    `prctl(2)`: the signal is sent when the *thread* that started this process ends, so that thread
    must wait for it.

    Args:
        parent: process id of the one that started this process.
        sign: the signal.

    Returns:
        False where the parent has ended already, and no signal will come.

    Raises:
        OSError: the kernel refuses.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.prctl(_PR_SET_PDEATHSIG, int(sign), 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl(PR_SET_PDEATHSIG) failed")
    return os.getppid() == parent


__all__ = ["end_with"]
