"""`lists export --server` and `lists stats --server` at a real server, and what may go wrong."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
from contextlib import asynccontextmanager
from datetime import timedelta

import psutil
import pytest
import pytest_asyncio

from hashlists.catalog import Catalog
from hashlists.catalog.match_days import today
from hashlists.exporting.request import ExportRequest
from hashlists.model import Handling, HashKind, MatchDay
from matcher import cli, settings
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service import exports
from matcher.service.server import running
from tests.catalog_support import DEMO, bring, items, value

pytestmark = pytest.mark.asyncio(loop_scope="module")

FOR_A = Handling("us", ("unit-a",))
KEPT, SENT = [f"n{n}" for n in range(3)], [f"a{n}" for n in range(3_000)]
EXPORT = ("lists", "export", "--list", "demo", "--format", "jsonl", "--recipient", "unit-a")
REQUEST = ExportRequest(list_names=["demo"], format="jsonl", recipients=["unit-a"])
#: A child that says its process id as the first piece of the file.
BEGIN = """
import os, sys
from hashlists.exporting.frames import FrameWriter
order = sys.stdin.readline()
frames = FrameWriter(sys.stdout.buffer)
frames.write(str(os.getpid()).encode())
frames.flush()
"""
WAIT = "sys.stdin.read()"
DIE = "os.kill(os.getpid(), 9)"


def load(data, **overrides):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    values = {**one_address, "admin_listen": "off", "decode_workers": 1, **overrides}
    return settings.load_settings(data, environ={}, overrides=values)


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    folder = tmp_path_factory.mktemp("data")
    with Catalog.open(f"sqlite:///{folder / 'catalog.sqlite3'}") as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items(*KEPT) + items(*SENT, handling=FOR_A))
        catalog.add_match_days([MatchDay("demo", today() - timedelta(1), "default", 200, 1, 3)])
    return folder


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(data):
    async with running(load(data)) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def client(server):
    async with AsyncClient(server.address) as client:
        yield client


@pytest.fixture
def run(data, capsysbinary):
    """Runs a command beside the server; gives what it wrote."""

    async def ran(*arguments, status=0):
        got = await asyncio.to_thread(cli.main, ["--data", str(data), *map(str, arguments)])
        captured = capsysbinary.readouterr()
        assert got == status, captured.err.decode()
        return captured.out, captured.err.decode()

    return ran


@pytest.fixture
def waiting(monkeypatch):
    monkeypatch.setattr(exports, "_COMMAND", (sys.executable, "-c", BEGIN + WAIT))


async def under_way(client, **options):
    """An export that waits, and what it gave; begins once those of earlier tests have ended."""
    while True:
        taken = Taker()
        taking = asyncio.create_task(client.export_to_stream(taken, REQUEST, **options))
        some = asyncio.create_task(taken.has_some.wait())
        await asyncio.wait({taking, some}, return_when=asyncio.FIRST_COMPLETED)
        if not taking.done():
            return taking, taken
        some.cancel()
        assert taking.exception().reason in {"OVERLOADED", "DEADLINE_EXCEEDED"}
        await asyncio.sleep(0.02)


class Taker:
    """A stream that keeps what it is given, and tells when there is something."""

    def __init__(self):
        self.data = b""
        self.has_some = asyncio.Event()
        self._loop = asyncio.get_running_loop()

    def write(self, data):
        self.data += data
        self._loop.call_soon_threadsafe(self.has_some.set)
        return len(data)

    def flush(self):
        pass


async def ended(pid):
    async with asyncio.timeout(60):
        while psutil.pid_exists(pid):  # noqa: ASYNC110 - an ended process has no event for a test
            await asyncio.sleep(0.01)


async def test_the_command_does_here_and_there_the_same(run, server, tmp_path):
    here, there = tmp_path / "here.jsonl", tmp_path / "there.jsonl"
    mine, _ = await run(*EXPORT, "--to", here, "--json")
    theirs, told = await run(*EXPORT, "--to", there, "--json", "--server", server.address)
    expected, report = json.loads(mine), json.loads(theirs)
    assert {**report, "seconds": 0} == {**expected, "seconds": 0}
    assert (report["entries"], report["held_back"]["entries"]) == (len(SENT), len(KEPT))
    assert there.read_bytes() == here.read_bytes()
    assert told == ""
    _, told = await run(*EXPORT, "--to", there, "--server", server.address, status=2)
    assert "is there already" in told


async def test_to_standard_output_with_the_report_aside(run, server, caplog):
    caplog.set_level(logging.INFO)
    out, told = await run(*EXPORT, "--to", "-", "--server", server.address)
    assert len(out.splitlines()) == len(SENT) + 2
    assert "held back: 3 entries are not released to unit-a" in told
    (asked, done) = [each for each in caplog.messages if each.startswith("export of")]
    assert "export of demo as jsonl to unit-a: asked for by" in asked
    assert "unverified, via grpc:" in asked
    assert done.endswith(f", {len(SENT):,} entries and 0 withdrawals, 3 held back")
    for name in (*KEPT, *SENT[:10]):
        for kind in (HashKind.MD5, HashKind.PDQ):
            assert value(kind, (name, 0)).hex() not in caplog.text + told


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--own-copy",), "--own-copy is for the machine that has the catalog"),
        ((), "say who gets the file"),
        (("--recipient", " "), "recipients[0]: is empty"),
    ],
)
async def test_nothing_goes_out_but_to_somebody(run, server, tmp_path, arguments, why):
    order = (*EXPORT[:-2], "--to", tmp_path / "out", "--server", server.address)
    _, told = await run(*order, *arguments, status=2)
    assert why in told
    assert list(tmp_path.iterdir()) == []


async def test_stats_say_here_and_there_the_same(run, server):
    order = ("lists", "stats", "demo")
    for more in ((), ("--json",), ("--days", "1")):
        assert await run(*order, *more) == await run(*order, *more, "--server", server.address)
    out, _ = await run(*order, "--json", "--server", server.address)
    assert json.loads(out)["uploads"] == 200
    await run("lists", "stats", "nosuch", "--server", server.address, status=2)


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"days": -1}, "days: is from 1 to 3660"),
        ({"days": 3661}, "days: is from 1 to 3660"),
        ({"page_token": "nonsense"}, "page_token: is not one that this service gave"),
        ({"page_size": -1}, "page_size: is negative"),
        ({"parent": "demo"}, "parent: is of the form"),
    ],
)
async def test_stats_that_cannot_be_asked_for(client, monkeypatch, fields, words):
    from matcher.client import messages

    ask = messages.stats_request("demo", 30)
    for name, wrong in fields.items():
        setattr(ask, name, wrong)
    monkeypatch.setattr(messages, "stats_request", lambda *_: ask)
    with pytest.raises(ServerError) as caught:
        await anext(client.list_stats("demo"))
    assert words in str(caught.value)


@asynccontextmanager
async def cut_after(address, limit):
    """Passes connections on to a server, and cuts them once so many bytes came from it."""
    host, _, port = address.rpartition(":")

    async def connected(reader, writer):
        far_reader, far_writer = await asyncio.open_connection(host, port)
        up = asyncio.create_task(copy(reader, far_writer))
        await copy(far_reader, writer, limit)
        up.cancel()
        for each in (writer, far_writer):
            each.transport.abort()

    async def copy(source, target, most=sys.maxsize):
        while most > 0 and (data := await source.read(min(most, 65_536))):
            most -= len(data)
            target.write(data)
            await target.drain()

    listener = await asyncio.start_server(connected, "127.0.0.1", 0)
    try:
        yield f"127.0.0.1:{listener.sockets[0].getsockname()[1]}"
    finally:
        listener.close()


async def test_a_connection_that_is_cut_leaves_no_file(run, server, tmp_path):
    async with cut_after(server.address, 100_000) as address:
        _, told = await run(*EXPORT, "--to", tmp_path / "out", "--server", address, status=2)
    assert told.startswith("error: ")
    assert list(tmp_path.iterdir()) == []


async def test_a_child_that_dies_leaves_no_file(run, server, tmp_path, monkeypatch):
    monkeypatch.setattr(exports, "_COMMAND", (sys.executable, "-c", BEGIN + DIE))
    _, told = await run(*EXPORT, "--to", tmp_path / "out", "--server", server.address, status=2)
    assert "the export process ended early" in told
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("waiting")
class TestUnderWay:
    async def test_matching_goes_on_and_a_killed_child_is_told(self, client):
        taking, taken = await under_way(client)
        answer = await client.match_image(published_test_image().data)
        assert answer.result.decision is Decision.MATCH
        psutil.Process(int(taken.data)).kill()
        with pytest.raises(ServerError, match="the export process ended early") as caught:
            await taking
        assert (caught.value.reason, caught.value.retryable) == ("EXPORT_PROCESS_ENDED", True)

    async def test_a_caller_that_goes_away_ends_the_child(self, client):
        taking, taken = await under_way(client)
        taking.cancel()
        with pytest.raises(asyncio.CancelledError):
            await taking
        await ended(int(taken.data))

    @pytest.mark.slow
    async def test_a_deadline_that_passes_ends_the_child(self, client):
        taking, taken = await under_way(client, timeout=2)
        with pytest.raises(ServerError) as caught:
            await taking
        assert caught.value.reason == "DEADLINE_EXCEEDED"
        await ended(int(taken.data))

    async def test_more_than_a_few_at_once_are_refused(self, client):
        (first, one), (second, other) = await under_way(client), await under_way(client)
        with pytest.raises(ServerError) as caught:
            await client.export_to_stream(Taker(), REQUEST)
        assert (caught.value.reason, caught.value.retryable) == ("OVERLOADED", True)
        for each in (first, second):
            each.cancel()
        await asyncio.gather(first, second, return_exceptions=True)
        for each in (one, other):
            await ended(int(each.data))


async def test_no_list_goes_to_other_machines_unless_that_is_insisted_on(tmp_path):
    listening = {"listen": "0.0.0.0:0", "danger_listen_without_tls": True}
    async with running(load(tmp_path, **listening)) as server:
        await server.ready
        async with AsyncClient(f"127.0.0.1:{server.address.rpartition(':')[2]}") as client:
            with pytest.raises(ServerError) as caught:
                await client.export_to_stream(Taker(), REQUEST)
    assert caught.value.reason == "EXPORT_NOT_ALLOWED"
    assert not load(tmp_path, **listening).may_export
    assert load(tmp_path, **listening, danger_export_without_tls=True).may_export
    assert load(tmp_path).may_export


async def test_a_list_that_an_import_creates_hands_on_the_same_here_and_there(
    run, server, tmp_path
):
    file = tmp_path / "list.csv"
    file.write_text("MD5\n" + "".join(f"{value(HashKind.MD5, n).hex()}\n" for n in ("x", "y")))
    end = "2040-01-02"
    handling = ("--originator", "unit-o", "--releasable-to", "unit-b", "--expires", end)
    places = {"here": (), "there": ("--server", server.address, "--live")}
    found = {}
    for name, where in places.items():
        how = ("--harm", "test", "--source", "us", *handling, "--column", "md5=MD5", *where)
        await run("lists", "import", file, "--list", name, *how)
        out, _ = await run("lists", "import", file, "--list", name, *how, "--json")
        assert json.loads(out).items() >= {"added": 0, "updated": 0, "unchanged": 2}.items()
        asked = ("--list", name, "--format", "jsonl", "--recipient", "unit-b")
        out, _ = await run("lists", "export", "--to", "-", *asked)
        _, *rows, _ = map(json.loads, out.splitlines())
        told = ("md5", "originator", "releasable_to", "expires_at")
        found[name] = [{each: row[each] for each in told} for row in rows]
    assert found["here"] == found["there"]
    assert [each["originator"] for each in found["here"]] == ["unit-o"] * 2
    assert [each["expires_at"][:10] for each in found["here"]] == [end] * 2
