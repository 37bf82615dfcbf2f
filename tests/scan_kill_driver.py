"""Kills a scan at random moments and resumes it, again and again, until it is complete.

Run as `python -m tests.scan_kill_driver FOLDER OBJECTS KILLS SEED`; prints one JSON line. Each run
is a process of its own (a fork, so that nothing has to be imported again), which is killed with
SIGKILL some moments after it has finished some batches, its decoders left to end by themselves. At
the end the records are compared with those of a scan that nobody disturbed.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import sys
import time
from collections import Counter
from pathlib import Path

import msgspec

from matcher.decode.limits import DecodeLimits
from matcher.decode.sandbox.pool import SandboxPool
from matcher.pipeline import MatchOptions
from matcher.scan.document import Place, ScanDocument
from matcher.scan.engines.local import LocalEngine, LocalOptions
from matcher.scan.events import Finished
from matcher.scan.judging.local import LocalJudge
from matcher.scan.model import Record, Way
from matcher.scan.run import run_scan
from matcher.scan.sources import SourceOptions, open_source
from matcher.scan.sources.selection import Selector
from matcher.scan.state import RunEnd, ScanState
from tests.kill_steps import forked, was_killed
from tests.scan_support import generation_of, picture

#: Every so many objects there is one of each of these.
EVERY = 25
TWIN = 1_000_003
KNOWN = [2_000_003 + n for n in range(5)]
PAGE = 500  # so that many listings are broken off, too


def make_objects(folder: Path, count: int) -> None:
    """Small pictures in a few folders; some are known, some are twins, some are none."""
    for number in range(count):
        path = folder / f"{number % 7}" / f"{number:05}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        kind = number % EVERY
        if kind == 0:
            data = picture(TWIN, size=(16, 16))
        elif kind == 1:
            data = picture(KNOWN[number // EVERY % len(KNOWN)], size=(64, 64))
        elif kind == 2:
            data = f"no picture {number}".encode()
        elif kind == 3:
            data = b""
        else:
            data = picture(number, size=(20, 20))
        path.write_bytes(data)


async def scan(work: Path, out: Path, generation: object, progress: int) -> None:
    """Goes on with the scan in `out`; writes a byte for each batch that it has finished."""
    place = Place(str(work / "objects"))
    if not (out / "state.db").exists():
        ScanState.create(out, ScanDocument("s1", 0.0, "a person", (place,))).close()

    def tell(event: object) -> None:
        if isinstance(event, Finished):
            os.write(progress, b".")

    with ScanState.open(out) as state:
        state.begin_run(revision=7, policy="default", policy_version="v")
        pool = SandboxPool(DecodeLimits(), 2)
        judge = LocalJudge(generation, pool, MatchOptions(within=None), max_bytes=1 << 20)
        source = open_source(place, options=SourceOptions(page_objects=PAGE))
        engine = LocalEngine([source], judge, LocalOptions(batches=3))
        selector = Selector(state.document.selection)
        complete = await run_scan(state, [source], selector, engine, events=tell)
        assert complete
        for each in (engine, judge, source):
            await each.close()
        pool.close()
        state.end_run(RunEnd.DONE)


def run_killed(
    work: Path, out: Path, generation: object, *, after: int | None, moment: float
) -> bool:
    """Whether a run was killed: `moment` seconds after it has finished so many batches."""
    told, progress = os.pipe()

    def run() -> None:
        os.close(told)
        asyncio.run(scan(work, out, generation, progress))

    child = forked(run)
    os.close(progress)
    with open(told, "rb", buffering=0) as finished:  # noqa: PTH123 - a descriptor
        if after is None:
            while finished.read(4096):
                pass
        elif len(_read(finished, after)) == after:
            time.sleep(moment)
            os.kill(child, signal.SIGKILL)
    return was_killed(child)


def _read(finished: object, count: int) -> bytes:
    """So many bytes, or all that come."""
    data = b""
    while len(data) < count and (more := finished.read(count - len(data))):
        data += more
    return data


def comparable(record: Record) -> Record:
    """A record but for what may differ.

    The id of a match is drawn at random whenever it is found. Which of objects with the same bytes
    is fetched, and which are repeats, depends on which comes first; a run knows nothing of the
    bytes that a killed one has seen. All else is equal, attempts and opaque ids included.
    """
    way = Way.FETCHED if record.way is Way.REPEAT else record.way
    return msgspec.structs.replace(record, match_id="", way=way)


def outcome_of(out: Path) -> tuple[list[Record], dict[str, object]]:
    """All records, and the sums, of a complete scan."""
    with ScanState.open(out) as state:
        assert not list(state.planned())
        summary = state.summary()
        records = [comparable(each) for each in state.records()]
        sums = msgspec.to_builtins(summary.tally)
        del sums["ways"]  # as said of records
        assert summary.listed == summary.finished == len(records)
        return records, sums


def main() -> None:
    work, count, kills, seed = Path(sys.argv[1]), *map(int, sys.argv[2:5])
    chance = random.Random(seed)
    make_objects(work / "objects", count)
    generation = generation_of(
        work / "snapshots", [picture(number, size=(64, 64)) for number in KNOWN]
    )
    begun = time.monotonic()
    assert not run_killed(work, work / "undisturbed", generation, after=None, moment=0)
    took = time.monotonic() - begun
    killed, each = 0, max(1, count // 64 // (kills + 1))
    while killed < kills:
        after = chance.randint(0, each)
        # Where nothing is finished first, it is killed while it starts.
        moment = chance.uniform(0, 0.05 if after else 0.5)
        if not run_killed(work, work / "killed", generation, after=after, moment=moment):
            break
        killed += 1
    run_killed(work, work / "killed", generation, after=None, moment=0)
    expected, sums = outcome_of(work / "undisturbed")
    found, found_sums = outcome_of(work / "killed")
    keys = Counter((each.key, each.member) for each in found)
    assert set(keys.values()) == {1}, "an object has several records"
    assert len(found) == count, "objects are missing"
    assert found == expected
    assert found_sums == sums
    listed = {str(path.relative_to(work / "objects")) for path in (work / "objects").rglob("*.png")}
    assert listed == {each.key for each in found}
    outcomes = Counter(str(each.outcome) for each in found)
    print(json.dumps({"kills": killed, "outcomes": outcomes, "seconds": round(took, 1)}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
