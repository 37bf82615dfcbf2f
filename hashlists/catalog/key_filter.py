"""Tells of most keys that they were never put in, in a few bits for each; never wrongly.

A Bloom filter of two bits a key. Its size is fixed, so that memory does not grow with a list; past
some ten million keys it merely rules out fewer of the others.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_LOG2_BITS = 27  # 16 MiB, of which memory holds what was touched
_MASK = np.uint64(2**_LOG2_BITS - 1)
_OTHER_BITS = np.uint64(64 - _LOG2_BITS)
_BYTE, _PLACE, _ONE = np.uint64(3), np.uint64(7), np.int64(1)


class KeyFilter:
    """A set of keys, given as `(K,) uint64` of their hashes, that forgets which they were."""

    def __init__(self) -> None:
        self._bytes = np.zeros(2**_LOG2_BITS // 8, np.uint8)

    def add(self, hashes: NDArray[np.uint64]) -> None:
        """Puts keys in."""
        for byte, bit in _bits(hashes):
            np.bitwise_or.at(self._bytes, byte, bit)

    def possible(self, hashes: NDArray[np.uint64]) -> NDArray[np.intp]:
        """Positions of the keys that may be in: all that are, and a few that are not."""
        may_be = np.ones(len(hashes), np.bool_)
        for byte, bit in _bits(hashes):
            may_be &= self._bytes[byte] & bit > 0
        return np.flatnonzero(may_be)


def _bits(hashes: NDArray[np.uint64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.uint8]]]:
    """Of each of a key's bits the byte that has it, and its place therein."""
    for bit in (hashes & _MASK, hashes >> _OTHER_BITS & _MASK):
        place = np.left_shift(_ONE, (bit & _PLACE).view(np.int64)).astype(np.uint8)
        yield (bit >> _BYTE).view(np.int64), place
