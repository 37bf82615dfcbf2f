"""When credentials expire while somebody sets the clock of the machine."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from matcher.service.wall_clock import WallClock

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


class Machine:
    """A machine whose clock is so far from the true time."""

    def __init__(self):
        self.passed = timedelta()
        self.wrong_by = timedelta()

    def wall(self):
        return NOON + self.passed + self.wrong_by

    def steady(self):
        return 5_000.0 + self.passed.total_seconds()


@pytest.fixture
def machine():
    return Machine()


def clock_of(machine):
    return WallClock(machine.wall, machine.steady)


def test_it_is_the_clock_of_the_machine(machine):
    clock = clock_of(machine)
    machine.passed = HOUR
    assert clock() == NOON + HOUR


def test_what_is_ahead_counts_and_is_over_once_the_clock_is_right(machine, caplog):
    clock = clock_of(machine)
    machine.wrong_by = HOUR
    assert clock() == NOON + HOUR
    machine.wrong_by, machine.passed = timedelta(), timedelta(minutes=1)
    assert clock() == NOON + timedelta(minutes=1)
    assert not caplog.messages


def test_the_true_time_counts_where_the_clock_goes_back(machine, caplog):
    clock = clock_of(machine)
    machine.wrong_by, machine.passed = -HOUR, timedelta(minutes=5)
    for _ in range(3):
        assert clock() == NOON + timedelta(minutes=5)
    assert len(caplog.messages) == 1
    machine.passed = 2 * HOUR
    assert clock() == NOON + 2 * HOUR


def test_a_little_is_put_right_without_a_word(machine, caplog):
    clock = clock_of(machine)
    machine.wrong_by = -timedelta(seconds=59)
    assert clock() == NOON
    assert not caplog.messages


def test_one_that_was_ahead_at_the_start_is_not_known_to_have_been(machine, caplog):
    machine.wrong_by = HOUR
    clock = clock_of(machine)
    machine.wrong_by = timedelta()
    assert clock() == NOON + HOUR
    assert "start the server again" in caplog.text
