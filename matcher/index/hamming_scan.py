"""The kernel of FAISS' `IndexBinaryFlat` over codes wherever they lie.

`hamming_range_search` runs straight over mapped codes, since an `IndexBinaryFlat` would hold a copy
of them in every process; that class is an oracle in the tests. Imported by the first scan, or by a
server as it starts: FAISS takes a while to load, and a process that only builds never scans.

Two facts of FAISS that callers rest on, each tested:

* Its radius is strict (`distance < radius`).
* The number of OpenMP threads is set for the calling thread only, hence on every search.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import faiss
import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from matcher.index.base import Int64Array, UInt8Array, UInt32Array

#: Looked up by name: the stubs of FAISS leave it out.
_hamming_range_search: Callable[..., None] = vars(faiss)["hamming_range_search"]


def use_one_thread() -> None:
    """Has the scans of the calling thread start no threads of their own."""
    faiss.omp_set_num_threads(1)


def scan(
    queries: UInt8Array,
    codes: UInt8Array,
    radius: int,
) -> tuple[Int64Array, UInt32Array, NDArray[np.uint16]] | None:
    """One call of the kernel, which releases the GIL.

    Args:
        queries: `(Q, B) uint8`, C-contiguous.
        codes: `(N, B) uint8`, C-contiguous.
        radius: bits, one more than the largest distance that counts.

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


__all__ = ["scan", "use_one_thread"]
