"""What a load test sends and when: drawn before the first request, whatever a server does."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from loadtest.corpus.model import CorpusFile, Sort
from loadtest.openloop.plan import Plan, draw_plan, starts_of
from loadtest.openloop.scenario import Arrivals, Mix, Phase, Way

FILES = [
    CorpusFile(name=f"{sort}-{number}", sort=sort, weight=weight, decision="")
    for sort in Sort
    for number, weight in enumerate((1.0, 3.0))
]


def draw(phase: Phase, mix: Mix, *, rate: float = 1000.0, seed: int = 1) -> Plan:
    rng = np.random.default_rng(seed)
    return draw_plan(phase, FILES, mix=mix, rate=rate, rng=rng)


@given(
    arrivals=st.sampled_from(Arrivals),
    rate=st.floats(0.5, 2000),
    seconds=st.floats(0.1, 5),
    seed=st.integers(0, 100),
)
def test_starts_ascend_and_lie_within_the_phase(arrivals, rate, seconds, seed):
    starts = starts_of(arrivals, rate, seconds, np.random.default_rng(seed))
    assert (np.diff(starts) >= 0).all()
    assert (starts >= 0).all()
    if arrivals is Arrivals.POISSON:
        assert (starts < seconds).all()
    else:
        assert len(starts) == max(1, round(rate * seconds))


def test_fixed_arrivals_are_equally_far_apart():
    starts = starts_of(Arrivals.FIXED, 50, 2, np.random.default_rng(0))
    assert len(starts) == 100
    assert np.allclose(np.diff(starts), 0.02)
    assert starts[0] == 0


def test_poisson_arrivals_are_independent():
    """Their number varies as its mean does, and gaps are exponential: deviation equals mean."""
    rng = np.random.default_rng(3)
    counts = [len(starts_of(Arrivals.POISSON, 200, 1, rng)) for _ in range(400)]
    assert np.mean(counts) == pytest.approx(200, rel=0.02)
    assert np.var(counts) == pytest.approx(200, rel=0.3)
    gaps = np.diff(starts_of(Arrivals.POISSON, 200, 200, rng))
    assert gaps.mean() == pytest.approx(1 / 200, rel=0.05)
    assert gaps.std() == pytest.approx(gaps.mean(), rel=0.05)


def test_files_are_drawn_by_shares_and_weights():
    phase = Phase(name="some", seconds=20, rate=1000)
    plan = draw(phase, Mix(unknown=0.5, repeated=0.2, copy=0.2, bomb=0.1))
    sorts = np.array([FILES[row].sort for row in plan.files])
    for sort, share in ((Sort.UNKNOWN, 0.7), (Sort.COPY, 0.2), (Sort.BOMB, 0.1), (Sort.BAD, 0.0)):
        assert (sorts == sort).mean() == pytest.approx(share, abs=0.02)
    second = np.array([FILES[row].weight for row in plan.files]) == 3.0
    assert second.mean() == pytest.approx(0.75, abs=0.02)


def test_only_unknown_pictures_get_other_bytes_and_repeated_ones_do_not():
    plan = draw(
        Phase(name="some", seconds=20, rate=1000), Mix(unknown=0.5, repeated=0.25, copy=0.25)
    )
    assert plan.fresh.mean() == pytest.approx(0.5, abs=0.02)
    assert {FILES[row].sort for row in plan.files[plan.fresh]} == {Sort.UNKNOWN}


@pytest.mark.parametrize(("way", "share"), [(Way.UNARY, 0.0), (Way.STREAM, 1.0), (Way.MIXED, 0.5)])
def test_ways(way, share):
    plan = draw(Phase(name="some", seconds=20, rate=1000, way=way), Mix(unknown=1))
    assert plan.streamed.mean() == pytest.approx(share, abs=0.02)


def test_a_closed_phase_has_a_sequence_and_no_starts():
    plan = draw(Phase(name="some", seconds=3, in_flight=7), Mix(unknown=1))
    assert (plan.in_flight, plan.seconds) == (7, 3)
    assert not plan.starts.any()
    assert len(plan.files) > 1000


def test_the_same_seed_draws_the_same(tmp_path):
    phase = Phase(name="some", seconds=2, rate=100)
    first, second = draw(phase, Mix(unknown=1)), draw(phase, Mix(unknown=1))
    assert (first.starts == second.starts).all()
    assert (first.files == second.files).all()
    first.save(tmp_path / "plan.npz")
    read = Plan.load(tmp_path / "plan.npz")
    for name in ("starts", "files", "fresh", "streamed"):
        assert (getattr(read, name) == getattr(first, name)).all()
    assert (read.in_flight, read.seconds) == (0, 2)
    assert not (draw(phase, Mix(unknown=1), seed=2).starts[:5] == first.starts[:5]).any()


def test_a_share_that_no_file_is_for_is_told():
    only = [each for each in FILES if each.sort is Sort.UNKNOWN]
    rng = np.random.default_rng(0)
    with pytest.raises(LookupError, match="'copy'"):
        draw_plan(
            Phase(name="some", seconds=1, rate=9),
            only,
            mix=Mix(unknown=0.5, copy=0.5),
            rate=9,
            rng=rng,
        )
