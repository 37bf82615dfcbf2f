"""A disk that is really full, under a running server: matching goes on, and nothing is half done.

The data folder lies on a small file system of its own, in memory; to make one takes root.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import subprocess

import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.model import TEST_LIST_NAME, EntrySelection
from matcher import settings
from matcher.client import AsyncClient
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.model import Decision
from matcher.service import record_keeping
from matcher.service.server import running

IMAGE = published_test_image().data
PATIENCE = 60
SIZE = "24m"


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system that is soon full."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", f"size={SIZE}", "tmpfs", folder]
    made = subprocess.run(command, capture_output=True, check=False)
    if made.returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    """Takes every byte that is left; gives the file that does."""
    filler = folder / "filler"
    with filler.open("wb", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(1 << 16))
    with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
        while True:
            file.write(bytes(512))
    assert shutil.disk_usage(folder).free < 4096
    return filler


@contextlib.asynccontextmanager
async def served(data):
    chosen = settings.load_settings(
        data,
        environ={},
        overrides={
            "listen": "127.0.0.1:0",
            "lists_listen": "same",
            "admin_listen": "off",
            "follow_seconds": 0.05,
            "decode_workers": 1,
        },
    )
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, PATIENCE)
        async with AsyncClient(server.address, timeout=PATIENCE) as client:
            yield client, chosen


async def decided(client):
    return (await client.match_image(IMAGE)).result.decision


async def kept(client):
    """Ids of the matches of which there are records."""
    return {each.match_id async for each in client.records.list()}


async def until(client, decision):
    async with asyncio.timeout(PATIENCE):
        while await decided(client) is not decision:  # noqa: ASYNC110 - it has no event
            await asyncio.sleep(0.05)


async def test_matching_goes_on_and_all_else_comes_back(small_disk, monkeypatch):
    """Records of matches are kept, acts are recorded and followed, once there is room again."""
    monkeypatch.setattr(record_keeping, "RETRY_SECONDS", 0.05)
    async with served(small_disk) as (client, chosen):
        first = (await client.match_image(IMAGE)).result
        entries = EntrySelection(tuple({each.entry_id for each in first.matches}))
        await client.records.get(first.match_id)
        filler = fill(small_disk)
        during = []
        for _ in range(50):
            result = (await client.match_image(IMAGE)).result
            assert result.decision is Decision.MATCH
            during.append(result.match_id)
        with pytest.raises(ServerError) as caught:
            await client.retract_entries(TEST_LIST_NAME, entries, reason="no room")
        assert caught.value.reason in {"AUDIT_UNAVAILABLE", "ACCESS_DATABASE_UNAVAILABLE"}
        assert await decided(client) is Decision.MATCH
        filler.unlink()
        async with asyncio.timeout(PATIENCE):
            while not await kept(client) >= {first.match_id, *during}:  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        await client.retract_entries(TEST_LIST_NAME, entries, reason="room again")
        await until(client, Decision.NO_KNOWN_MATCH)
    head = HeadFile(chosen.audit_head_file)
    with AccessDatabase.open(chosen.access_url, head) as database:
        assert database.verify_audit(head.read()) is None
        reasons = [each.event.details.get("reason") for each in database.records()]
    assert "room again" in reasons
    assert "no room" not in reasons


async def test_a_server_starts_on_a_full_disk_where_lists_were_published(small_disk):
    async with served(small_disk) as (client, _):
        await until(client, Decision.MATCH)
    fill(small_disk)
    async with served(small_disk) as (client, _):
        assert await decided(client) is Decision.MATCH
