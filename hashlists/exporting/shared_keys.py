"""Counts entries of several lists that a reader of one file will take for the same.

Within a list keys differ, so one list alone needs no counting. Of each key 8 bytes are kept; that
two of ten million different ones look the same has odds of less than one in a hundred thousand.
"""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Among the losses of an export.
SHARED_KEY: Final = "another entry under the same key, of which a reader may keep but one"


class SharedKeys:
    """The keys of all entries that went out."""

    def __init__(self) -> None:
        self._hashes = array("q")

    def take(self, keys: Iterable[bytes | None]) -> None:
        """Adds keys; None is of an entry that no other is taken for."""
        self._hashes.extend(hash(key) for key in keys if key is not None)

    @property
    def repeated(self) -> int:
        """Entries whose key came before."""
        return len(self._hashes) - len(np.unique(np.frombuffer(self._hashes, np.int64)))


__all__ = ["SHARED_KEY", "SharedKeys"]
