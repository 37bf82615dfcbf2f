"""A server that builds and publishes, and one elsewhere that only pulls and matches."""

from __future__ import annotations

import asyncio
import http.client
import json
import shutil

import pytest

from hashlists.catalog import Catalog
from hashlists.importer import import_file
from hashlists.model import Harm, HashList
from matcher import cli, demo, settings
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service.server import running
from tests.snapshot_store_support import Keys

TEST_IMAGE = published_test_image()


def load_settings(data, **overrides):
    free = {"listen": "127.0.0.1:0", "admin_listen": "127.0.0.1:0"}
    values = {**free, "follow_seconds": 0.05, **overrides}
    return settings.load_settings(data, environ={}, overrides=values)


@pytest.fixture
def store(tmp_path):
    """A folder that machines share, and the keys of who writes and who reads."""
    keys = Keys(tmp_path)
    url = f"file://{tmp_path}/store"
    return (
        {
            "snapshot_publish_url": url,
            "snapshot_signing_key": keys.private,
            "snapshot_publish_seconds": 0,
        },
        {
            "snapshot_pull_url": url,
            "snapshot_verify_key": keys.public,
            "snapshot_pull_seconds": 1,
        },
    )


def readiness(server):
    connection = http.client.HTTPConnection(server.admin, timeout=10)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def at(server):
    return ("--server", server.address)


async def until(condition, *, seconds=30):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the servers have no event for a test
            await asyncio.sleep(0.05)


async def test_a_replica_matches_what_a_builder_published_also_when_all_else_is_gone(
    tmp_path, store, capsys
):
    publishing, pulling = store
    await asyncio.to_thread(demo.main, [str(tmp_path / "demo")])
    image = (tmp_path / "demo" / "listed-1.jpg").read_bytes()
    builder = load_settings(tmp_path / "builder", **publishing)
    async with running(builder) as built:
        await built.ready
        await until(lambda: asyncio.to_thread((tmp_path / "store" / "current").exists))
        replica = load_settings(tmp_path / "replica", **pulling)
        async with running(replica) as server:
            await asyncio.wait_for(server.ready, 30)
            async with AsyncClient(server.address) as client:
                answer = await client.match_image(TEST_IMAGE.data)
                assert answer.result.decision is Decision.MATCH
                assert not answer.stale
                assert await client.health("hashwarden.match.v1.MatchService") == "SERVING"
                with pytest.raises(ServerError, match="UNIMPLEMENTED"):
                    [each async for each in client.list_lists()]
                assert await asyncio.to_thread(cli.main, ["lists", "show", *at(server)]) == 2
                told = capsys.readouterr().err
                assert told.startswith("error: the server at that address keeps no lists")
                assert "UNIMPLEMENTED" not in told

                await asyncio.to_thread(import_demo, builder, tmp_path / "demo")

                async def followed():
                    answer = await client.match_image(image)
                    return answer.result.decision is not Decision.NO_KNOWN_MATCH

                await until(followed)
                await asyncio.to_thread(shutil.rmtree, tmp_path / "store")

                async def noticed():
                    return (await asyncio.to_thread(readiness, server))[1]["problem"] != ""

                await until(noticed)
                status, told = await asyncio.to_thread(readiness, server)
                assert (status, told["ready"]) == (200, True)
                assert (await client.match_image(image)).result.matches
    assert not (tmp_path / "replica" / "catalog.sqlite3").exists()


def import_demo(builder, folder):
    with Catalog.open(builder.catalog_url) as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "Hashwarden demo"), author="t")
        import_file(
            catalog,
            folder / "demo-list.vics.json",
            list_name="demo",
            format="vics",
            importer="t",
        )
