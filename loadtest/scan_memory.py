"""What a scan of very many small objects takes of memory, from its beginning to its end.

    python -m loadtest.scan_memory [--objects N] [--entries N] [--smoke]

The objects are files of a folder, each of other bytes: small pictures, one in ten no picture. The
scan runs in this process with a state of its own; the memory is that of this process without the
mapped index, and of its decoders, at each tenth of the objects. Exit status 1 where it passes 1 GB.
"""

from __future__ import annotations

import argparse
import asyncio
import io
import random
import sys
import tempfile
from pathlib import Path
from typing import Final

import psutil
from PIL import Image

from hashlists import snapshot
from loadtest import measure
from loadtest.scan import make_index
from matcher.decode.sandbox.pool import SandboxPool
from matcher.index.match_index import MatchIndex
from matcher.pipeline import Generation, MatchOptions
from matcher.policy.rules import default_policy
from matcher.scan.document import Place, ScanDocument
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.events import Event, Finished
from matcher.scan.judging.local import LocalJudge
from matcher.scan.run import run_scan
from matcher.scan.sources import open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import ScanState

_MOST_MB: Final = 1000
_MAX_BYTES: Final = 25 << 20
_PER_FOLDER: Final = 10_000
_PARTS: Final = 10


def make_files(folder: Path, count: int) -> None:
    """Small files, so many."""
    file = io.BytesIO()
    Image.linear_gradient("L").resize((40, 30)).save(file, "PNG")
    picture, chance = file.getvalue(), random.Random(count)
    for number in range(count):
        here = folder / f"{number // _PER_FOLDER:05}"
        here.mkdir(parents=True, exist_ok=True)
        content = b"no picture " if number % 10 == 0 else picture
        (here / f"{number:08}.png").write_bytes(content + chance.randbytes(12))


class Memory:
    """Notes the memory at each tenth of the objects, in MB."""

    def __init__(self, objects: int) -> None:
        self._objects = objects
        self._done = 0
        self._self = psutil.Process()
        self.noted: list[tuple[int, float, float]] = []

    def take(self, event: Event) -> None:
        """Counts what is finished."""
        if isinstance(event, Finished):
            self._done += event.tally.objects
            if self._done * _PARTS >= (len(self.noted) + 1) * self._objects:
                self.noted.append((self._done, *self.now()))

    def now(self) -> tuple[float, float]:
        """Of this process without mapped files, and of those it has started."""
        own = self._self.memory_info()
        others = sum(each.memory_info().rss for each in self._self.children(recursive=True))
        return (own.rss - own.shared) / 1e6, others / 1e6


async def scan(files: Path, index: Path, out: Path, memory: Memory) -> None:
    """Scans them all."""
    generation = Generation(
        MatchIndex.open(snapshot.open_snapshot(index)), {"default": default_policy()}
    )
    place, pool = Place(str(files)), SandboxPool()
    try:
        with ScanState.create(out, ScanDocument("s", 0.0, "load test", (place,))) as state:
            state.begin_run(revision=1, policy="default", policy_version="v")
            judge = LocalJudge(generation, pool, MatchOptions(within=None), max_bytes=_MAX_BYTES)
            source = open_source(place)
            engine = LocalEngine([source], judge, LocalOptions())
            selector = Selector(state.document.selection)
            if not await run_scan(state, [source], selector, engine, events=memory.take):
                raise RuntimeError("the scan did not come to its end")
            for each in (engine, judge, source):
                await each.close()
    finally:
        pool.close()


def main() -> int:
    """Prints the table; returns the exit status."""
    parser = argparse.ArgumentParser(description="The memory of a scan.")
    parser.add_argument("--objects", type=int, help="files to scan (default 1,000,000)")
    parser.add_argument("--entries", type=int, default=1_000_000, help="of the list")
    parser.add_argument("--smoke", action="store_true", help="a thousand files")
    options = parser.parse_args()
    objects = options.objects or (1_000 if options.smoke else 1_000_000)
    with tempfile.TemporaryDirectory(prefix="scan-memory-") as name:
        work = Path(name)
        make_files(work / "files", objects)
        make_index(work / "snapshots", options.entries)
        (index,) = (work / "snapshots").glob("snapshot-*")
        memory = Memory(objects)
        asyncio.run(scan(work / "files", index, work / "out", memory))
    print(measure.circumstances(("numpy", "pillow")), end="\n\n")
    header = ("objects", "the scan, MB", "decoders, MB")
    rows = [(f"{done:,}", f"{own:.0f}", f"{others:.0f}") for done, own, others in memory.noted]
    print(measure.markdown_table(header, rows))
    most = max(own for _, own, _ in memory.noted)
    print(
        f"\nMost {most:.0f} MB; wanted below {_MOST_MB}: {'met' if most < _MOST_MB else 'missed'}."
    )
    return int(most >= _MOST_MB)


if __name__ == "__main__":
    sys.exit(main())
