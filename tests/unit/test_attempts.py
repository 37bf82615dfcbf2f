"""Wrong credentials are limited by place, and nobody else is kept out for it."""

from __future__ import annotations

import pytest

from matcher.service import attempts
from matcher.service.attempts import BURST, REFILL_SECONDS, Attempts

HERE = "ipv4:192.0.2.1:1234"


class Clock:
    now = 100.0

    def __call__(self):
        return self.now


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


def test_who_has_called_from_there_is_remembered(tried):
    assert not tried.knows(HERE, "a")
    tried.succeeded(HERE, "a")
    assert tried.knows("ipv4:192.0.2.1:77", "a")
    assert not tried.knows(HERE, "b")
    assert not tried.knows("ipv4:192.0.2.3:1", "a")


def test_what_is_remembered_is_bounded(clock, monkeypatch):
    monkeypatch.setattr(attempts, "_MOST_PLACES", 3)
    monkeypatch.setattr(attempts, "_MOST_CLIENTS", 2)
    made = Attempts(clock)
    for number in range(5):
        made.failed(f"ipv4:192.0.2.{number}:1")
    assert len(made._places) == 3
    for name in "abc":
        made.succeeded(HERE, name)
    assert [made.knows(HERE, name) for name in "abc"] == [False, True, True]
