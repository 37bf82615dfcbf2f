"""Refuses calls that there is no room for, before anything of them is read.

gRPC has a bound of its own on open calls, which ends what is beyond it with a status that nobody
can tell from another limit, health checks included. Here callers are told what they are told of any
overload: `UNAVAILABLE`, `OVERLOADED`, and when to try again. A refused call's message is not read,
so it takes hardly any time or memory.

Services that are not ours (health, and reflection where it is on) have rooms of their own, so that
probes are answered however many calls are open. They ask nobody for a token, so strangers may call
them: few of their messages are read at a time, each in a few seconds, and none is kept that is
longer than a name.

The last fifth of the room is shared out among callers (`admission.Room`), so that one who opens all
the calls that it can leaves some to others. Only there it is asked who calls. What is not in a
call's metadata, a certificate or an address, gRPC does not tell before the call has a handler: it
is given one that asks, and then does what the method's does, at some 0.1 ms of CPU time.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import defaultdict
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from matcher.admission import Place, Room
from matcher.errors import InvalidRequestError, OverloadedError
from matcher.service.errors import StandingRefusal, abort
from matcher.service.handlers import Handler, behavior_of

if TYPE_CHECKING:
    from collections.abc import (
        AsyncGenerator,
        AsyncIterator,
        Awaitable,
        Callable,
        Collection,
        Sequence,
    )

    from matcher.admission import Admission
    from matcher.service.gate import Gate
    from matcher.service.metrics import ServiceMetrics
    from matcher.service.patience import Patience

Context = Any
Behavior = Any
#: Calls of services that are not ours: open at once, and of each such service being read at once.
OTHERS_OPEN, OTHERS_READ = 4096, 16
#: What is asked of such a service is a name.
LONGEST_NAME = 4096


class OverloadGate(grpc.aio.ServerInterceptor):
    """Bounds the open calls of one address. Single event loop only.

    Args:
        admission: the bound on work in flight.
        metrics: where to count what is refused.
        services: full names of our own services, to which `max_calls` and `max_unary` apply.
        unary: full paths of the methods whose every call is work in flight.
        max_calls: open at once.
        max_unary: of them of the methods in `unary`. They wait for one another, so that many mean
            that each waits long.
        gate: knows whose share of the room a call is of.
        patience: looks after calls that wait for their client.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: ServiceMetrics,
        *,
        services: Collection[str],
        unary: Collection[str],
        max_calls: int,
        max_unary: int,
        gate: Gate,
        patience: Patience,
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._services = frozenset(services)
        self._unary = frozenset(unary)
        self._gate = gate
        self._patience = patience
        self._calls = Room(max_calls)
        self._unary_calls = Room(max_unary)
        self._others_open = Room(OTHERS_OPEN)
        self._others_read: defaultdict[str, Room] = defaultdict(lambda: Room(OTHERS_READ))
        self._overloaded = StandingRefusal(
            OverloadedError("too many calls are open; try again, with back-off")
        )
        self._refusing: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        self._asking: dict[Handler, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Gives the method's handler, one that asks who calls before it, or one that refuses."""
        path = str(handler_call_details.method)
        service, _, method = path.removeprefix("/").partition("/")
        if service not in self._services:
            return self._of_another(await continuation(handler_call_details), service, method)
        shown = handler_call_details.invocation_metadata
        if not self._gate.knows(path) or self._gate.is_hopeless(path, shown):
            return await continuation(handler_call_details)  # refused there, without a place
        is_unary = path in self._unary
        rooms = (self._calls, self._unary_calls) if is_unary else (self._calls,)
        if any(each.is_full for each in rooms) or (is_unary and self._admission.is_full):
            return self._refusal(method)
        who = None
        if any(each.is_short for each in rooms) or (is_unary and self._admission.is_short):
            who = self._gate.share_shown(shown)
            if who is None:
                handler = await continuation(handler_call_details)
                return self._that_asks(handler, method, rooms, is_unary=is_unary)
            if not self._has_room(rooms, who, is_unary=is_unary):
                return self._refusal(method)
        _take(rooms, who)
        return await continuation(handler_call_details)

    def _has_room(self, rooms: Sequence[Room], who: str, *, is_unary: bool) -> bool:
        has_place = all(each.has(1, who) for each in rooms)
        return has_place and (not is_unary or self._admission.has_room(1, who))

    def _that_asks(
        self, handler: Handler, method: str, rooms: Sequence[Room], *, is_unary: bool
    ) -> Handler:
        """A handler that sees who calls before it reads anything, then does what another does."""
        if handler is None:
            return None
        if handler not in self._asking:  # there is one for each method and way of refusing it

            async def answers(requests: Any, context: Context) -> AsyncGenerator[Any]:
                await self._admit(method, rooms, context, is_unary=is_unary)
                request = requests if handler.request_streaming else await self._only(requests)
                async with aclosing(_answers_of(handler, request, context)) as responses:
                    async for response in responses:
                        yield response

            self._asking[handler] = _reading_late(handler, answers)
        return self._asking[handler]

    def _of_another(self, handler: Handler, service: str, method: str) -> Handler:
        """The same for a service that is not ours.

        Its one message is read in a place that is held for no longer, since who watches health does
        so for hours; a stream holds it until it ends.
        """
        if handler is None:
            return None
        if handler not in self._asking:
            being_read = self._others_read[service]

            async def answers(requests: Any, context: Context) -> AsyncGenerator[Any]:
                await self._admit(method, (self._others_open,), context)
                place = await self._admit(method, (being_read,), context)
                if handler.request_streaming:
                    request = requests
                else:
                    request = await self._only(requests, briefly=True)
                    if request is not None and request.ByteSize() > LONGEST_NAME:
                        request = None  # its place is held for as long as the refusal takes
                        await abort(context, InvalidRequestError("the message is too long"))
                    place.release()
                async with aclosing(_answers_of(handler, request, context)) as responses:
                    async for response in responses:
                        yield response

            self._asking[handler] = _reading_late(handler, answers)
        return self._asking[handler]

    async def _admit(
        self, method: str, rooms: Sequence[Room], context: Context, *, is_unary: bool = False
    ) -> Place:
        """A place for the call that runs, now that it can be asked who calls; or its end."""
        who = self._gate.share_of(context)
        if not self._has_room(rooms, who, is_unary=is_unary):
            self._count_refused(method)
            await self._refuse(None, context)
        return _take(rooms, who)

    async def _only(self, requests: AsyncIterator[Any], *, briefly: bool = False) -> Any:
        """The one message of a call, for which its client is waited for; None where it is gone."""
        call = asyncio.current_task()
        assert call is not None
        self._patience.waits(call, briefly=briefly)
        request = await anext(requests, None)
        self._patience.goes_on(call)
        return request

    def _refusal(self, method: str) -> Handler:
        self._count_refused(method)
        return self._refusing

    def _count_refused(self, method: str) -> None:
        self._metrics.requests.labels(method, grpc.StatusCode.UNAVAILABLE.name).inc()
        self._metrics.rejects.labels(OverloadedError.reason.lower()).inc()

    async def _refuse(self, _: object, context: Context) -> None:
        await self._overloaded.abort(context)


def _take(rooms: Sequence[Room], who: str | None) -> Place:
    """A place in each for the call that runs, until it is released or the call ends, however so."""
    call = asyncio.current_task()  # of this call alone
    assert call is not None
    place = Place(*(each.take(1, who) for each in rooms))
    call.add_done_callback(lambda _: place.release())
    return place


def _reading_late(handler: Handler, behavior: Behavior) -> Handler:
    """A handler for the same messages, of which gRPC reads none before `behavior` asks for it."""
    return grpc.stream_stream_rpc_method_handler(
        behavior,
        request_deserializer=handler.request_deserializer,
        response_serializer=handler.response_serializer,
    )


async def _answers_of(handler: Handler, request: Any, context: Context) -> AsyncGenerator[Any]:
    """What a handler of any kind answers; nothing where the client went away before it asked."""
    behavior = behavior_of(handler)
    if request is None:
        return
    if inspect.isasyncgenfunction(behavior):
        async with aclosing(behavior(request, context)) as responses:
            async for response in responses:
                yield response
    elif (response := await behavior(request, context)) is not None:
        yield response


__all__ = ["OverloadGate"]
