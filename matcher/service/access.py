"""Lets calls in, or refuses them: where gRPC meets the `Gate`.

It goes before everything else. A call whose token does not do is refused before its message is
read, so that strangers cannot fill the memory with what will not be looked at; where a certificate
has to tell who calls, TLS has already refused those that come from nobody known. Streams are
looked at again with every message, so that a revocation ends them.
"""

from __future__ import annotations

import inspect
import logging
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

import grpc

from hashlists.errors import HashlistsError
from matcher.errors import CallRefusedError, MatcherError
from matcher.service.errors import abort, status_of
from matcher.service.gate import Caller, Gate, let_in
from matcher.service.handlers import Handler, behavior_of, with_behavior
from matcher.service.request_ids import id_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from matcher.service.metrics import ServiceMetrics
    from matcher.service.refusals import Refusals

_log = logging.getLogger(__name__)
_REFUSALS = (MatcherError, HashlistsError)
Context = Any


class AccessControl(grpc.aio.ServerInterceptor):
    """Refuses what the gate does not let in.

    Args:
        gate: decides.
        metrics: where refusals are counted.
        refusals: where they are added up for the audit.
    """

    def __init__(self, gate: Gate, metrics: ServiceMetrics, refusals: Refusals) -> None:
        self._gate = gate
        self._metrics = metrics
        self._refusals = refusals
        self._guarded: dict[str, Handler] = {}
        self._refusing: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Gives the method's handler behind the gate, or one that refuses."""
        path = str(handler_call_details.method)
        handler = await continuation(handler_call_details)
        if handler is None or self._gate.is_open(path):
            return handler
        if self._gate.is_hopeless(path, handler_call_details.invocation_metadata):
            return self._refusing.setdefault(path, self._refusal(path))
        if path not in self._guarded:
            self._guarded[path] = _behind(handler, self._door(path))
        return self._guarded[path]

    def _door(self, path: str) -> _Door:
        return _Door(self._gate, self._metrics, self._refusals, path)

    def _refusal(self, path: str) -> Handler:
        """A handler that reads nothing of a call, whatever kind of call it is."""
        door = self._door(path)

        async def refuse(_: Any, context: Context) -> None:
            await door.admit(context)
            # What it shows has come to count in this very moment.
            await context.abort(grpc.StatusCode.UNAVAILABLE, "try again")

        return grpc.stream_stream_rpc_method_handler(refuse)


class _Door:
    """The gate at one method."""

    def __init__(self, gate: Gate, metrics: ServiceMetrics, refusals: Refusals, path: str) -> None:
        self._gate = gate
        self._metrics = metrics
        self._refusals = refusals
        self._path = path
        self._method = path.rpartition("/")[2]

    async def admit(self, context: Context) -> Caller:
        """Lets a call in, or ends it."""
        try:
            caller = self._gate.admit(self._path, context)
        except _REFUSALS as error:
            await self.refuse(context, error)
            raise AssertionError from None
        let_in(caller)
        return caller

    def check(self, caller: Caller) -> None:
        """Whether a call that lasts still may; see `Gate.check_again`."""
        self._gate.check_again(self._path, caller)

    async def refuse(self, context: Context, error: MatcherError | HashlistsError) -> None:
        """Ends a call, counts it, and has it added up for the audit."""
        id_of(context)  # from here on the log names it
        code = status_of(error).code
        name = next(each.name for each in grpc.StatusCode if each.value[0] == code)
        self._metrics.requests.labels(self._method, name).inc()
        why, whose, level = error.reason, "", logging.INFO
        if isinstance(error, CallRefusedError):
            why, whose = error.why, f" of {error.client}" if error.client else ""
            if not self._refusals.add(context.peer(), self._method, error):
                level = logging.DEBUG
        self._metrics.refused.labels(why.lower()).inc()
        said = (self._method, whose, context.peer(), why)
        _log.log(level, "a call of %s%s from %s is refused: %s", *said)
        await abort(context, error)


def _behind(handler: Handler, door: _Door) -> Handler:
    """The same handler behind the gate."""
    behavior = behavior_of(handler)

    async def once(request: Any, context: Context) -> Any:
        await door.admit(context)
        return await behavior(request, context)

    async def often(request: Any, context: Context) -> AsyncIterator[Any]:
        caller = await door.admit(context)
        requests = _Watched(request, door, caller) if handler.request_streaming else request
        try:
            async with aclosing(behavior(requests, context)) as answers:
                async for response in answers:
                    door.check(caller)
                    yield response
        except _REFUSALS as error:
            await door.refuse(context, error)

    return with_behavior(handler, often if inspect.isasyncgenfunction(behavior) else once)


class _Watched:
    """The messages of a caller, for as long as they may send any."""

    def __init__(self, requests: AsyncIterator[Any], door: _Door, caller: Caller) -> None:
        self._requests = requests
        self._door = door
        self._caller = caller

    def __aiter__(self) -> _Watched:
        return self

    async def __anext__(self) -> Any:
        request = await anext(self._requests)
        self._door.check(self._caller)
        return request


__all__ = ["AccessControl"]
