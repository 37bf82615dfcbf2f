"""Hands the records of matches to their store, beside matching, on a task and a thread of its own.

Invariants: matching never waits for the store and never fails for it. What waits is bounded; what
comes when the queue is full is lost, and counted. A store that fails is tried again and again,
opened anew where it must be, and what waits is kept meanwhile. What a process has not handed over
when it is killed, that of a second or so, is lost.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from contextlib import suppress
from datetime import timedelta
from itertools import islice
from typing import TYPE_CHECKING, Any, TypeAlias

from hashlists.words import counted
from matcher.errors import MatcherError, MatchRecordsError, NoMatchRecordsError
from matcher.policy.rules import policies_to_dict
from matcher.records import RecordStore
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.model import Outcome
    from matcher.policy.policy import Policy
    from matcher.records import MatchRecord
    from matcher.sealing import KeySource

OutcomeCounts: TypeAlias = "Mapping[str, Mapping[Outcome, int]]"
_log = logging.getLogger(__name__)
FLUSH_SECONDS = 1.0
#: After a failure.
RETRY_SECONDS = 5.0
#: A process that ends before the second of its sweeps has deleted nothing.
SWEEP_SECONDS = 600.0
#: Nobody has to hear of a clock that is ahead, or behind, by less.
_WRONG = timedelta(days=1)
_CLOSE_SECONDS = 5.0
#: Records of one transaction.
_BATCH = 500
#: Policies whose documents are remembered.
_MOST_POLICIES = 1_000


class RecordKeeping:
    """Keeps the records of one server process. Single event loop only.

    Args:
        url: of the store.
        keys: what is sealed with.
        days: how long records are kept; 0: none is, and what was kept is swept.
        most_waiting: records that wait at most.
        flush_seconds: from one hand-over to the next.
    """

    def __init__(
        self,
        url: str,
        keys: KeySource,
        *,
        days: int,
        most_waiting: int,
        flush_seconds: float = FLUSH_SECONDS,
    ) -> None:
        self._url = url
        self._keys = keys
        self._keep = timedelta(days=days)
        self._most_waiting = most_waiting
        self._flush_seconds = flush_seconds
        self._waiting: deque[MatchRecord] = deque()
        self._policies: dict[str, Mapping[str, Any]] = {}
        self._flushing = asyncio.Lock()
        self._threads = Threads("match records", workers=1, max_pending=4)
        self._store: RecordStore | None = None
        self._ending = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._full = False
        self._next_sweep = 0.0
        self._told_wrong = False
        self.kept = 0
        self.lost = 0
        self.problem = ""

    @property
    def is_on(self) -> bool:
        """Whether records are kept at all."""
        return bool(self._keep)

    @property
    def state(self) -> str:
        """In a word, or the words of what is wrong; for health."""
        if not self.is_on:
            return "off"
        if self.problem:
            return f"cannot be written: {self.problem}"
        return "records are being lost: too many wait" if self._full else "kept"

    @property
    def waiting(self) -> int:
        """Records that are not handed over yet."""
        return len(self._waiting)

    def add(self, record: MatchRecord, policy: Policy) -> None:
        """Takes a record of a match that was judged by that policy; on the loop."""
        if not self.is_on:
            return
        if len(self._waiting) >= self._most_waiting:
            self.lost += 1
            if not self._full:  # told once, until there is room again
                _log.error("records of matches are being lost, as too many wait to be written")
            self._full = True
            return
        if record.policy_version not in self._policies:
            self._forget_policies()
            self._policies[record.policy_version] = policies_to_dict({policy.name: policy})
        self._waiting.append(record)

    def start(self) -> None:
        """Begins to hand over."""
        self._task = asyncio.create_task(self._run())

    async def close(self) -> None:
        """Hands over what is left, unless that takes too long, and ends."""
        self._ending.set()
        if self._task is not None:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._task, _CLOSE_SECONDS)
        if self._waiting:
            self.lost += len(self._waiting)
            _log.error(
                "%s lost: they could not be written before the end",
                counted(len(self._waiting), "record of a match", "records of matches"),
            )
        with suppress(Exception):
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._threads.run(self._close_store)
        self._threads.close()

    async def store(self) -> RecordStore:
        """The open store, for those who read it in threads of their own.

        Raises:
            NoMatchRecordsError: none is kept.
            MatchRecordsError, SealingKeyError: it cannot be opened.
        """
        if not self.is_on:
            raise NoMatchRecordsError("this server keeps no records of matches (match_record_days)")
        return await self._threads.run(self._opened)

    async def outcomes(self) -> OutcomeCounts | None:
        """By list how many matches were found right, and wrong; None where none can be told."""
        try:
            return await self._threads.run((await self.store()).outcome_counts)
        except (MatcherError, OSError):
            return None

    async def flushed(self) -> None:
        """What was added up to now is in the store, where that can be written."""
        if self._waiting:
            await self._flush()

    def _forget_policies(self) -> None:
        """Forgets documents that no waiting record needs, where there are many."""
        if len(self._policies) >= _MOST_POLICIES:
            needed = {each.policy_version for each in self._waiting}
            self._policies = {v: each for v, each in self._policies.items() if v in needed}

    async def _run(self) -> None:
        while not self._ending.is_set():
            await self._flush()
            pause = RETRY_SECONDS if self.problem else self._flush_seconds
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), pause)
        await self._flush()

    async def _flush(self) -> None:
        try:
            async with self._flushing:
                await self._hand_over()
            await self._sweep()
        except Exception as error:  # noqa: BLE001 - keeping must outlive any single failure
            self._failed(error)
        else:
            if self.problem:
                _log.info("records of matches can be written again")
            self.problem = ""

    async def _hand_over(self) -> None:
        while batch := list(islice(self._waiting, _BATCH)):
            needed = {each.policy_version for each in batch}
            await self._threads.run(self._write, batch, {v: self._policies[v] for v in needed})
            for _ in batch:
                self._waiting.popleft()
            self.kept += len(batch)
            self._full = False

    async def _sweep(self) -> None:
        now = time.monotonic()
        if now >= self._next_sweep:
            await self._threads.run(self._sweep_store)
            self._next_sweep = now + SWEEP_SECONDS

    def _failed(self, error: Exception) -> None:
        told = str(error) or type(error).__name__
        if told != self.problem:  # told once, until it is another
            _log.error("records of matches cannot be written now: %s", told)
        self.problem = told

    def _opened(self) -> RecordStore:
        if self._store is None:
            self._store = RecordStore.open(self._url, self._keys, keep=self._keep)
        return self._store

    def _write(self, batch: list[MatchRecord], policies: Mapping[str, Mapping[str, Any]]) -> None:
        store = self._opened()
        try:
            store.add(batch, policies)
        except MatchRecordsError:
            self._close_store()  # its file may have gone, and be there again
            raise

    def _sweep_store(self) -> None:
        ahead = self._opened().sweep().ahead
        if ahead > _WRONG and not self._told_wrong:
            _log.warning(
                "the clock is %s days ahead of the time that servers were seen to run; records of "
                "matches are deleted later for that. If the clock is wrong, set it; if no server "
                "ran for so long, all is well",
                ahead.days,
            )
        self._told_wrong = ahead > _WRONG

    def _close_store(self) -> None:
        if self._store is not None:
            self._store.close()
            self._store = None


__all__ = ["OutcomeCounts", "RecordKeeping"]
