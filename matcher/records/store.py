"""The store's one face: records in, found again, reported on, and swept.

Invariants: what is added is there whole or not at all; what is older than `keep` by the clock is
not given out, and what is older by `matcher.records.ageing`, too, is deleted by `sweep`; a store
that was sealed with other keys is never written to. Errors of the database leave only as
`MatchRecordsError`, which tells no value.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Self

from sqlalchemy import and_, exists, insert, select, update

from matcher.errors import (
    MatchNotFoundError,
    SealingKeyError,
)
from matcher.model import Outcome
from matcher.records import schema
from matcher.records.ageing import Ageing, counted_from, noted_time
from matcher.records.database import insert_or_ignore, open_database, reading, writing
from matcher.records.model import (
    MatchRecord,
    RecordedEntry,
    Reported,
    entries_decoder,
    entry_to_bytes,
    micros_of,
    policy_from_bytes,
    policy_to_bytes,
)
from matcher.records.sweeping import sweep
from matcher.sealing import Sealer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence
    from datetime import datetime, timedelta
    from types import TracebackType

    from sqlalchemy import ColumnElement, Connection, Engine, Row

    from matcher.records.sweeping import Swept
    from matcher.sealing import KeySource

_RECORDS, _CLIENTS, _ENTRIES = b"match record", b"match client", b"match entry"
_OUTCOMES, _POLICIES = b"match outcome", b"match policy"
_MICROSECONDS = 1_000_000
_PAGE = 200
#: Marks in one statement; databases bound how many values that may hold.
_MARKS = 200


@dataclass(frozen=True, slots=True)
class StoredRecord:
    """A record as it is kept.

    Attributes:
        number: counts up with time; for paging.
        record: what it says.
        counted_from: when its days begin, in microseconds since 1970 UTC: when it says, but for one
            that was dated by a clock that was wrong.
        reported: what was reported of it; None where nothing was.
    """

    number: int
    record: MatchRecord
    counted_from: int
    reported: Reported | None = None


@dataclass(frozen=True, slots=True)
class RecordFilter:
    """Which records are wanted.

    Attributes:
        client: only those of this client; None for all.
        since: only those of then and later.
        until: only those before then.
        entries: only those that rest on one of these entries, of any class.
    """

    client: str | None = None
    since: datetime | None = None
    until: datetime | None = None
    entries: frozenset[int] | None = None


class RecordStore:
    """An open store. Threads may share it; processes open it each for themselves."""

    def __init__(
        self,
        engine: Engine,
        keys: KeySource,
        keep: timedelta,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        """Use `RecordStore.open`."""
        self._engine = engine
        self._keep = int(keep.total_seconds() * _MICROSECONDS)
        self._clock = clock
        self._ageing = Ageing(steady)
        self._records = Sealer(keys, _RECORDS)
        self._clients = Sealer(keys, _CLIENTS)
        self._entries = Sealer(keys, _ENTRIES)
        self._outcomes = Sealer(keys, _OUTCOMES)
        self._policies = Sealer(keys, _POLICIES)

    @classmethod
    def open(
        cls,
        url: str,
        keys: KeySource,
        *,
        keep: timedelta,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> Self:
        """Opens the store at an SQLAlchemy URL, and makes it where there is none.

        Args:
            url: of the database; it holds nothing else.
            keys: what is sealed with. A file of them is made where there is none.
            keep: how long records are kept.
            clock: seconds since 1970 UTC.
            steady: seconds that never go back, and that nobody sets.

        Raises:
            MatchRecordsError: it cannot be opened, holds something else, or is of a newer build.
            SealingKeyError: the keys cannot be read, or what it holds was sealed with others.
        """
        keys.prepare()
        engine = open_database(url)
        store = cls(engine, keys, keep, clock, steady)
        try:
            with reading(engine) as connection:
                store._check_key(connection)
        except BaseException:
            engine.dispose()
            raise
        return store

    def close(self) -> None:
        """Closes all idle connections."""
        self._engine.dispose()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def add(
        self,
        records: Sequence[MatchRecord],
        policies: Mapping[str, Mapping[str, Any]] | None = None,
    ) -> None:
        """Adds records, all or none; those that are there already stay as they are.

        Args:
            records: of matches.
            policies: documents of policies by their version, which are kept as long as records.

        Raises:
            MatchRecordsError: the database failed; so of all below.
            SealingKeyError: there is no key, or it is none of this store.
        """
        now = self._now()
        with writing(self._engine) as connection:
            self._check_key(connection)
            self._note_key(connection)
            for version, document in (policies or {}).items():
                sealed = self._policies.seal(policy_to_bytes(document), version.encode())
                mark = self._policies.mark(version.encode())
                row = {"mark": mark, "used_at": now, "sealed": sealed}
                insert_or_ignore(connection, schema.policies, row)
            noted = noted_time(connection, now)
            for record in records:
                self._add(connection, record, counted_from(record.at, noted))
            for version in {each.policy_version for each in records}:
                marks = self._policies.marks(version.encode())
                used = update(schema.policies).where(schema.policies.c.mark.in_(marks))
                connection.execute(used.values(used_at=now))

    def get(self, match_id: str, *, client: str | None = None) -> StoredRecord:
        """One record.

        Args:
            match_id: as an answer told it.
            client: whose it must be; None for anybody's.

        Raises:
            MatchNotFoundError: there is none, or it is another client's.
        """
        with reading(self._engine) as connection:
            row = self._row(connection, match_id)
            found = None if row is None else self._opened(row)
        if found is None or (client is not None and found.record.client != client):
            raise MatchNotFoundError(
                "no record of a match by that id is kept: it is older than records are kept, was "
                "not written yet or lost, is not yours, or was found by the command line without "
                "--server, which keeps none"
            )
        return found

    def pages(self, wanted: RecordFilter) -> Iterator[list[StoredRecord]]:
        """The records that are wanted, newest first, some at a time and never none.

        Those that rest on some of very many entries come in portions, each newest first.

        Each page is read by itself, so that nothing is held while somebody reads slowly. A record
        that cannot be opened ends it: nothing is passed over in silence.

        Raises:
            BrokenSealError: a record was altered, or its key is not here.
        """
        marks = None
        if wanted.entries is not None:
            marks = [mark for mark, each in self.entries() if each.entry_id in wanted.entries]
        yield from self._pages(wanted, marks)

    def resting_on(
        self, marks: Sequence[bytes], wanted: RecordFilter
    ) -> Iterator[list[StoredRecord]]:
        """As `pages`, of those that rest on any of the entries that have these marks."""
        yield from self._pages(wanted, list(marks))

    def entries(self) -> Iterator[tuple[bytes, RecordedEntry]]:
        """Every entry that any record rests on, as it was then, with its mark.

        There are as many as entries were ever met within the time that records are kept.
        """
        after = b""
        table = schema.entries.c
        while True:
            with reading(self._engine) as connection:
                query = select(table.mark, table.sealed).where(table.mark > after)
                rows = connection.execute(query.order_by(table.mark).limit(_PAGE)).all()
            for mark, sealed in rows:
                yield bytes(mark), entries_decoder.decode(self._entries.open(sealed, bytes(mark)))
            if len(rows) < _PAGE:
                return
            after = bytes(rows[-1].mark)

    def policy(self, version: str) -> Mapping[str, Any] | None:
        """The document of a policy that a record names; None where it is not kept."""
        table = schema.policies.c
        marks = self._policies.marks(version.encode())
        with reading(self._engine) as connection:
            row = connection.execute(select(table.sealed).where(table.mark.in_(marks))).first()
        if row is None:
            return None
        return policy_from_bytes(self._policies.open(row.sealed, version.encode()))

    def report(self, match_id: str, reported: Reported, *, client: str | None = None) -> Reported:
        """Keeps whether a match was right; the last word counts.

        Args:
            match_id: as an answer told it.
            reported: what is said.
            client: whose match it must be; None for anybody's.

        Returns:
            What is kept: where the same was said before, what was kept then.

        Raises:
            MatchNotFoundError: as `get`.
        """
        self.get(match_id, client=client)
        with writing(self._engine) as connection:
            self._check_key(connection)
            row = self._row(connection, match_id)
            if row is None:
                raise MatchNotFoundError("the record of that match has just expired")
            found = self._opened(row)
            before = found.reported
            if before is not None and (before.outcome, before.reason) == (
                reported.outcome,
                reported.reason,
            ):
                return before
            self._note_key(connection)
            sealed = self._outcomes.seal(reported.to_bytes(), match_id.encode())
            values: dict[str, Any] = {"outcome": reported.outcome.value, "sealed": sealed}
            if before is None:
                values["number"] = found.number
                connection.execute(insert(schema.outcomes).values(values))
            else:
                at = schema.outcomes.c.number == found.number
                connection.execute(update(schema.outcomes).where(at).values(values))
            lists = sorted({each.entry.list_name for each in found.record.matches})
            for name in lists:
                if before is not None:
                    _count(connection, name, before.outcome, -1)
                _count(connection, name, reported.outcome, 1)
        return reported

    def outcome_counts(self) -> dict[str, dict[Outcome, int]]:
        """By list how many of its matches were found right, and wrong, of all time."""
        with reading(self._engine) as connection:
            rows = connection.execute(select(schema.outcome_counts)).all()
        counts: dict[str, dict[Outcome, int]] = {}
        for name, outcome, matches in rows:
            counts.setdefault(name, dict.fromkeys(Outcome, 0))[Outcome(outcome)] = matches
        return counts

    def sweep(self) -> Swept:
        """Deletes what is older than records are kept; where they are kept for no days, all.

        Of a process's sweeps the first only looks what time it is: see `matcher.records.ageing`.
        """
        return sweep(self._engine, self._ageing, clock=self._now(), keep=self._keep)

    def expires(self, stored: StoredRecord) -> int:
        """When a record is gone, in microseconds since 1970 UTC."""
        return stored.counted_from + self._keep

    def _add(self, connection: Connection, record: MatchRecord, at: int) -> None:
        row = {
            "match_id": record.match_id,
            "at": at,
            "client_mark": self._clients.mark(record.client.encode()),
            "sealed": self._records.seal(record.to_bytes(), record.match_id.encode()),
        }
        number = insert_or_ignore(connection, schema.records, row)
        if number is None:
            return
        marks = {}
        for each in record.matches:
            form = entry_to_bytes(each.entry)
            marks[self._entries.mark(form)] = form
        for mark, form in sorted(marks.items()):
            known = select(exists().where(schema.entries.c.mark == mark))
            if not connection.execute(known).scalar():
                sealed = self._entries.seal(form, mark)
                entry = {"mark": mark, "sealed": sealed}
                insert_or_ignore(connection, schema.entries, entry)
            rests = {"mark": mark, "number": number}
            connection.execute(insert(schema.record_entries).values(rests))

    def _pages(
        self, wanted: RecordFilter, marks: list[bytes] | None
    ) -> Iterator[list[StoredRecord]]:
        earlier: set[bytes] = set()
        for some in _portions(marks):
            before = None
            while True:
                with reading(self._engine) as connection:
                    rows = connection.execute(self._query(wanted, some, before)).all()
                    page = [self._opened(each) for each in rows]
                    # What rests on several entries comes once, by the first of them.
                    again = _resting_on(connection, page, earlier)
                if new := [each for each in page if each.number not in again]:
                    yield new
                if len(rows) < _PAGE:
                    break
                before = page[-1].number
            earlier.update(some or ())

    def _query(self, wanted: RecordFilter, marks: list[bytes] | None, before: int | None) -> Any:
        table = schema.records.c
        conditions: list[ColumnElement[bool]] = [table.at >= self._oldest()]
        if before is not None:
            conditions.append(table.number < before)
        if wanted.client is not None:
            conditions.append(table.client_mark.in_(self._clients.marks(wanted.client.encode())))
        if wanted.since is not None:
            conditions.append(table.at >= micros_of(wanted.since))
        if wanted.until is not None:
            conditions.append(table.at < micros_of(wanted.until))
        if marks is not None:
            resting = schema.record_entries.c
            rests = and_(resting.number == table.number, resting.mark.in_(marks))
            conditions.append(exists().where(rests))
        return _rows().where(*conditions).order_by(table.number.desc()).limit(_PAGE)

    def _row(self, connection: Connection, match_id: str) -> Row[Any] | None:
        table = schema.records.c
        found = _rows().where(table.match_id == match_id, table.at >= self._oldest())
        return connection.execute(found).first()

    def _opened(self, row: Row[Any]) -> StoredRecord:
        about = row.match_id.encode()
        record = MatchRecord.from_bytes(self._records.open(row.sealed, about))
        reported = None
        if row.reported is not None:
            reported = Reported.from_bytes(self._outcomes.open(row.reported, about))
        return StoredRecord(row.number, record, row.at, reported)

    def _check_key(self, connection: Connection) -> None:
        """Refuses keys among which the one that sealed last is not.

        Raises:
            SealingKeyError: it is not.
        """
        query = select(schema.meta.c.value).where(schema.meta.c.name == schema.KEY_NAME)
        name = connection.execute(query).scalar()
        if name is not None and not self._records.knows(bytes(name)):
            raise SealingKeyError(
                "the records of matches were sealed with another key than is in match_keys: put "
                "that one there, below the newest"
            )

    def _note_key(self, connection: Connection) -> None:
        name = self._records.key_name
        row = {"name": schema.KEY_NAME, "value": name}
        insert_or_ignore(connection, schema.meta, row)
        at = and_(schema.meta.c.name == schema.KEY_NAME, schema.meta.c.value != name)
        connection.execute(update(schema.meta).where(at).values(value=name))

    def _oldest(self) -> int:
        return self._now() - self._keep

    def _now(self) -> int:
        return int(self._clock() * _MICROSECONDS)


def _rows() -> Any:
    table, reported = schema.records, schema.outcomes
    columns = (
        table.c.number,
        table.c.match_id,
        table.c.at,
        table.c.sealed,
        reported.c.sealed.label("reported"),
    )
    return select(*columns).select_from(table.outerjoin(reported))


def _resting_on(
    connection: Connection, page: Sequence[StoredRecord], marks: set[bytes]
) -> set[int]:
    """The numbers of those records of a page that rest on an entry with one of the marks."""
    if not marks or not page:
        return set()
    table = schema.record_entries.c
    query = select(table.number, table.mark).where(table.number.in_([each.number for each in page]))
    return {number for number, mark in connection.execute(query) if bytes(mark) in marks}


def _portions(marks: list[bytes] | None) -> Iterator[list[bytes] | None]:
    """Marks, as many at a time as a statement takes.

    Args:
        marks: None where none is asked for.
    """
    if marks is None:
        yield None
        return
    for start in range(0, len(marks), _MARKS):
        yield marks[start : start + _MARKS]


def _count(connection: Connection, list_name: str, outcome: Outcome, change: int) -> None:
    table = schema.outcome_counts
    row = {"list_name": list_name, "outcome": outcome.value, "matches": 0}
    insert_or_ignore(connection, table, row)
    at = and_(table.c.list_name == list_name, table.c.outcome == outcome.value)
    connection.execute(update(table).where(at).values(matches=table.c.matches + change))


__all__ = ["RecordFilter", "RecordStore", "StoredRecord"]
