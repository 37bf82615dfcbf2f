"""Gathering single items into batches."""

from __future__ import annotations

import asyncio
import threading

import pytest

from matcher.batching import Batcher


class Work:
    """Work that waits at a gate and tells when it has begun."""

    def __init__(self, result=lambda items: items):
        self.begun, self.gate = threading.Event(), threading.Event()
        self.batches = []
        self._result = result

    def __call__(self, items):
        self.batches.append(list(items))
        self.begun.set()
        assert self.gate.wait(100)
        return self._result(items)

    async def has_begun(self):
        assert await asyncio.to_thread(self.begun.wait, 100)


async def submitted():
    """Lets tasks made before this come to where they wait."""
    for _ in range(10):
        await asyncio.sleep(0)


async def test_items_that_wait_together_are_worked_on_together():
    work = Work(lambda items: [2 * item for item in items])
    batcher = Batcher(work, max_size=4)
    first = asyncio.create_task(batcher.submit(0))
    await work.has_begun()  # the first is under way alone: an idle service adds no delay
    rest = [asyncio.create_task(batcher.submit(i)) for i in range(1, 7)]
    await submitted()
    work.gate.set()
    assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10, 12]
    assert [len(batch) for batch in work.batches] == [1, 4, 2]
    await batcher.close()


async def test_one_bad_item_never_fails_its_neighbours():
    def work(items):
        if "bad" in items:
            raise ValueError("bad item")
        return [item.upper() for item in items]

    batcher = Batcher(work)
    blocker = asyncio.create_task(batcher.submit("a"))
    tasks = [asyncio.create_task(batcher.submit(each)) for each in ("b", "bad", "c")]
    outcomes = await asyncio.gather(blocker, *tasks, return_exceptions=True)
    assert outcomes[:2] == ["A", "B"]
    assert isinstance(outcomes[2], ValueError)
    assert outcomes[3] == "C"
    await batcher.close()


async def test_callers_who_gave_up_are_dropped_before_work_is_spent():
    work = Work()
    batcher = Batcher(work)
    first = asyncio.create_task(batcher.submit(1))
    await work.has_begun()
    gone = asyncio.create_task(batcher.submit(2))
    stays = asyncio.create_task(batcher.submit(3))
    await submitted()
    gone.cancel()
    await submitted()
    work.gate.set()
    assert await first == 1
    assert await stays == 3
    assert work.batches == [[1], [3]]
    await batcher.close()


async def test_a_caller_who_gives_up_during_work_harms_nobody():
    work = Work()
    batcher = Batcher(work)
    gone = asyncio.create_task(batcher.submit(1))
    await work.has_begun()
    gone.cancel()
    with pytest.raises(asyncio.CancelledError):
        await gone
    work.gate.set()
    assert await batcher.submit(2) == 2
    await batcher.close()


class Expecting:
    """Whether more items are to come, and a batcher's clock, which shows when it has looked."""

    def __init__(self, *, more):
        self.more, self.now, self.looks = more, 0.0, threading.Semaphore(0)

    def __call__(self):
        return self.more

    def clock(self):
        self.looks.release()
        return self.now

    async def has_waited(self):
        for _ in range(2):  # when the wait began, and how much of it is left
            assert await asyncio.to_thread(self.looks.acquire, timeout=100)


def gathering(work, expecting, *, max_size=64):
    return Batcher(
        work, max_size=max_size, max_seconds=1000, expects=expecting, clock=expecting.clock
    )


async def waiting(work, expecting):
    """A batcher whose first item waits for others, and that item's answer."""
    work.gate.set()
    batcher = gathering(work, expecting)
    first = asyncio.create_task(batcher.submit(1))
    await expecting.has_waited()
    return batcher, first


async def test_a_batch_waits_for_items_that_are_sure_to_come():
    work, expecting = Work(), Expecting(more=True)
    batcher, first = await waiting(work, expecting)
    assert not work.begun.is_set()
    expecting.more = False  # this is the last
    assert await batcher.submit(2) == 2
    assert await first == 1
    assert work.batches == [[1, 2]]
    await batcher.close()


async def test_a_batch_does_not_wait_for_items_that_came_to_nothing():
    work, expecting = Work(), Expecting(more=True)
    batcher, first = await waiting(work, expecting)
    expecting.more = False
    batcher.look_again()
    assert await first == 1
    await batcher.close()


async def test_a_batch_that_is_full_waits_no_longer():
    work, expecting = Work(), Expecting(more=True)
    work.gate.set()
    batcher = gathering(work, expecting, max_size=2)
    assert await asyncio.gather(batcher.submit(1), batcher.submit(2)) == [1, 2]
    assert work.batches == [[1, 2]]
    await batcher.close()


async def test_no_item_waits_longer_than_it_may():
    work, expecting = Work(), Expecting(more=True)
    work.gate.set()
    batcher = Batcher(work, max_seconds=0.01, expects=expecting)  # and none ever comes
    assert await batcher.submit(1) == 1
    await batcher.close()


async def test_an_idle_service_adds_no_delay():
    work, expecting = Work(), Expecting(more=False)
    work.gate.set()
    batcher = gathering(work, expecting)  # nothing is to come, so a wait would have no end here
    assert await batcher.submit(1) == 1
    await batcher.close()


async def test_close_waits_for_nothing_more():
    work, expecting = Work(), Expecting(more=True)
    work.gate.set()
    batcher = gathering(work, expecting)
    waiting = asyncio.create_task(batcher.submit(1))
    await expecting.has_waited()
    await batcher.close()
    assert await waiting == 1


async def test_the_loop_is_told_of_each_batch_once_it_is_done():
    sizes = []
    batcher = Batcher(lambda items: items, observe=sizes.append)
    await asyncio.gather(*(batcher.submit(i) for i in range(5)))
    await batcher.close()
    assert sum(sizes) == 5


async def test_close_answers_what_waits():
    batcher = Batcher(lambda items: items)
    waiting = [asyncio.create_task(batcher.submit(i)) for i in range(5)]
    await asyncio.sleep(0)
    await batcher.close()
    assert await asyncio.gather(*waiting) == list(range(5))
