"""Judges the hits of one upload as arrays, for uploads that meet a cluster of near-duplicates.

The answer is that of `decide`, to the letter: hits that differ in distance and entry alone are
judged once by the same `Judge`, and only what an answer lists becomes objects. A property test
holds the two together. With few hits `decide` is the quicker one.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hashlists.model import EntryFlag, Harm, ListState
from matcher.policy.decide import (
    KIND_ORDER,
    MAX_MATCHES,
    Candidate,
    Judge,
    Judgement,
    Totals,
    check_max_matches,
    conclude,
)
from matcher.policy.severity import Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from numpy.typing import NDArray

    from hashlists.model import Classification, HashKind
    from matcher.model import ImageHashes
    from matcher.policy.binding import BoundPolicy, ListInfo

    Int64Array: TypeAlias = "NDArray[np.int64]"
    BoolArray: TypeAlias = "NDArray[np.bool_]"

#: Up to so many numbers more than four a hit are told apart by a table rather than by sorting.
_TABLE_ROWS = 4096


@dataclass(frozen=True, slots=True)
class Query:
    """A code of the upload that was looked up: as in `Candidate`."""

    kind: HashKind
    view: str
    quality: int


@dataclass(frozen=True, slots=True)
class HitColumns:
    """`N` hits of one upload joined with their entries, in any order.

    Attributes:
        queries, lists, classifications, derivations: what the row numbers below count; row 0 of
            the classifications is none.
        query_rows, list_rows, classification_rows, derivation_rows: `(N,)`, integers.
        distances: `(N,)`, integers; as in `Candidate`.
        entry_ids: `(N,) int64`, the catalog's ids.
        flags: `(N,)`, integers, `EntryFlag` bits.
        sizes: `(N,) int64`, bytes of the file; negative where unknown.
    """

    queries: Sequence[Query]
    lists: Sequence[ListInfo]
    classifications: Sequence[Classification | None]
    derivations: Sequence[str | None]
    query_rows: NDArray[Any] = field(repr=False)
    distances: NDArray[Any] = field(repr=False)
    entry_ids: NDArray[Any] = field(repr=False)
    list_rows: NDArray[Any] = field(repr=False)
    classification_rows: NDArray[Any] = field(repr=False)
    flags: NDArray[Any] = field(repr=False)
    sizes: NDArray[Any] = field(repr=False)
    derivation_rows: NDArray[Any] = field(repr=False)

    def __len__(self) -> int:
        return len(self.query_rows)

    def candidate(self, row: int) -> Candidate:
        """One hit as an object."""
        query = self.queries[int(self.query_rows[row])]
        listed = self.lists[int(self.list_rows[row])]
        size = int(self.sizes[row])
        return Candidate(
            list_name=listed.name,
            harm=listed.harm,
            list_state=listed.state,
            entry_id=int(self.entry_ids[row]),
            kind=query.kind,
            view=query.view,
            quality=query.quality,
            distance=int(self.distances[row]),
            classification=self.classifications[int(self.classification_rows[row])],
            flags=EntryFlag(int(self.flags[row])),
            entry_size=None if size < 0 else size,
            derivation=self.derivations[int(self.derivation_rows[row])],
        )


def decide_columns(
    policy: BoundPolicy,
    hashes: ImageHashes,
    hits: HitColumns,
    *,
    max_matches: int,
    now: datetime,
) -> Judgement:
    """`decide` for hits that come as columns; the same arguments, answer and errors otherwise."""
    check_max_matches(max_matches)
    judge = Judge(policy, hashes, now)
    sorts = _Sorts.of(judge, hits)
    counted = np.flatnonzero(sorts.thresholds[sorts.rows] >= hits.distances)
    verdicts = sorts.verdicts(counted, hits, hashes.size)
    keys = _entry_keys(hits, sorts, counted)
    allowed = _allowed(judge, hits, counted)
    ignored = ~allowed & (verdicts == Verdict.IGNORE)
    shadow = ~allowed & ~ignored & sorts.shadow[sorts.rows[counted]]
    listed = ~(allowed | ignored | shadow)
    against = ignored & ~sorts.shadow[sorts.rows[counted]]
    against &= ~np.isin(keys // 2, keys[listed] // 2)  # whether exact is the lowest bit

    def strongest(chosen: BoolArray, wanted: int) -> list[Candidate]:
        ranks = sorts.ranks(counted[chosen], verdicts[chosen], hits)
        best = _best(ranks, keys[chosen], counted[chosen], hits, wanted)
        return [hits.candidate(row) for row in best.tolist()]

    return conclude(
        judge,
        strongest(listed, MAX_MATCHES),
        Totals(
            matches=_distinct(keys[listed]),
            shadow=_distinct(keys[shadow]),
            suppressed=_distinct(keys[allowed]),
            ignored=_distinct(keys[ignored]),
            hit_lists=sorts.lists(counted[listed | shadow]),
            ignored_lists=frozenset(name for name, _ in sorts.lists(counted[ignored])),
        ),
        ignored=strongest(against, max_matches) if listed.any() else (),
        max_matches=max_matches,
    )


@dataclass(frozen=True, slots=True)
class _Sorts:
    """Sorts of hits: those of one query, list, class and flags, judged once for all of them.

    Attributes:
        rows: `(N,)`, which sort each hit is of; the rest are `(S,)`, by sort.
        thresholds, decisive, by_size, caps: as in `Ruling`.
        shadow, exact: the list is a shadow list, the query a digest.
        names: of the lists.
        before, after: what stands before and after the distance in the order of matches.
    """

    rows: Int64Array
    thresholds: Int64Array
    decisive: Int64Array
    by_size: BoolArray
    caps: Int64Array
    shadow: BoolArray
    exact: BoolArray
    names: tuple[str, ...]
    before: tuple[Int64Array, ...]
    after: tuple[Int64Array, ...]

    @classmethod
    def of(cls, judge: Judge, hits: HitColumns) -> _Sorts:
        first, rows = _first_of_each_sort(hits)
        models = [hits.candidate(row) for row in first.tolist()]
        rulings = [judge.ruling(model) for model in models]
        names = {name: i for i, name in enumerate(sorted({each.list_name for each in models}))}
        return cls(
            rows=rows,
            thresholds=_int64([each.threshold for each in rulings]),
            decisive=_int64([each.decisive for each in rulings]),
            by_size=np.array([each.by_size for each in rulings], np.bool_),
            caps=_int64([each.cap for each in rulings]),
            shadow=np.array([each.list_state is ListState.SHADOW for each in models], np.bool_),
            exact=np.array([each.kind.is_digest for each in models], np.bool_),
            names=tuple(each.list_name for each in models),
            before=(
                _int64([each.harm is Harm.TEST for each in models]),
                _int64([each.severity_rank for each in rulings]),
                _int64([not each.kind.is_digest for each in models]),
            ),
            after=(
                _int64([KIND_ORDER[each.kind] for each in models]),
                _int64([names[each.list_name] for each in models]),
            ),
        )

    def lists(self, at: Int64Array) -> frozenset[tuple[str, bool]]:
        """Which lists the hits `at` are of, and whether any was exact or not."""
        present = np.unique(self.rows[at]).tolist()
        return frozenset((self.names[row], bool(self.exact[row])) for row in present)

    def verdicts(self, at: Int64Array, hits: HitColumns, size: int | None) -> Int64Array:
        """The most that the hits `at` may decide, `(len(at),)` values of `Verdict`."""
        sorts = self.rows[at]
        decisive = hits.distances[at] <= self.decisive[sorts]
        if size is not None:
            decisive |= self.by_size[sorts] & (hits.sizes[at] == size)
        evidence = np.where(decisive, int(Verdict.MATCH), int(Verdict.REVIEW))
        return np.minimum(evidence, self.caps[sorts])

    def ranks(self, at: Int64Array, verdicts: Int64Array, hits: HitColumns) -> Int64Array:
        """Where the hits `at` stand, entries and views aside: 0 first, equal where they tie."""
        distances = hits.distances[at].astype(np.int64)
        span = int(distances.max(initial=0)) + 1
        sorts, rows = self.rows[at], len(self.thresholds)
        levels, inverse = _dense((verdicts * rows + sorts) * span + distances)
        sorts, distances = levels // span % rows, levels % span
        limits = self.thresholds[sorts]
        columns = (
            -(levels // span // rows),
            *(column[sorts] for column in self.before),
            np.divide(distances, limits, out=np.zeros(len(levels)), where=limits > 0),
            *(column[sorts] for column in self.after),
        )
        order = np.lexsort(columns[::-1])
        rises = np.zeros(len(levels), np.bool_)
        for column in columns:
            rises[1:] |= column[order][1:] != column[order][:-1]
        ranks = np.empty(len(levels), np.int64)
        ranks[order] = np.cumsum(rises)
        return ranks[inverse]


def _first_of_each_sort(hits: HitColumns) -> tuple[Int64Array, Int64Array]:
    """The row of a hit of each sort, and which sort every hit is of."""
    sorts = np.zeros(len(hits), np.int64)
    for column in (hits.query_rows, hits.list_rows, hits.classification_rows, hits.flags):
        span = int(column.max(initial=0)) + 1
        _, sorts = _dense(sorts * span + column)
    first = np.zeros(int(sorts.max(initial=-1)) + 1, np.int64)
    first[sorts] = np.arange(len(hits))
    return first, sorts


def _entry_keys(hits: HitColumns, sorts: _Sorts, at: Int64Array) -> Int64Array:
    """For the hits `at`: equal numbers for one entry of one list, exact or not."""
    _, entries = _dense(hits.entry_ids[at])
    lists = len(hits.lists)
    keys: Int64Array = entries * (2 * lists) + 2 * hits.list_rows[at].astype(np.int64)
    return keys + sorts.exact[sorts.rows[at]]


def _allowed(judge: Judge, hits: HitColumns, at: Int64Array) -> BoolArray:
    """Which of the hits `at` the allow-list takes out."""
    if judge.file_allowed:
        return np.ones(len(at), np.bool_)
    allowed = np.zeros(len(at), np.bool_)
    if judge.has_pairs:
        for row in np.unique(hits.query_rows[at]).tolist():
            query = hits.queries[row]
            entries = judge.allowed_entries(query.kind, query.view)
            if entries:
                same = hits.query_rows[at] == row
                allowed |= same & np.isin(hits.entry_ids[at], _int64(sorted(entries)))
    return allowed


def _best(
    ranks: Int64Array, keys: Int64Array, at: Int64Array, hits: HitColumns, wanted: int
) -> Int64Array:
    """The rows of the first hits of the first `wanted` keys, first ones first.

    Args:
        ranks: `(len(at),)`, where the hits stand before entries and views are looked at.
        keys: `(len(at),)`, what counts as one match.
        at: rows of the hits to choose from.
        hits: what they are rows of.
        wanted: at least 1.
    """
    enough, near = wanted, np.arange(len(ranks))
    while enough < len(ranks):
        near = _foremost(ranks, hits.entry_ids[at], enough)
        if _distinct(keys[near]) >= wanted:
            break
        enough, near = 2 * enough, np.arange(len(ranks))
    names = sorted({query.view for query in hits.queries})
    views = _int64([names.index(query.view) for query in hits.queries])
    rows = at[near]
    order = near[np.lexsort((views[hits.query_rows[rows]], hits.entry_ids[rows], ranks[near]))]
    _, first = np.unique(keys[order], return_index=True)
    return at[order[np.sort(first)[:wanted]]]


def _foremost(ranks: Int64Array, entry_ids: Int64Array, wanted: int) -> Int64Array:
    """Where at least the `wanted` first by rank, then entry, are; whole ties, in any order."""
    running = np.cumsum(np.bincount(ranks))
    last = int(np.searchsorted(running, wanted))
    still = wanted - (int(running[last - 1]) if last else 0)
    tied = np.flatnonzero(ranks == last)
    ids = entry_ids[tied]
    tied = tied[ids <= np.partition(ids, still - 1)[still - 1]]
    return np.concatenate([np.flatnonzero(ranks < last), tied])


def _dense(keys: Int64Array) -> tuple[Int64Array, Int64Array]:
    """As `np.unique` with inverse, without sorting where the numbers lie close together."""
    if not len(keys):
        return keys, keys
    low = int(keys.min())
    span = int(keys.max()) - low + 1
    if span > 4 * len(keys) + _TABLE_ROWS:
        distinct, inverse = np.unique(keys, return_inverse=True)
        return distinct, inverse.astype(np.int64, copy=False)
    shifted = keys - low
    present = np.zeros(span, np.bool_)
    present[shifted] = True
    distinct = np.flatnonzero(present)
    numbers = np.empty(span, np.int64)
    numbers[distinct] = np.arange(len(distinct))
    return distinct + low, numbers[shifted]


def _distinct(keys: Int64Array) -> int:
    return len(_dense(keys)[0])


def _int64(values: Sequence[int]) -> Int64Array:
    return np.array(values, dtype=np.int64)


__all__ = ["HitColumns", "Query", "decide_columns"]
