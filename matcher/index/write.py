"""Writes an index into a snapshot: its sealed segments and the documents that describe them.

A snapshot holds `base`, all entries in force at some revision, and maybe `recent`, the entries that
changed after it; for each the rows that are dead because a later revision superseded or retracted
their entries. A segment is either built anew or linked from an earlier snapshot, which costs
nothing for its size on disk.

Tables of lists and classifications may only grow at their ends while a segment is linked: its rows
go on pointing into them. That is checked. That an entry lives in at most one segment is the
caller's business, who knows what has changed.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import HashKind
from matcher.index.build import IndexBuilder, WrittenSegment
from matcher.index.counts import codes_by_list
from matcher.index.documents import (
    BASE,
    CLASSIFICATIONS,
    INDEX,
    LISTS,
    RECENT,
    IndexedList,
    classifications_from_json,
    classifications_to_json,
    index_from_json,
    index_to_json,
    lists_from_json,
    lists_to_json,
)
from matcher.index.segment import ENTRY_ARRAYS, OFFSETS, ROWS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hashlists.model import Classification
    from hashlists.snapshot import Snapshot, SnapshotWriter
    from matcher.index.base import UInt32Array

#: The rows of a segment that are dead, `(D,) uint32`, strictly ascending; absent where none is.
DEAD = "dead"


@dataclass(frozen=True, slots=True)
class LinkedSegment:
    """A segment that is taken over from an opened snapshot.

    Attributes:
        snapshot: what holds it.
        segment: its name there, "base" or "recent".
        dead: `(D,)` integers, its rows that are no longer to be found, those that were dead there
            included; in any order, may repeat.
    """

    snapshot: Snapshot
    segment: str = BASE
    dead: NDArray[Any] = field(default_factory=lambda: np.empty(0, np.uint32), repr=False)


def write_index(
    writer: SnapshotWriter,
    *,
    lists: Sequence[IndexedList],
    classifications: Sequence[Classification | None],
    base: IndexBuilder | LinkedSegment,
    recent: IndexBuilder | LinkedSegment | None = None,
) -> None:
    """Writes arrays and documents into a snapshot; publishing it is the caller's.

    Builders are used up by it.

    Args:
        writer: an open snapshot writer.
        lists: what `list_rows` count. Their `counts` are taken anew: distinct codes of living
            entries; a code that stands in both segments counts twice.
        classifications: what `classification_rows` count; row 0 is a placeholder for none.
        base: the entries of an earlier revision, or all there are.
        recent: the entries that changed since.

    Raises:
        ValueError: a row refers to a list or classification that is not there, the name of a list
            occurs twice, a dead row is outside its segment, a builder was written already, or a
            linked segment's tables are not the beginning of those given.
        SnapshotError: a linked file was changed since it was verified.
        OSError: writing failed.
    """
    if len({each.name for each in lists}) != len(lists):
        raise ValueError("two lists go by one name")
    tables = len(lists), max(1, len(classifications))
    written = {}
    for name, source in ((BASE, base), (RECENT, recent)):
        if isinstance(source, IndexBuilder):
            written[name] = source.write_segment(
                writer, lists=tables[0], classifications=tables[1], segment=name
            )
        elif source is not None:
            _check_tables(source.snapshot, lists, classifications)
            written[name] = _link(writer, name, source, len(lists))
    writer.add_document(LISTS, lists_to_json(_counted(lists, list(written.values()))))
    writer.add_document(CLASSIFICATIONS, classifications_to_json(classifications))
    writer.add_document(INDEX, index_to_json({name: each.info for name, each in written.items()}))


def _link(writer: SnapshotWriter, name: str, source: LinkedSegment, lists: int) -> WrittenSegment:
    info = index_from_json(source.snapshot.documents[INDEX]).get(source.segment)
    if info is None:
        raise ValueError(f"the snapshot that is linked has no segment {source.segment!r}")
    dead = _dead_rows(source.dead, info.entries)
    own = {
        array.removeprefix(f"{source.segment}."): array
        for array in source.snapshot.arrays
        if array.startswith(f"{source.segment}.") and array != f"{source.segment}.{DEAD}"
    }
    for short, array in own.items():
        writer.link_array(f"{name}.{short}", source.snapshot, array)
    if len(dead):
        writer.add_array(f"{name}.{DEAD}", dead)
    arrays = {short: source.snapshot.arrays[array] for short, array in own.items()}
    codes = {kind: (arrays[f"{kind}.{OFFSETS}"], arrays[f"{kind}.{ROWS}"]) for kind in info.kinds}
    counts = codes_by_list(codes, arrays[ENTRY_ARRAYS["list_rows"]], lists, dead)
    return WrittenSegment(replace(info, dead=len(dead)), counts)


def _dead_rows(rows: NDArray[Any], entries: int) -> UInt32Array:
    distinct = np.unique(rows)
    if len(distinct) and not 0 <= int(distinct[0]) <= int(distinct[-1]) < entries:
        raise ValueError(f"dead rows lie outside the {entries} entries of their segment")
    return distinct.astype(np.uint32)


def _check_tables(
    source: Snapshot,
    lists: Sequence[IndexedList],
    classifications: Sequence[Classification | None],
) -> None:
    """Rows of a linked segment must go on meaning what they meant."""
    names = [each.name for each in lists_from_json(source.documents[LISTS])]
    if names != [each.name for each in lists[: len(names)]]:
        raise ValueError("the lists do not begin with those of the snapshot that is linked")
    known = classifications_from_json(source.documents[CLASSIFICATIONS])[1:]
    if known != tuple(classifications[1 : 1 + len(known)]):
        raise ValueError(
            "the classifications do not begin with those of the snapshot that is linked"
        )


def _counted(lists: Sequence[IndexedList], segments: Sequence[WrittenSegment]) -> list[IndexedList]:
    """The lists with the counts of all segments added up."""
    counted = []
    for row, each in enumerate(lists):
        counts = {
            kind: sum(segment.counts[row].get(kind, 0) for segment in segments) for kind in HashKind
        }
        counted.append(
            replace(each, counts={kind: count for kind, count in counts.items() if count})
        )
    return counted


__all__ = ["DEAD", "LinkedSegment", "write_index"]
