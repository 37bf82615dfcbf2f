"""Sets of ids as ascending arrays.

`np.unique` and `np.union1d` of numpy 2.3 and later put every number into a hash table: a
microsecond each, seconds for what a follower does at every small change. Sorting, and putting a few
into many, cost a hundredth of that.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


def distinct_ids(ids: NDArray[np.int64]) -> NDArray[np.int64]:
    """Each of `ids (N,)` once, ascending."""
    ids = np.sort(ids)
    first = np.ones(len(ids), np.bool_)
    first[1:] = ids[1:] != ids[:-1]
    return ids[first]


def joined_ids(many: NDArray[np.int64], few: NDArray[np.int64]) -> NDArray[np.int64]:
    """What is in either of two, each strictly ascending; quick where the second is short."""
    if not len(many):
        return few
    at = np.searchsorted(many, few)
    new = many[at.clip(max=len(many) - 1)] != few
    return np.insert(many, at[new], few[new]) if new.any() else many


__all__ = ["distinct_ids", "joined_ids"]
