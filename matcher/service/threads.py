"""Threads of one purpose each, so that work of one kind never waits behind another's.

A catalog that is slow or locked fills its own threads and its own short queue, and matching does
not notice. Single event loop only.
"""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from contextvars import copy_context
from functools import partial
from typing import TYPE_CHECKING, ParamSpec, TypeVar

from matcher.errors import OverloadedError

if TYPE_CHECKING:
    from collections.abc import Callable

Arguments = ParamSpec("Arguments")
Outcome = TypeVar("Outcome")


class Threads:
    """A few threads with a bounded queue.

    Args:
        purpose: what they do, for error texts and thread names.
        workers: threads.
        max_pending: calls running or waiting; further ones are refused.
    """

    def __init__(self, purpose: str, *, workers: int, max_pending: int) -> None:
        self._purpose = purpose
        self._max_pending = max_pending
        self._pending = 0
        self._executor = ThreadPoolExecutor(workers, thread_name_prefix=purpose)

    async def run(
        self,
        function: Callable[Arguments, Outcome],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> Outcome:
        """Calls `function` in a thread. A call that was given up keeps its place until it ends.

        Raises:
            OverloadedError: too many calls are pending.
        """
        if self._pending >= self._max_pending:
            raise OverloadedError(f"the {self._purpose} is busy; try again, with back-off")
        loop = asyncio.get_running_loop()
        self._pending += 1
        work = partial(function, *arguments, **named)
        call = self._executor.submit(copy_context().run, work)  # what it logs names the call
        call.add_done_callback(lambda _: on_loop(loop, self._ended))
        return await asyncio.wrap_future(call)

    def begin(
        self,
        function: Callable[Arguments, object],
        *arguments: Arguments.args,
        **named: Arguments.kwargs,
    ) -> None:
        """Calls `function` in a thread, whatever is pending; nobody waits for it."""
        self._executor.submit(copy_context().run, partial(function, *arguments, **named))

    def _ended(self) -> None:
        self._pending -= 1

    async def finish(self, *, seconds: float) -> None:
        """Waits for what runs or waits, for so long at most, and ends the threads."""
        ending = asyncio.create_task(asyncio.to_thread(self._executor.shutdown))
        await asyncio.wait((ending,), timeout=seconds)

    def close(self) -> None:
        """Ends the threads once what runs has ended; what waits is dropped."""
        self._executor.shutdown(wait=False, cancel_futures=True)


def on_loop(loop: asyncio.AbstractEventLoop, callback: Callable[[], None]) -> None:
    """Runs `callback` on the loop, unless that has ended, when nobody counts any more."""
    if not loop.is_closed():
        loop.call_soon_threadsafe(callback)
