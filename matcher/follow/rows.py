"""Catalog ids of lists and classifications -> rows of the tables that an index's entries point to.

Invariants: a row keeps its meaning for as long as any segment points to it, so numbering goes on
from the tables that are given, and new rows only ever come at their ends. Lists go by their name
and classifications by their value, which outlive an id. Reads no hashes.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

import numpy as np

from hashlists.errors import SnapshotError
from matcher.index.build import IndexRows
from matcher.index.match_index import IndexedList

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray

    from hashlists.catalog import CatalogReader, EntryColumns
    from hashlists.model import Classification, HashKind, HashList

MAX_LISTS = 2**16
_NUMBERED = {"catalog_ids", "list_rows", "classification_rows"}
#: What goes from the catalog to the index as it is.
_COPIED = tuple(each.name for each in fields(IndexRows) if each.name not in _NUMBERED)


class RowNumbers:
    """Numbers the rows of one read transaction.

    Only classifications that some entry has get a row, in the order in which they come up.

    Args:
        reader: the transaction.
        lists: the table that existing segments point into.
        classifications: likewise; row 0 is none.

    Raises:
        SnapshotError: there are too many lists, or one of the table is not in the catalog.
    """

    def __init__(
        self,
        reader: CatalogReader,
        *,
        lists: Sequence[IndexedList] = (),
        classifications: Sequence[Classification | None] = (None,),
    ) -> None:
        records = {record.hash_list.name: record for record in reader.lists()}
        if len(records) > MAX_LISTS:
            raise SnapshotError(
                f"the catalog has {len(records)} lists, and a snapshot holds at most {MAX_LISTS}"
            )
        held = {each.name: each.counts for each in lists}
        if missing := held.keys() - records.keys():
            raise SnapshotError(f"the catalog has no list {min(missing)!r}; build the index anew")
        names = [*held, *(name for name in records if name not in held)]
        self.lists = tuple(
            _indexed(records[name].hash_list, records[name].coverage.entries, held.get(name, {}))
            for name in names
        )
        self._list_rows = {records[name].list_id: row for row, name in enumerate(names)}
        self._by_id = reader.classifications()
        self._classification_rows = {each: row for row, each in enumerate(classifications)}

    def number(self, columns: EntryColumns) -> IndexRows:
        """The same entries, pointing to rows of the two tables."""
        return IndexRows(
            catalog_ids=columns.entry_ids,
            list_rows=_renumber(columns.list_ids, self._list_rows.__getitem__).astype(np.uint16),
            classification_rows=_renumber(columns.classification_ids, self._classification_row),
            **{name: getattr(columns, name) for name in _COPIED},
        )

    def classifications(self) -> tuple[Classification | None, ...]:
        """Those that came up so far, by row."""
        return tuple(self._classification_rows)

    def _classification_row(self, classification_id: int) -> int:
        value = self._by_id[classification_id] if classification_id else None
        return self._classification_rows.setdefault(value, len(self._classification_rows))


def _indexed(hash_list: HashList, entries: int, counts: Mapping[HashKind, int]) -> IndexedList:
    return IndexedList(
        name=hash_list.name,
        harm=hash_list.harm,
        state=hash_list.state,
        entries=entries,
        counts=counts,
    )


def _renumber(ids: NDArray[np.int32], row_of: Callable[[int], int]) -> NDArray[np.uint32]:
    distinct, inverse = np.unique(ids, return_inverse=True)
    return np.array([row_of(each) for each in distinct.tolist()], dtype=np.uint32)[inverse]


__all__ = ["MAX_LISTS", "RowNumbers"]
