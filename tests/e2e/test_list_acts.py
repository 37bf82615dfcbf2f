"""Acts on entries at a running server: what is retracted matches no more, soon and for all."""

from __future__ import annotations

import asyncio
import csv
import hashlib
import io
import json
import subprocess
import sys
import time
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import grpc
import pytest
import pytest_asyncio
from google.rpc import error_details_pb2, status_pb2

from hashlists.catalog import Catalog
from hashlists.exporting.request import ExportRequest
from hashlists.importer import import_file
from hashlists.model import (
    ChangeKind,
    EntrySelection,
    Handling,
    Harm,
    HashKind,
    HashList,
    ListState,
    SaidHandling,
)
from matcher import cli, settings
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher.client import AsyncClient, Client, HashQuery, WholeList
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service.server import running

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE_ADDRESS = {"listen": "127.0.0.1:0", "lists_listen": "same"}
COMMON = "list-0"
#: For as many tests as ask for a list of their own.
OWN = tuple(f"list-{number}" for number in range(1, 10))
COLUMNS = {"columns.sha256": "sha256", "columns.source_id": "id"}
FOLLOW_SECONDS = 60.0
#: Two seconds are promised; a machine that runs the tests of others too may take longer. That it is
#: far less than `FOLLOW_SECONDS` shows that the act woke the server.
SOON_SECONDS = 45.0
#: What was purged is erased once a process has built another snapshot.
ERASED_SECONDS = 150.0
WHY = "the issuer's correction"
SEARCH = """
import contextlib, pathlib, sys
needle, found = sys.stdin.buffer.read(), False
for path in pathlib.Path(sys.argv[1]).rglob("*"):
    with contextlib.suppress(FileNotFoundError):
        found |= path.is_file() and needle in path.read_bytes()
sys.stdout.write(str(found))
"""


def sha256(number):
    return hashlib.sha256(b"%d" % number).digest()


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A data folder with lists of ten entries: an import at the server for each would take long."""
    folder = tmp_path_factory.mktemp("data")
    with Catalog.open(f"sqlite:///{folder / 'catalog.sqlite3'}") as catalog:
        for name in (COMMON, *OWN):
            catalog.create_list(HashList(name, Harm.TEST, "a source"), author="a person")
            file = write_rows(folder, name, range(10))
            options = {"format": "csv", "options": COLUMNS, "importer": "a person"}
            import_file(catalog, file, list_name=name, **options)
            file.unlink()
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(data):
    loaded = settings.load_settings(
        data, environ={}, overrides={**ONE_ADDRESS, "follow_seconds": FOLLOW_SECONDS}
    )
    async with running(loaded) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server):
    async with AsyncClient(server.address) as client:
        yield client


@pytest.fixture(scope="module")
def _unused():
    return iter(OWN)


@pytest.fixture
def demo(_unused):
    """The name of a list of ten entries that no other test touches."""
    return next(_unused)


@pytest.fixture
def common():
    """The name of a list of ten entries, for tests that each touch entries of their own."""
    return COMMON


def write_rows(folder, name, numbers):
    """A file of those entries of that list."""
    file = folder / "list.csv"
    with file.open("w", newline="") as stream:
        rows = csv.writer(stream)
        rows.writerow(["sha256", "id"])
        rows.writerows([sha256(key(name, number)).hex(), f"S-{number}"] for number in numbers)
    return file


async def bring(client, folder, name, numbers, **options):
    file = write_rows(folder, name, numbers)
    *_, report = [
        message
        async for message in client.import_list(
            file, list_name=name, list_format="csv", options=COLUMNS, **options
        )
    ]
    return report


def key(name, number):
    """So that lists of different tests share no digest."""
    return int(name.removeprefix("list-"), 16) * 1_000_000 + number


async def found(client, name, number):
    """The entry of that number if it matches, else None."""
    (answer,) = await client.lookup_hashes(
        [HashQuery({HashKind.SHA256: sha256(key(name, number))})]
    )
    if answer.result.decision is Decision.NO_KNOWN_MATCH:
        return None
    (match,) = answer.result.matches
    assert match.list_name == name
    return match.entry_id


async def soon(condition, *, within=SOON_SECONDS, pause=0.01):
    """Waits until it holds."""
    started = time.monotonic()
    while not await condition():
        assert time.monotonic() - started < within
        await asyncio.sleep(pause)


def is_stored(data, digest):
    """Whether any file holds it; an index keeps the first eight bytes turned round.

    Another process looks: closing the catalog's file here would end SQLite's locks on it, which
    are of the whole process, and the server runs in this one.
    """
    found = subprocess.run(
        [sys.executable, "-c", SEARCH, data], input=digest[8:], capture_output=True, check=True
    )
    return found.stdout == b"True"


async def matching(client, name, number):
    async def matches():
        return await found(client, name, number) is not None

    await soon(matches)
    return await found(client, name, number)


async def not_matching(client, name, number):
    async def gone():
        return await found(client, name, number) is None

    await soon(gone)


async def test_a_retraction_is_in_force_at_once_and_can_be_undone(client, common):
    entry = await matching(client, common, 3)
    chosen = EntrySelection(entry_ids=[entry])
    done = await client.retract_entries(common, chosen, reason=WHY)
    await not_matching(client, common, 3)
    assert (done.entries, done.changed, done.unchanged) == (1, 1, 0)
    assert (done.revision.kind, done.revision.retracted) == (ChangeKind.RETRACT, 1)
    assert done.revision.reason == WHY
    assert done.revision.author == "grpc:ipv4:127.0.0.1"
    again = await client.retract_entries(common, chosen, reason=WHY)
    assert (again.revision, again.changed, again.unchanged) == (None, 0, 1)
    back = await client.restore_entries(common, chosen, reason="it was right after all")
    assert (back.changed, back.revision.restored) == (1, 1)
    assert await matching(client, common, 3) == entry
    again = await client.restore_entries(common, chosen, reason=WHY)
    assert (again.revision, again.unchanged) == (None, 1)


async def test_every_act_names_who_asked_as_far_as_that_is_known(client, demo, tmp_path):
    entry = await matching(client, demo, 0)
    chosen, who = EntrySelection(entry_ids=[entry]), {"reason": WHY, "author": " Ada of Trust "}
    before = (await client.get_list(demo)).revision
    await client.retract_entries(demo, chosen, **who)
    await client.restore_entries(demo, chosen, **who)
    await bring(client, tmp_path, demo, [1, 11], author="Ada of Trust")
    await client.roll_back_list(demo, before, **who)
    await client.purge_entries(demo, chosen, **who)
    await client.create_list(HashList("new", Harm.TEST, "a source"), author="Ada of Trust")
    newest = [each async for each in client.list_revisions()][:6]
    assert [each.kind for each in newest] == [
        ChangeKind.CREATE_LIST,
        ChangeKind.PURGE,
        ChangeKind.ROLLBACK,
        ChangeKind.IMPORT,
        ChangeKind.RESTORE,
        ChangeKind.RETRACT,
    ]
    assert {each.author for each in newest} == {
        "Ada of Trust (unverified, via grpc:ipv4:127.0.0.1)"
    }


@pytest.mark.parametrize("author", ["x" * 201, "a\0b", "Ada\nBob", "a\tb"])
async def test_what_cannot_be_a_name_is_refused(client, common, author):
    entry = await matching(client, common, 3)
    with pytest.raises(ServerError, match="author"):
        await client.retract_entries(
            common, EntrySelection(entry_ids=[entry]), reason=WHY, author=author
        )


async def test_entries_are_named_by_source_id_and_digest(client, common):
    chosen = EntrySelection(
        source_ids=["S-1"], digests=[sha256(key(common, 2)), sha256(key(common, 1))]
    )
    would = await client.retract_entries(common, chosen, reason=WHY, dry_run=True)
    assert (would.revision, would.entries, would.changed) == (None, 2, 2)
    await matching(client, common, 1)
    done = await client.retract_entries(common, chosen, reason=WHY)
    assert done.changed == 2
    await not_matching(client, common, 1)
    await not_matching(client, common, 2)
    await matching(client, common, 3)
    would = await client.restore_entries(common, chosen, reason=WHY, dry_run=True)
    assert (would.revision, would.changed) == (None, 2)


@pytest.mark.slow
async def test_ten_thousand_entries_are_one_revision(client, demo, tmp_path):
    await bring(client, tmp_path, demo, range(10_000))
    await matching(client, demo, 9_999)
    names = [f"S-{number}" for number in range(10_000)]
    done = await client.retract_entries(demo, EntrySelection(source_ids=names), reason=WHY)
    assert (done.changed, done.revision.retracted) == (10_000, 10_000)
    await not_matching(client, demo, 9_999)


async def test_a_rollback_brings_back_what_was(client, demo, tmp_path):
    entry = await matching(client, demo, 0)
    before = (await client.get_list(demo)).revision
    await client.retract_entries(demo, EntrySelection(entry_ids=[entry]), reason=WHY)
    await bring(client, tmp_path, demo, [1, 11])
    await matching(client, demo, 11)
    await not_matching(client, demo, 0)
    would = await client.roll_back_list(demo, before, reason=WHY, dry_run=True)
    assert (would.revision, would.to_revision) == (None, before)
    done = await client.roll_back_list(demo, before, reason=WHY)
    for each in (would, done):
        assert (each.withdrawn, each.restored) == (1, 1)
        assert (each.reverted, each.retracted, each.purged) == (0, 0, 0)
    assert done.revision.kind is ChangeKind.ROLLBACK
    assert await matching(client, demo, 0) == entry
    await not_matching(client, demo, 11)
    nothing = await client.roll_back_list(demo, before, reason=WHY)
    assert nothing.revision is None
    assert not nothing.changes


async def test_what_was_purged_is_gone_and_stays_gone(client, data, demo, tmp_path):
    entry = await matching(client, demo, 5)
    chosen = EntrySelection(entry_ids=[entry])
    would = await client.purge_entries(demo, chosen, reason=WHY, dry_run=True)
    assert (would.revision, would.entries, would.in_force, would.versions) == (None, 1, 1, 1)
    done = await client.purge_entries(demo, chosen, reason=WHY)
    await not_matching(client, demo, 5)
    assert (done.entries, done.in_force, done.versions, done.values) == (1, 1, 1, 1)
    assert done.tombstones == 2
    assert done.traces_wiped

    async def erased():
        return not is_stored(data, sha256(key(demo, 5)))

    assert is_stored(data, sha256(key(demo, 6)))
    await soon(erased, within=ERASED_SECONDS, pause=0.2)
    assert done.revision.kind is ChangeKind.PURGE
    with pytest.raises(ServerError, match="no entry") as caught:
        await client.purge_entries(demo, chosen, reason=WHY)
    assert caught.value.reason == "ENTRY_NOT_FOUND"
    report = await bring(client, tmp_path, demo, [5, 12])
    assert (report.added, report.rejected) == (1, 0)
    assert ["purged" in note for note in report.notes] == [True]
    await matching(client, demo, 12)
    assert await found(client, demo, 5) is None


async def test_what_is_unknown_changes_nothing(client, common):
    entry = await matching(client, common, 0)
    before = (await client.get_list(common)).revision
    for chosen, told in (
        (EntrySelection(entry_ids=[entry, 10**17, 10**17 + 1]), "(nor 1 more of those given)"),
        (EntrySelection(entry_ids=[entry], source_ids=["S-99"]), "source id S-99"),
        (EntrySelection(entry_ids=[entry], digests=[bytes(32)]), "place 1 of those given"),
    ):
        for act in (client.retract_entries, client.restore_entries, client.purge_entries):
            with pytest.raises(ServerError) as caught:
                await act(common, chosen, reason=WHY)
            assert told in str(caught.value)
            assert caught.value.reason == "ENTRY_NOT_FOUND"
            assert bytes(32).hex() not in str(caught.value)
    assert (await client.get_list(common)).revision == before
    with pytest.raises(ServerError) as caught:
        await client.roll_back_list(common, 10**9, reason=WHY)
    assert caught.value.reason == "REVISION_NOT_FOUND"
    for name in ("nobody", "hashwarden-test"):
        with pytest.raises(ServerError) as caught:
            await client.retract_entries(name, EntrySelection(entry_ids=[entry]), reason=WHY)
    assert caught.value.reason == "ENTRY_NOT_FOUND"  # an entry of another list


REFUSED = {
    "no entries": ({}, "selection"),
    "no id": ({"entries": ["12", "a"]}, "selection.entries[1]"),
    "a long id": ({"entries": ["1" * 19]}, "selection.entries[0]"),
    "an empty source id": ({"source_ids": [""]}, "selection.source_ids[0]"),
    "a long source id": ({"source_ids": ["x" * 257]}, "selection.source_ids[0]"),
    "a painting source id": ({"source_ids": ["\x1b[2J"]}, "selection.source_ids[0]"),
    "no digest": ({"digests": [bytes(16), bytes(17)]}, "selection.digests[1]"),
    "too many": ({"entries": ["1"] * 200_001}, "selection"),
}


def violation(error):
    for name, value in error.trailing_metadata() or ():
        if name == "grpc-status-details-bin":
            for detail in status_pb2.Status.FromString(value).details:
                request = error_details_pb2.BadRequest()
                if detail.Unpack(request):
                    return request.field_violations[0].field
    return None


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stub(server):
    async with grpc.aio.insecure_channel(server.address) as channel:
        yield lists_pb2_grpc.HashListServiceStub(channel)


@pytest.mark.parametrize(("selection", "field"), REFUSED.values(), ids=REFUSED)
@pytest.mark.parametrize("act", ["Retract", "Restore", "Purge"])
async def test_a_selection_that_cannot_be_is_refused(stub, act, selection, field):
    request = getattr(lists_pb2, f"{act}EntriesRequest")(
        parent="hashLists/hashwarden-test",
        selection=lists_pb2.EntrySelection(**selection),
        reason=WHY,
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await getattr(stub, f"{act}Entries")(request)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert violation(caught.value) == field


@pytest.mark.parametrize(
    ("fields", "field"),
    [
        ({"name": "hashwarden-test"}, "name"),
        ({"to_revision": 0}, "to_revision"),
        ({"to_revision": -5}, "to_revision"),
        ({"reason": " "}, "reason"),
        ({"reason": "x" * 2001}, "reason"),
    ],
)
async def test_a_rollback_that_cannot_be_is_refused(stub, fields, field):
    good = {"name": "hashLists/hashwarden-test", "to_revision": 1, "reason": WHY}
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RollBackHashList(lists_pb2.RollBackHashListRequest(**(good | fields)))
    assert violation(caught.value) == field


async def test_a_reason_is_required(stub):
    request = lists_pb2.RetractEntriesRequest(
        parent="hashLists/hashwarden-test", selection=lists_pb2.EntrySelection(entries=["1"])
    )
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.RetractEntries(request)
    assert violation(caught.value) == "reason"


async def test_the_blocking_client_does_the_same(server, client, common):
    entry = await matching(client, common, 4)
    before = (await client.get_list(common)).revision
    chosen = EntrySelection(entry_ids=[entry])

    def work():
        with Client(server.address) as blocking:
            yield blocking.retract_entries(common, chosen, reason=WHY).changed
            yield blocking.restore_entries(common, chosen, reason=WHY).changed
            yield blocking.roll_back_list(common, before, reason=WHY).changes
            yield blocking.purge_entries(common, chosen, reason=WHY).entries

    assert await asyncio.to_thread(lambda: list(work())) == [1, 1, False, 1]
    await not_matching(client, common, 4)


async def test_the_command_line_does_it_at_a_server(server, client, demo, tmp_path, capsys):
    entry = await matching(client, demo, 7)

    def run(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "nothing-here"), "lists", *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    def command(what, *arguments, status=0):
        at = (demo, *arguments, "--server", server.address, "--json")
        reason = () if what in {"show", "revisions"} else ("--reason", WHY)
        out = run(what, *at, *reason, status=status).out
        return [json.loads(line) for line in out.splitlines()]

    def work():
        (shown,) = command("show")
        assert shown["coverage"]["entries"] == 10
        (done,) = command("retract", str(entry))
        assert (done["changed"], done["list"]) == (1, demo)
        newest, *_ = command("revisions", "--limit", "2")
        assert (newest["revision"], newest["reason"]) == (done["revision"], WHY)
        (done,) = command("rollback", "--to", str(shown["revision"]), "--yes")
        assert done["restored"] == 1
        (done,) = command("purge", "--source-id", "S-7", "--yes")
        assert (done["entries"], done["traces_wiped"]) == (1, True)
        assert "servers" in done["snapshots"]
        assert run("show", "--server", server.address).out.startswith("name\t")
        told = run("retract", demo, "1", "--reason", "x", "--server", server.address, status=2).err
        assert f"list '{demo}' has no entry 1" in told
        assert not (tmp_path / "nothing-here").exists()

    await asyncio.to_thread(work)
    await not_matching(client, demo, 7)


async def test_a_list_made_from_afar_is_in_shadow_until_it_is_promoted(client, server, tmp_path):
    request = lists_pb2.CreateHashListRequest(
        hash_list_id="list-77", hash_list={"harm": lists_pb2.HARM_TEST, "source": "a source"}
    )
    async with grpc.aio.insecure_channel(server.address) as channel:
        made = await lists_pb2_grpc.HashListServiceStub(channel).CreateHashList(request)
    assert made.hash_list.state == lists_pb2.LIST_STATE_SHADOW
    report = await bring(client, tmp_path, "list-77", range(3))
    seen = (await client.get_list("list-77")).revision
    assert seen == report.revision

    async def served():
        (answer,) = await client.lookup_hashes(
            [HashQuery({HashKind.SHA256: sha256(key("list-77", 1))})]
        )
        assert answer.result.decision is Decision.NO_KNOWN_MATCH
        return answer.result.revision >= report.revision

    await soon(served)
    with pytest.raises(ServerError) as caught:
        await client.promote_list("list-77", reason=WHY, if_revision=seen - 1)
    assert caught.value.reason == "LIST_CHANGED"
    live = await client.promote_list("list-77", reason=WHY, if_revision=seen, author="Ada")
    assert live.hash_list.state is ListState.LIVE
    await matching(client, "list-77", 1)
    shadow = await client.demote_list("list-77", reason=WHY, author="Ada")
    assert shadow.hash_list.state is ListState.SHADOW
    await not_matching(client, "list-77", 1)
    newest = [each async for each in client.list_revisions("list-77")][:2]
    assert [each.kind for each in newest] == [ChangeKind.DEMOTE, ChangeKind.PROMOTE]
    assert newest[0].author == "Ada (unverified, via grpc:ipv4:127.0.0.1)"
    assert newest[0].reason == WHY
    for call in (client.promote_list, client.demote_list):
        with pytest.raises(ServerError, match="reason"):
            await call("list-77", reason=" ")


async def test_a_list_s_handling_is_changed(server, client, data, demo):
    """Widened where the catalog is, narrowed from anywhere; exports go by it at once."""
    request = ExportRequest(list_names=[demo], format="jsonl", recipients=["unit-a"])
    assert (await export(client, request)).unreleasable == 10
    order = ("lists", "handling", demo, "--reason", WHY)
    both = ("--releasable-to", "unit-a", "--releasable-to", "unit-b")
    assert await asyncio.to_thread(cli.main, ["--data", str(data), *order, *both]) == 0
    given = await export(client, request)
    assert (given.entries, given.unreleasable) == (10, 0)
    narrow = await client.change_handling(
        demo, SaidHandling(releasable_to=("unit-b",)), reason=WHY, author="Ada"
    )
    assert narrow.hash_list.handling == Handling("", ("unit-b",))
    delta = await export(client, replace(request, since=given.revision))
    assert (delta.entries, delta.retracted) == (0, 10)
    order += ("--server", server.address)
    assert await asyncio.to_thread(cli.main, [*order, "--releasable-to-nobody"]) == 0
    assert await asyncio.to_thread(cli.main, [*order, "--releasable-to", "unit-a"]) == 2
    with Client(server.address) as blocking:
        same = await asyncio.to_thread(
            blocking.change_handling, demo, SaidHandling(), reason=WHY, endless=True
        )
    assert same.hash_list.handling == Handling("")
    newest = [each async for each in client.list_revisions(demo)][:2]
    assert [each.kind for each in newest] == [ChangeKind.HANDLING] * 2
    assert [each.handling for each in newest] == [
        same.hash_list.handling,
        narrow.hash_list.handling,
    ]
    assert newest[1].author == "Ada (unverified, via grpc:ipv4:127.0.0.1)"


async def test_whoever_calls_cannot_widen_handling(client, demo):
    """Else anybody who reaches the server could name himself, and take everything."""
    end = datetime(2101, 1, 1, tzinfo=UTC)
    await client.change_handling(demo, SaidHandling(expires_at=end), reason=WHY)
    before = await client.get_list(demo)
    later = SaidHandling(expires_at=end + timedelta(days=1))
    for said, endless in (
        (SaidHandling(releasable_to=("me",)), False),
        (SaidHandling("x"), False),
        (SaidHandling(expires_at=datetime.now(UTC) + timedelta(hours=1)), False),
        (later, False),
        (SaidHandling(), True),
    ):
        with pytest.raises(ServerError) as caught:
            await client.change_handling(demo, said, endless=endless, reason=WHY)
        assert caught.value.reason == "HANDLING_WIDENED"
    for said, reason in ((SaidHandling(), WHY), (SaidHandling("x"), " ")):
        with pytest.raises(ServerError):
            await client.change_handling(demo, said, reason=reason)
    with pytest.raises(ServerError) as caught:
        await client.change_handling("nosuch", SaidHandling("x"), reason=WHY)
    assert caught.value.reason == "LIST_NOT_FOUND"
    assert await client.get_list(demo) == before


async def test_entries_expire_with_their_list_and_come_back(client, data, demo):
    """Though no entry changed, every server learns it."""
    await matching(client, demo, 1)
    past = SaidHandling(expires_at=datetime(2001, 1, 1, tzinfo=UTC))
    for said, then in ((past, not_matching), (SaidHandling(), matching)):
        with Catalog.open(f"sqlite:///{data / 'catalog.sqlite3'}") as catalog:
            catalog.change_handling(demo, said, endless=True, author="a person", reason=WHY)
        # The server looks at once where it was asked to change something.
        await client.change_handling(demo, SaidHandling(""), reason=WHY)
        await then(client, demo, 1)


async def export(client, request):
    """The report of an export."""
    return await client.export_to_stream(io.BytesIO(), request)


@pytest.mark.slow
async def test_a_whole_list_retracts_what_it_does_not_name(client, demo, tmp_path):
    before = await client.get_list(demo)
    would = await bring(client, tmp_path, demo, range(1, 12), whole_list=WholeList(), dry_run=True)
    assert (would.revision, would.added, would.retracted, would.absent) == (0, 2, 1, 1)
    assert await client.get_list(demo) == before
    with pytest.raises(ServerError) as caught:
        await bring(client, tmp_path, demo, range(2, 10), whole_list=WholeList(False, 1))
    assert caught.value.reason == "IMPORT_DECLINED"
    with pytest.raises(ServerError) as caught:
        await bring(client, tmp_path, demo, range(5), whole_list=WholeList())
    assert caught.value.reason == "FULL_LIST_REFUSED"
    assert (await client.get_list(demo)).revision == before.revision
    done = await bring(client, tmp_path, demo, range(1, 12), whole_list=WholeList(False, 1))
    assert (done.added, done.retracted, done.absent) == (2, 1, 1)
    await matching(client, demo, 11)
    await not_matching(client, demo, 0)
    forced = await bring(client, tmp_path, demo, range(5), whole_list=WholeList(force=True))
    assert (forced.retracted, forced.absent, forced.updated) == (7, 7, 1)
    with pytest.raises(ServerError, match="negative"):
        await bring(client, tmp_path, demo, range(5), whole_list=WholeList(False, -1))


async def test_what_lists_match_is_counted_in_the_catalog(tmp_path):
    data = tmp_path / "data"
    loaded = settings.load_settings(data, environ={}, overrides=ONE_ADDRESS)
    async with running(loaded) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address) as client:
            trial = HashList("list-5", Harm.TEST, "a source", state=ListState.SHADOW)
            await client.create_list(trial)
            report = await bring(client, tmp_path, "list-5", range(3))
            query, looked_up = HashQuery({HashKind.SHA256: sha256(key("list-5", 1))}), 0

            async def served():
                nonlocal looked_up
                looked_up += 1
                (answer,) = await client.lookup_hashes([query])
                return answer.result.revision >= report.revision

            await soon(served)
            await client.lookup_hashes([query, HashQuery({HashKind.SHA256: bytes(32)})])
    with Catalog.open(loaded.catalog_url) as catalog:
        (day,) = catalog.match_days("list-5", since=date(2026, 1, 1))
        (built_in,) = catalog.match_days("hashwarden-test", since=date(2026, 1, 1))
    assert (day.exact, day.near) == (2, 0)
    assert 3 <= day.uploads <= looked_up + 2
    assert (built_in.exact, built_in.near, built_in.uploads) == (0, 0, looked_up + 2)
