"""What changed after a snapshot, as rows: copied and replaced, never mutated.

Invariants: the rows are the entries in force among those touched since the snapshot's revision,
each once, by ascending catalog id; whatever is touched counts here or nowhere, so the sealed rows
of touched entries are hidden whether or not the entry is still in force. Applying the same change
twice gives the same rows. Nothing here reads the catalog or a clock.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.segment import Segment

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from hashlists.model import HashKind
    from matcher.index.base import Int64Array, UInt8Array


@dataclass(frozen=True, slots=True)
class Delta:
    """Everything that revisions after a snapshot's touched.

    Attributes:
        touched: `(T,) int64`, strictly ascending: catalog ids, in force or not.
        rows: those of them that are in force, by strictly ascending catalog id.
    """

    touched: Int64Array = field(repr=False)
    rows: IndexRows = field(repr=False)

    def __len__(self) -> int:
        return len(self.touched)

    @classmethod
    def empty(cls) -> Delta:
        """Nothing was touched yet."""
        return cls(np.empty(0, np.int64), join_rows([]))

    def after(self, changed: Int64Array, in_force: Sequence[IndexRows]) -> Delta:
        """What holds after further entries changed.

        Args:
            changed: `(K,) int64`, strictly ascending catalog ids.
            in_force: rows of those of them that are in force now; no others.

        Raises:
            ValueError: a row is of an entry that is not among `changed`, or comes twice.
        """
        if not len(changed):
            return self
        kept = keep_rows(self.rows, ~is_in(self.rows.catalog_ids, changed))
        new = join_rows(in_force)
        if not is_in(new.catalog_ids, changed).all():
            raise ValueError("a row is of an entry that did not change")
        rows = sort_rows(join_rows([kept, new]))
        if not (rows.catalog_ids[1:] > rows.catalog_ids[:-1]).all():
            raise ValueError("an entry comes twice")
        return Delta(np.union1d(self.touched, changed), rows)

    def segment(self, *, lists: int, classifications: int) -> Segment | None:
        """The rows as a segment; None where there are none.

        Args:
            lists: length of the table that list rows point into.
            classifications: likewise, row 0 (none) included.
        """
        if not len(self.rows.catalog_ids):
            return None
        builder = IndexBuilder()
        builder.add(self.rows)
        return Segment.from_arrays(builder.arrays(), lists=lists, classifications=classifications)


def join_rows(parts: Iterable[IndexRows]) -> IndexRows:
    """The rows of all parts, in their order."""
    parts = list(parts)
    codes: dict[HashKind, list[tuple[Int64Array, UInt8Array]]] = {}
    start = 0
    for part in parts:
        for kind, (owners, values) in part.codes.items():
            codes.setdefault(kind, []).append((owners + start, values))
        start += len(part.catalog_ids)
    columns = {
        name: np.concatenate([np.empty(0, dtype), *(getattr(part, name) for part in parts)])
        for name, dtype in COLUMNS.items()
    }
    return IndexRows(
        **columns,
        codes={
            kind: (
                np.concatenate([owners for owners, _ in pieces]),
                np.concatenate([values for _, values in pieces]),
            )
            for kind, pieces in codes.items()
        },
    )


def keep_rows(rows: IndexRows, wanted: NDArray[np.bool_]) -> IndexRows:
    """The rows where `wanted (M,)` is true, in their order, with their codes."""
    if wanted.all():
        return rows
    return _pick(rows, np.flatnonzero(wanted))


def sort_rows(rows: IndexRows) -> IndexRows:
    """The same rows by ascending catalog id."""
    ids = rows.catalog_ids
    if not (ids[1:] < ids[:-1]).any():
        return rows
    return _pick(rows, np.argsort(ids, kind="stable"))


def _pick(rows: IndexRows, order: Int64Array) -> IndexRows:
    """The rows at `order`, each at most once; codes keep their order and follow their rows."""
    new_row = np.full(len(rows.catalog_ids), -1, np.int64)
    new_row[order] = np.arange(len(order))
    codes = {}
    for kind, (owners, values) in rows.codes.items():
        moved = new_row[owners]
        left = moved >= 0
        if left.all():
            codes[kind] = moved, values
        elif left.any():
            codes[kind] = moved[left], values[left]
    columns = {name: getattr(rows, name)[order] for name in COLUMNS}
    return IndexRows(**columns, codes=codes)


def is_in(ids: Int64Array, among: Int64Array) -> NDArray[np.bool_]:
    """Which of `ids (N,)` are in `among (K,)`, which ascends."""
    if not len(among):
        return np.zeros(len(ids), np.bool_)
    at = np.searchsorted(among, ids).clip(max=len(among) - 1)
    found: NDArray[np.bool_] = among[at] == ids
    return found


__all__ = ["Delta", "is_in", "join_rows", "keep_rows", "sort_rows"]
