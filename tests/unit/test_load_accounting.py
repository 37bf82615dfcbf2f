"""Every request of a load test has an end that is counted, and every time counts in full."""

from __future__ import annotations

import math

import numpy as np
import pytest

from loadtest.corpus.model import CorpusFile, Sort
from loadtest.openloop.floor import FileFloor
from loadtest.openloop.generator import Moments, records_of
from loadtest.openloop.judging import fault_of
from loadtest.openloop.latency import CURVE, times_of
from loadtest.openloop.outcomes import (
    RECORD,
    Outcome,
    Tally,
    latencies,
    lateness,
    refusal_times,
)
from loadtest.openloop.phases import Sent, cost_of, memory_growth, summed, timeline
from loadtest.openloop.processes import Sample, Watch, role_of, sample_of
from loadtest.openloop.scenario import Phase
from loadtest.openloop.sending import Asked
from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.model import Basis, Decision, NotHashableReason

NAN = math.nan


def records(*rows: tuple) -> np.ndarray:
    """Rows of (file, streamed, intended, sent, done, outcome, right)."""
    made = np.zeros(len(rows), RECORD)
    for row, (file, streamed, intended, sent, done, outcome, right) in enumerate(rows):
        made[row] = (file, streamed, intended, sent, done, outcome, 0, right)
    return made


SOME = records(
    (0, False, 10.0, 10.1, 10.5, Outcome.ANSWERED, True),
    (1, False, 10.2, 10.2, 11.7, Outcome.ANSWERED, False),
    (0, False, 11.0, 11.0, 11.002, Outcome.REFUSED, False),
    (0, True, 11.5, 12.0, 12.5, Outcome.FAILED, False),
    (0, True, 11.6, NAN, NAN, Outcome.UNSENT, False),
    (0, True, 11.7, 11.7, NAN, Outcome.LOST, False),
)


def test_tally_counts_every_request_once():
    tally = Tally.of(SOME)
    assert tally == Tally(
        requests=6, answered=2, right=1, wrong=1, refused=1, failed=1, unsent=1, lost=1
    )


def test_what_nobody_thought_of_is_lost():
    assert Tally.of(np.zeros(3, RECORD)).lost == 3
    assert Asked(0, streamed=False, intended=0.0).outcome is Outcome.LOST


def test_an_unknown_outcome_is_no_silent_one():
    odd = SOME.copy()
    odd["outcome"][0] = 9
    with pytest.raises(AssertionError):
        Tally.of(odd)


def test_latency_counts_from_the_intended_start_and_to_the_end_where_nothing_came():
    found = latencies(SOME, 20.0)
    assert found == pytest.approx([0.5, 1.5, 1.0, 8.4, 8.3])
    assert refusal_times(SOME) == pytest.approx([0.002])


def test_lateness_is_the_generators_own_and_not_a_streams():
    assert lateness(SOME) == pytest.approx([0.1, 0.0, 0.0])


def test_percentiles_hold_to_three_digits_at_every_size():
    seconds = np.concatenate([np.full(989, 0.002), np.full(10, 0.25), [30.0]])
    times = times_of(seconds)
    assert times.count == 1000
    assert times.p50 == pytest.approx(2, rel=1e-3)
    assert times.p99 == pytest.approx(250, rel=1e-3)
    assert times.max == pytest.approx(30_000, rel=1e-3)
    assert len(times.curve) == len(CURVE)
    assert list(times.curve) == sorted(times.curve)


def test_no_times_and_times_beyond_all_measure():
    assert times_of(np.zeros(0)).max == 0
    with pytest.raises(ValueError, match="hour"):
        times_of(np.array([4000.0]))


def test_timeline_has_each_request_in_its_second():
    seconds = list(timeline(SOME, 10.0, 13.0))
    assert [each.offered for each in seconds] == [2, 4, 0]
    assert [each.right for each in seconds] == [1, 0, 0]
    assert [each.wrong for each in seconds] == [0, 1, 0]
    assert [each.refused for each in seconds] == [0, 1, 0]
    assert [each.failed for each in seconds] == [0, 0, 1]


def sample(at: float, *, cpu: dict | None = None, memory: float = 0.0) -> Sample:
    return Sample(at, cpu or {}, {"server": memory, "server: worker": 1.0, "generator": 999.0})


def test_memory_growth_leaves_the_first_quarter_out():
    samples = [sample(at, memory=size) for at, size in ((0.5, 1), (1.5, 99), (3.5, 149))]
    assert memory_growth(samples, 0.0, 4.0) == pytest.approx(1.5)
    assert memory_growth(samples[:1], 0.0, 4.0) == 1.0


def sent(before: dict, after: dict) -> Sent:
    return Sent(
        SOME.copy(), Moments(begin=10, end=13), sample(10, cpu=before), sample(13, cpu=after), ()
    )


def test_cost_is_that_of_the_server_for_what_it_answered():
    floors = [FileFloor(luminance=0.002, digests=0.001), FileFloor(luminance=0.004, digests=0.001)]
    cost = cost_of(
        sent(
            {"server": 1.0, "generator": 5.0},
            {"server": 1.02, "server: worker": 0.01, "generator": 9.0},
        ),
        floors,
        0.0005,
    )
    assert cost is not None
    assert cost.server == pytest.approx(15)
    assert cost.by_role == pytest.approx({"server": 10, "server: worker": 5})
    assert (cost.luminance, cost.digests, cost.echo) == pytest.approx((3, 1, 0.5))
    assert cost.over_floor == pytest.approx(15 / 4.5)


def test_cost_without_a_floor_or_without_an_answer():
    cost = cost_of(sent({}, {"server": 0.01}), (), 0.0)
    assert cost is not None
    assert (cost.floor, cost.over_floor) == (0, 0)
    nothing = Sent(SOME[2:], Moments(begin=10, end=13), sample(10), sample(13), ())
    assert cost_of(nothing, (), 0.0) is None


def test_goodput_is_what_came_right_and_in_time():
    some = sent({}, {})
    some.records["code"][3] = 14
    result = summed(
        Phase(name="some", seconds=2, rate=3),
        "some",
        some,
        number=1,
        run_begin=4.0,
        cost=None,
        samples=(),
    )
    assert (result.goodput, result.offered, result.begin) == (0.5, 3.0, 6.0)
    assert result.counts.requests == 6
    assert result.codes == {"UNAVAILABLE": 1}
    assert result.latency.count == 5


# --- judging ---------------------------------------------------------------------------------

LISTED = CorpusFile(
    name="near.jpeg",
    sort=Sort.NEAR,
    weight=1,
    decision=Decision.MATCH.value,
    format="jpeg",
    width=30,
    height=20,
    listed="listed.png",
)
BROKEN = CorpusFile(
    name="note.txt", sort=Sort.BAD, weight=1, decision="NOT_HASHABLE", reason="unsupported"
)


def result(decision: Decision, *, entry: str = "7", basis: Basis = Basis.NEAR, width: int = 30):
    message = pb.MatchResult(
        decision=wire.DECISIONS[decision],
        image=pb.ImageInfo(width=width, height=20, format="jpeg"),
    )
    if decision is Decision.MATCH:
        message.matches.add(entry=entry, basis=wire.BASES[basis])
    return message


def refusal(reason: NotHashableReason) -> pb.MatchResult:
    told = pb.NotHashable(reason=wire.REASONS[reason])
    return pb.MatchResult(decision=wire.DECISIONS[Decision.NOT_HASHABLE], not_hashable=told)


@pytest.mark.parametrize(
    ("answer", "file", "words"),
    [
        (result(Decision.MATCH), LISTED, ""),
        (result(Decision.NO_KNOWN_MATCH), LISTED, "NO_KNOWN_MATCH for MATCH"),
        (result(Decision.MATCH, width=31), LISTED, "another picture's format"),
        (result(Decision.MATCH, entry="8"), LISTED, "another picture's entry"),
        (result(Decision.MATCH, basis=Basis.EXACT), LISTED, "a match by exact"),
        (refusal(NotHashableReason.UNSUPPORTED), BROKEN, ""),
        (refusal(NotHashableReason.MALFORMED), BROKEN, "malformed for unsupported"),
        (pb.MatchResult(), BROKEN, "None for NOT_HASHABLE"),
    ],
)
def test_an_answer_is_right_only_for_its_own_file(answer, file, words):
    fault = fault_of(answer, file, {"listed.png": "7"})
    assert fault.startswith(words)
    assert bool(fault) == bool(words)


class _Corpus:
    files = (LISTED, BROKEN)


def test_records_judge_unary_and_streamed_answers_alike():
    good, bad = Asked(0, streamed=False, intended=1.0), Asked(0, streamed=True, intended=2.0)
    good.response = pb.MatchImageResponse(result=result(Decision.MATCH)).SerializeToString()
    wrong = pb.MatchImagesResponse(request_id="1", result=result(Decision.REVIEW))
    bad.response = wrong.SerializeToString()
    for each in (good, bad):
        each.end(Outcome.ANSWERED)
    lost = Asked(1, streamed=True, intended=3.0)
    failed = Asked(1, streamed=False, intended=3.0)
    failed.end(Outcome.FAILED, 14, "shutting down")
    made, faults = records_of(
        type("Sent", (), {"asked": [good, bad, lost, failed]}),
        _Corpus,
        {"listed.png": "7"},
        echo=False,
    )
    assert made["right"].tolist() == [True, False, False, False]
    assert made["outcome"].tolist() == [
        Outcome.ANSWERED,
        Outcome.ANSWERED,
        Outcome.LOST,
        Outcome.FAILED,
    ]
    assert faults == ["near.jpeg: REVIEW for MATCH", "note.txt: failed: shutting down"]


# --- processes -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["python", "-m", "matcher.service.worker", "1"], "worker"),
        (["/usr/bin/python3", "-c", "from multiprocessing.forkserver import main"], "forkserver"),
        (["/usr/bin/some", "-m"], "some"),
        ([], "ended"),
    ],
)
def test_roles(command, role):
    assert role_of(command) == role
    assert role_of(command, ["python"]) == role


def test_a_fork_is_told_from_what_it_was_forked_from():
    command = ["python", "-m", "some.forkserver"]
    assert role_of(command, command) == "forks of forkserver"


def test_a_watch_sees_this_process_and_none_that_is_gone():
    import os

    with Watch({"server": os.getpid(), "generator": 2**22 + 1}) as watch:
        pass
    first, last = watch.samples[0], watch.samples[-1]
    assert 0 < first.cpu["server"] <= last.cpu["server"]
    assert last.memory["server"] > 1
    assert not any(name.startswith("generator") for name in sample_of(watch.roots).cpu)
