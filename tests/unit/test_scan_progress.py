"""A scan's progress: what is counted, at what rate, and how it is shown to whom."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from matcher.cli import scan_progress
from matcher.cli.scan_meter import Meter
from matcher.cli.scan_progress import (
    EventDisplay,
    LineDisplay,
    LiveDisplay,
    choose_display,
    drawn,
    line,
)
from matcher.cli.scan_words import counts_words, exit_status, size_words, time_words
from matcher.scan.events import Ended, Finished, Planned, Retried, Throttled
from matcher.scan.model import FailureReason, Outcome
from matcher.scan.tally import Tally

NAME = "secret-folder"


def planned(objects, source=0, *, complete=False):
    return Planned(source, objects, nbytes=0, complete=complete)


def finished(objects=1, *, outcome=Outcome.NO_KNOWN_MATCH, nbytes=0, folder=NAME, members=0):
    tally = Tally(objects=objects, members=members, fetched_bytes=nbytes)
    tally.outcomes = {outcome.value: objects}
    tally.member_outcomes = {Outcome.MATCHED.value: members} if members else {}
    return Finished(0, tally, 1.0, folder)


def meter(*events, total=None, begun=0.0, each_seconds=1.0):
    made = Meter(begun, sources=(0,) if total is None else (), listed=total or 0)
    for number, event in enumerate(events, start=1):
        made.take(event, at=begun + number * each_seconds)
    return made


# What is counted


def test_it_counts_what_the_run_tells():
    made = meter(
        planned(5),
        finished(3, nbytes=100, members=2),
        finished(1, outcome=Outcome.FAILED),
        Retried(0, FailureReason.THROTTLED, 1),
        Throttled(0, 4),
        Ended(complete=False, left=1),
    )
    assert (made.listed, made.done, made.members, made.nbytes) == (5, 4, 2, 100)
    assert (made.retried, made.throttled, made.prefix) == (1, 1, NAME)
    assert made.count(Outcome.MATCHED) == 2
    assert made.count(Outcome.FAILED) == 1
    assert made.total is None


def test_the_total_is_known_once_all_sources_are_listed():
    made = Meter(0.0, sources=(0, 1))
    made.take(planned(5, 0, complete=True), at=1)
    assert made.total is None
    made.take(planned(2, 1, complete=True), at=2)
    assert made.total == 7


def test_a_resumed_scan_goes_on_from_what_is_finished():
    tally = Tally(objects=40, members=3, outcomes={"matched": 2, "failed": 38})
    tally.member_outcomes = {"matched": 3}
    made = Meter.resumed(100.0, tally, sources=(), listed=50)
    assert (made.done, made.total, made.count(Outcome.MATCHED)) == (40, 50, 5)
    made.take(finished(5), at=105.0)
    assert made.rates(105.0) == (1.0, 0.0)
    assert made.seconds_left(105.0) == 5.0


def test_what_was_seen_ahead_is_the_total_until_the_listing_has_ended():
    made = Meter.resumed(0.0, Tally(), sources=(0,), listed=0, expected=50)
    made.take(finished(10), at=10.0)
    assert (made.total, made.seconds_left(10.0)) == (50, 40.0)
    made.take(planned(60, complete=True), at=11.0)
    assert made.total == 60


def test_rates_are_of_the_last_minute():
    made = meter(*(finished(10, nbytes=1000) for _ in range(100)))
    assert made.rates(100.0) == (10.0, 1000.0)
    assert made.rates(130.0) == (pytest.approx(5.0), pytest.approx(500.0))
    assert made.rates(1000.0)[0] < 0.1


def test_nothing_is_told_of_time_before_anything_is_known():
    made = Meter(0.0, sources=(0,))
    assert made.rates(0.5) == (0.0, 0.0)
    assert made.seconds_left(10.0) is None
    made.take(planned(5, complete=True), at=1)
    assert made.seconds_left(10.0) is None


@given(st.lists(st.tuples(st.integers(1, 100), st.floats(0.01, 100)), max_size=50))
def test_numbers_add_up_however_they_come(batches):
    made, at = Meter(0.0, sources=(0,)), 0.0
    for objects, pause in batches:
        at += pause
        made.take(finished(objects, nbytes=objects), at=at)
        assert made.rates(at)[0] >= 0
    total = sum(objects for objects, _ in batches)
    assert made.done == made.nbytes == total
    assert made.record(at)["outcomes"]["no_known_match"] == total


# Words


@pytest.mark.parametrize(
    ("nbytes", "told"),
    [(0, "0 bytes"), (1023, "1023 bytes"), (1536, "1.5 KiB"), (1 << 40, "1.0 TiB")],
)
def test_sizes_in_words(nbytes, told):
    assert size_words(nbytes) == told


@pytest.mark.parametrize(
    ("seconds", "told"),
    [(0, "0 s"), (59, "59 s"), (90, "2 min"), (3700, "1 h 1 min"), (90_000, "1 day 1 h")],
)
def test_times_in_words(seconds, told):
    assert time_words(seconds) == told
    assert time_words(200_000) == "2 days 7 h"


def test_outcomes_in_words():
    assert counts_words({}) == "nothing yet"
    assert counts_words({"failed": 1, "matched": 2_000}) == "2,000 matched, 1 failed"


@pytest.mark.parametrize(
    ("outcomes", "members", "status"),
    [
        ({}, {}, 0),
        ({"no_known_match": 3}, {}, 0),
        ({"no_known_match": 3, "failed": 1}, {}, 2),
        ({"not_hashable": 1}, {}, 2),
        ({"failed": 9, "matched": 1}, {}, 1),
        ({"review": 1}, {}, 1),
        ({"not_hashable": 1}, {"matched": 1}, 1),
        ({"failed": 0}, {"matched": 0}, 0),
    ],
)
def test_the_exit_status_is_that_of_match(outcomes, members, status):
    assert exit_status(outcomes, members) == status


# Displays


def test_a_line_names_no_object():
    made = meter(planned(40, complete=True), finished(10, nbytes=1 << 20), Throttled(0, 1))
    told = line(made, 10.0)
    assert told == (
        "10 of 40 objects (25 %), 1.0 objects/s, 102.4 KiB/s, about 30 s left, 1 times throttled: "
        "10 no known match"
    )
    assert NAME not in told


def test_lines_come_every_half_minute(capsys):
    shown, made = LineDisplay(), meter(planned(9), finished(3))
    shown.begin("Scanning x", made)
    for at in (1.0, 29.0, 30.0, 31.0, 59.0, 60.0):
        shown.tick(at)
    shown.tell("stopping", "Stopping.", {})
    shown.end()
    shown.tick(1000.0)
    out, err = capsys.readouterr()
    assert out == ""
    assert [each.partition(",")[0] for each in err.splitlines()] == [
        *("Scanning x", "3 objects", "3 objects", "Stopping.")
    ]


def test_events_are_json_and_name_no_object(capsys):
    shown, made = EventDisplay(), meter(planned(9, complete=True), finished(3))
    shown.begin("Scanning x", made)
    shown.tick(4.0)
    shown.tick(5.0)
    shown.tell("done", "words", {"exit_status": 0})
    shown.end()
    shown.tick(100.0)
    out, err = capsys.readouterr()
    progress, done = map(json.loads, out.splitlines())
    assert progress["event"] == "progress"
    assert (progress["objects"], progress["total"], progress["seconds"]) == (3, 9, 5.0)
    assert done == {"event": "done", "exit_status": 0}
    assert err == ""
    assert NAME not in out


@pytest.mark.parametrize("width", [40, 80, 120])
@pytest.mark.parametrize("total", [None, 20_000])
def test_the_live_display_fits_its_terminal(width, total, monkeypatch):
    monkeypatch.setenv("COLUMNS", str(width))
    made = Meter(0.0, sources=() if total else (0,), listed=total or 0)
    made.take(finished(12_345, folder="a/" * 100 + NAME, nbytes=10**9), at=10.0)
    made.take(finished(2, outcome=Outcome.MATCHED, folder="a/" * 100 + NAME), at=11.0)
    out = Console(file=io.StringIO(), width=width, force_terminal=True, color_system=None)
    out.print(drawn("Scanning s3://" + "bucket" * 30, made, 12.0))
    lines = out.file.getvalue().splitlines()
    assert max(map(len, lines)) <= width
    text = " ".join(lines)
    assert "12,347" in text
    assert "matched 2" in text
    if total is None:
        assert "the listing goes on" in text.replace("  ", " ")


def test_a_place_in_a_terminal_is_printable():
    made = meter(finished(1, folder="a\x1b[2Jb"))
    out = Console(file=io.StringIO(), width=80, force_terminal=True, color_system=None)
    out.print(drawn("x", made, 1.0))
    assert "\x1b[2J" not in out.file.getvalue()


def test_the_live_display_is_taken_away(capsys, monkeypatch):
    monkeypatch.setenv("TERM", "xterm")
    shown, made = LiveDisplay(), meter(planned(9), finished(3))
    shown.tell("begun", "Before.", {})
    shown.begin("Scanning x", made)
    shown.tick(5.0)
    shown.tell("stopping", "Between.", {})
    shown.end()
    shown.end()
    shown.tell("done", "After.", {})
    told = capsys.readouterr().err
    assert told.index("Before.") < told.index("Between.") < told.index("After.")


@pytest.mark.parametrize(
    ("events", "terminal", "kind"),
    [(True, True, EventDisplay), (False, True, LiveDisplay), (False, False, LineDisplay)],
)
def test_the_display_fits_where_output_goes(events, terminal, kind, monkeypatch):
    monkeypatch.setattr(scan_progress, "is_terminal", lambda **_: terminal)
    shown = choose_display(events=events)
    assert type(shown) is kind
    assert shown.for_programs is events
