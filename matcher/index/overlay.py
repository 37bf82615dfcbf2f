"""Which entry rows are hidden from searches, as one bit a row.

A bitmap rather than sorted rows: hiding further rows copies an eighth of a byte for each entry
(1.25 MB at 10 million) and touches the new rows, whereas merging sorted rows would sort all that
were ever hidden; and a look-up is one access instead of a binary search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matcher.index.base import Int64Array, UInt8Array

_BITS = 8
#: Past one row in so many it is cheaper to go by way of a byte for each entry.
_MANY = 256


class Overlay:
    """The hidden rows of a table; immutable.

    Args:
        length: rows of the table; none is hidden yet.
    """

    __slots__ = ("_bits", "_count", "_length")

    def __init__(self, length: int = 0) -> None:
        self._length = length
        self._bits: UInt8Array = np.zeros(-(-length // _BITS), np.uint8)
        self._count = 0

    def __len__(self) -> int:
        """How many rows are hidden."""
        return self._count

    @property
    def length(self) -> int:
        """How many rows the table has."""
        return self._length

    def extended(self, rows: NDArray[Any], *, length: int | None = None) -> Overlay:
        """The same with further rows hidden, and maybe more rows at the end of the table.

        Args:
            rows: `(K,)` integers in any order; may repeat, and may be hidden already.
            length: rows of the table, at least as many as now; None for as many.

        Raises:
            ValueError: a row lies outside the table, or the table would shrink.
        """
        length = self._length if length is None else length
        if length < self._length:
            raise ValueError(f"a table of {self._length} rows cannot shrink to {length}")
        rows = np.asarray(rows)
        if len(rows) and not 0 <= int(rows.min()) <= int(rows.max()) < length:
            raise ValueError(f"hidden rows lie outside the {length} entries")
        wider = Overlay(length)
        wider._bits[: len(self._bits)] = self._bits
        if not len(rows):
            wider._count = self._count
            return wider
        if len(rows) > length // _MANY:
            flags = np.zeros(length, np.bool_)
            flags[rows] = True
            wider._bits |= np.packbits(flags, bitorder="little")
        else:
            places, bits = rows >> 3, rows & 7
            for bit in range(_BITS):  # within one bit it does not matter that a byte may repeat
                wider._bits[places[bits == bit]] |= np.uint8(1 << bit)
        wider._count = int(np.bitwise_count(wider._bits).sum(dtype=np.int64))
        return wider

    def only(self, rows: Int64Array) -> Overlay:
        """The same with all else hidden too but these rows `(K,)`, which lie in the table."""
        shown = np.zeros(len(self._bits), np.uint8)
        places, bits = rows >> 3, rows & 7
        for bit in range(_BITS):
            shown[places[bits == bit]] |= np.uint8(1 << bit)
        other = Overlay(self._length)
        other._bits = self._bits | ~shown
        if spare := self._length % _BITS:  # bits beyond the last row count for nothing
            other._bits[-1] &= np.uint8((1 << spare) - 1)
        other._count = int(np.bitwise_count(other._bits).sum(dtype=np.int64))
        return other

    def hides(self, rows: Int64Array) -> NDArray[np.bool_]:
        """For each of `rows (K,)`, which must lie in the table, whether it is hidden."""
        hidden: NDArray[np.bool_] = (self._bits[rows >> 3] >> (rows & 7).astype(np.uint8)) & 1 > 0
        return hidden

    def rows(self) -> Int64Array:
        """The hidden rows, ascending; for reports and tests, since it touches every bit."""
        hidden = np.unpackbits(self._bits, count=self._length, bitorder="little")
        return np.flatnonzero(hidden).astype(np.int64)


__all__ = ["Overlay"]
