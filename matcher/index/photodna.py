"""Exact squared Euclidean distance between PhotoDNA hashes (144 values of 0..255).

Hashwarden computes no PhotoDNA; callers send theirs. A scan over the mapped bytes in two stages:

1. A lower bound. Cut the 144 values into 16 groups of 9; for the sums `S` of the groups,
   `sum((S_x - S_y)^2) <= 9 * d(x, y)` (Cauchy and Schwarz), so what exceeds `9 * threshold` there
   cannot be a hit. One matrix product of 17 columns does it for a block of hashes.
2. The distance of what is left, in integers. Where much is left (wide thresholds, clusters of
   near-duplicates) a matrix product over the block's values does the same at a bounded cost.

Why float32 is exact in the second product: values are shifted to -128..127, which leaves distances
alone. Then `|y|^2 <= 144 * 128^2 < 2^22`, and the product `x . y - |y|^2 / 2`, with the half norm
as a 145th column, is a sum of halves whose every partial sum, in any order and with or without
fused operations, stays below 2^23: float32 holds halves exactly there. The distance is `|x|^2` less
twice that product. (Unshifted, as in FAISS' BLAS path, norms add up past 2^24 and results are off
by one.) The first product's sums reach 2^25; its rounding is below 21 and `_SLACK` covers it.

Sums are kept as 16-bit integers and half norms as float32: 36 bytes a hash, mapped in a sealed
index like the 144 of the hash itself. FAISS' `IndexFlatL2` is an oracle in the tests; it needs 576
bytes a hash in every process.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hashlists.model import HashKind
from matcher.index.base import Hits, Int64Array, UInt8Array, UInt32Array, check_queries
from matcher.index.collect import HitCollector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Float32Array: TypeAlias = NDArray[np.float32]
    Int16Array: TypeAlias = NDArray[np.int16]

VALUES = HashKind.PHOTODNA.nbytes
MAX_DISTANCE = VALUES * 255 * 255
_GROUP = 9
_GROUPS = VALUES // _GROUP
_CENTRE = np.float32(128)
_CENTRE_OF_SUMS = np.int16(_GROUP * _CENTRE)
_SAMPLES = 1024
#: Rounding of the first product, in units of the product, doubled and rounded up.
_SLACK = 48
_BLOCK_ROWS = 4096  # hashes a block: 2.4 MB as float32
_BLOCK_QUERIES = 64
_PAIRS = 1 << 14  # pairs of hashes whose difference is held at a time
#: Past one pair a hash and this share of a block's pairs, a matrix product beats gathering pairs.
_DENSE_SHARE = 1 / 24
#: OpenBLAS divides among threads what is larger: multiplications, and elements of a matrix that is
#: multiplied by one vector.
_MAX_PRODUCT = 1 << 18
_MAX_MATRIX = 9216


class PhotoDnaIndex:
    """An exact index of PhotoDNA hashes by squared Euclidean distance.

    Args:
        codes: `(N, 144) uint8`; not copied, never to be changed.
        sums, half_norms: what `bound_arrays` made of the codes; made here where they are not given.

    Raises:
        ValueError: an array has another dtype or shape, or is not that of the codes, as far as
            samples tell; names the array.
    """

    def __init__(
        self,
        codes: UInt8Array,
        *,
        sums: Int16Array | None = None,
        half_norms: Float32Array | None = None,
    ) -> None:
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != VALUES:  # noqa: PLR2004  # rows and bytes
            raise ValueError(f"photodna.codes has shape (N, {VALUES}) and dtype uint8")
        if sums is None or half_norms is None:
            sums, half_norms = bound_arrays(codes)
        else:
            _check_bound_arrays(codes, sums, half_norms)
        self._codes = codes
        self._sums = sums
        self._half_norms = half_norms

    @property
    def kind(self) -> HashKind:
        """PhotoDNA."""
        return HashKind.PHOTODNA

    def __len__(self) -> int:
        return len(self._codes)

    def search(self, queries: UInt8Array, threshold: int) -> Hits:
        """Finds every hash at a squared distance of at most `threshold`; see `CodeIndex.search`."""
        queries, threshold = check_queries(HashKind.PHOTODNA, queries, threshold)
        threshold = min(threshold, MAX_DISTANCE)
        collector = HitCollector(np.uint32)
        bounds = np.empty((_BLOCK_ROWS, _GROUPS + 1), np.float32)
        for first_query in range(0, len(queries), _BLOCK_QUERIES):
            batch = _Queries(queries[first_query : first_query + _BLOCK_QUERIES], threshold)
            for first_code in range(0, len(self._codes), _BLOCK_ROWS):
                block = slice(first_code, first_code + _BLOCK_ROWS)
                codes = self._codes[block]
                part = bounds[: len(codes)]
                part[:, :_GROUPS] = self._sums[block]
                part[:, _GROUPS] = self._half_norms[block]
                hits = batch.search(codes, part)
                if hits is not None:
                    query_rows, code_rows = hits.query_rows + first_query, hits.code_rows
                    collector.add(query_rows, code_rows + first_code, hits.distances)
        return collector.hits()


def bound_arrays(codes: UInt8Array) -> tuple[Int16Array, Float32Array]:
    """What the lower bound needs of hashes `(N, 144) uint8`.

    Returns:
        Sums of groups of values shifted to -128..127, `(N, 16) int16`, and minus half the squared
        length of these sums, `(N,) float32`.
    """
    sums = np.empty((len(codes), _GROUPS), np.int16)
    half_norms = np.empty(len(codes), np.float32)
    for start in range(0, len(codes), _BLOCK_ROWS):
        block = slice(start, start + _BLOCK_ROWS)
        grouped = codes[block].reshape(-1, _GROUPS, _GROUP)
        grouped.sum(axis=2, dtype=np.int16, out=sums[block])
        sums[block] -= _CENTRE_OF_SUMS
        half_norms[block] = _norms(sums[block].astype(np.float64)) / -2
    return sums, half_norms


def _check_bound_arrays(codes: UInt8Array, sums: Int16Array, half_norms: Float32Array) -> None:
    """Refuses arrays that are not those of the codes: a search would miss in silence."""
    if sums.dtype != np.int16 or sums.shape != (len(codes), _GROUPS):
        raise ValueError(f"photodna.sums has shape ({len(codes)}, {_GROUPS}) and dtype int16")
    if half_norms.dtype != np.float32 or half_norms.shape != (len(codes),):
        raise ValueError(f"photodna.half_norms has shape ({len(codes)},) and dtype float32")
    if len(codes):
        places = np.unique(np.linspace(0, len(codes) - 1, _SAMPLES).astype(np.int64))
        sampled_sums, sampled_half_norms = bound_arrays(codes[places])
        if (sampled_sums != sums[places]).any():
            raise ValueError("photodna.sums are not those of the codes")
        if (sampled_half_norms != half_norms[places]).any():
            raise ValueError("photodna.half_norms are not those of the sums")


class _Queries:
    """A batch of queries in the forms that both stages need."""

    def __init__(self, queries: UInt8Array, threshold: int) -> None:
        self._queries = queries
        self._threshold = threshold
        values = _centred(queries)
        self._norms = _norms(values)
        self._values = np.ascontiguousarray(_with_one(values).T)
        self._half = ((self._norms - threshold) / 2).astype(np.float32)
        sums = _group_sums(values)
        self._sums = np.ascontiguousarray(_with_one(sums).T)
        # In float64: these norms pass 2^24.
        reach = np.float64(_GROUP) * threshold
        norms = _norms(sums.astype(np.float64))
        self._bound = ((norms - reach) / 2 - _SLACK).astype(np.float32)

    def search(self, codes: UInt8Array, sums: Float32Array) -> Hits | None:
        """Hits among one block of hashes; None where the lower bound leaves nothing."""
        maybe = _product(sums, self._sums) >= self._bound
        pairs = np.count_nonzero(maybe)
        if not pairs:
            return None
        if pairs > len(codes) + _DENSE_SHARE * maybe.size:
            return self._by_product(codes)
        code_rows, query_rows = _places(maybe)
        return self._by_pairs(codes, query_rows, code_rows)

    def _by_product(self, codes: UInt8Array) -> Hits:
        values = _centred(codes)
        product = _product(_with_half_norm(values, _norms(values)), self._values)
        code_rows, query_rows = _places(product >= self._half)
        distances = self._norms[query_rows] - 2 * product[code_rows, query_rows].astype(np.float64)
        return Hits(query_rows, code_rows, distances.astype(np.uint32))

    def _by_pairs(self, codes: UInt8Array, query_rows: Int64Array, code_rows: Int64Array) -> Hits:
        distances = np.empty(len(query_rows), np.uint32)
        for start in range(0, len(query_rows), _PAIRS):
            pairs = slice(start, start + _PAIRS)
            distances[pairs] = _distances(
                self._queries[query_rows[pairs]],
                codes[code_rows[pairs]],
            )
        near = distances <= self._threshold
        return Hits(query_rows[near], code_rows[near], distances[near])


def _product(rows: Float32Array, columns: Float32Array) -> Float32Array:
    """`rows (N, K) @ columns (K, Q)`, as a stack of products so small that BLAS starts no thread.

    On a busy machine its threads wait for each other: products of 0.1 ms took 20 ms.
    """
    count, inner = rows.shape
    queries = columns.shape[1]
    step = max(1, min(_MAX_PRODUCT // (inner * queries), _MAX_MATRIX // inner))
    whole = count // step * step
    product = np.empty((count, queries), np.float32)
    stack = rows[:whole].reshape(-1, step, inner)
    np.matmul(stack, columns, out=product[:whole].reshape(-1, step, queries))
    np.matmul(rows[whole:], columns, out=product[whole:])
    return product


def _places(mask: NDArray[np.bool_]) -> tuple[Int64Array, Int64Array]:
    """`np.nonzero` of two axes, several times as fast where little is set."""
    rows, columns = np.divmod(np.flatnonzero(mask), mask.shape[1])
    return rows, columns


def _distances(first: UInt8Array, second: UInt8Array) -> UInt32Array:
    """Squared distances `(P,) uint32` of pairs of hashes, in integers."""
    difference = first.astype(np.int32) - second
    squared: UInt32Array = np.einsum("pv,pv->p", difference, difference).astype(np.uint32)
    return squared


def _centred(codes: UInt8Array) -> Float32Array:
    return np.subtract(codes, _CENTRE, dtype=np.float32)


def _group_sums(values: Float32Array) -> Float32Array:
    """`(N, 144)` -> `(N, 16)`; whole numbers of at most 1152, so exact."""
    sums: Float32Array = values.reshape(len(values), _GROUPS, _GROUP).sum(axis=2)
    return sums


def _norms(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Squared lengths; exact in float32 for centred values, which stay below 2^22."""
    norms: NDArray[np.float64] = np.einsum("nv,nv->n", rows, rows).astype(np.float64)
    return norms


def _with_half_norm(rows: Float32Array, norms: NDArray[np.float64]) -> Float32Array:
    """Appends `-|row|^2 / 2`, the partner of the 1 that `_with_one` appends."""
    half = (norms / -2).astype(np.float32)
    return np.concatenate([rows, half[:, np.newaxis]], axis=1)


def _with_one(rows: Float32Array) -> Float32Array:
    return np.concatenate([rows, np.ones((len(rows), 1), np.float32)], axis=1)


__all__ = ["MAX_DISTANCE", "VALUES", "PhotoDnaIndex", "bound_arrays"]
