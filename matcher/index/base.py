"""What every index of codes promises, and the flat arrays that answers come in.

Invariants of a `CodeIndex`:

* Exact: every code within the threshold (inclusive) is a hit, and nothing else is.
* Immutable once made, so any number of threads may search at once.
* Code rows count from 0 within the index; whoever holds several keeps them apart.
* Nothing is coerced: a query of another dtype or width raises.

An index knows codes only; `segment` leads from a code to the entries that carry it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from operator import index as as_index
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from hashlists.model import HashKind

UInt8Array: TypeAlias = "NDArray[np.uint8]"
Int64Array: TypeAlias = "NDArray[np.int64]"
UInt32Array: TypeAlias = "NDArray[np.uint32]"
DistanceArray: TypeAlias = "NDArray[np.uint16] | NDArray[np.uint32]"

_UINT8 = np.dtype(np.uint8)


@dataclass(frozen=True, slots=True)
class Hits:
    """Codes within the threshold of a batch of queries, as three arrays of one length.

    Each pair of query and code occurs at most once; the order is not defined.

    Attributes:
        query_rows: `(H,) int64`, row in the batch.
        code_rows: `(H,) int64`, row in the index.
        distances: `(H,) uint16`, bits that differ (0 for digests); for PhotoDNA `(H,) uint32`,
            squared L2.
    """

    query_rows: Int64Array = field(repr=False)
    code_rows: Int64Array = field(repr=False)
    distances: DistanceArray = field(repr=False)

    def __len__(self) -> int:
        return len(self.query_rows)


@dataclass(frozen=True, slots=True)
class Candidates:
    """Entries within the threshold of a batch of queries, as three arrays of one length.

    Each pair of query and entry occurs at most once, with the smallest distance of any of the
    entry's codes of that kind. Query rows ascend; within a query the order is not defined.

    Attributes:
        query_rows: `(C,) int64`, row in the batch.
        entry_rows: `(C,) int64`, row in the entry table.
        distances: `(C,) uint32`, as in `Hits`.
        derivation_rows: `(C,) uint32`, how the nearest code was made: row in the searched index's
            `derivations`; 0 where it is the source's own, also where others are as near.
    """

    query_rows: Int64Array = field(repr=False)
    entry_rows: Int64Array = field(repr=False)
    distances: UInt32Array = field(repr=False)
    derivation_rows: UInt32Array = field(repr=False)

    def __len__(self) -> int:
        return len(self.query_rows)


def _nothing(dtype: type[np.generic]) -> NDArray[Any]:
    array = np.empty(0, dtype)
    array.flags.writeable = False
    return array


_NO_ROWS: Int64Array = _nothing(np.int64)
_NO_DISTANCES: UInt32Array = _nothing(np.uint32)
#: What nearly every search gives, made once.
NO_HITS = Hits(_NO_ROWS, _NO_ROWS, _nothing(np.uint16))
NO_CANDIDATES = Candidates(_NO_ROWS, _NO_ROWS, _NO_DISTANCES, _NO_DISTANCES)


class CodeIndex(Protocol):
    """An exact index over `N` codes of one kind."""

    @property
    def kind(self) -> HashKind:
        """The kind of its codes."""
        ...

    def __len__(self) -> int:
        """How many codes it holds."""
        ...

    def search(self, queries: UInt8Array, threshold: int) -> Hits:
        """Finds every code at a distance of at most `threshold`.

        Args:
            queries: `(Q, kind.nbytes) uint8`, `Q` may be 0.
            threshold: bits (PhotoDNA: squared L2), 0 or more; digests take 0 only.

        Raises:
            ValueError: the queries have another dtype or shape, or the threshold is out of range.
        """
        ...


def check_queries(kind: HashKind, queries: UInt8Array, threshold: int) -> tuple[UInt8Array, int]:
    """Refuses queries that are not `(Q, kind.nbytes) uint8` and thresholds that mean nothing.

    Returns:
        The queries, C-contiguous, and the threshold as a plain integer.

    Raises:
        ValueError: says what was wrong and what is needed.
    """
    dtype, shape = getattr(queries, "dtype", None), getattr(queries, "shape", None)
    if dtype != _UINT8 or shape is None or len(shape) != 2 or shape[1] != kind.nbytes:  # noqa: PLR2004  # rows and bytes
        raise ValueError(
            f"{kind} queries are an array of shape (Q, {kind.nbytes}) and dtype uint8,"
            f" not {shape} and {dtype}",
        )
    try:
        number = as_index(threshold)
    except TypeError as error:
        raise ValueError(f"a threshold is an integer, not {type(threshold).__name__}") from error
    if number < 0 or (kind.is_digest and number != 0):
        allowed = "0" if kind.is_digest else "0 or more"
        raise ValueError(f"a threshold for {kind} is {allowed}, not {number}")
    return np.ascontiguousarray(queries), number  # single bytes are always aligned


def expand_ranges(first: Int64Array, count: Int64Array) -> Int64Array:
    """The concatenation of `arange(first[i], first[i] + count[i])` over all `i`."""
    ends = np.cumsum(count)
    total = int(ends[-1]) if len(ends) else 0
    expanded: Int64Array = np.arange(total, dtype=np.int64)
    expanded += np.repeat(first - (ends - count), count)
    return expanded


__all__ = [
    "NO_CANDIDATES",
    "NO_HITS",
    "Candidates",
    "CodeIndex",
    "DistanceArray",
    "Hits",
    "Int64Array",
    "UInt8Array",
    "UInt32Array",
    "check_queries",
    "expand_ranges",
]
