"""A catalog that is lost and restored serves again, and nobody takes its revisions for the old."""

from __future__ import annotations

import asyncio
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from hashlists.catalog import Catalog
from hashlists.model import HashKind
from hashlists.snapshot.pointer import read_pointer
from matcher import cli
from matcher.client import AsyncClient, HashQuery
from matcher.service.server import running
from tests.catalog_support import DEMO, bring, items, names_in_force
from tests.e2e.test_replica import load_settings

PLACE = "keys:" + "11" * 32
NAMES = "abcde"
SOURCE = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def keys(monkeypatch):
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", PLACE)


async def found(data):
    """The entries that a server of this folder finds, and its revision."""
    async with running(load_settings(data, encryption_keys=PLACE)) as server:
        await asyncio.wait_for(server.ready, 60)
        queries = [HashQuery({HashKind.MD5: each.hashes[HashKind.MD5]}) for each in items(*NAMES)]
        async with AsyncClient(server.address) as client:
            answers = await client.lookup_hashes(queries)
    named = zip(NAMES, answers, strict=True)
    return "".join(name for name, answer in named if answer.result.matches), answers[
        0
    ].result.revision


def brought(data, *names, create=False):
    with Catalog.open(f"sqlite:///{data / 'catalog.sqlite3'}") as catalog:
        if create:
            catalog.create_list(DEMO, author="a person")
        bring(catalog, items(*names))


def run(data, *arguments):
    assert cli.main(["--data", str(data), "catalog", *map(str, arguments)]) == 0


def run_index(data):
    assert cli.main(["--data", str(data), "index", "build"]) == 0


def lose(data):
    for each in data.glob("catalog.sqlite3*"):
        each.unlink()


async def test_a_restored_catalog_is_followed_whatever_its_revisions_were_before(tmp_path):
    data, file = tmp_path / "data", tmp_path / "backup"
    data.mkdir(mode=0o700)
    brought(data, "a", "b", create=True)
    before = await found(data)
    assert before[0] == "ab"
    run(data, "backup", file)
    brought(data, "c")
    run_index(data)
    later = await found(data)
    assert later == ("abc", before[1] + 1)
    assert read_pointer(data / "snapshots").revision == later[1]
    lose(data)
    run(data, "restore", file)
    # What lies on disk is of a later revision than the catalog.
    assert await found(data) == before


@pytest.mark.slow
async def test_where_the_same_number_is_of_another_state_it_is_built_anew(tmp_path):
    data, file = tmp_path / "data", tmp_path / "backup"
    data.mkdir(mode=0o700)
    brought(data, "a", "b", create=True)
    run(data, "backup", file)
    brought(data, "c")
    run_index(data)
    lose(data)
    run(data, "restore", file)
    brought(data, "d")
    assert (await found(data))[0] == "abd"


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("pg_dump") is None, reason="pg_dump is not installed")
def test_what_is_dumped_of_postgresql_is_restored_through_the_pipes(
    tmp_path, postgresql_server, postgresql_url
):
    """The commands of docs/encryption.md."""
    program = f"{sys.executable} -m matcher.cli --data {tmp_path / 'data'} catalog"
    dump = f"pg_dump --format=custom $DATABASE | {program} encrypt > catalog.hwenc"
    load = f"{program} decrypt < catalog.hwenc | pg_restore --single-transaction -d $DATABASE"

    def piped(command, url):
        variables = {"PYTHONPATH": str(SOURCE), "DATABASE": url.replace("+psycopg", "")}
        done = subprocess.run(
            ["bash", "-c", f"set -o pipefail; {command}"],
            cwd=tmp_path,
            check=False,
            env=os.environ | variables,
        )
        return done.returncode

    with Catalog.open(postgresql_url) as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("a", "b"))
        head = catalog.head()
    assert piped(dump, postgresql_url) == 0
    content = (tmp_path / "catalog.hwenc").read_bytes()
    assert not any(value in content for each in items("a", "b") for value in each.hashes.values())
    other = postgresql_server.make_database()
    assert piped(load, postgresql_server.url(other)) == 0
    with Catalog.open(postgresql_server.url(other)) as catalog:
        assert (set(names_in_force(catalog)), catalog.head()) == ({"a", "b"}, head)

    # Cut off, nothing is restored, and the pipe says so.
    (tmp_path / "catalog.hwenc").write_bytes(content[:-1])
    third = postgresql_server.make_database()
    assert piped(load, postgresql_server.url(third)) != 0
    tables = "SELECT count(*) FROM pg_tables WHERE schemaname = 'public'"
    assert postgresql_server.run_sql(tables, database=third) == [(0,)]
