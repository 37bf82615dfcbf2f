"""Exact search of 256-bit codes by multi-index hashing, over arrays that are mapped from files.

A code is cut into chunks, from its first bit on; bits left over at the end belong to none. A chunk
is two arrays: `offsets (2^bits + 1,) uint32`, where the codes of each key start, and
`rows (N,) uint32`, the code rows in the order of their keys. Codes are sorted by their bytes, so
they stand in the order of the first chunk already: its rows would be `0, 1, 2, ...` and are left
out. `cost` says which keys a search has to probe so that nothing is missed, and when not to.

Bounded on skewed data: candidates are counted before they are gathered. A query with more of them
than the exact scan is worth is scanned; the rest are compared in pieces. Working memory stays below
about 40 MB a search of ten million codes and 130 MB of any number; hits come on top.

Read-only after it was made. What it holds is checked so far that a search can neither crash nor
read elsewhere; that each row stands under its own key is checked in samples (`check`), since the
snapshot's digests vouch for the bytes.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby
from operator import ge
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from hashlists.model import HashKind
from matcher.index.base import (
    Hits,
    Int64Array,
    UInt8Array,
    UInt32Array,
    check_queries,
    expand_ranges,
)
from matcher.index.collect import HitCollector
from matcher.index.cost import (
    CODE_BITS,
    MAX_PROBES,
    MEASURED,
    ProbePlan,
    SearchCost,
    plan_probes,
)
from matcher.index.flat import FlatIndex

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    UInt64Array: TypeAlias = NDArray[np.uint64]

_CODE_BYTES = CODE_BITS // 8
#: Offsets of a chunk of so many bits take 1 GiB.
MAX_CHUNK_BITS = 28
#: Probes made and candidates compared at a time: what they take stays in second-level cache.
_BLOCK_PROBES = 1 << 15
_PIECE = 1 << 14
#: A query with more candidates than this is handled by itself, so that hits of a block stay few.
_MANY_CANDIDATES = 1 << 14
#: A hit of a block is one integer, so that sorting finds the repeated: query, row, distance.
_QUERY_SHIFT = np.uint64(40)
_ROW_SHIFT = np.uint64(8)
_ROW_MASK = np.uint64(2**32 - 1)
_DISTANCE_MASK = np.uint64(255)
#: The codes of a key lie between its offset and the next.
_THIS_AND_NEXT = np.array([0, 1])
_SAMPLES = 1024
_CHECKED = 1 << 18  # elements checked at a time


@dataclass(frozen=True, slots=True)
class Chunk:
    """Codes in the order of some of their bits.

    Attributes:
        start: first bit of the key.
        bits: width of the key.
        offsets: `(2^bits + 1,) uint32`, where the codes of each key start.
        rows: `(N,) uint32`, code rows in the order of their keys; None: the order of the codes.
    """

    start: int
    bits: int
    offsets: UInt32Array = field(repr=False)
    rows: UInt32Array | None = field(repr=False)


class MultiIndex:
    """An exact index of PDQ codes.

    Args:
        codes: `(N, 32) uint8`, C-contiguous, distinct and sorted by their bytes; not copied, never
            to be changed.
        chunks: as `build_chunks` makes them.
        cost: what decides between probing and scanning.

    Raises:
        ValueError: the codes have another dtype, shape, layout or alignment.
    """

    def __init__(
        self,
        codes: UInt8Array,
        chunks: Sequence[Chunk],
        *,
        cost: SearchCost = MEASURED,
    ) -> None:
        self._flat = FlatIndex(HashKind.PDQ, codes)
        self._codes = codes
        self._words = codes.view(np.uint64)
        if not self._words.flags.aligned:
            raise ValueError("PDQ codes must start at an address that 8 divides")
        self._chunks = tuple(chunks)
        self._bits = tuple(chunk.bits for chunk in chunks)
        self._cost = cost
        self._probings: dict[tuple[int, ...], _Probing] = {}

    @property
    def kind(self) -> HashKind:
        """PDQ."""
        return HashKind.PDQ

    def __len__(self) -> int:
        return len(self._codes)

    def search(self, queries: UInt8Array, threshold: int) -> Hits:
        """Finds every code within `threshold` bits; see `CodeIndex.search`."""
        queries, threshold = check_queries(HashKind.PDQ, queries, threshold)
        threshold = min(threshold, CODE_BITS)
        collector = HitCollector(np.uint16)
        scanned = np.arange(len(queries))
        plan = self._plan(len(queries), threshold)
        if plan is not None:
            probing = self._probing(plan)
            limit = self._cost.most_candidates(len(self))
            scanned = _Search(self._words, probing, limit, threshold, collector).run(queries)
        if len(scanned):
            self._flat.collect(queries[scanned], scanned, threshold, collector)
        return collector.hits()

    def _probing(self, plan: ProbePlan) -> _Probing:
        found = self._probings.get(plan.radii)
        if found is None:
            found = self._probings[plan.radii] = _Probing(self._chunks, plan.radii)
        return found

    def _plan(self, queries: int, threshold: int) -> ProbePlan | None:
        """What to probe, or None where scanning all codes is cheaper for the whole batch."""
        count = len(self._codes)
        if not queries or not count:
            return None
        plan = _plan_probes(self._bits, count, threshold, self._cost)
        saturated = any(map(ge, plan.radii, self._bits))  # a chunk would find every code
        if saturated or plan.probes > MAX_PROBES:
            return None
        probing = self._cost.probing(plan, queries)
        return plan if probing < self._cost.scan(count, queries) else None


class _Probing:
    """What all searches have in common that probe the same keys of an index.

    Attributes:
        used: the chunks that are probed, each with the bits to flip in its keys.
        alike: runs of them that have the same bits to flip, with those.
        reader: reads the keys of those.
        masks: `(chunks,) int64`, how many keys of each are probed for a query.
        probes: how many that are in all.
    """

    def __init__(self, chunks: Sequence[Chunk], radii: Sequence[int]) -> None:
        self.used = [
            (chunk, flip_masks(chunk.bits, radius))
            for chunk, radius in zip(chunks, radii, strict=True)
            if radius >= 0
        ]
        self.alike = list(_alike(self.used))
        self.reader = _KeyReader([chunk for chunk, _ in self.used])
        self.masks = np.array([len(masks) for _, masks in self.used])
        self.probes = int(self.masks.sum())


def _alike(used: Sequence[tuple[Chunk, Int64Array]]) -> Iterator[tuple[slice, Int64Array]]:
    start = 0
    for _, run in groupby(used, key=lambda each: id(each[1])):  # masks are made once
        chunks = list(run)
        yield slice(start, start + len(chunks)), chunks[0][1]
        start += len(chunks)


class _Search:
    """One search by chunks."""

    def __init__(
        self,
        words: UInt64Array,
        probing: _Probing,
        limit: int,
        threshold: int,
        collector: HitCollector,
    ) -> None:
        self._words = words
        self._probing = probing
        self._limit = limit
        self._threshold = np.uint32(threshold)
        self._collector = collector

    def run(self, queries: UInt8Array) -> Int64Array:
        """Collects hits; returns the rows of queries that are to be scanned instead."""
        left: list[Int64Array] = []
        step = max(1, _BLOCK_PROBES // self._probing.probes)
        for first in range(0, len(queries), step):
            rows = np.arange(first, min(first + step, len(queries)))
            candidates = self._count(queries[rows])
            totals = candidates.groups.sum(axis=0)
            few = totals <= min(_MANY_CANDIDATES, self._limit)
            alone = ~few & (totals <= self._limit)
            left.append(rows[totals > self._limit])
            if few.all() or (len(rows) == 1 and alone.all()):
                self._compare(queries[rows], rows, candidates)
                continue
            for some in (rows[few], *rows[alone].reshape(-1, 1)):
                if len(some):
                    self._compare(queries[some], some, self._count(queries[some]))
        return np.concatenate(left)

    def _count(self, queries: UInt8Array) -> _Candidates:
        """Where the candidates of a few queries stand in the chunks; reads offsets only."""
        used = self._probing.used
        keys = self._probing.reader.read(queries)
        bounds = np.empty((len(queries) * self._probing.probes, 2), np.uint32)
        at = 0
        for part, masks in self._probing.alike:
            probed = (keys[part, :, np.newaxis] ^ masks).reshape(part.stop - part.start, -1, 1)
            for (chunk, _), each in zip(used[part], probed + _THIS_AND_NEXT, strict=True):
                stop = at + len(each)
                np.take(chunk.offsets, each, out=bounds[at:stop], mode="clip")  # without a buffer
                at = stop
        starts = bounds[:, 0].astype(np.int64)
        by_probe = _Runs(starts, bounds[:, 1] - starts)
        last = self._probing.masks.repeat(len(queries)).cumsum() - 1
        groups = by_probe.ends[last]
        groups[1:] -= groups[:-1].copy()
        return _Candidates(by_probe, groups.reshape(len(used), len(queries)))

    def _compare(self, queries: UInt8Array, rows: Int64Array, candidates: _Candidates) -> None:
        """Fetches the candidates of a few queries and collects those within the threshold."""
        words = queries.view(np.uint64)
        owners = np.arange(candidates.groups.size) % len(queries)
        found: list[UInt64Array] = []
        of_chunks = np.cumsum(candidates.groups.sum(axis=1)).tolist()
        by_query = _Runs(owners, candidates.groups.ravel())
        for first in range(0, by_query.total, _PIECE):
            last = min(first + _PIECE, by_query.total)
            places = candidates.by_probe.expand(first, last)
            codes = self._rows_at(places, first, of_chunks)
            query = by_query.repeat(first, last)
            different = np.take(self._words, codes, axis=0)
            np.bitwise_xor(different, np.take(words, query, axis=0), out=different)
            distances = _bits_set(different)
            near = np.flatnonzero(distances <= self._threshold)
            if len(near):
                found.append(_packed(query[near], codes[near], distances[near]))
        if found:
            hits = _distinct(np.concatenate(found))
            self._collector.add(
                rows[hits >> _QUERY_SHIFT],
                (hits >> _ROW_SHIFT) & _ROW_MASK,
                hits & _DISTANCE_MASK,
            )

    def _rows_at(self, places: Int64Array, first: int, ends: Sequence[int]) -> NDArray[Any]:
        """Code rows at places of chunks; candidate `first + i` belongs to the chunk it ends in."""
        rows = np.empty(len(places), np.int64)
        start = 0
        for (chunk, _), end in zip(self._probing.used, ends, strict=True):
            stop = min(end - first, len(places))
            if stop > start:
                part = places[start:stop]
                rows[start:stop] = part if chunk.rows is None else np.take(chunk.rows, part)
                start = stop
        return rows


@dataclass(frozen=True, slots=True)
class _Candidates:
    """Where the candidates of `Q` queries stand, chunk by chunk, query by query, key by key.

    Attributes:
        by_probe: a run for each probed key: its first place in its chunk, how many codes have it.
        groups: `(chunks, Q)`, how many candidates a chunk holds for a query.
    """

    by_probe: _Runs
    groups: Int64Array


class _Runs:
    """A sequence that consists of runs, of which any piece can be written out.

    Attributes:
        ends: where each run ends in the sequence.
        total: its length.
    """

    def __init__(self, values: Int64Array, counts: Int64Array) -> None:
        self._values = values
        self._counts = counts
        self.ends = np.cumsum(counts)
        self.total = int(self.ends[-1])

    def repeat(self, first: int, last: int) -> Int64Array:
        """Elements `first` to `last` of the values, each repeated as often as its run is long."""
        values, counts, _ = self._piece(first, last)
        return np.repeat(values, counts)

    def expand(self, first: int, last: int) -> Int64Array:
        """The same where a run counts up from its value."""
        values, counts, skipped = self._piece(first, last)
        if skipped:
            values = values.copy()
            values[0] += skipped
        return expand_ranges(values, counts)

    def _piece(self, first: int, last: int) -> tuple[Int64Array, Int64Array, int]:
        """Runs that a piece touches, cut to it, and what is cut off the first of them."""
        if first == 0 and last == self.total:
            return self._values, self._counts, 0
        low = int(np.searchsorted(self.ends, first, side="right"))
        high = int(np.searchsorted(self.ends, last, side="left")) + 1
        counts = self._counts[low:high].copy()
        skipped = first - int(self.ends[low] - counts[0])
        counts[-1] -= int(self.ends[high - 1]) - last
        counts[0] -= skipped
        return self._values[low:high], counts, skipped


class _KeyReader:
    """Reads the keys of several chunks at once, since a single query is mostly such overhead."""

    def __init__(self, chunks: Sequence[Chunk]) -> None:
        starts = np.array([chunk.start for chunk in chunks])
        bits = np.array([chunk.bits for chunk in chunks])
        first = np.minimum(starts // 8, _CODE_BYTES - 8)
        self._bytes = first[:, np.newaxis] + np.arange(8)
        self._shifts = (64 - bits - (starts - 8 * first)).astype(np.uint64)[:, np.newaxis]
        self._masks = (2**bits - 1).astype(np.uint64)[:, np.newaxis]

    def read(self, queries: UInt8Array) -> Int64Array:
        """Keys `(chunks, Q) int64`."""
        words = np.take(queries, self._bytes, axis=1).view(">u8")[:, :, 0]
        keys = words.T.astype(np.uint64, order="C")
        keys >>= self._shifts
        keys &= self._masks
        signed: Int64Array = keys.view(np.int64)
        return signed


# --------------------------------------------------------------------------------------- building


def build_chunks(codes: UInt8Array, chunk_bits: Sequence[int]) -> Iterator[Chunk]:
    """Makes the chunks of codes one after the other.

    Sorting `key << 32 | row` is all of it: about a second for ten million codes.

    Args:
        codes: `(N, 32) uint8`, distinct and sorted by their bytes, fewer than 2^32.
        chunk_bits: width of each chunk, at most 256 in all.
    """
    start = 0
    for bits in chunk_bits:
        keys = chunk_keys(codes, start, bits)
        rows: UInt32Array | None = None
        if start:
            keys <<= np.uint64(32)
            keys |= np.arange(len(codes), dtype=np.uint64)
            keys.sort()
            rows = keys.astype(np.uint32)
            keys >>= np.uint64(32)
        yield Chunk(start, bits, _offsets(keys, bits), rows)
        start += bits


def _offsets(keys: UInt64Array, bits: int) -> UInt32Array:
    """Where each of the `2^bits` keys starts among sorted keys."""
    counts = np.bincount(keys.view(np.int64), minlength=2**bits)
    offsets = np.zeros(len(counts) + 1, np.uint32)
    np.cumsum(counts, out=offsets[1:])
    return offsets


def chunk_keys(codes: UInt8Array, start: int, bits: int) -> UInt64Array:
    """Bits `start` to `start + bits` of each code, the first bit the highest, `(N,) uint64`."""
    byte = min(start // 8, _CODE_BYTES - 8)
    keys = np.ascontiguousarray(codes[:, byte : byte + 8]).view(">u8").ravel().astype(np.uint64)
    keys >>= np.uint64(64 - bits - (start - 8 * byte))
    keys &= np.uint64(2**bits - 1)
    return keys


# --------------------------------------------------------------------------------------- checking


def check(codes: UInt8Array, chunks: Sequence[Chunk]) -> None:
    """Refuses chunks that are not those of the codes.

    Passes over each array once, in blocks, and compares keys in samples.

    Raises:
        ValueError: names the array.
    """
    for number, chunk in enumerate(chunks):
        name = chunk_name(number)
        _check_offsets(chunk, len(codes), f"{name}_offsets")
        if chunk.rows is not None:
            _check_rows(chunk.rows, len(codes), f"{name}_rows")
        _check_keys(codes, chunk, f"{name}_offsets" if chunk.rows is None else f"{name}_rows")


def chunk_name(number: int) -> str:
    """What the names of a chunk's arrays start with."""
    return f"chunk{number:02d}"


def _check_offsets(chunk: Chunk, count: int, name: str) -> None:
    offsets = chunk.offsets
    if offsets.dtype != np.uint32 or offsets.shape != (2**chunk.bits + 1,):
        raise ValueError(f"{name} has shape ({2**chunk.bits + 1},) and dtype uint32")
    if offsets[0] != 0 or offsets[-1] != count:
        raise ValueError(f"{name} does not lead from 0 to the {count} codes")
    for start in range(0, len(offsets) - 1, _CHECKED):
        block = offsets[start : start + _CHECKED + 1]
        if (block[1:] < block[:-1]).any():
            raise ValueError(f"{name} does not ascend")


def _check_rows(rows: UInt32Array, count: int, name: str) -> None:
    if rows.dtype != np.uint32 or rows.shape != (count,):
        raise ValueError(f"{name} has shape ({count},) and dtype uint32")
    total = 0
    for start in range(0, count, _CHECKED):
        block = rows[start : start + _CHECKED]
        if int(block.max()) >= count:
            raise ValueError(f"{name} refers to row {int(block.max())} of {count}")
        total += int(block.sum(dtype=np.uint64))
    if total != count * (count - 1) // 2:
        raise ValueError(f"{name} does not hold each row once")


def _check_keys(codes: UInt8Array, chunk: Chunk, name: str) -> None:
    """Whether codes stand under their own keys, at places spread evenly."""
    if not len(codes):
        return
    places = np.unique(np.linspace(0, len(codes) - 1, _SAMPLES).astype(np.int64))
    rows = places if chunk.rows is None else chunk.rows[places]
    keys = chunk_keys(codes[rows], chunk.start, chunk.bits).view(np.int64)
    if (places < chunk.offsets[keys]).any() or (places >= chunk.offsets[keys + 1]).any():
        raise ValueError(f"{name} is not in the order of the codes")


# ------------------------------------------------------------------------------------------ small


_plan_probes = lru_cache(maxsize=256)(plan_probes)


@lru_cache(maxsize=32)
def flip_masks(bits: int, radius: int) -> Int64Array:
    """All numbers of `bits` bits with at most `radius` bits set, ascending, read-only.

    Ascending, so that keys probed one after the other stand close together.
    """
    weight = np.zeros(1, np.int64)
    weights = [weight]
    for _ in range(radius):
        # A number with one bit more: a highest bit, and below it a number of the last round.
        weight = np.concatenate(
            [weight[: np.searchsorted(weight, 1 << top)] | (1 << top) for top in range(bits)],
        )
        weights.append(weight)
    masks = np.sort(np.concatenate(weights))
    masks.flags.writeable = False
    return masks


def _bits_set(words: UInt64Array) -> UInt32Array:
    """Bits set in each row of four words; a row with all 256 set would give 0.

    No candidate has that: it was found in a chunk that differs in fewer bits than it has.
    """
    counts = np.bitwise_count(words).view(np.uint32).ravel()
    counts *= np.uint32(0x01010101)  # the highest byte becomes the sum of the four
    counts >>= np.uint32(24)
    return counts


def _packed(query: Int64Array, codes: Int64Array, distances: UInt32Array) -> UInt64Array:
    packed = query.astype(np.uint64) << _QUERY_SHIFT
    packed |= codes.astype(np.uint64) << _ROW_SHIFT
    packed |= distances
    return packed


def _distinct(packed: UInt64Array) -> UInt64Array:
    """Sorts in place and leaves out repetitions: a code is found in several chunks."""
    packed.sort()
    first = np.ones(len(packed), np.bool_)
    np.not_equal(packed[1:], packed[:-1], out=first[1:])
    return packed[first]


__all__ = [
    "MAX_CHUNK_BITS",
    "Chunk",
    "MultiIndex",
    "build_chunks",
    "check",
    "chunk_keys",
    "chunk_name",
    "flip_masks",
]
