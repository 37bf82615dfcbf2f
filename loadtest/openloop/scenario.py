"""Scenarios: what is asked of a server, in which phases, and what must hold; read from TOML.

A scenario is a list of phases, which run one after the other against one server. A phase is either
*open* (`rate`, or `load` as a share of the peak: requests start when their time has come, answered
or not) or *closed* (`in_flight`: so many requests at once, the next one when one is answered).
Two closed phases have a meaning: `alone`, one request at a time, gives the service time, and
`peak` gives what the server can do. No latency is taken from any other closed phase.

Nothing here knows files or servers.
"""

from __future__ import annotations

import tomllib
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import msgspec

from loadtest.corpus.model import Pictures

if TYPE_CHECKING:
    from pathlib import Path

ALONE = "alone"
PEAK = "peak"

_Share = Annotated[float, msgspec.Meta(ge=0, le=1)]
_Positive = Annotated[float, msgspec.Meta(gt=0)]
_Count = Annotated[int, msgspec.Meta(ge=1, le=10_000)]
_Name = Annotated[str, msgspec.Meta(min_length=1, max_length=40)]


class ScenarioError(ValueError):
    """A scenario cannot be run; the message names its file, the place in it and what is allowed."""


class Arrivals(StrEnum):
    """When requests of an open phase start."""

    POISSON = "poisson"
    FIXED = "fixed"


class Way(StrEnum):
    """How images are sent."""

    UNARY = "unary"
    STREAM = "stream"
    MIXED = "mixed"


class Mix(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Shares of requests, which add up to 1.

    Attributes:
        unknown: pictures on no list, each time with other bytes.
        repeated: the same, byte for byte as before.
        copy: listed files, byte for byte.
        near: listed pictures, recompressed or resized.
        bad: what is no picture, is broken, or shows nothing.
        bomb: small files that would take much to decode.
    """

    unknown: _Share = 0.0
    repeated: _Share = 0.0
    copy: _Share = 0.0
    near: _Share = 0.0
    bad: _Share = 0.0
    bomb: _Share = 0.0


class Budgets(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What must hold in a phase; what is None is not judged.

    That no request is lost and no answer is wrong is required of every phase.

    Attributes:
        cpu_over_floor: most CPU time of all server processes, over the floor of the same files.
        p99_over_service: most 99th percentile of latency, over the median service time.
        goodput_over_peak: least right answers a second, over those of the peak.
        refusal_ms: most 99th percentile of the time to refuse, in milliseconds.
        memory_growth: most memory in the last quarter, over that in the second.
    """

    cpu_over_floor: _Positive | None = None
    p99_over_service: _Positive | None = None
    goodput_over_peak: _Positive | None = None
    refusal_ms: _Positive | None = None
    memory_growth: _Positive | None = None


class Phase(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stretch of a scenario.

    Attributes:
        name: unique in the scenario.
        seconds: how long requests start.
        rate, load, in_flight: exactly one: requests a second, the share of the peak, or how many
            at once.
        arrivals: when requests of an open phase start.
        way: unary calls, streams, or half of each.
        pictures, mix: what is sent; None as the scenario says.
        budgets: what must hold.
    """

    name: _Name
    seconds: _Positive
    rate: _Positive | None = None
    load: _Positive | None = None
    in_flight: _Count | None = None
    arrivals: Arrivals = Arrivals.POISSON
    way: Way = Way.UNARY
    pictures: Pictures | None = None
    mix: Mix | None = None
    budgets: Budgets = Budgets()

    @property
    def is_open(self) -> bool:
        """Whether arrivals wait for nobody."""
        return self.in_flight is None


class Scenario(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A whole run.

    Attributes:
        name: what reports call it.
        about: in a sentence or two.
        seed: of arrivals and of what is sent.
        rounds: how often all phases are run; budgets are judged by the median.
        entries: made-up PDQ entries on the server, beside those of the corpus.
        connections: over which requests are spread.
        timeout_seconds: after which an answer is no longer waited for.
        apart: the load generator has a CPU of its own, and the server the others.
        pictures, mix: what is sent where a phase does not say.
        server: settings of the server, by name.
        phases: in their order.
    """

    name: _Name
    about: str
    seed: int = 1
    rounds: _Count = 1
    entries: Annotated[int, msgspec.Meta(ge=0, le=100_000_000)] = 100_000
    connections: _Count = 4
    timeout_seconds: _Positive = 10.0
    apart: bool = False
    pictures: Pictures = Pictures.UPLOADS
    mix: Mix = Mix(unknown=1.0)
    server: dict[str, str | int | float | bool] = {}
    phases: Annotated[tuple[Phase, ...], msgspec.Meta(min_length=1)]

    def mix_of(self, phase: Phase) -> Mix:
        """The shares of a phase."""
        return self.mix if phase.mix is None else phase.mix

    def pictures_of(self, phase: Phase) -> Pictures:
        """The pictures of a phase."""
        return self.pictures if phase.pictures is None else phase.pictures


def read_scenario(path: Path) -> Scenario:
    """Reads a scenario.

    Raises:
        ScenarioError: the file cannot be read, or says what cannot be run.
    """
    try:
        document = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ScenarioError(f"{path}: {error.strerror}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise ScenarioError(f"{path}: is not TOML: {error}") from None
    try:
        return scenario_from(document)
    except ScenarioError as error:
        raise ScenarioError(f"{path}: {error}") from None


def scenario_from(document: dict[str, Any]) -> Scenario:
    """A scenario from a parsed document.

    Raises:
        ScenarioError: it says what cannot be run; the message names the place.
    """
    try:
        scenario = msgspec.convert(document, Scenario)
    except msgspec.ValidationError as error:
        raise ScenarioError(str(error)) from None
    _check_mix(scenario.mix, "$.mix")
    for number, phase in enumerate(scenario.phases):
        _check_phase(phase, scenario.phases[:number], f"$.phases[{number}]")
    return scenario


def _check_phase(phase: Phase, before: tuple[Phase, ...], place: str) -> None:
    names = {each.name for each in before}
    if phase.name in names:
        raise ScenarioError(f"two phases are named {phase.name!r} - at `{place}.name`")
    said = [each for each in (phase.rate, phase.load, phase.in_flight) if each is not None]
    if len(said) != 1:
        raise ScenarioError(f"say one of `rate`, `load` and `in_flight` - at `{place}`")
    _check_meaning(phase, place)
    if phase.load is not None and PEAK not in names:
        raise ScenarioError(f"`load` needs a phase named {PEAK!r} before - at `{place}.load`")
    for budget, needed in (("p99_over_service", ALONE), ("goodput_over_peak", PEAK)):
        if getattr(phase.budgets, budget) is not None and needed not in names:
            where = f"{place}.budgets.{budget}"
            raise ScenarioError(f"`{budget}` needs a phase named {needed!r} before - at `{where}`")
    if phase.mix is not None:
        _check_mix(phase.mix, f"{place}.mix")


def _check_meaning(phase: Phase, place: str) -> None:
    """What `alone` and `peak` mean, and what can be judged of a closed phase."""
    if phase.name == ALONE and phase.in_flight != 1:
        raise ScenarioError(f"a phase named {ALONE!r} has `in_flight = 1` - at `{place}`")
    if phase.name == PEAK and phase.is_open:
        raise ScenarioError(f"a phase named {PEAK!r} has `in_flight` - at `{place}`")
    if not phase.is_open and phase.budgets.p99_over_service is not None:
        where = f"{place}.budgets.p99_over_service"
        raise ScenarioError(f"only an open phase has latencies - at `{where}`")


def _check_mix(mix: Mix, place: str) -> None:
    total = sum(msgspec.structs.astuple(mix))
    if abs(total - 1) > 1e-6:
        raise ScenarioError(f"shares must add up to 1, not {total:g} - at `{place}`")
