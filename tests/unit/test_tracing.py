"""Spans of calls: what they are called, whose they are below, and what they do not hold."""

from __future__ import annotations

import sys
import time
from contextvars import copy_context

import pytest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode

from matcher.errors import SettingsError
from matcher.service.tracing import NoTracing, OpenTelemetry, tracing_to
from matcher.stages import Spell, Stage
from matcher.telemetry import request_id, trace_id

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
PARENT = ("traceparent", f"00-{TRACE}-{SPAN}-01")


@pytest.fixture
def exporter():
    return InMemorySpanExporter()


@pytest.fixture
def tracing(exporter):
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    tracing = OpenTelemetry(provider)
    yield tracing
    tracing.close()


def spells():
    now = time.perf_counter_ns()
    return {Stage.DECODE: Spell(now - 5_000_000, 2_000_000), Stage.LOOKUP: Spell(now - 1000, 500)}


def in_a_call(work):
    return copy_context().run(work)


def test_a_call_is_below_what_its_caller_says_and_stages_below_its_uploads(tracing, exporter):
    def call():
        request_id.set("mine")
        with tracing.call("MatchImage", [PARENT, ("authorization", "Bearer x")]) as ended:
            tracing.upload(spells())
            ended("OK")
        return trace_id.get()

    assert in_a_call(call) == TRACE
    spans = {each.name: each for each in exporter.get_finished_spans()}
    assert set(spans) == {"MatchImage", "upload", "decode", "lookup"}
    assert {format(each.context.trace_id, "032x") for each in spans.values()} == {TRACE}
    outer, upload = spans["MatchImage"], spans["upload"]
    assert format(outer.parent.span_id, "016x") == SPAN
    assert outer.kind is SpanKind.SERVER
    assert outer.status.status_code is StatusCode.UNSET
    assert dict(outer.attributes) == {
        "rpc.system": "grpc",
        "rpc.method": "MatchImage",
        "rpc.response.status_code": "OK",
        "hashwarden.request_id": "mine",
    }
    assert upload.parent.span_id == outer.context.span_id
    for stage, took in (("decode", 2_000_000), ("lookup", 500)):
        assert spans[stage].parent.span_id == upload.context.span_id
        assert spans[stage].end_time - spans[stage].start_time == took
        assert upload.start_time <= spans[stage].start_time
    assert upload.start_time == spans["decode"].start_time


def test_a_call_that_fails_is_marked(tracing, exporter):
    def call():
        with tracing.call("MatchImage", None) as ended:
            ended("UNAVAILABLE")

    in_a_call(call)
    (span,) = exporter.get_finished_spans()
    assert span.parent is None
    assert span.status.status_code is StatusCode.ERROR
    assert span.status.description is None


def test_a_caller_who_does_not_sample_is_followed(exporter):
    tracing = tracing_to("http://127.0.0.1:9/v1/traces", share=1.0)
    try:

        def call():
            with tracing.call("MatchImage", [(PARENT[0], PARENT[1][:-1] + "0")]) as ended:
                tracing.upload(spells())
                ended("OK")

        tracing._provider.add_span_processor(SimpleSpanProcessor(exporter))
        in_a_call(call)
    finally:
        tracing.close()
    assert exporter.get_finished_spans() == ()


def test_outside_of_calls_nothing_is_traced(tracing, exporter):
    in_a_call(lambda: tracing.upload(spells()))
    assert exporter.get_finished_spans() == ()


def test_off_nothing_is_done():
    tracing = tracing_to("", share=1.0)
    assert isinstance(tracing, NoTracing)
    with tracing.call("MatchImage", None) as ended:
        tracing.upload(spells())
        ended("OK")
    tracing.close()


def test_without_the_extra_that_is_said(monkeypatch):
    monkeypatch.setitem(sys.modules, "opentelemetry.exporter.otlp.proto.http.trace_exporter", None)
    with pytest.raises(SettingsError, match=r"hashwarden\[tracing\]"):
        tracing_to("http://127.0.0.1:4318/v1/traces", share=1.0)
