"""What is noticed over many answers: entries hit far more often than usual, and who climbs.

What is noticed is counted, logged and recorded in the audit, beside matching: that never waits for
the audit, and never fails for it. Events are bounded; what is beyond is counted as lost. Answers
change only where a setting says so: `REVIEW` where all they rest on is flagged entries, a refusal
for a query of a series beyond its rate.

The server processes of a machine tell each other what they count (`matcher.service.peers`), so that
thresholds are of all together; each answers by what it has heard, and waits for nobody. Single
event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from hashlists.access.audit import Event
from hashlists.access.noticed import CLIENT_CLIMBING, ENTRY, ENTRY_HOT, REVIEWED
from hashlists.errors import HashlistsError
from hashlists.model import Harm, HashKind
from matcher.climbing import Climbing, Series
from matcher.errors import ClimbingError, MatcherError
from matcher.hot_entries import FLAGGED_WINDOWS, HotEntries, HotEntry
from matcher.model import QUALITY_FLOOR, Basis, Decision, View
from matcher.service.callers import current_place
from matcher.service.gate import current_caller
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from hashlists.access.audit import AuditRecord
    from hashlists.access.database import AccessDatabase
    from matcher.model import ImageHashes, Match, MatchResult
    from matcher.service.peers import Peers

_log = logging.getLogger(__name__)
_FOUND = (Decision.MATCH, Decision.REVIEW)
_MOST_PENDING = 64
#: Events of a day that one process records.
MOST_EVENTS = 1_000
_DAY_SECONDS = 86_400.0
_LOOK_SECONDS = 30.0
_CLOSE_SECONDS = 5.0
#: What processes tell each other: entries that an upload hit, one that was flagged, a query that is
#: a step, a series of a client.
_HITS, _FLAGGED, _STEP, _SERIES = "hits", "flagged", "step", "series"
#: Of one upload, whose entries are otherwise counted where it was matched alone.
_MOST_HITS_TOLD = 1_000
_HOT = "all that it rests on is entries hit far more often than usual, so it is to be reviewed"


@dataclass(frozen=True, slots=True)
class NoticingSettings:
    """What is noticed, and what follows.

    Attributes:
        hot_hits: hits in a window below which no entry is flagged; 0: none ever is.
        hot_factor: how many times the usual is far more.
        hot_seconds: how long a window is.
        hot_review: answer `REVIEW` where all that a `MATCH` rests on is flagged entries.
        climbing: `off`, `tell`, or `throttle`: series are held to a rate as well.
        climbing_steps: different codes that make a series.
        climbing_seconds: within which they come.
        climbing_answer_seconds: from one answer within a series to the next.
    """

    hot_hits: int = 50
    hot_factor: float = 10.0
    hot_seconds: float = 3_600.0
    hot_review: bool = False
    climbing: str = "tell"
    climbing_steps: int = 20
    climbing_seconds: float = 600.0
    climbing_answer_seconds: float = 10.0


class Noticing:
    """Watches the answers of one server process.

    Args:
        settings: what is noticed, and what follows.
        database: gives the open database of the audit; for threads.
        actor: who this server is, for the audit.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        settings: NoticingSettings,
        database: Callable[[], AccessDatabase],
        *,
        actor: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._settings = settings
        self._database = database
        self._actor = actor
        self._clock = clock
        self._hot = HotEntries(
            floor=settings.hot_hits,
            factor=settings.hot_factor,
            window_seconds=settings.hot_seconds,
            clock=clock,
        )
        self._climbing = Climbing(
            steps=settings.climbing_steps,
            seconds=settings.climbing_seconds,
            answer_seconds=settings.climbing_answer_seconds,
            clock=clock,
            on_note=self._tell_step,
        )
        self._peers: Peers | None = None
        self._threads = Threads("noticed", workers=1, max_pending=_MOST_PENDING)
        self._tasks: set[asyncio.Task[None]] = set()
        self._day_ends = clock() + _DAY_SECONDS
        self._events_left = MOST_EVENTS
        self._reviews_read = 0
        self._ending = asyncio.Event()
        self._following: asyncio.Task[None] | None = None
        self._refused = self._reviews = self._lost = 0

    @property
    def hot_entries(self) -> int:
        """Entries that are flagged now; from any thread."""
        return self._hot.flags

    @property
    def counts(self) -> Mapping[str, float]:
        """What adds up, by the names that metrics have for it; from any thread."""
        return {
            "hot_entries_flagged": self._hot.flagged,
            "hot_entry_reviews": self._reviews,
            "climbing_series": self._climbing.noticed,
            "climbing_refused": self._refused,
            "audit_events_lost": self._lost,
        }

    def look(self, result: MatchResult, hashes: ImageHashes) -> MatchResult:
        """Takes note of an answer, and gives it as it is to be told.

        Raises:
            ClimbingError: it is of a series that is held to a rate, and no answer is due.
        """
        self._look_for_climbing(result, hashes)
        if self._settings.hot_hits and result.decision in _FOUND:
            lists = {each.entry_id: each.list_name for each in _that_accuse(result)}
            if lists:
                self._tell_peers({_HITS: list(lists)[:_MOST_HITS_TOLD]})
            for each in self._hot.add(lists):
                self._tell_peers({_FLAGGED: each.entry_id})
                self._tell_hot(each, lists[each.entry_id])
        return self.judged(result)

    def judged(self, result: MatchResult) -> MatchResult:
        """An answer as it is to be told, of which no note is taken."""
        if not self._settings.hot_review or result.decision is not Decision.MATCH:
            return result
        unknown = result.total_matches > len(result.recorded)
        accusing = _that_accuse(result)
        if unknown or not accusing:
            return result
        if not all(self._hot.is_flagged(each.entry_id) for each in accusing):
            return result
        self._reviews += 1
        return replace(
            result,
            decision=Decision.REVIEW,
            flagged=True,
            detail=f"{result.detail}; {_HOT}",
            detail_for_operator=f"{result.detail_for_operator}; {_HOT}",
        )

    def start(self) -> None:
        """Begins to follow what was reviewed."""
        self._following = asyncio.create_task(self._follow())

    def join(self, peers: Peers) -> None:
        """Counts together with other processes from now on; `peers` belongs to this."""
        self._peers = peers
        peers.hear(self._learn)

    async def close(self) -> None:
        """Records what is still to be recorded, unless that takes too long."""
        if self._peers is not None:
            self._peers.close()
            self._peers = None
        self._ending.set()
        waiting = {*self._tasks, *([self._following] if self._following is not None else [])}
        if waiting:
            await asyncio.wait(waiting, timeout=_CLOSE_SECONDS)
        self._threads.close()

    def _look_for_climbing(self, result: MatchResult, hashes: ImageHashes) -> None:
        if self._settings.climbing == "off":
            return
        who, matched = _who(), result.decision in _FOUND
        if not matched and not self._climbing.knows(who):
            return
        code = _upright(hashes)
        if code is None:
            return
        series = self._climbing.look(who, code, matched=matched)
        if series is None:
            return
        self._tell_peers({_SERIES: who, "answered": series.may_ask})
        if series.is_new:
            self._tell_climbing(series)
        exact = any(each.basis is Basis.EXACT for each in result.recorded)
        if self._settings.climbing == "throttle" and not series.may_ask and not exact:
            self._refused += 1
            raise ClimbingError(
                "this is one of many queries that hardly differ, which are answered one at a time",
                retry_seconds=series.retry_seconds,
            )

    def _tell_step(self, client: str, code: bytes, matched: bool) -> None:  # noqa: FBT001 - as asked
        self._tell_peers({_STEP: client, "code": code.hex(), "matched": matched})

    def _tell_peers(self, message: Mapping[str, object]) -> None:
        if self._peers is not None:
            self._peers.tell(message)

    def _learn(self, message: Mapping[str, Any]) -> None:
        """Takes what another process told; see `Peers.hear` for what it raises."""
        if _HITS in message:
            self._hot.learn(map(int, message[_HITS]))
        elif _FLAGGED in message:
            self._hot.learn_flagged(int(message[_FLAGGED]))
        elif _STEP in message:
            code = bytes.fromhex(message["code"])
            self._climbing.learn(str(message[_STEP]), code, matched=bool(message["matched"]))
        else:
            self._climbing.learn_series(str(message[_SERIES]), answered=bool(message["answered"]))

    def _tell_hot(self, hot: HotEntry, list_name: str) -> None:
        _log.warning(
            "entry %d is hit far more often than usual: %d times; see `hashwarden review list`",
            hot.entry_id,
            hot.hits,
        )
        details = {
            "list": list_name,
            "hits": hot.hits,
            "usual": round(hot.usual, 3),
            "window_seconds": hot.window_seconds,
        }
        self._record(Event(self._actor, ENTRY_HOT, f"{ENTRY}{hot.entry_id}", details=details))

    def _tell_climbing(self, series: Series) -> None:
        _log.warning(
            "a client sends near-identical queries on either side of what matches: %d of them; "
            "see `hashwarden review list`",
            series.steps,
        )
        details = {
            "queries": series.steps,
            "matched": series.matched,
            "seconds": self._settings.climbing_seconds,
        }
        self._record(Event(self._actor, CLIENT_CLIMBING, series.client, details=details))

    def _record(self, event: Event) -> None:
        if self._clock() >= self._day_ends:
            self._day_ends, self._events_left = self._clock() + _DAY_SECONDS, MOST_EVENTS
        if self._events_left < 1:
            self._lost += 1
            return
        self._events_left -= 1
        task = asyncio.create_task(self._recorded(event))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _recorded(self, event: Event) -> None:
        try:
            await self._threads.run(lambda: self._database().record(event))
        except (HashlistsError, MatcherError, OSError) as error:
            self._lost += 1
            _log.error("what was noticed cannot be recorded in the audit: %s", error)

    async def _follow(self) -> None:
        """Has no entry flagged that somebody looked at."""
        while not self._ending.is_set():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._ending.wait(), _LOOK_SECONDS)
            if self._hot.flags and not self._ending.is_set():
                with suppress(HashlistsError, MatcherError, OSError):  # tried again
                    await self.read_reviews()

    async def read_reviews(self) -> None:
        """Reads what was reviewed since the last time; what is older than a flag lasts is over.

        Raises:
            AccessDatabaseError: the database failed.
            OverloadedError: too much waits for it.
        """
        lasts = timedelta(seconds=FLAGGED_WINDOWS * self._settings.hot_seconds)
        while records := await self._threads.run(self._reviews_after, self._reviews_read):
            for each in records:
                self._reviews_read = each.number
                kind, _, number = each.event.subject.partition(":")
                is_over = each.at < datetime.now(UTC) - lasts
                if f"{kind}:" == ENTRY and number.isdecimal() and not is_over:
                    self._hot.reviewed(int(number))

    def _reviews_after(self, number: int) -> list[AuditRecord]:
        return self._database().records_of([REVIEWED], after=number)


def _that_accuse(result: MatchResult) -> list[Match]:
    """What a result rests on but for entries for tests, which probes ask for all the time."""
    return [each for each in result.recorded if each.harm != Harm.TEST]


def _upright(hashes: ImageHashes) -> bytes | None:
    """The PDQ code of the upright view, where it is of use."""
    for each in hashes.views:
        if each.view == View.UPRIGHT and each.quality >= QUALITY_FLOOR:
            return each.codes.get(HashKind.PDQ)
    return None


def _who() -> str:
    caller = current_caller()
    return f"client:{caller.name}" if caller.is_client else f"unknown:{current_place()}"


__all__ = ["MOST_EVENTS", "Noticing", "NoticingSettings"]
