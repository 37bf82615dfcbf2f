"""The server's log says which revision is served, and is not flooded."""

from __future__ import annotations

import logging

import pytest

from matcher.follow.follower import FollowerState
from matcher.service.revision_log import RevisionLog
from tests.clocks import Clock


@pytest.fixture
def told(caplog):
    caplog.set_level(logging.INFO, "matcher.service.revision_log")
    return lambda: caplog.messages


def state(revision, *, snapshot="r7", live=0):
    return FollowerState(0.0, behind=False, problem="", revision=revision, snapshot=snapshot,
                         live_entries=live)  # fmt: skip


def test_each_revision_is_told_once(told):
    clock = Clock()
    log = RevisionLog(clock=clock)
    log.look(state(-1, snapshot=""), 0)
    for _ in range(3):
        log.look(state(7), 1_234)
        clock.now += 10
    log.look(state(8, live=40), 1_274)
    clock.now += 10
    log.look(state(8, snapshot="r8"), 1_274)
    assert told() == [
        "serving revision 7: 1,234 entries, 0 of them changed after the snapshot r7",
        "serving revision 8: 1,274 entries, 40 of them changed after the snapshot r7",
        "serving revision 8: 1,274 entries, 0 of them changed after the snapshot r8",
    ]


def test_many_that_come_fast_are_one_line_and_the_newest_is_told(told):
    clock = Clock()
    log = RevisionLog(clock=clock)
    for revision in range(1, 101):
        log.look(state(revision), revision)
        clock.now += 0.01
    assert len(told()) == 1
    clock.now += 5
    for _ in range(3):
        log.look(state(100), 100)
    assert len(told()) == 2
    assert told()[1].startswith("serving revision 100 (99 after the one told last): 100 entries")


def test_a_catalog_that_was_set_back_is_told_without_a_count(told):
    clock = Clock()
    log = RevisionLog(clock=clock)
    log.look(state(9), 1)
    clock.now += 5
    log.look(state(3, snapshot="r3"), 1)
    assert told()[1].startswith("serving revision 3: ")
