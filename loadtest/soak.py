"""Thousands of small revisions, with snapshots built and swapped meanwhile: does memory grow?

    python -m loadtest.soak [--revisions N] [--entries N] [--smoke]

A real server follows the catalog while entries are added and retracted, one revision after the
other; so few entries may be live that a snapshot is built every few dozen revisions. Resident
memory of the server is read after every hundred revisions, once it serves the last of them.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from hashlists import snapshot
from hashlists.catalog import Catalog
from loadtest import catalogs, measure
from loadtest.live import Run, prepare, serving
from matcher.client import Client

if TYPE_CHECKING:
    from collections.abc import Iterator

_STEP = 100
_LIVE_ENTRIES = 60
_ALLOWED_GROWTH = 1.05
_RETRACT_EVERY = 3
#: A server that follows often, so that few revisions fall into one look.
_SETTINGS = {"HASHWARDEN_FOLLOW_SECONDS": "0.02", "HASHWARDEN_LIVE_ENTRIES": str(_LIVE_ENTRIES)}


@dataclass(frozen=True, slots=True)
class Reading:
    """What the server held after so many revisions; sizes in MiB."""

    revisions: int
    resident: float
    private: float
    snapshots: int
    folders: int

    def row(self) -> tuple[str, ...]:
        """One line of the table."""
        return (
            f"{self.revisions:,}",
            f"{self.resident:.1f}",
            f"{self.private:.1f}",
            str(self.snapshots),
            str(self.folders),
        )


def readings(run: Run, root: Path, revisions: int) -> Iterator[Reading]:
    """Commits revisions and reads memory after every hundred."""
    names: set[str | None] = set()
    for number in range(1, revisions + 1):
        if number % _RETRACT_EVERY:
            catalogs.add(run.catalog, run.next, 1)
            run.next += 1
        else:
            (match,) = run.result(run.retracted).matches
            run.catalog.retract(catalogs.LIST, [match.entry_id], author="soak", reason="soak")
            run.retracted += 1
        names.add(snapshot.current_name(root))
        if number % _STEP == 0:
            since = time.time()
            run.until(run.next - 1, known=True, since=since)
            run.until(run.retracted - 1, known=False, since=since)
            memory = psutil.Process(run.server.pid).memory_full_info()
            folders = sum(1 for each in root.iterdir() if each.is_dir())
            mib = 1 << 20
            yield Reading(number, memory.rss / mib, memory.uss / mib, len(names), folders)


def soak(folder: Path, *, entries: int, revisions: int) -> list[Reading]:
    """Runs the whole soak in a folder of its own."""
    url = f"sqlite:///{folder}/catalog.sqlite3"
    prepare(url, entries)
    os.environ.update(_SETTINGS)
    command = [sys.executable, "-m", "matcher.cli", "--data", str(folder)]
    with (
        serving(command) as (server, target, _),
        Client(target) as client,
        Catalog.open(url) as catalog,
    ):
        run = Run(catalog, client, server, entries)
        found: list[Reading] = []
        for reading in readings(run, folder / "snapshots", revisions):
            found.append(reading)
            print(f"{reading.revisions:,} revisions", file=sys.stderr, flush=True)
    return found


def main() -> int:
    """Runs the command line; the exit status is 1 where memory has grown."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--revisions", type=int, default=10_000)
    parser.add_argument("--entries", type=int, default=200_000, help="sealed at first")
    parser.add_argument("--smoke", action="store_true", help="200 revisions; checks results only")
    options = parser.parse_args()
    if options.smoke:
        options.revisions, options.entries = 200, 5_000
    with tempfile.TemporaryDirectory() as folder:
        found = soak(Path(folder), entries=options.entries, revisions=options.revisions)
    print(measure.circumstances(["faiss-cpu", "numpy", "grpcio", "sqlalchemy"]), end="\n\n")
    header = ("revisions", "resident MiB", "private MiB", "snapshots so far", "folders")
    shown = [each for each in found if each.revisions in {_STEP, 1_000} or each is found[-1]]
    shown += [each for each in found if each.revisions % 2_500 == 0 and each not in shown]
    rows = [each.row() for each in sorted(shown, key=lambda each: each.revisions)]
    print(measure.markdown_table(header, rows))
    growth = found[-1].resident / found[0].resident
    most = max(each.resident for each in found) / found[0].resident
    print(
        f"\nRequired: resident memory at the end at most {_ALLOWED_GROWTH:g} times that after the"
        f" first hundred: {growth:.3f} (most at any reading {most:.3f})."
    )
    return int(growth > _ALLOWED_GROWTH and not options.smoke)


if __name__ == "__main__":
    sys.exit(main())
