"""Many rows into SQLite by one statement, which is given columns and takes them apart itself.

Row by row, the calls between Python and SQLite and the binding of each field cost several times
what storing a row does. Here every column is one bound value: its items one after the other, cut
out again in SQL by `substr`; what all rows share goes over once.

Invariants: what is stored is what binding each value would have stored; values are bound, never
part of a statement's text. Integers, texts, bytes and None are known, nothing else.
"""

from __future__ import annotations

from itertools import accumulate
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence

#: Counts the rows of a statement: n is 0, 1, ... below the number that is bound first.
_ROWS = "WITH RECURSIVE rows(n) AS (SELECT 0 UNION ALL SELECT n + 1 FROM rows WHERE n + 1 < ?1)"


class PackedColumns:
    """Columns of equal length as one SELECT that yields their rows, in their order.

    Attributes:
        parameters: to be bound to `sql`, in order.
    """

    def __init__(self, columns: Sequence[Sequence[Any]]) -> None:
        """Packs the columns, of one row at least."""
        self.parameters: list[Any] = [len(columns[0])]
        self._expressions = [self._pack(column) for column in columns]

    @property
    def sql(self) -> str:
        """`SELECT`s the rows; `WHERE true` keeps a following `ON CONFLICT` apart from a join."""
        return f"{_ROWS} SELECT {', '.join(self._expressions)} FROM rows WHERE true"  # noqa: S608 - no value in it

    def _pack(self, values: Sequence[Any]) -> str:
        first = values[0]
        if isinstance(values, range):
            return f"{self._bind(first)} + n * {self._bind(values.step)}"
        if values[-1] == first and values.count(first) == len(values):
            return self._bind(first)
        if None in values:
            there = self._bind(bytes([value is not None for value in values]))
            sample = next(value for value in values if value is not None)
            filler = bytes(len(sample)) if isinstance(sample, bytes) else type(sample)()
            item = self._items([filler if value is None else value for value in values], sample)
            return f"CASE WHEN substr({there}, n + 1, 1) = x'01' THEN {item} END"
        return self._items(values, first)

    def _items(self, values: Sequence[Any], sample: object) -> str:
        if isinstance(sample, bytes):
            return self._pieces(values)
        if isinstance(sample, str):
            return f"CAST({self._pieces([value.encode() for value in values])} AS TEXT)"
        return self._integers(values)

    def _pieces(self, values: Sequence[bytes]) -> str:
        """Byte strings: those of one length need no table of where each begins."""
        lengths = list(map(len, values))
        length = max(lengths)
        joined = b"".join(values) or b"\0"  # a piece of nothing would be NULL
        if len(joined) == length * len(values):
            width = self._bind(length)
            return f"substr({self._bind(joined)}, n * {width} + 1, {width})"
        starts = self._integers([1, *accumulate(lengths[:-1], initial=1)][1:])
        return f"substr({self._bind(joined)}, {starts}, {self._integers(lengths)})"

    def _integers(self, values: Sequence[int]) -> str:
        """As decimal numbers of one width, with blanks before them, which SQLite passes over."""
        width = max(len(str(min(values))), len(str(max(values))))
        joined = (f"%{width}d" * len(values) % tuple(values)).encode()
        bound = self._bind(width)
        return f"CAST(substr({self._bind(joined)}, n * {bound} + 1, {bound}) AS INTEGER)"

    def _bind(self, value: object) -> str:
        self.parameters.append(value)
        return f"?{len(self.parameters)}"
