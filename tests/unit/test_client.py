"""The client says what went wrong in words of its own, and raises what its caller raised."""

from __future__ import annotations

import asyncio

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_status import rpc_status

from hashlists.model import ChangeKind, Harm, HashKind, ListState
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.cli.list_output import revision_record
from matcher.client import AsyncClient, Client, messages
from matcher.client.streams import responses
from matcher.errors import ServerError
from matcher.model import Decision

NOWHERE = "127.0.0.1:1"
SAID = "no server answers at 127.0.0.1:1; start one with: hashwarden serve"


async def refuse(context):
    """Ends a call as servers of ours do."""
    status = status_pb2.Status(code=grpc.StatusCode.RESOURCE_EXHAUSTED.value[0], message="too many")
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason="OVERLOADED"))
    await context.abort_with_status(rpc_status.to_status(status))


class Echo(match_pb2_grpc.MatchServiceServicer):
    """Answers each image of a stream with nothing but its id, unless it refuses at the first."""

    async def MatchImages(self, requests, context):  # noqa: N802  gRPC's name
        async for request in requests:
            if request.options.policy == "refused":
                await refuse(context)
            if request.options.policy == "broken":
                await context.abort(grpc.StatusCode.INTERNAL, "broke")
            yield match_pb2.MatchImagesResponse(
                request_id=request.request_id,
                result=match_pb2.MatchResult(decision=match_pb2.DECISION_NO_KNOWN_MATCH),
            )

    def __init__(self):
        self.away = 0

    async def MatchImage(self, request, context):  # noqa: N802  gRPC's name
        code = getattr(grpc.StatusCode, request.options.policy, None)
        self.away += 1
        if code is None:
            await context.abort(grpc.StatusCode.FAILED_PRECONDITION, "not today")
        if self.away == 1 or not request.image:
            await context.abort(code, "going away")
        return match_pb2.MatchImageResponse(
            result=match_pb2.MatchResult(decision=match_pb2.DECISION_NO_KNOWN_MATCH)
        )


class Refusing(lists_pb2_grpc.HashListServiceServicer):
    """Takes no list."""

    async def ImportHashList(self, requests, context):  # noqa: N802  gRPC's name
        await refuse(context)
        yield

    # Lists and revisions are told as a later build would: with words that this one does not know.

    async def ListRevisions(self, request, context):  # noqa: N802  gRPC's name
        told = [lists_pb2.Revision(number=2, kind="of_tomorrow"), lists_pb2.Revision(kind="import")]
        return lists_pb2.ListRevisionsResponse(revisions=told)

    async def ListHashLists(self, request, context):  # noqa: N802  gRPC's name
        new = lists_pb2.HashList(name="hashLists/new", harm=99, state=98)
        new.coverage.entries_by_kind["of_tomorrow"] = 3
        new.coverage.entries_by_kind["pdq"] = 2
        old = lists_pb2.HashList(
            name="hashLists/old", harm=lists_pb2.HARM_CSAM, state=lists_pb2.LIST_STATE_LIVE
        )
        return lists_pb2.ListHashListsResponse(hash_lists=[new, old])


@pytest_asyncio.fixture
async def address():
    server = grpc.aio.server()
    match_pb2_grpc.add_MatchServiceServicer_to_server(Echo(), server)
    lists_pb2_grpc.add_HashListServiceServicer_to_server(Refusing(), server)
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


class TestWhatALaterServerSays:
    """Is passed on as such, and takes nothing beside it along."""

    async def test_of_revisions(self, address):
        async with AsyncClient(address) as client:
            told = [each async for each in client.list_revisions()]
        assert [each.kind for each in told] == ["of_tomorrow", ChangeKind.IMPORT]
        assert await asyncio.to_thread(blocking_list, address, "list_revisions") == told
        assert revision_record(told[0])["kind"] == "of_tomorrow"

    async def test_of_lists(self, address):
        async with AsyncClient(address) as client:
            told = [each async for each in client.list_lists()]
        new, old = (each.hash_list for each in told)
        assert (new.harm, new.state) == ("unknown (99)", "unknown (98)")
        assert (old.harm, old.state) == (Harm.CSAM, ListState.LIVE)
        assert told[0].coverage.by_kind == {"of_tomorrow": 3, HashKind.PDQ: 2}
        assert await asyncio.to_thread(blocking_list, address, "list_lists") == told

    def test_of_matches(self):
        message = match_pb2.MatchResult(
            decision=match_pb2.DECISION_REVIEW,
            matches=[match_pb2.Match(entry="1", kind=99, basis=98, closeness=97)],
        )
        message.not_hashable.reason = 96
        result = messages.match_answer(message).result
        (match,) = result.matches
        words = (match.kind, match.basis, match.closeness, result.reason)
        assert words == ("unknown (99)", "unknown (98)", "unknown (97)", "unknown (96)")
        assert [each.value for each in words] == list(words)

    def test_of_hashes(self):
        message = match_pb2.HashImageResponse(
            digests=[
                match_pb2.Hash(kind=99, value=b"new"),
                match_pb2.Hash(kind=match_pb2.HASH_KIND_MD5, value=b"old"),
            ]
        )
        message.not_hashable.reason = 98
        hashes = messages.hash_answer(message).hashes
        assert hashes.digests == {"unknown (99)": b"new", HashKind.MD5: b"old"}
        assert hashes.undecodable.reason == "unknown (98)"


def blocking_list(address, method):
    with Client(address) as client:
        return list(getattr(client, method)())


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


def big_images():
    for number in range(REFUSED_IMAGES):
        yield str(number), bytes(100_000)


REFUSED_IMAGES = 20
TIMES = 20


async def test_an_early_refusal_keeps_the_servers_words(address):
    """Most of these calls end while a message is being sent, which must not hide the reason."""
    async with AsyncClient(address) as client:
        for _ in range(TIMES):
            with pytest.raises(ServerError, match=r"^too many") as caught:
                [each async for each in client.match_images(drawn(big_images), policy="refused")]
            assert caught.value.reason == "OVERLOADED"


async def test_an_early_refusal_keeps_the_servers_words_without_asyncio(address):
    def stream():
        with Client(address) as client:
            for _ in range(TIMES):
                with pytest.raises(ServerError, match=r"^too many") as caught:
                    list(client.match_images(big_images(), policy="refused"))
                assert caught.value.reason == "OVERLOADED"

    await asyncio.to_thread(stream)


@pytest.mark.parametrize("as_async", [True, False])
async def test_an_import_that_is_refused_early_keeps_the_servers_words(address, tmp_path, as_async):
    file = tmp_path / "list.csv"
    file.write_bytes(bytes(4_000_000))
    wanted = {"list_name": "any", "list_format": "csv"}

    async def run():
        async with AsyncClient(address) as client:
            return [each async for each in client.import_list(file, **wanted)]

    def run_blocking():
        with Client(address) as client:
            return list(client.import_list(file, **wanted))

    for _ in range(TIMES):
        with pytest.raises(ServerError, match=r"^too many") as caught:
            await (run() if as_async else asyncio.to_thread(run_blocking))
        assert caught.value.reason == "OVERLOADED"


async def test_an_error_inside_the_server_is_told_as_such(address):
    async with AsyncClient(address) as client:
        with pytest.raises(ServerError, match="INTERNAL: broke") as caught:
            [each async for each in client.match_images(drawn(big_images), policy="broken")]
    assert caught.value.reason == "INTERNAL"


class LostStatus:
    """A call of which gRPC tells a failed write only."""

    def add_done_callback(self, callback):
        pass

    def cancel(self):
        return False

    async def __aiter__(self):
        raise grpc.aio.AioRpcError(
            grpc.StatusCode.INTERNAL,
            grpc.aio.Metadata(),
            grpc.aio.Metadata(),
            details="Internal error from Core",
        )
        yield


async def test_a_failed_write_without_a_status_is_told_as_it_is(monkeypatch):
    monkeypatch.setattr("matcher.client.streams._WAIT_SECONDS", 0.01)
    with pytest.raises(grpc.aio.AioRpcError, match="from Core"):
        [each async for each in responses(LostStatus())]


@pytest.mark.parametrize("code", ["UNAVAILABLE", "CANCELLED"])
async def test_a_large_upload_is_sent_again_to_a_server_that_comes_back(address, code):
    image = bytes(2 << 20)  # more than gRPC keeps by default
    async with AsyncClient(address) as client:
        answer = await client.match_image(image, policy=code)
    assert answer.result.decision is Decision.NO_KNOWN_MATCH


async def test_a_call_that_a_server_drops_as_it_ends_may_be_sent_again(address):
    async with AsyncClient(address) as client:
        with pytest.raises(ServerError, match="was shutting down") as caught:
            await client.match_image(b"", policy="CANCELLED")
    assert (caught.value.reason, caught.value.retryable) == ("UNAVAILABLE", True)
