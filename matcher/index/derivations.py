"""Codes that are not their source's own: how each was made, as rows of a small table of names.

Invariants: row 0 is the source's own, and names follow in alphabetical order; of several that one
value of an entry has, or that are equally near, the first is told. Of a segment without derived
codes nothing is kept, so it costs nothing. A name is a text of a list: it is kept as it is, judged
by nobody, and no more than `MAX_NAMES` are told apart in a segment, so that a strange list cannot
make its table long.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from matcher.index.growing import GrowingArray

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from hashlists.model import HashKind
    from matcher.index.base import Int64Array, UInt32Array

#: What stands for the source's own code.
OWN = ""
#: The row of `OWN` in every table.
OWN_ROW = 0
#: Arrays of a kind: places among its entry rows, ascending, and the row of the name of each.
PLACES = "derived_places"
NAME_ROWS = "derivation_rows"
MAX_NAMES = 4_096
#: How a code was made whose name the table has no room for.
OTHER = "other"


class DerivedCodes:
    """Which of the codes that are gathered were derived, and how. Not for several threads."""

    def __init__(self) -> None:
        self._rows: dict[str, int] = {}  # in the order in which they came
        self._places: dict[HashKind, GrowingArray[np.uint32]] = {}
        self._name_rows: dict[HashKind, GrowingArray[np.uint32]] = {}

    @property
    def names(self) -> tuple[str, ...]:
        """How they were made, in alphabetical order; the first is row 1."""
        return tuple(sorted(self._rows))

    def add(self, kind: HashKind, places: Int64Array, names: Sequence[str]) -> None:
        """Adds codes by their places `(D,)` among all codes of the kind, ascending over all."""
        if kind not in self._places:
            self._places[kind] = GrowingArray(np.uint32)
            self._name_rows[kind] = GrowingArray(np.uint32)
        self._places[kind].extend(places)
        self._name_rows[kind].extend(np.array([self._row(name) for name in names], np.uint32))

    def marks(self, kind: HashKind, count: int) -> UInt32Array | None:
        """The row in `names` of each of all `count` codes of the kind; None where none is derived.

        Once the last was added.
        """
        if kind not in self._places:
            return None
        row_of = {name: row for row, name in enumerate(self.names, start=1)}
        rows = np.array([OWN_ROW, *(row_of[name] for name in self._rows)], np.uint32)
        marks = np.full(count, OWN_ROW, np.uint32)
        marks[self._places[kind].view()] = rows[self._name_rows[kind].view()]
        return marks

    def _row(self, name: str) -> int:
        if name not in self._rows and len(self._rows) >= MAX_NAMES - 1:
            name = OTHER
        return self._rows.setdefault(name, len(self._rows) + 1)


def derived_arrays(marks: UInt32Array | None) -> dict[str, UInt32Array]:
    """The arrays that a segment keeps of the marks `(R,)` beside its entry rows; maybe none."""
    if marks is None or not marks.any():
        return {}
    places = np.flatnonzero(marks).astype(np.uint32)
    return {PLACES: places, NAME_ROWS: marks[places]}


def check_derived(
    places: NDArray[Any], name_rows: NDArray[Any], *, entry_rows: int, names: int, prefix: str
) -> None:
    """Refuses arrays that contradict each other or point beyond what they point to.

    Raises:
        ValueError: names the array, with `prefix` before it.
    """
    for name, array in ((PLACES, places), (NAME_ROWS, name_rows)):
        if array.dtype != np.uint32 or array.ndim != 1:
            raise ValueError(f"{prefix}{name} has one axis and dtype uint32")
    if not len(places) or not (places[1:] > places[:-1]).all() or int(places[-1]) >= entry_rows:
        raise ValueError(f"{prefix}{PLACES} does not ascend within the {entry_rows} entry rows")
    if len(name_rows) != len(places):
        raise ValueError(f"{prefix}{NAME_ROWS} does not fit the {len(places)} derived codes")
    if not 0 < int(name_rows.min()) <= int(name_rows.max()) <= names:
        raise ValueError(f"{prefix}{NAME_ROWS} refers to rows outside 1..{names}")


def name_rows_at(
    derived: tuple[UInt32Array, UInt32Array] | None, places: Int64Array
) -> UInt32Array:
    """The rows `(P,)` of the names of the codes at `places (P,)` among the entry rows of a kind.

    Args:
        derived: the two arrays of the kind; None where none of its codes is derived.
        places: in any order.
    """
    found = np.full(len(places), OWN_ROW, np.uint32)
    if derived is not None:
        own, name_rows = derived
        wanted = places.astype(np.uint32)  # another dtype would have all of `own` copied
        at = np.searchsorted(own, wanted).clip(max=len(own) - 1)
        here = own[at] == wanted
        found[here] = name_rows[at[here]]
    return found


class DerivationTable:
    """The names of several segments as one table, and where the rows of each stand in it.

    Attributes:
        names: by row: `OWN`, None for "not known", then every name in alphabetical order.
    """

    def __init__(self, segments: Sequence[Sequence[str] | None]) -> None:
        """Takes the names of each segment; None where an earlier build did not keep them."""
        told = sorted({name for names in segments if names is not None for name in names})
        self.names: tuple[str | None, ...] = (OWN, None, *told)
        row_of = {name: row for row, name in enumerate(self.names)}
        self._rows = [
            np.array([row_of[None]] if names is None else [OWN_ROW, *map(row_of.get, names)])
            for names in segments
        ]

    def rows(self, segment: int, rows: UInt32Array) -> UInt32Array:
        """Rows of a segment's own names as rows of the table."""
        return self._rows[segment][rows].astype(np.uint32)


__all__ = [
    "MAX_NAMES",
    "NAME_ROWS",
    "OTHER",
    "OWN",
    "OWN_ROW",
    "PLACES",
    "DerivationTable",
    "DerivedCodes",
    "check_derived",
    "derived_arrays",
    "name_rows_at",
]
