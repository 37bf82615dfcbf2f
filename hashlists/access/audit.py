"""The record of who did what: appended, each record chained to the one before by SHA-256.

What a record says is in the digest, its number and time included, so nothing can be altered, taken
out or put in between without all later digests being other ones. The end of the chain is in the
row of `head`, and is kept apart from the database in a file too (`audit_head`), so that records cut
off at the end are missed.

An act is recorded before it takes place, and again when it has ended, or failed. But for what an
operator writes into a reason, no record holds a hash, a token, or a word of an entry.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from datetime import UTC, datetime
from enum import StrEnum
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from hashlists.access import schema
from hashlists.access.audit_head import AuditHead

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection, Row

_PAGE = 1_000
#: What the first record is chained to.
GENESIS = hashlib.sha256(b"hashwarden audit 1").digest()


class Outcome(StrEnum):
    """How far an act had come when it was recorded."""

    BEGUN = "begun"
    DONE = "done"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class Event:
    """What is recorded of an act.

    Attributes:
        actor: who, e.g. `client:uploads`, or `account:ops` of the command line.
        act: what, e.g. `list.import`.
        subject: the list or client that it was done to.
        outcome: how far it had come.
        details: JSON-able values.
    """

    actor: str
    act: str
    subject: str
    outcome: Outcome = Outcome.DONE
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class AuditRecord:
    """A record of the chain.

    Attributes:
        number: from 1 on, without a gap.
        at: when it was written.
        event: what it says.
        digest: of it and all before it, 32 bytes.
    """

    number: int
    at: datetime
    event: Event
    digest: bytes


@dataclass(frozen=True, slots=True)
class Fault:
    """Where the chain is broken first.

    Attributes:
        number: of the record.
        problem: what is wrong there.
    """

    number: int
    problem: str


def append(connection: Connection, event: Event, *, now: int) -> AuditHead:
    """Adds a record, in a writer's transaction; gives the new end of the chain."""
    row = connection.execute(select(schema.head)).one()
    number = row.audit_number + 1
    values = {
        "number": number,
        "at": now,
        "actor": event.actor,
        "act": event.act,
        "subject": event.subject,
        "outcome": event.outcome.value,
        "details": json.dumps(event.details, sort_keys=True),
    }
    digest = _chained(row.audit_digest, values)
    connection.execute(insert(schema.audit).values(**values, digest=digest))
    connection.execute(
        update(schema.head).values(audit_number=number, audit_digest=digest),
    )
    return AuditHead(number, digest)


def digest_at(connection: Connection, number: int) -> bytes | None:
    """The digest of a record; None where there is no such record."""
    query = select(schema.audit.c.digest).where(schema.audit.c.number == number)
    found: bytes | None = connection.execute(query).scalar()
    return found


def newest(connection: Connection, act: str) -> AuditRecord | None:
    """The newest record of an act; None where there is none."""
    query = (
        select(schema.audit)
        .where(schema.audit.c.act == act)
        .order_by(schema.audit.c.number.desc())
        .limit(1)
    )
    row = connection.execute(query).first()
    return None if row is None else _record(row)


def of_acts(
    connection: Connection, acts: Sequence[str], *, after: int, limit: int
) -> list[AuditRecord]:
    """Records of some acts in order, from the one after `after` on."""
    query = (
        select(schema.audit)
        .where(schema.audit.c.act.in_(acts), schema.audit.c.number > after)
        .order_by(schema.audit.c.number)
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def read(connection: Connection, *, after: int, limit: int) -> list[AuditRecord]:
    """Records in order, from the one after `after` on."""
    query = (
        select(schema.audit)
        .where(schema.audit.c.number > after)
        .order_by(schema.audit.c.number)
        .limit(limit)
    )
    return [_record(row) for row in connection.execute(query)]


def find_fault(connection: Connection, kept: AuditHead | None) -> Fault | None:
    """The first record at which the chain is broken; None where it is whole.

    Args:
        connection: in one transaction.
        kept: an end that the chain once had, as it was kept apart; None where none was.
    """
    end, fault = AuditHead(0, GENESIS), None
    for row in _rows(connection):
        if row.number != end.number + 1:
            return Fault(end.number + 1, "is missing")
        end = AuditHead(row.number, _chained(end.digest, row._asdict()))
        if end.digest != row.digest:
            fault = Fault(end.number, "says something else than when it was written")
        elif kept is not None and kept.number == end.number and kept.digest != end.digest:
            fault = Fault(end.number, "is not the one at which the chain was kept apart")
        if fault is not None:
            return fault
    return _fault_at_end(connection, end, kept)


def _fault_at_end(connection: Connection, end: AuditHead, kept: AuditHead | None) -> Fault | None:
    """Whether records are missing behind the last."""
    if kept is not None and kept.number > end.number:
        told = f"is missing, and all up to {kept.number}, at which the chain was kept apart"
        return Fault(end.number + 1, told)
    row = connection.execute(select(schema.head)).one()
    if row.audit_number > end.number:
        return Fault(end.number + 1, f"is missing, and all up to {row.audit_number}")
    if (row.audit_number, row.audit_digest) != (end.number, end.digest):
        return Fault(end.number, "is not the one that the database has as its newest")
    return None


def _rows(connection: Connection) -> Iterator[Row[Any]]:
    after = 0
    while True:
        query = (
            select(schema.audit)
            .where(schema.audit.c.number > after)
            .order_by(schema.audit.c.number)
            .limit(_PAGE)
        )
        page = connection.execute(query).all()
        yield from page
        if len(page) < _PAGE:
            return
        after = page[-1].number


_SAID = ("number", "at", "actor", "act", "subject", "outcome", "details")


def _chained(before: bytes, values: Mapping[str, Any]) -> bytes:
    """The digest of a record that follows one with the digest `before`."""
    said = json.dumps([values[name] for name in _SAID], ensure_ascii=True, separators=(",", ":"))
    return hashlib.sha256(before + said.encode("ascii")).digest()


def _record(row: Row[Any]) -> AuditRecord:
    event = Event(row.actor, row.act, row.subject, Outcome(row.outcome), json.loads(row.details))
    return AuditRecord(row.number, moment(row.at), event, row.digest)


def moment(microseconds: int) -> datetime:
    """A time as the tables have it."""
    return datetime.fromtimestamp(microseconds / 1_000_000, UTC)


__all__ = [
    "GENESIS",
    "AuditRecord",
    "Event",
    "Fault",
    "Outcome",
    "append",
    "digest_at",
    "find_fault",
    "moment",
    "newest",
    "read",
]
