"""A scan on a real cluster of Ray gives what one process gives, whatever becomes of its workers."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from hashlists.catalog import Catalog
from matcher.builtin_list import ensure_test_list
from matcher.demo_data import published_test_image
from matcher.pipeline import MatchOptions
from matcher.scan.document import Place
from matcher.scan.engines.orders import engine_of
from matcher.scan.engines.placing import usual_node_folder
from matcher.scan.engines.ray import start_ray_engine
from matcher.scan.errors import EngineError
from matcher.scan.model import FOUND, Outcome
from tests.scan_ray_support import (
    FILES,
    KNOWN,
    NO_PICTURES,
    REVISION,
    make_files,
    make_snapshot,
    orders,
    scan,
    some_are_finished,
)

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Ray leaves folders open that it has looked through.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def scanned(tmp_path_factory):
    """A folder of pictures, a few of them known, and of other files."""
    folder = tmp_path_factory.mktemp("scanned")
    make_files(folder)
    return folder


@pytest.fixture(scope="module")
def snapshots(tmp_path_factory):
    root = tmp_path_factory.mktemp("snapshots")
    make_snapshot(root)
    return root


@pytest.fixture(scope="module")
def cluster():
    """Ray on this machine, with two CPUs to give."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray

    ray.init(
        address="local",
        num_cpus=2,
        include_dashboard=False,
        object_store_memory=200 << 20,
        log_to_driver=False,
        logging_level="ERROR",
    )
    yield ray
    ray.shutdown()


def name_of(snapshots):
    (folder,) = snapshots.glob("snapshot-*")
    return folder.name


@pytest.fixture(scope="module")
def alone(scanned, snapshots, tmp_path_factory):
    """What one process makes of it."""

    async def work():
        async with engine_of(orders(scanned), snapshots) as engine:
            return await scan(tmp_path_factory.mktemp("out") / "scan", Place(str(scanned)), engine)

    return asyncio.run(work())


async def test_a_cluster_where_nobody_is_is_told_soon(scanned, snapshots):
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and nobody listens
        address = f"127.0.0.1:{held.getsockname()[1]}"
        with pytest.raises(EngineError, match=f"no cluster of Ray could be had at {address}"):
            await start_ray_engine(orders(scanned), snapshots, "snapshot", address=address)


async def test_a_cluster_that_does_not_come_up_is_told(scanned, snapshots, monkeypatch):
    """Of which Ray tells by a plain exception."""
    import ray

    def timed_out(**options):
        raise Exception("The current node timed out during startup")  # noqa: TRY002

    monkeypatch.setattr(ray, "init", timed_out)
    with pytest.raises(EngineError, match="could be had on this machine: The current node timed"):
        await start_ray_engine(orders(scanned), snapshots, name_of(snapshots))


@pytest.mark.usefixtures("cluster")
async def test_workers_give_what_one_process_gives(scanned, snapshots, alone, tmp_path):
    engine = await start_ray_engine(orders(scanned), snapshots, name_of(snapshots), workers=2)
    try:
        assert engine.capacity == 4
        records = await scan(tmp_path / "scan", Place(str(scanned)), engine)
        copies = [each for each in usual_node_folder().iterdir() if each.is_dir()]
        assert len(copies) == 1  # for both of them
    finally:
        await engine.close()
    assert records == alone
    assert len(records) == FILES
    assert sum(each.outcome in FOUND for each in records) == len(KNOWN)
    assert sum(each.outcome is Outcome.NOT_HASHABLE for each in records) == NO_PICTURES
    assert list(usual_node_folder().glob("snapshot-*")) == []


@pytest.mark.usefixtures("cluster")
async def test_a_worker_that_is_killed_loses_nothing(scanned, snapshots, alone, tmp_path):
    engine = await start_ray_engine(orders(scanned), snapshots, name_of(snapshots), workers=2)
    before = await engine.processes()

    async def kill_one(state):
        await some_are_finished(state)
        os.kill(before[0], signal.SIGKILL)

    try:
        records = await scan(tmp_path / "scan", Place(str(scanned)), engine, kill_one)
        after = await engine.processes()
    finally:
        await engine.close()
    assert records == alone
    assert after[0] != before[0]
    assert after[1] == before[1]


@pytest.mark.usefixtures("cluster")
async def test_what_no_worker_can_mend_ends_the_scan(scanned, snapshots, tmp_path):
    """Such as a policy that is wrong, told in the words that one process has for it."""
    told = orders(scanned, policy="no-such-policy", views=MatchOptions().views)
    engine = await start_ray_engine(told, snapshots, name_of(snapshots), workers=1)
    try:
        with pytest.raises(EngineError, match="no policy is named 'no-such-policy'"):
            await scan(tmp_path / "scan", Place(str(scanned)), engine)
    finally:
        await engine.close()


@pytest.mark.usefixtures("cluster")
async def test_a_worker_with_other_lists_does_not_begin(scanned, snapshots, tmp_path):
    told = orders(scanned, revision=REVISION + 1)
    engine = await start_ray_engine(told, snapshots, name_of(snapshots), workers=1)
    try:
        with pytest.raises(EngineError, match="revision 7, not of 8"):
            await scan(tmp_path / "scan", Place(str(scanned)), engine)
    finally:
        await engine.close()


def test_a_command_scans_on_a_cluster_as_it_does_alone(scanned, tmp_path):
    """On one that it starts itself, with the lists of a catalog at its head."""
    command = [sys.executable, "-m", "matcher.cli", "--data", tmp_path / "data"]
    (tmp_path / "data").mkdir(mode=0o700)
    with Catalog.open(f"sqlite:///{tmp_path / 'data' / 'catalog.sqlite3'}", make=True) as catalog:
        ensure_test_list(catalog)
    (scanned / "test-image.png").write_bytes(published_test_image().data)
    reports = []
    for engine in ("local", "ray"):
        out = tmp_path / engine
        scan_command = [*command, "scan", scanned, "--output", out, "--engine", engine]
        ended = subprocess.run(
            [*scan_command, "--workers", "2", "--yes"], check=False, capture_output=True, cwd=ROOT
        )
        assert ended.returncode == 1, ended.stderr.decode()
        assert b"core_worker" not in ended.stderr
        lines = (out / "report.jsonl").read_bytes().splitlines()
        records = [msgspec.json.decode(each) for each in lines]
        for each in records:
            each.pop("match_id", None)
            each.pop("way")
        reports.append(records)
    assert reports[0] == reports[1]
    assert [each["outcome"] for each in reports[0]].count("matched") == 1
