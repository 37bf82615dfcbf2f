"""Gathers hits part by part, held compactly until the whole answer is made.

A batch may have millions of hits (a cluster of near-duplicates, a wide threshold). In parts a hit
takes 10 bytes (12 with distances of 32 bits); made into `Hits`, 18 (20). The parts of a column are
let go as soon as it is joined, so both forms never stand side by side in full.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.index.base import NO_HITS, Hits

if TYPE_CHECKING:
    from numpy.typing import NDArray


class HitCollector:
    """Hits of one batch, from several parts of an index. Not for several threads.

    Args:
        distance: dtype of the distances.
    """

    def __init__(self, distance: type[np.uint16 | np.uint32]) -> None:
        self._distance = distance
        self._query_rows: list[NDArray[Any]] = []
        self._code_rows: list[NDArray[Any]] = []
        self._distances: list[NDArray[Any]] = []

    def add(
        self,
        query_rows: NDArray[Any],
        code_rows: NDArray[Any],
        distances: NDArray[Any],
    ) -> None:
        """Adds hits: three arrays of one length, of any integer dtype; rows below 2^32.

        Arrays that have the compact dtypes already are kept, not copied.
        """
        if len(query_rows):
            self._query_rows.append(query_rows.astype(np.uint32, copy=False))
            self._code_rows.append(code_rows.astype(np.uint32, copy=False))
            self._distances.append(distances.astype(self._distance, copy=False))

    def hits(self) -> Hits:
        """All that was added; the collector is empty then."""
        if not self._query_rows and self._distance is np.uint16:
            return NO_HITS
        return Hits(
            query_rows=_joined(self._query_rows, np.int64),
            code_rows=_joined(self._code_rows, np.int64),
            distances=_joined(self._distances, self._distance),
        )


def _joined(parts: list[NDArray[Any]], dtype: type) -> NDArray[Any]:
    joined: NDArray[Any] = np.concatenate([np.empty(0, dtype), *parts], dtype=dtype)
    parts.clear()
    return joined


__all__ = ["HitCollector"]
