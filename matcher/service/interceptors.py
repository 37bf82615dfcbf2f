"""Counts, times and traces the calls of our own services; notes where each comes from, and its id.

The servicers know nothing of it.

Calls of health and reflection pass untouched: probes would drown the figures. Only status codes,
decisions and reasons are read from answers.

gRPC and interceptors hold on to the message of a call until that has ended, and to the last message
of a stream until the next one has come, however long that takes. So they are given each in a list,
out of which it is taken here: what a method does not keep of a message is held by nobody.
"""

from __future__ import annotations

import logging
import time
from contextlib import aclosing, contextmanager
from typing import TYPE_CHECKING, Any

import grpc
from google.rpc import code_pb2, status_pb2

from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher.service.callers import note_place
from matcher.service.errors import STATUS_KEY, reason_of
from matcher.service.handlers import Handler, behavior_of, with_behavior
from matcher.service.request_ids import note_request
from matcher.service.tracing import NoTracing
from matcher.service.validation import MAX_REQUEST_ID_BYTES

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterator

    from matcher.service.metrics import ServiceMetrics
    from matcher.service.tracing import Tracing

Context = Any
_log = logging.getLogger(__name__)


class CallObserver(grpc.aio.ServerInterceptor):
    """Counts calls, and times unary ones and the items of streams of images.

    Args:
        metrics: where to count.
        services: full names of the services whose calls are counted.
        tracing: where spans of them go.
    """

    def __init__(
        self,
        metrics: ServiceMetrics,
        services: Collection[str],
        tracing: Tracing | None = None,
    ) -> None:
        self._metrics = metrics
        self._tracing = tracing or NoTracing()
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
        counted = _Method(self._metrics, self._tracing, method)
        return self._wrapped.setdefault(path, _around(handler, counted))


def _around(handler: Handler, method: _Method) -> Handler:
    """The same handler, counted. Ours are coroutines, or asynchronous generators for streams."""
    behavior = behavior_of(handler)

    async def answered_once(request: Any, context: Context) -> Any:
        note_place(context.peer())
        note_request(context)
        with method.call(context):
            start = time.perf_counter()
            response = await behavior(request.pop(), context)
            method.seconds.observe(time.perf_counter() - start)
            method.read(response)
            return response

    async def answered_often(request: Any, context: Context) -> AsyncIterator[Any]:
        note_place(context.peer())
        note_request(context)
        with method.call(context):
            items = _Items(request, method) if handler.request_streaming else None
            answers = behavior(request.pop() if items is None else items, context)
            async with aclosing(answers):
                async for response in answers:
                    if items is not None:
                        items.answered(response)
                    method.read(response)
                    yield response

    answered = answered_often if handler.response_streaming else answered_once
    read = handler.request_deserializer
    return with_behavior(handler, answered, lambda message: [read(message)])


class _Items:
    """The items of a stream, timed from when they were read to when they are answered.

    Args:
        requests: each in a list of its own.
        method: whose they are.
    """

    def __init__(self, requests: AsyncIterator[list[Any]], method: _Method) -> None:
        self._requests = requests  # begun only once it is read
        self._seconds = method.seconds
        self._started: dict[str, float] = {}

    def __aiter__(self) -> _Items:
        return self

    async def __anext__(self) -> Any:
        request = (await anext(self._requests)).pop()
        if isinstance(request, match_pb2.MatchImagesRequest):
            request_id = request.request_id
            if len(request_id) <= MAX_REQUEST_ID_BYTES:  # else it is answered without one
                self._started[request_id] = time.perf_counter()
        return request

    def answered(self, response: Any) -> None:
        """Notes the time of an item; the window of a stream bounds how many are open."""
        start = self._started.pop(getattr(response, "request_id", ""), None)
        if start is not None:
            self._seconds.observe(time.perf_counter() - start)


class _Method:
    """The numbers of one method."""

    def __init__(self, metrics: ServiceMetrics, tracing: Tracing, name: str) -> None:
        self._metrics = metrics
        self._tracing = tracing
        self._name = name
        self._in_flight = metrics.in_flight.labels(name)
        self.seconds = metrics.seconds.labels(name)

    @contextmanager
    def call(self, context: Context) -> Iterator[None]:
        """Around one call: it is in flight, and then it ended with a code."""
        code = grpc.StatusCode.CANCELLED  # where it ends by neither of the two ways below
        start = time.perf_counter()
        traced = self._tracing.call(self._name, context.invocation_metadata())
        with self._in_flight.track_inprogress(), traced as told:
            try:
                yield
                code = _code(context, grpc.StatusCode.OK)
            except Exception:
                code = _code(context, grpc.StatusCode.UNKNOWN)
                raise
            finally:
                self._metrics.requests.labels(self._name, code.name).inc()
                if code is not grpc.StatusCode.OK:
                    self._rejected(_told_status(context))
                told(code.name)
                _log.debug(
                    "%s ended %s after %.6f s", self._name, code.name, time.perf_counter() - start
                )

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
            self._rejected(item.status)

    def _rejected(self, status: status_pb2.Status | None) -> None:
        if status is not None and (reason := reason_of(status)):
            self._metrics.rejects.labels(reason.lower()).inc()

    def _result(self, result: match_pb2.MatchResult) -> None:
        self._metrics.decisions.labels(wire.DECISION_OF[result.decision].value).inc()
        self._reason(result)

    def _reason(self, answer: match_pb2.MatchResult | match_pb2.HashImageResponse) -> None:
        if answer.HasField("not_hashable"):
            reason = wire.REASON_OF[answer.not_hashable.reason]
            self._metrics.not_hashable.labels(reason.value).inc()


def _told_status(context: Context) -> status_pb2.Status | None:
    """The status with which a handler of ours ended a call; None where it told none."""
    for key, value in context.trailing_metadata() or ():
        if key == STATUS_KEY:
            return status_pb2.Status.FromString(value)
    return None


def _code(context: Context, default: grpc.StatusCode) -> grpc.StatusCode:
    """The code that a handler set; `context` knows None or 0 where it set none."""
    code = context.code()
    return code if isinstance(code, grpc.StatusCode) and code.value[0] else default
