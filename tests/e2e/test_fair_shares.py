"""One client takes all the room that it can get: what another one asks is answered all the same."""

from __future__ import annotations

import asyncio
import threading
from contextlib import AsyncExitStack, asynccontextmanager

import grpc
import pytest
from cryptography import x509

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from hashlists.model import HashKind
from matcher import settings, wire
from matcher._proto.hashwarden.match.v1 import (
    match_pb2,
    match_pb2_grpc,
    match_records_pb2,
    match_records_pb2_grpc,
)
from matcher.decode import worker
from matcher.demo_data import published_test_image
from matcher.service.server import running
from tests.certificates import Authority

REQUEST = match_pb2.MatchImageRequest(image=published_test_image().data)
NOTHING = match_pb2.Hash(kind=wire.KINDS[HashKind.MD5], value=bytes(16))
QUERY = match_pb2.LookupHashesRequest(
    queries=[match_pb2.HashQuery(request_id="1", hashes=[NOTHING])]
)
NO_RETRIES = (("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1))
#: Of so many places one client alone has nine tenths.
PLACES, OF_ONE = 40, 36


@pytest.fixture
def gate(monkeypatch):
    """Decoding waits for it, once it is closed."""
    gate = threading.Event()
    gate.set()
    decode = worker.decode

    def slow(*arguments):
        gate.wait(60)
        return decode(*arguments)

    monkeypatch.setattr(worker, "decode", slow)
    yield gate
    gate.set()


@pytest.fixture(params=["token", "certificate"])
def known_by(request):
    """By what clients show who they are."""
    return request.param


@asynccontextmanager
async def two_clients(data, gate, known_by, **overrides):
    """A server, and two clients that may match."""
    authority = Authority(data)
    chosen = settings.load_settings(
        data,
        environ={},
        overrides={
            **dict.fromkeys(("listen", "lists_listen"), "127.0.0.1:0"),
            "admin_listen": "off",
            "authentication": "required",
            "decode_workers": 2,
            **(protected(authority) if known_by == "certificate" else {}),
            **overrides,
        },
    )
    key = load_or_make_key(chosen.token_key_file)
    async with AsyncExitStack() as closing:
        shown = []
        with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
            for name in ("greedy", "modest"):
                new = NewClient(name, frozenset({Role.MATCH}), identity=f"dns:{name}.test")
                shown.append((name, database.add_client(new, actor="test", key=key)))
        server = await closing.enter_async_context(running(chosen))
        await asyncio.wait_for(server.ready, 60)
        clients = []
        for name, token in shown:
            if known_by == "token":
                channel = grpc.aio.insecure_channel(server.address, options=NO_RETRIES)
            else:
                channel = channel_of(authority, name, server.address)
            await closing.enter_async_context(channel)
            clients.append(Client(channel, token if known_by == "token" else None))
        closing.callback(gate.set)
        yield clients


def protected(authority):
    certificate, key = authority.issue_for_this_machine("server")
    return {"tls_certificate": certificate, "tls_key": key, "tls_client_ca": authority.file}


def channel_of(authority, name, address):
    """A channel of a client's own, with its certificate."""
    certificate, key = authority.issue(name, x509.DNSName(f"{name}.test"))
    credentials = grpc.ssl_channel_credentials(
        authority.file.read_bytes(), key.read_bytes(), certificate.read_bytes()
    )
    return grpc.aio.secure_channel(address, credentials, options=NO_RETRIES)


class Client:
    """Calls of a client, with its token where that is what it shows."""

    def __init__(self, channel, token):
        self._stub = match_pb2_grpc.MatchServiceStub(channel)
        self._records = match_records_pb2_grpc.MatchRecordServiceStub(channel)
        self._shown = {"timeout": 60}
        if token is not None:
            self._shown["metadata"] = (("authorization", f"Bearer {token}"),)

    def match(self):
        return self._stub.MatchImage(REQUEST, **self._shown)

    async def lookup(self):
        return await self._stub.LookupHashes(QUERY, **self._shown)

    def records(self):
        return self._records.ListMatchRecords(
            match_records_pb2.ListMatchRecordsRequest(), **self._shown
        )

    async def refused(self):
        request = match_records_pb2.ReplayMatchRequest(match_id="none")
        return await self._records.ReplayMatch(request, **self._shown)

    def stream(self):
        return self._stub.MatchImages(**self._shown)


async def is_open(stream):
    """Whether a stream is answered."""
    try:
        await stream.write(match_pb2.MatchImagesRequest(request_id="1", image=REQUEST.image))
        return (await stream.read()).result.matches != ()
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        assert await stream.code() is grpc.StatusCode.UNAVAILABLE
        return False


async def test_who_holds_all_streams_that_it_can_leaves_calls_to_others(begun_data, gate, known_by):
    async with two_clients(begun_data, gate, known_by, max_rpcs=PLACES) as (greedy, modest):
        held = []
        while await is_open(stream := greedy.stream()):
            held.append(stream)
        assert len(held) == OF_ONE
        for _ in range(3):  # one after the other, for as long as it likes
            assert (await modest.match()).result.matches
        assert await is_open(modest.stream())
        assert not await is_open(greedy.stream())
        for each in held:
            each.cancel()


async def test_who_calls_far_too_often_leaves_calls_to_others(begun_data, gate, known_by):
    async with two_clients(begun_data, gate, known_by, max_unary_rpcs=PLACES) as (greedy, modest):
        gate.clear()
        calls = [greedy.match() for _ in range(2 * PLACES)]
        ends = [asyncio.create_task(call.code()) for call in calls]
        refused = 2 * PLACES - OF_ONE
        async with asyncio.timeout(60):
            while (done := sum(each.done() for each in ends)) < refused:  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        assert done == refused
        await modest.lookup()
        waiting = modest.match()
        gate.set()
        assert (await waiting).result.matches
        codes = [await each for each in ends]
        assert codes.count(grpc.StatusCode.OK) == OF_ONE
        assert codes.count(grpc.StatusCode.UNAVAILABLE) == refused
        assert (await greedy.match()).result.matches


async def test_whose_stream_has_all_work_that_it_can_leaves_some_to_others(
    begun_data, gate, known_by
):
    bounds = {"max_in_flight": PLACES, "stream_window": 3 * PLACES}
    async with two_clients(begun_data, gate, known_by, **bounds) as (greedy, modest):
        gate.clear()
        stream = greedy.stream()
        for number in range(2 * PLACES):
            each = match_pb2.MatchImagesRequest(request_id=str(number), image=REQUEST.image)
            await stream.write(each)
        for _ in range(2 * PLACES - OF_ONE):
            assert (await stream.read()).status.code == grpc.StatusCode.UNAVAILABLE.value[0]
        await modest.lookup()
        waiting = modest.match()
        gate.set()
        assert (await waiting).result.matches
        for _ in range(OF_ONE):
            assert (await stream.read()).result.matches
        stream.cancel()


@pytest.mark.parametrize("known_by", ["certificate"], indirect=True)
async def test_calls_of_every_kind_are_answered_where_room_is_short(begun_data, gate, known_by):
    """Where it has to be asked who calls before a message is read, nothing else changes."""
    async with two_clients(begun_data, gate, known_by, max_rpcs=PLACES) as (greedy, modest):
        held = [greedy.stream() for _ in range(PLACES * 4 // 5)]
        for each in held:
            assert await is_open(each)
        assert (await modest.match()).result.matches
        assert (await modest.lookup()).results
        listed = [each async for each in modest.records()]  # one message, many answers
        assert len(listed) == 1  # that of this client's one match
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await modest.refused()
        assert caught.value.code() is grpc.StatusCode.PERMISSION_DENIED
        assert await is_open(modest.stream())
        for each in held:
            each.cancel()
