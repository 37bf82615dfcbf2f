"""Who may call what: every method, with every kind of credentials, at a real server with TLS."""

from __future__ import annotations

import asyncio
import itertools
import threading
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING

import grpc
import pytest
import pytest_asyncio
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key, new_token
from hashlists.catalog import Catalog
from hashlists.errors import TokenKeyError
from hashlists.exporting.request import ExportRequest
from hashlists.model import EntrySelection, Handling, Harm, HashKind, HashList, SaidHandling
from matcher import settings
from matcher._proto.hashwarden.lists.v1 import lists_pb2
from matcher._proto.hashwarden.match.v1 import match_pb2, match_records_pb2
from matcher.client import Client, HashQuery, TokenQuery, tls_credentials
from matcher.client.credentials import Bearing
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision, Outcome
from matcher.service import attempts
from matcher.service.roles import ROLES_OF
from matcher.service.server import running
from tests.certificates import Authority

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.asyncio(loop_scope="module")

MATCH = {"match", "match-exact-distance"}
READ = {"import", "export", "review", "admin"}
ANY = {*MATCH, *READ}
#: Who may call what, written down once more: the table of the service is what is tested.
ALLOWED = {
    "MatchImage": MATCH,
    "MatchImages": MATCH,
    "LookupHashes": MATCH,
    "HashImage": MATCH,
    "LookupTokens": MATCH,
    "GetMatchRecord": {*MATCH, "review"},
    "ListMatchRecords": {*MATCH, "review"},
    "ReplayMatch": {"review"},
    "ReportOutcome": {*MATCH, "review"},
    "ListUndoneMatches": {*MATCH, "review"},
    "CreateHashList": {"import", "admin"},
    "GetHashList": READ,
    "ListHashLists": READ,
    "ListStats": READ,
    "ListRevisions": READ,
    "ImportHashList": {"import"},
    "ExportHashList": {"export"},
    "PromoteHashList": {"admin"},
    "DemoteHashList": {"admin"},
    "ChangeHandling": {"admin"},
    "RetractEntries": {"review", "admin"},
    "RestoreEntries": {"review", "admin"},
    "RollBackHashList": {"admin"},
    "PurgeEntries": {"admin"},
    "Watch": ANY,
    "List": set(),
    "ServerReflectionInfo": ANY,
}
FOR_EVERYBODY = {"Check"}
WRONG = ("none", "wrong", "of nobody", "half", "expired", "rotated away", "revoked")
IMAGE = published_test_image().data
_numbers = itertools.count()


@dataclass
class Filled:
    """A list, an entry of it, and the revision that filled it."""

    name: str
    revision: int
    entry: int


@dataclass
class Place:
    """A server and what is needed to call it."""

    address: str
    lists: str
    tls: grpc.ChannelCredentials
    database: AccessDatabase
    key: bytes
    tokens: dict[str, str | None]
    data: Path
    file: Path
    filled: Filled


def load(data, **overrides):
    free = dict.fromkeys(("listen", "lists_listen", "admin_listen"), "127.0.0.1:0")
    return settings.load_settings(
        data, environ={}, overrides={**free, "follow_seconds": 0.05, **overrides}
    )


def open_database(data):
    chosen = load(data)
    return AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file))


def make_tokens(database, key):
    def add(name, *roles, **said):
        new = NewClient(name, frozenset(roles), **said)
        return database.add_client(new, actor="test", key=key)

    everything = tuple(Role)
    tokens = {role.value: add(f"c-{role.value}", role) for role in Role}
    tokens["none"] = None
    tokens["wrong"] = "nonsense"
    tokens["of nobody"] = new_token()[1]
    tokens["half"] = tokens["admin"][:-1] + ("A" if tokens["admin"][-1] != "A" else "B")
    past = datetime.now(UTC) - timedelta(seconds=1)
    tokens["expired"] = add("c-expired", *everything, expires_at=past)
    tokens["rotated away"] = add("c-rotated", *everything)
    database.rotate_token("c-rotated", actor="test", key=key, overlap=timedelta())
    tokens["revoked"] = add("c-revoked", *everything)
    database.revoke_client("c-revoked", actor="test")
    return tokens


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def place(tmp_path_factory, demo_folder):
    data = tmp_path_factory.mktemp("data")
    authority = Authority(data)
    certificate, key_file = authority.issue_for_this_machine("server")
    chosen = load(
        data,
        tls_certificate=certificate,
        tls_key=key_file,
        authentication="required",
        reflection="on",
    )
    key = load_or_make_key(chosen.token_key_file)
    file, tls = demo_folder / "demo-list.vics.json", tls_credentials(authority.file)
    with open_database(data) as database, pytest.MonkeyPatch.context() as patch:
        patch.setattr(attempts, "BURST", 1_000_000)  # there are many failures, all from one place
        tokens = make_tokens(database, key)
        async with running(chosen) as server:
            await asyncio.wait_for(server.ready, 60)
            filled = await fill(server, chosen.catalog_url, tls, tokens, file)
            yield Place(
                server.address, server.lists, tls, database, key, tokens, data, file, filled
            )


async def fill(server, url, tls, tokens, file):
    """A list with entries, as the clients make it whose work that is."""
    name = "filled"

    def work():
        with Client(server.lists, credentials=tls, token=tokens["import"]) as client:
            client.create_list(
                HashList(name, Harm.TEST, "demo", handling=Handling("demo", ("us",)))
            )
            *_, result = client.import_list(file, list_name=name, list_format="vics")
        with Catalog.open(url) as catalog:
            found = catalog.find_entries(name, EntrySelection(source_ids=("1",)))
        return Filled(name, result.revision, found[0])

    return await asyncio.to_thread(work)


HEALTH, REFLECTION = health_pb2_grpc.HealthStub, reflection_pb2_grpc.ServerReflectionStub
ASKED = reflection_pb2.ServerReflectionRequest(list_services="")
WATCHED = health_pb2.HealthCheckRequest(service="live")


def raw(place, address, token, make, call):
    """What a call of gRPC's own services gives."""
    with grpc.secure_channel(address, place.tls) as channel:
        return call(make(channel if token is None else Bearing(channel, token)))


def first(call):
    """The first answer of a stream, which is then given up."""
    answer = next(iter(call))
    call.cancel()
    return answer


def answered(answers):
    (answer,) = list(answers)
    assert answer.error is None
    return answer


def of_grpc(place, method, token):
    lists, stub = place.lists, {"ServerReflectionInfo": REFLECTION}.get(method, HEALTH)
    calls = {
        "Check": lambda it: it.Check(health_pb2.HealthCheckRequest(), timeout=100),
        "List": lambda it: it.List(health_pb2.HealthListRequest(), timeout=100),
        "Watch": lambda it: first(it.Watch(WATCHED, timeout=100)),
        "ServerReflectionInfo": lambda it: first(
            it.ServerReflectionInfo(iter([ASKED]), timeout=100)
        ),
    }
    return raw(place, lists, token, stub, calls[method])


def found(call):
    """That a match was looked for, which is none."""
    try:
        return call("none")
    except ServerError as error:
        if error.reason != "MATCH_NOT_FOUND":
            raise
        return error


MATCHING_METHODS = {
    *("MatchImage", "MatchImages", "LookupHashes", "HashImage", "LookupTokens"),
    *("GetMatchRecord", "ListMatchRecords", "ReplayMatch", "ReportOutcome", "ListUndoneMatches"),
}


def of_matching(client, method):
    calls = {
        "MatchImage": lambda: client.match_image(IMAGE),
        "MatchImages": lambda: answered(client.match_images([("1", IMAGE)])),
        "LookupHashes": lambda: client.lookup_hashes([HashQuery({HashKind.MD5: bytes(16)})]),
        "HashImage": lambda: client.hash_image(IMAGE),
        "LookupTokens": lambda: list(
            client.lookup_tokens([TokenQuery("1", b"none")], since_revision=0)
        ),
        "GetMatchRecord": lambda: found(client.records.get),
        "ListMatchRecords": lambda: list(client.records.list()),
        "ReplayMatch": lambda: found(client.records.replay),
        "ReportOutcome": lambda: found(partial(client.records.report, outcome=Outcome.WRONG)),
        "ListUndoneMatches": lambda: list(client.records.undone()),
    }
    return calls[method]()


def of_lists(client, method, place):
    name, number = place.filled.name, next(_numbers)
    new = HashList(f"new-{number}", Harm.TEST, "demo")
    why = {"reason": "a test"}
    tried = {**why, "dry_run": True}
    entries = EntrySelection(entry_ids=(place.filled.entry,))
    said = SaidHandling(releasable_to=("us",))
    request = ExportRequest(list_names=(name,), format="jsonl", recipients=("us",))
    imported = {"list_name": name, "list_format": "vics", "dry_run": True}
    calls = {
        "CreateHashList": lambda: client.create_list(new),
        "GetHashList": lambda: client.get_list(name),
        "ListHashLists": lambda: list(client.list_lists()),
        "ListStats": lambda: list(client.list_stats(name)),
        "ListRevisions": lambda: list(client.list_revisions(name)),
        "ImportHashList": lambda: list(client.import_list(place.file, **imported)),
        "ExportHashList": lambda: client.export_list(place.data / f"{number}.jsonl", request),
        "PromoteHashList": lambda: client.promote_list(name, **why),
        "DemoteHashList": lambda: client.demote_list(name, **why),
        "ChangeHandling": lambda: client.change_handling(name, said, **why),
        "RetractEntries": lambda: client.retract_entries(name, entries, **tried),
        "RestoreEntries": lambda: client.restore_entries(name, entries, **tried),
        "RollBackHashList": lambda: client.roll_back_list(name, place.filled.revision, **tried),
        "PurgeEntries": lambda: client.purge_entries(name, entries, **tried),
    }
    return calls[method]()


def call(place, method, token):
    """Calls a method so that it succeeds where the caller may."""
    if method in {"Check", "Watch", "List", "ServerReflectionInfo"}:
        return of_grpc(place, method, token)
    matching = method in MATCHING_METHODS
    address = place.address if matching else place.lists
    with Client(address, credentials=place.tls, token=token) as client:
        return of_matching(client, method) if matching else of_lists(client, method, place)


def outcome(place, method, who):
    """`ok`, or the reason for which a call was refused."""
    try:
        assert call(place, method, place.tokens[who]) is not None
    except ServerError as error:
        return error.reason
    except grpc.RpcError as error:
        return "ROLE_MISSING" if error.code().name == "PERMISSION_DENIED" else error.code().name
    return "ok"


async def test_every_method_is_in_both_tables():
    methods = {path.rpartition("/")[2] for path in ROLES_OF}
    assert len(methods) == len(ROLES_OF)
    assert methods == {*ALLOWED, *FOR_EVERYBODY}
    services = (
        match_pb2.DESCRIPTOR.services_by_name["MatchService"],
        match_records_pb2.DESCRIPTOR.services_by_name["MatchRecordService"],
        lists_pb2.DESCRIPTOR.services_by_name["HashListService"],
        health_pb2.DESCRIPTOR.services_by_name["Health"],
        reflection_pb2.DESCRIPTOR.services_by_name["ServerReflection"],
    )
    assert set(ROLES_OF) == {
        f"/{service.full_name}/{method.name}" for service in services for method in service.methods
    }


@pytest.mark.parametrize("method", [*ALLOWED, *FOR_EVERYBODY])
async def test_exactly_those_who_may_succeed(place, method):
    expected = {
        **dict.fromkeys(WRONG, "UNAUTHENTICATED"),
        **{
            role.value: "ok" if role.value in ALLOWED.get(method, ()) else "ROLE_MISSING"
            for role in Role
        },
    }
    if method in FOR_EVERYBODY:
        expected = dict.fromkeys(expected, "ok")
    found = {who: await asyncio.to_thread(outcome, place, method, who) for who in expected}
    assert found == expected


async def test_what_is_wrong_is_told_in_the_same_words(place):
    def told(token):
        try:
            with Client(place.address, credentials=place.tls, token=token) as client:
                client.match_image(IMAGE)
        except ServerError as error:
            return str(error)
        return ""

    words = {await asyncio.to_thread(told, place.tokens[who]) for who in WRONG}
    assert len(words) == 1
    assert "token" in words.pop()


async def refused(call):
    """The reason for which a call of a client is refused."""
    with pytest.raises(ServerError) as caught:
        await asyncio.to_thread(call)
    return caught.value.reason


async def until_refused(call):
    """The reason for which a call is refused in the end."""
    async with asyncio.timeout(30):
        while not (reason := await asyncio.to_thread(reason_of, call)):  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.05)
    return reason


async def until_let_in(call):
    """Returns once the server knows the client."""
    async with asyncio.timeout(30):
        while await asyncio.to_thread(reason_of, call) == "UNAUTHENTICATED":  # noqa: ASYNC110
            await asyncio.sleep(0.05)


def reason_of(call):
    try:
        call()
    except ServerError as error:
        return error.reason
    return ""


async def test_a_request_may_narrow_its_policy_and_never_widen_it(place):
    with Client(place.address, credentials=place.tls, token=place.tokens["match"]) as client:
        await asyncio.to_thread(client.match_image, IMAGE)
        await asyncio.to_thread(client.match_image, IMAGE, policy="default", views=("upright",))
        for wider in ({"views": ("all",)}, {"policy": "unheard-of"}):
            call = partial(client.match_image, IMAGE, **wider)
            assert await refused(call) == "POLICY_WIDENED"
        (answer,) = await asyncio.to_thread(
            lambda: list(client.match_images([("1", IMAGE)], views=("all",)))
        )
        assert answer.error.reason == "POLICY_WIDENED"


async def test_exact_distances_are_for_those_with_the_role(place):
    def distances(who):
        code = bytearray(published_test_image().hashes[HashKind.PDQ])
        code[0] ^= 3
        with Client(place.address, credentials=place.tls, token=place.tokens[who]) as client:
            (answer,) = client.lookup_hashes([HashQuery({HashKind.PDQ: bytes(code)}, quality=100)])
        return [match.distance for match in answer.result.matches]

    assert await asyncio.to_thread(distances, "match") == [None]
    assert await asyncio.to_thread(distances, "match-exact-distance") == [2]


async def test_the_record_of_a_change_names_the_client(place):
    with Client(place.lists, credentials=place.tls, token=place.tokens["admin"]) as client:
        name = f"new-{next(_numbers)}"
        await asyncio.to_thread(client.create_list, HashList(name, Harm.TEST, "s"), author="me")
        (made,) = await asyncio.to_thread(lambda: list(client.list_revisions(name)))
    assert made.author == "me (unverified, via client:c-admin)"


async def test_lists_are_not_managed_where_matching_is(place):
    with Client(place.address, credentials=place.tls, token=place.tokens["admin"]) as client:
        call = partial(client.get_list, place.filled.name)
        assert await refused(call) == "UNIMPLEMENTED"


async def test_a_revocation_counts_soon_and_ends_open_streams(place):
    new = NewClient("c-short", frozenset({Role.MATCH}))
    token = place.database.add_client(new, actor="test", key=place.key)
    go_on, sent = threading.Event(), threading.Event()

    def images():
        yield "1", IMAGE
        sent.set()
        go_on.wait(60)
        yield "2", IMAGE

    def stream(client):
        return [each.request_id for each in client.match_images(images())]

    with Client(place.address, credentials=place.tls, token=token) as client:
        call = partial(client.match_image, IMAGE)
        await until_let_in(call)
        streaming = asyncio.create_task(asyncio.to_thread(stream, client))
        assert await asyncio.to_thread(sent.wait, 60)
        place.database.revoke_client("c-short", actor="test")
        assert await until_refused(call) == "UNAUTHENTICATED"
        go_on.set()
        with pytest.raises(ServerError, match="who calls is not known"):
            await streaming


async def test_other_roles_count_soon(place):
    new = NewClient("c-moved", frozenset({Role.MATCH}))
    token = place.database.add_client(new, actor="test", key=place.key)
    with Client(place.address, credentials=place.tls, token=token) as client:
        call = partial(client.match_image, IMAGE)
        await until_let_in(call)
        place.database.change_client("c-moved", actor="test", roles=frozenset({Role.EXPORT}))
        assert await until_refused(call) == "ROLE_MISSING"


async def test_clients_are_known_while_the_catalog_is_away(begun_data):
    chosen = load(begun_data, authentication="required")
    key = load_or_make_key(chosen.token_key_file)
    with open_database(begun_data) as database:
        token = database.add_client(
            NewClient("uploads", frozenset({Role.MATCH})), actor="test", key=key
        )
    for each in begun_data.glob("catalog.sqlite3*"):
        each.write_bytes(b"damaged")
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        with Client(server.address, token=token) as client:
            answer = await asyncio.to_thread(client.match_image, IMAGE)
            assert (answer.result.decision, answer.stale) == (Decision.MATCH, True)
        with Client(server.address) as client:
            assert await refused(partial(client.match_image, IMAGE)) == "UNAUTHENTICATED"


async def test_without_the_key_of_tokens_no_server_starts_that_needs_it(begun_data):
    chosen = load(begun_data, authentication="required")
    key = load_or_make_key(chosen.token_key_file)
    with open_database(begun_data) as database:
        database.add_client(NewClient("a", frozenset({Role.MATCH})), actor="test", key=key)
    chosen.token_key_file.unlink()
    with pytest.raises(TokenKeyError, match="cannot be read"):
        async with running(chosen):
            pass
    async with running(load(begun_data)) as server:  # nobody has to show a token here
        await asyncio.wait_for(server.ready, 60)


async def test_a_client_sees_its_own_matches_and_who_reviews_sees_all(place):
    def match(who, reference):
        with Client(place.address, credentials=place.tls, token=place.tokens[who]) as client:
            return client.match_image(IMAGE, reference=reference).result.match_id

    def seen(who, match_id):
        with Client(place.address, credentials=place.tls, token=place.tokens[who]) as client:
            try:
                record = client.records.get(match_id)
            except ServerError as error:
                return error.reason
            listed = [each.client for each in client.records.list()]
            return record.client, record.reference, len(set(listed)) > 1

    mine = await asyncio.to_thread(match, "match", "mine")
    theirs = await asyncio.to_thread(match, "match-exact-distance", "theirs")
    assert await asyncio.to_thread(seen, "match", mine) == ("c-match", "mine", False)
    assert await asyncio.to_thread(seen, "match", theirs) == "MATCH_NOT_FOUND"
    theirs_seen = await asyncio.to_thread(seen, "review", theirs)
    assert theirs_seen == ("c-match-exact-distance", "theirs", True)


async def test_a_token_is_of_use_to_its_client_alone(place):
    def sealed(who):
        with Client(place.address, credentials=place.tls, token=place.tokens[who]) as client:
            return client.match_image(IMAGE, seal_token=True).token

    def checked(who, token):
        with Client(place.address, credentials=place.tls, token=place.tokens[who]) as client:
            (answers,) = client.lookup_tokens([TokenQuery("1", token)], since_revision=0)
            (found,) = answers.found
            return found.error.reason if found.error else found.answer.result.decision

    token = await asyncio.to_thread(sealed, "match")
    assert await asyncio.to_thread(checked, "match", token) == Decision.MATCH
    assert await asyncio.to_thread(checked, "match-exact-distance", token) == "SEAL_BROKEN"
