"""Records of matches when something goes wrong: kills, full disks, other keys. Matching goes on."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import signal
import sqlite3
import subprocess
import sys

from sqlalchemy import event

from matcher import settings
from matcher.client import AsyncClient, TokenQuery
from matcher.demo_data import published_test_image
from matcher.model import Decision
from matcher.records import RecordFilter, RecordStore, database
from matcher.sealing import KeySource
from matcher.service import record_keeping
from matcher.service.server import running
from tests.record_support import KEEP, KEY, OTHER_KEY

IMAGE = published_test_image().data
_WRITER = """
import sys, time
from datetime import UTC, datetime
from pathlib import Path
from matcher.records import RecordStore
from tests.record_support import KEEP, KEY, record
from matcher.sealing import KeySource
url = "sqlite:///" + sys.argv[1]
store = RecordStore.open(url, KeySource("keys:" + KEY), keep=KEEP)
number = 0
while True:
    batch = [record(f"{number}-{each}", at=datetime.now(UTC), entries=(1, 2)) for each in range(20)]
    store.add(batch, {"v1": {}})
    print(number, flush=True)
    number += 1
"""


def load(data, **overrides):
    free = {"listen": "127.0.0.1:0", "lists_listen": "same", "admin_listen": "127.0.0.1:0"}
    return settings.load_settings(
        data, environ={}, overrides={**free, "follow_seconds": 0.05, **overrides}
    )


@contextlib.asynccontextmanager
async def served(data, **overrides):
    async with running(load(data, **overrides)) as server:
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


async def until_told(server, words):
    async with asyncio.timeout(60):
        while words not in (told := (await readiness(server))[1]["match_records"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    return told


def test_a_kill_leaves_whole_batches_and_a_store_that_opens(tmp_path):
    file = tmp_path / "records.sqlite3"
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, str(file)], stdout=subprocess.PIPE, text=True
    )
    with process:
        written = 0
        for line in process.stdout:
            written = int(line) + 1
            if written == 5:
                process.send_signal(signal.SIGKILL)
                break
        more = [int(line) for line in process.stdout if line.endswith("\n")]
    written += len(more)
    with RecordStore.open(f"sqlite:///{file}", KeySource(f"keys:{KEY}"), keep=KEEP) as store:
        names = [each.record.match_id for page in store.pages(RecordFilter()) for each in page]
        batches = {name.partition("-")[0] for name in names}
        assert len(names) == 20 * len(batches)
        assert {str(number) for number in range(written)} <= batches
        assert len(list(store.entries())) == 2


async def test_a_full_disk_is_told_and_matching_goes_on(begun_data, monkeypatch):
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.05)
    full = [True]
    open_engine = database.open_engine

    def small(url):
        """A database whose file may not grow, as on a full disk."""
        engine = open_engine(url)

        @event.listens_for(engine, "connect")
        def limit(connection, _):
            pages = connection.execute("PRAGMA page_count").fetchone()[0]
            most = pages if full[0] and pages else 1 << 30
            connection.execute(f"PRAGMA max_page_count = {most}").close()

        return engine

    RecordStore.open(
        load(begun_data).match_records_url,
        KeySource(f"file:{begun_data / 'match.keys'}"),
        keep=KEEP,
    ).close()
    monkeypatch.setattr(database, "open_engine", small)
    async with served(begun_data) as (server, client):
        found = []
        async with asyncio.timeout(60):
            while "cannot be written" not in (
                told := (await readiness(server))[1]["match_records"]
            ):
                answer = await client.match_image(IMAGE)
                assert answer.result.decision is Decision.MATCH
                found.append(answer.result.match_id)
        assert "full" in told
        assert (await readiness(server))[0] == 200
        full[0] = False
        await until_told(server, "kept")
        assert [each.match_id async for each in client.records.list()] == found[::-1]


async def test_other_keys_write_nothing_and_matching_goes_on(begun_data, monkeypatch):
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.05)
    async with served(begun_data, match_keys=f"keys:{KEY}") as (_, client):
        first = (await client.match_image(IMAGE)).result.match_id
        await client.records.get(first)
    async with served(begun_data, match_keys=f"keys:{OTHER_KEY}") as (server, client):
        answer = await client.match_image(IMAGE)
        assert answer.result.decision is Decision.MATCH
        assert "another key" in await until_told(server, "cannot be written")
    async with served(begun_data, match_keys=f"keys:{KEY}") as (_, client):
        assert [each.match_id async for each in client.records.list()] == [first]


async def test_a_key_that_is_rotated_under_a_server_is_taken_up(begun_data):
    async with served(begun_data) as (_, client):
        old = await client.match_image(IMAGE, seal_token=True)
        KeySource(f"file:{begun_data / 'match.keys'}").rotate()
        new = await client.match_image(IMAGE, seal_token=True)
        assert new.token[:8] != old.token[:8]
        tokens = [TokenQuery("old", old.token), TokenQuery("new", new.token)]

        async def drawn():
            for each in tokens:
                yield each

        answers = [each async for each in client.lookup_tokens(drawn(), since_revision=0)]
        assert [found.answer is not None for each in answers for found in each.found] == [True] * 2
        for each in (old, new):
            assert (await client.records.get(each.result.match_id)).match_id


async def test_without_keys_answers_come_without_tokens(begun_data):
    command = "command:/no/such/program"
    async with served(begun_data, match_keys=command) as (server, client):
        answer = await client.match_image(IMAGE, seal_token=True)
        assert answer.result.decision is Decision.MATCH
        assert answer.token == b""
        assert "cannot be run" in await until_told(server, "cannot be written")


async def test_a_database_that_goes_away_and_comes_back_loses_nothing(begun_data, monkeypatch):
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.05)
    file = begun_data / "match_records.sqlite3"
    async with served(begun_data) as (server, client):
        first = (await client.match_image(IMAGE)).result.match_id
        await client.records.get(first)
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("ALTER TABLE records RENAME TO away")
        second = (await client.match_image(IMAGE)).result.match_id
        await until_told(server, "cannot be written")
        with contextlib.closing(sqlite3.connect(file)) as connection:
            connection.execute("ALTER TABLE away RENAME TO records")
        await until_told(server, "kept")
        assert [each.match_id async for each in client.records.list()] == [second, first]
