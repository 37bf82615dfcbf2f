"""Compares an index with plain oracles over the same codes: does it find everything, and no more?

* Bits: FAISS' `IndexBinaryFlat`. PhotoDNA: one matrix product. Digests: a dictionary.
* A list with few codes of a kind is looked up code by code, and its own entries among the answers
  must be those that an oracle over the list's codes finds.
* Of a longer list a random sample of codes is looked up, each as it is and once more with bits
  flipped, and everything that is found must be what an oracle over all codes of the kind finds. So
  are random codes.

Memory stays bounded: codes go through the oracles in blocks, queries in batches. No report names a
hash. What it does not do: it takes the codes and what entries they belong to from the index's own
arrays, so whether these are what the catalog holds is for its caller to compare.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import faiss
import numpy as np

from hashlists.model import CODE64_KINDS, HashKind
from matcher.index.segment import OFFSETS, ROWS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

    from numpy.typing import NDArray

    from matcher.index.base import Candidates, Int64Array, UInt8Array, UInt32Array
    from matcher.index.match_index import MatchIndex

    #: Query rows `(H,)`, entry rows `(H,)` and distances `(H,)` of what was found.
    Found: TypeAlias = tuple[Int64Array, Int64Array, UInt32Array]

#: What is searched for where the caller does not say: bits, for PhotoDNA squared L2.
DEFAULT_THRESHOLDS: Mapping[HashKind, int] = {
    HashKind.PDQ: 31,
    **dict.fromkeys(CODE64_KINDS, 6),
    HashKind.PHOTODNA: 20_000,
}
#: A list with at most so many codes of a kind is compared code by code.
SMALL_LIST_CODES = 10_000
_BLOCK_CODES = 1 << 16
#: Queries asked at once: few at first and where they find much, as in a cluster.
_FIRST_QUERIES, _BATCH_QUERIES = 8, 64
_BATCH_FOUND = 1 << 20
_MAX_DIGESTS = 1 << 16
_BITS = 8
_MAX_VALUE = 255


@dataclass(frozen=True, slots=True)
class Comparison:
    """What comparing the codes of one kind and list gave.

    Attributes:
        kind: the kind.
        list_name: the list; empty for random codes, which are nobody's.
        codes: how many codes of that kind the list's entries carry.
        queries: how many were looked up.
        found: entries that the oracle found for them, over all queries.
        differing: queries whose answer was another than the oracle's.
    """

    kind: HashKind
    list_name: str
    codes: int
    queries: int
    found: int
    differing: int


def compare_with_oracles(
    index: MatchIndex,
    *,
    sample: int,
    seed: int | None = None,
    thresholds: Mapping[HashKind, int] | None = None,
    small: int = SMALL_LIST_CODES,
    progress: Callable[[int, int], None] = lambda _done, _total: None,
) -> Iterator[Comparison]:
    """Compares everything that the index answers from; see the module.

    Args:
        index: what is compared; what it hides is hidden from the oracles too.
        sample: codes looked up of each longer list and kind, and random codes of each kind.
        seed: of the random choices; None for another one each time.
        thresholds: by kind; `DEFAULT_THRESHOLDS` where a kind is absent.
        small: up to so many codes of a kind all of a list's are looked up.
        progress: told how many queries of how many of this comparison are done.

    Yields:
        One comparison for each kind and list that has codes of it, and one with random codes.
    """
    rng = np.random.default_rng(seed)
    limits = {**DEFAULT_THRESHOLDS, **(thresholds or {})}
    for kind in HashKind:
        codes = _Codes(index, kind)
        counts = codes.by_list()
        if not counts.any():
            continue
        threshold = 0 if kind.is_digest else limits[kind]
        compare = _Comparer(index, kind, threshold, progress)
        for row in np.flatnonzero(counts).tolist():
            name, count = index.lists[row].name, int(counts[row])
            if count <= small:
                queries = np.unique(codes.of_list(row).codes, axis=0)
                found, differing = compare.with_list(queries, row)
            else:
                exact = codes.take(
                    row, np.sort(rng.choice(count, min(sample, count), replace=False))
                )
                queries = np.concatenate([exact, _near_copies(kind, exact, threshold, rng)])
                found, differing = compare.with_all(queries)
            looked_up = len(queries)
            yield Comparison(kind, name, count, looked_up, found, differing)
        strangers = rng.integers(0, _MAX_VALUE + 1, (sample, kind.nbytes)).astype(np.uint8)
        yield Comparison(kind, "", 0, len(strangers), *compare.with_all(strangers))


@dataclass(frozen=True, slots=True)
class _Block:
    """Some codes, each once for every entry that carries it.

    Attributes:
        codes: `(K, nbytes) uint8`; empty where only rows were asked for.
        entry_rows: `(K,) int64`.
        list_rows: `(K,) uint16`.
    """

    codes: UInt8Array
    entry_rows: Int64Array
    list_rows: NDArray[np.uint16]


class _Codes:
    """The codes of one kind whose entries are not hidden."""

    def __init__(self, index: MatchIndex, kind: HashKind) -> None:
        self._index = index
        self._kind = kind

    def by_list(self) -> Int64Array:
        """How many there are, by list row."""
        lists = len(self._index.lists)
        counts = np.zeros(lists, np.int64)
        for block in self.blocks(with_codes=False):
            counts += np.bincount(block.list_rows, minlength=lists)
        return counts

    def of_list(self, row: int) -> _Block:
        """All of one list."""
        blocks = list(self.blocks(list_row=row))
        return _Block(
            np.concatenate([block.codes for block in blocks]),
            np.concatenate([block.entry_rows for block in blocks]),
            np.concatenate([block.list_rows for block in blocks]),
        )

    def take(self, row: int, chosen: Int64Array) -> UInt8Array:
        """Of one list those at places `chosen`, ascending, as `by_list` counts them."""
        taken, passed = [], 0
        for block in self.blocks(list_row=row):
            first, last = np.searchsorted(chosen, [passed, passed + len(block.codes)])
            taken.append(block.codes[chosen[first:last] - passed])
            passed += len(block.codes)
        return np.concatenate(taken)

    def blocks(self, *, list_row: int | None = None, with_codes: bool = True) -> Iterator[_Block]:
        """All of them, or those of one list, some at a time."""
        starts = self._index.entries.starts
        for start, segment in zip(starts, self._index.segments, strict=True):
            if self._kind not in segment.codes:
                continue
            offsets = segment.arrays[f"{self._kind}.{OFFSETS}"]
            rows = segment.arrays[f"{self._kind}.{ROWS}"]
            for first in range(0, len(rows), _BLOCK_CODES):
                entry_rows = rows[first : first + _BLOCK_CODES].astype(np.int64)
                list_rows = segment.entries.list_rows[entry_rows]
                seen = ~self._index.hidden.hides(entry_rows + start)
                if list_row is not None:
                    seen &= list_rows == list_row
                places = np.flatnonzero(seen).astype(offsets.dtype) if with_codes else offsets[:0]
                code_rows = (
                    np.searchsorted(offsets, places + offsets.dtype.type(first), "right") - 1
                )
                codes = _values(segment.arrays, self._kind, code_rows)
                yield _Block(codes, entry_rows[seen] + start, list_rows[seen])


def _values(arrays: Mapping[str, NDArray[Any]], kind: HashKind, rows: Int64Array) -> UInt8Array:
    """The codes at `rows`, put together again where they are kept in two parts."""
    if not kind.is_digest:
        codes: UInt8Array = arrays[f"{kind}.codes"][rows]
        return codes
    leads = arrays[f"{kind}.leads"][rows].astype(">u8").view(np.uint8).reshape(-1, 8)
    return np.concatenate([leads, arrays[f"{kind}.tails"][rows]], axis=1)


def _near_copies(
    kind: HashKind, codes: UInt8Array, threshold: int, rng: np.random.Generator
) -> UInt8Array:
    """Each code with 1 to `threshold` bits flipped; of digests and PhotoDNA one bit is."""
    near = codes.copy()
    most = min(threshold, codes.shape[1] * _BITS) if kind.is_perceptual_code else 1
    for row in range(len(near)):
        flips = int(rng.integers(1, max(most, 1) + 1))
        bits = rng.choice(codes.shape[1] * _BITS, flips, replace=False)
        np.bitwise_xor.at(near[row], bits // _BITS, (1 << (bits % _BITS)).astype(np.uint8))
    return near


class _Comparer:
    """Looks queries up in the index and with an oracle."""

    def __init__(
        self,
        index: MatchIndex,
        kind: HashKind,
        threshold: int,
        progress: Callable[[int, int], None],
    ) -> None:
        self._index = index
        self._kind = kind
        self._threshold = threshold
        self._progress = progress
        self._codes = _Codes(index, kind)

    def with_list(self, queries: UInt8Array, list_row: int) -> tuple[int, int]:
        """Compares what is found among the entries of one list; gives found and differing."""
        mine = self._codes.of_list(list_row)

        def only_mine(candidates: Candidates) -> Found:
            here = self._index.entries.take(candidates.entry_rows).list_rows == list_row
            return (
                candidates.query_rows[here],
                candidates.entry_rows[here],
                candidates.distances[here],
            )

        return self._compare(queries, lambda: iter([mine]), only_mine)

    def with_all(self, queries: UInt8Array) -> tuple[int, int]:
        """Compares everything that is found; gives found and differing."""
        return self._compare(
            queries, self._codes.blocks, lambda c: (c.query_rows, c.entry_rows, c.distances)
        )

    def _batch_size(self, done: int, found: int) -> int:
        """How many queries to ask at once, given how many found how much until now."""
        if self._kind.is_digest:  # one pass for all: a digest finds few
            return _MAX_DIGESTS
        few_found = _BATCH_FOUND * done // max(found, 1)
        return max(_FIRST_QUERIES, min(_BATCH_QUERIES, few_found))

    def _compare(
        self,
        queries: UInt8Array,
        blocks: Callable[[], Iterator[_Block]],
        chosen: Callable[[Candidates], Found],
    ) -> tuple[int, int]:
        found = differing = first = 0
        while first < len(queries):
            self._progress(first, len(queries))
            batch = queries[first : first + self._batch_size(first, found)]
            expected = _nearest(
                [_search(self._kind, block, batch, self._threshold) for block in blocks()]
            )
            answered = chosen(self._index.search(self._kind, batch, self._threshold))
            found += len(expected[0])
            differing += _differing_queries(expected, _sorted(answered))
            first += len(batch)
        self._progress(len(queries), len(queries))
        return found, differing


def _search(kind: HashKind, block: _Block, queries: UInt8Array, threshold: int) -> Found:
    """What the oracle of a kind finds in a block of codes."""
    if kind.is_digest:
        query_rows, code_rows, distances = _equal(block.codes, queries)
    elif kind is HashKind.PHOTODNA:
        query_rows, code_rows, distances = _within_l2(block.codes, queries, threshold)
    else:
        query_rows, code_rows, distances = _within_hamming(block.codes, queries, threshold)
    return query_rows, block.entry_rows[code_rows], distances


def _equal(codes: UInt8Array, queries: UInt8Array) -> Found:
    query_rows: dict[bytes, list[int]] = {}
    for row, query in enumerate(queries):
        query_rows.setdefault(query.tobytes(), []).append(row)
    values = np.ascontiguousarray(codes).view(f"V{codes.shape[1]}").ravel().tolist()
    hits = [
        (query_row, row)
        for row, value in enumerate(values)
        if value in query_rows
        for query_row in query_rows[value]
    ]
    pairs = np.array(hits, np.int64).reshape(-1, 2)
    return pairs[:, 0], pairs[:, 1], np.zeros(len(pairs), np.uint32)


def _within_hamming(codes: UInt8Array, queries: UInt8Array, threshold: int) -> Found:
    faiss.omp_set_num_threads(1)
    oracle = faiss.IndexBinaryFlat(codes.shape[1] * _BITS)
    oracle.add(np.ascontiguousarray(codes))
    # Its radius is strict.
    limits, distances, rows = oracle.range_search(np.ascontiguousarray(queries), threshold + 1)
    query_rows = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    return query_rows, rows.astype(np.int64), distances.astype(np.uint32)


def _within_l2(codes: UInt8Array, queries: UInt8Array, threshold: int) -> Found:
    # In float64 every sum is a whole number far below 2**53, so nothing is rounded.
    wide, asked = codes.astype(np.float64), queries.astype(np.float64)
    squared = (asked**2).sum(axis=1)[:, None] + (wide**2).sum(axis=1) - 2 * (asked @ wide.T)
    query_rows, code_rows = np.nonzero(squared <= threshold)
    return query_rows, code_rows, squared[query_rows, code_rows].astype(np.uint32)


def _nearest(parts: list[Found]) -> Found:
    """All that was found, each pair of query and entry once with its smallest distance."""
    queries = np.concatenate([np.empty(0, np.int64), *(part[0] for part in parts)])
    entries = np.concatenate([np.empty(0, np.int64), *(part[1] for part in parts)])
    distances = np.concatenate([np.empty(0, np.uint32), *(part[2] for part in parts)])
    queries, entries, distances = _sorted((queries, entries, distances))
    first = np.ones(len(queries), np.bool_)
    first[1:] = (queries[1:] != queries[:-1]) | (entries[1:] != entries[:-1])
    return queries[first], entries[first], distances[first]


def _sorted(found: Found) -> Found:
    queries, entries, distances = found
    order = np.lexsort((distances, entries, queries))
    return queries[order], entries[order], distances[order]


def _differing_queries(expected: Found, answered: Found) -> int:
    """How many queries were answered otherwise; both are sorted."""
    pairs: Iterator[tuple[NDArray[Any], NDArray[Any]]] = zip(expected, answered, strict=True)
    if all(np.array_equal(one, other) for one, other in pairs):
        return 0
    wanted = set(zip(*(each.tolist() for each in expected), strict=True))
    given = set(zip(*(each.tolist() for each in answered), strict=True))
    repeated = len(answered[0]) - len(given)
    return max(len({query for query, *_ in wanted ^ given}), min(repeated, 1))


__all__ = ["DEFAULT_THRESHOLDS", "SMALL_LIST_CODES", "Comparison", "compare_with_oracles"]
