"""Adds up what lists do to uploads, or in shadow would do, and hands the sums to the catalog.

Invariants: matching never waits for the catalog, and never fails for it; what could not be handed
over is kept and handed over later, up to `MAX_SUMS`, beyond which the oldest days are given up.
What a process has not handed over when it is killed is lost: that of half a minute or so. Nothing
here knows more of an upload than which lists it matched.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from contextlib import suppress
from typing import TYPE_CHECKING

from hashlists.catalog.match_days import today
from hashlists.model import MatchDay
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from datetime import date

    from matcher.model import MatchResult
    from matcher.service.late_catalog import LateCatalog

    #: Day, policy, and the lists that counted.
    _Seen = tuple[date, str, tuple[str, ...]]
    #: Day, policy, list.
    _Hit = tuple[date, str, str]

_log = logging.getLogger(__name__)
FLUSH_SECONDS = 30.0
#: Lists times days times policies.
MAX_SUMS = 20_000
_CLOSE_SECONDS = 5.0


class MatchCounts:
    """The sums of one server process; for one thread, but for `days`.

    Args:
        today: the present day in UTC.
    """

    def __init__(self, today: Callable[[], date] = today) -> None:
        self._today = today
        self._uploads: Counter[_Seen] = Counter()
        self._exact: Counter[_Hit] = Counter()
        self._near: Counter[_Hit] = Counter()

    def add(self, result: MatchResult) -> None:
        """Counts one upload that was answered."""
        day, policy = self._today(), result.policy
        self._uploads[day, policy, result.counted_lists] += 1
        exactly = {name for name, exact in result.hit_lists if exact}
        for name in exactly:
            self._exact[day, policy, name] += 1
        for name, _ in result.hit_lists:
            if name not in exactly:
                self._near[day, policy, name] += 1

    def days(self) -> list[MatchDay]:
        """The sums, oldest day first; at most `MAX_SUMS`, of the newest days."""
        uploads: Counter[_Hit] = Counter()
        for (day, policy, names), number in self._uploads.items():
            for name in names:
                uploads[day, policy, name] += number
        keys = sorted(uploads)[-MAX_SUMS:]
        return [
            MatchDay(name, day, policy, uploads[key], self._exact[key], self._near[key])
            for key in keys
            for day, policy, name in [key]
        ]

    def put_back(self, days: Iterable[MatchDay]) -> None:
        """Counts sums again that could not be handed over."""
        for each in days:
            key = (each.day, each.policy, each.list_name)
            self._uploads[each.day, each.policy, (each.list_name,)] += each.uploads
            self._exact[key] += each.exact
            self._near[key] += each.near


class MatchCounting:
    """Hands the sums of a process to the catalog, again and again, on its own task and thread.

    Args:
        catalog: may be away.
        flush_seconds: from one time to the next.
    """

    def __init__(self, catalog: LateCatalog, *, flush_seconds: float = FLUSH_SECONDS) -> None:
        self._catalog = catalog
        self._flush_seconds = flush_seconds
        self._threads = Threads("match counts", workers=1, max_pending=1)
        self._counts = MatchCounts()
        self._failing = False
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    def add(self, result: MatchResult) -> None:
        """Counts one upload that was answered; on the loop."""
        self._counts.add(result)

    def start(self) -> None:
        """Begins to hand over."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Hands over what is left, unless the catalog takes too long, and ends."""
        self._ending.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, _CLOSE_SECONDS)
        self._threads.close()

    async def _run(self) -> None:
        while not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), self._flush_seconds)
                continue
            await self._flush()
        await self._flush()

    async def _flush(self) -> None:
        counts, self._counts = self._counts, MatchCounts()
        days = counts.days()
        if not days:
            return
        try:
            await self._threads.run(self._hand_over, days)
        except Exception as error:  # noqa: BLE001 - counting must outlive any single failure
            self._counts.put_back(days)
            if not self._failing:  # told once, until it goes well again
                _log.warning("what lists match cannot be counted in the catalog now: %s", error)
            self._failing = True
        else:
            self._failing = False

    def _hand_over(self, days: list[MatchDay]) -> None:
        self._catalog.opened().add_match_days(days)


__all__ = ["MatchCounting", "MatchCounts"]
