"""Groups codes with the entries that carry them: each distinct code once, in the order of bytes.

Sorts the leading four bytes beside the row they come from, as one 64-bit number each, and then by
all bytes the few rows that tie there: sorting plain numbers is several times as fast as sorting
rows, and needs 8 bytes a row beside the result.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from matcher.index.base import Int64Array, UInt8Array, UInt32Array

MAX_ROWS = 2**32 - 1
_LEAD_BYTES = 4
_ROW_BITS = np.uint64(32)
_ROW_MASK = np.uint64(2**32 - 1)


@dataclass(frozen=True, slots=True)
class Groups:
    """Where distinct codes stand among all values, and which entries carry them.

    Attributes:
        picked: `(C,) uint32`, the row of a value for each distinct code, in the order of the bytes.
        offsets: `(C + 1,) uint32`, where each code's entries start in `rows`.
        rows: `(R,) uint32`, entry rows; ascending and distinct within a code.
        marks: `(R,) uint32`, the least mark of the values behind each; None where none were given.
    """

    picked: UInt32Array = field(repr=False)
    offsets: UInt32Array = field(repr=False)
    rows: UInt32Array = field(repr=False)
    marks: UInt32Array | None = field(repr=False, default=None)


def group_codes(
    values: UInt8Array, owners: Int64Array | UInt32Array, marks: UInt32Array | None = None
) -> Groups:
    """Groups codes with the entries that carry them.

    Args:
        values: `(K, nbytes) uint8`, in any order, with repetitions.
        owners: `(K,)`, the entry row of each value, below 2**32.
        marks: `(K,) uint32`, what is to be told of each value; None for nothing.

    Raises:
        ValueError: there are too many of them for 32 bits.
    """
    if len(values) > MAX_ROWS:
        raise ValueError(f"an index holds at most {MAX_ROWS} codes of a kind")
    order, starts = _sort(values)
    rows = owners[order].astype(np.uint32, copy=False)
    marks = None if marks is None else marks[order]
    if starts.all():
        return Groups(order, np.arange(len(order) + 1, dtype=np.uint32), rows, marks)
    if (~starts[1:] & (rows[1:] <= rows[:-1])).any():
        keys = (rows, np.cumsum(starts))
        inner = np.lexsort(keys if marks is None else (marks, *keys))
        rows, marks = rows[inner], None if marks is None else marks[inner]
    kept = starts.copy()
    kept[1:] |= rows[1:] != rows[:-1]
    offsets = np.concatenate([[0], np.cumsum(kept)])[np.append(starts, True)]  # the end
    marks = None if marks is None else marks[kept]
    return Groups(order[starts], offsets.astype(np.uint32), rows[kept], marks)


def _sort(values: UInt8Array) -> tuple[UInt32Array, NDArray[np.bool_]]:
    """A stable order `(K,)` by bytes, and where in it each distinct code starts."""
    keys = np.ascontiguousarray(values[:, :_LEAD_BYTES]).view(">u4").ravel().astype(np.uint64)
    keys <<= _ROW_BITS
    keys |= np.arange(len(values), dtype=np.uint32)
    keys.sort()
    order = (keys & _ROW_MASK).astype(np.uint32)
    keys >>= _ROW_BITS
    starts = np.ones(len(values), np.bool_)
    starts[1:] = keys[1:] != keys[:-1]
    _sort_ties(values, order, starts)
    return order, starts


def _sort_ties(values: UInt8Array, order: UInt32Array, starts: NDArray[np.bool_]) -> None:
    """Puts rows that share their leading bytes into the order of all bytes, in place."""
    tied = ~starts
    tied[:-1] |= tied[1:]
    positions = np.flatnonzero(tied)
    if not len(positions):
        return
    words = _big_endian_words(values[order[positions]])
    inner = np.lexsort(words.T[::-1])
    order[positions] = order[positions][inner]
    words = words[inner]
    starts[positions[1:]] = (words[1:] != words[:-1]).any(axis=1)


def _big_endian_words(values: UInt8Array) -> NDArray[np.uint64]:
    """`(K, nbytes)` bytes -> `(K, ceil(nbytes / 8)) uint64` that compare as the bytes do."""
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % 8)))
    return padded.view(">u8").astype(np.uint64)


__all__ = ["MAX_ROWS", "Groups", "group_codes"]
