"""The clock of the machine jumps under a running server; only what is about dates takes notice.

`libfaketime` moves the clock of the server's process, and leaves the one that only goes forward.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import socket
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

import matcher
from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from hashlists.model import TEST_LIST_NAME, EntrySelection, HashKind
from matcher.client import AsyncClient, HashQuery, TokenQuery
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.settings import load_settings

SOURCE = Path(matcher.__file__).parents[1]
KNOWN = published_test_image().data
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 60
LIBRARIES = [
    folder / "libfaketimeMT.so.1"
    for folder in (*Path("/usr/lib").glob("*/faketime"), Path("/usr/lib/faketime"))
]


class Clock:
    """The server's clock.

    Args:
        file: which `libfaketime` reads.
    """

    def __init__(self, file):
        self._file = file
        self.jump(0)

    def jump(self, seconds):
        """From now on it is so many seconds ahead of the true time."""
        new = self._file.with_suffix(".new")
        new.write_text(f"{seconds:+d}\n")
        new.rename(self._file)

    @property
    def environment(self):
        library = next((each for each in LIBRARIES if each.exists()), None)
        if library is None:
            pytest.skip("libfaketime is not installed (Debian: faketime)")
        return {
            "LD_PRELOAD": str(library),
            "FAKETIME_TIMESTAMP_FILE": str(self._file),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }


@contextlib.contextmanager
def served(data, clock, **overrides):
    """A server in a process of its own with that clock; its address and that of its health."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        admin = f"127.0.0.1:{free.getsockname()[1]}"
    values = {
        "PROCESSES": 1,
        "LISTEN": "127.0.0.1:0",
        "LISTS_LISTEN": "same",
        "ADMIN_LISTEN": admin,
        "FOLLOW_SECONDS": 0.1,
        "STALE_AFTER_SECONDS": 30,
        **overrides,
    }
    named = {f"HASHWARDEN_{name}": str(value) for name, value in values.items()}
    process = subprocess.Popen(
        [sys.executable, "-m", "matcher.cli", "--data", str(data), "serve"],
        stdout=subprocess.PIPE,
        text=True,
        cwd=SOURCE,
        env={"PATH": os.environ["PATH"]} | clock.environment | named,
    )
    try:
        yield process.stdout.readline().removeprefix("serving on ").strip(), admin
    finally:
        process.terminate()
        process.wait(PATIENCE)
        process.stdout.close()


def readiness(admin):
    connection = http.client.HTTPConnection(admin, timeout=PATIENCE)
    with contextlib.closing(connection):
        connection.request("GET", "/readyz")
        response = connection.getresponse()
        return response.status, json.loads(response.read())


@pytest.mark.slow
@pytest.mark.parametrize("jump", [timedelta(days=2), -timedelta(days=2)])
async def test_matching_following_and_deadlines_take_no_notice(tmp_path, jump):
    clock = Clock(tmp_path / "clock")
    data = tmp_path / "data"
    with served(data, clock, CLIENT_SECONDS=5, KEEPALIVE_SECONDS=2) as (address, admin):
        async with AsyncClient(address, timeout=PATIENCE) as client:
            before = await client.match_image(KNOWN, seal_token=True)
            assert before.result.decision is Decision.MATCH
            stream = asyncio.Event()

            async def drawn():
                yield "1", KNOWN
                await stream.wait()
                yield "2", KNOWN

            answers = client.match_images(drawn())
            assert (await anext(answers)).request_id == "1"
            clock.jump(int(jump.total_seconds()))
            started = time.monotonic()
            while time.monotonic() < started + 7:  # beyond every limit of time that is set above
                answer = await client.match_image(KNOWN)
                assert (answer.result.decision, answer.stale) == (Decision.MATCH, False)
                await asyncio.sleep(0.05)
            assert (await asyncio.to_thread(readiness, admin))[0] == 200
            stream.set()
            assert [each.answer.result.decision async for each in answers] == [Decision.MATCH]
            # What dates belong to: the token is within its days either way.
            queries = [TokenQuery("t", before.token)]

            async def asked():
                for each in queries:
                    yield each

            told = [each async for each in client.lookup_tokens(asked(), since_revision=0)]
            if jump > timedelta(0):
                assert told[0].found[0].answer is not None
            # A change of the lists is served as soon as ever.
            entries = EntrySelection(tuple({each.entry_id for each in before.result.matches}))
            await client.retract_entries(TEST_LIST_NAME, entries, reason="trial")
            async with asyncio.timeout(20):
                decision = Decision.MATCH
                while decision is Decision.MATCH:
                    decision = (await client.match_image(KNOWN)).result.decision
            # The record of the first match is there still: its days are not over.
            assert (await client.records.get(before.result.match_id)).match_id


def add_client(data, name, **said):
    """A client of the server in that folder that may match; its token."""
    chosen = load_settings(data, environ={})
    key = load_or_make_key(chosen.token_key_file)
    new = NewClient(name, frozenset({Role.MATCH}), **said)
    with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
        return database.add_client(new, actor="test", key=key)


async def reason(client):
    """Why a call of a client is refused; empty where it is answered."""
    try:
        await client.lookup_hashes([HashQuery({HashKind.MD5: bytes(16)})])
    except ServerError as error:
        return error.reason
    return ""


async def test_credentials_expire_once_however_the_clock_jumps(begun_data, tmp_path):
    """What is valid is refused while the clock is ahead, and what has expired at no time counts."""
    clock, now = Clock(tmp_path / "clock"), datetime.now(UTC)
    ends = {
        "over": now - timedelta(minutes=30),
        "in-30-minutes": now + timedelta(minutes=30),
        "in-a-day": now + timedelta(days=1),
        "never": None,
    }
    tokens = {name: add_client(begun_data, name, expires_at=end) for name, end in ends.items()}
    right = {name for name in ends if name != "over"}
    with served(begun_data, clock, AUTHENTICATION="required") as (address, _):
        async with contextlib.AsyncExitStack() as closing:
            clients = {
                name: await closing.enter_async_context(
                    AsyncClient(address, token=token, timeout=PATIENCE)
                )
                for name, token in tokens.items()
            }
            async with asyncio.timeout(PATIENCE):
                while await reason(clients["never"]):  # noqa: ASYNC110 - until lists are loaded
                    await asyncio.sleep(0.05)

            async def let_in():
                return {name for name, client in clients.items() if not await reason(client)}

            assert await let_in() == right
            for jump, expected in (
                (timedelta(hours=1), {"in-a-day", "never"}),
                (timedelta(), right),
                (-timedelta(hours=1), right),  # "over" would count by this clock
                (timedelta(), right),
            ):
                clock.jump(int(jump.total_seconds()))
                assert await let_in() == expected


@pytest.mark.slow
async def test_a_clock_that_is_years_ahead_deletes_no_record_of_a_match(begun_data, tmp_path):
    """Neither one that a start finds so: whom a match wronged can appeal once it is right."""
    clock = Clock(tmp_path / "clock")
    async with matching(begun_data, clock) as client:
        first = (await client.match_image(KNOWN)).result.match_id
        assert (await client.records.get(first)).match_id == first  # it is written
    clock.jump(int(timedelta(days=3650).total_seconds()))
    async with matching(begun_data, clock) as client:
        later = (await client.match_image(KNOWN)).result.match_id
        assert (await client.records.get(later)).match_id == later  # a sweep comes before this
        with pytest.raises(ServerError) as caught:
            await client.records.get(first)
        assert caught.value.reason == "MATCH_NOT_FOUND"
        clock.jump(0)
        assert (await client.records.get(first)).match_id == first


@contextlib.asynccontextmanager
async def matching(data, clock):
    """A client of a server in a process of its own with that clock."""
    with served(data, clock) as (address, _):
        async with AsyncClient(address, timeout=PATIENCE) as client:
            yield client
