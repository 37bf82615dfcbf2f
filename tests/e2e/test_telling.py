"""What a server tells of itself after known traffic: metrics to the number, ids, traces, flags."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import http.server
import json
import logging
import threading
from collections import Counter

import grpc
import numpy as np
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.noticed import waiting
from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.model import Harm, HashKind, HashList, ListState
from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, Client, HashQuery
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service import list_ages, parts
from matcher.service.server import running
from matcher.service.tracing import OpenTelemetry

IMAGE = published_test_image().data
STAGES = ("decode_queue", "decode", "digest", "batch_queue", "hash", "lookup", "policy")
MINE = "x-request-id"


def load_settings(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    values = {**free, "follow_seconds": 0.05, **overrides}
    return settings.load_settings(data, environ={}, overrides=values)


@pytest_asyncio.fixture
async def serve(begun_data):
    """Starts one server with settings."""
    open_servers = []

    async def served(**overrides):
        context = running(load_settings(begun_data, **overrides))
        server = await context.__aenter__()
        open_servers.append(context)
        await asyncio.wait_for(server.ready, 60)
        return server

    yield served
    for each in open_servers:
        await each.__aexit__(None, None, None)


def page(server):
    connection = http.client.HTTPConnection(server.admin, timeout=60)
    try:
        connection.request("GET", "/metrics")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


async def samples(server):
    """All metrics by name and labels."""
    text = await asyncio.to_thread(page, server)
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


async def test_metrics_are_exact_after_known_traffic(serve):
    server = await serve()
    before = await samples(server)
    async with AsyncClient(server.address) as client:
        for _ in range(3):
            await client.match_image(IMAGE)
        await client.match_image(b"no image")
        await client.hash_image(IMAGE)
        with pytest.raises(ServerError) as caught:
            await client.match_image(IMAGE, policy="nobody")
        assert len(caught.value.request_id) == 36

        async def images():
            yield "a", IMAGE
            yield "b", b""

        async for _ in client.match_images(images()):
            pass
        await client.lookup_hashes([HashQuery({HashKind.SHA256: bytes(32)})] * 2)
    now = await samples(server)

    def grew(name):
        return now.get(name, 0) - before.get(name, 0)

    # Three and one matched, one hashed, one of a stream; what is refused goes through no stage.
    for stage, uploads in dict.fromkeys(STAGES, 6).items():
        looked_up = stage in {"lookup", "policy"}
        # The one that is only hashed is not looked up, and the lookup is one call.
        wanted = uploads - 1 + 1 if looked_up else uploads
        assert grew(f'hashwarden_stage_seconds_count{{stage="{stage}"}}') == wanted, stage
        assert grew(f'hashwarden_stage_seconds_sum{{stage="{stage}"}}') >= 0
    assert grew("hashwarden_batch_items_sum") == 6
    assert 1 <= grew("hashwarden_batch_items_count") <= 6
    assert grew('hashwarden_decisions_total{decision="MATCH"}') == 4
    assert grew('hashwarden_decisions_total{decision="NOT_HASHABLE"}') == 1
    assert grew('hashwarden_decisions_total{decision="NO_KNOWN_MATCH"}') == 2
    assert grew('hashwarden_not_hashable_total{reason="unsupported"}') == 1
    assert grew('hashwarden_rejects_total{reason="policy_unknown"}') == 1
    assert grew('hashwarden_rejects_total{reason="request_invalid"}') == 1
    assert grew('hashwarden_rejects_total{reason="overloaded"}') == 0
    assert grew('hashwarden_requests_total{code="OK",method="MatchImage"}') == 4
    assert grew('hashwarden_requests_total{code="NOT_FOUND",method="MatchImage"}') == 1
    assert grew('hashwarden_request_seconds_count{method="MatchImages"}') == 2
    assert now['hashwarden_queue_items{queue="decoder"}'] == 0
    assert now['hashwarden_queue_items{queue="batch"}'] == 0
    assert 0 <= now["hashwarden_index_age_seconds"] < 600
    assert now["hashwarden_hot_entries"] == 0
    assert now["hashwarden_climbing_series_total"] == 0
    # Neither names of lists nor anything of an upload.
    text = await asyncio.to_thread(page, server)
    assert "hashwarden-test" not in text


async def test_what_is_refused_for_want_of_room_is_counted(serve):
    server = await serve(max_in_flight=1)
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        request = match_pb2.MatchImageRequest(image=IMAGE)
        outcomes = await asyncio.gather(
            *(stub.MatchImage(request) for _ in range(30)), return_exceptions=True
        )
    refused = sum(isinstance(each, grpc.aio.AioRpcError) for each in outcomes)
    now = await samples(server)
    assert refused
    assert now['hashwarden_rejects_total{reason="overloaded"}'] == refused


def details_of(error):
    (value,) = [v for k, v in error.trailing_metadata() if k == "grpc-status-details-bin"]
    told = error_details_pb2.RequestInfo()
    for each in status_pb2.Status.FromString(value).details:
        if each.Unpack(told):
            return told.request_id
    raise AssertionError


async def test_every_answer_and_error_tells_the_id_of_its_call(serve, caplog):
    server = await serve(log_level="debug")
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        good = stub.MatchImage(match_pb2.MatchImageRequest(image=IMAGE), metadata=((MINE, "a-1"),))
        await good
        assert dict(await good.trailing_metadata())[MINE] == "a-1"
        unnamed = stub.MatchImage(match_pb2.MatchImageRequest(image=IMAGE))
        await unnamed
        assert len(dict(await unnamed.trailing_metadata())[MINE]) == 36
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.MatchImage(match_pb2.MatchImageRequest(), metadata=((MINE, "a-2"),))
        assert dict(caught.value.trailing_metadata())[MINE] == "a-2"
        assert details_of(caught.value) == "a-2"
        stream = stub.MatchImages(metadata=((MINE, "a-3"),))
        await stream.write(match_pb2.MatchImagesRequest(request_id="x"))
        await stream.done_writing()
        answer = await stream.read()
        told = error_details_pb2.RequestInfo()
        assert any(each.Unpack(told) for each in answer.status.details)
        assert told.request_id == "a-3"
        assert dict(await stream.trailing_metadata())[MINE] == "a-3"
        # Those who are refused before anything is read are told, too.
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.MatchImage(
                match_pb2.MatchImageRequest(image=IMAGE),
                metadata=((MINE, "a-4"), ("authorization", "Bearer wrong")),
            )
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        assert dict(caught.value.trailing_metadata())[MINE] == "a-4"
        assert details_of(caught.value) == "a-4"


async def test_a_call_is_traced_with_its_stages(serve, monkeypatch):
    exporter = InMemorySpanExporter()
    provider = TracerProvider(shutdown_on_exit=False)
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    monkeypatch.setattr(parts, "tracing_to", lambda *_, **__: OpenTelemetry(provider))
    server = await serve()
    trace = "4bf92f3577b34da6a3ce929d0e0e4736"
    async with grpc.aio.insecure_channel(server.address) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        parent = ("traceparent", f"00-{trace}-00f067aa0ba902b7-01")
        await stub.MatchImage(match_pb2.MatchImageRequest(image=IMAGE), metadata=(parent,))
        stream = stub.MatchImages(metadata=(parent,))
        for name in ("a", "b"):
            await stream.write(match_pb2.MatchImagesRequest(request_id=name, image=IMAGE))
        await stream.done_writing()
        assert [await stream.read(), await stream.read()]
        assert await stream.code() is grpc.StatusCode.OK
    spans = exporter.get_finished_spans()
    assert {format(each.context.trace_id, "032x") for each in spans} == {trace}
    names = [each.name for each in spans]
    assert sorted(set(names)) == sorted({"MatchImage", "MatchImages", "upload", *STAGES})
    assert names.count("upload") == 3
    by_id = {each.context.span_id: each for each in spans}
    uploads = [each for each in spans if each.name == "upload"]
    assert sorted(by_id[each.parent.span_id].name for each in uploads) == [
        "MatchImage",
        "MatchImages",
        "MatchImages",
    ]
    for each in spans:
        if each.name in STAGES:
            assert by_id[each.parent.span_id].name == "upload"


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes traces as a collector of OTLP over HTTP does."""

    def do_POST(self):  # the name that http.server asks for
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, self.headers["authorization"], body))
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_):
        pass


@pytest.fixture
def collector():
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector) as server:
        server.taken = []
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


async def test_a_collector_has_all_spans_at_the_end(begun_data, collector, monkeypatch, caplog):
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20secret-of-ours")
    endpoint = f"http://127.0.0.1:{collector.server_port}/v1/traces"
    with caplog.at_level(logging.DEBUG):
        async with running(load_settings(begun_data, trace_endpoint=endpoint)) as server:
            await asyncio.wait_for(server.ready, 60)
            async with AsyncClient(server.address) as client:
                for _ in range(3):
                    assert (await client.match_image(IMAGE)).result.decision is Decision.MATCH
    assert {taken[:2] for taken in collector.taken} == {("/v1/traces", "Bearer secret-of-ours")}
    names = Counter(
        span.name
        for _, _, body in collector.taken
        for resource in ExportTraceServiceRequest.FromString(body).resource_spans
        for scope in resource.scope_spans
        for span in scope.spans
    )
    assert names == dict.fromkeys(("MatchImage", "upload", *STAGES), 3)
    assert "secret-of-ours" not in caplog.text
    told = b"".join(body for _, _, body in collector.taken)
    for each in (IMAGE, hashlib.sha256(IMAGE).digest(), b"hashwarden-test", b"MATCH"):
        assert each[:24] not in told


def fill(data, known):
    """A list of the digests of these files."""
    with Catalog.open(load_settings(data).catalog_url) as catalog:
        catalog.create_list(
            HashList("known", Harm.CSAM, "somebody", state=ListState.LIVE), author="test"
        )
        path = data / "digests.txt"
        path.write_text("".join(f"{hashlib.sha256(each).hexdigest()}\n" for each in known))
        said = {"options": {"kind": "sha256"}, "importer": "test"}
        import_file(catalog, path, list_name="known", format="digests", **said)


def audit_of(data):
    url = f"sqlite:///{data / 'access.sqlite3'}"
    return AccessDatabase.open(url, HeadFile(data / "audit.head"))


async def test_an_entry_that_is_hit_too_often_is_flagged_and_reviewed(serve, begun_data, caplog):
    fill(begun_data, [IMAGE])
    server = await serve(hot_entry_hits=3, hot_entry_factor=1, hot_entry_review=True)
    async with AsyncClient(server.address) as client:
        told = [(await client.match_image(IMAGE)).result for _ in range(4)]
        assert [each.decision for each in told] == [Decision.MATCH] * 2 + [Decision.REVIEW] * 2
        assert not (await client.records.replay(told[1].match_id)).differences
        anew = await client.records.replay(told[2].match_id)
        assert anew.record.flagged
        assert "hit far more often than usual" in anew.differences[0]
    now = await samples(server)
    assert now["hashwarden_hot_entries"] == now["hashwarden_hot_entries_flagged_total"] >= 1
    assert now["hashwarden_hot_entry_reviews_total"] == 2
    assert now['hashwarden_decisions_total{decision="REVIEW"}'] == 2
    with audit_of(begun_data) as database:
        async with asyncio.timeout(30):
            while not (found := waiting(database)):  # noqa: ASYNC110 - no event for a test
                await asyncio.sleep(0.02)
        (found,) = found
        (met,) = [each for each in told[0].matches if each.list_name == "known"]
        assert found.subject == f"entry:{met.entry_id}"
        assert found.details["list"] == "known"
        assert found.details["hits"] == 3
    assert "far more often than usual" in caplog.text


async def test_who_climbs_is_noticed_and_held_to_a_rate(serve, begun_data):
    server = await serve(climbing="throttle", climbing_queries=8)
    async with AsyncClient(server.address) as client:
        hashed = (await client.hash_image(IMAGE)).hashes
        code = np.frombuffer(hashed.views[0].codes[HashKind.PDQ], dtype=np.uint8)
        queries = []
        for number in range(24):
            bits = np.zeros(256, dtype=np.uint8)
            bits[: 24 + (16 if number % 2 else 0)] = 1  # within 31 bits of the entry, or beyond
            bits[255 - number] = 1
            queries.append((code ^ np.packbits(bits)).tobytes())
        outcomes = []
        for each in queries:
            (answer,) = await client.lookup_hashes([HashQuery({HashKind.PDQ: each}, quality=100)])
            outcomes.append(answer)
    now = await samples(server)
    assert now["hashwarden_climbing_series_total"] == 1
    refused = [each for each in outcomes if isinstance(each, ServerError)]
    assert refused
    assert {each.reason for each in refused} == {"QUERIES_TOO_SIMILAR"}
    assert now["hashwarden_climbing_refused_total"] == len(refused)
    assert now['hashwarden_rejects_total{reason="queries_too_similar"}'] == len(refused)
    with audit_of(begun_data) as database:
        async with asyncio.timeout(30):
            while not (found := waiting(database)):  # noqa: ASYNC110 - no event for a test
                await asyncio.sleep(0.02)
    assert found[0].subject.startswith("unknown:")
    assert code.tobytes().hex() not in json.dumps(dict(found[0].details))


async def test_a_call_that_ends_is_in_the_debug_log(serve, caplog):
    server = await serve()
    with caplog.at_level(logging.DEBUG, logger="matcher.service.interceptors"):
        async with AsyncClient(server.address) as client:
            await client.match_image(IMAGE)
    assert "MatchImage ended OK after" in caplog.text


async def test_ages_of_lists_are_told_and_by_name_where_that_is_chosen(serve, monkeypatch):
    monkeypatch.setattr(list_ages, "LOOK_SECONDS", 0.05)
    server = await serve(metrics_list_names=True)

    def create():
        with Client(server.lists) as client:
            client.create_list(HashList("mine", Harm.CSAM, "somebody"))

    assert "hashwarden_oldest_list_age_seconds" not in await samples(server)
    await asyncio.to_thread(create)
    named = 'hashwarden_list_age_seconds{list="mine"}'
    async with asyncio.timeout(60):
        while named not in (now := await samples(server)):  # noqa: ASYNC110 - as above
            await asyncio.sleep(0.02)
    assert 0 <= now[named] < 600
    assert 0 <= now["hashwarden_newest_list_age_seconds"] < 600
