"""Exact scan by Hamming distance: for PDQ and the 64-bit kinds.

Runs the kernel of FAISS' `IndexBinaryFlat` (`hamming_scan`) straight over the mapped codes. They
are scanned in blocks that stay in cache for all queries of a batch, and that bound what one call of
the kernel can find. Its radius is strict and ours is inclusive, hence `threshold + 1`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.index.base import Hits, UInt8Array, check_queries
from matcher.index.collect import HitCollector

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hashlists.model import HashKind

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
        from matcher.index.hamming_scan import scan, use_one_thread  # noqa: PLC0415  brings FAISS

        radius = min(threshold, 8 * self._kind.nbytes) + 1
        use_one_thread()
        for first in range(0, len(queries), _MAX_QUERIES):
            batch = slice(first, first + _MAX_QUERIES)
            step = self._block_rows(len(queries[batch]))
            for start in range(0, len(self._codes), step):
                found = scan(queries[batch], self._codes[start : start + step], radius)
                if found is not None:
                    counts, code_rows, distances = found
                    code_rows += np.uint32(start)
                    collector.add(np.repeat(query_rows[batch], counts), code_rows, distances)

    def _block_rows(self, queries: int) -> int:
        rows = _MAX_PAIRS // queries
        if queries < _MIN_QUERIES_TO_BLOCK:
            return rows
        return min(rows, _BLOCK_BYTES // self._kind.nbytes)


__all__ = ["FlatIndex"]
