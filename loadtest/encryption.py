"""What encryption of snapshots costs: building, opening, and memory, beside the same in clear.

    python -m loadtest.encryption [ENTRIES] [RUNS]

Entries carry one PDQ hash each. A snapshot is opened as a server process does, by a process of its
own each time, in turns: in clear, encrypted, and encrypted with a supervisor, which decrypts for
the first process that asks and has it for the next; its CPU counts with the first. Times are CPU
seconds and seconds on the clock, medians; memory is the process's share (PSS), anonymous and
mapped, in bytes an entry, after one search.
"""

from __future__ import annotations

import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from hashlists.model import Harm, HashKind, ListState
from hashlists.snapshot import SnapshotWriter, open_current
from loadtest.index_ways import _rows
from matcher.follow.vaults import make_vault
from matcher.index.build import IndexBuilder
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index
from matcher.service.shared_memory import Broker, SupervisorMemory

PLACE = "keys:" + "5a" * 32
WAYS = ("in clear", "encrypted", "encrypted, shared, first", "encrypted, shared, next")
_ADDED = 1 << 18


@dataclass
class Settings:
    """As far as a broker needs them."""

    snapshots_dir: Path
    encryption_keys: str = PLACE


def build(root: Path, entries: int, place: str) -> dict[str, float]:
    """Builds a snapshot; seconds it took."""
    codes = np.random.default_rng(1).integers(0, 256, (entries, 32), np.uint8)
    wall, cpu = time.perf_counter(), time.process_time()
    builder = IndexBuilder()
    for first in range(0, entries, _ADDED):
        builder.add(_rows(HashKind.PDQ, codes[first : first + _ADDED], first))
    with SnapshotWriter(root, revision=1, vault=make_vault(place)) as writer:
        listed = IndexedList("made-up", Harm.TEST, ListState.LIVE, entries, {})
        write_index(writer, lists=[listed], classifications=[None], base=builder)
        writer.publish({})
    return {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}


def opened(root: Path, place: str, descriptor: int | None) -> dict[str, float]:
    """Opens the snapshot in this process and searches once."""
    shared = None if descriptor is None else SupervisorMemory(descriptor)
    vault = make_vault(place, shared)
    wall, cpu = time.perf_counter(), time.process_time()
    snapshot = open_current(root, vault=vault)
    assert snapshot is not None
    index = MatchIndex.open(snapshot)
    took = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    index.search(HashKind.PDQ, np.zeros((64, 32), np.uint8), 31)
    return took | {"pss": _pss()}


def _pss() -> float:
    lines = Path("/proc/self/smaps_rollup").read_text(encoding="ascii").splitlines()
    return 1024 * float(next(line.split()[1] for line in lines if line.startswith("Pss:")))


def _child(root: Path, place: str, broker: Broker | None) -> dict[str, Any]:
    end = None if broker is None else broker.connect()
    asked = [str(root), place, "" if end is None else str(end.fileno())]
    done = subprocess.run(
        [sys.executable, "-m", "loadtest.encryption", "--open", *asked],
        stdout=subprocess.PIPE,
        check=True,
        pass_fds=() if end is None else (end.fileno(),),
    )
    if end is not None:
        end.close()
    return dict(json.loads(done.stdout))


def main(entries: int, runs: int) -> None:
    """Builds both and opens each, in turns, and prints a table."""
    built: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS[:2]}
    found: dict[str, list[dict[str, float]]] = {way: [] for way in WAYS}
    held: list[float] = []
    with tempfile.TemporaryDirectory(prefix="hashwarden-") as name:
        for run in range(runs):
            clear, hidden = Path(name) / f"clear-{run}", Path(name) / f"encrypted-{run}"
            built[WAYS[0]].append(build(clear, entries, ""))
            built[WAYS[1]].append(build(hidden, entries, PLACE))
            broker = Broker(Settings(hidden))  # type: ignore[arg-type]  # as far as it reads them
            before = time.process_time()
            first = _child(hidden, PLACE, broker)
            first["cpu"] += time.process_time() - before  # what the supervisor took
            found[WAYS[2]].append(first)
            found[WAYS[0]].append(_child(clear, "", None))
            found[WAYS[1]].append(_child(hidden, PLACE, None))
            found[WAYS[3]].append(_child(hidden, PLACE, broker))
            held.append(broker.nbytes / entries)
            broker.close()
            shutil.rmtree(clear)
            shutil.rmtree(hidden)
    print(f"{entries:,} entries, {os.cpu_count()} cores, medians of {runs}")
    for way, each in built.items():
        wall, cpu = (statistics.median(x[key] for x in each) for key in each[0])
        print(f"build {way}: {wall:.2f} s, {cpu:.2f} s CPU")
    for way, each in found.items():
        wall, cpu, pss = (statistics.median(x[key] for x in each) for key in each[0])
        print(f"open {way}: {wall:.3f} s, {cpu:.3f} s CPU, {pss / entries:.0f} bytes an entry")
    print(f"held by the supervisor: {statistics.median(held):.0f} bytes an entry")


if __name__ == "__main__":
    if sys.argv[1:2] == ["--open"]:
        where, keys, end = sys.argv[2:5]
        print(json.dumps(opened(Path(where), keys, int(end) if end else None)))
    else:
        main(*(int(each) for each in [*sys.argv[1:], *("1000000", "5")[len(sys.argv) - 1 :]]))
