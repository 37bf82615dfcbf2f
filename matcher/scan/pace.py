"""How much is asked of a store at a time: more while that is faster, less when it asks for that.

`Pace` is additive increase and multiplicative decrease: it doubles until that gains nothing, then
goes up by an eighth now and then and stays where it was faster, and it halves when a store asks for
less. It reads no clock but the one passed in and starts nothing; `Gate` is its door for coroutines.
`Room` bounds the bytes that are held at a time.

Invariants: a pace stays from 1 to `most`. It halves at most once a round trip: what was asked for
before it halved does not halve it again.
"""

from __future__ import annotations

import asyncio
from collections import deque
from typing import TYPE_CHECKING, Final, Self

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

FIRST: Final = 8
MOST: Final = 256
#: A store that asks to be left alone for longer is asked again after this long all the same.
LONGEST_PAUSE_SECONDS: Final = 120.0
#: A rate counts as greater from here on, and by this share of the growth; less is chance.
_GAIN: Final = 1.05
_GAIN_SHARE: Final = 0.25
#: Windows that go by before more is tried again.
_PATIENCE: Final = 8
#: Ends of a window at least, and for each that may be under way: fewer tell no rate.
_ENDS: Final = 16
_ROUNDS: Final = 3
_EIGHTH: Final = 8


class Pace:
    """How many may be under way at a time.

    Args:
        first: with how many it begins.
        most: at a time.
    """

    def __init__(self, *, first: int = FIRST, most: int = MOST) -> None:
        if not 1 <= first <= most:
            raise ValueError(f"first and most: 1 <= {first} <= {most} does not hold")
        self._most = most
        self._limit = first
        self._doubling = True
        self._rest = 0  # windows until more is tried
        self._slower = 0  # the limit before the last growth; 0 where that is decided
        self._rate = 0.0  # ends a second at the limit that stands
        self._cut_at = float("-inf")
        self._resumes_at = float("-inf")
        self._window_at: float | None = None
        self._ends = 0
        self._full = False
        self._settling = 0  # ends that are not counted

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return self._limit

    @property
    def resumes_at(self) -> float:
        """Before then nothing is to be begun, in seconds of the caller's clock."""
        return self._resumes_at

    def began(self, now: float, under_way: int) -> None:
        """One was begun; with it so many are under way."""
        if self._window_at is None:
            self._window_at = now
        if under_way >= self._limit:
            self._full = True

    def ended(self, now: float) -> None:
        """One came to its end, and the store did not ask for less."""
        if self._settling:
            self._settling -= 1
            if not self._settling:
                self._open_window(now)
            return
        self._ends += 1
        if self._ends < max(_ENDS, _ROUNDS * self._limit) or self._window_at is None:
            return
        took = now - self._window_at
        if took <= 0:
            return
        rate, was_full = self._ends / took, self._full
        self._open_window(now)
        if was_full:  # else it was not the limit that set the rate
            self._judge(rate)

    def throttled(self, began: float, now: float, after_seconds: float = 0.0) -> bool:
        """The store asked for less.

        Args:
            began: when that was begun which the store did not give.
            now: the present.
            after_seconds: how long it asks to be left alone.

        Returns:
            Whether there is less now.
        """
        pause = min(max(0.0, after_seconds), LONGEST_PAUSE_SECONDS)
        self._resumes_at = max(self._resumes_at, now + pause)
        if began < self._cut_at:
            return False
        self._cut_at = now
        self._limit = max(1, self._limit // 2)
        self._doubling = False
        self._slower = self._settling = 0
        self._rest = _PATIENCE
        self._open_window(None)
        return True

    def _open_window(self, now: float | None) -> None:
        self._window_at, self._ends, self._full = now, 0, False

    def _judge(self, rate: float) -> None:
        """Goes back where growth gained nothing, and grows where it is time to."""
        before, self._slower = self._slower, 0
        if before and rate < self._rate * max(_GAIN, 1 + _GAIN_SHARE * (self._limit / before - 1)):
            self._limit = before
            self._doubling = False
            self._rest = _PATIENCE
            return  # the rate of that limit is known
        self._rate = rate
        if self._rest:
            self._rest -= 1
        elif self._limit < self._most:
            self._slower = self._limit
            step = self._limit if self._doubling else max(1, self._limit // _EIGHTH)
            self._limit = min(self._most, self._limit + step)
            self._settling = self._limit  # until none of those that end was begun before


class Gate:
    """Lets coroutines through at a pace, first come, first served. Of one event loop.

    Used as `async with gate as turn:`; what the store says is told to `turn`.
    """

    def __init__(self, pace: Pace, clock: Callable[[], float] | None = None) -> None:
        self._pace = pace
        self._given_clock = clock
        self._under_way = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._alarm: asyncio.TimerHandle | None = None

    @property
    def limit(self) -> int:
        """How many may be under way now."""
        return self._pace.limit

    def turn(self) -> Turn:
        """A turn, which begins when it is entered."""
        return Turn(self)

    async def enter(self) -> float:
        """Waits for a turn; gives when it began."""
        if self._waiting or not self._is_open():
            turn = asyncio.get_running_loop().create_future()
            self._waiting.append(turn)
            self._wake()
            try:
                await turn  # it is counted by who wakes
            except asyncio.CancelledError:
                if turn.done() and not turn.cancelled():
                    self._under_way -= 1
                    self._wake()
                raise
        else:
            self._under_way += 1
        now = self._now()
        self._pace.began(now, self._under_way)
        return now

    def leave(self, *, throttled_since: float | None = None, after_seconds: float = 0.0) -> bool:
        """Ends a turn.

        Args:
            throttled_since: when it began, where the store asked for less.
            after_seconds: how long the store asks to be left alone.

        Returns:
            Whether the limit fell.
        """
        self._under_way -= 1
        now, fell = self._now(), False
        if throttled_since is None:
            self._pace.ended(now)
        else:
            fell = self._pace.throttled(throttled_since, now, after_seconds)
        self._wake()
        return fell

    def _now(self) -> float:
        return self._given_clock() if self._given_clock else asyncio.get_running_loop().time()

    def _is_open(self) -> bool:
        return self._under_way < self._pace.limit and self._now() >= self._pace.resumes_at

    def _wake(self) -> None:
        while self._waiting and self._under_way < self._pace.limit:
            pause = self._pace.resumes_at - self._now()
            if pause > 0:
                self._set_alarm(pause)
                return
            turn = self._waiting.popleft()
            if not turn.done():
                self._under_way += 1
                turn.set_result(None)

    def _set_alarm(self, pause: float) -> None:
        if self._alarm is None:
            self._alarm = asyncio.get_running_loop().call_later(pause, self._ring)

    def _ring(self) -> None:
        self._alarm = None
        self._wake()


class Turn:
    """One turn of a gate, as a context.

    Attributes:
        fell: the store asked for less, and the limit fell.
    """

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._began = 0.0
        self._throttled = False
        self._after_seconds = 0.0
        self.fell = False

    def throttled(self, after_seconds: float = 0.0) -> None:
        """The store asks for less, and to be left alone for so long."""
        self._throttled = True
        self._after_seconds = after_seconds

    async def __aenter__(self) -> Self:
        self._began = await self._gate.enter()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        since = self._began if self._throttled else None
        self.fell = self._gate.leave(throttled_since=since, after_seconds=self._after_seconds)


class Room:
    """Bounds the bytes that are held at a time, first come, first served. Of one event loop.

    What is larger than all of the room is let in by itself.
    """

    def __init__(self, most_bytes: int) -> None:
        self._most = most_bytes
        self._held = 0
        self._waiting: deque[tuple[asyncio.Future[None], int]] = deque()

    @property
    def held(self) -> int:
        """Bytes that are held now."""
        return self._held

    async def take(self, nbytes: int) -> None:
        """Waits until there is room for so many bytes, and takes it."""
        if not self._waiting and self._fits(nbytes):
            self._held += nbytes
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((turn, nbytes))
        try:
            await turn  # it is taken by who wakes
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled():
                self.give(nbytes)
            else:
                self._wake()  # a smaller one behind it may fit
            raise

    def give(self, nbytes: int) -> None:
        """Gives bytes back."""
        self._held -= nbytes
        self._wake()

    def _fits(self, nbytes: int) -> bool:
        return not self._held or self._held + nbytes <= self._most

    def _wake(self) -> None:
        while self._waiting:
            turn, nbytes = self._waiting[0]
            if turn.done():
                self._waiting.popleft()
            elif self._fits(nbytes):
                self._waiting.popleft()
                self._held += nbytes
                turn.set_result(None)
            else:
                return


__all__ = ["FIRST", "LONGEST_PAUSE_SECONDS", "MOST", "Gate", "Pace", "Room", "Turn"]
