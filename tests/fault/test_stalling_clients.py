"""Clients that fall silent, send nothing or take nothing: others are served, and they are ended."""

from __future__ import annotations

import asyncio
import re
import time
from contextlib import asynccontextmanager

import grpc
import psutil
import pytest

from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.model import Decision
from matcher.service.gate import Gate
from matcher.service.patience import BRIEF_SECONDS, Patience
from matcher.service.server import running
from tests.raw_http2 import RawClient

KNOWN = published_test_image().data
IMAGE = match_pb2.MatchImageRequest(image=KNOWN).SerializeToString()
SERVICE = "/hashwarden.match.v1.MatchService/"
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 60
PLACES = 3
NOT_HASHABLE = match_pb2.DECISION_NOT_HASHABLE


@asynccontextmanager
async def served(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    few = {"decode_workers": 1, "max_rpcs": PLACES}
    chosen = settings.load_settings(data, environ={}, overrides=free | few | overrides)
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, PATIENCE)
        yield server


async def until_served(server):
    """Waits for a place, which another has to leave."""
    async with AsyncClient(server.address) as client, asyncio.timeout(PATIENCE):
        answer = await client.match_image(KNOWN)
    assert answer.result.decision is Decision.MATCH


async def all_reset(server, raw, calls):
    """Waits until these calls have ended; others call meanwhile: gRPC holds on to the latest."""
    ended = asyncio.create_task(asyncio.to_thread(raw.until_reset, calls, seconds=PATIENCE))
    await until_served(server)
    while not ended.done():
        await until_served(server)
        await asyncio.sleep(0.05)
    await ended


async def stalled(server):
    """How many calls were ended, by the server's own count."""
    reader, writer = await asyncio.open_connection(*server.admin.rsplit(":", 1))
    writer.write(b"GET /metrics HTTP/1.0\r\n\r\n")
    text = (await reader.read()).decode()
    writer.close()
    return float(re.search(r"(?m)^hashwarden_stalled_calls_total (\S+)$", text)[1])


def message_of(number):
    request = match_pb2.MatchImagesRequest(request_id=str(number), image=KNOWN)
    return request.SerializeToString()


async def test_the_last_place_is_left_too_where_it_was_asked_who_calls(begun_data, monkeypatch):
    """There a call's message is read only once that is known."""
    monkeypatch.setattr(Gate, "share_shown", lambda *_: None)
    async with served(begun_data, client_seconds=0.5, max_rpcs=5) as server:
        with RawClient(server.address) as raw:
            calls = [raw.call(SERVICE + "MatchImage") for _ in range(5)]
            await all_reset(server, raw, calls)
        assert await stalled(server) >= 4


@pytest.mark.parametrize("method", ["MatchImage", "HashImage", "LookupHashes"])
async def test_calls_whose_message_never_comes_leave_their_places(begun_data, method):
    """The client lives, and answers when it is asked whether it does."""
    async with served(begun_data, client_seconds=0.5) as server:
        with RawClient(server.address) as raw:
            calls = [raw.call(SERVICE + method) for _ in range(PLACES)]
            await all_reset(server, raw, calls)
        # One may have been refused, where the other client came before it.
        assert await stalled(server) >= PLACES - 1


@pytest.mark.parametrize(("method", "message"), [("MatchImage", IMAGE), ("MatchImages", None)])
async def test_calls_whose_answer_is_never_taken_leave_their_places(begun_data, method, message):
    async with served(begun_data, client_seconds=0.5) as server:
        with RawClient(server.address, window=0) as raw:
            messages = [message] if message else [message_of(0), message_of(1)]
            calls = [raw.call(SERVICE + method, *messages, ends=True) for _ in range(PLACES)]
            await all_reset(server, raw, calls)
        # One may have been refused, where the other client came before it.
        assert await stalled(server) >= PLACES - 1


@pytest.mark.slow
async def test_a_stream_that_is_never_read_holds_no_more_than_its_window(begun_data):
    """And others are answered meanwhile; it ends in the end."""
    async with served(begun_data, client_seconds=4, stream_window=8) as server:
        channel = grpc.aio.insecure_channel(server.address, [("grpc.http2.bdp_probe", 0)])
        async with channel:
            sent = 0

            async def without_end():
                nonlocal sent
                while True:
                    sent += 1
                    yield match_pb2.MatchImagesRequest(
                        request_id=str(sent), image=b"GIF89a", reference="r"
                    )

            call = channel.stream_stream(
                SERVICE + "MatchImages",
                request_serializer=match_pb2.MatchImagesRequest.SerializeToString,
            )(without_end())
            before = psutil.Process().memory_info().rss
            async with (
                AsyncClient(server.address, timeout=PATIENCE) as client,
                asyncio.timeout(2 * PATIENCE),
            ):
                while await stalled(server) == 0:
                    answer = await client.match_image(KNOWN)
                    assert answer.result.decision is Decision.MATCH
            assert psutil.Process().memory_info().rss < before + (64 << 20)
            call.cancel()


@pytest.mark.slow
async def test_a_stream_that_is_read_slowly_gets_every_answer(begun_data):
    """In a longer time than any one answer may wait for, and holds no more than its window."""
    patience, window, large = 4, 4, 1 << 20
    between = 64  # uploads and answers that lie in HTTP/2's buffers, which grow with delays
    options = [
        ("grpc.http2.bdp_probe", 0),
        ("grpc.http2.lookahead_bytes", 1024),  # hardly more than the one answer
        ("grpc.max_send_message_length", 2 * large),
    ]
    started, sent, taken = time.monotonic(), 0, 0
    expected = {}

    async def uploads():
        """As fast as they are taken, and for somewhat longer than one answer may wait."""
        nonlocal sent
        while time.monotonic() < started + 1.5 * patience or sent <= 2 * (window + between):
            known = sent % 2 == 0
            image = KNOWN.ljust(large, b"\0") if known else b"GIF89a".ljust(large, b"\0")
            expected[str(sent)] = match_pb2.DECISION_MATCH if known else NOT_HASHABLE
            yield match_pb2.MatchImagesRequest(request_id=str(sent), image=image)
            sent += 1

    async with (
        served(begun_data, client_seconds=patience, stream_window=window) as server,
        grpc.aio.insecure_channel(server.address, options) as channel,
        AsyncClient(server.address, timeout=PATIENCE) as other,
    ):
        await until_served(server)
        before, most = psutil.Process().memory_info().rss, 0
        started = time.monotonic()
        answers = match_pb2_grpc.MatchServiceStub(channel).MatchImages(uploads())
        async with asyncio.timeout(2 * PATIENCE):
            async for each in answers:
                taken += 1
                most = max(most, sent - taken)
                assert each.result.decision == expected.pop(each.request_id)
                # Others are served meanwhile.
                answer = await other.match_image(KNOWN)
                assert answer.result.decision is Decision.MATCH
                await asyncio.sleep(0.03)
        assert (expected, taken) == ({}, sent)
        assert most <= window + between
        assert psutil.Process().memory_info().rss < before + (128 << 20)
        assert await stalled(server) == 0


@pytest.mark.slow
async def test_a_stream_may_be_silent_for_as_long_as_it_likes(begun_data):
    """Its client keeps nobody waiting, and neither does one that is slow to read."""
    async with (
        served(begun_data, client_seconds=0.4, keepalive_seconds=1) as server,
        AsyncClient(server.address, timeout=PATIENCE) as client,
    ):
        silence = asyncio.Event()

        async def drawn():
            yield "1", KNOWN
            await silence.wait()
            yield "2", KNOWN

        answers = client.match_images(drawn())
        assert (await anext(answers)).request_id == "1"
        await asyncio.sleep(2.5)  # several times what a call may wait for its client
        silence.set()
        assert (await anext(answers)).request_id == "2"
        assert [each async for each in answers] == []
        assert await stalled(server) == 0


async def test_a_half_open_connection_is_closed_and_its_calls_end(begun_data):
    """Its client is gone without a word: nobody answers when the server asks."""
    async with served(begun_data, keepalive_seconds=1, client_seconds=3600) as server:
        with RawClient(server.address) as raw:
            raw.call(SERVICE + "MatchImages", message_of(1))
            for _ in range(PLACES - 1):
                raw.call(SERVICE + "MatchImage")
            await asyncio.to_thread(raw.until_closed, seconds=PATIENCE)
            await until_served(server)


@pytest.mark.slow
@pytest.mark.parametrize("preface", [True, False])
async def test_a_connection_that_says_nothing_is_closed(begun_data, preface):
    async with served(begun_data, keepalive_seconds=1) as server:
        with RawClient(server.address, preface=preface) as raw:
            await asyncio.to_thread(raw.until_closed, seconds=PATIENCE)
        await until_served(server)


async def test_who_waits_is_known_by_a_clock_that_never_goes_back():
    now, ended = [0.0], []
    patience = Patience(10, lambda: ended.append(1), clock=lambda: now[0])
    waiting, working = (asyncio.create_task(asyncio.Event().wait()) for _ in range(2))
    patience.waits(waiting)
    patience.waits(working)
    patience.goes_on(working)
    now[0] = 10.0
    patience.look()
    assert ended == []
    now[0] = 10.1
    patience.look()
    await asyncio.wait((waiting,), timeout=PATIENCE)
    assert (waiting.cancelled(), working.done(), ended) == (True, False, [1])
    working.cancel()


async def test_who_is_to_send_a_name_is_waited_for_briefly():
    now, ended = [0.0], []
    patience = Patience(60, lambda: ended.append(1), clock=lambda: now[0])
    brief, long = (asyncio.create_task(asyncio.Event().wait()) for _ in range(2))
    patience.waits(brief, briefly=True)
    patience.waits(long)
    now[0] = BRIEF_SECONDS + 0.1
    patience.look()
    await asyncio.wait((brief,), timeout=PATIENCE)
    assert (brief.cancelled(), long.done(), ended) == (True, False, [1])
    long.cancel()


class Calls:
    """Calls that wait, which whoever has this does not refer to at second hand."""

    def __init__(self, count):
        self.tasks = {"them": [asyncio.create_task(asyncio.Event().wait()) for _ in range(count)]}

    def wait(self, patience):
        for each in self.tasks["them"]:
            patience.waits(each)

    async def ended(self):
        return [each.cancelled() for each in (await asyncio.wait(self.tasks["them"]))[0]]


async def test_all_that_have_waited_too_long_are_ended_by_one_look(monkeypatch):
    now, looked = [0.0], []
    all_tasks = asyncio.all_tasks
    monkeypatch.setattr(asyncio, "all_tasks", lambda: looked.append(1) or all_tasks())
    patience = Patience(60, lambda: None, clock=lambda: now[0])
    calls = Calls(100)
    calls.wait(patience)
    now[0] = 60.1
    patience.look()
    patience.look()
    async with asyncio.timeout(PATIENCE):
        assert await calls.ended() == [True] * 100
    assert len(looked) == 1
