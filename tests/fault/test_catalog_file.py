"""The file of a catalog in SQLite goes away, or becomes another, beneath a running server."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from contextlib import closing

import pytest

from hashlists.catalog import Catalog
from hashlists.model import TEST_LIST_NAME, EntrySelection, Harm, HashList
from matcher import cli
from matcher.errors import ServerError
from matcher.model import Decision
from tests.fault.test_catalog_away import (
    IMAGE,
    follows,
    goes_on_stale,
    load_settings,
    readiness,
    served,
    until,
)


def with_log(file):
    """The file, and then those that SQLite keeps beside it."""
    return sorted(each for each in file.parent.iterdir() if each.name.startswith(file.name))


def move(files, folder):
    folder.mkdir(exist_ok=True)
    return [each.rename(folder / each.name) for each in files]


def move_back(files, folder):
    """The file last: who finds it without its log would begin another."""
    move(reversed(files), folder)


async def retract(client):
    answer = await client.match_image(IMAGE)
    entries = tuple({match.entry_id for match in answer.result.matches})
    await client.retract_entries(TEST_LIST_NAME, EntrySelection(entries), reason="trial")


async def none_is_changed(client):
    with pytest.raises(ServerError) as caught:
        await retract(client)
    assert (caught.value.reason, caught.value.retryable) == ("CATALOG_UNAVAILABLE", True)


async def stale_for_it(server, client):
    async with asyncio.timeout(60):  # a slow machine may be late for another reason before
        while "catalog" not in (await readiness(server))[1]["problem"]:  # noqa: ASYNC110 - no event
            await asyncio.sleep(0.02)
    await goes_on_stale(server, client)


@pytest.mark.parametrize("alone", [True, False], ids=["alone", "with its log"])
async def test_one_that_is_moved_away_and_back(begun_data, tmp_path, alone):
    """Neither is it read from where it lies now, nor is an empty one made in its place."""
    chosen = load_settings(begun_data, stale_after_seconds=1)
    file = chosen.catalog_file
    async with served(chosen) as (server, client):
        await until(client, Decision.MATCH)
        gone = move([file] if alone else with_log(file), tmp_path / "away")
        await stale_for_it(server, client)
        await none_is_changed(client)
        assert not file.exists()
        move_back(gone, file.parent)
        await follows(client)
        assert (await readiness(server))[1]["problem"] == ""


async def test_one_in_whose_place_another_is_put(begun_data, tmp_path):
    """As a backup is: what it holds is served, and what was done to the other is not."""
    chosen = load_settings(begun_data, stale_after_seconds=1)
    file = chosen.catalog_file
    with closing(sqlite3.connect(file)) as catalog:
        catalog.execute("VACUUM INTO ?", (str(tmp_path / "backup"),))
    async with served(chosen) as (_, client):
        await follows(client)  # retracts the entry
        move(with_log(file), tmp_path / "away")
        shutil.copy(tmp_path / "backup", tmp_path / "copy")
        (tmp_path / "copy").rename(file)
        await until(client, Decision.MATCH)
        await follows(client)


async def run(data, *arguments):
    """The exit status of a command in that data folder."""
    return await asyncio.to_thread(cli.main, ["--data", str(data), *arguments])


async def test_no_command_makes_an_empty_one_in_its_place(begun_data, tmp_path, capsys):
    """Servers would follow it, and match nothing any more."""
    chosen = load_settings(begun_data, stale_after_seconds=1)
    file, table = chosen.catalog_file, tmp_path / "list.csv"
    table.write_text("md5\n" + "0f" * 16 + "\n")
    made = ("--harm", "csam", "--source", "us")
    async with served(chosen) as (server, client):
        await until(client, Decision.MATCH)
        gone = move(with_log(file), tmp_path / "away")
        for arguments in (
            ("lists", "import", str(table), "--list", "new", *made, "--column", "md5=md5"),
            ("lists", "import", str(tmp_path / "none"), "--list", "new", *made),
            ("lists", "create", "new", *made),
            ("lists", "show"),
            ("index", "build"),
            ("match", str(table)),
        ):
            assert await run(begun_data, *arguments) == 2
            told = " ".join(capsys.readouterr().err.split())
            assert str(tmp_path / "none") in arguments or "is gone, while a snapshot" in told
            assert not file.exists()
        await stale_for_it(server, client)
        move_back(gone, file.parent)
        await follows(client)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["empty", "later", "no tables"])
async def test_one_in_whose_place_a_new_one_is_put(begun_data, tmp_path, what):
    """It is not followed, whatever it holds, and takes no change."""
    chosen = load_settings(begun_data, stale_after_seconds=1)
    file = chosen.catalog_file
    new = tmp_path / "new.sqlite3"
    if what == "no tables":
        new.touch(0o600)
    else:
        with Catalog.open(f"sqlite:///{new}") as catalog:
            for number in range(10 if what == "later" else 0):
                catalog.create_list(HashList(f"list-{number}", Harm.CSAM, "us"), author="us")
    async with served(chosen) as (server, client):
        await until(client, Decision.MATCH)
        gone = move(with_log(file), tmp_path / "away")
        shutil.copy(new, file)
        await stale_for_it(server, client)
        await none_is_changed(client)
        assert await run(begun_data, "lists", "show") == 2
        assert await run(begun_data, "index", "build", "--full") == 2
        move(with_log(file), tmp_path / "wrong")
        move_back(gone, file.parent)
        await follows(client)
        assert (await readiness(server))[1]["problem"] == ""


async def test_a_start_beside_a_new_one_serves_what_was_published(begun_data, tmp_path):
    chosen = load_settings(begun_data)
    file = chosen.catalog_file
    gone = move(with_log(file), tmp_path / "away")
    with Catalog.open(f"sqlite:///{file}") as catalog:
        before = catalog.head()
    async with served(chosen) as (server, client):
        answer = await client.match_image(IMAGE)
        assert (answer.result.decision, answer.stale) == (Decision.MATCH, True)
        assert "catalog" in (await readiness(server))[1]["problem"]
        await none_is_changed(client)
        with closing(sqlite3.connect(file)) as left:
            assert left.execute("SELECT revision FROM head").fetchone() == (before,)
        move(with_log(file), tmp_path / "wrong")
        move_back(gone, file.parent)
        await follows(client)


@pytest.mark.slow
@pytest.mark.parametrize("what", ["garbage", "folder", "not to be read"])
async def test_one_in_whose_place_is_what_cannot_be_read(begun_data, tmp_path, what):
    if what == "not to be read" and os.geteuid() == 0:
        pytest.skip("whoever may do anything may read it")
    chosen = load_settings(begun_data, stale_after_seconds=1)
    file = chosen.catalog_file
    async with served(chosen) as (server, client):
        await until(client, Decision.MATCH)
        gone = move(with_log(file), tmp_path / "away")
        if what == "folder":
            file.mkdir()
        else:
            file.write_bytes(b"no database, but as long as one" * 4096)
            file.chmod(0 if what == "not to be read" else 0o600)
        await stale_for_it(server, client)
        await none_is_changed(client)
        move(with_log(file), tmp_path / "wrong")
        move_back(gone, file.parent)
        await follows(client)


async def test_a_start_without_it_serves_what_was_published(begun_data, tmp_path):
    """Rather than an empty catalog that it has made."""
    chosen = load_settings(begun_data)
    file = chosen.catalog_file
    gone = move(with_log(file), tmp_path / "away")
    async with served(chosen) as (server, client):
        answer = await client.match_image(IMAGE)
        assert (answer.result.decision, answer.stale) == (Decision.MATCH, True)
        assert "catalog" in (await readiness(server))[1]["problem"]
        assert not file.exists()
        move_back(gone, file.parent)
        await follows(client)
