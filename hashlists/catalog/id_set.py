"""A set of ids, e.g. of entries, that takes one bit for each id that the catalog ever gave."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

_BYTES_AT_A_TIME = 8192
_ROOM = 65_536
_BIT = (1 << np.arange(8)).astype(np.uint8)


class IdSet:
    """Ids are given in a row, so a list's own lie close together."""

    def __init__(self) -> None:
        self._bits = bytearray()

    @classmethod
    def of(cls, parts: Iterable[NDArray[np.int64]]) -> IdSet:
        """The ids of all parts, each `(K,) int64` in any order."""
        ids = cls()
        for part in parts:
            ids.add_array(part)
        return ids

    @property
    def is_empty(self) -> bool:
        """Whether no id is in."""
        return not np.frombuffer(self._bits, np.uint8).any()

    def __contains__(self, entry_id: int) -> bool:
        byte = entry_id >> 3
        return byte < len(self._bits) and bool(self._bits[byte] >> (entry_id & 7) & 1)

    def add(self, entry_id: int) -> None:
        """Puts an id in, whether it is in already or not."""
        self._make_room(entry_id)
        self._bits[entry_id >> 3] |= 1 << (entry_id & 7)

    def add_array(self, ids: NDArray[np.int64]) -> None:
        """Puts in `(K,) int64` ids, in any order."""
        if len(ids):
            self._make_room(int(ids.max()))
            np.bitwise_or.at(np.frombuffer(self._bits, np.uint8), ids >> 3, _BIT[ids & 7])

    def remove(self, entry_id: int) -> None:
        """Takes out an id that is in."""
        self._bits[entry_id >> 3] &= ~(1 << (entry_id & 7))

    def add_range(self, first: int, number: int) -> None:
        """Puts in `number` ids from `first` on."""
        if not number:
            return
        end = first + number
        self._make_room(end - 1)
        byte, last_byte = first >> 3, end >> 3
        if byte == last_byte:
            self._bits[byte] |= (1 << (end & 7)) - (1 << (first & 7))
            return
        self._bits[byte] |= 256 - (1 << (first & 7))
        self._bits[byte + 1 : last_byte] = b"\xff" * (last_byte - byte - 1)
        self._bits[last_byte] |= (1 << (end & 7)) - 1

    def arrays(self, size: int) -> Iterator[NDArray[np.int64]]:
        """All ids in order, at most `size` at a time."""
        bits = np.frombuffer(self._bits, np.uint8)
        waiting = np.empty(0, np.int64)
        for start in range(0, len(bits), _BYTES_AT_A_TIME):
            block = np.unpackbits(bits[start : start + _BYTES_AT_A_TIME], bitorder="little")
            waiting = np.concatenate([waiting, np.flatnonzero(block) + 8 * start])
            while len(waiting) >= size:
                yield waiting[:size]
                waiting = waiting[size:]
        if len(waiting):
            yield waiting

    def to_array(self) -> NDArray[np.int64]:
        """All ids in order, with hardly more memory than they take: `(K,) int64`."""
        number = np.bitwise_count(np.frombuffer(self._bits, np.uint8)).sum(dtype=np.int64)
        ids, filled = np.empty(number, np.int64), 0
        for part in self.arrays(_BYTES_AT_A_TIME):
            ids[filled : filled + len(part)] = part
            filled += len(part)
        return ids

    def parts(self, size: int) -> Iterator[list[int]]:
        """The same as lists."""
        return (each.tolist() for each in self.arrays(size))

    def _make_room(self, entry_id: int) -> None:
        missing = (entry_id >> 3) + 2 - len(self._bits)  # one more, for the end of a range
        if missing > 0:
            self._bits.extend(bytes(missing + _ROOM))

    def union(self, other: IdSet) -> IdSet:
        """A new set of the ids that either has."""
        longer, shorter = sorted((self._bits, other._bits), key=len, reverse=True)
        both = IdSet()
        both._bits = longer.copy()
        within = np.frombuffer(both._bits, np.uint8)[: len(shorter)]
        within |= np.frombuffer(shorter, np.uint8)
        return both

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Which of `(K,) int64` ids are in."""
        if not self._bits:
            return np.zeros(len(ids), np.bool_)
        bits = np.frombuffer(self._bits, np.uint8)
        bytes_of = ids >> 3
        within = bits[np.minimum(bytes_of, len(bits) - 1)]
        held: NDArray[np.bool_] = (bytes_of < len(bits)) & (within & _BIT[ids & 7] > 0)
        return held

    def missing_of(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        """Those of `(K,) int64` ids that are not in, in their order."""
        missing: NDArray[np.int64] = ids[~self.holds(ids)]
        return missing
