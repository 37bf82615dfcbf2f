"""How many distinct codes of each kind each list holds: what chance hits depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.index.base import expand_ranges

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from hashlists.model import HashKind
    from matcher.index.base import Int64Array, UInt32Array
    from matcher.index.entries import UInt16Array


def count_codes(offsets: UInt32Array, list_rows: UInt16Array, lists: int) -> Int64Array:
    """How many distinct codes each list holds.

    Args:
        offsets: `(C + 1,) uint32`, where each code's entries start.
        list_rows: `(R,) uint16`, the list of each of these entries.
        lists: how many lists there are.

    Returns:
        `(lists,) int64`.
    """
    if len(list_rows) >= len(offsets):  # some code stands in several entries, maybe of one list
        codes = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        pairs = np.sort(codes * lists + list_rows, kind="stable")  # quick: grouped by code already
        first = np.ones(len(pairs), np.bool_)
        first[1:] = pairs[1:] != pairs[:-1]
        list_rows = (pairs[first] % lists).astype(np.uint16)
    return np.bincount(list_rows, minlength=lists).astype(np.int64)


def count_living(
    offsets: UInt32Array,
    rows: UInt32Array,
    list_rows: UInt16Array,
    lists: int,
    dead: NDArray[np.bool_],
) -> Int64Array:
    """The same for a segment some of whose entries no longer count.

    Args:
        offsets: `(C + 1,) uint32`, where each code's entries start in `rows`.
        rows: `(R,) uint32`, entry rows.
        list_rows: `(N,) uint16`, the list of each entry.
        lists: how many lists there are.
        dead: `(N,) bool`, entries that do not count.

    Returns:
        `(lists,) int64`.
    """
    counts = count_codes(offsets, list_rows[rows], lists)
    places = np.flatnonzero(dead[rows]).astype(np.uint32)
    if not len(places):
        return counts
    # Only codes of dead entries count otherwise, and they are few.
    affected = np.unique(np.searchsorted(offsets, places, side="right") - 1)
    first = offsets[affected].astype(np.int64)
    number = offsets[affected + 1] - first
    own = rows[expand_ranges(first, number)]
    ends = _ends(number)
    before = count_codes(ends, list_rows[own], lists)
    lives = ~dead[own]
    left = _ends(lives)[ends]
    living = np.ones(len(left), np.bool_)
    living[1:] = left[1:] > left[:-1]  # a code all of whose entries are dead counts no more
    after = count_codes(left[living], list_rows[own[lives]], lists)
    return counts - before + after


def _ends(numbers: NDArray[Any]) -> UInt32Array:
    """`(K,)` -> `(K + 1,)`: sums of all that stands before each place."""
    return np.concatenate([[0], np.cumsum(numbers)]).astype(np.uint32)


def codes_by_list(
    codes: Mapping[HashKind, tuple[UInt32Array, UInt32Array]],
    list_rows: UInt16Array,
    lists: int,
    dead: NDArray[Any] | None = None,
) -> list[dict[HashKind, int]]:
    """For each list how many distinct codes of each kind its entries carry.

    Args:
        codes: for each kind offsets and rows, as in `count_living`.
        list_rows: `(N,) uint16`, the list of each entry.
        lists: how many lists there are.
        dead: `(D,)` integers, rows of entries that do not count; may repeat.
    """
    is_dead = np.zeros(len(list_rows), np.bool_)
    if dead is not None:
        is_dead[dead] = True
    held: list[dict[HashKind, int]] = [{} for _ in range(lists)]
    for kind, (offsets, rows) in codes.items():
        counts = count_living(offsets, rows, list_rows, lists, is_dead)
        for row in np.flatnonzero(counts).tolist():
            held[row][kind] = int(counts[row])
    return held


__all__ = ["codes_by_list", "count_codes", "count_living"]
