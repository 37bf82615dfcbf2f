"""What is done through a server stands in the audit, and is not done where it cannot."""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from dataclasses import replace
from datetime import timedelta

import pytest
import pytest_asyncio

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from hashlists.exporting.request import ExportRequest
from hashlists.model import EntrySelection, Handling, Harm, HashList, SaidHandling
from matcher import cli, settings
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service import refusals
from matcher.service.server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

WHY = {"reason": "a test", "author": "me"}
ENTRY = EntrySelection(source_ids=("M-1",))
DEMO = HashList("demo", Harm.TEST, "a source", handling=Handling("unit", ("us",)))
COLUMNS = {"columns.md5": "md5", "columns.source_id": "id"}


def load(data):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    return settings.load_settings(
        data, environ={}, overrides={**one_address, "admin_listen": "off", "decode_workers": 1}
    )


def open_database(chosen):
    return AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file))


@pytest_asyncio.fixture(loop_scope="module")
async def place(begun_data):
    chosen = load(begun_data)
    key = load_or_make_key(chosen.token_key_file)
    with open_database(chosen) as database:
        keeper = NewClient("keeper", frozenset({Role.ADMIN, Role.IMPORT, Role.EXPORT}))
        token = database.add_client(keeper, actor="test", key=key)
        async with running(chosen) as server:
            await asyncio.wait_for(server.ready, 60)
            yield server, database, token, chosen


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("md5,id\n" + "".join(f"{number:032x},M-{number}\n" for number in range(1, 4)))
    return path


async def fill(client, file):
    await client.create_list(DEMO, author="me")
    coming = {"list_name": "demo", "list_format": "csv", "options": COLUMNS}
    return [each async for each in client.import_list(file, **coming, author="me")][-1]


def of_lists(database):
    return [each.event for each in database.records() if each.event.act.startswith("list.")]


async def test_each_act_is_recorded_before_and_after_with_the_client(place, file, tmp_path):
    server, database, token, _ = place
    async with AsyncClient(server.address, token=token) as client:
        result = await fill(client, file)
        await client.promote_list("demo", **WHY)
        await client.demote_list("demo", **WHY)
        await client.change_handling("demo", SaidHandling(releasable_to=()), **WHY)
        for dry_run in (True, False):
            how = {**WHY, "dry_run": dry_run}
            await client.retract_entries("demo", ENTRY, **how)
            await client.restore_entries("demo", ENTRY, **how)
            await client.roll_back_list("demo", 1 + result.revision, **how)
            await client.purge_entries("demo", ENTRY, **how)
        request = ExportRequest(list_names=("demo",), format="jsonl", recipients=("us",))
        await client.export_list(tmp_path / "out.jsonl", request, author="me")
    acts = (
        *("create", "import", "promote", "demote", "handling", "retract", "restore", "rollback"),
        *("purge", "export"),
    )
    found = of_lists(database)
    told = [(each.act, each.outcome.value) for each in found]
    assert told == [(f"list.{act}", how) for act in acts for how in ("begun", "done")]
    assert {each.actor for each in found} == {"client:keeper"}
    assert {each.subject for each in found} == {"demo"}
    ends = {each.act: each.details for each in found if each.outcome.value == "done"}
    assert ends["list.import"].items() >= {"revision": result.revision, "added": 3}.items()
    assert ends["list.purge"]["reason"] == "a test"
    assert ends["list.purge"]["author"] == "me (unverified, via client:keeper)"
    assert ends["list.export"].items() >= {"recipients": ["us"], "entries": 0}.items()
    assert database.verify_audit() is None


async def test_who_is_no_client_is_told_by_address(place):
    server, database, _, _ = place
    async with AsyncClient(server.address) as client:
        await client.create_list(DEMO)
    assert {each.actor for each in of_lists(database)} == {"unknown:ipv4:127.0.0.1"}


async def test_what_fails_is_recorded_so(place, file):
    server, database, token, _ = place
    async with AsyncClient(server.address, token=token) as client:
        await fill(client, file)
        with pytest.raises(ServerError):
            await client.retract_entries("demo", EntrySelection(source_ids=("x",)), **WHY)
        coming = {"list_name": "demo", "list_format": "vics"}
        with pytest.raises(ServerError):
            [_ async for _ in client.import_list(file, **coming)]
    *_, begun, retracted, also_begun, imported = of_lists(database)
    assert begun.outcome.value == also_begun.outcome.value == "begun"
    assert retracted.details["reason_code"] == "ENTRY_NOT_FOUND"
    assert (retracted.outcome.value, imported.outcome.value) == ("failed", "failed")
    assert imported.details["reason_code"] == "LIST_FILE_MALFORMED"


async def test_what_cannot_be_recorded_is_not_done_and_matching_goes_on(place, file):
    server, _, token, chosen = place
    async with AsyncClient(server.address, token=token) as client:
        await fill(client, file)
        chosen.audit_head_file.unlink()
        chosen.audit_head_file.mkdir()
        request = ExportRequest(list_names=("demo",), format="jsonl", recipients=("us",))
        for call in (
            lambda: client.create_list(HashList("other", Harm.TEST, "s")),
            lambda: client.purge_entries("demo", ENTRY, **WHY),
            lambda: client.export_to_stream(None, request),
        ):
            with pytest.raises(ServerError) as caught:
                await call()
            assert caught.value.reason == "AUDIT_UNAVAILABLE"
        with pytest.raises(ServerError):
            [_ async for _ in client.import_list(file, list_name="demo", list_format="csv")]
        assert {each.hash_list.name async for each in client.list_lists()} >= {"demo"}
        with pytest.raises(ServerError):
            await client.get_list("other")
        assert (await client.get_list("demo")).coverage.entries == 3
    async with AsyncClient(server.address) as client:
        answer = await client.match_image(published_test_image().data)
        assert answer.result.decision is Decision.MATCH


async def test_policies_are_recorded_when_they_are_others(begun_data):
    async def serve():
        async with running(load(begun_data)) as server:
            await asyncio.wait_for(server.ready, 60)

    for _ in range(2):
        await serve()
    (begun_data / "policies.toml").write_text('[policies.strict]\nlists = ["hashwarden-test"]\n')
    await serve()
    with open_database(load(begun_data)) as database:
        found = [each.event for each in database.records() if each.event.act == "policies.load"]
    assert [sorted(each.details["versions"]) for each in found] == [
        ["default"],
        ["default", "strict"],
    ]
    assert found[0].actor.startswith("server:")


async def test_who_was_refused_is_found_in_the_audit(begun_data, monkeypatch, capsys):
    """Tried at a running server with all that can be wrong, and told while it runs, in sums."""
    monkeypatch.setattr(refusals, "TICK_SECONDS", 0.05)
    chosen = replace(load(begun_data), authentication="required")
    key = load_or_make_key(chosen.token_key_file)
    with open_database(chosen) as database:
        tokens = {
            name: database.add_client(
                NewClient(name, frozenset({Role.EXPORT})), actor="test", key=key
            )
            for name in ("gone", "lost", "exporter")
        }
        database.revoke_client("gone", actor="test")
        database.rotate_token("lost", actor="test", key=key, overlap=timedelta())
        shown = {"none": None, "wrong": "nonsense", **tokens}
        async with running(chosen) as server:
            await asyncio.wait_for(server.ready, 60)
            for token in shown.values():
                async with AsyncClient(server.address, token=token) as client:
                    for _ in range(2):
                        with pytest.raises(ServerError):
                            await client.match_image(published_test_image().data)
            async with asyncio.timeout(60):
                while len(of_refusals(database)) < len(shown):  # noqa: ASYNC110 - no event
                    await asyncio.sleep(0.05)
        found = of_refusals(database)
        assert database.verify_audit() is None
    added = Counter()
    for each in found:
        added[each.actor, each.details["reason_code"]] += each.details["calls"]
    assert added == {
        ("unknown:127.0.0.1", "NO_CREDENTIALS"): 2,
        ("unknown:127.0.0.1", "TOKEN_UNKNOWN"): 2,
        ("client:gone", "CLIENT_REVOKED"): 2,
        ("client:lost", "TOKEN_EXPIRED"): 2,
        ("client:exporter", "ROLE_MISSING"): 2,
    }
    assert {each.subject for each in found} == {"MatchImage"}
    told = json.dumps([dict(each.details) for each in found])
    assert not any(token in told for token in (*tokens.values(), "nonsense"))
    command = ["--data", str(begun_data), "audit", "show", "--json"]
    assert await asyncio.to_thread(cli.main, command) == 0
    printed = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "client:gone" in {each["who"] for each in printed if each["act"] == "call.refused"}


def of_refusals(database):
    return [each.event for each in database.records() if each.event.act == "call.refused"]
