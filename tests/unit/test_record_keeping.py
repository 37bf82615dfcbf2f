"""Records go to their store beside matching: whatever that does, matching does not notice."""

from __future__ import annotations

import asyncio
from datetime import timedelta

import pytest

from matcher.errors import MatchRecordsError, NoMatchRecordsError
from matcher.model import Outcome
from matcher.policy.rules import default_policy
from matcher.records import RecordFilter, RecordStore, Reported
from matcher.records.sweeping import Swept
from matcher.sealing import KeySource
from matcher.service import record_keeping
from matcher.service.record_keeping import RecordKeeping
from tests.record_support import KEEP, KEY, ids, record

POLICY = default_policy()
FOREVER = 3_600.0


def keeping(folder, *, days=KEEP.days, most_waiting=3, flush_seconds=FOREVER):
    return RecordKeeping(
        f"sqlite:///{folder / 'records.sqlite3'}",
        KeySource(f"keys:{KEY}"),
        days=days,
        most_waiting=most_waiting,
        flush_seconds=flush_seconds,
    )


def now_record(match_id, **said):
    from datetime import UTC, datetime

    return record(match_id, at=datetime.now(UTC), **said)


def held(folder):
    url = f"sqlite:///{folder / 'records.sqlite3'}"
    with RecordStore.open(url, KeySource(f"keys:{KEY}"), keep=KEEP) as store:
        return ids(store.pages(RecordFilter()))[::-1]


async def until(condition):
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.01)


async def test_what_waits_is_written_at_the_end(tmp_path):
    keeper = keeping(tmp_path)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await keeper.close()
    assert held(tmp_path) == ["m"]
    assert (keeper.kept, keeper.lost, keeper.waiting) == (1, 0, 0)


async def test_it_is_written_soon(tmp_path):
    keeper = keeping(tmp_path, flush_seconds=0.01)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await until(lambda: keeper.kept == 1)
    store = await keeper.store()
    assert store.policy("v1")["policies"].keys() == {"default"}
    await keeper.close()


async def test_what_is_asked_for_is_written_first(tmp_path):
    keeper = keeping(tmp_path)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await keeper.flushed()
    assert (await keeper.store()).get("m").record.match_id == "m"
    await keeper.close()


async def test_what_a_full_queue_does_not_take_is_counted_and_told(tmp_path, caplog):
    keeper = keeping(tmp_path, most_waiting=2)
    for number in range(5):
        keeper.add(now_record(str(number)), POLICY)
    assert (keeper.waiting, keeper.lost) == (2, 3)
    assert "too many wait" in keeper.state
    assert caplog.text.count("are being lost") == 1
    await keeper.flushed()
    assert keeper.state == "kept"
    await keeper.close()
    assert held(tmp_path) == ["0", "1"]


async def test_a_store_that_fails_is_tried_again_and_nothing_is_lost(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.01)
    add, fails = RecordStore.add, [True]

    def broken(*arguments):
        if fails[0]:
            raise MatchRecordsError("the disk is full")
        return add(*arguments)

    monkeypatch.setattr(RecordStore, "add", broken)
    keeper = keeping(tmp_path, flush_seconds=0.01)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await until(lambda: keeper.problem)
    assert keeper.state == "cannot be written: the disk is full"
    assert keeper.waiting == 1
    fails[0] = False
    await until(lambda: keeper.kept == 1)
    await until(lambda: keeper.state == "kept")
    await keeper.close()
    assert held(tmp_path) == ["m"]
    assert caplog.text.count("cannot be written now") == 1


async def test_what_cannot_be_written_at_the_end_is_told(tmp_path, monkeypatch, caplog):
    def broken(*_):
        raise MatchRecordsError("the disk is full")

    monkeypatch.setattr(RecordStore, "add", broken)
    keeper = keeping(tmp_path)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await keeper.close()
    assert keeper.lost == 1
    assert "1 record of a match lost" in caplog.text


async def test_a_store_that_hangs_holds_up_neither_matching_nor_the_end(tmp_path, monkeypatch):
    import threading

    go_on = threading.Event()
    add = RecordStore.add

    def slow(*arguments):
        go_on.wait(60)
        return add(*arguments)

    monkeypatch.setattr(RecordStore, "add", slow)
    monkeypatch.setattr(record_keeping, "_CLOSE_SECONDS", 0.05)
    keeper = keeping(tmp_path, flush_seconds=0.01, most_waiting=2)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await asyncio.sleep(0.05)
    for number in range(5):
        keeper.add(now_record(str(number)), POLICY)
    assert keeper.lost == 4
    await keeper.close()
    go_on.set()


async def test_none_is_kept_where_none_is_wanted(tmp_path):
    first = keeping(tmp_path)
    first.start()
    first.add(now_record("m"), POLICY)
    await first.close()
    keeper = keeping(tmp_path, days=0, flush_seconds=0.01)
    keeper.start()
    keeper.add(now_record("n"), POLICY)
    with pytest.raises(NoMatchRecordsError):
        await keeper.store()
    assert await keeper.outcomes() is None
    assert keeper.state == "off"
    await until(lambda: held(tmp_path) == [])
    await keeper.close()


async def test_a_clock_that_is_far_ahead_is_told_once(tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(record_keeping, "SWEEP_SECONDS", 0)
    swept = iter([timedelta(days=3, hours=5)] * 3 + [timedelta(hours=1), timedelta(days=4)])
    monkeypatch.setattr(RecordStore, "sweep", lambda _: Swept(0, next(swept)))
    keeper = keeping(tmp_path)
    for told in (1, 1, 1, 1, 2):
        keeper.add(now_record("m"), POLICY)
        await keeper.flushed()
        assert keeper.state == "kept"
        assert caplog.text.count("ahead of the time that servers were seen to run") == told
    assert "3 days ahead" in caplog.text
    await keeper.close()


async def test_outcomes_are_told_by_list(tmp_path):
    keeper = keeping(tmp_path)
    keeper.start()
    keeper.add(now_record("m"), POLICY)
    await keeper.flushed()
    (await keeper.store()).report("m", Reported(Outcome.WRONG, "", 0, ""))
    assert (await keeper.outcomes())["one"][Outcome.WRONG] == 1
    await keeper.close()


async def test_few_documents_of_policies_are_remembered(tmp_path, monkeypatch):
    monkeypatch.setattr(record_keeping, "_MOST_POLICIES", 2)
    keeper = keeping(tmp_path, most_waiting=100)
    for number in range(10):
        keeper.add(now_record(str(number), policy_version=f"v{number}"), POLICY)
        await keeper.flushed()
    assert len(keeper._policies) <= 2
    store = await keeper.store()
    assert all(store.policy(f"v{number}") for number in range(10))
    await keeper.close()
