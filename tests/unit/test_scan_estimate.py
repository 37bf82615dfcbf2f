"""What a scan will take is told before it begins: bounded, and never as more than is known."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.cli import scan_estimate
from matcher.scan.document import Selection
from matcher.scan.estimate import Bounds, Estimate, Prices, estimate, look_ahead, measured_rate
from matcher.scan.model import BatchResult, Listed, Page
from matcher.scan.sources.selection import Selector
from matcher.settings import load_settings

ALL = Selector(Selection())


class Lister:
    """Pages of so many objects, some of them without a size."""

    url = "listed"

    def __init__(self, objects, *, page=100, size=10, unsized=False, pause=0.0):
        self.objects, self.page, self.size, self.unsized = objects, page, size, unsized
        self.pause, self.listed = pause, 0

    async def list(self, after=""):
        for begin in range(0, self.objects, self.page):
            await asyncio.sleep(self.pause)
            numbers = range(begin, min(begin + self.page, self.objects))
            size = None if self.unsized else self.size
            self.listed += len(numbers)
            yield Page(tuple(Listed(f"{each:06}", size) for each in numbers), str(begin))


class Engine:
    capacity = 4

    def __init__(self, seconds=0.0):
        self.seconds, self.scanned = seconds, []

    async def scan(self, batch):
        await asyncio.sleep(self.seconds)
        self.scanned.append(batch)
        return BatchResult(batch.number, ())


async def test_a_listing_that_ends_is_told_whole():
    ahead = await look_ahead([Lister(250), Lister(50, size=100)], ALL)
    assert (ahead.listed, ahead.objects, ahead.nbytes) == (300, 300, 250 * 10 + 50 * 100)
    assert ahead.complete
    told = estimate(ahead, stores=True, inventory=False, rate=10.0, prices=Prices())
    assert (told.objects, told.at_least, told.seconds, told.cost) == (300, False, 30.0, None)
    assert (told.list_requests, told.get_requests) == (1, 300)


async def test_only_what_is_selected_is_counted():
    chosen = Selector(Selection(include=("*0",)))
    ahead = await look_ahead([Lister(1000)], chosen)
    assert (ahead.listed, ahead.objects) == (1000, 100)


async def test_a_limit_ends_it():
    lister = Lister(100_000)
    ahead = await look_ahead([lister, Lister(5)], ALL, limit=150)
    assert (ahead.objects, ahead.complete) == (150, True)
    assert lister.listed == 200


async def test_it_looks_no_further_than_its_bounds():
    lister = Lister(100_000)
    ahead = await look_ahead([lister], ALL, bounds=Bounds(objects=300))
    assert not ahead.complete
    assert lister.listed == 300
    ahead = await look_ahead([Lister(10, pause=3600)], ALL, bounds=Bounds(seconds=0.05))
    assert (ahead.objects, ahead.complete) == (0, False)


async def test_what_has_no_size_is_counted():
    ahead = await look_ahead([Lister(5, unsized=True)], ALL)
    assert (ahead.nbytes, ahead.unsized) == (0, 5)


async def test_a_rate_is_measured_by_a_few_of_all_sources():
    ahead = await look_ahead([Lister(500), Lister(500)], ALL)
    engine = Engine(0.01)
    rate = await measured_rate(ahead, engine)
    tried = [each for batch in engine.scanned for each in batch.objects]
    assert len(tried) == len(ahead.tried) == 64
    assert {batch.source for batch in engine.scanned} == {0, 1}
    assert 0 < rate < 64 / 0.01


async def test_a_rate_that_takes_too_long_is_not_known():
    ahead = await look_ahead([Lister(5)], ALL)
    assert await measured_rate(ahead, Engine(3600), bounds=Bounds(trial_seconds=0.05)) is None
    empty = await look_ahead([Lister(0)], ALL)
    assert await measured_rate(empty, Engine()) is None


async def test_objects_are_tried_from_the_whole_listing():
    ahead = await look_ahead([Lister(20_000, page=1000)], ALL)
    numbers = [int(listed.key) for _, listed in ahead.tried]
    assert len({*numbers}) == 64
    assert min(numbers) < 10_000 < max(numbers)


async def test_what_it_costs_is_told_where_prices_are():
    ahead = await look_ahead([Lister(2_000, size=10**6)], ALL)
    prices = Prices(get=0.4, list_=5.0, gb=0.09)
    told = estimate(ahead, stores=True, inventory=False, rate=None, prices=prices)
    assert told.cost == pytest.approx(2 * 0.4 + 2 / 1000 * 5.0 + 2 * 0.09)
    by_inventory = estimate(ahead, stores=True, inventory=True, rate=None, prices=prices)
    assert by_inventory.list_requests == 0
    folder = estimate(ahead, stores=False, inventory=False, rate=None, prices=prices)
    assert (folder.cost, folder.get_requests, folder.list_requests) == (None, 0, 0)


@given(st.integers(0, 300_000), st.one_of(st.none(), st.floats(0, 10_000)), st.booleans())
def test_big_is_what_passes_a_bound_or_may(objects, seconds, at_least):
    told = Estimate(objects, 0, at_least, seconds)
    assert told.is_big(objects=100_000, seconds=3600) == (
        at_least or objects > 100_000 or (seconds is not None and seconds > 3600)
    )


# As it is told


def test_it_is_told_in_a_sentence():
    told = scan_estimate.words(Estimate(12_345, 10**9, True, 90_000, 13, 12_345, 4.5678))
    assert told == (
        "To scan: at least 12,345 objects, 953.7 MiB, about 1 day 1 h at the rate of a few tried, "
        "13 LIST and 12,345 GET requests, 4.57 in the currency of the prices (the listing goes on "
        "behind what was looked at)."
    )
    assert scan_estimate.words(Estimate(2, 5, False)) == "To scan: 2 objects, 5 bytes."


def test_it_is_told_as_json():
    assert scan_estimate.record(Estimate(2, 5, False, 1.6, 1, 2, 0.123456)) == {
        "objects": 2,
        "bytes": 5,
        "at_least": False,
        "seconds": 2,
        "list_requests": 1,
        "get_requests": 2,
        "cost": 0.1235,
    }
    assert scan_estimate.record(Estimate(2, 5, False))["seconds"] is None


@pytest.mark.parametrize(
    "case",
    [
        (Estimate(10, 0, False), False, True, None, True),
        (Estimate(10**6, 0, False), False, True, True, True),
        (Estimate(10**6, 0, False), False, True, False, False),
        (Estimate(10, 0, True), False, True, False, False),
        (Estimate(10, 0, False, 4000.0), False, True, False, False),
        (Estimate(10**6, 0, False), True, True, None, True),
        (Estimate(10**6, 0, False), False, False, None, True),
    ],
)
def test_a_person_is_asked_about_a_big_scan(case, monkeypatch):
    estimate_, yes, watched, said, begins = case
    asked = []

    def agreed(question):
        asked.append(question)
        return said

    monkeypatch.setattr(scan_estimate, "can_ask", lambda: watched)
    monkeypatch.setattr(scan_estimate, "agreed", agreed)
    assert scan_estimate.may_begin(estimate_, yes=yes) is begins
    assert bool(asked) is (said is not None)


def test_prices_are_those_said_else_those_set(tmp_path):
    settings = load_settings(tmp_path, environ={"HASHWARDEN_SCAN_PRICE_GET": "0.5"})
    assert scan_estimate.prices(settings, None, 7.0, None) == Prices(0.5, 7.0, 0.0)
    assert not Prices()
    assert scan_estimate.prices(settings, 0.0, None, None).get == 0.0


async def test_a_rate_is_measured_where_it_may_be_a_big_scan():
    few = await look_ahead([Lister(10)], ALL)
    assert not scan_estimate.is_worth_measuring(few)
    assert scan_estimate.is_worth_measuring(await look_ahead([Lister(6_000, page=1000)], ALL))
    assert scan_estimate.is_worth_measuring(await look_ahead([Lister(6, size=10**9)], ALL))
    cut = await look_ahead([Lister(10, page=1)], ALL, bounds=Bounds(objects=5))
    assert scan_estimate.is_worth_measuring(cut)
