"""Judges the phases of a run by their budgets.

Ratios are judged by the median over all rounds, since one round in which a neighbour was busy is no
fault of the server's. Lost requests and wrong answers are faults whenever they happen.
"""

from __future__ import annotations

import statistics
from typing import TYPE_CHECKING

from loadtest.openloop.results import Verdict
from loadtest.openloop.scenario import ALONE, PEAK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from loadtest.openloop.results import Counts, PhaseResult
    from loadtest.openloop.scenario import Phase, Scenario


#: What verdicts on all phases together say for a name, and what is allowed of faults.
EVERY_PHASE = "every phase"
NONE = "none"
#: Stands for a ratio over nothing; JSON has no infinity.
_ENDLESS = 1e9


def judge(scenario: Scenario, results: Sequence[PhaseResult]) -> tuple[Verdict, ...]:
    """A verdict for everything that had to hold.

    Raises:
        LookupError: a phase of the scenario has no result.
    """
    verdicts = [*_accounted(results)]
    for phase in scenario.phases:
        mine = [each for each in results if each.name == phase.name]
        if not mine:
            raise LookupError(f"there is no result of the phase {phase.name!r}")
        verdicts += _judge_phase(phase, mine, results)
    return tuple(verdicts)


def median_of(
    results: Sequence[PhaseResult], name: str, value: Callable[[PhaseResult], float]
) -> float:
    """The median over all rounds of a phase; 0 where it was not run."""
    found = [value(each) for each in results if each.name == name]
    return statistics.median(found) if found else 0.0


def _accounted(results: Sequence[PhaseResult]) -> Iterator[Verdict]:
    """Every request has an end, none was lost, and no answer was wrong, in any phase."""
    adrift = [each.counts.requests - _ended(each.counts) for each in results]
    for what, counts in (
        ("requests without an account", adrift),
        ("lost requests", [each.counts.lost for each in results]),
        ("wrong answers", [each.counts.wrong for each in results]),
    ):
        yield Verdict(
            phase=EVERY_PHASE,
            what=what,
            value=float(sum(counts)),
            low=float(min(counts)),
            high=float(max(counts)),
            limit=NONE,
            met=not any(counts),
        )


def _ended(counts: Counts) -> int:
    return (
        counts.right + counts.wrong + counts.refused + counts.failed + counts.unsent + counts.lost
    )


def _judge_phase(
    phase: Phase, mine: Sequence[PhaseResult], results: Sequence[PhaseResult]
) -> Iterator[Verdict]:
    budgets = phase.budgets
    alone = {each.round: each for each in results if each.name == ALONE}
    peak = {each.round: each for each in results if each.name == PEAK}
    if budgets.cpu_over_floor is not None:
        ratios = [each.cost.over_floor if each.cost else _ENDLESS for each in mine]
        yield _most(phase, "CPU time over the floor", ratios, budgets.cpu_over_floor)
    if budgets.p99_over_service is not None:
        ratios = [each.latency.p99 / max(alone[each.round].latency.p50, 1e-3) for each in mine]
        yield _most(phase, "p99 over the service time", ratios, budgets.p99_over_service)
    if budgets.goodput_over_peak is not None:
        ratios = [each.goodput / max(peak[each.round].goodput, 1e-9) for each in mine]
        yield _least(phase, "goodput over the peak", ratios, budgets.goodput_over_peak)
    if budgets.refusal_ms is not None:
        times = [each.refusal.p99 for each in mine]
        yield _most(phase, "p99 of refusals in ms", times, budgets.refusal_ms)
    if budgets.memory_growth is not None:
        growth = [each.memory_growth for each in mine]
        yield _most(phase, "growth of memory", growth, budgets.memory_growth)


def _most(phase: Phase, what: str, values: Sequence[float], limit: float) -> Verdict:
    return _verdict(phase, what, values, f"at most {limit:g}", statistics.median(values) <= limit)


def _least(phase: Phase, what: str, values: Sequence[float], limit: float) -> Verdict:
    return _verdict(phase, what, values, f"at least {limit:g}", statistics.median(values) >= limit)


def _verdict(
    phase: Phase,
    what: str,
    values: Sequence[float],
    limit: str,
    met: bool,  # noqa: FBT001 - the last word of a sentence
) -> Verdict:
    return Verdict(
        phase=phase.name,
        what=what,
        value=statistics.median(values),
        low=min(values),
        high=max(values),
        limit=limit,
        met=met,
    )
