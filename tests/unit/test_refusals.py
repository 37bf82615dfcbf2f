"""What the audit is told of calls that were refused: sums, and no more of them than it can hold."""

from __future__ import annotations

import asyncio
import threading

import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.errors import AccessDatabaseError
from matcher.errors import RoleMissingError, TooManyAttemptsError, UnauthenticatedError
from matcher.service import refusals as module
from matcher.service.refusals import QUIET_SECONDS, TICK_SECONDS, Refusals
from tests.clocks import Clock

PEER = "ipv4:192.0.2.7:4711"
WRONG = UnauthenticatedError("who?", why="TOKEN_UNKNOWN")
ROLE = RoleMissingError("no", client="uploads")


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'access.sqlite3'}"
    with AccessDatabase.open(url, HeadFile(tmp_path / "audit.head")) as database:
        yield database


@pytest.fixture
def refusals(database, clock):
    return Refusals(lambda: database, server="server:test", clock=clock)


def told(database):
    found = [each.event for each in database.records(limit=10_000)]
    return [(each.actor, each.subject, each.details["calls"]) for each in found]


async def test_the_first_of_a_sum_is_worth_a_line_in_the_log(refusals, clock):
    assert [refusals.add(PEER, "MatchImage", WRONG) for _ in range(3)] == [True, False, False]
    assert refusals.add(PEER, "HashImage", WRONG)
    clock.now += TICK_SECONDS
    await refusals.record()
    assert [refusals.add(PEER, "MatchImage", WRONG) for _ in range(2)] == [True, False]


async def test_the_first_is_told_soon_and_what_follows_in_sums(refusals, database, clock):
    for _ in range(3):
        refusals.add(PEER, "MatchImage", WRONG)
    await refusals.record()
    assert told(database) == []
    clock.now += TICK_SECONDS
    await refusals.record()
    one = ("unknown:192.0.2.7", "MatchImage")
    assert told(database) == [(*one, 3)]
    for _ in range(1_000):
        refusals.add(PEER, "MatchImage", WRONG)
    clock.now += QUIET_SECONDS - 1
    await refusals.record()
    assert len(told(database)) == 1
    clock.now += 1
    await refusals.record()
    assert told(database) == [(*one, 3), (*one, 1_000)]
    clock.now += QUIET_SECONDS
    await refusals.record()
    assert not any(refusals._sums.values())  # who is quiet is forgotten
    await refusals.close()


async def test_what_a_record_says(refusals, database):
    refusals.add(PEER, "MatchImage", ROLE)
    await refusals.close()
    (record,) = database.records()
    assert (record.event.actor, record.event.act) == ("client:uploads", "call.refused")
    assert (record.event.subject, record.event.outcome) == ("MatchImage", "failed")
    details = dict(record.event.details)
    assert details.pop("first_at") <= details.pop("last_at") <= record.at.isoformat()
    assert details == {"reason_code": "ROLE_MISSING", "calls": 1, "server": "server:test"}
    assert database.verify_audit() is None


async def test_who_method_and_reason_are_told_apart(refusals, database):
    many = TooManyAttemptsError("wait")
    for peer, method, error in [
        (PEER, "MatchImage", WRONG),
        (PEER, "MatchImage", many),
        (PEER, "HashImage", WRONG),
        ("ipv6:[2001:db8:0:1::7]:1", "MatchImage", WRONG),
        ("ipv6:[2001:db8:0:1:ffff::9]:2", "MatchImage", WRONG),  # the same network
        (PEER, "MatchImage", ROLE),
    ]:
        refusals.add(peer, method, error)
    await refusals.close()
    assert sorted(told(database)) == [
        ("client:uploads", "MatchImage", 1),
        ("unknown:192.0.2.7", "HashImage", 1),
        ("unknown:192.0.2.7", "MatchImage", 1),
        ("unknown:192.0.2.7", "MatchImage", 1),
        ("unknown:2001:db8:0:1::/64", "MatchImage", 2),
    ]


async def test_thousands_of_addresses_neither_fill_the_audit_nor_hide_a_client(
    refusals, database, clock, monkeypatch
):
    monkeypatch.setattr(module, "MOST_SUMS", 8)
    monkeypatch.setattr(module, "MOST_RECORDS", 20)
    number = 0
    for _ in range(600, 86_400, 600):
        for _ in range(20):
            number += 1
            refusals.add(f"ipv6:[2001:db8:{number:x}::1]:1", "MatchImage", WRONG)
        if number == 2_000:
            refusals.add(PEER, "MatchImage", ROLE)
        clock.now += 600
        await refusals.record()
    await refusals.close()
    found = told(database)
    assert len(found) <= 20 + 24 + 2
    assert ("client:uploads", "MatchImage", 1) in found
    assert sum(calls for *_, calls in found) == number + 1  # none is lost
    assert ("unknown:*", "*") in {each[:2] for each in found}


async def test_each_day_has_records_of_its_own(refusals, database, clock, monkeypatch):
    monkeypatch.setattr(module, "MOST_RECORDS", 1)
    for _ in range(2):
        for peer in (PEER, "ipv4:192.0.2.8:1"):
            refusals.add(peer, "MatchImage", WRONG)
        clock.now += 86_400
        await refusals.record()
    assert [who for who, *_ in told(database)] == ["unknown:192.0.2.7", "unknown:*"] * 2
    await refusals.close()


class Sometimes:
    """A database that is away for a while."""

    def __init__(self, database):
        self.database = database
        self.left = 0

    def record(self, event):
        if not self.left:
            raise AccessDatabaseError("it is away")
        self.left -= 1
        return self.database.record(event)


async def test_what_cannot_be_recorded_waits(database, clock, caplog):
    away = Sometimes(database)
    refusals = Refusals(lambda: away, server="server:test", clock=clock)
    refusals.add(PEER, "MatchImage", WRONG)
    refusals.add(PEER, "HashImage", WRONG)
    for away.left in (0, 1, 0, 9):  # the second time it goes away in the middle
        clock.now += TICK_SECONDS
        refusals.add(PEER, "HashImage", WRONG)
        await refusals.record()
    clock.now += QUIET_SECONDS
    await refusals.record()
    found = told(database)
    assert {method: sum(n for _, m, n in found if m == method) for _, method, _ in found} == {
        "MatchImage": 1,
        "HashImage": 5,
    }
    assert len([each for each in caplog.messages if "it is away" in each]) == 1
    await refusals.close()


async def test_a_database_that_hangs_holds_up_nobody(clock, monkeypatch):
    go_on = threading.Event()

    class Hangs:
        def record(self, _):
            go_on.wait(60)

    monkeypatch.setattr(module, "_CLOSE_SECONDS", 0.01)
    refusals = Refusals(Hangs, server="server:test", clock=clock)
    refusals.add(PEER, "MatchImage", WRONG)
    clock.now += TICK_SECONDS
    recording = asyncio.create_task(refusals.record())
    await asyncio.sleep(0)
    refusals.add(PEER, "MatchImage", WRONG)  # does not wait
    await refusals.close()
    go_on.set()
    await recording


async def test_it_goes_on_until_it_is_ended(refusals, database, clock, monkeypatch):
    monkeypatch.setattr(module, "TICK_SECONDS", 0.001)
    refusals.add(PEER, "MatchImage", WRONG)
    running = asyncio.create_task(refusals.run())
    async with asyncio.timeout(60):
        while not told(database):
            await asyncio.sleep(0.001)
            clock.now += 1
    running.cancel()
    await refusals.close()
