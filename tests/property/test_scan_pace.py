"""The pace of fetching stays in its bounds, finds what a store can do, and yields when asked."""

from __future__ import annotations

import asyncio
import heapq
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from matcher.scan.pace import LONGEST_PAUSE_SECONDS, Gate, Pace, Room

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["begin", "end", "throttle"]),
        st.floats(0, 10),
        st.floats(0, 1000),
    ),
    max_size=300,
)


@given(first=st.integers(1, 40), more=st.integers(0, 200), steps=STEPS)
def test_a_pace_stays_within_its_bounds_and_halves_once_a_round_trip(first, more, steps):
    pace = Pace(first=first, most=first + more)
    now, under_way, cut_at = 0.0, [], float("-inf")
    for what, later, pause in steps:
        now += later
        before = pace.limit
        if what == "begin":
            under_way.append(now)
            pace.began(now, len(under_way))
            assert pace.limit == before
        elif what == "end":
            pace.ended(now)
            under_way[:1] = []
            assert pace.limit <= 2 * before
        else:
            began = under_way.pop(0) if under_way else now
            fell = pace.throttled(began, now, pause)
            assert fell == (began >= cut_at)
            assert pace.limit == (max(1, before // 2) if fell else before)
            cut_at = now if fell else cut_at
            assert pace.resumes_at >= now + min(pause, LONGEST_PAUSE_SECONDS)
            assert pace.resumes_at <= now + LONGEST_PAUSE_SECONDS
        assert 1 <= pace.limit <= first + more


def run_against(pace, *, serves, seconds, objects, throttles_above=None):
    """A store that serves so many at a time, each in about so long; the limits that were seen."""
    chance = random.Random(serves)
    now, under_way, free_at, limits = 0.0, [], [0.0] * serves, []
    done = 0
    while done < objects:
        while len(under_way) < pace.limit and now >= pace.resumes_at:
            start = max(now, heapq.heappop(free_at))
            end = start + seconds * chance.uniform(0.5, 1.5)
            heapq.heappush(free_at, end)
            refused = throttles_above is not None and len(under_way) >= throttles_above
            heapq.heappush(under_way, (now + 0.001 if refused else end, now, refused))
            pace.began(now, len(under_way))
        if not under_way:
            now = pace.resumes_at
            continue
        now, began, refused = heapq.heappop(under_way)
        if refused:
            pace.throttled(began, now)
        else:
            pace.ended(now)
            done += 1
        limits.append(pace.limit)
    return limits


@settings(max_examples=30)
@given(serves=st.integers(1, 300), seconds=st.floats(0.001, 1))
def test_a_pace_finds_what_a_store_serves(serves, seconds):
    limits = run_against(Pace(), serves=serves, seconds=seconds, objects=60 * serves + 3000)
    later = limits[len(limits) // 2 :]
    middle = sorted(later)[len(later) // 2]
    assert min(serves, 256) * 0.5 <= middle <= max(16, serves * 3)


@settings(max_examples=30)
@given(above=st.integers(2, 100))
def test_a_pace_yields_to_a_store_that_asks_for_less(above):
    limits = run_against(
        Pace(), serves=1000, seconds=0.1, objects=200 * above, throttles_above=above
    )
    later = limits[len(limits) // 2 :]
    assert max(later) <= max(above * 1.5, above + 2)
    assert sum(later) / len(later) >= above * 0.4


def test_a_pace_that_is_not_used_up_does_not_grow():
    pace = Pace(first=8)
    for n in range(1000):
        pace.began(float(n), 3)
        pace.ended(n + 0.5)
    assert pace.limit == 8


def test_a_pace_of_nothing_is_refused():
    with pytest.raises(ValueError, match="first and most"):
        Pace(first=0)
    with pytest.raises(ValueError, match="first and most"):
        Pace(first=9, most=8)


async def test_a_gate_lets_as_many_in_as_the_pace_says_in_order():
    gate, inside, order = Gate(Pace(first=3, most=3)), [0, 0], []

    async def one(n):
        async with gate.turn():
            order.append(n)
            inside[0] += 1
            inside[1] = max(inside)
            await asyncio.sleep(0)
            inside[0] -= 1

    await asyncio.gather(*(one(n) for n in range(50)))
    assert order == list(range(50))
    assert inside == [0, 3]


async def test_who_gives_up_waiting_holds_nobody_up():
    gate = Gate(Pace(first=1, most=1))
    done = []

    async def one(n, wait):
        async with gate.turn():
            await wait.wait()
            done.append(n)

    held, free = asyncio.Event(), asyncio.Event()
    free.set()
    tasks = [asyncio.create_task(one(n, free if n else held)) for n in range(6)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    await asyncio.sleep(0)
    held.set()
    await asyncio.sleep(0)  # the second of those that wait is let in just now
    tasks[2].cancel()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(results[1], asyncio.CancelledError)
    assert done[0] == 0
    assert done[-3:] == [3, 4, 5]
    async with gate.turn():
        pass


async def test_a_gate_stays_shut_for_as_long_as_the_store_asks():
    now = [100.0]
    gate = Gate(Pace(first=4), clock=lambda: now[0])
    async with gate.turn() as turn:
        turn.throttled(0.05)
    assert turn.fell
    assert gate.limit == 2
    waiting = [asyncio.create_task(gate.enter()) for _ in range(2)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in waiting)
    now[0] += 1
    assert await asyncio.gather(*waiting) == [101.0, 101.0]


@given(
    most=st.integers(1, 100),
    sizes=st.lists(st.integers(0, 150), min_size=1, max_size=40),
    cancelled=st.sets(st.integers(0, 39)),
)
def test_a_room_is_never_overfull_and_lets_everyone_in(most, sizes, cancelled):
    async def check():
        room, held, order = Room(most), [], []

        async def one(n, size):
            await room.take(size)
            held.append(size)
            order.append(n)
            try:
                assert sum(held) <= room.held  # it is taken for who was woken and has not run
                assert sum(held) <= most or len([each for each in held if each]) == 1
                await asyncio.sleep(0)
            finally:
                held.remove(size)
                room.give(size)

        tasks = [asyncio.create_task(one(n, size)) for n, size in enumerate(sizes)]
        await asyncio.sleep(0)
        for n in cancelled & set(range(len(tasks))):
            tasks[n].cancel()
        ends = await asyncio.gather(*tasks, return_exceptions=True)
        assert {type(each) for each in ends} <= {type(None), asyncio.CancelledError}
        assert room.held == sum(held) == 0
        kept = [n for n in order if n not in cancelled]
        assert set(kept) == set(range(len(sizes))) - cancelled
        assert kept == sorted(kept)

    asyncio.run(asyncio.wait_for(check(), 60))
