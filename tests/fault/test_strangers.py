"""Calls that nobody needs a token for: strangers take little memory, and leave probes room."""

from __future__ import annotations

import asyncio
import re
from contextlib import asynccontextmanager

import grpc
import psutil
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.demo_data import published_test_image
from matcher.service import overload, server
from matcher.service.patience import BRIEF_SECONDS, Patience
from tests.raw_http2 import RawClient

CHECK = "/grpc.health.v1.Health/Check"
MIB = 1 << 20
#: Of the places that one address alone has.
SHARE = overload.OTHERS_READ - 1
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 60
SERVING = health_pb2.HealthCheckResponse.SERVING
NOTHING = health_pb2.HealthCheckRequest()
IMAGE = match_pb2.MatchImageRequest(image=published_test_image().data)
EVERY_SERVICE = reflection_pb2.ServerReflectionRequest(list_services="")


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """That of the server; time passes when `patience.passes` is called, and never else."""
    now = [0.0]

    class Steered(Patience):
        def __init__(self, seconds, ended):
            super().__init__(seconds, ended, clock=lambda: now[0])
            steer.look = self.look

    class Steer:
        def passes(self, seconds):
            now[0] += seconds
            self.look()

    steer = Steer()
    monkeypatch.setattr(server, "Patience", Steered)
    return steer


@asynccontextmanager
async def served(data):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    chosen = settings.load_settings(data, environ={}, overrides=free | {"decode_workers": 1})
    async with server.running(chosen) as running:
        await asyncio.wait_for(running.ready, PATIENCE)
        yield running


def channel(here, **options):
    alone = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
    return grpc.aio.insecure_channel(here.address, options=alone, **options)


async def counted(here, name):
    """A metric of the server that is told so."""
    reader, writer = await asyncio.open_connection(*here.admin.rsplit(":", 1))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return float(re.search(rf"(?m)^{re.escape(name)} (\S+)$", text)[1])


async def code_of(call):
    """How it ends, whether it is an answer or not."""
    async with asyncio.timeout(PATIENCE):
        return await call.code()


@asynccontextmanager
async def half_sent(here, count, *, size=MIB):
    """Checks from elsewhere whose messages lack their last byte, as far as there is room."""
    with RawClient(here.address, source="127.0.0.2") as raw:
        calls = [raw.call(CHECK) for _ in range(count)]

        def send():
            for each in calls:
                raw.begin_message(each, size, seconds=PATIENCE)
            raw.until_some_reset(count - SHARE, seconds=PATIENCE)

        await asyncio.to_thread(send)
        yield raw


async def is_answered(here):
    """Whether a probe from where the strangers are is."""
    with RawClient(here.address, source="127.0.0.2") as raw:
        call = raw.call(CHECK, b"", ends=True)
        await asyncio.to_thread(raw.until_reset, [call], seconds=PATIENCE)
        return call in raw.answered


async def is_described(reflection):
    """Whether a stream of reflection is answered, and not refused."""
    call = reflection.ServerReflectionInfo(iter([EVERY_SERVICE]))
    try:
        return (await call.read()).HasField("list_services_response")
    except grpc.aio.AioRpcError:
        return False
    finally:
        call.cancel()


async def test_few_messages_of_strangers_are_read_at_a_time(begun_data):
    """Forty are half sent: what is not read is refused, and others are answered meanwhile."""
    size = 4 * MIB
    async with served(begun_data) as here, channel(here) as known:
        health = health_pb2_grpc.HealthStub(known)
        assert (await health.Check(NOTHING)).status == SERVING
        before = psutil.Process().memory_info().rss
        async with half_sent(here, 40, size=size) as raw:
            assert psutil.Process().memory_info().rss < before + (overload.OTHERS_READ + 8) * size
            assert len(raw.ended) == 40 - SHARE
            assert (await health.Check(NOTHING)).status == SERVING
            answer = await match_pb2_grpc.MatchServiceStub(known).MatchImage(IMAGE)
            assert answer.result.matches
            told = await counted(here, 'hashwarden_rejects_total{reason="overloaded"}')
            assert told == 40 - SHARE
        assert (await health.Check(NOTHING)).status == SERVING


async def test_probes_of_an_address_that_has_its_share_are_refused_until_it_is_given_up(
    begun_data, patience
):
    """At once; those from elsewhere are answered all the while."""
    async with served(begun_data) as here, channel(here) as known:
        health = health_pb2_grpc.HealthStub(known)
        async with half_sent(here, overload.OTHERS_READ) as raw:
            assert len(raw.ended) == overload.OTHERS_READ - SHARE
            assert not await is_answered(here)
            patience.passes(BRIEF_SECONDS + 0.1)
            async with asyncio.timeout(PATIENCE):
                while not await is_answered(here):
                    assert (await health.Check(NOTHING)).status == SERVING
            assert await counted(here, "hashwarden_stalled_calls_total") == SHARE
        assert (await health.Check(NOTHING)).status == SERVING


async def test_who_watches_holds_no_place_and_is_waited_for(begun_data, patience):
    many = 3 * overload.OTHERS_READ
    async with served(begun_data) as here, channel(here) as known:
        health = health_pb2_grpc.HealthStub(known)
        watches = [health.Watch(NOTHING) for _ in range(many)]
        for each in watches:
            assert (await each.read()).status == SERVING
        assert (await health.Check(NOTHING)).status == SERVING
        patience.passes(3600)
        assert (await health.Check(NOTHING)).status == SERVING
        assert not any(each.done() for each in watches)
        for each in watches:
            each.cancel()


@pytest.mark.parametrize("method", ["Check", "Watch"])
async def test_what_is_longer_than_any_name_is_refused(begun_data, method):
    """However often: it gives its place back."""
    name = "a" * overload.LONGEST_NAME
    async with served(begun_data) as here, channel(here) as known:
        ask = getattr(health_pb2_grpc.HealthStub(known), method)
        for _ in range(2 * overload.OTHERS_READ):
            call = ask(health_pb2.HealthCheckRequest(service=name))
            assert await code_of(call) is grpc.StatusCode.INVALID_ARGUMENT
        none = health_pb2_grpc.HealthStub(known).Check(
            health_pb2.HealthCheckRequest(service=name[:-8])
        )
        assert await code_of(none) is grpc.StatusCode.NOT_FOUND


async def test_streams_of_reflection_hold_their_places_and_those_alone(begun_data):
    async with served(begun_data) as here, channel(here) as known:
        reflection = reflection_pb2_grpc.ServerReflectionStub(known)
        held = [reflection.ServerReflectionInfo() for _ in range(SHARE)]
        for each in held:
            await each.write(EVERY_SERVICE)
            assert (await each.read()).HasField("list_services_response")
        assert not await is_described(reflection)
        assert (await health_pb2_grpc.HealthStub(known).Check(NOTHING)).status == SERVING
        for each in held:
            each.cancel()
        async with asyncio.timeout(PATIENCE):
            while not await is_described(reflection):
                pass


@pytest.mark.parametrize("packing", [grpc.Compression.Gzip, grpc.Compression.Deflate])
async def test_packed_messages_are_refused_whoever_sends_them(begun_data, packing):
    async with served(begun_data) as here, channel(here, compression=packing) as known:
        check = health_pb2_grpc.HealthStub(known).Check(NOTHING)
        assert await code_of(check) is grpc.StatusCode.UNIMPLEMENTED
        match = match_pb2_grpc.MatchServiceStub(known).MatchImage(IMAGE)
        assert await code_of(match) is grpc.StatusCode.UNIMPLEMENTED
        assert "gzip" in await match.details() or "deflate" in await match.details()


async def test_who_goes_away_half_way_leaves_the_place(begun_data):
    async with served(begun_data) as here, channel(here) as known:
        async with half_sent(here, overload.OTHERS_READ):
            assert not await is_answered(here)
        async with asyncio.timeout(PATIENCE):
            while not await is_answered(here):
                pass
        assert (await health_pb2_grpc.HealthStub(known).Check(NOTHING)).status == SERVING
