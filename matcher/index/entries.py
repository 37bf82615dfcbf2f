"""What a decision needs to know of an entry, as arrays: 28 bytes an entry, mapped and shared.

The source's own id, handling and provenance stay in the catalog.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field, fields
from itertools import accumulate
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hashlists.model import Classification, EntryFlag
    from matcher.index.base import Int64Array, UInt32Array

UInt16Array: TypeAlias = "NDArray[np.uint16]"

#: Stands for an unknown file size.
UNKNOWN_SIZE = -1


@dataclass(frozen=True, slots=True)
class EntryArrays:
    """`N` entries as columns.

    Attributes:
        catalog_ids: `(N,) int64`, the catalog's entry ids.
        list_rows: `(N,) uint16`, row in the list table.
        classification_rows: `(N,) uint32`, row in the classification table; 0 is none.
        flags: `(N,) uint16`, `EntryFlag` bits.
        sizes: `(N,) int64`, bytes of the file; -1 is unknown.
        expires: `(N,) uint32`, seconds since 1970 UTC at which the entry expires; 0 is never.

    Raises:
        ValueError: a column has another dtype or length.
    """

    catalog_ids: Int64Array = field(repr=False)
    list_rows: UInt16Array = field(repr=False)
    classification_rows: UInt32Array = field(repr=False)
    flags: UInt16Array = field(repr=False)
    sizes: Int64Array = field(repr=False)
    expires: UInt32Array = field(repr=False)

    def __post_init__(self) -> None:
        length = self.catalog_ids.shape
        for column, dtype in COLUMNS.items():
            array = getattr(self, column)
            if array.dtype != dtype or array.ndim != 1 or array.shape != length:
                raise ValueError(
                    f"entry column {column} has shape (N,) and dtype {np.dtype(dtype)}, all of one"
                    f" length, not {array.shape} and {array.dtype}",
                )

    def __len__(self) -> int:
        return len(self.catalog_ids)


#: Column -> dtype, in the order of `EntryArrays`.
COLUMNS: dict[str, type[np.int64 | np.uint16 | np.uint32]] = dict(
    zip(
        (each.name for each in fields(EntryArrays)),
        (np.int64, np.uint16, np.uint32, np.uint16, np.int64, np.uint32),
        strict=True,
    ),
)


@dataclass(frozen=True, slots=True)
class IndexedEntry:
    """One entry as the index knows it.

    Attributes:
        list_row: row in `MatchIndex.lists`.
        catalog_id: the catalog's entry id.
        size: bytes of the file, or None where its source did not say.
    """

    list_row: int
    catalog_id: int
    classification: Classification | None
    flags: EntryFlag
    size: int | None


class EntryTable:
    """The entries of all segments of an index, numbered through in their order."""

    def __init__(self, parts: Sequence[EntryArrays]) -> None:
        self._parts = tuple(parts)
        self._starts = tuple(accumulate((len(part) for part in self._parts), initial=0))

    def __len__(self) -> int:
        return self._starts[-1]

    @property
    def starts(self) -> tuple[int, ...]:
        """The row at which each segment's entries start."""
        return self._starts[:-1]

    def locate(self, row: int) -> tuple[EntryArrays, int]:
        """The segment's columns that hold a row, and its row there.

        Raises:
            IndexError: the row lies outside the table.
        """
        if not 0 <= row < len(self):
            raise IndexError(f"entry row {row} lies outside 0..{len(self) - 1}")
        number = bisect_right(self._starts, row) - 1
        return self._parts[number], row - self._starts[number]

    def take(self, rows: Int64Array) -> EntryArrays:
        """The entries at `rows`, as columns in that order.

        Raises:
            IndexError: a row lies outside the table.
        """
        rows = np.asarray(rows, dtype=np.int64)
        if len(rows) and not 0 <= rows.min() <= rows.max() < len(self):
            raise IndexError(f"an entry row lies outside 0..{len(self) - 1}")
        empty: list[NDArray[Any]] = [np.empty(len(rows), dtype) for dtype in COLUMNS.values()]
        taken = EntryArrays(*empty)
        part_rows = np.searchsorted(self._starts, rows, side="right") - 1
        for number in np.unique(part_rows).tolist():
            here = part_rows == number
            part, local = self._parts[number], rows[here] - self._starts[number]
            for column in COLUMNS:
                getattr(taken, column)[here] = getattr(part, column)[local]
        return taken


__all__ = ["COLUMNS", "UNKNOWN_SIZE", "EntryArrays", "EntryTable", "IndexedEntry"]
