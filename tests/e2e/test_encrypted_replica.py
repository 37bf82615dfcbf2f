"""A builder that encrypts, a store without a list in clear, replicas with and without keys."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace

import httpx
import pytest

from hashlists.catalog import Catalog
from hashlists.encryption import keys as encryption_keys
from hashlists.encryption.keys import KeySource, shown
from hashlists.errors import SnapshotError
from hashlists.snapshot import SnapshotWriter
from hashlists.snapshot.manifest import readable_manifest
from hashlists.snapshot.pointer import read_pointer
from hashlists.snapshot.store import push
from matcher.builtin_list import ensure_test_list
from matcher.client import AsyncClient
from matcher.follow.snapshots import build_snapshot
from matcher.follow.vaults import make_vault
from matcher.service.server import running
from tests.catalog_support import DEMO, bring, items
from tests.e2e.test_replica import TEST_IMAGE, load_settings, readiness, until
from tests.snapshot_store_support import Keys

ONE, TWO = "11" * 32, "22" * 32
NAME = shown(KeySource(f"keys:{ONE}").newest().name)
LISTED = items("a", "b", "c")


@pytest.fixture
def publish(tmp_path):
    """Brings entries into the builder's catalog, and publishes what is built with these keys."""
    signing = Keys(tmp_path)
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite3'}") as catalog:
        ensure_test_list(catalog)
        catalog.create_list(DEMO, author="a person")

        def published(batch, *keys):
            bring(catalog, batch)
            vault = make_vault(f"keys:{','.join(keys)}")
            path = build_snapshot(catalog, tmp_path / "built", vault=vault)
            push(path, f"file://{tmp_path}/store", signing_key=signing.private)
            return json.loads((path / "manifest.json").read_bytes())["sha256"]

        yield published


def replica(tmp_path, place, name="replica"):
    return load_settings(
        tmp_path / name,
        snapshot_pull_url=f"file://{tmp_path}/store",
        snapshot_verify_key=tmp_path / "builder.pub.pem",
        snapshot_pull_seconds=1,
        encryption_keys=place,
    )


def current_manifest(root):
    return read_pointer(root).manifest_sha256


def in_clear(*folders):
    values = [value for each in LISTED for value in each.hashes.values()]
    files = [file for folder in folders for file in folder.rglob("*") if file.is_file()]
    assert len(files) > 10
    return [file for file in files if any(each in file.read_bytes() for each in values)]


async def metrics(server):
    async with httpx.AsyncClient() as client:
        return (await client.get(f"http://{server.admin}/metrics")).text


async def test_a_replica_with_the_keys_serves_what_the_store_cannot_read(
    tmp_path, publish, monkeypatch
):
    monkeypatch.setattr(encryption_keys, "_LOOK_SECONDS", 0.1)
    keys = tmp_path / "replica.keys"
    keys.write_text(ONE)
    keys.chmod(0o600)
    first = await asyncio.to_thread(publish, LISTED, ONE)
    async with running(replica(tmp_path, f"file:{keys}")) as server:
        await asyncio.wait_for(server.ready, 60)
        root = tmp_path / "replica" / "snapshots"
        assert current_manifest(root) == first
        async with AsyncClient(server.address) as client:
            assert (await client.match_image(TEST_IMAGE.data)).result.matches

            # A newer key, which the replica lacks: what it has goes on being served.
            second = await asyncio.to_thread(publish, items("d"), TWO, ONE)

            async def told():
                return (
                    "which is not here"
                    in (await asyncio.to_thread(readiness, server))[1]["problem"]
                )

            await until(told)
            name = shown(KeySource(f"keys:{TWO}").newest().name)
            status, answer = await asyncio.to_thread(readiness, server)
            assert (status, name in answer["problem"]) == (200, True)
            # What it has is still there, for a start as for now.
            assert current_manifest(root) == first
            page = await metrics(server)
            assert "hashwarden_snapshot_pull_failures_total 0.0" not in page
            assert (await client.match_image(TEST_IMAGE.data)).result.matches

            # The key comes; nothing is restarted.
            keys.write_text(f"{TWO}\n{ONE}\n")

            async def followed():
                return (await asyncio.to_thread(readiness, server))[1]["problem"] == ""

            await until(followed)
            assert current_manifest(root) == second
    assert in_clear(tmp_path / "store", tmp_path / "replica", tmp_path / "built") == []


@pytest.mark.parametrize("place", ["", f"keys:{TWO}"], ids=["no keys", "another key"])
async def test_a_replica_without_the_key_serves_nothing_and_says_why(tmp_path, publish, place):
    await asyncio.to_thread(publish, LISTED, ONE)
    async with running(replica(tmp_path, place)) as server:
        with pytest.raises(SnapshotError, match=f"is encrypted with key {NAME}"):
            await asyncio.wait_for(server.ready, 60)


@pytest.mark.slow
async def test_a_replica_that_lacks_a_newer_key_is_stale_and_starts_again(tmp_path, publish):
    await asyncio.to_thread(publish, LISTED, ONE)
    chosen = replace(replica(tmp_path, f"keys:{ONE}"), stale_after_seconds=2.0)
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        await asyncio.to_thread(publish, items("d"), TWO, ONE)

        async def stale():
            return (await asyncio.to_thread(readiness, server))[1]["stale"]

        await until(stale)
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address) as client:
            assert (await client.match_image(TEST_IMAGE.data)).result.matches


async def test_a_replica_keeps_what_it_can_open_though_a_builder_signs_what_it_cannot(
    tmp_path, publish
):
    """As where a later version of the builder writes what this one does not read."""
    first = await asyncio.to_thread(publish, LISTED, ONE)
    chosen = replica(tmp_path, f"keys:{ONE}")
    root = tmp_path / "replica" / "snapshots"

    def publish_unusable(revision):
        built = tmp_path / "built"
        of_now = readable_manifest(built / read_pointer(built).snapshot)
        with SnapshotWriter(tmp_path / "other", revision=revision) as writer:
            writer.add_document("lists", ["written otherwise"])
            folder = writer.publish(of_now["parameters"])
        push(folder, f"file://{tmp_path}/store", signing_key=tmp_path / "builder.pem")

    async def stale():
        return (await asyncio.to_thread(readiness, server))[1]["stale"]

    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        served = read_pointer(root).snapshot
        for revision in (100, 101):
            await asyncio.to_thread(publish_unusable, revision)

            async def pulled(revision=revision):
                return read_pointer(root).revision == revision

            await until(pulled)
            await until(stale)
    assert current_manifest(root) != first
    assert (root / served).is_dir()
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        async with AsyncClient(server.address) as client:
            answer = await client.match_image(TEST_IMAGE.data)
            assert (bool(answer.result.matches), answer.stale) == (True, True)
        assert (root / served).is_dir()
        await asyncio.to_thread(publish, items("d"), ONE)

        async def well():
            answer = (await asyncio.to_thread(readiness, server))[1]
            return (answer["problem"], answer["stale"]) == ("", False)

        await until(well)
