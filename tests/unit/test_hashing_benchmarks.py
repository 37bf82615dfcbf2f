"""The benchmarks' own arithmetic: turns, ratios, tables, verdicts."""

from __future__ import annotations

import pytest

from loadtest import measure
from loadtest.measure import Ratio, Timing


def test_ways_take_turns_after_a_round_that_is_not_timed():
    calls = []
    took = measure.interleaved(
        {name: lambda name=name: calls.append(name) for name in ("first", "second")}, rounds=3
    )
    assert calls == ["first", "second"] * 4
    assert {name: len(timing.cpu) for name, timing in took.items()} == {"first": 3, "second": 3}
    assert all(second >= 0 for timing in took.values() for second in timing.cpu + timing.wall)


def test_ratio_is_that_of_the_medians():
    ours = Timing(cpu=(1.0, 1.0, 4.0), wall=(1.0,) * 3)
    theirs = Timing(cpu=(10.0, 12.0, 8.0), wall=(1.0,) * 3)
    ratio = measure.times_as_fast(ours, theirs)
    assert ratio.median == 10
    assert ratio.low <= ratio.median <= ratio.high
    assert str(Ratio(10, 2, 12)) == "10.0 (2.0 to 12.0)"


def test_table_is_markdown():
    table = measure.markdown_table(("what", "ms"), [("a", "1"), ("b", "2")])
    assert table.splitlines() == ["| what | ms |", "| --- | ---: |", "| a | 1 |", "| b | 2 |"]


@pytest.mark.parametrize(
    ("ratio", "smoke", "status", "word"),
    [(3, False, 1, "missed"), (3, True, 0, "missed"), (5, False, 0, "met"), (9, False, 0, "aim")],
)
def test_verdict_fails_a_slow_run_unless_it_is_a_smoke_run(ratio, smoke, status, word, capsys):
    ratios = {"a": Ratio(ratio, ratio, ratio), "b": Ratio(100, 100, 100)}
    assert measure.verdict(ratios, required=5, aim=8, smoke=smoke) == status
    assert word in capsys.readouterr().out


def test_circumstances_name_versions_and_no_folder(monkeypatch):
    monkeypatch.setattr("sys.argv", ["/some/folder/loadtest/hashing.py", "--smoke"])
    text = measure.circumstances(("numpy",))
    assert "`python -m loadtest.hashing --smoke`" in text
    assert "numpy " in text
    assert "/some/folder" not in text


def test_circumstances_do_without_git_and_proc(monkeypatch):
    def absent(*_arguments, **_options):
        raise FileNotFoundError

    monkeypatch.setattr("subprocess.run", absent)
    monkeypatch.setattr("pathlib.Path.read_text", absent)
    assert "- commit: unknown" in measure.circumstances(())


@pytest.mark.parametrize(
    ("words", "rounds"), [([], 9), (["--smoke"], 3), (["--rounds", "5", "--smoke"], 5)]
)
def test_arguments(words, rounds, monkeypatch):
    monkeypatch.setattr("sys.argv", ["hashing.py", *words])
    assert measure.arguments("d", rounds=9).rounds == rounds


def test_one_round_is_refused(monkeypatch, capsys):
    monkeypatch.setattr("sys.argv", ["hashing.py", "--rounds", "1"])
    with pytest.raises(SystemExit):
        measure.arguments("d", rounds=9)
    assert "at least 2" in capsys.readouterr().err
