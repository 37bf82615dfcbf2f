"""Reads an index from a snapshot: the way back of `matcher.index.write`.

Nothing is believed: arrays of another build, or that contradict each other or the documents, are
refused, since a search over them could crash or miss in silence. Only segments that a held index
has checked already, over the very same arrays, are taken over.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.index.documents import (
    CLASSIFICATIONS,
    INDEX,
    LISTS,
    IndexedList,
    SegmentInfo,
    classifications_from_json,
    index_from_json,
    lists_from_json,
)
from matcher.index.segment import Segment
from matcher.index.write import DEAD

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hashlists.model import Classification
    from hashlists.snapshot import Snapshot
    from matcher.index.base import Int64Array

    Arrays = Mapping[str, NDArray[Any]]


@dataclass(frozen=True, slots=True)
class IndexContents:
    """What a snapshot holds.

    Attributes:
        lists, classifications: the tables by row; row 0 of the classifications is none.
        segments: by name: `base`, and `recent` where there is one.
        dead: `(D,) int64`, rows of dead entries, the segments' entries numbered through.
    """

    lists: tuple[IndexedList, ...]
    classifications: tuple[Classification | None, ...]
    segments: Mapping[str, Segment] = field(repr=False)
    dead: Int64Array = field(repr=False)


def read_index(snapshot: Snapshot, *, held: Sequence[Segment] = ()) -> IndexContents:
    """Reads segments, tables and dead rows.

    Args:
        snapshot: opened, so verified.
        held: segments that are taken over where the snapshot holds the very same arrays.

    Raises:
        ValueError, TypeError, KeyError, AttributeError: arrays and documents are not those of an
            index, contradict each other, or are of another build's layout.
    """
    infos = index_from_json(snapshot.documents[INDEX])
    lists = lists_from_json(snapshot.documents[LISTS])
    classifications = classifications_from_json(snapshot.documents[CLASSIFICATIONS])
    by_segment = _split(snapshot.arrays, list(infos))
    segments: dict[str, Segment] = {}
    dead = [np.empty(0, np.int64)]
    start = 0
    for name, info in infos.items():
        arrays = by_segment[name]
        try:
            dead.append(_dead_rows(arrays.pop(DEAD, None), info) + start)
            segments[name] = _segment(arrays, info, len(lists), len(classifications), held)
        except ValueError as error:
            raise ValueError(f"segment {name!r}: {error}") from error
        start += info.entries
    return IndexContents(lists, classifications, segments, np.concatenate(dead))


def _split(arrays: Arrays, segments: Sequence[str]) -> dict[str, dict[str, NDArray[Any]]]:
    """Arrays by segment, under their names within it."""
    split: dict[str, dict[str, NDArray[Any]]] = {name: {} for name in segments}
    for full, array in arrays.items():
        segment, _, name = full.partition(".")
        if segment not in split:
            raise ValueError(f"array {full} is of no segment that its document describes")
        split[segment][name] = array
    return split


def _segment(
    arrays: Arrays, info: SegmentInfo, lists: int, classifications: int, held: Sequence[Segment]
) -> Segment:
    searches = {kind: each.search for kind, each in info.kinds.items()}
    for known in held:
        if (
            known.arrays.keys() == arrays.keys()
            and all(known.arrays[name] is array for name, array in arrays.items())
            and known.searches == searches
            and known.derivations == info.derivations
            and known.lists <= lists
            and known.classifications <= classifications
        ):
            segment = known
            break
    else:
        segment = Segment.from_arrays(
            arrays,
            lists=lists,
            classifications=classifications,
            searches=searches,
            derivations=info.derivations,
        )
    counts = {kind: len(codes.index) for kind, codes in segment.codes.items()}
    said = {kind: each.codes for kind, each in info.kinds.items()}
    if len(segment.entries) != info.entries or counts != said:
        raise ValueError("its arrays do not hold what its document says")
    return segment


def _dead_rows(rows: NDArray[Any] | None, info: SegmentInfo) -> Int64Array:
    if rows is None:
        rows = np.empty(0, np.uint32)
    if rows.dtype != np.uint32 or rows.ndim != 1:
        raise ValueError(f"{DEAD} has one axis and dtype uint32")
    if len(rows) != info.dead:
        raise ValueError(f"{DEAD} does not hold the {info.dead} rows that its document says")
    if not (rows[1:] > rows[:-1]).all():
        raise ValueError(f"{DEAD} does not ascend strictly")
    if len(rows) and int(rows[-1]) >= info.entries:
        raise ValueError(f"{DEAD} refers to row {int(rows[-1])} of {info.entries}")
    return rows.astype(np.int64)


__all__ = ["IndexContents", "read_index"]
