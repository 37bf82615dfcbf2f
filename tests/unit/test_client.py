"""The client says what went wrong in words of its own, and raises what its caller raised."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import pytest_asyncio

from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, Client
from matcher.errors import ServerError

NOWHERE = "127.0.0.1:1"
SAID = "no server answers at 127.0.0.1:1; start one with: hashwarden serve"


class Echo(match_pb2_grpc.MatchServiceServicer):
    """Answers each image of a stream with nothing but its id."""

    async def MatchImages(self, requests, context):  # noqa: N802  gRPC's name
        async for request in requests:
            yield match_pb2.MatchImagesResponse(
                request_id=request.request_id,
                result=match_pb2.MatchResult(decision=match_pb2.DECISION_NO_KNOWN_MATCH),
            )

    async def MatchImage(self, request, context):  # noqa: N802  gRPC's name
        await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")


@pytest_asyncio.fixture
async def address():
    server = grpc.aio.server()
    match_pb2_grpc.add_MatchServiceServicer_to_server(Echo(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    yield f"127.0.0.1:{port}"
    await server.stop(None)


def test_nobody_answers():
    with Client(NOWHERE) as client:
        for call in (client.health, lambda: client.match_image(b""), lambda: client.get_list("x")):
            with pytest.raises(ServerError) as caught:
                call()
            assert str(caught.value) == SAID
            assert caught.value.retryable
        with pytest.raises(ServerError) as caught:
            list(client.match_images([("a", b"")]))
        assert str(caught.value) == SAID


async def test_nobody_answers_an_async_client():
    async with AsyncClient(NOWHERE) as client:
        with pytest.raises(ServerError) as caught:
            await client.health()
    assert str(caught.value) == SAID


async def test_what_a_server_says_stays(address):
    async with AsyncClient(address) as client:
        with pytest.raises(ServerError, match="FAILED_PRECONDITION: not today") as caught:
            await client.match_image(b"")
    assert not caught.value.retryable


class BrokenError(Exception):
    """What a caller's own iterator raises."""


def raising():
    yield "a", b"1"
    raise BrokenError("own")


WRONG = {
    "bytes": ([b"1"], TypeError, "not bytes"),
    "a file": (b"123", TypeError, "not int"),
    "wrong way round": ([(b"1", "a")], TypeError, "not tuple"),
    "one's own error": (raising, BrokenError, "own"),
}


def given(images):
    return images() if callable(images) else images


async def drawn(images):
    for image in given(images):
        yield image


@pytest.mark.parametrize(("images", "error", "said"), WRONG.values(), ids=WRONG)
async def test_wrong_images_are_the_callers_error(address, images, error, said):
    async with AsyncClient(address) as client:
        with pytest.raises(error, match=said):
            [each async for each in client.match_images(drawn(images))]


@pytest.mark.parametrize(("images", "error", "said"), WRONG.values(), ids=WRONG)
async def test_wrong_images_are_the_callers_error_without_asyncio(address, images, error, said):
    def stream():
        with Client(address) as client:
            return list(client.match_images(given(images)))

    with pytest.raises(error, match=said):
        await asyncio.to_thread(stream)
