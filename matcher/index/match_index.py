"""One immutable object that finds entries: segments, the tables they point into, and an overlay.

Invariants:

* Every entry within the threshold that is not hidden is found, once for each query and row.
* Nothing changes after it was made: any number of threads search at once, and a reader that holds
  one sees one revision. A new revision is a new object that shares the sealed segments with the
  old; making it touches nothing of their size but one bit an entry.
* Entry rows number the entries of all segments through, in the order of the segments: `base`,
  `recent`, `live`.

An entry may have rows in several segments. Which of them is in force, the catalog alone tells, so
whoever makes an index sees to it that at most one of them is not hidden.

It judges nothing: lists in shadow state, flags and classes are for `matcher.policy`. It reads no
clock: entries that have expired are told by `expired_rows` and are found until they are hidden.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Self

import numpy as np

from hashlists.model import EntryFlag
from hashlists.snapshot import SnapshotError
from matcher.index.base import NO_CANDIDATES, Candidates, check_queries
from matcher.index.derivations import DerivationTable
from matcher.index.documents import IndexedList
from matcher.index.entries import EntryTable, IndexedEntry
from matcher.index.overlay import Overlay
from matcher.index.read import read_index

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.model import Classification, HashKind
    from hashlists.snapshot import Snapshot
    from matcher.index.base import Int64Array, UInt8Array
    from matcher.index.segment import Segment

LIVE = "live"


class MatchIndex:
    """Finds the entries near a batch of hashes.

    Args:
        revision: the catalog revision of the content.
        lists: what the segments' list rows count.
        classifications: what their classification rows count; row 0 is none.
        segments: sealed ones first; their rows must lie within the two tables.
        segment_names: what to call them in reports; None for their numbers.
        hidden: entry rows that are not to be found: `(R,) int64`, or an overlay for just as many
            entries.

    Raises:
        ValueError: `hidden` holds rows outside the table, or a segment was made for longer tables
            than `lists` and `classifications`.
    """

    def __init__(
        self,
        *,
        revision: int,
        lists: Sequence[IndexedList],
        classifications: Sequence[Classification | None],
        segments: Sequence[Segment],
        segment_names: Sequence[str] | None = None,
        hidden: Int64Array | Overlay | None = None,
    ) -> None:
        self._revision = revision
        self._lists = tuple(lists)
        self._classifications = tuple(classifications)
        self._segments = tuple(segments)
        names = map(str, range(len(segments))) if segment_names is None else segment_names
        self._segment_names = tuple(names)
        for segment in self._segments:
            if segment.lists > len(lists) or segment.classifications > len(classifications):
                raise ValueError("a segment points into longer tables than are given")
        self._entries = EntryTable([segment.entries for segment in segments])
        self._derivations = DerivationTable([segment.derivations for segment in segments])
        if not isinstance(hidden, Overlay):
            rows = np.empty(0, np.int64) if hidden is None else hidden
            hidden = Overlay(len(self._entries)).extended(rows)
        elif hidden.length != len(self._entries):
            raise ValueError(
                f"an overlay for {hidden.length} rows does not fit {len(self._entries)} entries"
            )
        self._hidden = hidden

    @classmethod
    def open(cls, snapshot: Snapshot, *, held: MatchIndex | None = None) -> Self:
        """Makes an index of a snapshot that `write_index` wrote.

        Args:
            snapshot: opened, so verified.
            held: an index whose segments are taken over where the snapshot holds the very same
                arrays: these need not be checked again.

        Raises:
            SnapshotError: its arrays and documents are not those of an index, contradict each
                other, or are of another build's layout.
        """
        try:
            contents = read_index(snapshot, held=() if held is None else held.segments)
            return cls(
                revision=snapshot.revision,
                lists=contents.lists,
                classifications=contents.classifications,
                segments=tuple(contents.segments.values()),
                segment_names=tuple(contents.segments),
                hidden=contents.dead,
            )
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            raise SnapshotError(
                f"snapshot {snapshot.path.name}: not an index this build can use: {error}",
            ) from error

    def extended(
        self,
        *,
        revision: int,
        lists: Sequence[IndexedList],
        classifications: Sequence[Classification | None],
        live: Sequence[Segment],
        hidden: Int64Array,
    ) -> MatchIndex:
        """The same segments at a later revision, with live ones behind them.

        Meant for the index that `open` gave: what it hides stays hidden, and its segments are
        neither copied nor looked through again.

        Args:
            revision: the later revision.
            lists: its table, which begins with this index's.
            classifications: likewise.
            live: the entries that changed since, in segments; none where none is in force.
            hidden: `(R,) int64`, further rows that are not to be found. Rows of `live` count on
                from this index's entries, through all of them.

        Raises:
            ValueError: as for a new index.
        """
        segments = (*self._segments, *live)
        names = (*self._segment_names, *[LIVE] * len(live))
        length = sum(len(segment.entries) for segment in segments)
        return MatchIndex(
            revision=revision,
            lists=lists,
            classifications=classifications,
            segments=segments,
            segment_names=names,
            hidden=self._hidden.extended(hidden, length=length),
        )

    def only(self, catalog_ids: Int64Array) -> MatchIndex:
        """The same with all hidden but these entries `(K,)`, and what is hidden among them."""
        return MatchIndex(
            revision=self._revision,
            lists=self._lists,
            classifications=self._classifications,
            segments=self._segments,
            segment_names=self._segment_names,
            hidden=self._hidden.only(self.rows_of(catalog_ids)),
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
    def derivations(self) -> tuple[str | None, ...]:
        """How codes were made, by row: "" for the source's own, None where it is not known."""
        return self._derivations.names

    @property
    def segments(self) -> tuple[Segment, ...]:
        """The segments, sealed ones first."""
        return self._segments

    @property
    def segment_names(self) -> tuple[str, ...]:
        """What the segments are called in reports: "base", "recent" and, maybe many, "live"."""
        return self._segment_names

    @property
    def hidden(self) -> Overlay:
        """The entry rows that are not to be found."""
        return self._hidden

    @property
    def entries(self) -> EntryTable:
        """The entries of all segments, hidden ones included."""
        return self._entries

    def rows_of(self, catalog_ids: Int64Array) -> Int64Array:
        """All rows `(R,) int64` of these entries `(K,)`, in any segment, hidden ones included.

        Quickest where the ids ascend. Ids that the index does not have are passed over.
        """
        return self._gathered([segment.rows_of(catalog_ids) for segment in self._segments])

    def expired_rows(self, now: int) -> Int64Array:
        """Rows `(R,) int64`, ascending, of the entries that have expired, hidden ones included.

        Args:
            now: seconds since 1970 UTC.
        """
        return self._gathered([segment.expiry.expired_rows(now) for segment in self._segments])

    def next_expiry(self, now: int) -> int | None:
        """The first second after `now` at which an entry expires; None where none does."""
        moments = [segment.expiry.next_after(now) for segment in self._segments]
        return min((each for each in moments if each is not None), default=None)

    def _gathered(self, rows: Sequence[Int64Array]) -> Int64Array:
        """Rows of each segment -> rows of the table."""
        parts = [own + start for own, start in zip(rows, self._entries.starts, strict=True)]
        return np.concatenate([np.empty(0, np.int64), *parts])

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
        starts = self._entries.starts
        for number, (start, segment) in enumerate(zip(starts, self._segments, strict=True)):
            found = segment.search(kind, queries, threshold)
            if len(found):
                rows = found.entry_rows + start
                made = self._derivations.rows(number, found.derivation_rows)
                parts.append(Candidates(found.query_rows, rows, found.distances, made))
        if not parts:
            return NO_CANDIDATES
        candidates = self._without_hidden(_join(parts))
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

    def _without_hidden(self, candidates: Candidates) -> Candidates:
        if not len(self._hidden) or not len(candidates):
            return candidates
        hidden = self._hidden.hides(candidates.entry_rows)
        return _select(candidates, np.flatnonzero(~hidden)) if hidden.any() else candidates


def _join(parts: Sequence[Candidates]) -> Candidates:
    return Candidates(
        query_rows=np.concatenate([part.query_rows for part in parts]),
        entry_rows=np.concatenate([part.entry_rows for part in parts]),
        distances=np.concatenate([part.distances for part in parts]),
        derivation_rows=np.concatenate([part.derivation_rows for part in parts]),
    )


def _by_query(candidates: Candidates) -> Candidates:
    """Puts query rows in ascending order, which costs a sort only where they are not."""
    rows = candidates.query_rows
    if not (rows[1:] < rows[:-1]).any():
        return candidates
    return _select(candidates, np.argsort(rows, kind="stable"))


def _nearest_by_entry(candidates: Candidates) -> Candidates:
    """Keeps the smallest distance of each pair of query and entry, ordered by both.

    Among codes that are equally near, the source's own is told.
    """
    order = np.lexsort(
        (
            *(candidates.derivation_rows, candidates.distances),
            *(candidates.entry_rows, candidates.query_rows),
        )
    )
    queries, entries = candidates.query_rows[order], candidates.entry_rows[order]
    first = np.ones(len(order), np.bool_)
    first[1:] = (queries[1:] != queries[:-1]) | (entries[1:] != entries[:-1])
    return _select(candidates, order[first])


def _select(candidates: Candidates, at: Int64Array) -> Candidates:
    return Candidates(
        candidates.query_rows[at],
        candidates.entry_rows[at],
        candidates.distances[at],
        candidates.derivation_rows[at],
    )


__all__ = ["IndexedList", "MatchIndex"]
