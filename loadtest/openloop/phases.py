"""Runs one phase: a generator sends its plan, processes are watched, records are summed."""

from __future__ import annotations

import contextlib
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Final

import grpc
import msgspec
import numpy as np

from loadtest.openloop.cpus import Cpus, confined
from loadtest.openloop.generator import Moments, Order
from loadtest.openloop.latency import times_of
from loadtest.openloop.outcomes import Outcome, Tally, latencies, lateness, refusal_times
from loadtest.openloop.results import Cost, Counts, PhaseResult, Second

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loadtest.corpus.model import Pictures
    from loadtest.openloop.floor import FileFloor
    from loadtest.openloop.outcomes import Records
    from loadtest.openloop.plan import Plan
    from loadtest.openloop.processes import Sample, Watch
    from loadtest.openloop.scenario import Phase

_ROOT: Final = Path(__file__).parents[2]
SERVER: Final = "server"
GENERATOR: Final = "generator"


@dataclass(frozen=True, slots=True)
class Sent:
    """A plan that was sent.

    Attributes:
        records: of its requests.
        moments: when it began, and when all of it had ended.
        before, after: the processes at these moments.
        faults: the first wrong answers and failures, in words.
    """

    records: Records
    moments: Moments
    before: Sample
    after: Sample
    faults: tuple[str, ...]

    def cpu(self) -> dict[str, float]:
        """CPU seconds that the server took, by role. What ended meanwhile is its parent's."""
        mine = {name: each for name, each in self.after.cpu.items() if name.startswith(SERVER)}
        return {name: each - self.before.cpu.get(name, 0.0) for name, each in mine.items()}


@dataclass(slots=True)
class Sender:
    """Has generators send plans to one server.

    Attributes:
        address: of the server.
        entries: the server's id of the entry of each listed file, by name.
        cache: where the pictures are.
        scratch: takes plans and records.
        connections, timeout_seconds: as in a scenario.
        watch: of the server's processes.
        cpus: of the server and of generators.
        echo: the server gives back what it gets.
    """

    address: str
    entries: dict[str, str]
    cache: Path
    scratch: Path
    connections: int
    timeout_seconds: float
    watch: Watch
    cpus: Cpus = field(default_factory=Cpus.shared)
    echo: bool = False
    _plans: int = 0

    def send(self, plan: Plan, pictures: Pictures) -> Sent:
        """Sends a plan.

        Raises:
            RuntimeError: the generator failed; it has said why.
        """
        self._plans += 1
        out = self.scratch / "records.npy"
        plan.save(self.scratch / "plan.npz")
        order = Order(
            target=self.address,
            plan=str(self.scratch / "plan.npz"),
            out=str(out),
            pictures=pictures,
            cache=str(self.cache),
            entries=self.entries,
            echo=self.echo,
            connections=self.connections,
            timeout_seconds=self.timeout_seconds,
            fresh_from=self._plans << 32,
        )
        (self.scratch / "order.json").write_bytes(msgspec.json.encode(order))
        with self._generator() as generator:
            _expect(generator, "ready")
            before = self.watch.look()
            assert generator.stdin is not None
            print(file=generator.stdin, flush=True)
            said = _next_line(generator)
            after = self.watch.look()
            _expect(generator, "done")
        return Sent(
            records=np.load(out, allow_pickle=False),
            moments=msgspec.json.decode(said, type=Moments),
            before=before,
            after=after,
            faults=msgspec.json.decode(out.with_suffix(".json").read_bytes(), type=tuple[str, ...]),
        )

    @contextlib.contextmanager
    def _generator(self) -> Iterator[subprocess.Popen[str]]:
        command = [sys.executable, "-m", "loadtest.openloop.generator"]
        with confined(self.cpus.generator):
            generator = subprocess.Popen(
                [*command, str(self.scratch / "order.json")],
                cwd=_ROOT,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        self.watch.roots = {**self.watch.roots, GENERATOR: generator.pid}
        try:
            yield generator
        finally:
            roots = self.watch.roots.items()
            self.watch.roots = {name: pid for name, pid in roots if name != GENERATOR}
            generator.kill()
            generator.communicate()


def _next_line(generator: subprocess.Popen[str]) -> str:
    assert generator.stdout is not None
    line = generator.stdout.readline()
    if not line:
        raise RuntimeError("the load generator failed")
    return line


def _expect(generator: subprocess.Popen[str], word: str) -> None:
    said = _next_line(generator).strip()
    if said != word:
        raise RuntimeError(f"the load generator said {said!r} for {word!r}")


def summed(
    phase: Phase,
    about: str,
    sent: Sent,
    *,
    number: int,
    run_begin: float,
    cost: Cost | None,
    samples: Sequence[Sample],
) -> PhaseResult:
    """The result of a phase."""
    records, begin = sent.records, sent.moments.begin
    tally = Tally.of(records)
    right = records["right"] & (records["done"] <= begin + phase.seconds)
    return PhaseResult(
        name=phase.name,
        round=number,
        about=about,
        is_open=phase.is_open,
        begin=begin - run_begin,
        seconds=phase.seconds,
        offered=len(records) / phase.seconds,
        goodput=float(right.sum()) / phase.seconds,
        codes=_codes(records),
        counts=msgspec.convert(tally, Counts, from_attributes=True),
        latency=times_of(latencies(records, sent.moments.end)),
        refusal=times_of(refusal_times(records)),
        late=times_of(lateness(records)),
        cost=cost,
        memory_growth=memory_growth(samples, begin, begin + phase.seconds),
        faults=sent.faults,
        timeline=tuple(timeline(records, begin, sent.moments.end)),
    )


def _codes(records: Records) -> dict[str, int]:
    """How many requests ended with each gRPC status but OK, by its name."""
    numbers, counts = np.unique(records["code"][records["code"] > 0], return_counts=True)
    names = {each.value[0]: each.name for each in grpc.StatusCode}
    return {names[int(n)]: int(count) for n, count in zip(numbers, counts, strict=True)}


def cost_of(sent: Sent, floors: Sequence[FileFloor], echo: float) -> Cost | None:
    """CPU milliseconds for each answered image; None where there is none.

    Args:
        sent: a plan that was sent.
        floors: of each file; empty where the floor was not measured.
        echo: CPU seconds of the echo for an image like these.
    """
    answered = sent.records["file"][sent.records["outcome"] == Outcome.ANSWERED]
    if not len(answered):
        return None
    by_role = {name: 1e3 * each / len(answered) for name, each in sent.cpu().items()}
    luminance = np.array([each.luminance for each in floors] or [0.0])
    digests = np.array([each.digests for each in floors] or [0.0])
    rows = answered if floors else np.zeros_like(answered)
    return Cost(
        server=sum(by_role.values()),
        by_role=by_role,
        luminance=1e3 * float(luminance[rows].mean()),
        digests=1e3 * float(digests[rows].mean()),
        echo=1e3 * echo,
    )


def memory_growth(samples: Sequence[Sample], begin: float, end: float) -> float:
    """The server's memory in the last quarter of a stretch, over that in the second quarter.

    The first is left out, since caches and pools fill in it. 1 where there are too few looks.
    """
    quarter = (end - begin) / 4
    stretches = ((begin + quarter, begin + 2 * quarter), (end - quarter, end))
    means = []
    for first, last in stretches:
        inside = [each for each in samples if first <= each.at <= last]
        if not inside:
            return 1.0
        means.append(np.mean([server_memory(each) for each in inside]))
    return float(means[1] / means[0]) if means[0] else 1.0


def server_memory(sample: Sample) -> float:
    """MiB of all processes of the server together."""
    return sum(each for name, each in sample.memory.items() if name.startswith(SERVER))


def timeline(records: Records, begin: float, end: float) -> Iterator[Second]:
    """What happened in each second."""
    count = max(1, int(np.ceil(end - begin)))
    outcome, right = records["outcome"], records["right"]
    answered = outcome == Outcome.ANSWERED

    def binned(moments: np.ndarray[tuple[int], np.dtype[np.float64]]) -> list[int]:
        found, _ = np.histogram(moments[~np.isnan(moments)] - begin, count, (0, count))
        return [int(each) for each in found]

    columns = (
        binned(records["intended"]),
        binned(records["done"][answered & right]),
        binned(records["done"][answered & ~right]),
        binned(records["done"][outcome == Outcome.REFUSED]),
        binned(records["done"][outcome == Outcome.FAILED]),
    )
    for offered, good, wrong, refused, failed in zip(*columns, strict=True):
        yield Second(offered=offered, right=good, wrong=wrong, refused=refused, failed=failed)
