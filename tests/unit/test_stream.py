"""The contract of `MatchImages`, without gRPC around it."""

from __future__ import annotations

import asyncio
import weakref

import grpc
import pytest

from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.service import stream
from matcher.service.stream import Drain, Window


class Source:
    """A client's side: hands out what it is given and counts what was read."""

    def __init__(self, ids, *, forever=False):
        self.ids = list(ids)
        self.read = 0
        self.forever = forever

    def __aiter__(self):
        return self

    async def __anext__(self):
        if self.read == len(self.ids):
            if self.forever:
                await asyncio.Event().wait()
            raise StopAsyncIteration
        self.read += 1
        await asyncio.sleep(0)
        return pb.MatchImagesRequest(request_id=self.ids[self.read - 1])


async def echo(request):
    await asyncio.sleep(0)
    return pb.MatchImagesResponse(request_id=request.request_id)


async def settled():
    """Lets everything run that waits for nothing but its turn."""
    for _ in range(500):
        await asyncio.sleep(0)


async def collect(window):
    return [response async for response in window.answers()]


async def test_every_item_is_answered_once():
    ids = [f"r{i}" for i in range(100)]
    window = Window(Source(ids), echo, size=7, drain=Drain())
    answers = await collect(window)
    assert sorted(each.request_id for each in answers) == sorted(ids)
    assert not window.drained
    await window.close()


async def test_answers_come_when_they_are_ready():
    slow = asyncio.Event()

    async def answer(request):
        if request.request_id == "slow":
            await slow.wait()
        return pb.MatchImagesResponse(request_id=request.request_id)

    window = Window(Source(["slow", "quick"]), answer, size=2, drain=Drain())
    answers = window.answers()
    assert (await anext(answers)).request_id == "quick"
    slow.set()
    assert (await anext(answers)).request_id == "slow"
    assert await anext(answers, None) is None


async def test_reading_stops_at_the_window_of_unanswered_items():
    never = asyncio.Event()

    async def answer(request):
        await never.wait()
        return pb.MatchImagesResponse(request_id=request.request_id)

    source = Source([str(i) for i in range(50)])
    window = Window(source, answer, size=5, drain=Drain())
    task = asyncio.create_task(collect(window))
    await settled()
    assert source.read == 5
    never.set()
    assert len(await task) == 50


async def test_a_client_that_reads_no_answers_is_not_read_from():
    source = Source([str(i) for i in range(50)])
    window = Window(source, echo, size=5, drain=Drain())
    answers = window.answers()
    await anext(answers)
    await settled()
    assert source.read <= 5
    await window.close()


@pytest.mark.parametrize("bad_id", ["", "x" * 129])
async def test_a_missing_or_overlong_id_is_an_answer_for_the_item(bad_id):
    window = Window(Source(["a", bad_id, "b"]), echo, size=5, drain=Drain())
    answers = {each.request_id: each.status.code for each in await collect(window)}
    assert answers == {"a": 0, "b": 0, "": grpc.StatusCode.INVALID_ARGUMENT.value[0]}


class Message:
    """Of protobuf's own there are no weak references."""

    def __init__(self, request_id):
        self.request_id = request_id


async def test_nothing_of_a_message_is_held_but_what_its_answer_needs():
    """Not while it is worked on, nor while the next one is waited for."""
    held, never = [], asyncio.Event()

    class Large(Source):
        async def __anext__(self):
            request = Message((await super().__anext__()).request_id)
            held.append(weakref.ref(request))
            return request

    def answer(request):
        return slow(request.request_id)

    async def slow(request_id):
        await never.wait()
        return pb.MatchImagesResponse(request_id=request_id)

    window = Window(Large(["a", "b", "c"], forever=True), answer, size=5, drain=Drain())
    task = asyncio.create_task(collect(window))
    await settled()
    assert [each() for each in held] == [None, None, None]
    task.cancel()
    await window.close()


async def test_a_drainable_stream_holds_no_message_while_it_waits_for_the_next():
    held = []

    async def requests():
        request = Message("a")
        held.append(weakref.ref(request))
        carried = [request]
        del request
        yield carried.pop()
        await asyncio.Event().wait()

    async def work():
        async for request in Drain().unless_started(requests()):
            del request

    task = asyncio.create_task(work())
    await settled()
    assert [each() for each in held] == [None]
    task.cancel()


async def test_a_repeated_id_is_an_answer_for_the_item():
    window = Window(Source(["a", "a"]), echo, size=5, drain=Drain())
    codes = sorted(each.status.code for each in await collect(window))
    assert codes == [0, grpc.StatusCode.INVALID_ARGUMENT.value[0]]


async def test_remembered_ids_are_bounded(monkeypatch):
    monkeypatch.setattr(stream, "REMEMBERED_IDS", 2)
    window = Window(Source(["a", "b", "c", "a"]), echo, size=5, drain=Drain())
    assert [each.status.code for each in await collect(window)] == [0, 0, 0, 0]


async def test_a_draining_server_answers_what_it_read_and_reads_no_more():
    release = asyncio.Event()

    async def answer(request):
        await release.wait()
        return pb.MatchImagesResponse(request_id=request.request_id)

    drain = Drain()
    source = Source(["a", "b"], forever=True)
    window = Window(source, answer, size=5, drain=drain)
    task = asyncio.create_task(collect(window))
    await settled()
    drain.start()
    release.set()
    assert sorted(each.request_id for each in await task) == ["a", "b"]
    assert window.drained
    assert "shutting down" in str(drain.error())


async def test_a_drained_server_reads_nothing():
    drain = Drain()
    drain.start()
    source = Source(["a"])
    window = Window(source, echo, size=5, drain=drain)
    assert await collect(window) == []
    assert source.read == 0
    assert window.drained


async def test_a_broken_request_stream_is_told_after_the_answers():
    class Broken(Source):
        async def __anext__(self):
            if self.read == 1:
                raise ConnectionError("gone")
            return await super().__anext__()

    window = Window(Broken(["a", "b"]), echo, size=5, drain=Drain())
    with pytest.raises(ConnectionError):
        await collect(window)


async def test_close_ends_what_is_under_way():
    async def answer(request):
        await asyncio.Event().wait()

    window = Window(Source(["a"], forever=True), answer, size=5, drain=Drain())
    task = asyncio.create_task(collect(window))
    await settled()
    await window.close()
    assert await task == []
