"""Matches can be explained and undone: at a real server, over the wire."""

from __future__ import annotations

import asyncio
import hashlib
from contextlib import suppress
from datetime import UTC, datetime, timedelta

import grpc
import pytest
import pytest_asyncio

from hashlists.catalog import Catalog
from hashlists.errors import ListExistsError
from hashlists.importer import import_file
from hashlists.model import Harm, HashList, ListState
from matcher import settings
from matcher._proto.hashwarden.match.v1 import (
    match_pb2,
    match_pb2_grpc,
    match_records_pb2,
    match_records_pb2_grpc,
)
from matcher.client.streams import responses
from matcher.demo_data import published_test_image
from matcher.service.server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

IMAGE = published_test_image().data
#: What the list of these tests knows: texts, by their digests.
KNOWN = [f"file {number}".encode() for number in range(8)]


def load(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    return settings.load_settings(
        data, environ={}, overrides={**free, "follow_seconds": 0.05, **overrides}
    )


def fill(data, known, name="known"):
    """A list of the digests of these files; gives its newest revision."""
    with Catalog.open(load(data).catalog_url) as catalog:
        with suppress(ListExistsError):
            new = HashList(name, Harm.CSAM, "test", state=ListState.LIVE)
            catalog.create_list(new, author="test")
        path = data / "digests.txt"
        path.write_text("".join(f"{hashlib.sha256(each).hexdigest()}\n" for each in known))
        said = {"options": {"kind": "sha256"}, "importer": "test"}
        import_file(catalog, path, list_name=name, format="digests", **said)
        return catalog.head()


class Server:
    """A server, and stubs of its services."""

    def __init__(self, running, channel, data):
        self.running = running
        self.data = data
        self.match = match_pb2_grpc.MatchServiceStub(channel)
        self.records = match_records_pb2_grpc.MatchRecordServiceStub(channel)

    async def lookup(self, *contents, seal=False, reference="", **options):
        request = match_pb2.LookupHashesRequest(
            queries=[
                match_pb2.HashQuery(
                    request_id=str(number),
                    reference=reference and f"{reference}{number}",
                    hashes=[
                        match_pb2.Hash(
                            kind=match_pb2.HASH_KIND_SHA256, value=hashlib.sha256(each).digest()
                        )
                    ],
                )
                for number, each in enumerate(contents)
            ],
            options=match_pb2.MatchOptions(seal_token=seal, **options),
        )
        return [each.result for each in (await self.match.LookupHashes(request)).results]

    async def record(self, match_id):
        request = match_records_pb2.GetMatchRecordRequest(match_id=match_id)
        return (await self.records.GetMatchRecord(request)).record

    async def listed(self, **wanted):
        request = match_records_pb2.ListMatchRecordsRequest(**wanted)
        return [
            record
            async for page in responses(self.records.ListMatchRecords(request))
            for record in page.records
        ]

    async def undone(self):
        request = match_records_pb2.ListUndoneMatchesRequest()
        return [
            each
            async for page in responses(self.records.ListUndoneMatches(request))
            for each in page.matches
        ]

    async def tokens(self, since, *messages):
        async def requests():
            for number, tokens in enumerate(messages):
                yield match_pb2.LookupTokensRequest(
                    since_revision=since if number == 0 else 0,
                    queries=[
                        match_pb2.TokenQuery(request_id=name, token=token, reference=f"ref-{name}")
                        for name, token in tokens.items()
                    ],
                )

        return [each async for each in responses(self.match.LookupTokens(requests()))]

    async def follows(self, revision):
        async with asyncio.timeout(30):
            while (await self.lookup(b"?"))[0].provenance.revision < revision:  # noqa: ASYNC110
                await asyncio.sleep(0.02)


@pytest_asyncio.fixture(loop_scope="module")
async def serve(tmp_path, begun_data):
    stack = []

    async def start(**overrides):
        block = running(load(begun_data, **overrides))
        server = await block.__aenter__()
        await asyncio.wait_for(server.ready, 60)
        channel = grpc.aio.insecure_channel(server.address)
        stack.append((block, channel))
        return Server(server, channel, begun_data)

    yield start
    for block, channel in reversed(stack):
        await channel.close()
        await block.__aexit__(None, None, None)


class TestRecords:
    async def test_a_match_leaves_what_it_rested_on(self, serve):
        server = await serve()
        request = match_pb2.MatchImageRequest(image=IMAGE, reference="post 7")
        before = datetime.now(UTC)
        result = (await server.match.MatchImage(request)).result
        assert result.match_id
        record = await server.record(result.match_id)
        assert record.reference == "post 7"
        assert record.client == ""
        assert record.sha256 == hashlib.sha256(IMAGE).digest()
        assert record.decision == result.decision
        assert list(record.matches)[: len(result.matches)] == list(result.matches)
        assert record.total_matches == result.total_matches
        result.provenance.stale = False
        assert record.provenance == result.provenance
        made = record.create_time.ToDatetime(tzinfo=UTC)
        assert before <= made <= datetime.now(UTC)
        assert record.expire_time.ToDatetime(tzinfo=UTC) == made + timedelta(days=90)

    async def test_what_is_not_known_leaves_nothing(self, serve):
        server = await serve()
        assert (await server.lookup(b"unknown"))[0].match_id == ""
        assert await server.listed() == []

    async def test_records_are_listed_by_time_and_entry(self, serve):
        server = await serve()
        await server.follows(fill(server.data, KNOWN))
        found = await server.lookup(*KNOWN, reference="r")
        records = await server.listed()
        newest_first = records[::-1]
        assert [each.match_id for each in newest_first] == [each.match_id for each in found]
        assert [each.reference for each in newest_first] == [f"r{n}" for n in range(len(KNOWN))]
        (named,) = await server.listed(reference="r3")
        assert named.match_id == found[3].match_id
        entry = found[3].matches[0].entry
        (one,) = await server.listed(entries=[entry])
        assert one.match_id == found[3].match_id
        assert await server.listed(entries=["999999"]) == []

    async def test_records_hold_more_matches_than_answers_list(self, serve):
        server = await serve()
        fill(server.data, KNOWN, "one")
        revision = fill(server.data, KNOWN, "two")
        await server.follows(revision)
        (found,) = await server.lookup(KNOWN[0], max_matches=1)
        assert len(found.matches) == 1
        assert found.total_matches == 2
        assert len((await server.record(found.match_id)).matches) == 2

    async def test_an_id_of_nothing_is_not_found(self, serve):
        server = await serve()
        for match_id, code in (
            ("nothing", grpc.StatusCode.NOT_FOUND),
            ("", grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.record(match_id)
            assert caught.value.code() is code

    async def test_a_server_that_keeps_none_says_so(self, serve):
        server = await serve(match_record_days=0)
        result = (await server.match.MatchImage(match_pb2.MatchImageRequest(image=IMAGE))).result
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await server.record(result.match_id)
        assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        assert not (server.data / "match_records.sqlite3").exists()

    async def test_a_reference_is_one_short_line(self, serve):
        server = await serve()
        for reference in ("x" * 257, "two\nlines"):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.match.MatchImage(
                    match_pb2.MatchImageRequest(image=IMAGE, reference=reference)
                )
            assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestUndoing:
    async def test_what_was_retracted_is_told_with_all_that_met_it(self, serve):
        server = await serve()
        await server.follows(fill(server.data, KNOWN))
        found = await server.lookup(*KNOWN)
        assert all(each.match_id for each in found)
        assert await server.undone() == []
        gone = found[2].matches[0].entry
        with Catalog.open(load(server.data).catalog_url) as catalog:
            made = catalog.retract("known", [int(gone)], author="test", reason="wrong")
        await server.follows(made.number)
        (undone,) = await server.undone()
        assert undone.record.match_id == found[2].match_id
        assert list(undone.standings) == [match_records_pb2.ENTRY_STANDING_WITHDRAWN]
        assert undone.nothing_left

        replayed = await server.records.ReplayMatch(
            match_records_pb2.ReplayMatchRequest(match_id=found[2].match_id)
        )
        assert replayed.by_policy_then.decision == match_pb2.DECISION_NO_KNOWN_MATCH
        assert replayed.by_policy_now.decision == match_pb2.DECISION_NO_KNOWN_MATCH
        assert any(gone in each and "withdrawn" in each for each in replayed.differences)

    async def test_what_did_not_change_replays_as_it_was(self, serve):
        server = await serve()
        await server.follows(fill(server.data, KNOWN))
        (found,) = await server.lookup(KNOWN[0])
        replayed = await server.records.ReplayMatch(
            match_records_pb2.ReplayMatchRequest(match_id=found.match_id)
        )
        assert list(replayed.differences) == []
        assert replayed.by_policy_then.decision == found.decision
        assert replayed.by_policy_now.decision == found.decision

    async def test_an_outcome_is_kept(self, serve):
        server = await serve()
        await server.follows(fill(server.data, KNOWN))
        (found,) = await server.lookup(KNOWN[0])
        request = match_records_pb2.ReportOutcomeRequest(
            match_id=found.match_id, outcome=match_records_pb2.OUTCOME_WRONG, reason="a dog"
        )
        kept = (await server.records.ReportOutcome(request)).outcome
        assert (await server.record(found.match_id)).outcome == kept
        assert kept.reason == "a dog"


class TestTokens:
    async def test_an_upload_is_checked_again_against_what_is_new(self, serve):
        server = await serve()
        first = fill(server.data, KNOWN[:2])
        await server.follows(first)
        sealed = await server.lookup(*KNOWN, seal=True)
        tokens = {str(number): each.token for number, each in enumerate(sealed)}
        assert all(tokens.values())
        second = fill(server.data, KNOWN[:4])
        await server.follows(second)
        (answer,) = await server.tokens(first, tokens)
        assert answer.checked_tokens == len(KNOWN)
        assert answer.revision == second
        assert [each.request_id for each in answer.results] == ["2", "3"]
        assert all(each.result.match_id for each in answer.results)
        record = await server.record(answer.results[0].result.match_id)
        assert record.reference == "ref-2"
        assert record.sha256 == hashlib.sha256(KNOWN[2]).digest()

    async def test_everything_is_met_from_revision_nought_on(self, serve):
        server = await serve()
        revision = fill(server.data, KNOWN[:3])
        await server.follows(revision)
        sealed = await server.lookup(*KNOWN, seal=True)
        tokens = {str(number): each.token for number, each in enumerate(sealed)}
        (answer,) = await server.tokens(0, tokens)
        assert [each.request_id for each in answer.results] == ["0", "1", "2"]
        (nothing,) = await server.tokens(revision, tokens)
        assert (list(nothing.results), nothing.checked_tokens) == ([], len(KNOWN))

    async def test_many_new_entries_are_met_in_what_is_served(self, serve):
        server = await serve(token_entries=1)
        first = fill(server.data, KNOWN[:2])
        await server.follows(first)
        sealed = await server.lookup(*KNOWN, seal=True)
        tokens = {str(number): each.token for number, each in enumerate(sealed)}
        second = fill(server.data, KNOWN[:5])
        await server.follows(second)
        (answer,) = await server.tokens(first, tokens)
        assert [each.request_id for each in answer.results] == ["2", "3", "4"]

    async def test_a_pictures_token_meets_what_the_picture_meets(self, serve):
        server = await serve()
        request = match_pb2.MatchImageRequest(
            image=IMAGE, options=match_pb2.MatchOptions(seal_token=True, max_matches=100)
        )
        result = (await server.match.MatchImage(request)).result
        (answer,) = await server.tokens(0, {"a": result.token})
        (met,) = answer.results
        assert [each.entry for each in met.result.matches] == [e.entry for e in result.matches]
        assert met.result.decision == result.decision
        assert list(met.result.views_tried) == list(result.views_tried)

    async def test_what_is_no_token_is_an_answer_for_itself(self, serve):
        server = await serve()
        await server.follows(fill(server.data, KNOWN))
        (one,) = await server.lookup(KNOWN[0], seal=True)
        altered = bytearray(one.token)
        altered[-1] ^= 1
        tokens = {"empty": b"", "altered": bytes(altered), "good": one.token, "noise": b"x" * 200}
        answers = await server.tokens(0, tokens, {"again": one.token})
        assert [each.checked_tokens for each in answers] == [4, 1]
        codes = {each.request_id: each.status.code for each in answers[0].results}
        assert codes == {"empty": 3, "altered": 3, "good": 0, "noise": 3}
        assert [each.request_id for each in answers[1].results] == ["again"]

    async def test_no_token_is_given_unasked(self, serve):
        server = await serve()
        assert (await server.lookup(KNOWN[0]))[0].token == b""

    async def test_what_cannot_be_looked_up_is_told(self, serve):
        server = await serve()
        for since, tokens, code in (
            (10_000, {"a": b"x"}, grpc.StatusCode.INVALID_ARGUMENT),
            (-1, {"a": b"x"}, grpc.StatusCode.INVALID_ARGUMENT),
            (0, {"": b"x"}, grpc.StatusCode.INVALID_ARGUMENT),
            (0, {str(n): b"x" for n in range(1001)}, grpc.StatusCode.INVALID_ARGUMENT),
        ):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await server.tokens(since, tokens)
            assert caught.value.code() is code
