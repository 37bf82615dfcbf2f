"""A run plans, scans and writes down; it goes on where another one ended, and stops when told."""

from __future__ import annotations

import asyncio

import pytest

from matcher.scan.errors import EngineError, SourceError
from matcher.scan.events import Ended, Finished, Planned
from matcher.scan.model import BatchResult, Listed, Outcome, Page, Record
from matcher.scan.run import BATCH_OBJECTS, cut, run_scan
from tests.scan_support import Everything, MemorySource, MemoryState, document, selection


class Engine:
    """Knows of every object that it is no known match; does what `acts` say of a batch first."""

    def __init__(self, capacity=2):
        self.capacity = capacity
        self.acts = {}
        self.begun = []
        self.under_way = self.most_under_way = 0

    async def scan(self, batch):
        self.begun.append(batch.number)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(0)
            if batch.number in self.acts:
                await self.acts[batch.number]()
        finally:
            self.under_way -= 1
        records = (
            Record(batch.object_id(row), batch.source, each.key, Outcome.NO_KNOWN_MATCH)
            for row, each in enumerate(batch.objects)
        )
        return BatchResult(batch.number, tuple(records))

    async def close(self):
        pass


def source_of(count, **options):
    return MemorySource({f"a/{n:05}": b"x" * (n % 7) for n in range(count)}, **options)


async def run(state, source, engine, **options):
    return await run_scan(state, [source], options.pop("selector", Everything()), engine, **options)


async def test_every_object_has_one_record_in_the_order_of_the_listing():
    state, source, engine, heard = MemoryState(), source_of(1000), Engine(), []
    assert await run(state, source, engine, events=heard.append)
    assert [each.key for each in state.records()] == list(source.objects)
    assert len({each.id for each in state.records()}) == 1000
    assert engine.most_under_way == 2
    planned = [each for each in heard if isinstance(each, Planned)]
    assert sum(each.objects for each in planned) == state.listed == 1000
    assert planned[-1].complete
    finished = [each for each in heard if isinstance(each, Finished)]
    assert sum(each.tally.objects for each in finished) == 1000
    assert {each.folder for each in finished} == {"a"}
    assert heard[-1] == Ended(complete=True)


async def test_an_empty_place_is_complete_and_stays_so():
    state = MemoryState()
    assert await run(state, source_of(0), Engine())
    assert state.records() == []
    plans = state.plans
    assert await run(state, source_of(5), Engine())  # it is listed already
    assert state.plans == plans


async def test_several_places_come_one_after_the_other():
    state, sources = MemoryState(), [source_of(70), source_of(3)]
    assert await run_scan(state, sources, Everything(), Engine())
    assert [each.source for each in state.records()] == [0] * 70 + [1] * 3


async def test_what_is_not_selected_is_counted():
    class Odd:
        def passes(self, listed):
            return int(listed.key[2:]) % 2

    state = MemoryState()
    assert await run(state, source_of(300), Engine(), selector=Odd())
    assert len(state.records()) == state.not_selected == 150


async def test_pages_without_much_are_written_down_together():
    class Few:
        def passes(self, listed):
            return listed.key.endswith("00")

    state = MemoryState()
    assert await run(state, source_of(3000, page=10), Engine(), selector=Few())
    assert len(state.records()) == 30
    assert state.plans == 4  # of 300 pages


@pytest.mark.parametrize("limit", [0, 1, 64, 150])
async def test_no_more_than_the_limit_is_planned_however_often_the_run_ends(limit):
    state = MemoryState(document(selection=selection(limit=limit)))
    engine = Engine()
    stop = asyncio.Event()

    async def stopping():
        stop.set()

    engine.acts[1] = stopping
    await run(state, source_of(400, page=64), engine, stop=stop)
    assert await run(state, source_of(400, page=64), Engine())
    assert len(state.records()) == state.listed == limit


async def test_listing_waits_while_batches_wait():
    state, source, engine = MemoryState(), source_of(6400, page=64), Engine(capacity=1)
    reached = []

    async def look():
        for _ in range(200):
            await asyncio.sleep(0)
        reached.append(source.pages_listed)

    engine.acts[1] = engine.acts[50] = look
    assert await run(state, source, engine)
    assert reached[0] <= 5
    assert reached[1] <= 54


async def test_a_stopped_run_finishes_what_is_under_way_and_another_one_goes_on():
    state, source, engine, stop = MemoryState(), source_of(2000), Engine(), asyncio.Event()
    source.page = 1000  # sixteen batches, of which some are left

    async def stopping():
        stop.set()

    engine.acts[5] = stopping
    heard = []
    assert not await run(state, source, engine, stop=stop, events=heard.append)
    assert set(engine.begun) == set(state.results)
    assert heard[-1] == Ended(complete=False, left=len(state.waiting))
    assert state.waiting
    listed = source.pages_listed
    again = Engine()
    assert await run(state, source, again)
    assert not set(again.begun) & set(engine.begun)
    assert source.pages_listed - listed == 1  # that behind the cursor alone
    assert [each.key for each in state.records()] == list(source.objects)


async def test_a_listing_that_hangs_holds_no_stop_up():
    reached, stop = asyncio.Event(), asyncio.Event()

    class Hanging(MemorySource):
        async def list(self, after=""):
            async for page in super().list(after):
                yield page
                if self.pages_listed == 2:
                    reached.set()
                    await asyncio.Event().wait()

    state = MemoryState()
    task = asyncio.create_task(
        run(state, Hanging(source_of(500).objects), Engine(), stop=stop, grace_seconds=3600)
    )
    await reached.wait()
    stop.set()
    assert not await asyncio.wait_for(task, 60)
    assert await run(state, source_of(500), Engine())
    assert len(state.records()) == 500


async def test_what_takes_longer_than_the_grace_stays_planned():
    state, source, engine, stop = MemoryState(), source_of(200), Engine(), asyncio.Event()

    async def stuck():
        stop.set()
        await asyncio.Event().wait()

    engine.acts[1] = stuck
    assert not await run(state, source, engine, stop=stop, grace_seconds=0.01)
    assert 1 in state.waiting
    assert engine.under_way == 0
    assert await run(state, source, Engine())
    assert [each.key for each in state.records()] == list(source.objects)


async def test_a_run_that_is_cancelled_leaves_what_another_one_needs():
    state, source, engine, begun = MemoryState(), source_of(500), Engine(), asyncio.Event()

    async def stuck():
        begun.set()
        await asyncio.Event().wait()

    engine.acts[3] = stuck
    task = asyncio.create_task(run(state, source, engine))
    await begun.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert engine.under_way == 0
    assert await run(state, source, Engine())
    assert [each.key for each in state.records()] == list(source.objects)


async def test_an_engine_that_is_gone_ends_the_run_and_leaves_the_batch():
    state, engine = MemoryState(), Engine()

    async def gone():
        raise EngineError("all workers are gone")

    engine.acts[2] = gone
    with pytest.raises(EngineError, match="workers are gone"):
        await run(state, source_of(500), engine)
    assert 2 in state.waiting
    assert await run(state, source_of(500), Engine())
    assert len(state.records()) == 500


async def test_a_listing_that_breaks_off_ends_the_run_and_is_gone_on_with():
    class Breaking(MemorySource):
        async def list(self, after=""):
            async for page in super().list(after):
                yield page
                if not after and self.pages_listed == 3:
                    raise SourceError("the listing broke off")

    state, objects = MemoryState(), source_of(600).objects
    with pytest.raises(SourceError, match="broke off"):
        await run(state, Breaking(objects), Engine())
    assert await run(state, Breaking(objects), Engine())
    assert [each.key for each in state.records()] == list(objects)


async def test_skipped_things_are_told():
    class Skipping(MemorySource):
        async def list(self, after=""):
            async for page in super().list(after):
                yield Page(page.objects, page.cursor, {"link": 2})

    state, heard = MemoryState(), []
    source = Skipping(source_of(200).objects)
    assert await run(state, source, Engine(), events=heard.append)
    assert state.skipped == {"link": 4}
    told = [each.skipped.get("link", 0) for each in heard if isinstance(each, Planned)]
    assert sum(told) == 4


def test_batches_are_cut_by_number_and_by_bytes():
    sizes = [1, None, 100 << 20, 50 << 20, 200 << 20] + [5] * 200
    objects = [Listed(f"{n}", size) for n, size in enumerate(sizes)]
    batches = list(cut(objects, 3, 11))
    assert [each.number for each in batches] == list(range(11, 11 + len(batches)))
    assert {each.source for each in batches} == {3}
    assert [x for each in batches for x in each.objects] == objects
    assert [len(each.objects) for each in batches[:3]] == [3, 1, 1]
    assert max(len(each.objects) for each in batches) == BATCH_OBJECTS
    assert list(cut([], 0, 1)) == []


def test_few_archives_that_are_opened_come_into_one_batch():
    keys = ["a.jpg", "b.zip", "c.tar.gz", "d.jpg", *(f"e{n:03}.jpg" for n in range(70))]
    objects = [Listed(each, 1000) for each in keys]
    assert [len(each.objects) for each in cut(objects, 0, 1)] == [64, 10]
    opened = list(cut(objects, 0, 1, archives=True))
    assert [len(each.objects) for each in opened] == [2, 33, 39]
    assert [x for each in opened for x in each.objects] == objects
    assert [each.number for each in opened] == [1, 2, 3]
