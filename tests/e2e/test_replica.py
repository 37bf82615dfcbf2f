"""A server that builds and publishes, and one elsewhere that only pulls and matches."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import random
import shutil
import socket
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import HashlistsError, SnapshotSignatureError
from hashlists.importer import import_file
from hashlists.model import Harm, HashList
from hashlists.snapshot.store import push
from matcher import cli, settings
from matcher.builtin_list import ensure_test_list
from matcher.client import AsyncClient, Client
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.follow.snapshots import build_snapshot
from matcher.model import Decision
from matcher.service.server import running
from tests.snapshot_store_support import Keys

TEST_IMAGE = published_test_image()


def load_settings(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    values = {**free, "follow_seconds": 0.05, **overrides}
    loaded = settings.load_settings(data, environ={}, overrides=values)
    return replace(loaded, snapshot_pull_seconds=0.1)  # no store would want to be asked so often


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
    return ask(server.admin)


def ask(admin):
    connection = http.client.HTTPConnection(admin, timeout=100)
    try:
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())
    finally:
        connection.close()


def at(server):
    return ("--server", server.address)


async def until(condition, *, seconds=100):
    async with asyncio.timeout(seconds):
        while not await condition():  # noqa: ASYNC110 - the servers have no event for a test
            await asyncio.sleep(0.05)


async def test_a_replica_without_a_snapshot_waits_for_the_first_publication(
    tmp_path, store, caplog
):
    publishing, pulling = store
    replica = load_settings(tmp_path / "replica", **pulling)
    async with running(replica) as server, AsyncClient(server.address) as client:
        with pytest.raises(ServerError, match="no hash lists are loaded") as caught:
            await client.match_image(TEST_IMAGE.data)
        assert (caught.value.reason, caught.value.retryable) == ("NOT_READY", True)

        async def told():
            return "waiting for the first hash lists" in caplog.text

        await until(told)
        status, health = await asyncio.to_thread(readiness, server)
        assert (status, health["ready"]) == (503, False)
        assert "there is no such folder" in health["problem"]
        assert await client.health("hashwarden.match.v1.MatchService") == "NOT_SERVING"
        (tmp_path / "store").mkdir()

        async def finds_it_empty():
            _, health = await asyncio.to_thread(readiness, server)
            return "nothing is published" in health["problem"]

        await until(finds_it_empty)
        await asyncio.to_thread(publish, tmp_path, publishing)
        await asyncio.wait_for(server.ready, 60)
        answer = await client.match_image(TEST_IMAGE.data)
        assert (answer.result.decision, answer.stale) == (Decision.MATCH, False)
        assert (await asyncio.to_thread(readiness, server))[0] == 200
    assert caplog.text.count("waiting for the first hash lists") == 1


async def test_a_replica_ends_at_once_where_waiting_would_not_help(tmp_path, store):
    publishing, pulling = store
    for wrong in (
        {"snapshot_verify_key": tmp_path / "no.pem"},
        {"snapshot_pull_url": "s3://a/../b"},
    ):
        with pytest.raises(HashlistsError):
            async with running(load_settings(tmp_path / "replica", **pulling | wrong)):
                pass
    await asyncio.to_thread(publish, tmp_path, publishing)
    other = Keys(tmp_path, "other").public
    foreign = load_settings(tmp_path / "replica", **pulling | {"snapshot_verify_key": other})
    async with running(foreign) as server:
        with pytest.raises(SnapshotSignatureError):
            await asyncio.wait_for(server.ready, 60)


@pytest.mark.slow
def test_all_processes_of_a_replica_wait(tmp_path, store):
    publishing, pulling = store
    address, admin = (f"127.0.0.1:{port}" for port in free_ports())
    given = pulling | {
        "listen": address,
        "admin_listen": admin,
        "processes": 2,
        "decode_workers": 2,
    }
    named = {f"HASHWARDEN_{name.upper()}": str(value) for name, value in given.items()}
    log = tmp_path / "log"
    with log.open("wb") as stream:
        served = subprocess.Popen(
            [sys.executable, "-m", "matcher.cli", "--data", str(tmp_path / "replica"), "serve"],
            stdout=subprocess.PIPE,
            stderr=stream,
            text=True,
            env=os.environ | {"PYTHONPATH": str(Path(settings.__file__).parents[2])} | named,
        )
    try:
        while "waiting for the first hash lists" not in log.read_text():
            assert served.poll() is None, log.read_text()
            time.sleep(0.05)
        with Client(address) as client:
            assert client.health("") == "NOT_SERVING"
            with pytest.raises(ServerError) as caught:
                client.match_image(TEST_IMAGE.data)
            assert (caught.value.reason, caught.value.retryable) == ("NOT_READY", True)
            assert ask(admin)[0] == 503
            publish(tmp_path, publishing)
            assert served.stdout.readline() == f"serving on {address}\n"
            status, told = ask(admin)
            assert (status, [each["ready"] for each in told["processes"]]) == (200, [True, True])
            assert client.match_image(TEST_IMAGE.data).result.decision is Decision.MATCH
        assert log.read_text().count("waiting for the first hash lists") == 1
    finally:
        served.terminate()
        served.communicate()
    assert served.returncode == 0


def publish(folder, publishing):
    """Does once what a builder does."""
    with Catalog.open(f"sqlite:///{folder}/built.sqlite3") as catalog:
        ensure_test_list(catalog)
        path = build_snapshot(catalog, folder / "built")
    push(path, publishing["snapshot_publish_url"], signing_key=publishing["snapshot_signing_key"])


def free_ports():
    """One to listen at, and the first of three in a row for health."""
    while True:
        with socket.create_server(("127.0.0.1", 0)) as one:
            listen = one.getsockname()[1]
        first = random.randrange(10_000, 30_000)
        if all(is_free(port) for port in range(first, first + 3)):
            return listen, first


def is_free(port):
    try:
        socket.create_server(("127.0.0.1", port)).close()
    except OSError:
        return False
    return True


async def test_a_replica_matches_what_a_builder_published_also_when_all_else_is_gone(
    tmp_path, store, demo_folder, capsys
):
    publishing, pulling = store
    image = (demo_folder / "listed-1.jpg").read_bytes()
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

                await asyncio.to_thread(import_demo, builder, demo_folder)

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
