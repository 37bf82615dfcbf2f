"""Fetches objects with patience: at the store's pace, and again after faults that may pass.

Waits between tries double and are drawn at random below their bound; how long a store asks to be
left alone is kept to. An object that cannot be read becomes a value with its reason, and never
stops its neighbours.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt
from tenacity.wait import wait_random_exponential

from matcher.scan.events import Event, Retried, Throttled, unheard
from matcher.scan.model import Content, FailureReason, FetchError
from matcher.scan.pace import LONGEST_PAUSE_SECONDS

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from matcher.scan.model import Listed
    from matcher.scan.pace import Gate
    from matcher.scan.sources.base import Source

#: Slower than this a store does not give anything.
_LEAST_BYTES_PER_SECOND: Final = 64 * 1024


@dataclass(frozen=True, slots=True)
class Patience:
    """How long an object is tried.

    Attributes:
        attempts: the first included.
        first_seconds: bound of the first wait; it doubles.
        longest_seconds: bound of any wait that the store does not ask for.
        total_seconds: for all tries and waits of one object; a large one has longer. To wait for a
            turn counts only once the store has asked for patience: else where a store is slow
            those that wait behind others would be given up without a try.
    """

    attempts: int = 6
    first_seconds: float = 0.25
    longest_seconds: float = 20.0
    total_seconds: float = 300.0


@dataclass(frozen=True, slots=True)
class Fetched:
    """An object that was read, and how often that was tried."""

    content: Content
    attempts: int


@dataclass(frozen=True, slots=True)
class NotFetched:
    """An object that could not be read.

    Attributes:
        reason: why.
        detail: one line for a person.
        attempts: how often it was tried.
    """

    reason: FailureReason
    detail: str
    attempts: int


class Fetcher:
    """Fetches the objects of one source.

    Args:
        source: which.
        gate: how many are fetched at a time, by all who share it.
        patience: with each object.
        number: of the source, for events.
        events: told of tries in vain, and when the store asks for less.
        sleep: waits between tries; replaced by tests.
    """

    def __init__(
        self,
        source: Source,
        gate: Gate,
        patience: Patience | None = None,
        *,
        number: int = 0,
        events: Callable[[Event], None] = unheard,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._source = source
        self._gate = gate
        self._patience = patience or Patience()
        self._number = number
        self._events = events
        self._sleep = sleep
        self._draw = wait_random_exponential(
            multiplier=self._patience.first_seconds, max=self._patience.longest_seconds
        )

    async def fetch(self, listed: Listed, *, max_bytes: int) -> Fetched | NotFetched:
        """An object, or why there is none.

        Args:
            listed: which.
            max_bytes: as `Source.fetch`.
        """
        tries = _Tries()
        try:
            async with asyncio.timeout(self._seconds(listed)) as tries.limit:
                content = await self._tried(listed, max_bytes, tries)
        except FetchError as error:
            return NotFetched(error.reason, str(error), tries.begun)
        except TimeoutError:
            return tries.given_up()
        return Fetched(content, tries.begun)

    def _seconds(self, listed: Listed) -> float:
        return self._patience.total_seconds + (listed.size or 0) / _LEAST_BYTES_PER_SECOND

    async def _tried(self, listed: Listed, max_bytes: int, tries: _Tries) -> Content:
        """The object, from the first try that goes well.

        Raises:
            FetchError: of the last try.
        """

        def tell(_: RetryCallState) -> None:
            assert tries.last is not None
            self._events(Retried(self._number, tries.last.reason, tries.begun))

        retrying = AsyncRetrying(
            sleep=self._sleep,
            stop=stop_after_attempt(self._patience.attempts),
            wait=self._wait,
            retry=retry_if_exception(_may_pass),
            before_sleep=tell,
            reraise=True,
        )
        return await retrying(self._once, listed, max_bytes, tries)

    async def _once(self, listed: Listed, max_bytes: int, tries: _Tries) -> Content:
        turn = self._gate.turn()
        tries.wait_for_turn()
        try:
            async with turn:
                tries.begin()
                try:
                    return await self._source.fetch(listed, max_bytes=max_bytes)
                except FetchError as error:
                    tries.last = error
                    if error.throttled:
                        turn.throttled(error.after_seconds)
                    raise
        finally:
            if turn.fell:
                self._events(Throttled(self._number, self._gate.limit))

    def _wait(self, state: RetryCallState) -> float:
        error = state.outcome.exception() if state.outcome is not None else None
        asked = error.after_seconds if isinstance(error, FetchError) else 0.0
        return max(self._draw(state), min(asked, LONGEST_PAUSE_SECONDS))


@dataclass(slots=True)
class _Tries:
    """What is known of the tries so far.

    Attributes:
        limit: ends them.
    """

    begun: int = 0
    last: FetchError | None = None
    limit: asyncio.Timeout = field(default_factory=lambda: asyncio.timeout(None))
    _left: float | None = None

    def wait_for_turn(self) -> None:
        """Stops the clock, but where the store has asked for patience."""
        ends = self.limit.when()
        if ends is not None and not (self.last is not None and self.last.throttled):
            self._left = ends - asyncio.get_running_loop().time()
            self.limit.reschedule(None)

    def begin(self) -> None:
        """Begins a try; the clock goes on."""
        self.begun += 1
        if self._left is not None:
            self.limit.reschedule(asyncio.get_running_loop().time() + self._left)
            self._left = None

    def given_up(self) -> NotFetched:
        """That time ran out: for the reason of the last try, where one came to its end."""
        if self.last is None:
            return NotFetched(FailureReason.TIMED_OUT, "it took too long", self.begun)
        detail = f"{self.last}; no more time was left to try again"
        return NotFetched(self.last.reason, detail, self.begun)


def _may_pass(error: BaseException) -> bool:
    return isinstance(error, FetchError) and error.transient


__all__ = ["Fetched", "Fetcher", "NotFetched", "Patience"]
