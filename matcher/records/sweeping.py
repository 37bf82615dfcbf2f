"""Deletes records that have been kept for long enough, with all that only they rest on.

Each transaction is short, so that nobody who writes records waits for long. What time it is, is for
`matcher.records.ageing` to say: a sweep never deletes by the word of a clock alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from sqlalchemy import delete, exists, select

from matcher.records import schema
from matcher.records.database import writing

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from matcher.records.ageing import Ageing

#: Records of one transaction.
_SWEPT = 500


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did.

    Attributes:
        records: how many it deleted.
        ahead: by how much the clock is ahead of the time that records age by. Where that is more
            than some minutes, no server ran for so long, or the clock is wrong.
    """

    records: int
    ahead: timedelta


def sweep(engine: Engine, ageing: Ageing, *, clock: int, keep: int) -> Swept:
    """Deletes what is older than records are kept; where they are kept for no time at all, all.

    Args:
        engine: of the records' database.
        ageing: how this process moves the time that records age by.
        clock: what the machine's clock says, in microseconds since 1970 UTC.
        keep: for how long records are kept, in microseconds.

    Raises:
        MatchRecordsError: the database failed.
    """
    swept = 0
    while True:
        with writing(engine) as connection:
            moved = ageing.move(connection, clock)
            numbers = _old(connection, moved - keep if keep else None)
            if numbers:
                _delete(connection, numbers)
            if len(numbers) < _SWEPT:
                _delete_unused(connection, moved - keep)
        swept += len(numbers)
        if len(numbers) < _SWEPT:
            return Swept(swept, timedelta(microseconds=clock - moved))


def _old(connection: Connection, oldest: int | None) -> list[int]:
    """The numbers of some records that are older; of any, where it is None."""
    table = schema.records.c
    query = select(table.number).limit(_SWEPT)
    if oldest is not None:
        query = query.where(table.at < oldest)
    return list(connection.execute(query).scalars())


def _delete(connection: Connection, numbers: Sequence[int]) -> None:
    for table in (schema.record_entries, schema.outcomes, schema.records):
        connection.execute(delete(table).where(table.c.number.in_(numbers)))


def _delete_unused(connection: Connection, oldest: int) -> None:
    resting = exists().where(schema.record_entries.c.mark == schema.entries.c.mark)
    connection.execute(delete(schema.entries).where(~resting))
    connection.execute(delete(schema.policies).where(schema.policies.c.used_at < oldest))


__all__ = ["Swept", "sweep"]
