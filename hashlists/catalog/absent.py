"""Finds the entries of a list that an import which is to name all of them has not named.

Invariants: an entry counts as absent iff it was in force when the import began and the import has
neither listed nor retracted it. What an operator or the source had retracted before needs nothing.
The cost is one pass over the ids of the list's entries, and work for those that are absent; what
is found takes one bit for each id that the catalog ever gave. Nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.schema import entries
from hashlists.catalog.states import entry_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from sqlalchemy import Connection, Engine

_FETCHED_ROWS = 20_000


@dataclass(frozen=True, slots=True)
class AbsentEntries:
    """The entries that are absent."""

    _ids: IdSet
    _number: int

    def __len__(self) -> int:
        return self._number

    def parts(self, size: int) -> Iterator[list[int]]:
        """Their ids in order, at most `size` at a time."""
        return self._ids.parts(size)


def absent_entries(engine: Engine, *, list_id: int, base: int, named: IdSet) -> AbsentEntries:
    """Finds them at revision `base`.

    Args:
        engine: of the catalog. Read on a connection of its own: the one that stages reads by index
            only, which would fetch a long list at random.
        list_id: the list.
        base: the revision at which the import began.
        named: the entries that the import has listed or retracted.

    Raises:
        CatalogError: the database failed.
    """
    found, number = IdSet(), 0
    with catalog_errors(), engine.connect() as connection:
        for ids in _missing(connection, list_id, named):
            for entry_id, state in entry_states(connection, ids, upto=base).items():
                if state.in_force:
                    number += 1
                    found.add(entry_id)
    return AbsentEntries(found, number)


def _missing(connection: Connection, list_id: int, named: IdSet) -> Iterator[list[int]]:
    """Entries of the list that are not named, many at a time, as looking them up costs least."""
    waiting = np.empty(0, np.int64)
    for ids in _ids_of(connection, list_id):
        waiting = np.concatenate([waiting, named.missing_of(ids)])
        if len(waiting) >= _FETCHED_ROWS:
            yield np.sort(waiting).tolist()
            waiting = waiting[:0]
    yield np.sort(waiting).tolist()


def _ids_of(connection: Connection, list_id: int) -> Iterator[NDArray[np.int64]]:
    """All entries of a list, in whatever order costs least."""
    query = select(entries.c.entry_id).where(entries.c.list_id == list_id)
    result = connection.execute(query, execution_options={"stream_results": True})
    for part in result.scalars().partitions(_FETCHED_ROWS):
        yield np.array(part, np.int64)


__all__ = ["AbsentEntries", "absent_entries"]
