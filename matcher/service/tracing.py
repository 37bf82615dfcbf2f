"""Traces of calls, as OpenTelemetry spans; an extra (`hashwarden[tracing]`), off unless it is set.

A call is a span, whose parent is what the caller's `traceparent` names. Each upload in it is a span
below, and each stage of that one below that. Stages are told once they are over, with the times
that metrics have anyway, so tracing adds no look at a clock while work is done; off, it costs a
call of an empty function. A span holds method, status, stage and request id: never a hash, a name
of a list or a decision, since traces are kept by others.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from matcher import __version__
from matcher.errors import SettingsError
from matcher.telemetry import redact, request_id, trace_id

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.trace import Span

    from matcher.stages import Spell, Stage

#: For one try to send what waits, and for all of them at the end.
_SEND_SECONDS = 5
_CLOSE_SECONDS = 5.0
_HEADERS = frozenset({"traceparent", "tracestate"})
#: The span of the call that is worked on. Not OpenTelemetry's own, which must be given back in the
#: context in which it was taken; generators of streams may be closed in another.
_call: ContextVar[Span | None] = ContextVar("span", default=None)

#: Told the name of the status code with which a call ended.
Ended: TypeAlias = Callable[[str], None]


class Tracing(Protocol):
    """Where spans go."""

    def call(self, method: str, metadata: Any, /) -> AbstractContextManager[Ended]:
        """Around a call."""
        ...

    def upload(self, spells: Mapping[Stage, Spell], /) -> None:
        """An upload, or hashes, of the call that is worked on: it has just ended."""
        ...

    def close(self) -> None:
        """Sends what waits, unless that takes too long."""
        ...


class NoTracing:
    """Traces nothing."""

    def call(self, _method: str, _metadata: Any) -> AbstractContextManager[Ended]:
        """As `Tracing.call`."""
        return _NOWHERE

    def upload(self, _spells: Mapping[Stage, Spell]) -> None:
        """As `Tracing.upload`."""

    def close(self) -> None:
        """As `Tracing.close`."""


def _forget(_: str) -> None:
    return None


_NOWHERE: AbstractContextManager[Ended] = nullcontext(_forget)


class OpenTelemetry:
    """Traces by OpenTelemetry's SDK.

    Args:
        provider: makes spans and sends them; belongs to this from now on.
    """

    def __init__(self, provider: TracerProvider) -> None:
        from opentelemetry import trace  # noqa: PLC0415 - an extra
        from opentelemetry.trace.propagation.tracecontext import (  # noqa: PLC0415
            TraceContextTextMapPropagator,
        )

        self._trace = trace
        self._context = TraceContextTextMapPropagator()
        self._provider = provider
        self._tracer = provider.get_tracer("hashwarden", __version__)

    @contextmanager
    def call(self, method: str, metadata: Any) -> Iterator[Ended]:
        """As `Tracing.call`."""
        told = {key: value for key, value in metadata or () if key in _HEADERS}
        span = self._tracer.start_span(
            method,
            context=self._context.extract(told),
            kind=self._trace.SpanKind.SERVER,
            attributes={"rpc.system": "grpc", "rpc.method": method},
        )
        if called := request_id.get():
            span.set_attribute("hashwarden.request_id", redact(called))
        _call.set(span)
        trace_id.set(format(span.get_span_context().trace_id, "032x"))

        def ended(code: str) -> None:
            span.set_attribute("rpc.response.status_code", code)
            if code != "OK":
                span.set_status(self._trace.StatusCode.ERROR)

        try:
            yield ended
        finally:
            span.end()

    def upload(self, spells: Mapping[Stage, Spell]) -> None:
        """As `Tracing.upload`."""
        parent = _call.get()
        if parent is None or not parent.is_recording() or not spells:
            return
        # Spells are told by a clock that never goes back, spans by that of the day.
        shift = time.time_ns() - time.perf_counter_ns()
        begin = min(each.began for each in spells.values()) + shift
        within = self._trace.set_span_in_context(parent)
        upload = self._tracer.start_span("upload", context=within, start_time=begin)
        below = self._trace.set_span_in_context(upload)
        for stage, spell in spells.items():
            start = spell.began + shift
            part = self._tracer.start_span(stage.value, context=below, start_time=start)
            part.end(start + spell.took)
        upload.end()

    def close(self) -> None:
        """As `Tracing.close`; a collector that is away ends with the process."""
        closing = threading.Thread(target=self._provider.shutdown, name="tracing", daemon=True)
        closing.start()
        closing.join(_CLOSE_SECONDS)


def tracing_to(endpoint: str, *, share: float) -> Tracing:
    """Traces to a collector of OTLP over HTTP; none where no endpoint is named.

    Args:
        endpoint: URL of the collector, e.g. `http://127.0.0.1:4318/v1/traces`; empty for none.
        share: of the calls that are traced, where the caller does not say whether its trace is.

    Raises:
        SettingsError: the extra is not installed.
    """
    if not endpoint:
        return NoTracing()
    try:
        from opentelemetry.exporter.otlp.proto.http.trace_exporter import (  # noqa: PLC0415
            OTLPSpanExporter,
        )
        from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
        from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
        from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
        from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
    except ImportError:
        raise SettingsError(
            "trace_endpoint: traces need an extra: pip install 'hashwarden[tracing]'"
        ) from None
    named = Resource.create({"service.name": "hashwarden", "service.version": __version__})
    provider = TracerProvider(
        resource=named, sampler=ParentBasedTraceIdRatio(share), shutdown_on_exit=False
    )
    provider.add_span_processor(
        BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint, timeout=_SEND_SECONDS))
    )
    return OpenTelemetry(provider)


__all__ = ["NoTracing", "OpenTelemetry", "Tracing", "tracing_to"]
