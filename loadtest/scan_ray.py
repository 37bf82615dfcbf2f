"""A scan by one worker of a Ray cluster on this machine, and by two.

    python -m loadtest.scan_ray [--objects N] [--entries N] [--rounds N] [--smoke]

The files are those of `loadtest.scan`. Workers are there, with their decoders and lists, before a
scan is timed; one and two take turns. Exit status 1 where two are not so much faster as they must.
"""

from __future__ import annotations

import asyncio
import logging
import os
import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from loadtest import measure
from loadtest.scan import make_files, make_index
from matcher.scan.document import Place, ScanDocument
from matcher.scan.engines.orders import Orders
from matcher.scan.engines.ray import start_ray_engine
from matcher.scan.model import Batch, Outcome
from matcher.scan.run import run_scan
from matcher.scan.sources import open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import ScanState

if TYPE_CHECKING:
    import argparse

_REQUIRED: Final = 1.6
_WORKERS: Final = (1, 2)
_MAX_BYTES: Final = 25 << 20


async def scan(work: Path, workers: int, number: int) -> float:
    """Seconds that a whole scan takes."""
    place = Place(str(work / "files"))
    orders = Orders(places=(place,), image_bytes=_MAX_BYTES, revision=1)
    (index,) = (work / "snapshots").glob("snapshot-*")
    engine = await start_ray_engine(orders, work / "snapshots", index.name, workers=workers)
    source = open_source(place)
    try:
        page = await anext(source.list())
        some = [Batch(row + 1, 0, page.objects[:2]) for row in range(engine.capacity)]
        await asyncio.gather(*map(engine.scan, some))
        document = ScanDocument("s", 0.0, "load test", (place,))
        with ScanState.create(work / f"out-{workers}-{number}", document) as state:
            state.begin_run(revision=1, policy="default", policy_version="v")
            begun = time.perf_counter()
            done = await run_scan(state, [source], Selector(document.selection), engine)
            wall = time.perf_counter() - begun
            outcomes = state.summary().tally.outcomes
    finally:
        await source.close()
        await engine.close()
    if not done or outcomes.get(Outcome.FAILED):
        raise RuntimeError(f"the scan did not go well: {outcomes}")
    return wall


async def rounds(work: Path, count: int) -> dict[int, list[float]]:
    """Seconds of each scan by how many workers did it."""
    taken: dict[int, list[float]] = {workers: [] for workers in _WORKERS}
    for number in range(count):
        for workers in _WORKERS:
            taken[workers].append(await scan(work, workers, number))
    return taken


def main() -> int:
    """Prints the table; returns the exit status."""

    def add(parser: argparse.ArgumentParser) -> None:
        parser.add_argument("--objects", type=int, help="files to scan (default 1500)")
        parser.add_argument("--entries", type=int, default=100_000, help="of the list")

    options = measure.arguments("A scan on Ray.", rounds=5, add=add)
    objects = options.objects or (200 if options.smoke else 1500)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    import ray  # noqa: PLC0415  once it is silenced

    with tempfile.TemporaryDirectory(prefix="scan-ray-") as name:
        work = Path(name)
        make_files(work / "files", objects)
        make_index(work / "snapshots", options.entries)
        ray.init(
            address="local",
            num_cpus=max(_WORKERS),
            include_dashboard=False,
            object_store_memory=1 << 29,
            log_to_driver=False,
            logging_level=logging.ERROR,
        )
        try:
            taken = asyncio.run(rounds(work, options.rounds))
        finally:
            ray.shutdown()
    ratio = statistics.median(one / two for one, two in zip(taken[1], taken[2], strict=True))
    print(f"{objects} files, medians of {options.rounds} rounds\n")
    print(measure.circumstances(("ray", "numpy", "pillow")), end="\n\n")
    table = [
        (str(workers), f"{statistics.median(of):.2f}", f"{objects / statistics.median(of):.0f}")
        for workers, of in taken.items()
    ]
    print(measure.markdown_table(("workers", "s", "objects/s"), table))
    print(f"\nTwo are {ratio:.2f} times as fast as one; required {_REQUIRED}: "
          f"{'met' if ratio >= _REQUIRED else 'missed'}.")  # fmt: skip
    return int(ratio < _REQUIRED and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
