"""A scan on a cluster of Ray with several nodes, one of which is lost in the middle."""

from __future__ import annotations

import asyncio
import os
import signal
from contextlib import suppress
from pathlib import Path

import pytest

from matcher.scan.document import Place
from matcher.scan.engines.orders import engine_of
from matcher.scan.engines.ray import start_ray_engine
from tests.scan_ray_support import make_files, make_snapshot, orders, scan, some_are_finished

pytestmark = [
    pytest.mark.slow,
    pytest.mark.timeout(600),
    # Ray leaves folders open that it has looked through.
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

#: Each node has room for all workers, so that the one that is left can take over.
WORKERS = 2


@pytest.fixture
def nodes():
    """A head that does no work, where the driver is, and two nodes."""
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray
    from ray.cluster_utils import Cluster

    soon = {"health_check_initial_delay_ms": 0, "health_check_period_ms": 500}
    cluster = Cluster(
        initialize_head=True,
        head_node_args={"num_cpus": 0, "include_dashboard": False, "_system_config": soon},
    )
    for _ in range(2):
        cluster.add_node(num_cpus=WORKERS, include_dashboard=False)
    ray.init(address=cluster.address, log_to_driver=False, logging_level="ERROR")
    yield cluster
    ray.shutdown()
    cluster.shutdown()


def raylet_of(node):
    (raylet,) = node.all_processes["raylet"]
    return raylet.process.pid


def parent_of(process):
    fields = Path(f"/proc/{process}/stat").read_text(encoding="utf-8").rpartition(")")[2].split()
    return int(fields[1])


def lose(cluster, node, processes):
    """What a node without power looks like: none of it is left, at once."""
    its = [each for each in processes if parent_of(each) == raylet_of(node)]
    cluster.remove_node(node, allow_graceful=False)
    for each in its:
        with suppress(ProcessLookupError):
            os.kill(each, signal.SIGKILL)
    return set(its)


async def test_a_node_that_is_lost_loses_nothing(nodes, tmp_path):
    (tmp_path / "scanned").mkdir()
    (tmp_path / "snapshots").mkdir()
    make_files(tmp_path / "scanned")
    name = make_snapshot(tmp_path / "snapshots")
    place = Place(str(tmp_path / "scanned"))
    told = orders(tmp_path / "scanned")
    async with engine_of(told, tmp_path / "snapshots") as engine:
        alone = await scan(tmp_path / "alone", place, engine)

    engine = await start_ray_engine(told, tmp_path / "snapshots", name, workers=WORKERS)
    lost = set()
    try:
        before = await engine.processes()
        (node,) = (each for each in nodes.worker_nodes if raylet_of(each) == parent_of(before[0]))

        async def lose_one(state):
            await some_are_finished(state)
            lost.update(await asyncio.to_thread(lose, nodes, node, before))

        records = await scan(tmp_path / "scan", place, engine, lose_one)
        after = await engine.processes()
        (left,) = nodes.worker_nodes
        assert {parent_of(each) for each in after} == {raylet_of(left)}
    finally:
        await engine.close()
    assert before[0] in lost
    assert not lost & set(after)
    assert records == alone
