"""Many rows into SQLite by one statement, which is given columns and takes them apart itself.

Row by row, the calls between Python and SQLite and the binding of each field cost several times
what storing a row does. Here every column is one bound value: its items one after the other, cut
out again in SQL by `substr`; what all rows share goes over once.

Invariants: what is stored is what binding each value would have stored; values are bound, never
part of a statement's text. Integers, texts, bytes and None are known, nothing else.
"""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Column = Sequence[Any] | NDArray[Any]

#: Yields n = 0, 1, ... below the number that is bound first: each of many steps with each of a few
#: ones, which are made once. Counting all of them by recursion costs twice as much.
_ROWS = (
    "WITH RECURSIVE"
    " few(low) AS MATERIALIZED (SELECT 0 UNION ALL SELECT low + 1 FROM few WHERE low < 255),"
    " many(high) AS (SELECT 0 UNION ALL SELECT high + 256 FROM many WHERE high + 256 < ?1),"
    " rows(n) AS (SELECT high + low FROM many CROSS JOIN few WHERE high + low < ?1)"
)


class PackedColumns:
    """Columns of equal length as one SELECT that yields their rows.

    Attributes:
        parameters: to be bound to `sql`, in order.
    """

    def __init__(self, columns: Sequence[Column], order: NDArray[np.intp] | None = None) -> None:
        """Packs the columns, of one row at least.

        Args:
            columns: sequences; numbers may come as `(N,) int64`, byte strings of one length as
                `(N, length) uint8`. A `range` numbers the rows as they are yielded.
            order: `(K,)` positions of the rows to yield; None for all as they come.
        """
        self._order = slice(None) if order is None else order
        self.parameters: list[Any] = [len(columns[0]) if order is None else len(order)]
        self._expressions = [self._pack(column) for column in columns]

    @property
    def sql(self) -> str:
        """`SELECT`s the rows; `WHERE true` keeps a following `ON CONFLICT` apart from a join."""
        return f"{_ROWS} SELECT {', '.join(self._expressions)} FROM rows WHERE true"  # noqa: S608 - no value in it

    def _pack(self, values: Column) -> str:
        if isinstance(values, np.ndarray):
            return self._integers(values) if values.dtype == np.int64 else self._matrix(values)
        first = values[0]
        if isinstance(values, range):
            return f"{self._bind(first)} + n * {self._bind(values.step)}"
        if _all_equal(values):
            return self._bind(first)
        if first is not None:
            with suppress(TypeError):  # one of the others is None
                return self._items(values, first)
        present = np.array([value is not None for value in values])
        there = self._bind(present[self._order].tobytes())
        sample = next(value for value in values if value is not None)
        filler = bytes(len(sample)) if isinstance(sample, bytes) else type(sample)()
        item = self._items([filler if value is None else value for value in values], sample)
        return f"CASE WHEN substr({there}, n + 1, 1) = x'01' THEN {item} END"

    def _items(self, values: Sequence[Any], sample: object) -> str:
        if isinstance(sample, bytes):
            return self._pieces(b"".join(values), values)
        if isinstance(sample, str):
            joined = "".join(values)
            texts = values if joined.isascii() else [value.encode() for value in values]
            return f"CAST({self._pieces(joined.encode(), texts)} AS TEXT)"
        return self._integers(np.array(values, np.int64))

    def _pieces(self, joined: bytes, pieces: Sequence[bytes] | Sequence[str]) -> str:
        """Pieces of what was joined: those of one length need no table of where each begins."""
        lengths = set(map(len, pieces))
        if len(lengths) == 1 and joined:
            return self._matrix(np.frombuffer(joined, np.uint8).reshape(len(pieces), lengths.pop()))
        bound = self._bind(joined or b"\0")  # a piece of nothing would be NULL
        sizes = np.fromiter(map(len, pieces), np.int64, len(pieces))
        starts = self._integers(np.cumsum(sizes) - sizes + 1)
        return f"substr({bound}, {starts}, {self._integers(sizes)})"

    def _matrix(self, values: NDArray[np.uint8]) -> str:
        bound, width = self._bind(values[self._order].tobytes()), self._bind(values.shape[1])
        return f"substr({bound}, n * {width} + 1, {width})"

    def _integers(self, values: NDArray[np.int64]) -> str:
        """As decimal numbers of one width."""
        digits, width = _decimal(values[self._order])
        bound = self._bind(width)
        return f"CAST(substr({self._bind(digits)}, n * {bound} + 1, {bound}) AS INTEGER)"

    def _bind(self, value: object) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"


def _all_equal(values: Sequence[Any]) -> bool:
    """Whether all of the values, of which there are some, equal the first."""
    first = values[0]
    return bool(values[-1] == first) and values.count(first) == len(values)


def _decimal(values: NDArray[np.int64]) -> tuple[bytes, int]:
    """Numbers one after the other in ASCII, and the width that each takes."""
    low, high = int(values.min()), int(values.max())
    if low < 0:  # blanks before a number are passed over
        width = max(len(str(low)), len(str(high)))
        return (f"%{width}d" * len(values) % tuple(values.tolist())).encode(), width
    width = len(str(high))
    digits = np.empty((len(values), width), np.uint8)
    rest = values
    for place in reversed(range(width)):
        rest, digits[:, place] = np.divmod(rest, 10)
    return (digits + ord("0")).tobytes(), width
