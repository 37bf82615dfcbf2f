"""The clock of stages: what it adds up, and that it is told by matching."""

from __future__ import annotations

import itertools

import pytest
from prometheus_client import CollectorRegistry

from matcher.index.match_index import MatchIndex
from matcher.model import HashKind, ImageHashes
from matcher.pipeline import DEFAULT_OPTIONS, Generation, match_items
from matcher.policy.rules import default_policy
from matcher.service.stage_times import StageTimes
from matcher.stages import Spell, Stage, StageClock


def clock(*times):
    ticks = iter(times)
    return StageClock(lambda: next(ticks))


def test_parts_of_a_stage_add_up_from_its_first_beginning():
    timed = clock(10, 15, 100, 101, 200, 230)
    for stage in (Stage.LOOKUP, Stage.POLICY, Stage.LOOKUP):
        with timed.stage(stage):
            pass
    assert dict(timed.spells) == {Stage.LOOKUP: Spell(10, 35), Stage.POLICY: Spell(100, 1)}
    assert list(timed.spells) == [Stage.LOOKUP, Stage.POLICY]


def test_a_stage_that_fails_is_timed_too():
    timed = clock(0, 2_000_000_000)
    with pytest.raises(ValueError), timed.stage(Stage.HASH):
        raise ValueError
    assert timed.spells[Stage.HASH].seconds == 2


def test_times_are_told_by_stage_and_bound():
    times = StageTimes((0.001, 0.5))
    for took in (0, 1_000_000, 1_000_001, 500_000_000, 3_000_000_000):
        times.observe({Stage.HASH: Spell(7, took), Stage.DECODE: Spell(7, 1)})
    registry = CollectorRegistry()
    registry.register(times)

    def told(name, **labels):
        return registry.get_sample_value(f"hashwarden_stage_seconds_{name}", labels)

    counts = {le: told("bucket", stage="hash", le=le) for le in ("0.001", "0.5", "+Inf")}
    assert counts == {"0.001": 2, "0.5": 4, "+Inf": 5}
    assert told("count", stage="hash") == told("count", stage="decode") == 5
    assert told("sum", stage="hash") == pytest.approx(3.502000001)
    assert told("count", stage="policy") == 0


def test_no_time_is_below_zero():
    timed = clock()
    timed.note(Stage.DECODE, 5, 3)
    timed.note(Stage.DECODE, 7, 6)
    assert timed.spells[Stage.DECODE].took == 0


def test_matching_tells_how_long_it_looked_up_and_judged():
    generation = Generation(MatchIndex.empty(), {"default": default_policy()})
    item = ImageHashes({HashKind.SHA256: bytes(32)}, size=1)
    ticks = itertools.count(0, 1)
    timed = StageClock(lambda: next(ticks))
    match_items(generation, [item] * 40, [DEFAULT_OPTIONS] * 40, clock=timed)
    assert list(timed.spells) == [Stage.LOOKUP, Stage.POLICY]
    assert timed.spells[Stage.LOOKUP].took == timed.spells[Stage.POLICY].took == 2  # 32 and 8
