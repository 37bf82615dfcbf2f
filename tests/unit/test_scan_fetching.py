"""Fetching has patience with what may pass, keeps to what a store asks for, and ends in time."""

from __future__ import annotations

import asyncio

import pytest

from matcher.scan.fetching import Fetched, Fetcher, NotFetched, Patience
from matcher.scan.model import FailureReason, FetchError
from matcher.scan.pace import LONGEST_PAUSE_SECONDS, Gate, Pace
from tests.scan_support import MemorySource

ERROR = FetchError(FailureReason.STORE_ERROR, "500", transient=True)


def fetcher(source, *, slept=None, **patience):
    async def sleep(seconds):
        if slept is not None:
            slept.append(seconds)

    return Fetcher(source, Gate(Pace()), Patience(**patience), sleep=sleep)


async def fetched(source, **options):
    return await fetcher(source, **options).fetch(source.listed("a"), max_bytes=10)


@pytest.fixture
def source():
    return MemorySource({"a": b"content"})


async def test_what_goes_well_is_tried_once(source):
    told = await fetched(source)
    assert isinstance(told, Fetched)
    assert (told.content.data, told.attempts) == (b"content", 1)


async def test_waits_double_at_most_and_are_bounded(source):
    slept = []
    source.faults["a"].extend([ERROR] * 9)
    told = await fetched(source, slept=slept, attempts=10, first_seconds=1, longest_seconds=5)
    assert isinstance(told, Fetched)
    assert told.attempts == 10
    assert len(slept) == 9
    assert all(0 <= each <= min(5, 2**number) for number, each in enumerate(slept))


async def test_how_long_a_store_asks_to_be_left_alone_is_kept_to(source):
    slept = []
    told = {"transient": True, "throttled": False}
    for seconds in (7.0, 10_000.0):
        source.faults["a"].append(
            FetchError(FailureReason.THROTTLED, "later", after_seconds=seconds, **told)
        )
    assert isinstance(await fetched(source, slept=slept, first_seconds=0.1), Fetched)
    assert 7 <= slept[0] < 8
    assert slept[1] == LONGEST_PAUSE_SECONDS


async def test_what_does_not_pass_is_not_tried_again(source):
    source.faults["a"].append(FetchError(FailureReason.FORBIDDEN, "no"))
    assert await fetched(source) == NotFetched(FailureReason.FORBIDDEN, "no", 1)


async def test_patience_ends_with_the_last_reason(source):
    source.faults["a"].extend([ERROR] * 3)
    assert await fetched(source, attempts=3) == NotFetched(FailureReason.STORE_ERROR, "500", 3)
    assert source.fetches["a"] == 3


async def test_a_try_that_never_ends_is_ended(source):
    async def stuck():
        await asyncio.Event().wait()

    source.faults["a"].append(stuck)
    told = await fetched(source, total_seconds=0.05)
    assert (told.reason, told.attempts) == (FailureReason.TIMED_OUT, 1)
    source.faults["a"].extend([ERROR, stuck])
    told = await fetched(source, total_seconds=0.05)
    assert (told.reason, told.attempts) == (FailureReason.STORE_ERROR, 2)
    assert told.detail == "500; no more time was left to try again"
    assert source.at_once == 0


async def test_the_gate_is_not_held_while_waiting(source):
    gate = Gate(Pace(first=1, most=1))
    order = []

    async def sleep(seconds):
        await asyncio.sleep(0.01)

    source.objects["b"] = b"other"
    source.faults["a"].append(ERROR)
    one = Fetcher(source, gate, Patience(), sleep=sleep)

    async def fetch(key):
        told = await one.fetch(source.listed(key), max_bytes=10)
        assert isinstance(told, Fetched)
        order.append(key)

    await asyncio.gather(fetch("a"), fetch("b"))
    assert order == ["b", "a"]


async def test_who_waits_for_a_turn_at_a_slow_store_is_not_given_up(source):
    async def slow():
        await asyncio.sleep(0.1)

    source.objects = {str(number): b"content" for number in range(20)}
    for key in source.objects:
        source.faults[key].append(slow)
    one = Fetcher(source, Gate(Pace(first=2, most=2)), Patience(total_seconds=0.5))
    told = await asyncio.gather(
        *(one.fetch(source.listed(key), max_bytes=10) for key in source.objects)
    )
    assert [type(each) for each in told] == [Fetched] * 20  # which takes twice as long in all


async def test_to_wait_for_a_turn_counts_once_a_store_has_asked_for_patience(source):
    gate = Gate(Pace(first=1, most=1))
    begun, away = asyncio.Event(), asyncio.Event()

    async def stuck():
        begun.set()
        await away.wait()

    source.objects["b"] = b"other"
    throttled = FetchError(FailureReason.THROTTLED, "503", transient=True, throttled=True)
    source.faults["a"].append(throttled)
    source.faults["b"].append(stuck)

    async def until_begun(seconds):
        await begun.wait()

    one = Fetcher(source, gate, Patience(total_seconds=0.3), sleep=until_begun)
    other = Fetcher(source, gate, Patience())
    first = asyncio.create_task(one.fetch(source.listed("a"), max_bytes=10))
    second = asyncio.create_task(other.fetch(source.listed("b"), max_bytes=10))
    told = await first
    assert (told.reason, told.attempts) == (FailureReason.THROTTLED, 1)
    away.set()
    assert isinstance(await second, Fetched)
