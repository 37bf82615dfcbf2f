"""How many distinct codes of each kind each list holds: what chance hits depend on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

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
    lives = ~dead[rows]
    if lives.all():
        return count_codes(offsets, list_rows[rows], lists)
    ends = np.concatenate([[0], np.cumsum(lives)]).astype(np.uint32)[offsets]
    living = np.ones(len(ends), np.bool_)
    living[1:] = ends[1:] > ends[:-1]  # a code all of whose entries are dead counts no more
    return count_codes(ends[living], list_rows[rows[lives]], lists)


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
