"""A match tells when its code was derived here: sealed, live, at a replica, in every output."""

from __future__ import annotations

import asyncio
import hashlib
import json

import pytest
from PIL import Image

from matcher import cli, demo, settings
from matcher.client import AsyncClient
from matcher.model import Basis, Decision
from matcher.service.server import running
from tests.snapshot_store_support import Keys


@pytest.fixture
def pictures(tmp_path):
    """Two pictures, the first one cut by 5 % on every side, and the second in another file."""
    files = {name: tmp_path / name for name in ("added.png", "named.png", "cut.png", "named.bmp")}
    for number, name in enumerate(("added.png", "named.png")):
        Image.fromarray(demo.paint(920 + number, 400, 320)).save(files[name])
    with Image.open(files["added.png"]) as picture:
        picture.crop((20, 16, 380, 304)).save(files["cut.png"])
    with Image.open(files["named.png"]) as picture:
        picture.save(files["named.bmp"])
    return files


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured.out

    return ran


@pytest.fixture
def lists(run, pictures, tmp_path):
    """One list with a file and its crop, and one that names a file by its digest alone."""
    run("lists", "create", "own", "--harm", "test", "--source", "Us")
    run("lists", "add", pictures["added.png"], "--list", "own", "--crops", "0.05")
    named = tmp_path / "named.csv"
    named.write_text(f"sha1\n{hashlib.sha1(pictures['named.png'].read_bytes()).hexdigest()}\n")
    order = ("--list", "named", "--column", "sha1=sha1", "--harm", "test", "--source", "x")
    run("lists", "import", named, *order)


def enrich(run, pictures):
    run("lists", "enrich", pictures["named.png"], "--list", "named")
    run("lists", "enrich", "--list", "named", "--confirm", "--all", "--reason", "our own copy")


def made(line):
    return {(each["kind"], each["derivation"]) for each in json.loads(line)["matches"]}


@pytest.mark.usefixtures("lists")
def test_commands_tell_it(run, pictures):
    cut, added = run(
        *("match", pictures["cut.png"], pictures["added.png"], "--json"), status=1
    ).splitlines()
    assert made(cut) == {("pdq", "crop:0.05")}
    assert made(added) == {("sha256", ""), ("pdq", "")}
    names, plain = run("match", pictures["cut.png"], status=1).splitlines()
    cells = dict(zip(names.split("\t"), plain.split("\t"), strict=True))
    assert cells["derivation"] == "crop:0.05"
    hashed = json.loads(run("hash", pictures["cut.png"], "--json"))["views"][0]["pdq"]
    assert made(run("lookup", f"pdq:{hashed}", "--json", status=1)) == {("pdq", "crop:0.05")}

    before = run("match", pictures["named.bmp"], "--json")
    assert made(before) == set()
    enrich(run, pictures)
    assert made(run("match", pictures["named.bmp"], "--json", status=1)) == {("pdq", "file")}

    entry = json.loads(cut)["matches"][0]["entry"]
    run("lists", "retract", "own", entry, "--reason", "taken back")
    assert made(run("match", pictures["cut.png"], "--json")) == set()


def load(data, **overrides):
    one_address = {"listen": "127.0.0.1:0", "lists_listen": "same"}
    free = {**one_address, "admin_listen": "127.0.0.1:0", "follow_seconds": 0.05}
    return settings.load_settings(data, environ={}, overrides={**free, **overrides})


async def until(condition):
    async with asyncio.timeout(60):
        while not await condition():  # noqa: ASYNC110 - the servers have no event for a test
            await asyncio.sleep(0.05)


@pytest.mark.slow
@pytest.mark.usefixtures("lists")
async def test_servers_and_replicas_tell_it(run, pictures, tmp_path):
    """The builder from what is live, and the replica, which has no catalog, from its snapshot."""
    keys, store = Keys(tmp_path), f"file://{tmp_path}/store"
    publishing = {"snapshot_publish_url": store, "snapshot_signing_key": keys.private}
    pulling = {"snapshot_pull_url": store, "snapshot_verify_key": keys.public}
    builder = load(tmp_path / "data", **publishing, snapshot_publish_seconds=0)
    images = {name: path.read_bytes() for name, path in pictures.items()}
    async with running(builder) as built, AsyncClient(built.address) as at_builder:
        await built.ready
        await until(lambda: asyncio.to_thread((tmp_path / "store" / "current").exists))
        replica = load(tmp_path / "replica", **pulling, snapshot_pull_seconds=1)
        async with running(replica) as pulled, AsyncClient(pulled.address) as at_replica:
            await asyncio.wait_for(pulled.ready, 60)
            for client in (at_builder, at_replica):
                (crop,) = (await client.match_image(images["cut.png"])).result.matches
                assert (crop.basis, crop.derivation) == (Basis.NEAR, "crop:0.05")
                whole = (await client.match_image(images["added.png"])).result.matches
                assert [each.derivation for each in whole] == ["", ""]

            await asyncio.to_thread(enrich, run, pictures)
            why = ("--reason", "taken back")
            await asyncio.to_thread(run, "lists", "retract", "own", crop.entry_id, *why)
            for client in (at_builder, at_replica):

                async def has_followed(client=client):
                    cut, named = [
                        (await client.match_image(images[name])).result
                        for name in ("cut.png", "named.bmp")
                    ]
                    told = {(each.list_name, each.derivation) for each in named.matches}
                    assert told <= {("named", "file")}
                    return cut.decision is Decision.NO_KNOWN_MATCH and told

                await until(has_followed)
    assert not (tmp_path / "replica" / "catalog.sqlite3").exists()
