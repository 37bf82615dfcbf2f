"""A server that starts while its catalog is away, damaged, or held by somebody else."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json

import pytest
import pytest_asyncio

from hashlists.catalog import Catalog
from hashlists.errors import CatalogAwayError, CatalogError
from hashlists.importer import import_file
from hashlists.model import TEST_LIST_NAME, EntrySelection, Harm, HashList
from matcher import settings
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.follow.snapshots import build_snapshot
from matcher.model import Decision
from matcher.service import worker
from matcher.service.late_catalog import LateCatalog
from matcher.service.server import running
from tests.postgresql_server import PostgresqlServer, find_binaries

IMAGE = published_test_image().data


def load_settings(data, **overrides):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    free = {**one_address, "admin_listen": "127.0.0.1:0", "follow_seconds": 0.05}
    return settings.load_settings(data, environ={}, overrides=free | overrides)


@contextlib.asynccontextmanager
async def served(chosen):
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address) as client:
            yield server, client


async def readiness(server):
    def ask():
        connection = http.client.HTTPConnection(server.admin, timeout=60)
        with contextlib.closing(connection):
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            return response.status, json.loads(response.read())

    return await asyncio.to_thread(ask)


async def until(client, decision, image=IMAGE):
    """Waits for that answer from up-to-date lists."""
    async with asyncio.timeout(60):
        while True:
            answer = await client.match_image(image)
            if answer.result.decision is decision and not answer.stale:
                return answer
            await asyncio.sleep(0.05)


async def follows(client):
    """Whether an act on the catalog counts."""
    answer = await until(client, Decision.MATCH)
    entries = tuple({match.entry_id for match in answer.result.matches})
    await client.retract_entries(TEST_LIST_NAME, EntrySelection(entries), reason="trial")
    await until(client, Decision.NO_KNOWN_MATCH)


@pytest_asyncio.fixture
async def known_lists(tmp_path):
    """A data folder whose server ran before and ended."""
    async with served(load_settings(tmp_path)):
        pass
    return tmp_path


@pytest.fixture
def mortal():
    """A server of its own, since it will be killed; what it has written survives its process."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql), so none can be killed")
    server = PostgresqlServer(binaries)
    yield server
    server.close()


async def test_it_matches_without_postgresql_and_follows_once_that_is_back(tmp_path, mortal):
    chosen = load_settings(tmp_path, catalog_url=mortal.url(mortal.make_database()))
    async with served(chosen):
        pass
    mortal.kill()
    async with served(chosen) as (server, client):
        answer = await client.match_image(IMAGE)
        assert answer.result.decision is Decision.MATCH
        assert answer.stale
        with pytest.raises(ServerError) as caught:
            await client.get_list(TEST_LIST_NAME)
        assert caught.value.reason == "CATALOG_UNAVAILABLE"
        assert caught.value.retryable
        status, told = await readiness(server)
        assert (status, told["stale"], told["seconds_since_contact"]) == (200, True, None)
        assert "catalog" in told["problem"]
        mortal.start()
        await follows(client)
        assert (await readiness(server))[1]["problem"] == ""


@pytest.mark.slow
async def test_postgresql_that_goes_away_and_comes_back_holds_up_no_match(tmp_path, mortal):
    chosen = load_settings(
        tmp_path, catalog_url=mortal.url(mortal.make_database()), stale_after_seconds=1
    )
    async with served(chosen) as (server, client):
        await until(client, Decision.MATCH)
        mortal.kill()
        await goes_on_stale(server, client)
        mortal.start()
        await follows(client)


async def goes_on_stale(server, client):
    """Matching goes on, and tells that it cannot know of anything new."""
    async with asyncio.timeout(60):
        while not (answer := await client.match_image(IMAGE)).stale:
            assert answer.result.decision is Decision.MATCH
            await asyncio.sleep(0.02)
    assert answer.result.decision is Decision.MATCH
    status, told = await readiness(server)
    assert (status, told["ready"], told["stale"]) == (200, True, True)


@pytest.mark.slow
async def test_without_a_snapshot_it_waits_for_postgresql(tmp_path, mortal, caplog):
    chosen = load_settings(tmp_path, catalog_url=mortal.url(mortal.make_database()))
    mortal.kill()
    async with running(chosen) as server, AsyncClient(server.address) as client:
        with pytest.raises(ServerError, match="no hash lists are loaded") as caught:
            await client.match_image(IMAGE)
        assert (caught.value.reason, caught.value.retryable) == ("NOT_READY", True)
        async with asyncio.timeout(60):
            while not (await readiness(server))[1]["problem"]:  # noqa: ASYNC110 - it has no event
                await asyncio.sleep(0.05)
        status, told = await readiness(server)
        assert (status, told["ready"], told["revision"]) == (503, False, None)
        assert "cannot be reached" in told["problem"]
        assert await client.health("hashwarden.match.v1.MatchService") == "NOT_SERVING"
        assert await client.health("live") == "SERVING"
        mortal.start()
        await asyncio.wait_for(server.ready, 60)
        assert (await client.match_image(IMAGE)).result.decision is Decision.MATCH
        assert (await readiness(server))[1]["problem"] == ""
    assert caplog.text.count("waiting for the first hash lists") == 1


async def test_new_settings_that_would_wait_fail_on_trial(tmp_path):
    """Or nobody would hear of it, and a supervisor would hear no later signal."""
    chosen = load_settings(tmp_path, catalog_url="postgresql://127.0.0.1:1/hashwarden")
    with pytest.raises(CatalogAwayError):
        await asyncio.wait_for(worker._try(chosen), 60)


async def test_what_no_waiting_mends_is_told_at_once(tmp_path, mortal):
    url = mortal.url("no_such_database")
    for wrong in (url, url.replace("port=", "port=x"), "mysql://127.0.0.1/hashwarden"):
        with pytest.raises(CatalogError):
            async with running(load_settings(tmp_path, catalog_url=wrong)):
                pass


async def test_a_damaged_catalog_leaves_the_published_snapshot(known_lists, caplog):
    chosen = load_settings(known_lists)
    sound = chosen.catalog_file.read_bytes()
    chosen.catalog_file.write_bytes(b"no database, but as long as one" * 4096)
    async with served(chosen) as (server, client):
        answer = await client.match_image(IMAGE)
        assert (answer.result.decision, answer.stale) == (Decision.MATCH, True)
        assert "catalog" in (await readiness(server))[1]["problem"]
        assert "lists are served as they were published last" in caplog.text
        chosen.catalog_file.write_bytes(sound)
        await follows(client)


async def test_a_damaged_catalog_without_a_snapshot_is_told_at_once(tmp_path):
    chosen = load_settings(tmp_path)
    chosen.catalog_file.write_bytes(b"no database, but as long as one" * 4096)
    with pytest.raises(CatalogError):
        async with running(chosen):
            pass


async def test_what_was_retracted_since_the_snapshot_stays_out_without_the_catalog(
    known_lists, demo_folder
):
    chosen = load_settings(known_lists)
    image = await asyncio.to_thread(publish_demo, chosen, demo_folder)
    async with served(chosen) as (_, client):
        answer = await client.match_image(image)
        entries = tuple({match.entry_id for match in answer.result.matches})
        await client.retract_entries("demo", EntrySelection(entries), reason="trial")
        await until(client, Decision.NO_KNOWN_MATCH, image)
    chosen.catalog_file.write_bytes(b"no database, but as long as one" * 4096)
    async with served(chosen) as (server, client):
        answer = await client.match_image(image)
        assert (answer.result.decision, answer.stale) == (Decision.NO_KNOWN_MATCH, True)
        assert (await client.match_image(IMAGE)).result.decision is Decision.MATCH
        assert "withdrawn" not in (await readiness(server))[1]["problem"]


def publish_demo(chosen, folder):
    """Imports the demo's list and builds a snapshot of it; gives an image that is listed."""
    with Catalog.open(chosen.catalog_url) as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "Hashwarden demo"), author="t")
        file = folder / "demo-list.vics.json"
        import_file(catalog, file, list_name="demo", format="vics", importer="t")
        build_snapshot(catalog, chosen.snapshots_dir)
    return (folder / "listed-1.jpg").read_bytes()


class TestLateCatalog:
    def test_it_is_opened_by_the_first_read_that_succeeds(self, tmp_path):
        file = tmp_path / "catalog.db"
        file.write_bytes(b"no database, but as long as one" * 4096)
        now = [0.0]
        late = LateCatalog(f"sqlite:///{file}", clock=lambda: now[0])
        with pytest.raises(CatalogError, match="not tried yet"):
            late.opened()
        with pytest.raises(CatalogError) as caught, late.read():
            pass
        with pytest.raises(CatalogError) as told:
            late.opened()
        assert str(caught.value) in str(told.value)
        file.unlink()
        with pytest.raises(CatalogError) as again, late.read():
            pass
        assert str(again.value) == str(caught.value)  # told in a log once
        now[0] = 1.0
        with late.read() as reader:
            assert [each.hash_list.name for each in reader.lists()] == [TEST_LIST_NAME]
        assert late.opened() is late.open()
        late.close()

    def test_what_cannot_be_filled_is_closed_and_tried_again(self, tmp_path, monkeypatch):
        closed = []
        monkeypatch.setattr(Catalog, "__exit__", lambda self, *_: closed.append(self))
        monkeypatch.setattr(Catalog, "sweep", refuse)
        now = [0.0]
        late = LateCatalog(f"sqlite:///{tmp_path / 'catalog.db'}", clock=lambda: now[0])
        for count in (1, 2):
            now[0] = 2.0 * count
            with pytest.raises(CatalogError, match="full"):
                late.open()
            assert len(closed) == count
        late.close()


def refuse(_catalog):
    raise CatalogError("the disk is full")
