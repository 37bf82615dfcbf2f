"""From a commit to the first answer that knows of it, with a large sealed index and under load.

    python -m loadtest.live [--entries N] [--changes N] [--folder DIR] [--smoke]

A real server answers photographs and lookups at a fixed rate (see `load`), while this process
commits changes to its catalog and asks every few milliseconds for what it changed. Phases, each
with the latencies that callers saw meanwhile:

* quiet: nothing changes, while the same questions are asked;
* changes of 1, 100 and 50,000 new entries, and retractions of 1 and 100 sealed entries;
* an import of a million entries, a retraction while it is staged, and one right after its commit;
* a full build of the snapshot, and the five seconds in which it is swapped in; three times with
  nothing else, three times with retractions. The seconds of three swaps are judged together: a
  single one has but two requests beyond its p99.

With `--changes 0` the swaps alone are measured.

The catalog lies in `--folder` and is used again by the next run there.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from hashlists.catalog import Catalog
from hashlists.model import HashKind
from loadtest import catalogs, load, measure
from matcher.client import Client, HashQuery
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray

    from matcher.model import MatchResult

_SIZES = (1, 100, 50_000)
_RETRACTED = (1, 100)
_POLL_SECONDS = 0.01
_GIVE_UP_SECONDS = 900.0
_REQUIRED_SECONDS = 2.0
_LATE_TIMES = 2.0
_SWAPS = 3
_SWAP_SECONDS = 5.0
_SWAP = "swap to it"
_ROOT = Path(__file__).parent.parent


@dataclass(frozen=True, slots=True)
class Phase:
    """A stretch of the run, in seconds since 1970."""

    name: str
    start: float
    end: float


@dataclass(slots=True)
class Run:
    """A server under load, the catalog it follows, and what was measured so far.

    Attributes:
        next: number of the first entry that the catalog does not hold yet.
        retracted: number of the first sealed entry that was not retracted yet.
    """

    catalog: Catalog
    client: Client
    server: subprocess.Popen[str]
    next: int
    retracted: int = 0
    delays: dict[str, list[float]] = field(default_factory=dict)
    phases: list[Phase] = field(default_factory=list)
    memory: dict[str, float] = field(default_factory=dict)

    @contextlib.contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Notes when a phase began and ended, and what the server then holds."""
        start = time.time()
        yield
        self.phases.append(Phase(name, start, time.time()))
        self.memory[name] = _resident_megabytes(self.server.pid)

    def result(self, number: int) -> MatchResult:
        """What the server answers for the code of one entry."""
        code = catalogs.codes(number, 1).tobytes()
        (answer,) = self.client.lookup_hashes([HashQuery({HashKind.PDQ: code})])
        if isinstance(answer, ServerError):
            raise SystemExit(f"a lookup failed: {answer}")
        return answer.result

    def ask(self, seconds: float) -> None:
        """Asks for what does not change, as often as `until` does."""
        end = time.time() + seconds
        while time.time() < end:
            self.result(self.retracted)
            time.sleep(_POLL_SECONDS)

    def until(self, number: int, *, known: bool, since: float) -> float:
        """Seconds from `since` to the first answer that does, or does not, know an entry."""
        while bool(self.result(number).total_matches) != known:
            if time.time() - since > _GIVE_UP_SECONDS:
                raise SystemExit("the server never came to know of a change")
            time.sleep(_POLL_SECONDS)
        return time.time() - since

    def add(self, count: int) -> float:
        """Commits new entries; seconds until the last of them is matchable."""
        catalogs.add(self.catalog, self.next, count)
        committed = time.time()
        self.next += count
        return self.until(self.next - 1, known=True, since=committed)

    def retract(self, count: int) -> float:
        """Retracts the next sealed entries; seconds until the last of them matches no more."""
        numbers = range(self.retracted, self.retracted + count)
        ids = [self.result(number).matches[0].entry_id for number in numbers]
        self.catalog.retract(catalogs.LIST, ids, author="loadtest", reason="measured")
        committed = time.time()
        self.retracted += count
        return self.until(numbers[-1], known=False, since=committed)

    def note(self, name: str, seconds: float) -> None:
        """Keeps a delay under a name."""
        self.delays.setdefault(name, []).append(seconds)


def measure_changes(run: Run, sizes: Sequence[int], changes: int) -> None:
    """Commits changes of each size, one after the other."""
    for size in sizes:
        with run.phase(f"{changes} changes of {size:,}"):
            for _ in range(changes):
                run.note(f"{size:,} new entries", run.add(size))
    for size in _RETRACTED:
        with run.phase(f"{changes} retractions of {size:,}"):
            for _ in range(changes):
                run.note(f"{size:,} retracted", run.retract(size))


def measure_import(run: Run, url: str, count: int) -> None:
    """Imports many entries in a process of their own, and retracts meanwhile."""
    command = [sys.executable, "-m", "loadtest.catalogs", url]
    command += ["--first", str(run.next), "--count", str(count)]
    with run.phase(f"import of {count:,}"):
        child = subprocess.Popen(command, cwd=_ROOT, stdout=subprocess.PIPE, text=True)
        while child.poll() is None:
            run.note("1 retracted while that import is staged", run.retract(1))
        said, _ = child.communicate()
        if child.returncode:
            raise SystemExit("the import failed")
        committed = float(said)
        run.note("1 retracted right after its commit", run.retract(1))
        run.next += count
        known = run.until(run.next - 1, known=True, since=committed)
        run.note(f"{count:,} imported", known)


def measure_swap(
    run: Run, command: Sequence[str], seconds: float, *, retracting: bool = False
) -> None:
    """Builds the whole snapshot anew, and asks or retracts for a while after it is published."""
    with run.phase("full build in another process"):
        subprocess.run(
            [*command, "index", "build", "--full"], check=True, stdout=subprocess.DEVNULL
        )
    if not retracting:
        with run.phase(_SWAP):
            run.ask(seconds)
        return
    with run.phase(f"{_SWAP}, with retractions"):
        end = time.time() + seconds
        while time.time() < end:
            run.note("1 retracted while a snapshot is swapped", run.retract(1))


@contextlib.contextmanager
def serving(command: Sequence[str]) -> Iterator[tuple[subprocess.Popen[str], str, float]]:
    """A server process, its address, and the seconds until it was ready."""
    start = time.time()
    full = [*command, "serve", "--listen", "127.0.0.1:0"]
    settings = {"ADMIN_LISTEN": "off", "LISTS_LISTEN": "same", "PROCESSES": "1"}
    environment = {**os.environ, **{f"HASHWARDEN_{key}": each for key, each in settings.items()}}
    server = subprocess.Popen(full, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        assert server.stdout is not None
        words = server.stdout.readline().split()
        if not words:
            raise SystemExit("the server did not start")
        yield server, words[-1], time.time() - start
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(60)


@contextlib.contextmanager
def loaded(target: str, rate: float, out: Path) -> Iterator[None]:
    """Load from a process of its own, once it has begun."""
    command = [sys.executable, "-m", "loadtest.load", target, "--rate", str(rate)]
    command += ["--out", str(out)]
    out.unlink(missing_ok=True)
    child = subprocess.Popen(command, cwd=_ROOT)
    try:
        while not out.exists():
            if child.poll() is not None:
                raise SystemExit("the load generator did not start")
            time.sleep(_POLL_SECONDS)
        yield
    finally:
        child.send_signal(signal.SIGTERM)
        if child.wait(60):
            raise SystemExit("the load generator failed")


def latency_rows(phases: Sequence[Phase], answers: Path) -> Iterator[tuple[str, ...]]:
    """For the phases of a name: requests, failures, median and 99th percentile in ms, ratio.

    Then the 99th percentile of how late requests were sent, which is the machine's doing.
    """
    records = load.read(answers)
    usual = 0.0
    for name in dict.fromkeys(phase.name for phase in phases):
        parts = [_during(records, phase) for phase in phases if phase.name == name]
        some = np.concatenate(parts)
        if not len(some):
            continue
        median, late = np.percentile(some["latency"], [50, 99]) * 1e3
        usual = usual or late
        yield (
            name,
            f"{len(some):,}",
            str(int((~some["answered"]).sum())),
            f"{median:.1f}",
            f"{late:.1f}",
            f"{late / usual:.2f}",
            f"{np.percentile(some['late'], 99) * 1e3:.1f}",
        )


def _during(records: NDArray[np.void], phase: Phase) -> NDArray[np.void]:
    return records[(records["start"] >= phase.start) & (records["start"] < phase.end)]


def delay_rows(delays: dict[str, list[float]]) -> Iterator[tuple[str, ...]]:
    """For each kind of change: how many, median and worst seconds."""
    for name, seconds in delays.items():
        median, worst = statistics.median(seconds), max(seconds)
        yield name, str(len(seconds)), f"{median:.2f}", f"{worst:.2f}"


def prepare(url: str, entries: int) -> None:
    """Fills the catalog where it is empty."""
    with Catalog.open(url) as catalog:
        if catalog.list_lists():
            return
        catalogs.create_list(catalog)
        for first in range(0, entries, 1_000_000):
            catalogs.add(catalog, first, min(1_000_000, entries - first))


def held(url: str) -> int:
    """The number of entries that were ever added."""
    with Catalog.open(url) as catalog:
        return sum(each.added for each in catalog.list_revisions(catalogs.LIST, limit=1000))


def _resident_megabytes(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text(encoding="ascii")
    fields = dict(line.split(":", 1) for line in status.splitlines())
    return int(fields["RssAnon"].split()[0]) / 1024


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--entries", type=int, default=10_000_000, help="sealed ones")
    parser.add_argument("--changes", type=int, default=100, help="of each size; 0: swaps alone")
    parser.add_argument("--imported", type=int, default=1_000_000, help="entries of one import")
    parser.add_argument("--rate", type=float, default=40.0, help="requests a second")
    parser.add_argument("--quiet", type=float, default=60.0, help="seconds of the first phase")
    parser.add_argument("--folder", type=Path, help="where the catalog lies, for the next run too")
    parser.add_argument("--smoke", action="store_true", help="small; checks results, not speed")
    options = parser.parse_args()
    if options.smoke:
        options.entries, options.changes, options.imported = 20_000, 3, 60_000
        options.quiet = 2.0
    return options


def measure_all(options: argparse.Namespace, folder: Path) -> Run:
    """Runs every phase and prints the tables."""
    url = f"sqlite:///{folder}/catalog.sqlite3"
    prepare(url, options.entries)
    command = [sys.executable, "-m", "matcher.cli", "--data", str(folder)]
    start = time.time()
    subprocess.run([*command, "index", "build"], check=True, stdout=subprocess.DEVNULL)
    built = time.time() - start
    answers = folder / "answers.bin"
    with (
        serving(command) as (server, target, ready),
        Client(target) as client,
        Catalog.open(url) as catalog,
        loaded(target, options.rate, answers),
    ):
        run = Run(catalog, client, server, held(url))
        while not run.result(run.retracted).total_matches:
            run.retracted += 1
        with run.phase("quiet"):
            run.ask(options.quiet)
        if options.changes:
            measure_changes(run, _SIZES, options.changes)
            measure_import(run, url, options.imported)
        for number in range(2 * _SWAPS):
            measure_swap(run, command, _SWAP_SECONDS, retracting=number >= _SWAPS)
    print(measure.circumstances(["faiss-cpu", "numpy", "grpcio", "sqlalchemy"]))
    print(f"- {options.entries:,} sealed at first; snapshot ready in {built:.1f} s, server in")
    print(f"  {ready:.1f} s; {options.rate:g} requests a second\n")
    header = ("change", "times", "median s", "worst s")
    print(measure.markdown_table(header, delay_rows(run.delays)), end="\n\n")
    columns = (
        "phase",
        "requests",
        "failed",
        "median ms",
        "p99 ms",
        "p99 to quiet",
        "sent late p99",
    )
    rows = list(latency_rows(run.phases, answers))
    print(measure.markdown_table(columns, rows), end="\n\n")
    own = (f"{name} {megabytes:.0f}" for name, megabytes in run.memory.items())
    print(f"Anonymous memory of the server in MiB at the end of each phase: {', '.join(own)}.")
    _judge(run, rows, smoke=options.smoke)
    return run


def _judge(run: Run, rows: Sequence[Sequence[str]], *, smoke: bool) -> None:
    worst = max(max(seconds) for name, seconds in run.delays.items() if "imported" not in name)
    failed = sum(int(row[2]) for row in rows)
    (late,) = (float(row[5]) for row in rows if row[0] == _SWAP)
    print(
        f"\nRequired: every change of up to 50,000 entries within {_REQUIRED_SECONDS:g} s (worst"
        f" {worst:.2f}), no failed request ({failed}), p99 at the swap at most {_LATE_TIMES:g}"
        f" times the usual one ({late:.2f})."
    )
    met = worst <= _REQUIRED_SECONDS and late <= _LATE_TIMES
    if failed or not (met or smoke):
        raise SystemExit(1)


def main() -> None:
    """Runs the command line; the exit status is 1 where a requirement is missed."""
    options = _options()
    with contextlib.ExitStack() as stack:
        folder: Path = options.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        measure_all(options, folder)


if __name__ == "__main__":
    main()
