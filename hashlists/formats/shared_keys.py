"""Counts entries of one file that a reader will take for the same.

Of each key 8 bytes are kept; that two of ten million different ones look the same has odds of less
than one in a hundred thousand.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable


class SharedKeys:
    """The keys of all entries that were written."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def take(self, keys: Iterable[bytes]) -> None:
        """Adds keys."""
        self._hashes.extend(map(hash, keys))

    @property
    def repeated(self) -> int:
        """Entries whose key came before."""
        hashes = np.sort(np.frombuffer(self._hashes, np.int64))
        return int((hashes[1:] == hashes[:-1]).sum())


__all__ = ["SharedKeys"]
