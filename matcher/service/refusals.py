"""Calls that were refused for who called, as the audit tells them: in sums, never one by one.

Refusals are added up by who, method and reason. The first of such a sum is recorded within seconds;
what follows is summed up for minutes at least. Whoever calls from thousands of addresses cannot
fill the audit: so many sums are kept at a time, and so many recorded in a day, of strangers and of
clients apart; the refusals of all others are told by reason alone, every hour. What cannot be
recorded waits in its sum.

No call waits for any of it, and nothing of what callers showed is kept. Single event loop only.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import Counter
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, NamedTuple

from hashlists.access.audit import Event, Outcome
from hashlists.errors import HashlistsError
from matcher.errors import MatcherError
from matcher.service.callers import place_of
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable

    from hashlists.access.database import AccessDatabase
    from matcher.errors import CallRefusedError

_log = logging.getLogger(__name__)
CALL_REFUSED = "call.refused"
#: Between looks at what is due, and with it how long the first of a sum waits.
TICK_SECONDS = 10.0
#: From one record of a sum to its next.
QUIET_SECONDS = 300.0
OTHERS_SECONDS = 3_600.0
_DAY_SECONDS = 86_400.0
#: Sums of strangers that are kept at a time, and of clients.
MOST_SUMS = 256
#: Records of a day for strangers, and as many for clients, beside those of all others.
MOST_RECORDS = 300
_CLIENT, _UNKNOWN = "client", "unknown"
#: In place of who, and of the method: no client or method has such a name.
_OTHERS = "*"
_CLOSE_SECONDS = 5.0


class _Key(NamedTuple):
    """What refusals are added up by: `client` or `unknown`, which of them, the method, and why."""

    kind: str
    who: str
    method: str
    why: str


class _Calls(NamedTuple):
    """So many calls, and when the first and the last of them came."""

    number: int
    first_at: datetime
    last_at: datetime

    def and_also(self, more: _Calls) -> _Calls:
        return _Calls(
            self.number + more.number,
            min(self.first_at, more.first_at),
            max(self.last_at, more.last_at),
        )


@dataclass(slots=True)
class _Sum:
    """What was refused and is not recorded yet, and when it may be."""

    due: float
    calls: _Calls | None = None

    def add(self, more: _Calls) -> None:
        self.calls = more if self.calls is None else self.calls.and_also(more)


class Refusals:
    """The refusals of one server process.

    Args:
        database: gives the open database of the audit; for threads.
        server: who this server is, for the audit.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        database: Callable[[], AccessDatabase],
        *,
        server: str,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._database = database
        self._server = server
        self._clock = clock
        self._threads = Threads("refusals", workers=1, max_pending=2)
        self._sums: dict[str, dict[_Key, _Sum]] = {_CLIENT: {}, _UNKNOWN: {}}
        self._others: dict[_Key, _Sum] = {}
        self._day_ends = clock() + _DAY_SECONDS
        self._recorded = Counter[str]()
        self._problem = ""

    def add(self, peer: str, method: str, error: CallRefusedError) -> bool:
        """Takes note of a refusal.

        Args:
            peer: where the call came from, as gRPC writes it.
            method: its name.
            error: what it was refused with.

        Returns:
            Whether it is the first of its kind since the last was recorded, which is worth a line
            in the log: who floods a server with calls does not fill its disk with lines.
        """
        kind, who = (_CLIENT, error.client) if error.client else (_UNKNOWN, place_of(peer))
        key, now = _Key(kind, who, method, error.why), datetime.now(UTC)
        calls, sums = _Calls(1, now, now), self._sums[kind]
        if key not in sums and len(sums) >= MOST_SUMS:
            self._add_to_others(key, calls)
            return False
        kept = sums.setdefault(key, _Sum(self._clock() + TICK_SECONDS))
        is_first = kept.calls is None
        kept.add(calls)
        return is_first

    async def run(self) -> None:
        """Records what is due until cancelled."""
        while True:
            await asyncio.sleep(TICK_SECONDS)
            await self.record()

    async def record(self, *, ending: bool = False) -> None:
        """Records what is due.

        Args:
            ending: nothing follows, so that nothing waits any longer.
        """
        due = self._take_due(ending=ending)
        if not due:
            return
        try:
            problem = await self._threads.run(self._write, due)
        except MatcherError as error:  # the database hangs with what came before
            problem = str(error)
        for key, calls in due.items():  # what was written is taken out of it
            sums = self._others if key.who == _OTHERS else self._sums[key.kind]
            sums.setdefault(key, _Sum(0.0)).add(calls)
            sums[key].due = 0.0
            self._recorded[key.kind] -= key.who != _OTHERS
        self._tell(problem, sum(calls.number for calls in due.values()))

    async def close(self) -> None:
        """Records what is still to be recorded, unless that takes too long."""
        await asyncio.wait((asyncio.create_task(self.record(ending=True)),), timeout=_CLOSE_SECONDS)
        self._threads.close()

    def _take_due(self, *, ending: bool) -> dict[_Key, _Calls]:
        """What is to be recorded, taken out of its sums."""
        now = self._clock()
        if now >= self._day_ends:
            self._day_ends = now + _DAY_SECONDS
            self._recorded.clear()
        due: dict[_Key, _Calls] = {}
        for kind, sums in self._sums.items():
            for key in [key for key, each in sums.items() if ending or each.due <= now]:
                each = sums[key]
                if each.calls is None:  # nothing more has come since it was recorded
                    del sums[key]
                elif self._recorded[kind] >= MOST_RECORDS:
                    self._add_to_others(key, each.calls)
                    del sums[key]
                else:
                    self._recorded[kind] += 1
                    due[key], each.calls, each.due = each.calls, None, now + QUIET_SECONDS
        for key, each in self._others.items():
            if each.calls is not None and (ending or each.due <= now):
                due[key], each.calls, each.due = each.calls, None, now + OTHERS_SECONDS
        return due

    def _add_to_others(self, key: _Key, calls: _Calls) -> None:
        others = _Key(key.kind, _OTHERS, _OTHERS, key.why)
        self._others.setdefault(others, _Sum(0.0)).add(calls)

    def _write(self, due: dict[_Key, _Calls]) -> str:
        """Records what is due, and takes it out of that; gives what was in the way, if anything."""
        try:
            for key in list(due):
                self._database().record(self._event(key, due[key]))
                del due[key]
        except (HashlistsError, OSError) as error:
            return str(error)
        return ""

    def _event(self, key: _Key, calls: _Calls) -> Event:
        details = {
            "reason_code": key.why,
            "calls": calls.number,
            "first_at": calls.first_at.isoformat(timespec="seconds"),
            "last_at": calls.last_at.isoformat(timespec="seconds"),
            "server": self._server,
        }
        who = f"{key.kind}:{key.who}"
        return Event(who, CALL_REFUSED, key.method, Outcome.FAILED, details)

    def _tell(self, problem: str, waiting: int) -> None:
        if problem and problem != self._problem:
            _log.error(
                "that %d calls were refused cannot be recorded in the audit yet: %s",
                waiting,
                problem,
            )
        self._problem = problem


__all__ = ["CALL_REFUSED", "Refusals"]
