"""Exact scan by Hamming distance: for PDQ and the 64-bit kinds.

Runs the kernel of FAISS' `IndexBinaryFlat` (`hamming_range_search`) straight over the mapped
codes, since an `IndexBinaryFlat` would hold a copy of them in every process. Codes are scanned in
blocks that stay in cache for all queries of a batch, and that bound what one call of the kernel can
find. `IndexBinaryFlat` itself is an oracle in the tests.

Two facts of FAISS that the code rests on, each tested:

* Its radius is strict (`distance < radius`); ours is inclusive, hence `threshold + 1`.
* The number of OpenMP threads is set for the calling thread only, hence on every search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import faiss
import numpy as np

from matcher.index.base import Hits, Int64Array, UInt8Array, UInt32Array, check_queries
from matcher.index.collect import HitCollector

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from hashlists.model import HashKind

#: Looked up by name: the stubs of FAISS leave it out.
_hamming_range_search: Callable[..., None] = vars(faiss)["hamming_range_search"]
#: Codes scanned by all queries before the next block: fits the second-level cache.
_BLOCK_BYTES = 1 << 20
#: With fewer queries there is nothing to keep in cache for.
_MIN_QUERIES_TO_BLOCK = 4
#: Queries scanned together, and pairs compared in one call of the kernel. If all of them are hits,
#: FAISS takes 24 bytes for each meanwhile, 50 MB in all.
_MAX_QUERIES = 128
_MAX_PAIRS = 1 << 21


class FlatIndex:
    """An exact index that compares a query with every code.

    Args:
        kind: PDQ or a 64-bit kind.
        codes: `(N, kind.nbytes) uint8`, C-contiguous; not copied, never to be changed.

    Raises:
        ValueError: the codes have another dtype, shape or layout, or the kind is not one of bits.
    """

    def __init__(self, kind: HashKind, codes: UInt8Array) -> None:
        if not kind.is_perceptual_code:
            raise ValueError(f"{kind} is not compared by Hamming distance")
        if codes.dtype != np.uint8 or codes.ndim != 2 or codes.shape[1] != kind.nbytes:  # noqa: PLR2004  # rows and bytes
            raise ValueError(f"{kind} codes have shape (N, {kind.nbytes}) and dtype uint8")
        if not codes.flags.c_contiguous:
            raise ValueError(f"{kind} codes must be C-contiguous")
        self._kind = kind
        self._codes = codes

    @property
    def kind(self) -> HashKind:
        """The kind of its codes."""
        return self._kind

    def __len__(self) -> int:
        return len(self._codes)

    def search(self, queries: UInt8Array, threshold: int) -> Hits:
        """Finds every code within `threshold` bits; see `CodeIndex.search`."""
        queries, threshold = check_queries(self._kind, queries, threshold)
        collector = HitCollector(np.uint16)
        self.collect(queries, np.arange(len(queries)), threshold, collector)
        return collector.hits()

    def collect(
        self,
        queries: UInt8Array,
        query_rows: NDArray[Any],
        threshold: int,
        collector: HitCollector,
    ) -> None:
        """Searches as `search` does, for queries that were checked, into a collector.

        Args:
            queries: `(Q, kind.nbytes) uint8`, C-contiguous.
            query_rows: `(Q,)` integers, the rows under which their hits are collected.
            threshold: bits, 0 or more.
            collector: takes the hits.
        """
        radius = min(threshold, 8 * self._kind.nbytes) + 1
        faiss.omp_set_num_threads(1)
        for first in range(0, len(queries), _MAX_QUERIES):
            batch = slice(first, first + _MAX_QUERIES)
            step = self._block_rows(len(queries[batch]))
            for start in range(0, len(self._codes), step):
                found = _scan(queries[batch], self._codes[start : start + step], radius)
                if found is not None:
                    counts, code_rows, distances = found
                    code_rows += np.uint32(start)
                    collector.add(np.repeat(query_rows[batch], counts), code_rows, distances)

    def _block_rows(self, queries: int) -> int:
        rows = _MAX_PAIRS // queries
        if queries < _MIN_QUERIES_TO_BLOCK:
            return rows
        return min(rows, _BLOCK_BYTES // self._kind.nbytes)


def _scan(
    queries: UInt8Array,
    codes: UInt8Array,
    radius: int,
) -> tuple[Int64Array, UInt32Array, NDArray[np.uint16]] | None:
    """One call of the kernel, which releases the GIL.

    Returns:
        How many codes each query found, their rows, their distances; None where no query found any.
    """
    result = faiss.RangeSearchResult(len(queries))
    _hamming_range_search(
        faiss.swig_ptr(queries),
        faiss.swig_ptr(codes),
        len(queries),
        len(codes),
        radius,
        codes.shape[1],
        result,
    )
    # The views below die with `result`, so each is copied.
    limits = faiss.rev_swig_ptr(result.lims, len(queries) + 1).astype(np.int64)
    count = int(limits[-1])
    if count == 0:
        return None
    return (
        np.diff(limits),
        faiss.rev_swig_ptr(result.labels, count).astype(np.uint32),
        faiss.rev_swig_ptr(result.distances, count).astype(np.uint16),
    )


__all__ = ["FlatIndex"]
