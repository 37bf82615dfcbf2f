"""Exact look-up of cryptographic digests: binary search on 8 bytes, then all bytes compared.

A digest is kept as its leading 8 bytes, big-endian, in a sorted `uint64` array, and the rest in a
second array in the same order: no byte is stored twice, so the two cannot contradict each other.
Digests that share their leading 8 bytes, by chance or by design, are all compared.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from matcher.index.base import NO_HITS, Hits, UInt8Array, check_queries, expand_ranges

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hashlists.model import HashKind

UInt64Array: TypeAlias = "NDArray[np.uint64]"
LEAD_BYTES = 8


def split_digests(digests: UInt8Array) -> tuple[UInt64Array, UInt8Array]:
    """Splits digests `(N, nbytes)` into leads `(N,) uint64` and tails `(N, nbytes - 8) uint8`."""
    return _leads_of(digests), np.ascontiguousarray(digests[:, LEAD_BYTES:])


def _leads_of(digests: UInt8Array) -> UInt64Array:
    leads: UInt64Array = digests[:, :LEAD_BYTES].view(">u8").astype(np.uint64)[:, 0]
    return leads


class DigestIndex:
    """An exact index of digests.

    Args:
        kind: MD5, SHA-1 or SHA-256.
        leads: `(N,) uint64`, ascending.
        tails: `(N, kind.nbytes - 8) uint8`, in the order of `leads`.

    Raises:
        ValueError: the arrays have another dtype or shape, or the leads are not sorted: a search
            would miss entries in silence.
    """

    def __init__(self, kind: HashKind, leads: UInt64Array, tails: UInt8Array) -> None:
        if not kind.is_digest:
            raise ValueError(f"{kind} is not a digest")
        if leads.dtype != np.uint64 or leads.ndim != 1:
            raise ValueError(f"{kind} leads have shape (N,) and dtype uint64")
        if tails.dtype != np.uint8 or tails.shape != (len(leads), kind.nbytes - LEAD_BYTES):
            raise ValueError(f"{kind} tails do not fit the leads")
        if not (leads[1:] >= leads[:-1]).all():
            raise ValueError(f"{kind} leads are not sorted")
        self._kind = kind
        self._leads = leads
        self._tails = tails

    @property
    def kind(self) -> HashKind:
        """The kind of its digests."""
        return self._kind

    def __len__(self) -> int:
        return len(self._leads)

    def search(self, queries: UInt8Array, threshold: int = 0) -> Hits:
        """Finds every equal digest; see `CodeIndex.search`."""
        queries, _ = check_queries(self._kind, queries, threshold)
        leads = _leads_of(queries)
        first = self._leads.searchsorted(leads, side="left")
        count = self._leads.searchsorted(leads, side="right") - first
        if not count.any():  # as with nearly every upload
            return NO_HITS
        query_rows = np.repeat(np.arange(len(queries), dtype=np.int64), count)
        code_rows = expand_ranges(first, count)
        equal = (self._tails[code_rows] == queries[query_rows, LEAD_BYTES:]).all(axis=1)
        return Hits(
            query_rows=query_rows[equal],
            code_rows=code_rows[equal],
            distances=np.zeros(int(equal.sum()), np.uint16),
        )


__all__ = ["LEAD_BYTES", "DigestIndex", "UInt64Array", "split_digests"]
