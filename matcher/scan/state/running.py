"""The runs of a scan as rows."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import msgspec
from sqlalchemy import insert, inspect, select, update
from sqlalchemy.dialects.sqlite import insert as sqlite_insert

from matcher.scan.state import schema
from matcher.scan.state.summary import Run, RunEnd, changes

if TYPE_CHECKING:
    from sqlalchemy import Connection

_RUNS = schema.runs.c


def begin(connection: Connection, run: Run) -> int:
    """Writes a run down as begun; its number. Those that have not ended were killed."""
    connection.execute(update(schema.runs).where(_RUNS.how == "").values(how=RunEnd.KILLED.value))
    number: int = connection.execute(
        insert(schema.runs)
        .values(
            began_at=run.began_at,
            ended_at=0.0,
            how="",
            revision=run.revision,
            policy=run.policy,
            policy_version=run.policy_version,
            hashed=msgspec.msgpack.encode(run.hashed),
            objects=0,
        )
        .returning(_RUNS.number)
    ).scalar_one()
    _set_decoders(connection, number, run.decoders)
    return number


def set_hashed(connection: Connection, number: int, hashed: tuple[str, ...], decoders: str) -> None:
    """Writes down what a run's hashes are of, and which decoders read that."""
    connection.execute(
        update(schema.runs)
        .where(_RUNS.number == number)
        .values(hashed=msgspec.msgpack.encode(hashed))
    )
    _set_decoders(connection, number, decoders)


def add(connection: Connection, number: int, objects: int, *, at: float) -> None:
    """Counts what a run has finished at that time."""
    connection.execute(
        update(schema.runs)
        .where(_RUNS.number == number)
        .values(objects=_RUNS.objects + objects, ended_at=at)
    )


def end(connection: Connection, number: int, how: RunEnd, *, at: float) -> None:
    """Writes down how a run has ended."""
    connection.execute(
        update(schema.runs).where(_RUNS.number == number).values(how=how.value, ended_at=at)
    )


def all_of(connection: Connection) -> tuple[Run, ...]:
    """All runs, the first one first."""
    decoders = _decoders(connection)
    told: list[Run] = []
    for row in connection.execute(select(schema.runs).order_by(_RUNS.number)):
        run = Run(
            number=row.number,
            began_at=row.began_at,
            revision=row.revision,
            policy=row.policy,
            policy_version=row.policy_version,
            hashed=msgspec.msgpack.decode(row.hashed, type=tuple[str, ...]),
            decoders=decoders.get(row.number, ""),
            ended_at=row.ended_at if row.how else 0.0,
            how=row.how,
            objects=row.objects,
        )
        told.append(replace(run, changed=changes(told[-1] if told else None, run)))
    return tuple(told)


def _set_decoders(connection: Connection, number: int, versions: str) -> None:
    schema.decoders.create(connection, checkfirst=True)  # an older build has made the state
    row = sqlite_insert(schema.decoders).values(run=number, versions=versions)
    connection.execute(row.on_conflict_do_update(set_={"versions": row.excluded.versions}))


def _decoders(connection: Connection) -> dict[int, str]:
    """The decoders of each run of which they are known, by its number."""
    if not inspect(connection).has_table(schema.decoders.name):
        return {}  # an older build has made the state, and this one has not written to it
    return {row.run: row.versions for row in connection.execute(select(schema.decoders))}


__all__ = ["add", "all_of", "begin", "end", "set_hashed"]
