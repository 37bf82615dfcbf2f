"""More calls than there is room for: each that is refused is told so, and none is forgotten."""

from __future__ import annotations

import asyncio
import threading
from contextlib import asynccontextmanager

import grpc
import httpx
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc

from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.decode import worker
from matcher.demo_data import published_test_image
from matcher.service.server import running

REQUEST = match_pb2.MatchImageRequest(image=published_test_image().data)


@pytest.fixture
def gate(monkeypatch):
    """Decoding waits for it; `gate.begun` counts the pictures that got so far."""
    gate = threading.Event()
    gate.begun = threading.Semaphore(0)
    decode = worker.decode

    def slow(*arguments):
        gate.begun.release()
        gate.wait(60)
        return decode(*arguments)

    monkeypatch.setattr(worker, "decode", slow)
    yield gate
    gate.set()


@asynccontextmanager
async def serving(data, gate, **overrides):
    """A server and a connection to it."""
    free = {"listen": "127.0.0.1:0", "admin_listen": "off", "decode_workers": 8}
    chosen = settings.load_settings(data, environ={}, overrides=free | overrides)
    gate.set()
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        gate.clear()
        while gate.begun.acquire(blocking=False):
            pass
        async with grpc.aio.insecure_channel(
            server.address, options=(("grpc.enable_retries", 0),)
        ) as channel:
            try:
                yield server, channel
            finally:
                gate.set()


@asynccontextmanager
async def served(data, gate, **overrides):
    async with serving(data, gate, **overrides) as (_, channel):
        yield channel


async def begun(gate, count=1):
    for _ in range(count):
        assert await asyncio.to_thread(gate.begun.acquire, timeout=60)


async def told(call):
    """The status of a refused call, and what its details say."""
    code = await call.code()
    for key, value in await call.trailing_metadata():
        if key == "grpc-status-details-bin":
            info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
            for detail in status_pb2.Status.FromString(value).details:
                detail.Unpack(info)
                detail.Unpack(retry)
            return code, info.reason, retry.retry_delay.seconds
    return code, "", 0


REFUSED = (grpc.StatusCode.UNAVAILABLE, "OVERLOADED", 1)


@pytest.mark.parametrize("bound", ["max_rpcs", "max_unary_rpcs", "max_in_flight"])
async def test_a_call_too_many_is_told_to_try_again(begun_data, gate, bound):
    async with served(begun_data, gate, **{bound: 2}) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        held = [stub.MatchImage(REQUEST) for _ in range(2)]
        await begun(gate, 2)
        for _ in range(50):
            assert await told(stub.MatchImage(REQUEST)) == REFUSED
        assert await told(stub.LookupHashes(match_pb2.LookupHashesRequest())) == REFUSED
        gate.set()
        for call in held:
            assert (await call).result.matches
        assert (await stub.MatchImage(REQUEST)).result.matches


async def test_what_nobody_answers_takes_no_room_and_is_no_label(begun_data, gate):
    told_at = {"admin_listen": "127.0.0.1:0"}
    async with serving(begun_data, gate, max_rpcs=1, **told_at) as (server, channel):
        held = match_pb2_grpc.MatchServiceStub(channel).MatchImage(REQUEST)
        await begun(gate)
        for name in ("MadeUp", "MadeUpToo"):
            call = channel.unary_unary(f"/hashwarden.match.v1.MatchService/{name}")(b"")
            assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
        assert await told(match_pb2_grpc.MatchServiceStub(channel).MatchImage(REQUEST)) == REFUSED
        async with httpx.AsyncClient() as client:
            page = (await client.get(f"http://{server.admin}/metrics")).text
        assert 'method="MatchImage"' in page
        assert 'method="Made' not in page
        gate.set()
        assert (await held).result.matches


async def test_streams_are_taken_where_no_more_unary_calls_are(begun_data, gate):
    async with served(begun_data, gate, max_unary_rpcs=1) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        held = stub.MatchImage(REQUEST)
        await begun(gate)
        assert await told(stub.MatchImage(REQUEST)) == REFUSED
        stream = stub.MatchImages()
        await stream.write(match_pb2.MatchImagesRequest(request_id="1", image=REQUEST.image))
        await begun(gate)
        gate.set()
        assert (await stream.read()).result.matches
        assert (await held).result.matches


async def test_health_is_answered_however_many_call(begun_data, gate):
    async with served(begun_data, gate, max_rpcs=1) as channel:
        call = match_pb2_grpc.MatchServiceStub(channel).MatchImage(REQUEST)
        await begun(gate)
        health = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert health.status == health_pb2.HealthCheckResponse.SERVING
        gate.set()
        assert (await call).result.matches


async def test_who_goes_away_makes_room(begun_data, gate):
    """Also those who never sent what they meant to send."""
    async with served(begun_data, gate, max_rpcs=2) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        decoding = stub.MatchImage(REQUEST)
        await begun(gate)
        silent = stub.MatchImages()
        await silent.wait_for_connection()
        nothing = match_pb2.LookupHashesRequest()  # is answered at once, whoever decodes
        async with asyncio.timeout(60):
            while await told(stub.LookupHashes(nothing)) != REFUSED:  # the stream may come yet
                if silent.done():  # one of these had come before it, and it was refused
                    silent = stub.MatchImages()
        decoding.cancel()
        silent.cancel()
        gate.set()
        async with asyncio.timeout(60):
            while await stub.MatchImage(REQUEST).code() is not grpc.StatusCode.OK:
                pass


async def test_nothing_is_decoded_for_callers_whose_deadline_has_passed(begun_data, gate):
    async with served(begun_data, gate, decode_workers=1, max_rpcs=2) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        before = stub.MatchImage(REQUEST)
        await begun(gate)
        late = stub.MatchImage(REQUEST, timeout=0.2)
        assert await late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        async with asyncio.timeout(60):  # until the server knows of it, and has room for a call
            while await told(stub.LookupHashes(match_pb2.LookupHashesRequest())) == REFUSED:
                pass
        gate.set()
        assert (await before).result.matches
        assert (await stub.MatchImage(REQUEST)).result.matches
        await begun(gate)  # that of the last call
        assert not gate.begun.acquire(blocking=False)
