"""Writes the new entries and versions of one change, with the texts that they share.

Invariants: entry ids are given in a row and never twice; a version's id tells its change and its
order in it; what versions use of the texts is counted with them. What is to be written is decided
by `staging`.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
from sqlalchemy import delete, update

from hashlists.catalog.bulk import (
    INSERT_EXTRA_HASHES,
    INSERT_NEW_ENTRIES,
    insert_versions,
    pick,
    take,
)
from hashlists.catalog.interning import intern_classification, intern_handlings
from hashlists.catalog.schema import VERSIONS_PER_CHANGE, counters, entries
from hashlists.catalog.text_uses import count_uses

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from hashlists.model import Classification, EntryBatch


@dataclass(frozen=True, slots=True)
class Rows:
    """A batch with what the catalog makes of its rows."""

    batch: EntryBatch
    kinds: Sequence[int]
    handling_ids: Sequence[int]

    @classmethod
    def of(cls, connection: Connection, batch: EntryBatch, kinds: Sequence[int]) -> Rows:
        """Takes a batch and what `bulk.kinds_of` says of it, and stores the handlings it brings."""
        said = batch.handlings if batch.said_handlings is None else batch.said_handlings
        return cls(batch, kinds, _interned(said, partial(intern_handlings, connection)))

    def take(self, rows: Sequence[int]) -> Rows:
        """The given rows, in that order."""
        return Rows(take(self.batch, rows), pick(self.kinds, rows), pick(self.handling_ids, rows))

    def count_key(self, row: int) -> tuple[int, int]:
        """Where a row counts in `counts.Counts`."""
        return self.kinds[row], self.handling_ids[row]


class EntryWriter:
    """Writes for one change of one list."""

    def __init__(self, *, list_id: int, change_id: int) -> None:
        self._list_id = list_id
        self._change_id = change_id
        self._next_version = change_id * VERSIONS_PER_CHANGE

    def draw_entry_ids(self, connection: Connection, number: int) -> int:
        """Takes ids in a row, never given before; returns the first."""
        return _draw(connection, "entry_id", number)

    def insert_entries(self, connection: Connection, keys: Sequence[bytes]) -> int | None:
        """Inserts entries under ids in a row.

        Returns:
            The id of the first; None when the list holds one of the keys: then nothing went in.
        """
        number = len(keys)
        first = self.draw_entry_ids(connection, number)
        # In key order: neighbours in the unique index then go in together.
        order = sorted(range(number), key=keys.__getitem__)
        columns = [
            [first + row for row in order],
            [self._list_id] * number,
            [self._change_id] * number,
            pick(keys, order),
        ]
        inserted = INSERT_NEW_ENTRIES.run(connection, columns)
        if inserted == number:
            return first
        # No savepoint: SQLite would keep a copy of every page of the index over keys for it.
        ids = entries.c.entry_id
        connection.execute(delete(entries).where(ids >= first, ids < first + number))
        return None

    def insert_versions(
        self,
        connection: Connection,
        rows: Rows,
        entry_ids: Sequence[int],
        order: NDArray[np.intp] | None = None,
    ) -> None:
        """Appends a version to each entry: those of `entry_ids`, row by row.

        With `order`, positions of all rows, `entry_ids` is a range, for the rows in that order.
        """
        batch = rows.batch
        number = len(batch)
        if not number:
            return
        version_ids = range(self._next_version, self._next_version + number)
        self._next_version += number
        class_ids = _interned(batch.classifications, partial(_classification_ids, connection))
        plain: dict[str, Sequence[Any]] = {
            "version_id": version_ids,
            "entry_id": entry_ids,
            "change_id": [self._change_id] * number,
            "kinds": rows.kinds,
            "flags": batch.flags,
            "flags_known": batch.flags_known,
            "size": batch.sizes,
            "classification_id": class_ids,
            "handling_id": rows.handling_ids,
            "verified_count": batch.verified_counts,
            "media_type": batch.media_types,
            "source_id": batch.source_ids,
            "source_updated_at": batch.source_updated_at,
            "content_digest": batch.content_digests,
        }
        insert_versions(connection, plain, batch.hashes, order)
        count_uses(
            connection,
            self._change_id,
            classification_ids=class_ids,
            handling_ids=rows.handling_ids,
        )
        if batch.extra_hashes:
            version_of = version_ids if order is None else np.argsort(order) + version_ids[0]
            INSERT_EXTRA_HASHES.run(connection, _extra_columns(batch, version_of))


def _draw(connection: Connection, counter: str, number: int) -> int:
    """Takes `number` ids in a row, never given before; returns the first.

    Where writers run side by side it is a transaction of its own, so that no import waits for the
    end of another's; ids that were drawn for rows that failed are never used.
    """
    statement = (
        update(counters)
        .where(counters.c.name == counter)
        .values(value=counters.c.value + number)
        .returning(counters.c.value)
    )
    if connection.dialect.name == "sqlite":
        return int(connection.execute(statement).scalar_one()) - number
    with connection.engine.begin() as own:
        return int(own.execute(statement).scalar_one()) - number


def _interned(
    values: Sequence[Any], intern: Callable[[Sequence[Any]], Sequence[int | None]]
) -> list[Any]:
    """Ids of a column of interned objects: looked up once for each object, not for each row."""
    identities = list(map(id, values))  # not hashed: that would cost more than all else
    if values and identities.count(identities[0]) == len(values):
        return [*intern(values[:1])] * len(values)
    different = dict(zip(identities, values, strict=True))
    ids = dict(zip(different, intern(list(different.values())), strict=True))
    return list(map(ids.__getitem__, identities))


def _classification_ids(
    connection: Connection, values: Sequence[Classification | None]
) -> list[int | None]:
    # In one order everywhere: who waits for another's new row is never waited for by it.
    told = sorted((each for each in values if each is not None), key=repr)
    ids = {id(each): intern_classification(connection, each) for each in told}
    return [None if each is None else ids[id(each)] for each in values]


def _extra_columns(
    batch: EntryBatch, version_of: Sequence[int] | NDArray[np.int64]
) -> list[Sequence[Any]]:
    rows = [
        (int(version_of[row]), ordinal, kind.value, value, derivation)
        for ordinal, (row, kind, value, derivation) in enumerate(batch.extra_hashes)
    ]
    return list(zip(*rows, strict=True))
