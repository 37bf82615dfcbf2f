"""One immutable object that finds entries: segments, the tables they point into, and retractions.

Invariants:

* Every entry within the threshold that is not retracted is found, once for each query.
* Nothing changes after it was made: any number of threads search at once, and a reader that holds
  one sees one revision. A new revision is a new object that may share segments with the old.
* Entry rows number the entries of all segments through, in the order of the segments.

It judges nothing: lists in shadow state, flags and classes are for `matcher.policy`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from hashlists.model import EntryFlag
from hashlists.snapshot import SnapshotError
from matcher.index.base import Candidates, check_queries
from matcher.index.documents import (
    CLASSIFICATIONS,
    INDEX,
    LAYOUT,
    LISTS,
    IndexedList,
    classifications_from_json,
    index_to_json,
    lists_from_json,
)
from matcher.index.entries import EntryTable, IndexedEntry
from matcher.index.segment import Segment, no_candidates

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.model import Classification, HashKind
    from hashlists.snapshot import Snapshot
    from matcher.index.base import Int64Array, UInt8Array


class MatchIndex:
    """Finds the entries near a batch of hashes.

    Args:
        revision: the catalog revision of the content.
        lists: what the segments' list rows count.
        classifications: what their classification rows count; row 0 is none.
        segments: sealed ones first; their rows must lie within the two tables.
        retracted: `(R,) int64`, entry rows that are no longer to be found.

    Raises:
        ValueError: `retracted` holds rows outside the table, or a segment was made for longer
            tables than `lists` and `classifications`.
    """

    def __init__(
        self,
        *,
        revision: int,
        lists: Sequence[IndexedList],
        classifications: Sequence[Classification | None],
        segments: Sequence[Segment],
        retracted: Int64Array | None = None,
    ) -> None:
        self._revision = revision
        self._lists = tuple(lists)
        self._classifications = tuple(classifications)
        self._segments = tuple(segments)
        for segment in self._segments:
            if segment.lists > len(lists) or segment.classifications > len(classifications):
                raise ValueError("a segment points into longer tables than are given")
        self._entries = EntryTable([segment.entries for segment in segments])
        rows = np.empty(0, np.int64) if retracted is None else np.unique(retracted)
        if len(rows) and not 0 <= rows[0] <= rows[-1] < len(self._entries):
            raise ValueError(f"retracted rows lie outside the {len(self._entries)} entries")
        self._retracted: Int64Array = rows.astype(np.int64)

    @classmethod
    def open(cls, snapshot: Snapshot) -> Self:
        """Makes an index of a snapshot that `IndexBuilder.write` wrote.

        Raises:
            SnapshotError: its arrays and documents are not those of an index, contradict each
                other, or are of another build's layout.
        """
        try:
            return cls._from_snapshot(snapshot)
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SnapshotError(
                f"snapshot {snapshot.path.name}: not an index this build can use: {error}",
            ) from error

    @classmethod
    def _from_snapshot(cls, snapshot: Snapshot) -> Self:
        document = snapshot.documents[INDEX]
        if document["layout"] != LAYOUT:
            raise ValueError(f"its layout is {document['layout']}, this build reads {LAYOUT}")
        lists = lists_from_json(snapshot.documents[LISTS])
        classifications = classifications_from_json(snapshot.documents[CLASSIFICATIONS])
        segment = Segment.from_arrays(
            snapshot.arrays,
            lists=len(lists),
            classifications=len(classifications),
        )
        counts = {kind: len(codes.index) for kind, codes in segment.codes.items()}
        if document != index_to_json(len(segment.entries), counts):
            raise ValueError("its arrays do not hold what its document says")
        return cls(
            revision=snapshot.revision,
            lists=lists,
            classifications=classifications,
            segments=[segment],
        )

    @classmethod
    def empty(cls) -> Self:
        """An index without entries, at revision 0."""
        return cls(revision=0, lists=(), classifications=(None,), segments=())

    @property
    def revision(self) -> int:
        """The catalog revision of the content."""
        return self._revision

    @property
    def lists(self) -> tuple[IndexedList, ...]:
        """The lists by row."""
        return self._lists

    @property
    def classifications(self) -> tuple[Classification | None, ...]:
        """The classifications by row; row 0 is none."""
        return self._classifications

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, sealed ones first."""
        return self._segments

    @property
    def entries(self) -> EntryTable:
        """The entries of all segments, retracted ones included."""
        return self._entries

    def code_count(self, kind: HashKind) -> int:
        """How many codes of a kind are searched, each counted once in its segment."""
        return sum(
            len(segment.codes[kind].index) for segment in self._segments if kind in segment.codes
        )

    def search(self, kind: HashKind, queries: UInt8Array, threshold: int) -> Candidates:
        """Finds every entry with a value of `kind` at a distance of at most `threshold`.

        Args:
            kind: what the queries are.
            queries: `(Q, kind.nbytes) uint8`; `Q` may be 0.
            threshold: bits that may differ (PhotoDNA: squared L2), inclusive; digests take 0 only.

        Returns:
            All of them, each at most once for a query, with the smallest of its distances.

        Raises:
            ValueError: the queries have another dtype or shape, or the threshold is out of range.
        """
        queries, threshold = check_queries(kind, queries, threshold)
        parts = []
        for start, segment in zip(self._entries.starts, self._segments, strict=True):
            found = segment.search(kind, queries, threshold)
            if len(found):
                rows = found.entry_rows + start
                parts.append(Candidates(found.query_rows, rows, found.distances))
        candidates = self._without_retracted(_join(parts))
        repeats = any(kind in each.codes and each.codes[kind].repeats for each in self._segments)
        return _nearest_by_entry(candidates) if repeats else _by_query(candidates)

    def entry(self, row: int) -> IndexedEntry:
        """What the index knows of the entry at a row that `search` gave.

        Raises:
            IndexError: the table has no such row.
        """
        columns, at = self._entries.locate(row)
        size = int(columns.sizes[at])
        return IndexedEntry(
            list_row=int(columns.list_rows[at]),
            catalog_id=int(columns.catalog_ids[at]),
            classification=self._classifications[int(columns.classification_rows[at])],
            flags=EntryFlag(int(columns.flags[at])),
            size=None if size < 0 else size,
        )

    def _without_retracted(self, candidates: Candidates) -> Candidates:
        if not len(self._retracted) or not len(candidates):
            return candidates
        rows = candidates.entry_rows
        at = np.searchsorted(self._retracted, rows).clip(max=len(self._retracted) - 1)
        return _select(candidates, np.flatnonzero(self._retracted[at] != rows))


def _join(parts: Sequence[Candidates]) -> Candidates:
    if not parts:
        return no_candidates()
    return Candidates(
        query_rows=np.concatenate([part.query_rows for part in parts]),
        entry_rows=np.concatenate([part.entry_rows for part in parts]),
        distances=np.concatenate([part.distances for part in parts]),
    )


def _by_query(candidates: Candidates) -> Candidates:
    """Puts query rows in ascending order, which costs a sort only where they are not."""
    rows = candidates.query_rows
    if not (rows[1:] < rows[:-1]).any():
        return candidates
    return _select(candidates, np.argsort(rows, kind="stable"))


def _nearest_by_entry(candidates: Candidates) -> Candidates:
    """Keeps the smallest distance of each pair of query and entry, ordered by both."""
    order = np.lexsort((candidates.distances, candidates.entry_rows, candidates.query_rows))
    queries, entries = candidates.query_rows[order], candidates.entry_rows[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (queries[1:] != queries[:-1]) | (entries[1:] != entries[:-1])
    return _select(candidates, order[first])


def _select(candidates: Candidates, at: Int64Array) -> Candidates:
    return Candidates(
        candidates.query_rows[at],
        candidates.entry_rows[at],
        candidates.distances[at],
    )


__all__ = ["IndexedList", "MatchIndex"]
