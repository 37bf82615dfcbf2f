"""Decoders that crash, hang, eat memory or are killed, under load: others' uploads are not harmed.

One upload in fifty does harm. Each of the others is a picture whose hashes are known, and its
neighbours are other pictures, so an answer that went astray would be noticed.
"""

from __future__ import annotations

import asyncio
import io
import os
import random
import signal
import threading
from contextlib import asynccontextmanager
from unittest import mock

import grpc
import numpy as np
import psutil
import pytest
from google.rpc import error_details_pb2, status_pb2
from PIL import Image

from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, HashQuery
from matcher.decode import choosing
from matcher.decode.limits import WorkerLimits
from matcher.decode.pool import InProcessPool
from matcher.decode.sandbox import forks
from matcher.decode.sandbox import pool as pool_module
from matcher.decode.sandbox.connection import Worker
from matcher.decode.sandbox.pool import SandboxPool
from matcher.demo_data import published_test_image
from matcher.errors import PolicyError, UnprotectedError
from matcher.hashing.pdq import pdq_codes
from matcher.model import Decision, DecodeRequest, HashKind, NotHashableReason
from matcher.service.parts import Parts
from matcher.service.server import running
from tests.planted_decoders import planted

#: What a file may take. Long enough for an honest one on a machine that has much else to do.
SECONDS = 8.0
REQUESTS = 300
ONE_IN = 50
AT_ONCE = 16
HARM = {
    "segfault": NotHashableReason.DECODER_FAILED,
    "abort": NotHashableReason.DECODER_FAILED,
    "memory": NotHashableReason.OVER_LIMIT,
    "sleep": NotHashableReason.DECODER_FAILED,
    "loop": NotHashableReason.DECODER_FAILED,
    "say": NotHashableReason.DECODER_FAILED,
}


@pytest.fixture
def pools(monkeypatch):
    """The pools of servers in this process, whose decoders do harm when a file asks."""
    made = []

    def make(limits, worker_limits, workers):
        briefer = WorkerLimits(memory_bytes=worker_limits.memory_bytes, seconds=SECONDS)
        program = "tests.planted_decoders"
        made.append(SandboxPool(limits, workers, worker_limits=briefer, program=program))
        return made[-1]

    monkeypatch.setattr(choosing, "_in_processes", make)
    return made


@pytest.fixture(scope="module")
def pictures():
    """Files, each with the size and the PDQ code that it has."""
    pool = InProcessPool(workers=1)
    made = []
    for number in range(REQUESTS // 3):
        chance = np.random.default_rng(number)
        low = Image.fromarray(chance.integers(0, 256, (7, 9, 3), np.uint8))
        size = (120 + number, 90)
        stream = io.BytesIO()
        low.resize(size, Image.Resampling.BICUBIC).save(stream, "JPEG", quality=85)
        decoded = pool.submit(stream.getvalue(), DecodeRequest()).result()
        codes, _ = pdq_codes(decoded.views[0].luma[None])
        made.append((stream.getvalue(), size, codes[0].tobytes()))
    pool.close()
    assert len({code for _, _, code in made}) == len(made)
    return made


@asynccontextmanager
async def served(data, **overrides):
    free = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    few = {"decode_workers": 2, "max_fatal_images": 1000}
    chosen = settings.load_settings(data, environ={}, overrides={**free, **few, **overrides})
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address, timeout=120) as client:
            yield server, client


def load(pictures):
    """What is sent: each a file, its size and code, and the reason why it will have none."""
    items = [(*pictures[number % len(pictures)], None) for number in range(REQUESTS)]
    for start in range(0, REQUESTS, ONE_IN):
        word = list(HARM)[start // ONE_IN % len(HARM)]
        items[start + random.Random(start).randrange(ONE_IN)] = (
            *(planted(word, b"nonsense " * 20), None, None),
            HARM[word],
        )
    assert sum(reason is not None for *_, reason in items) == REQUESTS // ONE_IN
    return items


async def in_parallel(work, items):
    """The outcomes of calls, of which so many are under way at once."""
    places = asyncio.Semaphore(AT_ONCE)

    async def one(item):
        async with places:
            return await work(item)

    return await asyncio.gather(*map(one, items))


def reason_of(answer):
    undecodable = answer.hashes.undecodable
    return None if undecodable is None else undecodable.reason


def judge_hashes(items, answers):
    assert len(answers) == len(items)
    for (_, size, code, reason), answer in zip(items, answers, strict=True):
        assert reason_of(answer) == reason
        if reason is None:
            assert (answer.image.width, answer.image.height) == size
            assert answer.hashes.views[0].codes[HashKind.PDQ] == code


async def test_calls_are_answered_beside_those_that_take_decoders_down(begun_data, pools, pictures):
    items = load(pictures)
    async with served(begun_data) as (_, client):
        answers = await in_parallel(lambda item: client.hash_image(item[0]), items)
        judge_hashes(items, answers)
        # Two for each that was tried again; nobody else's decoder was replaced.
        assert pools[0].restarts() == {"ended": 4, "memory": 2, "nonsense": 2, "time": 2}


@pytest.mark.slow
async def test_streams_are_answered_beside_those_that_take_decoders_down(
    begun_data, pools, pictures
):
    items = load(pictures)

    async def sent():
        for number, item in enumerate(items):
            yield str(number), item[0]

    found = {}
    async with served(begun_data) as (_, client):
        async for answer in client.match_images(sent()):
            assert answer.request_id not in found
            found[answer.request_id] = answer.answer
    assert sorted(map(int, found)) == list(range(REQUESTS))
    for number, (_, size, _, reason) in enumerate(items):
        answer = found[str(number)]
        assert answer.result.reason == reason
        if reason is None:
            assert answer.result.decision is Decision.NO_KNOWN_MATCH
            assert (answer.image.width, answer.image.height) == size
        else:
            assert answer.result.decision is Decision.NOT_HASHABLE


@pytest.mark.slow
async def test_decoders_that_are_killed_cost_nobody_an_answer(begun_data, pools, pictures):
    """A worker, and the one that forks them, each in the middle of the load."""
    items = [(*pictures[number % len(pictures)], None) for number in range(REQUESTS)]
    killed = []

    def kill(number):
        forkserver = psutil.Process(pools[0]._forks._process.pid)
        if number == REQUESTS // 3:
            killed.append(forkserver.children()[0].pid)
        else:
            killed.append(forkserver.pid)
        os.kill(killed[-1], signal.SIGKILL)

    async with served(begun_data) as (_, client):
        done = 0

        async def ask(item):
            nonlocal done
            answer = await client.hash_image(item[0])
            done += 1
            if done in {REQUESTS // 3, 2 * REQUESTS // 3}:
                kill(done)
            return answer

        judge_hashes(items, await in_parallel(ask, items))
        judge_hashes(items[:1], [await client.hash_image(items[0][0])])
    assert len(killed) == 2
    assert not any(map(psutil.pid_exists, killed))


async def test_a_client_whose_images_take_decoders_down_is_held_back(begun_data, pools, pictures):
    """It has half of the decoders from then on, and all else as ever."""
    picture = pictures[0]
    chosen = {"max_fatal_images": 2, "fatal_image_seconds": 3600, "decode_workers": 2}
    async with (
        served(begun_data, **chosen) as (server, client),
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        for _ in range(2):
            assert reason_of(await client.hash_image(planted("segfault"))) is not None
        stub = match_pb2_grpc.MatchServiceStub(channel)
        request = match_pb2.HashImageRequest(image=planted("nap", picture[0]))
        calls = [stub.HashImage(request) for _ in range(5)]
        codes = [await each.code() for each in calls]
        refused = [
            each
            for each, code in zip(calls, codes, strict=True)
            if code is grpc.StatusCode.RESOURCE_EXHAUSTED
        ]
        assert (len(refused), codes.count(grpc.StatusCode.OK)) == (4, 1)
        info, retry = await details_of(refused[0])
        assert info.reason == "CLIENT_THROTTLED"
        assert 1 <= retry.retry_delay.seconds <= 5
        judge_hashes(
            [(*picture, None)] * 3, [await client.hash_image(picture[0]) for _ in range(3)]
        )
        (looked_up,) = await client.lookup_hashes(
            [HashQuery({HashKind.PDQ: published_test_image().hashes[HashKind.PDQ]})]
        )
        assert looked_up.result.matches
        text = await metrics_of(server)
    assert "hashwarden_throttled_clients 1.0" in text
    assert "hashwarden_throttled_images_total 4.0" in text
    assert 'hashwarden_decoder_restarts_total{cause="ended"} 4.0' in text
    assert "127.0.0.1" not in text


@pytest.mark.slow
async def test_who_gives_up_is_charged_all_the_same(begun_data, pools, monkeypatch):
    """Going away before the answer is no way around it."""
    begun = threading.Event()
    ask = Worker.ask

    def noted(*arguments, **named):
        begun.set()
        return ask(*arguments, **named)

    async with served(begun_data, max_fatal_images=1, fatal_image_seconds=3600) as (server, client):
        monkeypatch.setattr(Worker, "ask", noted)
        call = asyncio.create_task(client.hash_image(planted("sleep")))
        assert await asyncio.to_thread(begun.wait, 60)
        call.cancel()
        async with asyncio.timeout(60):
            while "hashwarden_throttled_clients 1.0" not in await metrics_of(server):  # noqa: ASYNC110 - the server has no event for a test
                await asyncio.sleep(0.05)


async def test_while_no_decoder_can_be_started_callers_are_told_to_try_again(
    begun_data, pools, pictures, monkeypatch
):
    """Never that a picture cannot be hashed."""
    monkeypatch.setattr(pool_module, "_AWAY_SECONDS", (0.0,))
    async with (
        served(begun_data) as (server, client),
        grpc.aio.insecure_channel(server.address) as channel,
    ):
        with monkeypatch.context() as patch:
            patch.setattr(forks, "_start", mock.Mock(side_effect=OSError(12, "no memory")))
            pools[0]._forks._process.kill()
            pools[0]._forks._process.wait()
            request = match_pb2.HashImageRequest(image=pictures[0][0])
            call = match_pb2_grpc.MatchServiceStub(channel).HashImage(request)
            assert await call.code() is grpc.StatusCode.UNAVAILABLE
            info, retry = await details_of(call)
            assert (info.reason, retry.retry_delay.seconds) == ("DECODERS_AWAY", 1)
        judge_hashes([(*pictures[0], None)], [await client.hash_image(pictures[0][0])])


async def test_a_server_whose_settings_are_wrong_leaves_nothing_behind(
    begun_data, sandboxed_decoders
):
    """Neither decoders nor threads, whatever ended the start."""
    before = set(psutil.Process().children()), set(threading.enumerate())
    (begun_data / "policies.toml").write_text("[policies.default]\nlists = []\n")
    for overrides in ({}, {"decode_sandbox": "required"}):
        chosen = settings.load_settings(begun_data, environ={}, overrides=overrides)
        with pytest.raises(PolicyError):
            Parts.open(chosen)
    after = set(psutil.Process().children()), set(threading.enumerate())
    assert [now - earlier for now, earlier in zip(after, before, strict=True)] == [set(), set()]


async def test_where_protection_is_required_and_missing_no_server_starts(begun_data):
    """Threads have none."""
    chosen = settings.load_settings(
        begun_data, environ={}, overrides={"decode_sandbox": "required"}
    )
    with pytest.raises(UnprotectedError, match="system calls"):
        await asyncio.to_thread(Parts.open, chosen)


async def details_of(call):
    found = []
    for key, value in await call.trailing_metadata():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                for kind in (error_details_pb2.ErrorInfo, error_details_pb2.RetryInfo):
                    message = kind()
                    if detail.Unpack(message):
                        found.append(message)
    return found


async def metrics_of(server):
    reader, writer = await asyncio.open_connection(*server.admin.rsplit(":", 1))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    await writer.wait_closed()
    return text.partition("\r\n\r\n")[2]
