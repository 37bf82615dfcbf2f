"""Wrong credentials are limited by place."""

from __future__ import annotations

import pytest

from matcher.service import attempts
from matcher.service.attempts import BURST, REFILL_SECONDS, Attempts
from tests.clocks import Clock

HERE = "ipv4:192.0.2.1:1234"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def tried(clock):
    """Attempts of a place that has just had as many as it may."""
    made = Attempts(clock)
    for _ in range(BURST):
        assert made.wait(HERE) == 0
        made.failed(HERE)
    return made


def test_after_so_many_failures_there_is_a_wait(tried):
    assert tried.wait(HERE) == pytest.approx(REFILL_SECONDS)
    assert tried.wait("ipv4:192.0.2.1:9") > 0  # another port of the same place
    assert tried.wait("ipv4:192.0.2.2:1234") == 0


def test_the_wait_ends(tried, clock):
    clock.now += REFILL_SECONDS
    assert tried.wait(HERE) == 0
    tried.failed(HERE)
    assert tried.wait(HERE) > 0
    clock.now += 10 * BURST * REFILL_SECONDS
    for _ in range(BURST):
        assert tried.wait(HERE) == 0
        tried.failed(HERE)
    assert tried.wait(HERE) > 0


def test_what_is_remembered_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(attempts, "_MOST_PLACES", 3)
    made = Attempts(clock)
    for number in range(5):
        made.failed(f"ipv4:192.0.2.{number}:1")
    assert len(made._places) == 3
