"""What changed after a snapshot, as pieces in the order of revisions: replaced, never mutated.

Invariants: each piece holds what some revisions in a row touched, as it was after the last of them;
whatever is touched counts in the newest piece that touched it, or nowhere, so the sealed rows of
touched entries and their rows in older pieces are hidden whether or not the entry is still in
force. Applying the same change twice gives the same entries. A change costs in proportion to itself
and to the small pieces that it is merged with, not to all that is held. Nothing here reads the
catalog or a clock.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from hashlists.id_arrays import distinct_ids, joined_ids
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from hashlists.model import HashKind
    from matcher.index.base import Int64Array, UInt8Array, UInt32Array
    from matcher.index.entries import UInt16Array

#: Pieces are merged up to so many entries: few enough to build one in a tenth of a second, and to
#: keep the number of pieces that a search looks at small.
MERGED_ENTRIES = 1 << 17
#: A piece that is at most so many times as long as the next is merged with it.
_ALIKE = 2


@dataclass(frozen=True, slots=True)
class Tables:
    """The tables that rows point into, as numbers.

    Attributes:
        lists: how many lists there are.
        classifications: likewise, row 0 (none) included.
    """

    lists: int
    classifications: int


@dataclass(frozen=True, slots=True)
class Renumbering:
    """Where rows of two tables stand in others.

    Attributes:
        lists: `(L,) uint16`, new row by old one.
        classifications: `(C,) uint32`, likewise.
        tables: the new tables.
    """

    lists: UInt16Array = field(repr=False)
    classifications: UInt32Array = field(repr=False)
    tables: Tables

    @property
    def changes(self) -> bool:
        """Whether any row stands elsewhere than before."""
        return any(
            not np.array_equal(each, np.arange(len(each)))
            for each in (self.lists, self.classifications)
        )


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """What the revisions after `since`, up to `until`, touched.

    Attributes:
        since: the revision before the first of them.
        until: the last of them.
        touched: `(T,) int64`, strictly ascending: catalog ids, in force or not.
        rows: those of them that are in force at `until`, by strictly ascending catalog id.
        segment: the rows as a segment; None where there are none.
        dead: `(D,) int64`, ascending, rows of entries that a later piece touches.
        counts: by list row how many distinct codes of each kind the rows carry, dead ones too.
    """

    since: int
    until: int
    touched: Int64Array = field(repr=False)
    rows: IndexRows = field(repr=False)
    segment: Segment | None = field(repr=False)
    dead: Int64Array = field(repr=False)
    counts: Sequence[Mapping[HashKind, int]] = field(repr=False)

    @classmethod
    def of(
        cls, since: int, until: int, touched: Int64Array, rows: IndexRows, tables: Tables
    ) -> Piece:
        """Makes the segment; rows come by strictly ascending catalog id."""
        segment, counts = None, list[dict["HashKind", int]]()
        if len(rows.catalog_ids):
            builder = IndexBuilder()
            builder.add(rows)
            segment = Segment.from_arrays(
                builder.arrays(),
                lists=tables.lists,
                classifications=tables.classifications,
                derivations=builder.derivations,
            )
            counts = segment.codes_by_list(tables.lists)
        return cls(since, until, touched, rows, segment, _NO_ROWS, counts)

    def living(self) -> IndexRows:
        """The rows that are not dead."""
        if not len(self.dead):
            return self.rows
        wanted = np.ones(len(self.rows.catalog_ids), np.bool_)
        wanted[self.dead] = False
        return keep_rows(self.rows, wanted)

    def without(self, changed: Int64Array) -> Piece:
        """The same once a later piece touches `changed (K,)`, which ascends."""
        again = _NO_ROWS if self.segment is None else self.segment.rows_of(changed)
        return replace(self, dead=joined_ids(self.dead, again)) if len(again) else self

    def merged(self, later: Piece, tables: Tables) -> Piece:
        """This piece and the next as one."""
        rows = sort_rows(join_rows([self.living(), later.living()]))
        touched = joined_ids(self.touched, later.touched)
        return Piece.of(self.since, later.until, touched, rows, tables)

    def renumbered(self, to: Renumbering) -> Piece:
        """The same, pointing into other tables and without its dead rows."""
        rows = self.living()
        rows = replace(
            rows,
            list_rows=to.lists[rows.list_rows],
            classification_rows=to.classifications[rows.classification_rows],
        )
        return Piece.of(self.since, self.until, self.touched, rows, to.tables)


@dataclass(frozen=True, slots=True, eq=False)
class Delta:
    """Everything that revisions after a snapshot's touched.

    Attributes:
        pieces: by revision; none empty.
        touched: `(T,) int64`, strictly ascending: catalog ids in any piece.
    """

    pieces: tuple[Piece, ...]
    touched: Int64Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.touched)

    @classmethod
    def empty(cls) -> Delta:
        """Nothing was touched yet."""
        return cls((), _NO_ROWS)

    @property
    def segments(self) -> Sequence[Segment]:
        """Those of the pieces, in their order."""
        return [each.segment for each in self.pieces if each.segment is not None]

    def after(
        self,
        changed: Int64Array,
        in_force: Sequence[IndexRows],
        *,
        since: int,
        until: int,
        tables: Tables,
    ) -> Delta:
        """What holds after further entries changed.

        Args:
            changed: `(K,) int64`, strictly ascending catalog ids.
            in_force: rows of those of them that are in force now; no others.
            since: the revision before the change; what is held is of it, or an earlier one.
            until: the revision of the change.
            tables: what all rows point into by now.

        Raises:
            ValueError: a row is of an entry that is not among `changed`, or comes twice.
        """
        if not len(changed):
            return self
        rows = sort_rows(join_rows(in_force))
        if not is_in(rows.catalog_ids, changed).all():
            raise ValueError("a row is of an entry that did not change")
        if not (rows.catalog_ids[1:] > rows.catalog_ids[:-1]).all():
            raise ValueError("an entry comes twice")
        pieces = [each.without(changed) for each in self.pieces]
        last = Piece.of(since, until, changed, rows, tables)
        while pieces and _belong_together(pieces[-1], last):
            last = pieces.pop().merged(last, tables)
        return Delta((*pieces, last), joined_ids(self.touched, changed))

    def above(self, revision: int, to: Renumbering) -> Delta:
        """What is needed above a snapshot of a later revision, which may be more than changed.

        Pieces that end before it are left out. One that began before it and ends after it stays
        whole: it says of its entries what holds after both.

        Args:
            revision: the snapshot's.
            to: the tables of that snapshot.
        """
        pieces = [each for each in self.pieces if each.until > revision]
        renumber = to.changes
        pieces = [
            # What was purged before the snapshot is not kept in memory either.
            each.renumbered(to) if renumber or each.since < revision else each
            for each in pieces
        ]
        touched = _NO_ROWS
        if pieces:
            touched = distinct_ids(np.concatenate([each.touched for each in pieces]))
        return Delta(tuple(pieces), touched)

    def hidden_rows(self, withdrawn: Int64Array, now: int) -> Int64Array:
        """Rows `(R,) int64` that are not to be found, counted through all segments.

        Args:
            withdrawn: `(W,) int64`, ascending ids of entries that are hidden early.
            now: seconds since 1970 UTC; what has expired is hidden.
        """
        hidden, first = [_NO_ROWS], 0
        for each in self.pieces:
            if each.segment is not None:
                segment = each.segment
                own = (each.dead, segment.rows_of(withdrawn), segment.expiry.expired_rows(now))
                hidden += [rows + first for rows in own]
                first += len(segment.entries)
        return np.concatenate(hidden)

    def gone(self) -> Int64Array:
        """Ids `(G,) int64`, ascending, of what was touched and is not in force now."""
        living = [np.delete(each.rows.catalog_ids, each.dead) for each in self.pieces]
        return np.setdiff1d(self.touched, np.concatenate([_NO_ROWS, *living]), assume_unique=True)

    def counts(self, lists: int) -> list[Counter[HashKind]]:
        """For each list how many distinct codes of each kind the pieces carry, at least."""
        counts: list[Counter[HashKind]] = [Counter() for _ in range(lists)]
        for each in self.pieces:
            for row, own in enumerate(each.counts):
                counts[row].update(own)
        return counts


_NO_ROWS = np.empty(0, np.int64)


def _belong_together(earlier: Piece, later: Piece) -> bool:
    """Whether merging pays: alike pieces, so that an entry is merged a few times in all."""
    both = len(earlier.touched) + len(later.touched)
    return len(earlier.touched) <= _ALIKE * len(later.touched) and both <= MERGED_ENTRIES


def join_rows(parts: Iterable[IndexRows]) -> IndexRows:
    """The rows of all parts, in their order."""
    parts = list(parts)
    codes: dict[HashKind, list[tuple[Int64Array, UInt8Array]]] = {}
    derived: dict[HashKind, list[tuple[Int64Array, Sequence[str]]]] = {}
    start = 0
    held: Counter[HashKind] = Counter()
    for part in parts:
        for kind, (places, names) in part.derived.items():
            derived.setdefault(kind, []).append((places + held[kind], names))
        for kind, (owners, values) in part.codes.items():
            codes.setdefault(kind, []).append((owners + start, values))
            held[kind] += len(owners)
        start += len(part.catalog_ids)
    columns = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(part, name) for part in parts)])
        for name, dtype in COLUMNS.items()
    }
    return IndexRows(
        **columns,
        codes={
            kind: (
                np.concatenate([owners for owners, _ in pieces]),
                np.concatenate([values for _, values in pieces]),
            )
            for kind, pieces in codes.items()
        },
        derived={
            kind: (
                np.concatenate([places for places, _ in pieces]),
                [name for _, names in pieces for name in names],
            )
            for kind, pieces in derived.items()
        },
    )


def keep_rows(rows: IndexRows, wanted: NDArray[np.bool_]) -> IndexRows:
    """The rows where `wanted (M,)` is true, in their order, with their codes."""
    if wanted.all():
        return rows
    return _pick(rows, np.flatnonzero(wanted))


def sort_rows(rows: IndexRows) -> IndexRows:
    """The same rows by ascending catalog id."""
    ids = rows.catalog_ids
    if not (ids[1:] < ids[:-1]).any():
        return rows
    return _pick(rows, np.argsort(ids, kind="stable"))


def _pick(rows: IndexRows, order: Int64Array) -> IndexRows:
    """The rows at `order`, each at most once; codes keep their order and follow their rows."""
    new_row = np.full(len(rows.catalog_ids), -1, np.int64)
    new_row[order] = np.arange(len(order))
    codes, derived = {}, {}
    for kind, (owners, values) in rows.codes.items():
        moved = new_row[owners]
        left = moved >= 0
        if left.all():
            codes[kind] = moved, values
        elif left.any():
            codes[kind] = moved[left], values[left]
        if kind in rows.derived and left.any():
            derived[kind] = _left_of(*rows.derived[kind], left)
    columns = {name: getattr(rows, name)[order] for name in COLUMNS}
    return IndexRows(**columns, codes=codes, derived=derived)


def _left_of(
    places: Int64Array, names: Sequence[str], left: NDArray[np.bool_]
) -> tuple[Int64Array, Sequence[str]]:
    """The same derived codes among those that are `left (K,)` alone."""
    stays = left[places]
    new_places = np.cumsum(left)[places[stays]] - 1
    return new_places, [name for name, each in zip(names, stays.tolist(), strict=True) if each]


def is_in(ids: Int64Array, among: Int64Array) -> NDArray[np.bool_]:
    """Which of `ids (N,)` are in `among (K,)`, which ascends."""
    if not len(among):
        return np.zeros(len(ids), np.bool_)
    at = np.searchsorted(among, ids).clip(max=len(among) - 1)
    found: NDArray[np.bool_] = among[at] == ids
    return found


__all__ = ["Delta", "Piece", "Renumbering", "Tables", "is_in"]
