"""When an entry counts as hit far more often than usual, and when it does not."""

from __future__ import annotations

import pytest

from matcher import hot_entries
from matcher.hot_entries import FLAGGED_WINDOWS, HotEntries
from tests.clocks import Clock


@pytest.fixture
def clock():
    return Clock(0.0)


@pytest.fixture
def hot(clock):
    return HotEntries(floor=10, factor=5, window_seconds=60, clock=clock)


def hit(hot, entry, times):
    return [each for _ in range(times) for each in hot.add([entry])]


def windows(hot, clock, count, hits):
    """So many windows with the same hits in each."""
    found = []
    for _ in range(count):
        for entry, times in hits.items():
            found += hit(hot, entry, times)
        clock.now += 60
    return found


def test_an_entry_that_was_never_hit_is_flagged_at_the_floor(hot, clock):
    clock.now = 60
    assert hit(hot, 7, 9) == []
    (found,) = hit(hot, 7, 1)
    assert (found.entry_id, found.hits, found.usual, found.window_seconds) == (7, 10, 0, 60)
    assert hit(hot, 7, 50) == []  # told once
    assert hot.is_flagged(7)
    assert not hot.is_flagged(8)
    assert (hot.flags, hot.flagged) == (1, 1)


def test_in_the_first_window_nothing_is_known_to_be_usual(hot):
    assert hit(hot, 7, 49) == []
    assert len(hit(hot, 7, 1)) == 1


def test_what_is_usual_is_not_flagged_and_far_more_than_that_is(hot, clock):
    assert windows(hot, clock, 60, {1: 20, 2: 20}) == []
    assert hit(hot, 1, 99) == []
    (found,) = hit(hot, 1, 2)
    assert found.usual == pytest.approx(20)


def test_more_traffic_makes_no_entry_hot(hot, clock):
    usual = dict.fromkeys(range(20), 8)
    windows(hot, clock, 60, usual)
    for _ in range(80):
        for entry in usual:
            assert hot.add([entry]) == []
    assert len(hit(hot, 3, 600)) == 1


def test_a_flag_lasts_for_a_day_of_windows_after_the_last_hot_one(hot, clock):
    clock.now = 60
    hit(hot, 7, 10)
    clock.now += 60 * FLAGGED_WINDOWS
    assert hot.is_flagged(7)
    clock.now += 60
    assert not hot.is_flagged(7)
    assert hot.flags == 0


def test_what_somebody_looked_at_is_not_flagged_for_as_long(hot, clock):
    clock.now = 60
    hit(hot, 7, 10)
    hot.reviewed(7)
    assert not hot.is_flagged(7)
    assert hit(hot, 7, 100) == []
    clock.now += 60 * (FLAGGED_WINDOWS + 1)
    assert len(hit(hot, 7, 100)) == 1


def test_an_upload_counts_once_for_each_entry(hot, clock):
    clock.now = 60
    for _ in range(9):
        assert hot.add([7, 7, 8]) == []
    assert {each.entry_id for each in hot.add([7, 8, 8])} == {7, 8}


def test_memory_is_bounded(hot, clock, monkeypatch):
    monkeypatch.setattr(hot_entries, "MAX_FLAGS", 3)
    monkeypatch.setattr(hot_entries, "MAX_COUNTERS", 5)
    clock.now = 60
    hot.add([])  # another window, with so many counters
    for entry in range(40):
        hit(hot, entry, 12)
        hot.reviewed(1000 + entry)
        clock.now += 60
    assert hot.flags <= 3
    assert len(hot._usual) <= 5
    assert len(hot._reviewed) <= 3


def test_hits_at_other_processes_count(hot, clock):
    clock.now += 60
    for _ in range(9):
        hot.learn([1, 2])
    assert hot.flags == 0
    (flagged,) = hot.add([1])
    assert (flagged.entry_id, flagged.hits) == (1, 10)
    assert hot.flagged == 1


def test_hits_elsewhere_flag_nothing_here(hot, clock):
    """Where the hit was it is told, and only there."""
    clock.now += 60
    for _ in range(30):
        hot.learn([1])
    assert hot.flags == 0


def test_what_another_process_flagged_is_flagged_and_told_by_that_one(hot, clock):
    clock.now += 60
    hot.learn_flagged(1)
    assert hot.is_flagged(1)
    assert hot.flagged == 0
    assert hit(hot, 1, 20) == []
    hot.reviewed(1)
    hot.learn_flagged(1)
    assert not hot.is_flagged(1), "somebody has looked since"
    clock.now += 60 * (FLAGGED_WINDOWS + 1)
    hot.learn_flagged(2)
    clock.now += 60 * (FLAGGED_WINDOWS + 1)
    assert not hot.is_flagged(2)
