"""Refuses calls that there is no room for, before anything of them is read.

gRPC has a bound of its own on open calls, which ends what is beyond it with a status that nobody
can tell from another limit, health checks included. Here callers are told what they are told of any
overload: `UNAVAILABLE`, `OVERLOADED`, and when to try again. A refused call's message is not read,
so it takes hardly any time or memory. Health and reflection are never refused.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import grpc

from matcher.errors import OverloadedError
from matcher.service.errors import abort

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Collection

    from matcher.admission import Admission
    from matcher.service.metrics import ServiceMetrics

Handler = Any  # grpc.RpcMethodHandler is generic over what mypy cannot see here
Context = Any


class OverloadGate(grpc.aio.ServerInterceptor):
    """Bounds the open calls of our own services. The first of interceptors; single event loop only.

    Args:
        admission: the bound on work in flight.
        metrics: where to count what is refused.
        services: full names of the services whose calls are bounded.
        unary: full paths of the methods whose every call is work in flight.
        max_calls: open at once.
    """

    def __init__(
        self,
        admission: Admission,
        metrics: ServiceMetrics,
        *,
        services: Collection[str],
        unary: Collection[str],
        max_calls: int,
    ) -> None:
        self._admission = admission
        self._metrics = metrics
        self._services = frozenset(services)
        self._unary = frozenset(unary)
        self._max_calls = max_calls
        self._refusing: Handler = grpc.stream_stream_rpc_method_handler(self._refuse)
        self._open = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Gives the method's handler, or one that refuses."""
        path = str(handler_call_details.method)
        service, _, method = path.removeprefix("/").partition("/")
        if service not in self._services:
            return await continuation(handler_call_details)
        full = path in self._unary and self._admission.is_full
        if full or self._open >= self._max_calls:
            self._metrics.requests.labels(method, grpc.StatusCode.UNAVAILABLE.name).inc()
            return self._refusing
        self._open += 1
        call = asyncio.current_task()  # of this call alone, and it ends with it, however it does
        assert call is not None
        call.add_done_callback(self._closed)
        return await continuation(handler_call_details)

    def _closed(self, _: object) -> None:
        self._open -= 1

    async def _refuse(self, _: object, context: Context) -> None:
        await abort(context, OverloadedError("too many calls are open; try again, with back-off"))


__all__ = ["OverloadGate"]
