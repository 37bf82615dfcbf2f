"""While a call is worked on nobody holds its message, which may have parts that are in no bound."""

from __future__ import annotations

import asyncio
import sys

import grpc
import pytest
from prometheus_client import CollectorRegistry

from hashlists.model import HashKind
from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher._proto.hashwarden.match.v1 import match_records_pb2 as records_pb
from matcher.service.gate import UNASKED, let_in
from matcher.service.interceptors import CallObserver
from matcher.service.match_servicer import MatchLimits, MatchServicer
from matcher.service.metrics import ServiceMetrics
from matcher.service.record_servicer import RecordServicer
from matcher.service.stream import Drain

HASH = pb.Hash(kind=wire.KINDS[HashKind.MD5], value=bytes(16))
QUERIES = [pb.HashQuery(request_id="1", hashes=[HASH])]


class Working:
    """Uploads, or a stream of tokens, that never come to an end."""

    def __init__(self):
        self.begun = asyncio.Event()

    async def match(self, *_):
        self.begun.set()
        await asyncio.Event().wait()

    hash = lookup = check = match

    def stream(self, *_, **__):
        return self

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass


@pytest.fixture
async def working():
    return Working()


@pytest.fixture
async def servicer(working):
    limits = MatchLimits(1000, 8, 10, exact_distances=False)
    let_in(UNASKED)
    return MatchServicer(
        working,
        pb.Provenance,
        limits,
        Drain(),
        remembering=None,
        token_lookup=working,
        noticing=None,
    )


async def held(working, call, request):
    """References to a request that are there while it is worked on, and were not before."""
    before = sys.getrefcount(request)
    task = asyncio.ensure_future(call(request))
    await asyncio.wait_for(working.begun.wait(), 60)
    more = sys.getrefcount(request) - before
    task.cancel()
    await asyncio.wait((task,))
    return more


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("MatchImage", pb.MatchImageRequest(image=b"x")),
        ("HashImage", pb.HashImageRequest(image=b"x")),
        ("LookupHashes", pb.LookupHashesRequest(queries=QUERIES)),
        ("_answer", pb.MatchImagesRequest(request_id="1", image=b"x")),
    ],
)
async def test_a_method_holds_no_request_that_it_works_on(servicer, working, method, request_):
    assert (
        await held(working, lambda it: getattr(servicer, method)(it, *none(method)), request_) == 0
    )


def none(method):
    """What stands for a context."""
    return () if method == "_answer" else (None,)


async def test_a_stream_of_tokens_holds_no_request_that_it_works_on(servicer, working):
    request = pb.LookupTokensRequest(queries=[pb.TokenQuery(request_id="1", token=b"x")])

    async def requests(each):
        carried = [each]
        del each
        yield carried.pop()

    async def first(each):
        carried = requests(each)
        del each
        return await anext(servicer.LookupTokens(carried, None))

    assert await held(working, first, request) == 0


@pytest.mark.parametrize(
    ("method", "request_"),
    [
        ("ListMatchRecords", records_pb.ListMatchRecordsRequest()),
        ("ListUndoneMatches", records_pb.ListUndoneMatchesRequest()),
    ],
)
async def test_who_lists_records_has_no_request_held_meanwhile(
    working, monkeypatch, method, request_
):
    servicer = RecordServicer.__new__(RecordServicer)
    monkeypatch.setattr(servicer, "_store", working.match)

    async def first(each):
        answers = getattr(servicer, method)(each, None)
        del each
        return await anext(answers)

    assert await held(working, first, request_) == 0


async def test_what_is_between_grpc_and_a_method_holds_no_request():
    """It has a list of it, which is empty from the moment on when the method has the request."""

    async def behavior(request, _):
        seen.append(request)
        return pb.HashImageResponse()

    handler = grpc.unary_unary_rpc_method_handler(
        behavior, request_deserializer=pb.MatchImageRequest.FromString
    )

    async def found(_):
        return handler

    seen = []
    observer = CallObserver(ServiceMetrics(CollectorRegistry()), ["a.Service"])
    details = type("Details", (), {"method": "/a.Service/Match"})()
    counted = await observer.intercept_service(found, details)
    message = counted.request_deserializer(pb.MatchImageRequest(image=b"x").SerializeToString())
    await counted.unary_unary(message, Context())
    assert [each.image for each in seen] == [b"x"]
    assert message == []


class Context:
    """A call as interceptors see it."""

    def peer(self):
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self):
        return ()

    def set_trailing_metadata(self, _):
        pass

    def trailing_metadata(self):
        return ()

    def code(self):
        return None
