"""Counts and times the calls of our own services, and notes where each comes from.

The servicers know nothing of it.

Calls of health and reflection pass untouched: probes would drown the figures. Only status codes,
decisions and reasons are read from answers.
"""

from __future__ import annotations

import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import code_pb2

from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher.service.callers import note_place
from matcher.service.handlers import Handler, behavior_of, with_behavior

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator

    from matcher.service.metrics import ServiceMetrics

Context = Any


class CallObserver(grpc.aio.ServerInterceptor):
    """Counts calls, and times unary ones and the items of streams of images.

    Args:
        metrics: where to count.
        services: full names of the services whose calls are counted.
    """

    def __init__(self, metrics: ServiceMetrics, services: Collection[str]) -> None:
        self._metrics = metrics
        self._services = frozenset(services)
        self._wrapped: dict[str, Handler] = {}

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Handler]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Handler:
        """Gives the method's handler with counting around it."""
        path = str(handler_call_details.method)
        known = self._wrapped.get(path)
        if known is not None:
            return known
        handler = await continuation(handler_call_details)
        service, _, method = path.removeprefix("/").partition("/")
        if handler is None or service not in self._services:
            return handler
        return self._wrapped.setdefault(path, _around(handler, _Method(self._metrics, method)))


def _around(handler: Handler, method: _Method) -> Handler:
    """The same handler, counted. Ours are coroutines, or asynchronous generators for streams."""
    behavior = behavior_of(handler)

    async def answered_once(request: Any, context: Context) -> Any:
        note_place(context.peer())
        with method.call(context):
            start = time.perf_counter()
            response = await behavior(request, context)
            method.seconds.observe(time.perf_counter() - start)
            method.read(response)
            return response

    async def answered_often(request: Any, context: Context) -> AsyncIterator[Any]:
        note_place(context.peer())
        with method.call(context):
            items = _Items(request, method) if handler.request_streaming else None
            answers = behavior(request if items is None else items, context)
            async with aclosing(answers):
                async for response in answers:
                    if items is not None:
                        items.answered(response)
                    method.read(response)
                    yield response

    return with_behavior(handler, answered_often if handler.response_streaming else answered_once)


class _Items:
    """The items of a stream, timed from when they were read to when they are answered."""

    def __init__(self, requests: AsyncIterator[Any], method: _Method) -> None:
        self._requests = requests  # begun only once it is read
        self._seconds = method.seconds
        self._started: dict[str, float] = {}

    def __aiter__(self) -> _Items:
        return self

    async def __anext__(self) -> Any:
        request = await anext(self._requests)
        if isinstance(request, match_pb2.MatchImagesRequest):
            self._started[request.request_id] = time.perf_counter()
        return request

    def answered(self, response: Any) -> None:
        """Notes the time of an item; the window of a stream bounds how many are open."""
        start = self._started.pop(getattr(response, "request_id", ""), None)
        if start is not None:
            self._seconds.observe(time.perf_counter() - start)


class _Method:
    """The numbers of one method."""

    def __init__(self, metrics: ServiceMetrics, name: str) -> None:
        self._metrics = metrics
        self._name = name
        self._in_flight = metrics.in_flight.labels(name)
        self.seconds = metrics.seconds.labels(name)

    @contextmanager
    def call(self, context: Context) -> Iterator[None]:
        """Around one call: it is in flight, and then it ended with a code."""
        code = grpc.StatusCode.CANCELLED  # where it ends by neither of the two ways below
        with self._in_flight.track_inprogress():
            try:
                yield
                code = _code(context, grpc.StatusCode.OK)
            except Exception:
                code = _code(context, grpc.StatusCode.UNKNOWN)
                raise
            finally:
                self._metrics.requests.labels(self._name, code.name).inc()

    def read(self, response: Any) -> None:
        """Counts what was decided."""
        if isinstance(response, match_pb2.LookupHashesResponse | match_pb2.LookupTokensResponse):
            for each in response.results:
                self._item(each)
        elif isinstance(response, match_pb2.MatchImagesResponse):
            self._item(response)
        elif isinstance(response, match_pb2.MatchImageResponse):
            self._result(response.result)
        elif isinstance(response, match_pb2.HashImageResponse):
            self._reason(response)

    def _item(self, item: match_pb2.LookupResult | match_pb2.MatchImagesResponse) -> None:
        if item.HasField("result"):
            self._result(item.result)
        else:
            name = code_pb2.Code.Name(item.status.code)
            self._metrics.item_errors.labels(name).inc()

    def _result(self, result: match_pb2.MatchResult) -> None:
        self._metrics.decisions.labels(wire.DECISION_OF[result.decision].value).inc()
        self._reason(result)

    def _reason(self, answer: match_pb2.MatchResult | match_pb2.HashImageResponse) -> None:
        if answer.HasField("not_hashable"):
            reason = wire.REASON_OF[answer.not_hashable.reason]
            self._metrics.not_hashable.labels(reason.value).inc()


def _code(context: Context, default: grpc.StatusCode) -> grpc.StatusCode:
    """The code that a handler set; `context` knows None or 0 where it set none."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) and code.value[0] else default
