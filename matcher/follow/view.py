"""What is served at one moment: a verified snapshot, and what changed in the catalog after it.

Invariants:

* A view is of exactly one revision of one catalog's history, but for entries that later revisions
  took out of force or gave an earlier end, which may be hidden early. It never changes; a later
  one is another object.
* A view is advanced by one read transaction, and rows of lists and classifications that were
  numbered keep their numbers.
* Time is not part of a view: `index` hides what has expired by the moment it is given, whether or
  not the catalog can be reached.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from hashlists import snapshot as snapshots
from hashlists.id_arrays import distinct_ids, joined_ids
from matcher.follow.delta import Delta, Renumbering, Tables
from matcher.follow.lineage import Lineage, still_stands
from matcher.follow.rows import RowNumbers
from matcher.index.match_index import IndexedList, MatchIndex

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from hashlists.catalog import CatalogReader
    from hashlists.model import Classification
    from hashlists.snapshot import Snapshot
    from hashlists.snapshot.vault import Vault
    from matcher.index.base import Int64Array


_NO_ROWS = np.empty(0, np.int64)
_NO_ENDS = np.empty(0, np.uint32)


@dataclass(frozen=True, slots=True, eq=False)
class Sealed:
    """A snapshot that was opened for serving.

    Attributes:
        snapshot: every byte of it was verified.
        index: its segments; what is superseded within it is hidden.
        lineage: the history it belongs to.
    """

    snapshot: Snapshot = field(repr=False)
    index: MatchIndex = field(repr=False)
    lineage: Lineage

    @classmethod
    def of(cls, snapshot: Snapshot, *, held: Sealed | None = None) -> Sealed:
        """Makes an index of a snapshot; what it shares with `held` is not checked again.

        Raises:
            SnapshotError: it is not one that `matcher.follow.build` of this build made.
        """
        lineage = Lineage.of(snapshot)
        index = MatchIndex.open(snapshot, held=None if held is None else held.index)
        return cls(snapshot, index, lineage)

    @classmethod
    def open_current(
        cls, root: Path, *, held: Sealed | None = None, vault: Vault | None = None
    ) -> Sealed | None:
        """Opens the published snapshot; None where there is none.

        Args:
            root: the folder of snapshots.
            held: what it shares with this one is not verified again.
            vault: the keys of encrypted snapshots.

        Raises:
            SnapshotLockedError: it is encrypted, and the key is not here.
            SnapshotError: it cannot be used.
        """
        snapshot = snapshots.open_current(
            root, held=None if held is None else held.snapshot, vault=vault
        )
        return None if snapshot is None else cls.of(snapshot, held=held)

    @property
    def name(self) -> str:
        """The snapshot's name."""
        return self.snapshot.path.name


@dataclass(frozen=True, slots=True, eq=False)
class View:
    """A snapshot and what changed after it, at one revision.

    Attributes:
        sealed: the snapshot.
        revision: the catalog revision that is shown.
        mark: the mark of that revision.
        lists: what list rows count.
        classifications: what classification rows count.
        delta: what changed after the snapshot.
        superseded: `(S,) int64`, ascending rows of the sealed index whose entries are touched.
        purged: something was purged after the snapshot, which still holds it.
        withdrawn: `(W,) int64`, ascending ids of entries that later revisions took out of force;
            hidden although `revision` still has them.
        ending: `(E,) int64`, likewise: entries to which later revisions gave another end of use.
        ends: `(E,) uint32`: from when on these are hidden, seconds since 1970 UTC.
        withdrawn_by: the revision that took the last of them out of force or gave the last end, or
            any later one that did no more; `revision` itself where nothing is hidden early.
    """

    sealed: Sealed
    revision: int
    mark: str
    lists: Sequence[IndexedList] = field(repr=False)
    classifications: Sequence[Classification | None] = field(repr=False)
    delta: Delta = field(repr=False)
    superseded: Int64Array = field(repr=False)
    purged: bool
    withdrawn: Int64Array = field(repr=False)
    withdrawn_by: int
    ending: Int64Array = field(default_factory=lambda: _NO_ROWS, repr=False)
    ends: NDArray[np.uint32] = field(default_factory=lambda: _NO_ENDS, repr=False)

    @classmethod
    def of(cls, sealed: Sealed) -> View:
        """The snapshot at its own revision."""
        revision = sealed.snapshot.revision
        return cls(
            sealed=sealed,
            revision=revision,
            mark=sealed.lineage.revision_mark,
            lists=sealed.index.lists,
            classifications=sealed.index.classifications,
            delta=Delta.empty(),
            superseded=_NO_ROWS,
            purged=False,
            withdrawn=_NO_ROWS,
            withdrawn_by=revision,
        )

    def stands(self, reader: CatalogReader) -> bool:
        """Whether this is a state of the catalog's present history."""
        return self.sealed.lineage.stands(self.sealed.snapshot.revision, reader) and still_stands(
            self.revision, self.mark, reader
        )

    def advanced(self, reader: CatalogReader, *, pause: Callable[[], None] = lambda: None) -> View:
        """The view at the reader's revision, with nothing hidden early; `stands` must hold.

        Args:
            reader: of the revision to come to.
            pause: called now and then while much is read.

        Raises:
            CatalogError: the catalog cannot be read.
            SnapshotError: there are too many lists.
        """
        if self.revision == reader.revision:
            return self.without(_NO_ROWS, by=self.revision).with_ends()
        changed = reader.changed_ids(self.revision)
        numbers = RowNumbers(
            reader,
            lists=_with_counts(self.lists, self.sealed.index.lists),
            classifications=self.classifications,
        )
        in_force = []
        for columns in reader.entry_columns(entry_ids=changed):
            in_force.append(numbers.number(columns))
            pause()
        classifications = numbers.classifications()
        delta = self.delta.after(
            changed,
            in_force,
            since=self.revision,
            until=reader.revision,
            tables=Tables(len(numbers.lists), len(classifications)),
        )
        mark = reader.revision_mark(reader.revision)
        assert mark is not None  # the reader's own revision
        return View(
            sealed=self.sealed,
            revision=reader.revision,
            mark=mark,
            lists=_add_counts(numbers.lists, delta),
            classifications=classifications,
            delta=delta,
            superseded=joined_ids(
                self.superseded, distinct_ids(self.sealed.index.rows_of(changed))
            ),
            purged=self.purged or reader.purged_since(self.revision),
            withdrawn=_NO_ROWS,
            withdrawn_by=reader.revision,
        )

    def covers(self, sealed: Sealed) -> bool:
        """Whether this says all that changed after a snapshot of the same history."""
        return self.sealed.snapshot.revision <= sealed.snapshot.revision <= self.revision

    def onto(self, sealed: Sealed, *, purged: bool) -> View:
        """The same revision above a snapshot that this covers; nothing is read for it.

        Args:
            sealed: of the same history.
            purged: something was purged after that snapshot, up to this revision.
        """
        index = sealed.index
        list_rows = _rows_in(
            [each.name for each in index.lists], [each.name for each in self.lists]
        )
        classes = _rows_in(index.classifications, self.classifications)
        tables = Tables(len(list_rows), len(classes))
        to = Renumbering(
            np.array([list_rows[each.name] for each in self.lists], np.uint16),
            np.array([classes[each] for each in self.classifications], np.uint32),
            tables,
        )
        delta = self.delta.above(sealed.snapshot.revision, to)
        by_name = {each.name: each for each in self.lists}
        lists = _with_counts([by_name[name] for name in list_rows], index.lists)
        return replace(
            self,
            sealed=sealed,
            lists=_add_counts(lists, delta),
            classifications=tuple(classes),
            delta=delta,
            superseded=distinct_ids(index.rows_of(delta.touched)),
            purged=purged,
        )

    def without(self, withdrawn: Int64Array, *, by: int) -> View:
        """The same revision, less what revisions up to a later one took out of force.

        Args:
            withdrawn: `(W,) int64`, ascending ids of those entries; none to hide nothing early.
            by: that later revision.
        """
        if np.array_equal(withdrawn, self.withdrawn):
            return self
        return replace(self, withdrawn=withdrawn, withdrawn_by=by)

    def with_ends(
        self,
        ending: Int64Array = _NO_ROWS,
        ends: NDArray[np.uint32] = _NO_ENDS,
        *,
        by: int | None = None,
    ) -> View:
        """The same revision with other ends of use, as later revisions set them.

        Args:
            ending: `(E,) int64`, ascending ids; none for the ends that this revision says.
            ends: `(E,) uint32`, seconds since 1970 UTC.
            by: the last of these revisions; None where none hides anything.
        """
        if np.array_equal(ending, self.ending) and np.array_equal(ends, self.ends):
            return self
        withdrawn_by = max(self.withdrawn_by, self.revision if by is None else by)
        return replace(self, ending=ending, ends=ends, withdrawn_by=withdrawn_by)

    def in_place_of(self, other: View) -> View:
        """This view, less what `other`, of the same history, hides early and this still has."""
        if self.withdrawn_by >= other.withdrawn_by:
            return self
        hidden = self.without(other.withdrawn, by=other.withdrawn_by)
        return hidden.with_ends(other.ending, other.ends, by=other.withdrawn_by)

    def without_more(self, other: View) -> View:
        """The same revision, less what `other`, of the same history, came to hide meanwhile."""
        both = joined_ids(self.withdrawn, other.withdrawn)
        return self.without(both, by=max(self.withdrawn_by, other.withdrawn_by))

    def index(self, now: int) -> MatchIndex:
        """What can be searched at `now`, seconds since 1970 UTC."""
        sealed, delta = self.sealed.index, self.delta
        early = joined_ids(self.withdrawn, self.ending[self.ends <= now])
        hidden = [
            self.superseded,
            sealed.rows_of(early),
            sealed.expired_rows(now),
            len(sealed.entries) + delta.hidden_rows(early, now),
        ]
        return sealed.extended(
            revision=self.revision,
            lists=self.lists,
            classifications=self.classifications,
            live=delta.segments,
            hidden=np.concatenate(hidden),
        )

    def due(self, now: int) -> int | None:
        """The next moment after `now` at which an entry expires; None for never."""
        moments = [self.sealed.index.next_expiry(now)]
        moments += [each.expiry.next_after(now) for each in self.delta.segments]
        if len(later := self.ends[self.ends > now]):
            moments.append(int(later.min()))
        return min((each for each in moments if each is not None), default=None)


def _with_counts(
    lists: Sequence[IndexedList], sealed: Sequence[IndexedList]
) -> tuple[IndexedList, ...]:
    """The lists with what the sealed segments count; later ones have nothing there."""
    return tuple(
        replace(each, counts=sealed[row].counts if row < len(sealed) else {})
        for row, each in enumerate(lists)
    )


def _add_counts(lists: Sequence[IndexedList], delta: Delta) -> tuple[IndexedList, ...]:
    """The lists with the distinct codes of what is live counted too.

    A code that stands in several places, or is of an entry that was superseded there, counts each
    time: counts say how many chance hits to expect, and may say too many but never too few.
    """
    if not delta.pieces:
        return tuple(lists)
    return tuple(
        replace(each, counts=Counter(each.counts) + more)
        for each, more in zip(lists, delta.counts(len(lists)), strict=True)
    )


_Key = TypeVar("_Key")


def _rows_in(first: Sequence[_Key], more: Sequence[_Key]) -> dict[_Key, int]:
    """The row of each key in a table that begins with `first`; what only `more` has follows."""
    return {key: row for row, key in enumerate(dict.fromkeys([*first, *more]))}


__all__ = ["Sealed", "View"]
