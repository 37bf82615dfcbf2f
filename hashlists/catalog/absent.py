"""Finds the entries of a list that an import which is to name all of them has not named.

Invariants: an entry counts as absent iff it was in force when the import began and the import has
neither listed nor retracted it. What an operator or the source had retracted before needs nothing.
The cost is one pass over the ids of the list's entries, and work for those that are absent; memory
is a part of them. Nothing here writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import select

from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.schema import entries
from hashlists.catalog.states import entry_states

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from numpy.typing import NDArray
    from sqlalchemy import Connection, Engine

    from hashlists.catalog.id_set import IdSet
    from hashlists.catalog.states import EntryState

_FETCHED_ROWS = 20_000


def absent_entries(
    engine: Engine, *, list_id: int, base: int, named: IdSet, size: int
) -> Iterator[Mapping[int, EntryState]]:
    """States at revision `base` of the entries that are absent, at most `size` at a time.

    Args:
        engine: of the catalog. Read on a connection of its own: the one that stages reads by index
            only, which would fetch a long list at random.
        list_id: the list.
        base: the revision at which the import began.
        named: the entries that the import has listed or retracted.
        size: entries of a part.

    Raises:
        CatalogError: the database failed.
    """
    with catalog_errors(), engine.connect() as connection:
        waiting = np.empty(0, np.int64)
        for ids in _ids_of(connection, list_id):
            waiting = np.concatenate([waiting, named.missing_of(ids)])
            while len(waiting) >= size:
                yield from _in_force(connection, waiting[:size], base)
                waiting = waiting[size:]
        yield from _in_force(connection, waiting, base)


def _ids_of(connection: Connection, list_id: int) -> Iterator[NDArray[np.int64]]:
    """All entries of a list, in whatever order costs least."""
    query = select(entries.c.entry_id).where(entries.c.list_id == list_id)
    result = connection.execute(query, execution_options={"stream_results": True})
    for part in result.scalars().partitions(_FETCHED_ROWS):
        yield np.array(part, np.int64)


def _in_force(
    connection: Connection, entry_ids: NDArray[np.int64], base: int
) -> Iterator[Mapping[int, EntryState]]:
    states = entry_states(connection, np.sort(entry_ids).tolist(), upto=base)
    standing = {entry_id: state for entry_id, state in states.items() if state.in_force}
    if standing:
        yield standing
