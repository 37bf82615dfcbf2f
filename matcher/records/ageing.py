"""The time that records grow old by: one that no clock which was set wrong can move far.

Records that are deleted are gone for good, and with them what a wronged person could appeal on. So
no look at a clock deletes anything by its word alone. The time that records age by stands in their
database, and goes towards the machine's clock, either way, at most twice as fast as time passes by
a clock that nobody sets, in a process that is there all the while.

Invariants: a process that has just opened the database moves the time not at all; several that
share it move it no further than one alone would. So a clock that is wrong for a day ages records by
a day too many, however far it is ahead; and records that a clock which is behind has dated are kept
as long as others. After a pause of all servers the time catches up in as long as that took: until
then records are deleted later than they might be, never earlier.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from sqlalchemy import delete, func, insert, select

from matcher.records import schema

if TYPE_CHECKING:
    from collections.abc import Callable

    from sqlalchemy import Connection

_FASTEST: Final = 2
_MICROSECONDS: Final = 1_000_000
_BYTES: Final = 8
#: No record waits so long for being written: one that is dated before was so by a wrong clock.
_LATE: Final = 86_400 * _MICROSECONDS
#: It is later than that wherever this runs, whatever a clock says that nobody has set yet: else the
#: time would take decades to come here from 1970. In microseconds since 1970 UTC.
_EARLIEST: Final = int(datetime(2026, 1, 1, tzinfo=UTC).timestamp()) * _MICROSECONDS
_NOTED: Final = schema.meta.c.name == schema.TIME_NAME


@dataclass(frozen=True, slots=True)
class _Look:
    """What stood in the database, in microseconds since 1970 UTC, and when, by the steady clock."""

    time: int
    steady: float


class Ageing:
    """How a process moves the time. Not for several threads at once.

    Args:
        steady: seconds that never go back, and that nobody sets.
    """

    def __init__(self, steady: Callable[[], float] = time.monotonic) -> None:
        self._steady = steady
        self._last: _Look | None = None

    def move(self, connection: Connection, clock: int) -> int:
        """Moves the time towards the clock's, in a writer's transaction.

        Args:
            connection: of the records' database.
            clock: what the machine's clock says, in microseconds since 1970 UTC.

        Returns:
            The time to delete by, in the same; never later than the clock's.
        """
        noted, steady = noted_time(connection, clock), self._steady()
        if noted is None:
            self._last = None
            return clock  # nothing is kept, so nothing can be lost
        moved = noted
        if self._last is not None:
            reach = int(_FASTEST * (steady - self._last.steady) * _MICROSECONDS)
            moved = min(max(clock, self._last.time - reach), self._last.time + reach)
            # Another process may have come further meanwhile, with the same right.
            moved = min(moved, noted, key=lambda each: abs(clock - each))
        _note(connection, moved)
        self._last = _Look(moved, steady)
        return min(moved, clock)


def noted_time(connection: Connection, clock: int) -> int | None:
    """The time that stands in the database, in a writer's transaction.

    Where none does, the newest record tells what time it was. So nothing may be written before:
    who writes has it noted first, or a record that a wrong clock dates would tell of the others.

    Args:
        connection: of the records' database.
        clock: what the machine's clock says, in microseconds since 1970 UTC.

    Returns:
        The time in the same; None where there is no record.
    """
    newest: int | None = connection.execute(select(func.max(schema.records.c.at))).scalar()
    if newest is None:
        connection.execute(delete(schema.meta).where(_NOTED))
        return None
    value: bytes | None = connection.execute(select(schema.meta.c.value).where(_NOTED)).scalar()
    if value is not None:
        return max(int.from_bytes(value, "big", signed=True), _EARLIEST)
    first = max(min(newest, clock), _EARLIEST)
    _note(connection, first)
    return first


def counted_from(at: int, noted: int | None) -> int:
    """When the days of a new record begin: when it is dated, unless by a clock that was far behind.

    A record that says 1970 would otherwise be too old as soon as the clock is right.

    Args:
        at: when it is dated, in microseconds since 1970 UTC.
        noted: the time that stands in the database, in the same; None for none.
    """
    return at if noted is None or at > noted - _LATE else noted


def _note(connection: Connection, moved: int) -> None:
    connection.execute(delete(schema.meta).where(_NOTED))
    row = {"name": schema.TIME_NAME, "value": moved.to_bytes(_BYTES, "big", signed=True)}
    connection.execute(insert(schema.meta).values(row))


__all__ = ["Ageing", "counted_from", "noted_time"]
