"""Scenarios of load tests: what can be run, and what the errors name."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest

from loadtest.corpus.model import Pictures
from loadtest.openloop.scenario import (
    Arrivals,
    Scenario,
    ScenarioError,
    Way,
    read_scenario,
    scenario_from,
)

FOLDER = Path(__file__).parents[2] / "loadtest" / "scenarios"
DOCUMENT = {
    "name": "some",
    "about": "Some load.",
    "mix": {"unknown": 0.75, "copy": 0.25},
    "phases": [
        {"name": "alone", "seconds": 1, "in_flight": 1},
        {"name": "peak", "seconds": 1, "in_flight": 8},
        {"name": "steady", "seconds": 2, "load": 0.6, "budgets": {"p99_over_service": 5}},
    ],
}


def changed(**changes) -> dict:
    return copy.deepcopy(DOCUMENT) | changes


def with_phase(phase: dict) -> dict:
    document = copy.deepcopy(DOCUMENT)
    document["phases"].append({"name": "more", "seconds": 1} | phase)
    return document


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.stem)
def test_scenarios_that_come_along_can_be_run(path):
    assert read_scenario(path).phases


def test_scenarios_come_along():
    names = {path.stem for path in FOLDER.glob("*.toml")}
    assert {"ci", "two_minutes", "cost_1m", "cost_10m", "mixed", "bad_files"} <= names


def test_what_a_phase_does_not_say_is_as_the_scenario_says():
    scenario = scenario_from(
        with_phase({"rate": 5, "pictures": "mb1", "mix": {"bad": 1}, "arrivals": "fixed"})
    )
    steady, more = scenario.phases[2:]
    assert (steady.arrivals, steady.way) == (Arrivals.POISSON, Way.UNARY)
    assert scenario.pictures_of(steady) is Pictures.UPLOADS
    assert scenario.mix_of(steady).copy == 0.25
    assert more.arrivals is Arrivals.FIXED
    assert scenario.pictures_of(more) is Pictures.MB1
    assert scenario.mix_of(more).bad == 1
    assert [each.is_open for each in scenario.phases] == [False, False, True, True]


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (changed(phases=[]), "$.phases"),
        (changed(nonsense=1), "nonsense"),
        (changed(entries=-1), "$.entries"),
        (changed(rounds=0), "$.rounds"),
        (changed(pictures="holidays"), "$.pictures"),
        (changed(mix={"unknown": 0.5}), "must add up to 1, not 0.5 - at `$.mix`"),
        (changed(mix={"unknown": 2}), "$.mix.unknown"),
        (with_phase({}), "one of `rate`, `load` and `in_flight` - at `$.phases[3]`"),
        (with_phase({"rate": 1, "load": 1}), "one of `rate`, `load` and `in_flight`"),
        (with_phase({"rate": 0}), "$.phases[3].rate"),
        (with_phase({"rate": 1, "seconds": 0}), "$.phases[3].seconds"),
        (with_phase({"rate": 1, "way": "carrier pigeon"}), "$.phases[3].way"),
        (with_phase({"rate": 1, "mix": {"bad": 0.1}}), "$.phases[3].mix"),
        (with_phase({"rate": 1, "budgets": {"beauty": 1}}), "beauty"),
        (with_phase({"rate": 1, "budgets": {"refusal_ms": 0}}), "$.phases[3].budgets.refusal_ms"),
        (with_phase({"rate": 1, "name": "steady"}), "two phases are named 'steady'"),
        (with_phase({"in_flight": 2, "budgets": {"p99_over_service": 5}}), "only an open phase"),
    ],
)
def test_what_cannot_be_run_is_told_with_its_place(document, words):
    with pytest.raises(ScenarioError) as raised:
        scenario_from(document)
    assert words in str(raised.value)


@pytest.mark.parametrize(
    ("phase", "words"),
    [
        ({"name": "alone", "seconds": 1, "in_flight": 2}, "has `in_flight = 1`"),
        ({"name": "alone", "seconds": 1, "rate": 2}, "has `in_flight = 1`"),
        ({"name": "peak", "seconds": 1, "rate": 2}, "a phase named 'peak' has `in_flight`"),
        ({"name": "a", "seconds": 1, "load": 1}, "`load` needs a phase named 'peak' before"),
        (
            {"name": "a", "seconds": 1, "rate": 1, "budgets": {"p99_over_service": 1}},
            "needs a phase named 'alone' before - at `$.phases[0].budgets.p99_over_service`",
        ),
        (
            {"name": "a", "seconds": 1, "rate": 1, "budgets": {"goodput_over_peak": 1}},
            "needs a phase named 'peak' before",
        ),
    ],
)
def test_phases_that_mean_something_are_what_they_mean(phase, words):
    with pytest.raises(ScenarioError) as raised:
        scenario_from(changed(phases=[phase]))
    assert words in str(raised.value)


def test_errors_of_a_file_name_it(tmp_path):
    path = tmp_path / "some.toml"
    with pytest.raises(ScenarioError, match=r"some\.toml: No such file"):
        read_scenario(path)
    path.write_text("name = ", encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"some\.toml: is not TOML"):
        read_scenario(path)
    path.write_bytes(b"name = '\xff'")
    with pytest.raises(ScenarioError, match=r"some\.toml: is not TOML"):
        read_scenario(path)
    path.write_text('name = "some"', encoding="utf-8")
    with pytest.raises(ScenarioError, match=r"some\.toml: .*about"):
        read_scenario(path)


def test_defaults_are_frozen():
    first, second = scenario_from(changed()), scenario_from(changed())
    assert isinstance(first, Scenario)
    assert first == second
    assert first.server == {}
