"""Runs a scenario against a real server, judges it by its budgets, and writes a report.

    python -m loadtest.run loadtest/scenarios/two_minutes.toml [--out DIR] [--cache DIR] [--smoke]

The server is started here, over a catalog that is made once and kept in the cache. Load comes from
a process of its own. Exit status 1 where a budget is broken; with `--smoke` only where a request is
lost or an answer is wrong.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec
import numpy as np

from loadtest import measure
from loadtest.corpus.make import CACHE, Corpus, open_corpus
from loadtest.openloop import floor, server
from loadtest.openloop.budgets import NONE, judge, median_of
from loadtest.openloop.cpus import Cpus, confined
from loadtest.openloop.phases import SERVER, Sender, cost_of, summed
from loadtest.openloop.plan import draw_plan
from loadtest.openloop.processes import Watch
from loadtest.openloop.results import Look, PhaseResult, RunResult
from loadtest.openloop.scenario import (
    ALONE,
    PEAK,
    Phase,
    Scenario,
    ScenarioError,
    Way,
    read_scenario,
)
from loadtest.report.page import write_report
from loadtest.report.summary import summary

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loadtest.corpus.model import Pictures
    from loadtest.openloop.plan import Plan
    from loadtest.openloop.processes import Sample

RESULTS: Final = "results.json"
_PACKAGES: Final = ("grpcio", "pillow", "numpy", "hdrhistogram")
_WARM_SECONDS: Final = 2.0
_ECHO_SECONDS: Final = 3.0
_FEW: Final = 4  # requests at once where a server is warmed up, or the echo is measured
_FLOOR_ROUNDS: Final = 5


@dataclass(slots=True)
class Run:
    """A scenario that is being run.

    Attributes:
        scenario: what is run.
        cache: where pictures and catalogs are kept.
        corpora: the sets of pictures that it sends.
        sender: sends plans to the server.
        scratch: takes plans and records.
        begin: when it began, on the monotonic clock.
        results: of the phases so far.
    """

    scenario: Scenario
    cache: Path
    corpora: dict[Pictures, Corpus]
    sender: Sender
    scratch: Path
    rng: np.random.Generator
    begin: float = field(default_factory=time.monotonic)
    results: list[PhaseResult] = field(default_factory=list)

    def warm_up(self) -> None:
        """Has each set of pictures answered for a while, each way it will be sent."""
        for pictures, way in dict.fromkeys(
            (self.scenario.pictures_of(each), each.way) for each in self.scenario.phases
        ):
            warming = Phase(
                name="warming up",
                seconds=_WARM_SECONDS,
                in_flight=_FEW,
                way=way,
                pictures=pictures,
            )
            self.sender.send(self._plan(warming, 0.0), pictures)

    def run_round(self, number: int) -> None:
        """Runs all phases once; their floors are measured just before."""
        floors = {
            pictures: self._floor(pictures)
            for pictures in dict.fromkeys(self.scenario.pictures_of(p) for p in self._costed())
        }
        echoes = self._echoes()
        peak = 0.0
        for phase in self.scenario.phases:
            pictures = self.scenario.pictures_of(phase)
            rate = phase.rate or (phase.load or 0.0) * peak
            said = f"round {number}: {phase.name}" if self.scenario.rounds > 1 else phase.name
            _say(f"{said}, {phase.seconds:g} s{f', {rate:.0f} a second' if phase.is_open else ''}")
            sent = self.sender.send(self._plan(phase, rate), pictures)
            asked = phase in self._costed()
            result = summed(
                phase,
                _about(phase, rate, pictures),
                sent,
                number=number,
                run_begin=self.begin,
                cost=cost_of(sent, floors[pictures], echoes[phase.name])
                if asked
                else cost_of(sent, (), 0.0),
                samples=self.sender.watch.samples,
            )
            self.results.append(result)
            if phase.name == PEAK:
                peak = result.goodput

    def _costed(self) -> list[Phase]:
        """The phases whose cost is judged."""
        phases = self.scenario.phases
        return [each for each in phases if each.budgets.cpu_over_floor is not None]

    def _floor(self, pictures: Pictures) -> list[floor.FileFloor]:
        with confined(self.sender.cpus.server):
            return floor.measure_files(pictures, self.cache, _FLOOR_ROUNDS)

    def _echoes(self) -> dict[str, float]:
        """CPU seconds of the echo for an image of each phase whose cost is judged."""
        found: dict[str, float] = {}
        if not self._costed():
            return found
        with contextlib.ExitStack() as stack:
            with confined(self.sender.cpus.server):
                echo = stack.enter_context(server.echo())
            watch = stack.enter_context(Watch({SERVER: echo.pid}))
            sender = Sender(
                address=echo.address,
                entries={},
                cache=self.cache,
                scratch=self.scratch,
                connections=self.scenario.connections,
                timeout_seconds=self.scenario.timeout_seconds,
                watch=watch,
                cpus=self.sender.cpus,
                echo=True,
            )
            for phase in self._costed():
                pictures = self.scenario.pictures_of(phase)
                closed = Phase(
                    name="echo",
                    seconds=_ECHO_SECONDS,
                    in_flight=_FEW,
                    way=phase.way,
                    mix=phase.mix,
                )
                sent = sender.send(self._plan(closed, 0.0, pictures), pictures)
                cost = cost_of(sent, (), 0.0)
                found[phase.name] = cost.server / 1e3 if cost else 0.0
        return found

    def _plan(self, phase: Phase, rate: float, pictures: Pictures | None = None) -> Plan:
        chosen = pictures or self.scenario.pictures_of(phase)
        mix = self.scenario.mix_of(phase)
        return draw_plan(phase, self.corpora[chosen].files, mix=mix, rate=rate, rng=self.rng)


def run_scenario(scenario: Scenario, cache: Path) -> RunResult:
    """Runs a scenario.

    Raises:
        RuntimeError: a process did not start, or failed.
        LookupError: pictures lack what a mix wants.
    """
    wanted = dict.fromkeys(scenario.pictures_of(each) for each in scenario.phases)
    corpora = {each: open_corpus(each, cache) for each in wanted}
    if scenario.entries >= 1_000_000:
        _say(f"a catalog of {scenario.entries:,} entries, made once")
    data = server.prepare_data(cache, corpora.values(), scenario.entries)
    cpus = Cpus.apart() if scenario.apart else Cpus.shared()
    with contextlib.ExitStack() as stack:
        with confined(cpus.server):
            started = stack.enter_context(server.hashwarden(data, scenario.server))
        scratch = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        watch = stack.enter_context(Watch({SERVER: started.pid}))
        listed = server.listed_in(corpora.values())
        sender = Sender(
            address=started.address,
            entries=server.entry_ids(started.address, listed),
            cache=cache,
            scratch=scratch,
            connections=scenario.connections,
            timeout_seconds=scenario.timeout_seconds,
            watch=watch,
            cpus=cpus,
        )
        rng = np.random.default_rng(scenario.seed)
        run = Run(scenario, cache, corpora, sender, scratch, rng)
        run.warm_up()
        run.begin = time.monotonic()
        for number in range(1, scenario.rounds + 1):
            run.run_round(number)
        end = time.monotonic()
    samples = [each for each in watch.samples if run.begin <= each.at <= end]
    return RunResult(
        scenario=scenario.name,
        about=scenario.about,
        circumstances=(
            *measure.circumstances(_PACKAGES).splitlines(),
            f"- entries: {scenario.entries:,} of PDQ, beside the {len(listed)} listed files",
            *(f"- pictures: {each.value}, {c.digest}" for each, c in corpora.items()),
            f"- CPUs: {len(cpus.server)} of the server, {_of_generator(cpus)}",
        ),
        service_ms=median_of(run.results, ALONE, lambda each: each.latency.p50),
        peak=median_of(run.results, PEAK, lambda each: each.goodput),
        phases=tuple(run.results),
        looks=tuple(_looks(samples, run.begin)),
        verdicts=judge(scenario, run.results),
    )


def _looks(samples: Sequence[Sample], begin: float) -> Iterator[Look]:
    """CPUs used between one sample and the next. A role that ended meanwhile used none."""
    for before, after in itertools.pairwise(samples):
        seconds = after.at - before.at
        if seconds < 0.05:
            continue
        used = {
            name: max(0.0, taken - before.cpu.get(name, taken)) / seconds
            for name, taken in after.cpu.items()
        }
        yield Look(at=after.at - begin, cpu=used, memory=after.memory)


def _about(phase: Phase, rate: float, pictures: Pictures) -> str:
    way = {Way.UNARY: "unary", Way.STREAM: "streams", Way.MIXED: "unary and streams"}[phase.way]
    if not phase.is_open:
        return f"{phase.in_flight} at once, {way}, {pictures.value}"
    load = f"{phase.load:.0%} of the peak" if phase.load else "fixed rate"
    return f"{rate:.0f} a second ({load}), {phase.arrivals.value}, {way}, {pictures.value}"


def _of_generator(cpus: Cpus) -> str:
    return (
        "shared with the load generator" if cpus.server & cpus.generator else "1 of the generator"
    )


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)


def main() -> int:
    """Runs the command line; the exit status is 1 where a budget is broken."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("scenario", type=Path, help="e.g. loadtest/scenarios/two_minutes.toml")
    parser.add_argument("--out", type=Path, help="of the report; default: in the cache")
    parser.add_argument("--cache", type=Path, default=CACHE, help=f"default {CACHE}")
    parser.add_argument("--entries", type=int, help="instead of what the scenario says")
    parser.add_argument(
        "--smoke", action="store_true", help="judges only that nothing is lost or wrong"
    )
    options = parser.parse_args()
    try:
        scenario = read_scenario(options.scenario)
    except ScenarioError as error:
        parser.error(str(error))
    if options.entries is not None:
        scenario = msgspec.structs.replace(scenario, entries=options.entries)
    result = run_scenario(scenario, options.cache.resolve())
    out: Path = options.out or options.cache / "reports" / options.scenario.stem
    out.mkdir(parents=True, exist_ok=True)
    (out / RESULTS).write_bytes(msgspec.json.format(msgspec.json.encode(result)))
    page = write_report(result, out)
    print(summary(result))
    print(f"\n{page}")
    broken = [each for each in result.verdicts if not each.met]
    grave = [each for each in broken if each.limit == NONE]
    return int(bool(grave if options.smoke else broken))


if __name__ == "__main__":
    sys.exit(main())
