"""Items that are ready together are worked on together; an idle service adds no delay.

While one batch is being worked on in a thread, newcomers gather into the next. Where more are sure
to come, a batch may wait for them, but never longer than it is told. If a batch fails as a whole,
its items are tried one by one, so that one bad item never fails its neighbours.

Items come from any thread, straight from where they became ready; the event loop is woken once for
all answers of a batch. Single event loop only.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Item = TypeVar("Item")
Answer = TypeVar("Answer")


class Batcher(Generic[Item, Answer]):
    """Gathers single items into calls of `work`.

    Args:
        work: called in one thread, never twice at once, with 1..`max_size` items; gives back
            one answer for each, in their order.
        max_size: most items in one call.
        max_seconds: how long an item may wait for others.
        expects: whether others are sure to come soon, so that it is worth waiting; asked in any
            thread. By default none ever are.
        observe: told the size of each batch once it was worked on; on the loop.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Answer]],
        *,
        max_size: int = 64,
        max_seconds: float = 0.0,
        expects: Callable[[], bool] | None = None,
        observe: Callable[[int], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._max_seconds = max_seconds
        self._expects = expects or (lambda: False)
        self._observe = observe or (lambda _: None)
        self._clock = clock
        self._waiting: deque[tuple[Item, asyncio.Future[Answer]]] = deque()
        self._changed = threading.Condition(threading.Lock())
        self._gathering = False
        self._closing = False
        self._thread = threading.Thread(target=self._serve, name="batch_0", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Items that wait for a batch; from any thread."""
        return len(self._waiting)

    async def submit(self, item: Item) -> Answer:
        """The answer for `item`. A caller who gives up before its batch starts costs nothing.

        Raises:
            Exception: whatever `work` raises for this item alone.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.put(item, answer)
        return await answer

    def put(self, item: Item, answer: asyncio.Future[Answer]) -> None:
        """Has `answer` set to that for `item`, unless it is done by then; from any thread."""
        with self._changed:
            self._waiting.append((item, answer))
            if not self._gathering or not self._is_worth_waiting():
                self._changed.notify()

    def look_again(self) -> None:
        """What is expected has become less without an item coming; from any thread."""
        with self._changed:
            self._changed.notify()

    async def close(self) -> None:
        """Answers what is waiting and ends the thread."""
        with self._changed:
            self._closing = True
            self._changed.notify()
        await asyncio.to_thread(self._thread.join)

    # What the thread does

    def _serve(self) -> None:
        while (batch := self._next()) is not None:
            if batch:
                outcomes = self._outcomes(batch)
                _on_loop_of(batch[0][1], partial(self._deliver, outcomes))
            del batch  # an item is not kept until the next one comes

    def _next(self) -> list[tuple[Item, asyncio.Future[Answer]]] | None:
        """The next batch, of those whose callers still wait; None where no more can come."""
        with self._changed:
            while not self._waiting:
                if self._closing:
                    return None
                self._changed.wait()
            self._gather()
            batch: list[tuple[Item, asyncio.Future[Answer]]] = []
            while self._waiting and len(batch) < self._max_size:
                pair = self._waiting.popleft()
                if not pair[1].done():
                    batch.append(pair)
            return batch

    def _gather(self) -> None:
        until = self._clock() + self._max_seconds
        self._gathering = True
        while self._is_worth_waiting() and (left := until - self._clock()) > 0:
            self._changed.wait(left)
        self._gathering = False

    def _is_worth_waiting(self) -> bool:
        return not self._closing and len(self._waiting) < self._max_size and self._expects()

    def _outcomes(
        self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]
    ) -> list[tuple[asyncio.Future[Answer], Answer | None, Exception | None]]:
        try:
            answers = self._work([item for item, _ in batch])
            return [
                (future, answer, None) for (_, future), answer in zip(batch, answers, strict=True)
            ]
        except Exception as error:  # noqa: BLE001 - it is handed to the caller it concerns
            if len(batch) == 1:
                return [(batch[0][1], None, error)]
            return [outcome for pair in batch for outcome in self._outcomes([pair])]

    # On the loop

    def _deliver(
        self, outcomes: Sequence[tuple[asyncio.Future[Answer], Answer | None, Exception | None]]
    ) -> None:
        self._observe(len(outcomes))
        for future, answer, error in outcomes:
            if future.done():
                continue
            if error is not None:
                future.set_exception(error)
            else:
                future.set_result(answer)  # type: ignore[arg-type]  # an answer where no error is


def _on_loop_of(future: asyncio.Future[Answer], callback: Callable[[], None]) -> None:
    """Runs `callback` on the loop of a future, unless that has ended, when nobody waits."""
    loop = future.get_loop()
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)


__all__ = ["Batcher"]
