"""The end of a server under load, by a signal to its process: nothing that was accepted is lost."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import itertools
import signal
import socket
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

import matcher
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.demo_data import published_test_image
from tests.raw_http2 import RawClient

SOURCE = Path(matcher.__file__).parents[1]
KNOWN = published_test_image().data
SERVICE = "/hashwarden.match.v1.MatchService/"
MATCH = match_pb2.DECISION_MATCH
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 60
DRAIN_SECONDS = 25
AT_ONCE = 8
ANSWERED, REFUSED = grpc.StatusCode.OK, grpc.StatusCode.UNAVAILABLE
#: What gRPC itself makes of a call that comes just as the server ends: it was never looked at.
DROPPED = grpc.StatusCode.CANCELLED


@contextlib.contextmanager
def served(data, **settings):
    """A server in a process of its own, and its address."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = f"127.0.0.1:{free.getsockname()[1]}"
    values = {
        "PROCESSES": 1,
        "LISTEN": "127.0.0.1:0",
        "LISTS_LISTEN": "same",
        "ADMIN_LISTEN": admin,
        "DRAIN_SECONDS": DRAIN_SECONDS,
        **settings,
    }
    named = {f"HASHWARDEN_{name}": str(value) for name, value in values.items()}
    with (data / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "matcher.cli", "--data", str(data), "serve"],
            stdout=subprocess.PIPE,
            stderr=log,
            text=True,
            cwd=SOURCE,
            env={"PATH": "/usr/bin:/bin"} | named,
        )
    process.admin = admin
    try:
        yield process, process.stdout.readline().removeprefix("serving on ").strip()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def readiness(process):
    connection = http.client.HTTPConnection(process.admin, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        return connection.getresponse().status


async def ended(process):
    """The status of a process that was told to end, and the seconds it took."""
    started = time.monotonic()
    status = await asyncio.wait_for(asyncio.to_thread(process.wait), PATIENCE)
    return status, time.monotonic() - started


class Load:
    """Callers, streams and a watcher, and what they were told."""

    def __init__(self, channel):
        self.codes, self.watched, self.open_calls = Counter(), [], 0
        self.stopping = asyncio.Event()
        self.enough = asyncio.Event()
        self._channel = channel
        self._stub = match_pb2_grpc.MatchServiceStub(channel)

    async def call_on(self):
        while not self.stopping.is_set():
            self.open_calls += 1
            call = self._stub.MatchImage(match_pb2.MatchImageRequest(image=KNOWN))
            code = await call.code()
            self.codes[code] += 1
            self.open_calls -= 1
            if code is not ANSWERED:
                return
            assert (await call).result.decision == MATCH
            if self.codes[ANSWERED] >= 5 * AT_ONCE:
                self.enough.set()

    async def stream(self):
        """The ids of the items that were answered."""
        answered = set()

        async def drawn():
            for number in itertools.count(1):
                if self.stopping.is_set():
                    return
                yield match_pb2.MatchImagesRequest(request_id=str(number), image=KNOWN)
                await asyncio.sleep(0.01)

        with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
            async for each in self._stub.MatchImages(drawn()):
                assert each.result.decision == MATCH
                assert each.request_id not in answered
                answered.add(each.request_id)
        return answered

    async def watch(self):
        request = health_pb2.HealthCheckRequest()
        with contextlib.suppress(grpc.aio.AioRpcError):
            async for each in health_pb2_grpc.HealthStub(self._channel).Watch(request):
                self.watched.append(each.status)

    async def say_nothing(self):
        """A stream of tokens that nobody should wait for."""
        call = self._stub.LookupTokens()
        await call.write(match_pb2.LookupTokensRequest())
        return call


@pytest.mark.slow
async def test_under_load_what_was_accepted_is_answered_and_the_rest_is_told(tmp_path):
    """Also with a signal more, as process groups and impatient people send them."""
    with served(tmp_path) as (process, address):
        assert readiness(process) == 200
        async with grpc.aio.insecure_channel(address, [("grpc.enable_retries", 0)]) as channel:
            load = Load(channel)
            silent = await load.say_nothing()
            callers = [asyncio.create_task(load.call_on()) for _ in range(AT_ONCE)]
            streams = [asyncio.create_task(load.stream()) for _ in range(2)]
            watching = asyncio.create_task(load.watch())
            await asyncio.wait_for(load.enough.wait(), PATIENCE)
            process.send_signal(signal.SIGTERM)
            await asyncio.sleep(0.1)
            process.send_signal(signal.SIGTERM)
            status, seconds = await ended(process)
            await asyncio.wait_for(asyncio.gather(*callers, watching), PATIENCE)
            load.stopping.set()
            answered = await asyncio.wait_for(asyncio.gather(*streams), PATIENCE)
            silent.cancel()
    # The second signal may meet a process that has answered all, and is just ending.
    assert status in {0, -signal.SIGTERM}
    assert seconds < DRAIN_SECONDS - 5  # neither who watches nor who is silent is waited for
    assert load.open_calls == 0
    assert set(load.codes) <= {ANSWERED, REFUSED, DROPPED}
    serving = health_pb2.HealthCheckResponse
    assert load.watched == [serving.SERVING, serving.NOT_SERVING]
    for ids in answered:  # none of what the server read was lost on the way
        assert ids == {str(number) for number in range(1, len(ids) + 1)}
    assert "Traceback" not in (tmp_path / "log").read_text()


@pytest.mark.slow
async def test_a_drain_ends_at_its_deadline_whatever_is_open(tmp_path):
    """Not ready from the first moment on."""
    with (
        served(tmp_path, DRAIN_SECONDS=2, CLIENT_SECONDS=3600) as (process, address),
        RawClient(address) as raw,
    ):
        raw.call(SERVICE + "MatchImage")
        await asyncio.sleep(0.2)
        process.send_signal(signal.SIGTERM)
        seen = set()
        with contextlib.suppress(OSError):  # it goes away at the end
            while process.poll() is None:
                seen.add(await asyncio.to_thread(readiness, process))
        status, _ = await ended(process)
    assert status == 0
    assert seen <= {200, 503}
    assert 503 in seen
    assert "draining" in (tmp_path / "log").read_text()
