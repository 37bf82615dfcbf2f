"""Exact scan by Hamming distance: for PDQ and the 64-bit kinds.

Runs the kernel of FAISS' `IndexBinaryFlat` (`hamming_range_search`) straight over the mapped
codes, since an `IndexBinaryFlat` would hold a copy of them in every process, and in blocks that
stay in cache for all queries of a batch. `IndexBinaryFlat` itself is an oracle in the tests.

Two facts of FAISS that the code rests on, each tested:

* Its radius is strict (`distance < radius`); ours is inclusive, hence `threshold + 1`.
* The number of OpenMP threads is set for the calling thread only, hence on every search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

from matcher.index.base import Hits, UInt8Array, check_queries, join_hits

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.model import HashKind

#: Looked up by name: the stubs of FAISS leave it out.
_hamming_range_search: Callable[..., None] = vars(faiss)["hamming_range_search"]
#: Codes scanned by all queries before the next block: fits the second-level cache.
_BLOCK_BYTES = 1 << 20
#: With fewer queries there is nothing to keep in cache for.
_MIN_QUERIES_TO_BLOCK = 4


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
        radius = min(threshold, 8 * self._kind.nbytes) + 1
        faiss.omp_set_num_threads(1)
        parts: list[Hits] = []
        if len(queries):
            step = self._block_rows(len(queries))
            for start in range(0, len(self._codes), step):
                part = _scan(queries, self._codes[start : start + step], radius, start)
                if len(part):
                    parts.append(part)
        return join_hits(parts, np.uint16)

    def _block_rows(self, queries: int) -> int:
        if queries < _MIN_QUERIES_TO_BLOCK:
            return len(self._codes) or 1
        return _BLOCK_BYTES // self._kind.nbytes


def _scan(queries: UInt8Array, codes: UInt8Array, radius: int, start: int) -> Hits:
    """One call of the kernel, which releases the GIL; `start` is the row of the first code."""
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
        return join_hits([], np.uint16)
    return Hits(
        query_rows=np.repeat(np.arange(len(queries), dtype=np.int64), np.diff(limits)),
        code_rows=faiss.rev_swig_ptr(result.labels, count).astype(np.int64) + start,
        distances=faiss.rev_swig_ptr(result.distances, count).astype(np.uint16),
    )


__all__ = ["FlatIndex"]
