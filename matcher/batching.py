"""Items that are ready together are worked on together; an idle service adds no delay.

While one batch is being worked on in a thread, newcomers gather into the next. If a batch fails
as a whole, its items are tried one by one, so that one bad item never fails its neighbours.
Single event loop only.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
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
    """

    def __init__(
        self, work: Callable[[Sequence[Item]], Sequence[Answer]], *, max_size: int = 64
    ) -> None:
        self._work = work
        self._max_size = max_size
        self._waiting: list[tuple[Item, asyncio.Future[Answer]]] = []
        self._thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="batch")
        self._running: asyncio.Task[None] | None = None

    async def submit(self, item: Item) -> Answer:
        """The answer for `item`. A caller who gives up before its batch starts costs nothing.

        Raises:
            Exception: whatever `work` raises for this item alone.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._waiting.append((item, answer))
        if self._running is None:
            self._running = asyncio.create_task(self._run())
        return await answer

    async def close(self) -> None:
        """Answers what is waiting and ends the thread."""
        if self._running is not None:
            await self._running
        self._thread.shutdown()

    async def _run(self) -> None:
        try:
            while batch := self._take():
                await self._answer(batch)
        finally:
            self._running = None

    def _take(self) -> list[tuple[Item, asyncio.Future[Answer]]]:
        alive = [pair for pair in self._waiting if not pair[1].done()]
        self._waiting = alive[self._max_size :]
        return alive[: self._max_size]

    async def _answer(self, batch: Sequence[tuple[Item, asyncio.Future[Answer]]]) -> None:
        try:
            answers = await self._call([item for item, _ in batch])
        except Exception as error:  # noqa: BLE001 - it is handed to the caller it concerns
            if len(batch) == 1:
                _fail(batch[0][1], error)
                return
            for pair in batch:
                await self._answer([pair])
            return
        for (_, future), answer in zip(batch, answers, strict=True):
            if not future.done():
                future.set_result(answer)

    async def _call(self, items: Sequence[Item]) -> Sequence[Answer]:
        return await asyncio.get_running_loop().run_in_executor(self._thread, self._work, items)


def _fail(future: asyncio.Future[Answer], error: BaseException) -> None:
    if not future.done():
        future.set_exception(error)
