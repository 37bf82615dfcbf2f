"""What lists match is counted beside matching, and handed over whenever the catalog can take it."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import date

import pytest

from hashlists.catalog import MatchDay
from hashlists.errors import CatalogError
from matcher.service import match_counts
from matcher.service.match_counts import MatchCounting, MatchCounts

DAY = date(2026, 3, 1)


@dataclass
class Result:
    """As much of a `MatchResult` as is counted."""

    hit_lists: frozenset = frozenset()
    counted_lists: tuple = ("a", "b")
    policy: str = "default"


def sums(counts):
    return {
        (each.list_name, each.policy): (each.uploads, each.exact, each.near)
        for each in counts.days()
    }


class TestCounts:
    def test_uploads_count_once_for_each_list(self):
        counts = MatchCounts(lambda: DAY)
        counts.add(Result())
        counts.add(Result(frozenset({("a", True), ("a", False)})))
        counts.add(Result(frozenset({("a", False), ("b", False)})))
        counts.add(Result(frozenset({("b", True)}), counted_lists=("b",), policy="strict"))
        assert sums(counts) == {
            ("a", "default"): (3, 1, 1),
            ("b", "default"): (3, 0, 1),
            ("b", "strict"): (1, 1, 0),
        }
        assert {each.day for each in counts.days()} == {DAY}

    def test_sums_come_back_as_they_were(self):
        counts = MatchCounts(lambda: DAY)
        counts.add(Result(frozenset({("a", True)})))
        again = MatchCounts(lambda: DAY)
        again.put_back(counts.days())
        again.add(Result())
        assert sums(again) == {("a", "default"): (2, 1, 0), ("b", "default"): (2, 0, 0)}

    def test_the_oldest_days_are_given_up(self, monkeypatch):
        monkeypatch.setattr(match_counts, "MAX_SUMS", 3)
        days = iter([date(2026, 3, 1), date(2026, 3, 2)])
        counts = MatchCounts(lambda: next(days))
        counts.add(Result())
        counts.add(Result())
        found = [(each.day.day, each.list_name) for each in counts.days()]
        assert found == [(1, "b"), (2, "a"), (2, "b")]


class Catalog:
    """Takes sums, or is away."""

    def __init__(self):
        self.away = False
        self.taken = []
        self.asked = asyncio.Event()
        self.loop = asyncio.get_running_loop()

    def opened(self):
        self.loop.call_soon_threadsafe(self.asked.set)
        if self.away:
            raise CatalogError("away")
        return self

    def add_match_days(self, days):
        self.taken += days


@pytest.mark.asyncio
class TestCounting:
    async def test_what_is_left_is_handed_over_at_the_end(self):
        catalog = Catalog()
        counting = MatchCounting(catalog)
        counting.start()
        counting.add(Result(frozenset({("a", False)}), counted_lists=("a",)))
        await counting.close()
        (taken,) = catalog.taken
        assert isinstance(taken, MatchDay)
        assert (taken.list_name, taken.uploads, taken.exact, taken.near) == ("a", 1, 0, 1)

    async def test_what_the_catalog_cannot_take_is_kept_and_told_once(self, caplog):
        catalog = Catalog()
        catalog.away = True
        counting = MatchCounting(catalog, flush_seconds=0.001)
        counting.start()
        counting.add(Result(counted_lists=("a",)))
        for _ in range(3):
            catalog.asked.clear()
            await asyncio.wait_for(catalog.asked.wait(), 30)
        counting.add(Result(counted_lists=("a",)))
        catalog.away = False
        await counting.close()
        assert sum(each.uploads for each in catalog.taken) == 2
        assert len([each for each in caplog.records if "cannot be counted" in each.message]) == 1

    async def test_one_that_never_began_ends(self):
        await MatchCounting(Catalog()).close()

    async def test_without_uploads_the_catalog_is_left_alone(self):
        catalog = Catalog()
        counting = MatchCounting(catalog)
        counting.start()
        await counting.close()
        assert not catalog.asked.is_set()
