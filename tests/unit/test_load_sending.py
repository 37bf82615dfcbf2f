"""The open-loop generator against servers that stall, refuse, mix up and fall silent."""

from __future__ import annotations

import asyncio
import contextlib
import itertools

import grpc
import numpy as np
import pytest
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from loadtest.openloop.outcomes import Outcome
from loadtest.openloop.plan import Plan
from loadtest.openloop.sending import Images, send
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb

_SERVICE = "hashwarden.match.v1.MatchService"
CONTENTS = [b"first", b"second"]


@contextlib.asynccontextmanager
async def serving(*, image=None, images=None):
    """A server of these handlers; gives its address."""
    server = grpc.aio.server()
    handlers = {}
    if image is not None:
        handlers["MatchImage"] = grpc.unary_unary_rpc_method_handler(
            image,
            request_deserializer=pb.MatchImageRequest.FromString,
            response_serializer=pb.MatchImageResponse.SerializeToString,
        )
    if images is not None:
        handlers["MatchImages"] = grpc.stream_stream_rpc_method_handler(
            images,
            request_deserializer=pb.MatchImagesRequest.FromString,
            response_serializer=pb.MatchImagesResponse.SerializeToString,
        )
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(_SERVICE, handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        await server.stop(0)


def plan(count: int, *, streamed: bool = False, in_flight: int = 0, seconds: float = 0.2) -> Plan:
    return Plan(
        starts=np.linspace(0, seconds, count, endpoint=False),
        files=np.arange(count, dtype=np.int32) % 2,
        fresh=np.zeros(count, np.bool_),
        streamed=np.full(count, streamed),
        in_flight=in_flight,
        seconds=seconds,
    )


async def sent_to(target: str, what: Plan, *, timeout: float = 100.0, contents=CONTENTS):  # noqa: ASYNC109
    return await send(target, what, Images(contents, 0), connections=1, timeout_seconds=timeout)


def named(image: bytes) -> pb.MatchResult:
    return pb.MatchResult(explanation=image.decode())


async def test_arrivals_do_not_wait_for_a_server_that_stalls():
    """All twenty have come before the first is answered, each charged from its own start."""
    came, all_here = [], asyncio.Event()

    async def image(request, _):
        came.append(request)
        if len(came) == 20:
            all_here.set()
        await all_here.wait()
        return pb.MatchImageResponse()

    async with serving(image=image) as target:
        sent = await sent_to(target, plan(20))
    assert [each.outcome for each in sent.asked] == [Outcome.ANSWERED] * 20
    answered = min(each.done for each in sent.asked)
    assert max(each.sent for each in sent.asked) < answered
    offsets = [each.intended - sent.begin for each in sent.asked]
    assert offsets == pytest.approx(np.linspace(0, 0.2, 20, endpoint=False))
    assert all(each.sent >= each.intended for each in sent.asked)


async def test_responses_stay_with_their_requests():
    async def image(request, _):
        return pb.MatchImageResponse(result=named(request.image))

    async with serving(image=image) as target:
        sent = await sent_to(target, plan(6))
    for each in sent.asked:
        answer = pb.MatchImageResponse.FromString(each.response)
        assert answer.result.explanation == CONTENTS[each.file].decode()


async def test_refusals_are_told_from_failures_and_nothing_is_tried_again():
    overloaded = status_pb2.Status(code=grpc.StatusCode.UNAVAILABLE.value[0])
    overloaded.details.add().Pack(error_details_pb2.ErrorInfo(reason="OVERLOADED"))
    numbers = itertools.count()

    async def image(_, context):
        number = next(numbers)
        if number == 0:
            await context.abort_with_status(rpc_status.to_status(overloaded))
        if number == 1:
            await context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, "too many calls")
        if number == 2:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
        return pb.MatchImageResponse()

    async with serving(image=image) as target:
        sent = await sent_to(target, plan(4))
    assert sorted(each.outcome for each in sent.asked) == [
        Outcome.ANSWERED,
        Outcome.REFUSED,
        Outcome.REFUSED,
        Outcome.FAILED,
    ]
    assert next(numbers) == 4


async def test_a_request_that_is_never_answered_has_failed_and_not_vanished():
    async def image(*_):
        await asyncio.Event().wait()

    async with serving(image=image) as target:
        sent = await sent_to(target, plan(3), timeout=0.3)
    assert {each.outcome for each in sent.asked} == {Outcome.FAILED}
    assert {each.code for each in sent.asked} == {grpc.StatusCode.DEADLINE_EXCEEDED.value[0]}


async def test_a_closed_plan_keeps_so_many_under_way():
    under_way, most = 0, 0

    async def image(*_):
        nonlocal under_way, most
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0.01)
        under_way -= 1
        return pb.MatchImageResponse()

    async with serving(image=image) as target:
        sent = await sent_to(target, plan(5, in_flight=3, seconds=1.5))
    assert most == 3
    assert len(sent.asked) > 5
    assert {each.outcome for each in sent.asked} == {Outcome.ANSWERED}


async def test_streamed_answers_in_any_order_find_their_requests():
    async def images(requests, _):
        kept = [each async for each in requests]
        for each in reversed(kept):
            yield pb.MatchImagesResponse(request_id=each.request_id, result=named(each.image))

    async with serving(images=images) as target:
        sent = await sent_to(target, plan(8, streamed=True))
    for each in sent.asked:
        assert each.outcome is Outcome.ANSWERED
        answer = pb.MatchImagesResponse.FromString(each.response)
        assert answer.result.explanation == CONTENTS[each.file].decode()


async def test_an_item_of_a_stream_may_be_refused_alone():
    refused = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0])

    async def images(requests, _):
        async for each in requests:
            status = refused if each.image == b"second" else None
            yield pb.MatchImagesResponse(request_id=each.request_id, status=status)

    async with serving(images=images) as target:
        sent = await sent_to(target, plan(4, streamed=True))
    assert [each.outcome for each in sent.asked] == [Outcome.ANSWERED, Outcome.REFUSED] * 2


async def test_what_a_stream_passes_over_is_lost():
    async def images(requests, _):
        async for each in requests:
            if each.image == b"first":
                yield pb.MatchImagesResponse(request_id=each.request_id)

    async with serving(images=images) as target:
        sent = await sent_to(target, plan(4, streamed=True))
    assert [each.outcome for each in sent.asked] == [Outcome.ANSWERED, Outcome.LOST] * 2


async def test_a_stream_that_breaks_off_fails_its_own_and_another_takes_the_rest():
    streams = itertools.count()

    async def images(requests, context):
        if next(streams) == 0:
            await anext(aiter(requests))
            await context.abort(grpc.StatusCode.UNAVAILABLE, "shutting down")
        async for each in requests:
            yield pb.MatchImagesResponse(request_id=each.request_id)

    async with serving(images=images) as target:
        sent = await sent_to(target, plan(20, streamed=True, seconds=2))
    outcomes = [each.outcome for each in sent.asked]
    assert outcomes[0] is Outcome.FAILED
    assert outcomes[-1] is Outcome.ANSWERED
    assert next(streams) == 2


async def test_what_a_stream_does_not_take_is_unsent_or_failed_and_never_answered():
    ended = asyncio.Event()

    async def images(*_):
        await ended.wait()
        yield pb.MatchImagesResponse()

    large = [bytes(1 << 20)] * 2
    async with serving(images=images) as target:
        sent = await sent_to(target, plan(10, streamed=True), timeout=0.5, contents=large)
        ended.set()
    outcomes = [each.outcome for each in sent.asked]
    assert set(outcomes) <= {Outcome.UNSENT, Outcome.FAILED}
    assert outcomes[-1] is Outcome.UNSENT


async def test_streams_of_a_closed_plan():
    async def images(requests, _):
        async for each in requests:
            yield pb.MatchImagesResponse(request_id=each.request_id)

    async with serving(images=images) as target:
        sent = await sent_to(target, plan(5, streamed=True, in_flight=2, seconds=1))
    assert len(sent.asked) > 2
    assert {each.outcome for each in sent.asked} == {Outcome.ANSWERED}


def image_of(request):
    return pb.MatchImageRequest.FromString(request).image


def item_of(request, request_id):
    item = pb.MatchImagesRequest.FromString(request)
    assert item.request_id == request_id
    return item.image


def test_fresh_images_differ_and_others_do_not():
    images = Images(CONTENTS, 5)
    fresh = {image_of(images.request(0, fresh=True)) for _ in range(10)}
    fresh |= {item_of(images.item(str(n), 0, fresh=True), str(n)) for n in range(10)}
    assert len(fresh) == 20
    assert all(each.startswith(b"first") and len(each) == 5 + 16 for each in fresh)
    assert image_of(images.request(1, fresh=False)) == CONTENTS[1]
    assert item_of(images.item("an-id", 1, fresh=False), "an-id") == CONTENTS[1]
    assert fresh.isdisjoint({image_of(Images(CONTENTS, 1 << 32).request(0, fresh=True))})
