"""The results of a run as they are kept in `results.json`, from which reports are made."""

from __future__ import annotations

import msgspec

from loadtest.openloop.latency import Times  # noqa: TC001 - msgspec reads the types


class Counts(msgspec.Struct, frozen=True, kw_only=True):
    """How many requests ended how; as `loadtest.openloop.outcomes.Tally`."""

    requests: int
    answered: int
    right: int
    wrong: int
    refused: int
    failed: int
    unsent: int
    lost: int


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """CPU milliseconds for each answered image.

    Attributes:
        server: all processes of the server together.
        by_role: each kind of process of it.
        luminance, digests, echo: the parts of the floor, for the same images.
    """

    server: float
    by_role: dict[str, float]
    luminance: float
    digests: float
    echo: float

    @property
    def floor(self) -> float:
        """The parts of the floor together."""
        return self.luminance + self.digests + self.echo

    @property
    def over_floor(self) -> float:
        """The server's, over the floor."""
        return self.server / self.floor if self.floor else 0.0


class Second(msgspec.Struct, frozen=True, kw_only=True):
    """What happened in a second of a phase: requests meant to start, and ends of each kind."""

    offered: int
    right: int
    wrong: int
    refused: int
    failed: int


class Look(msgspec.Struct, frozen=True, kw_only=True):
    """Processes at one moment.

    Attributes:
        at: seconds since the run began.
        cpu: CPUs that each role used since the look before.
        memory: MiB of each role that are no file's.
    """

    at: float
    cpu: dict[str, float]
    memory: dict[str, float]


class PhaseResult(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured in one phase of one round.

    Attributes:
        name, round: which.
        about: how it was sent, in a few words.
        is_open: whether arrivals waited for nobody; only then latencies mean anything.
        begin: seconds since the run began.
        seconds: how long requests started.
        offered: requests a second that were meant to start.
        goodput: right answers a second.
        counts: of its requests.
        codes: how many ended with each gRPC status but OK, by its name.
        latency: from the intended start, of all that was not refused.
        refusal: from sending to refusal.
        late: how late requests were sent, by the generator's own doing.
        cost: None where nothing was answered or no floor was asked for.
        memory_growth: memory in the last quarter, over that in the second.
        faults: the first wrong answers and failures, in words.
        timeline: second by second.
    """

    name: str
    round: int
    about: str
    is_open: bool
    begin: float
    seconds: float
    offered: float
    goodput: float
    counts: Counts
    codes: dict[str, int]
    latency: Times
    refusal: Times
    late: Times
    cost: Cost | None
    memory_growth: float
    faults: tuple[str, ...]
    timeline: tuple[Second, ...]


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """Whether something held in a phase.

    Attributes:
        phase: its name.
        what: what is judged.
        value: the median over all rounds; of lost and wrong ones the sum.
        low, high: the least and the most of a round.
        limit: in words.
        met: whether it held.
    """

    phase: str
    what: str
    value: float
    low: float
    high: float
    limit: str
    met: bool


class RunResult(msgspec.Struct, frozen=True, kw_only=True):
    """A whole run.

    Attributes:
        scenario, about: as the scenario says.
        circumstances: machine, versions, commit and command, line by line.
        service_ms: median service time of one image; 0 where it was not measured.
        peak: right answers a second at the peak; 0 where it was not measured.
        phases: in their order, round by round.
        looks: at the processes.
        verdicts: what had to hold.
    """

    scenario: str
    about: str
    circumstances: tuple[str, ...]
    service_ms: float
    peak: float
    phases: tuple[PhaseResult, ...]
    looks: tuple[Look, ...]
    verdicts: tuple[Verdict, ...]

    @property
    def met(self) -> bool:
        """Whether everything held."""
        return all(each.met for each in self.verdicts)
