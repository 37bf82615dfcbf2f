"""Budgets of load tests: what is broken is told, by the median of all rounds."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest

from loadtest.openloop.budgets import judge, median_of
from loadtest.openloop.latency import times_of
from loadtest.openloop.results import Cost, Counts, PhaseResult, RunResult
from loadtest.openloop.scenario import scenario_from


def scenario(budgets: dict, *, name: str = "steady", **phase):
    phases = [
        {"name": "alone", "seconds": 1, "in_flight": 1},
        {"name": "peak", "seconds": 1, "in_flight": 8},
        {"name": name, "seconds": 1, "load": 1, "budgets": budgets} | phase,
    ]
    return scenario_from(
        {"name": "some", "about": "", "mix": {"unknown": 1}, "phases": phases, "rounds": 3}
    )


def phase(name: str, number: int = 1, *, ms: float = 10.0, **changes) -> PhaseResult:
    counts = {"requests": 4, "answered": 4, "right": 4, "wrong": 0, "refused": 0, "failed": 0}
    counts |= {"unsent": 0, "lost": 0} | changes.pop("counts", {})
    usual = {
        "name": name,
        "round": number,
        "about": "",
        "is_open": True,
        "begin": 0.0,
        "seconds": 1.0,
        "offered": 4.0,
        "goodput": 100.0,
        "counts": Counts(**counts),
        "codes": {},
        "latency": times_of(np.array([ms / 1e3])),
        "refusal": times_of(np.array([0.004])),
        "late": times_of(np.zeros(0)),
        "cost": Cost(server=3.0, by_role={}, luminance=1.0, digests=0.5, echo=0.5),
        "memory_growth": 1.0,
        "faults": (),
        "timeline": (),
    }
    return PhaseResult(**(usual | changes))


def rounds(*steady: PhaseResult) -> list[PhaseResult]:
    """Each round has an `alone` of 10 ms and a `peak` of 100 a second."""
    return [
        each
        for number, last in enumerate(steady, start=1)
        for each in (phase("alone", number), phase("peak", number), last)
    ]


@pytest.mark.parametrize(
    ("budgets", "changes", "value"),
    [
        ({"cpu_over_floor": 1.5}, {}, 1.5),
        ({"p99_over_service": 3}, {"ms": 30.0}, 3.0),
        ({"goodput_over_peak": 0.9}, {"goodput": 90.0}, 0.9),
        ({"refusal_ms": 4.01}, {}, 4.0),
        ({"memory_growth": 1.0}, {}, 1.0),
    ],
)
def test_a_budget_holds_up_to_its_limit_and_is_broken_beyond(budgets, changes, value):
    (name, limit), *_ = budgets.items()
    results = rounds(phase("steady", **changes))
    *_, verdict = judge(scenario(budgets), results)
    assert verdict.met
    assert verdict.value == pytest.approx(value, rel=0.01)
    tighter = limit * 1.02 if name == "goodput_over_peak" else limit * 0.97
    *_, verdict = judge(scenario({name: tighter}), results)
    assert not verdict.met


def test_the_median_of_rounds_is_judged():
    growths = (1.0, 5.0, 1.1)
    results = rounds(
        *(phase("steady", n, memory_growth=each) for n, each in enumerate(growths, start=1))
    )
    *_, verdict = judge(scenario({"memory_growth": 1.2}), results)
    assert verdict.met
    assert (verdict.value, verdict.low, verdict.high) == (1.1, 1.0, 5.0)
    assert median_of(results, "steady", lambda each: each.memory_growth) == 1.1
    assert median_of(results, "nowhere", lambda each: each.memory_growth) == 0


@pytest.mark.parametrize(
    ("counts", "what"),
    [
        ({"lost": 1, "requests": 5}, "lost requests"),
        ({"wrong": 1, "right": 3}, "wrong answers"),
        ({"requests": 5}, "requests without an account"),
    ],
)
def test_one_lost_or_wrong_request_in_any_round_breaks_the_run(counts, what):
    results = rounds(phase("steady", 1), phase("steady", 2, counts=counts), phase("steady", 3))
    broken = [each for each in judge(scenario({}), results) if not each.met]
    assert [each.what for each in broken] == [what]


def test_nothing_answered_is_not_cheap():
    *_, verdict = judge(scenario({"cpu_over_floor": 9}), rounds(phase("steady", cost=None)))
    assert not verdict.met


def test_a_phase_without_a_result_is_told():
    with pytest.raises(LookupError, match="'steady'"):
        judge(scenario({}), [phase("alone"), phase("peak")])


def test_results_can_be_kept_and_read():
    results = rounds(phase("steady"))
    verdicts = judge(scenario({"cpu_over_floor": 1}), results)
    run = RunResult(
        scenario="some",
        about="",
        circumstances=("- machine: some",),
        service_ms=10.0,
        peak=100.0,
        phases=tuple(results),
        looks=(),
        verdicts=verdicts,
    )
    assert not run.met
    assert msgspec.json.decode(msgspec.json.encode(run), type=RunResult) == run
