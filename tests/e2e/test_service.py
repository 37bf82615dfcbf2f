"""The service as its callers see it: a real server on loopback, real clients, real lists."""

from __future__ import annotations

import asyncio
import hashlib
import http.client
import json
import sqlite3
import threading
import time
from datetime import UTC, datetime

import grpc
import psutil
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.model import ChangeKind, Handling, Harm, HashList, ListState
from matcher import settings
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, Client, HashQuery
from matcher.client.streams import responses
from matcher.decode import worker
from matcher.demo_data import published_test_image
from matcher.errors import ServerError, SettingsError
from matcher.follow.follower import Follower
from matcher.hashing import golden
from matcher.model import Basis, Closeness, Decision, HashKind, NotHashableReason
from matcher.service.server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

TEST_IMAGE = published_test_image()


def load_settings(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    values = {**free, "follow_seconds": 0.05, **overrides}
    return settings.load_settings(data, environ={}, overrides=values)


def shared(function):
    """A fixture for all tests of this module that change nothing others see."""
    return pytest_asyncio.fixture(scope="module", loop_scope="module")(function)


@shared
async def server(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    async with running(load_settings(data)) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server


@shared
async def client(server):
    async with AsyncClient(server.address) as client:
        yield client


@shared
async def channel(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield channel


@pytest_asyncio.fixture(loop_scope="module")
async def fresh_server(begun_data):
    async with running(load_settings(begun_data)) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server


@pytest_asyncio.fixture(loop_scope="module")
async def fresh_channel(fresh_server):
    async with grpc.aio.insecure_channel(fresh_server.address) as channel:
        yield channel


async def import_demo(server, demo_folder, *, name="demo"):
    def work():
        with Client(server.address) as client:
            made = client.create_list(HashList(name, Harm.TEST, "Hashwarden demo"))
            assert client.get_list(name) == made
            *_progress, report = client.import_list(
                demo_folder / "demo-list.vics.json", list_name=name, list_format="vics"
            )
            return report

    return await asyncio.to_thread(work)


async def until(condition, *, seconds=60):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the server has no event for a test
            await asyncio.sleep(0.02)


def details_of(error):
    found = {}
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                for kind in (
                    error_details_pb2.ErrorInfo,
                    error_details_pb2.BadRequest,
                    error_details_pb2.RetryInfo,
                ):
                    message = kind()
                    if detail.Unpack(message):
                        found[kind.__name__] = message
    return found


def ask(server, path):
    """Status and body of a page of the admin port."""
    connection = http.client.HTTPConnection(server.admin, timeout=60)
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        return response.status, response.read().decode()
    finally:
        connection.close()


async def get(server, path):
    return await asyncio.to_thread(ask, server, path)


async def samples(server):
    """All metrics by name and labels."""
    _, text = await get(server, "/metrics")
    lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
    return {name: float(value) for name, _, value in lines}


class TestMatchImage:
    async def test_the_published_test_image_always_matches(self, client):
        answer = await client.match_image(TEST_IMAGE.data)
        result = answer.result
        assert result.decision is Decision.MATCH
        assert result.match_id
        assert {match.basis for match in result.matches} == {Basis.EXACT, Basis.NEAR}
        assert {match.list_name for match in result.matches} == {"hashwarden-test"}
        assert answer.image.format == "png"
        assert answer.hasher_version
        assert answer.decoder_version
        assert not answer.stale

    async def test_exact_distances_are_kept_back_by_default(self, client):
        answer = await client.match_image(TEST_IMAGE.data)
        assert all(match.distance is None for match in answer.result.matches)
        assert {match.closeness for match in answer.result.matches} == {Closeness.EQUAL}

    async def test_exact_distances_are_told_where_they_may_be(self, begun_data):
        async with running(load_settings(begun_data, exact_distances=True)) as server:
            await server.ready
            async with AsyncClient(server.address) as client:
                answer = await client.match_image(TEST_IMAGE.data)
        assert {match.distance for match in answer.result.matches} == {0}

    async def test_what_cannot_be_decoded_is_never_no_match(self, client):
        answer = await client.match_image(b"not an image at all")
        assert answer.result.decision is Decision.NOT_HASHABLE
        assert answer.result.reason is NotHashableReason.UNSUPPORTED
        assert answer.image is None

    @pytest.mark.parametrize(
        ("request_fields", "field", "reason"),
        [
            ({"image": b""}, "image", "REQUEST_INVALID"),
            ({"image": b"x", "options": {"max_matches": 101}}, "max_matches", "REQUEST_INVALID"),
            ({"image": b"x", "options": {"max_matches": -1}}, "max_matches", "REQUEST_INVALID"),
            (
                {"image": b"x", "options": {"views": ["v"] * 17}},
                "options.views",
                "REQUEST_INVALID",
            ),
            (
                {"image": b"x", "options": {"policy": "p" * 101}},
                "options.policy",
                "REQUEST_INVALID",
            ),
        ],
    )
    async def test_bad_requests_name_the_field(self, channel, request_fields, field, reason):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.MatchImage(match_pb2.MatchImageRequest(**request_fields))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
        details = details_of(caught.value)
        assert details["ErrorInfo"].reason == reason
        assert details["ErrorInfo"].domain == "hashwarden"
        assert details["BadRequest"].field_violations[0].field == field

    async def test_an_unknown_policy_is_named(self, client):
        with pytest.raises(ServerError, match="nobody") as caught:
            await client.match_image(TEST_IMAGE.data, policy="nobody")
        assert caught.value.reason == "POLICY_UNKNOWN"
        assert not caught.value.retryable

    async def test_an_unknown_view_is_named(self, client):
        with pytest.raises(ServerError, match="sideways") as caught:
            await client.match_image(TEST_IMAGE.data, views=["sideways"])
        assert caught.value.reason == "VIEW_UNKNOWN"

    async def test_too_large_is_an_answer_below_the_message_limit(self, begun_data):
        small = load_settings(begun_data, image_bytes=65536)
        async with running(small) as server, AsyncClient(server.address) as client:
            await server.ready
            with pytest.raises(ServerError, match="the limit is 65536") as caught:
                await client.match_image(b"x" * 65537)
        assert caught.value.reason == "IMAGE_TOO_LARGE"

    async def test_more_load_than_capacity_is_refused_with_a_delay(self, begun_data, monkeypatch):
        limited = load_settings(begun_data, max_in_flight=1)
        async with running(limited) as server:
            await server.ready
            async with grpc.aio.insecure_channel(server.address) as channel:
                stub = match_pb2_grpc.MatchServiceStub(channel)
                request = match_pb2.MatchImageRequest(image=TEST_IMAGE.data)
                outcomes = await asyncio.gather(
                    *(stub.MatchImage(request) for _ in range(50)), return_exceptions=True
                )
        refused = [each for each in outcomes if isinstance(each, grpc.aio.AioRpcError)]
        assert 0 < len(refused) < 50
        assert {each.code() for each in refused} == {grpc.StatusCode.UNAVAILABLE}
        assert details_of(refused[0])["RetryInfo"].retry_delay.seconds > 0
        assert details_of(refused[0])["ErrorInfo"].reason == "OVERLOADED"


class TestMatchImages:
    async def test_answers_every_item_and_keeps_errors_apart(self, client, demo_folder):
        async def images():
            for i in range(40):
                yield f"good-{i}", TEST_IMAGE.data
                yield f"bad-{i}", b""
                yield f"odd-{i}", b"no image"

        answers = {each.request_id: each async for each in client.match_images(images())}
        assert len(answers) == 120
        for i in range(40):
            assert answers[f"good-{i}"].answer.result.decision is Decision.MATCH
            assert answers[f"bad-{i}"].error.reason == "REQUEST_INVALID"
            assert answers[f"odd-{i}"].answer.result.decision is Decision.NOT_HASHABLE

    async def test_repeated_and_missing_ids_are_answers(self, client):
        async def images():
            yield "a", TEST_IMAGE.data
            yield "a", TEST_IMAGE.data
            yield "", TEST_IMAGE.data

        answers = [each async for each in client.match_images(images())]
        assert sorted((each.request_id, each.error is None) for each in answers) == [
            ("", False),
            ("a", False),
            ("a", True),
        ]

    async def test_reading_stops_at_the_window(self, begun_data):
        """A client that reads no answers is not read from without bound."""
        async with running(load_settings(begun_data, stream_window=2)) as server:
            await server.ready
            async with AsyncClient(server.address) as client:

                async def images():
                    for i in range(30):
                        yield str(i), TEST_IMAGE.data

                answers = [each async for each in client.match_images(images())]
        assert sorted(int(each.request_id) for each in answers) == list(range(30))

    async def test_a_draining_server_answers_what_it_read_and_ends_unavailable(self, begun_data):
        answered = []
        sent = asyncio.Event()
        async with running(load_settings(begun_data)) as server:
            await server.ready
            client = AsyncClient(server.address)

            async def images():
                for i in range(5):
                    yield str(i), TEST_IMAGE.data
                sent.set()
                await asyncio.Event().wait()

            async def consume():
                async for each in client.match_images(images()):
                    answered.append(each.request_id)

            task = asyncio.create_task(consume())
            await sent.wait()
            await until(lambda: asyncio.sleep(0, len(answered) >= 1))
        with pytest.raises(ServerError) as caught:
            await task
        assert caught.value.retryable
        assert sorted(answered) == ["0", "1", "2", "3", "4"][: len(answered)]  # all that were read
        await client.close()


class TestLookupHashes:
    async def test_hashes_match_without_the_image(self, client):
        exact, near, wrong = await client.lookup_hashes(
            [
                HashQuery({HashKind.SHA256: TEST_IMAGE.hashes[HashKind.SHA256]}),
                HashQuery({HashKind.PDQ: TEST_IMAGE.hashes[HashKind.PDQ]}, quality=90),
                HashQuery({HashKind.PDQ: b"short"}),
            ]
        )
        assert exact.result.decision is Decision.MATCH
        assert exact.result.kinds_tried == (HashKind.SHA256,)
        assert near.result.matches[0].basis is Basis.NEAR
        assert isinstance(wrong, ServerError)
        assert wrong.reason == "REQUEST_INVALID"

    async def test_a_code_of_poor_quality_is_not_used(self, client):
        pdq = TEST_IMAGE.hashes[HashKind.PDQ]
        (answer,) = await client.lookup_hashes([HashQuery({HashKind.PDQ: pdq}, quality=49)])
        assert answer.result.decision is Decision.NOT_HASHABLE
        assert answer.result.reason is NotHashableReason.FEATURELESS

    async def test_no_known_match_names_what_was_tried(self, client):
        (answer,) = await client.lookup_hashes(
            [HashQuery({HashKind.MD5: bytes(range(16)), HashKind.PHOTODNA: bytes(range(144))})]
        )
        assert answer.result.decision is Decision.NO_KNOWN_MATCH
        assert set(answer.result.kinds_tried) == {HashKind.MD5, HashKind.PHOTODNA}

    @pytest.mark.parametrize(
        "query",
        [
            {"request_id": "a"},
            {"request_id": "", "hashes": [{"kind": 7, "value": bytes(16)}]},
            {"request_id": "a", "hashes": [{"kind": 0, "value": bytes(16)}]},
            {"request_id": "a", "hashes": [{"kind": 99, "value": bytes(16)}]},
            {"request_id": "a", "hashes": [{"kind": 7, "value": bytes(16)}], "quality": 101},
            {"request_id": "a", "hashes": [{"kind": 7, "value": bytes(16)}], "size_bytes": -1},
            {
                "request_id": "a",
                "hashes": [{"kind": 7, "value": bytes(16)}, {"kind": 7, "value": b"x" * 16}],
            },
        ],
    )
    async def test_a_bad_query_is_an_answer_for_the_query(self, channel, query):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        good = {"request_id": "good", "hashes": [{"kind": 7, "value": bytes(range(16))}]}
        request = match_pb2.LookupHashesRequest(
            queries=[match_pb2.HashQuery(**query), match_pb2.HashQuery(**good)]
        )
        bad_answer, good_answer = (await stub.LookupHashes(request)).results
        assert bad_answer.status.code == grpc.StatusCode.INVALID_ARGUMENT.value[0]
        assert good_answer.result.decision == match_pb2.DECISION_NO_KNOWN_MATCH

    async def test_a_repeated_id_is_an_answer_for_the_second(self, channel):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        query = match_pb2.HashQuery(
            request_id="a", hashes=[match_pb2.Hash(kind=7, value=bytes(range(16)))]
        )
        response = await stub.LookupHashes(match_pb2.LookupHashesRequest(queries=[query, query]))
        assert [each.status.code for each in response.results] == [0, 3]

    @pytest.mark.parametrize("count", [0, 1001])
    async def test_the_number_of_queries_is_bounded(self, channel, count):
        stub = match_pb2_grpc.MatchServiceStub(channel)
        request = match_pb2.LookupHashesRequest(queries=[match_pb2.HashQuery()] * count)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.LookupHashes(request)
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


class TestHashImage:
    async def test_gives_all_that_was_asked_for(self, client):
        answer = await client.hash_image(
            TEST_IMAGE.data, views=["mirrored"], kinds=[HashKind.PHASH, HashKind.WHASH]
        )
        assert answer.hashes.digests[HashKind.SHA256] == TEST_IMAGE.hashes[HashKind.SHA256]
        upright, *mirrored = answer.hashes.views
        assert upright.codes[HashKind.PDQ] == TEST_IMAGE.hashes[HashKind.PDQ]
        assert set(upright.codes) == {HashKind.PDQ, HashKind.PHASH, HashKind.WHASH}
        assert len(mirrored) == 7
        assert upright.quality == TEST_IMAGE.quality

    async def test_digests_come_even_where_pixels_do_not(self, client):
        answer = await client.hash_image(b"plain text")
        assert answer.hashes.undecodable.reason is NotHashableReason.UNSUPPORTED
        assert answer.hashes.digests[HashKind.MD5] == hashlib.md5(b"plain text").digest()

    async def test_a_kind_that_is_not_computed_is_refused(self, client):
        with pytest.raises(ServerError, match="not computed here"):
            await client.hash_image(TEST_IMAGE.data, kinds=[HashKind.PHOTODNA])


class TestLists:
    async def test_an_imported_list_matches_within_seconds(self, fresh_server, demo_folder):
        async with AsyncClient(fresh_server.address) as client:
            await self.check_import(fresh_server, client, demo_folder)

    async def check_import(self, server, client, demo_folder):
        listed = (demo_folder / "recompressed.jpg").read_bytes()
        unlisted = (demo_folder / "unlisted.jpg").read_bytes()
        before = await client.match_image(listed)
        assert before.result.decision is Decision.NO_KNOWN_MATCH
        report = await import_demo(server, demo_folder)
        assert report.added > 0
        assert report.rejected == 0
        assert report.coverage.entries == report.added
        assert 0 < report.coverage.near_matchable < report.added

        async def matches():
            answer = await client.match_image(listed)
            return answer.result.revision == report.revision

        await until(matches)
        answer = await client.match_image(listed)
        assert answer.result.decision is Decision.MATCH
        assert answer.result.matches[0].list_name == "demo"
        assert (await client.match_image(unlisted)).result.decision is Decision.NO_KNOWN_MATCH

    async def test_lists_are_created_got_and_paged(self, fresh_channel):
        stub = lists_pb2_grpc.HashListServiceStub(fresh_channel)
        for name in ("b-list", "a-list", "c-list"):
            await stub.CreateHashList(
                lists_pb2.CreateHashListRequest(
                    hash_list_id=name,
                    hash_list=lists_pb2.HashList(
                        harm=lists_pb2.HARM_CSAM,
                        source="someone",
                        handling=lists_pb2.Handling(originator="unit", releasable_to=["x", "y"]),
                    ),
                )
            )
        names, token = [], ""
        while True:
            page = await stub.ListHashLists(
                lists_pb2.ListHashListsRequest(page_size=2, page_token=token)
            )
            names += [each.name for each in page.hash_lists]
            token = page.next_page_token
            if not token:
                break
        assert names == [
            "hashLists/a-list",
            "hashLists/b-list",
            "hashLists/c-list",
            "hashLists/hashwarden-test",
        ]
        got = await stub.GetHashList(lists_pb2.GetHashListRequest(name="hashLists/b-list"))
        assert got.hash_list.state == lists_pb2.LIST_STATE_SHADOW
        assert got.hash_list.handling.releasable_to == ["x", "y"]
        assert got.hash_list.create_time.seconds > 0

    async def test_revisions_are_paged_newest_first(self, fresh_server, demo_folder):
        await import_demo(fresh_server, demo_folder)

        def work():
            with Client(fresh_server.address) as client:
                return list(client.list_revisions("demo")), list(client.list_revisions())

        own, everyones = await asyncio.to_thread(work)
        assert [each.kind for each in own] == [ChangeKind.IMPORT, ChangeKind.CREATE_LIST]
        numbers = [each.number for each in everyones]
        assert numbers == sorted(numbers, reverse=True)
        assert len(numbers) > len(own)

    @pytest.mark.parametrize(
        ("method", "request_message", "code"),
        [
            ("GetHashList", lists_pb2.GetHashListRequest(name="hashLists/no"), "NOT_FOUND"),
            ("GetHashList", lists_pb2.GetHashListRequest(name="nonsense"), "INVALID_ARGUMENT"),
            ("ListHashLists", lists_pb2.ListHashListsRequest(page_size=-1), "INVALID_ARGUMENT"),
            (
                "ListRevisions",
                lists_pb2.ListRevisionsRequest(page_token="x"),
                "INVALID_ARGUMENT",
            ),
            (
                "ListRevisions",
                lists_pb2.ListRevisionsRequest(page_token="9" * 40),
                "INVALID_ARGUMENT",
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(
                    hash_list_id="ok", hash_list={"harm": 1, "source": "a\0"}
                ),
                "INVALID_ARGUMENT",
            ),
            *(
                (
                    "CreateHashList",
                    lists_pb2.CreateHashListRequest(
                        hash_list_id="ok",
                        hash_list={
                            "harm": 1,
                            "source": "a",
                            "handling": {"expire_time": {"seconds": no_end_of_use}},
                        },
                    ),
                    "INVALID_ARGUMENT",
                )
                for no_end_of_use in (1 << 60, 0, 1_700_000_000)
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(
                    hash_list_id="ok",
                    hash_list={
                        "harm": 1,
                        "source": "a",
                        "handling": {"releasable_to": ["a"] * 65},
                    },
                ),
                "INVALID_ARGUMENT",
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(hash_list_id="ok", hash_list={"source": "s"}),
                "INVALID_ARGUMENT",
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(hash_list_id="ok", hash_list={"harm": 1}),
                "INVALID_ARGUMENT",
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(
                    hash_list_id="Not OK", hash_list={"harm": 1, "source": "s"}
                ),
                "INVALID_ARGUMENT",
            ),
            (
                "CreateHashList",
                lists_pb2.CreateHashListRequest(
                    hash_list_id="hashwarden-test", hash_list={"harm": 1, "source": "s"}
                ),
                "ALREADY_EXISTS",
            ),
        ],
    )
    async def test_bad_requests(self, channel, method, request_message, code):
        stub = lists_pb2_grpc.HashListServiceStub(channel)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await getattr(stub, method)(request_message)
        assert caught.value.code().name == code
        assert details_of(caught.value)["ErrorInfo"].reason

    async def test_following_outlives_any_failure(self, begun_data, demo_folder, monkeypatch):
        async with running(load_settings(begun_data)) as server:
            await server.ready
            failing = _fail_once(MemoryError(), Follower.refresh)
            monkeypatch.setattr(Follower, "refresh", failing)
            report = await import_demo(server, demo_folder)
            async with AsyncClient(server.address) as client:

                async def followed():
                    answer = await client.match_image(TEST_IMAGE.data)
                    return answer.result.revision == report.revision

                await until(followed)


def _fail_once(error, function):
    """In place of `function`: raises once, then works."""
    failed = []

    def work(*arguments):
        if not failed:
            failed.append(True)
            raise error
        return function(*arguments)

    return work


class TestAsyncLists:
    async def test_the_async_client_keeps_lists_too(self, fresh_server, demo_folder):
        expires = datetime(2040, 1, 1, tzinfo=UTC)
        wanted = HashList(
            "unit",
            Harm.CSAM,
            "someone",
            title="Title",
            legal_basis="basis",
            state=ListState.SHADOW,
            handling=Handling("unit", ("a", "b"), expires),
        )
        async with AsyncClient(fresh_server.address) as client:
            made = await client.create_list(wanted)
            assert made.hash_list == wanted
            assert await client.get_list("unit") == made
            steps = [
                each
                async for each in client.import_list(
                    demo_folder / "demo-list.vics.json",
                    list_name="unit",
                    list_format="vics",
                    reason="trial",
                    idempotency_key="once",
                )
            ]
            assert steps[-1].added == 4
            assert not steps[-1].repeated
            lists = {each.hash_list.name: each async for each in client.list_lists()}
            assert set(lists) == {"hashwarden-test", "unit"}
            assert lists["unit"].coverage == steps[-1].coverage
            revisions = [each async for each in client.list_revisions("unit")]
            assert [each.kind for each in revisions] == [ChangeKind.IMPORT, ChangeKind.CREATE_LIST]
            assert revisions[0].reason == "trial"
            with pytest.raises(ServerError) as caught:
                await client.get_list("absent")
            assert caught.value.reason == "LIST_NOT_FOUND"


class TestImportHashList:
    CSV = b"md5,sha1\n" + b"0123456789abcdef0123456789abcdef,\n"

    def start(self, data=CSV, **fields):
        values = {
            "hash_list": "hashLists/hashwarden-test",
            "format": "csv",
            "sha256": hashlib.sha256(data).digest(),
            "length": len(data),
            "idempotency_key": "key",
            "format_options": {"columns.md5": "md5", "columns.sha1": "sha1"},
            **fields,
        }
        return lists_pb2.ImportHashListRequest(start=lists_pb2.ImportStart(**values))

    async def run(self, channel, *requests):
        """All responses; `responses`, since a server may refuse before everything was sent."""
        stub = lists_pb2_grpc.HashListServiceStub(channel)
        return [each async for each in responses(stub.ImportHashList(iter(requests)))]

    def chunk(self, data):
        return lists_pb2.ImportHashListRequest(chunk=data)

    async def test_the_same_key_and_file_gives_the_first_report_again(self, fresh_channel):
        requests = (self.start(), self.chunk(self.CSV[:10]), self.chunk(self.CSV[10:]))
        first = (await self.run(fresh_channel, *requests))[-1].report
        again = (await self.run(fresh_channel, *requests))[-1].report
        assert first.added == 1
        assert first.revision > 0
        assert not first.repeated_import
        assert again.repeated_import
        assert (again.revision, again.added) == (first.revision, first.added)

    @pytest.mark.parametrize(
        ("sent", "code"),
        [
            (CSV[:-1], "DATA_LOSS"),
            (CSV + b"x", "DATA_LOSS"),
            (CSV.replace(b"0", b"1"), "DATA_LOSS"),
        ],
    )
    async def test_other_bytes_than_announced_import_nothing(self, channel, sent, code):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.start(), self.chunk(sent))
        assert caught.value.code().name == code
        assert details_of(caught.value)["ErrorInfo"].reason == "FILE_DIGEST_MISMATCH"
        await self.check_nothing_left(channel)

    @pytest.mark.parametrize(
        ("fields", "code"),
        [
            ({"hash_list": "hashLists/no"}, "NOT_FOUND"),
            ({"format": "nonsense"}, "INVALID_ARGUMENT"),
            ({"sha256": b"short"}, "INVALID_ARGUMENT"),
            ({"length": 0}, "INVALID_ARGUMENT"),
            ({"length": 1 << 60}, "INVALID_ARGUMENT"),
            ({"idempotency_key": ""}, "INVALID_ARGUMENT"),
            ({"max_rejected_share": 1.5}, "INVALID_ARGUMENT"),
            ({"format_options": {"columns.md5": "no such column"}}, "INVALID_ARGUMENT"),
            ({"format": "vics", "format_options": {}}, "INVALID_ARGUMENT"),
        ],
    )
    async def test_a_bad_start_imports_nothing(self, channel, fields, code):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.start(**fields), self.chunk(self.CSV))
        assert caught.value.code().name == code, caught.value.details()
        await self.check_nothing_left(channel)

    async def test_chunks_before_the_start_are_refused(self, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.chunk(self.CSV))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_an_empty_chunk_is_refused(self, channel):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.start(), self.chunk(b""))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    async def test_rejected_records_are_reported_with_place_field_and_reason(self, fresh_channel):
        rows = [f"{i:032x}," for i in range(0x10000, 0x10064)]
        data = ("md5,sha1\n" + "\n".join([*rows, "nonsense,"]) + "\n").encode()
        report = (await self.run(fresh_channel, self.start(data), self.chunk(data)))[-1].report
        assert (report.read, report.added, report.rejected) == (101, 100, 1)
        (rejection,) = report.rejections
        assert rejection.place.startswith("line 102")
        assert rejection.field == "md5"
        assert "nonsense" not in rejection.reason

    async def test_too_many_rejects_import_nothing(self, channel):
        data = b"md5,sha1\nnonsense,\n"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.start(data), self.chunk(data))
        assert details_of(caught.value)["ErrorInfo"].reason == "TOO_MANY_REJECTIONS"
        await self.check_nothing_left(channel)

    async def check_nothing_left(self, channel):
        stub = lists_pb2_grpc.HashListServiceStub(channel)
        request = lists_pb2.GetHashListRequest(name="hashLists/hashwarden-test")
        assert (await stub.GetHashList(request)).hash_list.coverage.entries == 1

    async def test_an_upload_leaves_no_file_behind(self, fresh_channel, begun_data):
        requests = (self.start(), self.chunk(self.CSV))
        await self.run(fresh_channel, *requests)
        assert (begun_data / "spool").is_dir()
        assert list(begun_data.glob("spool/*")) == []

    async def test_an_upload_outlives_the_start_of_another_server(self, begun_data):
        async def cut_in_two():
            yield self.start()
            yield self.chunk(self.CSV[:20])
            async with running(load_settings(begun_data)) as other:
                await asyncio.wait_for(other.ready, 60)
                yield self.chunk(self.CSV[20:])

        async with (
            running(load_settings(begun_data)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = lists_pb2_grpc.HashListServiceStub(channel)
            *_, last = [each async for each in stub.ImportHashList(cut_in_two())]
            assert last.report.added == 1

    @pytest.mark.parametrize(
        "fields",
        [
            {"reason": "a\0b"},
            {"reason": "x" * 2001},
            {"idempotency_key": "a\0b"},
            {"format": "\x1b[31m"},
            {"format_options": {f"o{i}": "" for i in range(65)}},
        ],
    )
    async def test_texts_are_bounded(self, channel, fields):
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(channel, self.start(**fields), self.chunk(self.CSV))
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT

    @pytest.mark.parametrize("begun", [False, True])
    async def test_an_upload_that_trickles_is_given_up(self, begun_data, begun):
        """Also one that is silent altogether, and before its first message."""

        async def trickling():
            if begun:
                yield self.start()
                yield self.chunk(b"md5,id\n")
                for _ in range(10):  # none is under way at the end, where gRPC may tell that only
                    await asyncio.sleep(0.1)
                    yield self.chunk(b"\n")
            await asyncio.Event().wait()

        async with (
            running(load_settings(begun_data, upload_seconds=3)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = lists_pb2_grpc.HashListServiceStub(channel)
            short = "less than 64 KiB came" if begun else "no message came"
            with pytest.raises(grpc.aio.AioRpcError, match=f"{short} in 3 seconds") as caught:
                async for _ in stub.ImportHashList(trickling()):
                    pass
            assert caught.value.code() is grpc.StatusCode.DEADLINE_EXCEEDED
            assert details_of(caught.value)["ErrorInfo"].reason == "UPLOAD_TOO_SLOW"
        assert list(begun_data.glob("spool/*")) == []

    async def test_uploads_that_are_open_at_once_are_bounded(self, fresh_server, fresh_channel):
        stub = lists_pb2_grpc.HashListServiceStub(fresh_channel)

        async def holding():
            yield self.start()
            await asyncio.Event().wait()

        async def open_uploads():
            told = await samples(fresh_server)
            return told.get('hashwarden_requests_in_flight{method="ImportHashList"}', 0)

        async def all_are_open():
            return await open_uploads() == len(calls)

        async def none_is_open():
            return await open_uploads() == 0

        calls = [stub.ImportHashList(holding()) for _ in range(3)]  # the last is for another
        await until(all_are_open)
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.run(fresh_channel, self.start(), self.chunk(self.CSV))
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(caught.value)["ErrorInfo"].reason == "OVERLOADED"
        for call in calls:
            call.cancel()
        await until(none_is_open)
        *_, last = await self.run(fresh_channel, self.start(), self.chunk(self.CSV))
        assert last.report.added == 1


class TestIsolation:
    """Work of one kind never waits behind another's."""

    async def test_a_locked_catalog_never_holds_up_matching(self, fresh_server, begun_data):
        await asyncio.sleep(0.2)
        lock = sqlite3.connect(begun_data / "catalog.sqlite3", isolation_level=None)
        lock.execute("BEGIN IMMEDIATE")
        try:
            async with grpc.aio.insecure_channel(fresh_server.address) as channel:
                stub = lists_pb2_grpc.HashListServiceStub(channel)
                waiting = [
                    asyncio.ensure_future(
                        stub.CreateHashList(
                            lists_pb2.CreateHashListRequest(
                                hash_list_id=f"list-{i}", hash_list={"harm": 1, "source": "s"}
                            )
                        )
                    )
                    for i in range(12)
                ]
                await asyncio.sleep(0.3)
                async with AsyncClient(fresh_server.address) as client:
                    answer = await asyncio.wait_for(client.match_image(TEST_IMAGE.data), 60)
                assert answer.result.decision is Decision.MATCH
                lock.execute("ROLLBACK")
                await asyncio.gather(*waiting)
        finally:
            lock.close()

    async def test_uploads_given_up_leave_no_work_behind(self, fresh_server, monkeypatch):
        gate = threading.Event()
        started = []

        def slow(data, request, limits):
            started.append(len(data))
            gate.wait(100)
            return worker_decode(data, request, limits)

        worker_decode = worker.decode
        monkeypatch.setattr(worker, "decode", slow)
        async with grpc.aio.insecure_channel(fresh_server.address) as channel:
            stub = match_pb2_grpc.MatchServiceStub(channel)
            request = match_pb2.MatchImageRequest(image=TEST_IMAGE.data)
            calls = [stub.MatchImage(request, timeout=0.5) for _ in range(40)]
            outcomes = await asyncio.gather(*calls, return_exceptions=True)
            codes = {each.code() for each in outcomes}
            assert codes <= {grpc.StatusCode.DEADLINE_EXCEEDED, grpc.StatusCode.UNAVAILABLE}
            idle = 'hashwarden_requests_in_flight{method="MatchImage"}'

            async def all_are_given_up():
                return (await samples(fresh_server))[idle] == 0

            await until(all_are_given_up)
            running_now = len(started)
            gate.set()
            response = await stub.MatchImage(request)
            assert response.result.decision == match_pb2.DECISION_MATCH
        assert len(started) == running_now + 1  # what had waited was never begun

    async def test_no_list_can_keep_a_server_from_starting(self, tmp_path):
        digest = TEST_IMAGE.hashes[HashKind.SHA256].hex()
        file = tmp_path / "poison.csv"
        rows = "".join(f"{digest},{i},1\n" for i in range(20))
        file.write_text("sha256,id,category\n" + rows)
        data = tmp_path / "data"
        data.mkdir(mode=0o700)
        with Catalog.open(load_settings(data).catalog_url) as catalog:
            catalog.create_list(HashList("poison", Harm.CSAM, "someone"), author="tester")
            options = {
                "columns.sha256": "sha256",
                "columns.key": "id",
                "columns.category": "category",
                "scheme": "vics",
                "profile": "US",
            }
            report = import_file(
                catalog, file, list_name="poison", format="csv", options=options, importer="t"
            )
        assert report.added == 20
        async with running(load_settings(data)) as server:
            await asyncio.wait_for(server.ready, 60)


class TestHealth:
    async def test_live_apart_from_ready(self, tmp_path):
        async with (
            running(load_settings(tmp_path)) as server,
            grpc.aio.insecure_channel(server.address) as channel,
        ):
            stub = health_pb2_grpc.HealthStub(channel)

            async def status(name):
                request = health_pb2.HealthCheckRequest(service=name)
                return (await stub.Check(request)).status

            assert await status("live") == health_pb2.HealthCheckResponse.SERVING
            await server.ready
            for name in ("", "hashwarden.match.v1.MatchService"):
                assert await status(name) == health_pb2.HealthCheckResponse.SERVING
            await server.health.drain()
            assert await status("") == health_pb2.HealthCheckResponse.NOT_SERVING
            assert await status("live") == health_pb2.HealthCheckResponse.SERVING

    async def test_calls_before_readiness_may_be_tried_again(self, tmp_path, monkeypatch):
        monkeypatch.setattr("matcher.follow.follower.Follower.refresh", lambda self: False)
        async with running(load_settings(tmp_path)) as server:
            async with grpc.aio.insecure_channel(server.address) as channel:
                stub = match_pb2_grpc.MatchServiceStub(channel)
                with pytest.raises(grpc.aio.AioRpcError) as caught:
                    await stub.MatchImage(match_pb2.MatchImageRequest(image=b"x"))
            await asyncio.gather(server.ready, return_exceptions=True)
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert details_of(caught.value)["ErrorInfo"].reason == "NOT_READY"

    async def test_a_failing_self_test_is_never_ready(self, begun_data, monkeypatch):
        def fail():
            raise AssertionError("other codes")

        monkeypatch.setattr("matcher.hashing.golden.check", fail)
        async with running(load_settings(begun_data)) as server:
            with pytest.raises(Exception, match="golden vectors"):
                await server.ready
            async with AsyncClient(server.address) as client:
                assert await client.health() == "NOT_SERVING"
                assert await client.health("live") == "SERVING"


class TestSetUp:
    async def test_reflection_names_the_services(self, channel):
        stub = reflection_pb2_grpc.ServerReflectionStub(channel)
        request = reflection_pb2.ServerReflectionRequest(list_services="")
        async for response in stub.ServerReflectionInfo(iter([request])):
            names = {each.name for each in response.list_services_response.service}
        assert {
            "hashwarden.match.v1.MatchService",
            "hashwarden.lists.v1.HashListService",
            "grpc.health.v1.Health",
        } <= names

    async def test_only_loopback_without_a_flag_named_for_the_danger(self, tmp_path):
        with pytest.raises(SettingsError, match="danger_listen_without_tls"):
            async with running(load_settings(tmp_path, listen="0.0.0.0:0")):
                pass
        dangerous = load_settings(tmp_path, listen="0.0.0.0:0", danger_listen_without_tls=True)
        async with running(dangerous) as server:
            await server.ready

    async def test_a_taken_port_is_named(self, server, tmp_path):
        with pytest.raises(SettingsError, match="is the port taken"):
            async with running(load_settings(tmp_path, listen=server.address)):
                pass

    async def test_a_second_start_finds_what_the_first_left(self, tmp_path, demo_folder):
        async with running(load_settings(tmp_path)) as server:
            await server.ready
            report = await import_demo(server, demo_folder)
        async with running(load_settings(tmp_path)) as server:
            await server.ready
            async with AsyncClient(server.address) as client:
                answer = await client.match_image((demo_folder / "resized.jpg").read_bytes())
        assert answer.result.decision is Decision.MATCH
        assert answer.result.revision >= report.revision

    async def test_no_hash_of_a_list_leaves_in_answers_or_logs(self, server, client, caplog):
        answer = await client.match_image(TEST_IMAGE.data)
        told = json.dumps(repr(answer)) + caplog.text
        for value in TEST_IMAGE.hashes.values():
            assert value.hex() not in told
            assert repr(value) not in told


async def test_the_catalog_survives_the_server(tmp_path):
    async with running(load_settings(tmp_path)) as server:
        await server.ready
    with Catalog.open(load_settings(tmp_path).catalog_url) as catalog:
        assert [each.hash_list.name for each in catalog.list_lists()] == ["hashwarden-test"]


class TestAdmin:
    """What orchestrators and monitoring see of a server."""

    async def test_ready_tells_what_is_served(self, server):
        status, body = await get(server, "/readyz")
        told = json.loads(body)
        assert (status, told["ready"], told["stale"], told["problem"]) == (200, True, False, "")
        assert told["revision"] >= 1
        assert 0 <= told["seconds_since_contact"] < 60
        assert (await get(server, "/livez"))[0] == 200

    async def test_it_is_live_before_it_is_ready_and_unready_when_it_fails(
        self, begun_data, monkeypatch
    ):
        failing = _fail_once(AssertionError("codes"), golden.check)
        monkeypatch.setattr("matcher.selftest.golden.check", failing)
        async with running(load_settings(begun_data)) as server:
            with pytest.raises(Exception, match="golden vectors"):
                await server.ready
            assert (await get(server, "/livez"))[0] == 200
            status, body = await get(server, "/readyz")
            assert (status, json.loads(body)["ready"]) == (503, False)

    async def test_a_stuck_loop_is_neither_live_nor_ready(self, begun_data, monkeypatch):
        monkeypatch.setattr("matcher.service.health.STUCK_SECONDS", 0.5)
        monkeypatch.setattr("matcher.service.health.BEAT_SECONDS", 0.01)
        async with running(load_settings(begun_data)) as server:
            await server.ready
            statuses = []

            def look():
                time.sleep(0.7)
                statuses.extend(ask(server, path)[0] for path in ("/livez", "/readyz"))

            looking = threading.Thread(target=look)
            looking.start()
            looking.join()  # holds up the loop
            assert statuses == [503, 503]

            async def ready_again():
                return (await get(server, "/readyz"))[0] == 200

            await until(ready_again)

    async def test_calls_items_and_decisions_are_counted(self, fresh_server):
        async def items():
            yield "good", TEST_IMAGE.data
            yield "torn", b"no picture"
            yield "empty", b""

        async with AsyncClient(fresh_server.address) as client:
            await client.match_image(TEST_IMAGE.data)
            with pytest.raises(ServerError):
                await client.match_image(b"")
            assert len([each async for each in client.match_images(items())]) == 3
            digest = HashQuery({HashKind.SHA1: b"nobody has this one."})
            await client.lookup_hashes([digest])
            await client.hash_image(b"no picture")
            assert [each async for each in client.list_lists()]
            await client.health()
        told = await samples(fresh_server)
        requests = {
            name: value for name, value in told.items() if name.startswith("hashwarden_requests_t")
        }
        assert requests == {
            f'hashwarden_requests_total{{code="{code}",method="{method}"}}': 1
            for method, code in (
                ("MatchImage", "OK"),
                ("MatchImage", "INVALID_ARGUMENT"),
                ("MatchImages", "OK"),
                ("LookupHashes", "OK"),
                ("HashImage", "OK"),
                ("ListHashLists", "OK"),
            )
        }
        assert told['hashwarden_decisions_total{decision="MATCH"}'] == 2
        assert told['hashwarden_decisions_total{decision="NO_KNOWN_MATCH"}'] == 1
        assert told['hashwarden_decisions_total{decision="NOT_HASHABLE"}'] == 1
        assert sum(v for k, v in told.items() if k.startswith("hashwarden_not_hashable_t")) == 2
        assert told['hashwarden_item_errors_total{code="INVALID_ARGUMENT"}'] == 1
        assert told['hashwarden_request_seconds_count{method="MatchImages"}'] == 3
        assert told['hashwarden_request_seconds_count{method="MatchImage"}'] == 1
        in_flight = [v for k, v in told.items() if k.startswith("hashwarden_requests_in_flight")]
        assert set(in_flight) == {0}

    async def test_a_stream_that_the_client_leaves_is_counted_as_cancelled(self, fresh_server):
        async def items():
            yield "one", TEST_IMAGE.data
            await asyncio.sleep(60)

        name = 'hashwarden_requests_in_flight{method="MatchImages"}'
        async with AsyncClient(fresh_server.address) as client:
            async for _ in client.match_images(items()):
                assert (await samples(fresh_server))[name] == 1
                break
        cancelled = 'hashwarden_requests_total{code="CANCELLED",method="MatchImages"}'

        async def ended():
            told = await samples(fresh_server)
            return told[name] == 0 and told.get(cancelled) == 1

        await until(ended)

    async def test_the_index_is_told_by_revision_and_size(self, fresh_server, demo_folder):
        before = await samples(fresh_server)
        result = await import_demo(fresh_server, demo_folder)

        async def followed():
            told = await samples(fresh_server)
            return told["hashwarden_index_revision"] == result.revision

        await until(followed)
        told = await samples(fresh_server)
        assert told["hashwarden_index_entries"] > before["hashwarden_index_entries"]
        assert told["hashwarden_swaps_total"] > before["hashwarden_swaps_total"]
        segments = [v for k, v in told.items() if k.startswith("hashwarden_segment_entries")]
        assert sum(segments) == told["hashwarden_index_entries"]

    async def test_it_can_be_switched_off(self, begun_data):
        async with running(load_settings(begun_data, admin_listen="off")) as server:
            await server.ready
            assert server.admin == ""

    async def test_an_address_that_others_reach_is_refused(self, tmp_path):
        with pytest.raises(SettingsError, match="admin_listen"):
            async with running(load_settings(tmp_path, admin_listen="0.0.0.0:0")):
                pass


@pytest.mark.slow
async def test_aged_connections_lose_no_call_and_no_item(begun_data):
    """A connection of a second: unary calls move on to new ones, an open stream runs to its end."""
    settings = load_settings(begun_data, max_connection_age_seconds=1)
    async with running(settings) as server:
        await server.ready
        port = int(server.address.rpartition(":")[2])
        ports = set()
        sent = []

        async def items():
            while len(sent) < 200 or answers < 10 or len(ports) < 2:
                sent.append(str(len(sent)))
                yield sent[-1], TEST_IMAGE.data
                await asyncio.sleep(0.008)

        async with AsyncClient(server.address) as client:
            answers = 0

            async def unary(done):
                nonlocal answers
                while not done.is_set():
                    await client.match_image(TEST_IMAGE.data)
                    answers += 1
                    for each in psutil.Process().net_connections("tcp"):
                        if each.raddr and each.raddr.port == port and each.status == "ESTABLISHED":
                            ports.add(each.laddr.port)
                    await asyncio.sleep(0.05)

            done = asyncio.Event()
            calling = asyncio.create_task(unary(done))
            answered = [each.request_id async for each in client.match_images(items())]
            done.set()
            await calling
        assert sorted(answered, key=int) == sent
        assert answers >= 10
        assert len(ports) > 1
