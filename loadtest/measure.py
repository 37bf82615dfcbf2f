"""Fair timing of a few ways to do one thing, and a table of the results.

The ways take turns, round by round, so that a noisy machine slows all of them alike. Medians of CPU
seconds are compared (of all threads, so that nothing is gained by starting more), never the best of
one with the usual of another. Only a ratio of numbers from the same run means much elsewhere.
"""

from __future__ import annotations

import argparse
import gc
import os
import platform
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

_UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class Timing:
    """What one way took.

    Attributes:
        cpu: CPU seconds of each round, in order.
        wall: seconds on the clock of each round, in order.
    """

    cpu: tuple[float, ...]
    wall: tuple[float, ...]

    @property
    def cpu_median(self) -> float:
        """CPU seconds of the middle round."""
        return statistics.median(self.cpu)


@dataclass(frozen=True, slots=True)
class Ratio:
    """How many times as fast one way is as another.

    Attributes:
        median: ratio of the medians.
        low, high: first and third quartile of the ratios round by round.
    """

    median: float
    low: float
    high: float

    def __str__(self) -> str:
        return f"{self.median:.1f} ({self.low:.1f} to {self.high:.1f})"


def interleaved(
    ways: Mapping[str, Callable[[], object]],
    *,
    rounds: int,
    clock: Callable[[], float] = time.process_time,
) -> dict[str, Timing]:
    """Times every way once a round, after one untimed round.

    Args:
        ways: by name, functions that do the same work.
        rounds: at least 2.
        clock: CPU seconds used up so far; by default those of this process alone.

    Returns:
        Timings by name.
    """
    cpu: dict[str, list[float]] = {name: [] for name in ways}
    wall: dict[str, list[float]] = {name: [] for name in ways}
    for way in ways.values():
        way()
    gc.collect()
    gc.disable()
    try:
        for _ in range(rounds):
            for name, way in ways.items():
                cpu_start, wall_start = clock(), time.perf_counter()
                way()
                wall[name].append(time.perf_counter() - wall_start)
                cpu[name].append(clock() - cpu_start)
    finally:
        gc.enable()
    return {name: Timing(tuple(cpu[name]), tuple(wall[name])) for name in ways}


def times_as_fast(ours: Timing, theirs: Timing) -> Ratio:
    """How many times as fast `ours` is, in CPU time."""
    by_round = [their / our for our, their in zip(ours.cpu, theirs.cpu, strict=True)]
    low, _, high = statistics.quantiles(by_round, n=4)
    return Ratio(theirs.cpu_median / ours.cpu_median, low, high)


def markdown_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table; the first column is text, the others are numbers."""
    lines = [header, ["---", *["---:"] * (len(header) - 1)], *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def circumstances(packages: Sequence[str]) -> str:
    """Machine, versions, commit and command line, as a Markdown list.

    Args:
        packages: distributions whose versions matter here.
    """
    versions = ", ".join(f"{name} {metadata.version(name)}" for name in packages)
    lines = (
        ("machine", f"{_processor()}, {os.cpu_count()} CPUs, load {os.getloadavg()[0]:.1f}"),
        ("software", f"Python {platform.python_version()}, {versions}"),
        ("commit", _commit()),
        ("command", f"`{_command()}`"),
    )
    return "\n".join(f"- {name}: {value}" for name, value in lines)


def arguments(
    description: str,
    *,
    rounds: int,
    add: Callable[[argparse.ArgumentParser], None] | None = None,
) -> argparse.Namespace:
    """Reads the command line that all benchmarks share.

    Args:
        description: first line of the help.
        rounds: how many by default.
        add: adds the arguments of one benchmark.

    Returns:
        `rounds` and `smoke`; with `--smoke`, 3 rounds unless told otherwise.
    """
    parser = argparse.ArgumentParser(description=description)
    if add is not None:
        add(parser)
    parser.add_argument("--rounds", type=int, help=f"rounds to time (default {rounds})")
    parser.add_argument(
        "--smoke",
        action="store_true",
        help="3 rounds; checks that the results agree, and not that they are fast enough",
    )
    options = parser.parse_args()
    options.rounds = options.rounds or (3 if options.smoke else rounds)
    if options.rounds < 2:
        parser.error("--rounds must be at least 2")
    return options


def verdict(ratios: Mapping[str, Ratio], *, required: float, aim: float, smoke: bool) -> int:
    """Prints whether ratios are what they should be.

    Returns:
        The exit status: 1 where one is below `required`, except in a smoke run.
    """
    worst = min(ratio.median for ratio in ratios.values())
    state = "missed" if worst < required else "met" if worst < aim else "met, and so is the aim"
    print(f"\nRequired: {required:g} times as fast, aim {aim:g}: {state} (lowest {worst:.1f}).")
    return int(worst < required and not smoke)


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, platform.machine())


def _commit() -> str:
    try:
        commit = _git("rev-parse", "--short", "HEAD")
        measured = ("hashlists", "matcher", "loadtest")
        changed = _git("status", "--porcelain", "--untracked-files=no", "--", *measured)
    except (OSError, subprocess.CalledProcessError):
        return _UNKNOWN
    return f"{commit}, with uncommitted changes" if changed else commit


def _git(*words: str) -> str:
    here = Path(__file__).parent.parent
    result = subprocess.run(
        ["git", *words],
        cwd=here,
        capture_output=True,
        check=True,
        text=True,
    )
    return result.stdout.strip()


def _command() -> str:
    file = Path(sys.argv[0])
    module = file.parent.name if file.stem == "__main__" else file.stem
    return " ".join(["python -m", f"loadtest.{module}", *sys.argv[1:]])
