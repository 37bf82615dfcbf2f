"""What is noticed over many answers: what is told of it, and what it changes."""

from __future__ import annotations

import asyncio
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.access.audit import AuditRecord, Event
from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.noticed import CLIENT_CLIMBING, ENTRY_HOT, REVIEWED, waiting
from hashlists.errors import AccessDatabaseError
from hashlists.model import HashKind
from matcher.errors import ClimbingError
from matcher.model import (
    Basis,
    Closeness,
    Decision,
    ImageHashes,
    Match,
    MatchResult,
    ViewHashes,
)
from matcher.service import noticing
from matcher.service.callers import note_place
from matcher.service.noticing import Noticing, NoticingSettings
from matcher.service.peers import Peers, Switchboard

HOT = NoticingSettings(hot_hits=3, hot_factor=1, hot_review=True)
CLIMBING = NoticingSettings(climbing="throttle", climbing_steps=6, climbing_answer_seconds=5)


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'access.sqlite3'}"
    with AccessDatabase.open(url, HeadFile(tmp_path / "audit.head")) as database:
        yield database


@asynccontextmanager
async def noticing_with(settings, database, **more):
    made = Noticing(settings, lambda: database, actor="server:test", **more)
    try:
        yield made
    finally:
        await made.close()


def match(entry_id, basis=Basis.NEAR, harm="csam"):
    return Match(
        list_name="demo",
        harm=harm,
        entry_id=entry_id,
        kind=HashKind.PDQ,
        basis=basis,
        view="upright",
        distance=3,
        closeness=Closeness.CLOSE,
        classification=None,
        severity="high",
    )


def result(*matches, decision=None, total=None):
    return MatchResult(
        decision=decision or (Decision.MATCH if matches else Decision.NO_KNOWN_MATCH),
        reason=None,
        detail="why",
        match_id="m1" if matches else "",
        matches=matches[:1],
        total_matches=len(matches) if total is None else total,
        shadow_matches=0,
        kinds_tried=(),
        views_tried=(),
        views_left_out=(),
        revision=1,
        policy="default",
        policy_version="v",
        detail_for_operator="why, in full",
        recorded=matches,
    )


def image(number=0, *, quality=100, view="upright"):
    code = bytearray(32)
    code[number // 8] |= 1 << number % 8
    codes = {HashKind.PDQ: bytes(code)}
    return ImageHashes({}, size=None, views=(ViewHashes(view, quality, codes),))


async def test_a_hot_entry_is_recorded_once_and_its_matches_are_reviews(database):
    async with noticing_with(HOT, database) as noticed:
        told = [noticed.look(result(match(7)), image()) for _ in range(5)]
        assert [each.decision for each in told] == [Decision.MATCH] * 2 + [Decision.REVIEW] * 3
        assert told[-1].match_id == "m1"
        assert [each.flagged for each in told] == [False] * 2 + [True] * 3
        assert "far more often than usual" in told[-1].detail
        assert noticed.hot_entries == 1
        # What was asked for the past changes no count, and is judged the same.
        assert noticed.judged(result(match(7))).decision is Decision.REVIEW
    (record,) = database.records()
    assert (record.event.actor, record.event.act) == ("server:test", ENTRY_HOT)
    assert record.event.subject == "entry:7"
    assert record.event.details == {
        "list": "demo",
        "hits": 3,
        "usual": 0.0,
        "window_seconds": 3600.0,
    }
    assert noticed.counts["hot_entries_flagged"] == 1
    assert noticed.counts["hot_entry_reviews"] == 4


async def test_a_match_that_rests_on_more_than_hot_entries_stays_one(database):
    async with noticing_with(HOT, database) as noticed:
        for _ in range(3):
            noticed.look(result(match(7)), image())
        assert noticed.judged(result(match(7), match(8))).decision is Decision.MATCH
        # Beyond what a record holds nobody knows.
        assert noticed.judged(result(match(7), total=2)).decision is Decision.MATCH
        review = result(match(7), decision=Decision.REVIEW)
        assert noticed.judged(review) is review


async def test_entries_for_tests_are_never_flagged(database):
    """Probes ask for them all the time."""
    async with noticing_with(HOT, database) as noticed:
        for _ in range(9):
            told = noticed.look(result(match(7, harm="test")), image())
            assert told.decision is Decision.MATCH
        assert noticed.hot_entries == 0
        for _ in range(3):
            told = noticed.look(result(match(7, harm="test"), match(8)), image())
        assert told.decision is Decision.REVIEW


@pytest.mark.parametrize(
    ("settings", "flagged"),
    [(NoticingSettings(hot_hits=3, hot_factor=1), 1), (NoticingSettings(hot_hits=0), 0)],
)
async def test_by_default_no_decision_changes(database, settings, flagged):
    async with noticing_with(settings, database) as noticed:
        for _ in range(9):
            assert noticed.look(result(match(7)), image()).decision is Decision.MATCH
        assert noticed.hot_entries == flagged


async def test_a_reviewed_entry_is_hot_no_longer(database):
    async with noticing_with(HOT, database) as noticed:
        for _ in range(3):
            noticed.look(result(match(7)), image())
        for subject in ("entry:7", "entry:x", "client:a"):
            database.record(Event("account:ops", REVIEWED, subject))
        await noticed.read_reviews()
        assert noticed.hot_entries == 0
        assert noticed.look(result(match(7)), image()).decision is Decision.MATCH
        await noticed.read_reviews()


class Reviews:
    """An audit that tells one record at a time, as a long one tells pages."""

    def __init__(self, *records):
        self._records = [
            AuditRecord(number, at, Event("account:ops", REVIEWED, subject), b"")
            for number, (at, subject) in enumerate(records, start=1)
        ]

    def record(self, _):
        pass

    def records_of(self, acts, *, after):
        assert acts == [REVIEWED]
        return self._records[after : after + 1]


async def test_all_reviews_are_read_but_for_those_that_are_over():
    now, day = datetime.now(UTC), timedelta(days=1)
    reviews = Reviews((now - 2 * day, "entry:7"), (now - day / 2, "entry:8"), (now, "entry:9"))
    async with noticing_with(HOT, reviews) as noticed:
        for entry in (7, 8, 9):
            for _ in range(3):
                noticed.look(result(match(entry)), image())
        assert noticed.hot_entries == 3
        await noticed.read_reviews()
        assert noticed.hot_entries == 1
        assert noticed.look(result(match(7)), image()).decision is Decision.REVIEW


async def test_servers_follow_reviews_by_themselves(database, monkeypatch):
    monkeypatch.setattr(noticing, "_LOOK_SECONDS", 0.01)
    async with noticing_with(HOT, database) as noticed:
        noticed.start()
        for _ in range(3):
            noticed.look(result(match(7)), image())
        database.record(Event("account:ops", REVIEWED, "entry:7"))
        async with asyncio.timeout(30):
            while noticed.hot_entries:  # noqa: ASYNC110 - it has no event for a test
                await asyncio.sleep(0.01)


def climb(noticed, numbers):
    told = []
    for number in numbers:
        found = result(match(number)) if number % 2 else result()
        try:
            told.append(noticed.look(found, image(number)).decision)
        except ClimbingError as error:
            told.append(error)
    return told


async def test_a_climber_is_recorded_and_held_to_a_rate(database):
    note_place("ipv4:192.0.2.7:1")
    async with noticing_with(CLIMBING, database, clock=lambda: 0.0) as noticed:
        told = climb(noticed, range(1, 10))
        assert not any(isinstance(each, ClimbingError) for each in told[:6])
        assert all(isinstance(each, ClimbingError) for each in told[6:])
        assert told[-1].retry_seconds == 5
        # A known file, byte for byte, teaches nobody anything.
        exact = noticed.look(result(match(99, Basis.EXACT)), image(20))
        assert exact.decision is Decision.MATCH
    (record,) = database.records()
    assert record.event.act == CLIENT_CLIMBING
    assert record.event.subject == "unknown:192.0.2.7"
    assert record.event.details == {"queries": 6, "matched": 3, "seconds": 600.0}
    assert noticed.counts["climbing_series"] == 1
    assert noticed.counts["climbing_refused"] == 3


@pytest.mark.parametrize("word", ["tell", "off"])
async def test_nobody_is_refused_by_default(database, word):
    settings = NoticingSettings(climbing=word, climbing_steps=6)
    async with noticing_with(settings, database) as noticed:
        told = climb(noticed, range(1, 40))
    assert not any(isinstance(each, ClimbingError) for each in told)
    assert noticed.counts["climbing_series"] == (word == "tell")


async def test_without_a_code_of_use_nobody_climbs(database):
    async with noticing_with(CLIMBING, database) as noticed:
        for number in range(40):
            found = result(match(number)) if number % 2 else result()
            noticed.look(found, image(number, quality=10))
            noticed.look(found, image(number, view="stored"))
            noticed.look(found, ImageHashes({}, size=None))
    assert noticed.counts["climbing_series"] == 0


@pytest.fixture
async def together(database):
    """Three processes of a machine, joined by a supervisor's switchboard."""
    switchboard, made = Switchboard(), []

    def processes(settings, **more):
        for _ in range(3):
            noticed = Noticing(settings, lambda: database, actor="server:test", **more)
            noticed.join(Peers(switchboard.connect().detach()))
            made.append(noticed)
        return made

    yield processes
    for each in made:
        await each.close()
    switchboard.close()


async def heard():
    """Until what was told was passed on and taken: each at one turn of the loop."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_an_entry_hit_evenly_at_all_processes_is_hot_as_soon_as_at_one(together, database):
    settings = NoticingSettings(hot_hits=6, hot_factor=1, hot_review=True)
    processes = together(settings)
    for number in range(6):
        assert all(each.hot_entries == 0 for each in processes)
        processes[number % 3].look(result(match(7)), image())
        await heard()
    assert [each.hot_entries for each in processes] == [1, 1, 1]
    assert [each.judged(result(match(7))).decision for each in processes] == [Decision.REVIEW] * 3
    for number in range(6):
        processes[number % 3].look(result(match(7)), image())
        await heard()
    assert sum(each.counts["hot_entries_flagged"] for each in processes) == 1
    for each in processes:
        await each.close()
    (record,) = database.records()
    assert (record.event.subject, record.event.details["hits"]) == ("entry:7", 6)


async def test_a_climber_over_many_connections_is_noticed(together, database):
    note_place("ipv4:192.0.2.7:1")
    processes = together(CLIMBING, clock=lambda: 0.0)
    told = []
    for number in range(1, 10):
        told += climb(processes[number % 3], [number])
        await heard()
    assert not any(isinstance(each, ClimbingError) for each in told[:6])
    assert all(isinstance(each, ClimbingError) for each in told[6:])
    for each in processes:
        await each.close()
    (record,) = database.records()
    assert record.event.details == {"queries": 6, "matched": 3, "seconds": 600.0}
    assert sum(each.counts["climbing_series"] for each in processes) == 1


class Away:
    def record(self, _):
        raise AccessDatabaseError("it is away")


async def test_matching_goes_on_without_the_audit(caplog):
    async with noticing_with(HOT, Away()) as noticed:
        for _ in range(4):
            noticed.look(result(match(7)), image())
    assert noticed.counts["audit_events_lost"] == 1
    assert "cannot be recorded in the audit: it is away" in caplog.text


async def test_events_of_a_day_are_bounded(database, monkeypatch):
    monkeypatch.setattr(noticing, "MOST_EVENTS", 2)
    now = 0.0
    async with noticing_with(HOT, database, clock=lambda: now) as noticed:
        for entry in range(5):
            for _ in range(3):
                noticed.look(result(match(entry)), image())
        assert noticed.counts["audit_events_lost"] == 3
        now = 86_400.0
        for _ in range(3):
            noticed.look(result(match(77)), image())
    assert len(database.records()) == 3


def test_what_waits_is_what_was_noticed_since_somebody_looked(database, monkeypatch):
    monkeypatch.setattr("hashlists.access.noticed._PAGE", 2)
    for subject, act in [
        ("entry:1", ENTRY_HOT),
        ("entry:2", ENTRY_HOT),
        ("client:a", CLIENT_CLIMBING),
        ("entry:1", ENTRY_HOT),
        ("entry:2", REVIEWED),
        ("client:a", REVIEWED),
        ("client:a", CLIENT_CLIMBING),
    ]:
        database.record(Event("server:test", act, subject))
    database.record(Event("account:ops", "list.import", "demo"))
    found = waiting(database)
    assert [(each.subject, each.times) for each in found] == [("entry:1", 2), ("client:a", 1)]
    assert found[0].first_at < found[0].last_at
