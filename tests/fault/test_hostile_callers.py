"""Callers who show or send what is wrong, or nothing: others are served."""

from __future__ import annotations

import asyncio
from contextlib import ExitStack, asynccontextmanager

import grpc
import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.demo_data import published_test_image
from matcher.service import open_files
from matcher.service import server as server_module
from matcher.service.attempts import BURST
from matcher.service.server import running
from tests.raw_http2 import RawClient

KNOWN = published_test_image().data
REQUEST = match_pb2.MatchImageRequest(image=KNOWN)
TOKENS = match_pb2.LookupTokensRequest()
SECONDS = 60


@asynccontextmanager
async def served(data, *clients, **overrides):
    """A server, and the tokens of clients that may match."""
    free = dict.fromkeys(("listen", "lists_listen"), "127.0.0.1:0")
    more = {"admin_listen": "off", "authentication": "required", "decode_workers": 1}
    chosen = settings.load_settings(data, environ={}, overrides=free | more | overrides)
    key = load_or_make_key(chosen.token_key_file)
    with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
        tokens = [
            database.add_client(NewClient(each, frozenset({Role.MATCH})), actor="test", key=key)
            for each in clients
        ]
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, SECONDS)
        yield server, *tokens


def bearer(token):
    return (("authorization", f"Bearer {token}"),)


def channel_to(server):
    options = [("grpc.enable_retries", 0), ("grpc.use_local_subchannel_pool", 1)]
    return grpc.aio.insecure_channel(server.address, options)


async def test_what_is_right_is_let_in_whatever_a_stranger_shows_at_the_same_address(begun_data):
    async with (
        served(begun_data, "behind-the-same-address") as (server, token),
        channel_to(server) as theirs,
        channel_to(server) as ours,
    ):
        codes = []
        for _ in range(BURST + 2):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await match_pb2_grpc.MatchServiceStub(theirs).MatchImage(
                    REQUEST, metadata=bearer("wrong")
                )
            codes.append(caught.value.code())
        assert codes[0] is grpc.StatusCode.UNAUTHENTICATED
        assert codes[-1] is grpc.StatusCode.RESOURCE_EXHAUSTED
        answer = await match_pb2_grpc.MatchServiceStub(ours).MatchImage(
            REQUEST, metadata=bearer(token)
        )
        assert answer.result.decision == match_pb2.DECISION_MATCH


async def test_streams_of_tokens_that_are_silent_keep_nobody_out(begun_data):
    async with (
        served(begun_data, "greedy", "modest") as (server, greedy, modest),
        channel_to(server) as channel,
    ):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        held = []
        for _ in range(20):
            stream = stub.LookupTokens(metadata=bearer(greedy))
            await stream.write(TOKENS)
            await stream.read()
            held.append(stream)
        answers = stub.LookupTokens(iter([TOKENS]), metadata=bearer(modest), timeout=SECONDS)
        assert [each.checked_tokens async for each in answers] == [0]
        for each in held:
            each.cancel()


@pytest.mark.parametrize("overlong", ["a" * 129, "ä" * 65, "a" * (4 << 20)])
async def test_an_id_that_is_too_long_is_not_given_back(begun_data, overlong):
    items = [
        match_pb2.MatchImagesRequest(request_id=each, image=KNOWN) for each in ("1", overlong, "2")
    ]
    hashes = [match_pb2.Hash(kind=match_pb2.HASH_KIND_MD5, value=bytes(16))]
    queries = [match_pb2.HashQuery(request_id=each.request_id, hashes=hashes) for each in items]
    async with (
        served(begun_data, "large") as (server, token),
        channel_to(server) as channel,
    ):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        answers = stub.MatchImages(iter(items), metadata=bearer(token), timeout=SECONDS)
        of_images = [each async for each in answers]
        of_hashes = await stub.LookupHashes(
            match_pb2.LookupHashesRequest(queries=queries), metadata=bearer(token)
        )
        for told in (of_images, of_hashes.results):
            assert sorted((each.request_id, each.status.code) for each in told) == [
                ("", grpc.StatusCode.INVALID_ARGUMENT.value[0]),
                ("1", 0),
                ("2", 0),
            ]


async def test_connections_leave_files_to_all_else(begun_data, monkeypatch):
    """Those of strangers beyond the bound are closed at once; who has one is served."""
    monkeypatch.setattr(open_files, "limits", lambda: (16, 16))
    monkeypatch.setattr(server_module, "_HELLO_MS", 3_600_000)
    async with (
        served(begun_data, "known", keepalive_seconds=3600) as (server, token),
        channel_to(server) as channel,
    ):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        await stub.MatchImage(REQUEST, metadata=bearer(token))
        with ExitStack() as closing:
            silent = [
                closing.enter_context(RawClient(server.address, preface=False)) for _ in range(20)
            ]
            for each in silent[10:]:
                await asyncio.to_thread(each.until_closed, seconds=SECONDS)
            answer = await stub.MatchImage(REQUEST, metadata=bearer(token))
            assert answer.result.decision == match_pb2.DECISION_MATCH
        async with channel_to(server) as another:
            answer = await match_pb2_grpc.MatchServiceStub(another).MatchImage(
                REQUEST, metadata=bearer(token), wait_for_ready=True, timeout=SECONDS
            )
            assert answer.result.decision == match_pb2.DECISION_MATCH


@pytest.mark.slow
async def test_a_connection_without_calls_is_closed_and_opened_anew(begun_data, monkeypatch):
    monkeypatch.setattr(server_module, "_IDLE_PERIODS", 1)
    async with (
        served(begun_data, "known", keepalive_seconds=1) as (server, token),
        channel_to(server) as channel,
    ):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        for _ in range(2):
            await stub.MatchImage(REQUEST, metadata=bearer(token))
            async with asyncio.timeout(SECONDS):
                await channel.wait_for_state_change(grpc.ChannelConnectivity.READY)
