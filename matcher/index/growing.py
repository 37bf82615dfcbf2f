"""An array that rows are added to batch by batch, and that is in memory once.

Joining batches at the end would hold every row twice for a while, and freed batches seldom go back
to the system. Here one private anonymous mapping grows in place (`mremap`), pages that no row has
touched yet cost nothing, and all of it goes back when the last array on it goes.
"""

from __future__ import annotations

import math
import mmap
from contextlib import suppress
from typing import TYPE_CHECKING, Any, Generic, TypeVar

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Scalar = TypeVar("Scalar", bound=np.generic)
_FIRST_BYTES = 1 << 16
_HUGE_BYTES = 1 << 22


class GrowingArray(Generic[Scalar]):
    """Rows of one dtype and shape. Not for several threads.

    Args:
        dtype: of the rows.
        row_shape: the shape of one row.
    """

    def __init__(self, dtype: type[Scalar], row_shape: tuple[int, ...] = ()) -> None:
        self._dtype = np.dtype(dtype)
        self._row_shape = row_shape
        self._row_bytes = self._dtype.itemsize * math.prod(row_shape)
        self._map = _anonymous(_FIRST_BYTES)
        self._rows = 0

    def __len__(self) -> int:
        return self._rows

    def extend(self, rows: NDArray[Any]) -> None:
        """Appends rows of that shape; their values are cast to the dtype."""
        self._reserve((self._rows + len(rows)) * self._row_bytes)
        self._rows += len(rows)
        self._whole()[self._rows - len(rows) :] = rows

    def view(self) -> NDArray[Scalar]:
        """All rows so far, read-only and not copied."""
        whole = self._whole()
        whole.flags.writeable = False
        return whole

    def _whole(self) -> NDArray[Scalar]:
        shape = (self._rows, *self._row_shape)
        count = math.prod(shape)
        return np.frombuffer(self._map, self._dtype, count).reshape(shape)

    def _reserve(self, needed: int) -> None:
        size = len(self._map)
        if needed <= size:
            return
        while size < needed:
            size *= 2
        try:
            self._map.resize(size)
        except BufferError:  # some view still stands on it and keeps the old mapping
            grown = _anonymous(size)
            grown[: len(self._map)] = memoryview(self._map)
            self._map = grown
        if size >= _HUGE_BYTES:  # as numpy does: a fault for every 2 MiB and not for every 4 KiB
            with suppress(OSError):  # a kernel without them
                self._map.madvise(mmap.MADV_HUGEPAGE)


def _anonymous(size: int) -> mmap.mmap:
    # Private: a shared anonymous mapping cannot be grown.
    return mmap.mmap(-1, size, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)


__all__ = ["GrowingArray"]
