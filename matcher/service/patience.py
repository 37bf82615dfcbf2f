"""Ends calls that wait for their client for too long.

A call waits for its client until its one message has come, while an answer is not taken, and after
its last answer until the client has taken that. Such a call holds a place, and perhaps memory, that
others need. A client that sends nothing on a stream keeps nobody waiting: connections whose other
end is gone are found out by gRPC's keepalive.

gRPC bounds none of this: a client that opens calls and sends no message, or has its window of flow
control closed, would keep them open for as long as it likes.
"""

from __future__ import annotations

import asyncio
import gc
import inspect
import logging
import time
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from matcher.service.handlers import Handler, behavior_of, with_behavior

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence

Context = Any
Call = asyncio.Task[Any]
#: For messages that are but a name.
BRIEF_SECONDS = 5.0
_log = logging.getLogger(__name__)


class Patience:
    """Knows how long each call has waited for its client. Single event loop only.

    Args:
        seconds: after which such a call is ended, or `BRIEF_SECONDS` where it waits briefly.
        ended: told of each.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        seconds: float,
        ended: Callable[[], None],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._seconds = seconds
        self._brief = min(seconds, BRIEF_SECONDS)
        self._ended = ended
        self._clock = clock
        self._until: dict[Call, float] = {}

    def waits(self, call: Call, *, briefly: bool = False) -> None:
        """A call waits for its client from now on."""
        if not call.done():
            self._until[call] = self._clock() + (self._brief if briefly else self._seconds)

    def goes_on(self, call: Call) -> None:
        """A call does not wait any more, or has ended."""
        self._until.pop(call, None)

    async def run(self) -> None:
        """Looks after all calls until cancelled."""
        while True:
            await asyncio.sleep(self._brief / 4)
            self.look()

    def look(self) -> None:
        """Ends the calls that have waited for too long."""
        now = self._clock()
        due = [call for call, until in self._until.items() if until < now]
        for call in due:
            self.goes_on(call)
            self._ended()
        if due:
            _end(due)
            _log.info("calls that waited for their clients are ended: %d", len(due))


def _end(calls: Sequence[Call]) -> None:
    """Ends calls, and what gRPC has of them, so that their clients are told.

    To cancel the task of a call is not enough: gRPC holds the call, with whatever could not be
    sent, in a task around it, which waits for the client. There is no other way to that task than
    by what it refers to: all tasks are looked through, once for all calls. Where it is not found,
    the call's place is free all the same.
    """
    ended = {id(call) for call in calls}
    for task in asyncio.all_tasks():
        if any(id(each) in ended for each in _held_by(task)):
            task.cancel()
    for call in calls:
        call.cancel()


def _held_by(task: Call) -> Iterator[object]:
    """What a task's coroutine refers to, at second hand."""
    for each in gc.get_referents(task.get_coro()):
        yield from gc.get_referents(each)


class PatientCalls(grpc.aio.ServerInterceptor):
    """Tells `Patience` of every call of a server. The first of interceptors.

    Args:
        patience: looks after the calls.
    """

    def __init__(self, patience: Patience) -> None:
        self._patience = patience
        self._wrapped: dict[Handler, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Gives the method's handler, watched from now on."""
        call = asyncio.current_task()
        assert call is not None
        self._patience.waits(call)
        call.add_done_callback(self._patience.goes_on)
        handler = await continuation(handler_call_details)
        if handler is None:
            return None
        if handler not in self._wrapped:  # there is one for each method and way of refusing it
            self._wrapped[handler] = _around(handler, self._patience)
        return self._wrapped[handler]


def _around(handler: Handler, patience: Patience) -> Handler:
    """The same handler, which tells when it waits for the client."""
    behavior = behavior_of(handler)

    async def once(request: Any, context: Context) -> Any:
        call = _own()
        patience.goes_on(call)
        try:
            return await behavior(request, context)
        finally:
            patience.waits(call)

    async def often(request: Any, context: Context) -> AsyncIterator[Any]:
        call = _own()
        patience.goes_on(call)
        try:
            async with aclosing(behavior(request, context)) as answers:
                async for answer in answers:
                    patience.waits(call)
                    yield answer
                    patience.goes_on(call)
        finally:
            patience.waits(call)

    generates = handler.response_streaming and inspect.isasyncgenfunction(behavior)
    return with_behavior(handler, often if generates else once)


def _own() -> Call:
    call = asyncio.current_task()
    assert call is not None
    return call


__all__ = ["Patience", "PatientCalls"]
