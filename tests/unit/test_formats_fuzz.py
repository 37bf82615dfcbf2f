"""A smoke run of the list fuzzers; a long one is `tests/fuzz/fuzz_vics.py --inputs 100000`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from hashlists.formats.base import Sample
from hashlists.formats.registry import FORMATS

FOLDER = Path(__file__).resolve().parents[1] / "fuzz"
#: Every fuzzer of a list format, named as its module is; dashes of the format are underscores.
_OTHERS = {"fuzz_decode", "fuzz_scan_archives", "fuzz_unpacking"}
NAMES = sorted(path.stem for path in FOLDER.glob("fuzz_*.py") if path.stem not in _OTHERS)
INPUTS = 500


@pytest.mark.parametrize("name", NAMES)
def test_mutated_files_end_in_a_result_or_a_typed_error(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer = importlib.import_module(name)
    findings, outcomes = fuzzer.fuzz(inputs=INPUTS, seed=11)
    assert findings == []
    assert sum(outcomes.values()) == INPUTS
    # The mutations must reach both sides: files that pass, and files that are refused.
    assert {"imported", "partly", "LIST_FILE_MALFORMED"} <= set(outcomes)


@pytest.mark.parametrize("name", NAMES)
def test_every_format_can_be_asked_about_any_beginning(name, monkeypatch):
    """What a file looks like is asked of formats that it is not of, and of damaged files."""
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer, shared = importlib.import_module(name), importlib.import_module("list_fuzzing")
    for number in range(100):
        (data, _), _ = shared.mutated(fuzzer.corpus(), fuzzer.TOKENS, 11, number)
        for each in FORMATS.values():
            likeness = each.looks_like(Sample(data, f"x{number}", whole=True))
            assert likeness is None or (0 <= likeness.score <= 100 and likeness.why)


@pytest.mark.parametrize("name", NAMES)
def test_the_unchanged_files_import_without_rejection(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer = importlib.import_module(name)
    shared = importlib.import_module("list_fuzzing")
    for data, options in fuzzer.corpus():
        for limits in shared.LIMITS:
            format_name = name.removeprefix("fuzz_").replace("_", "-")
            assert shared.read(data, format_name, options, limits) == "imported"


def test_an_input_that_ends_in_anything_else_is_a_finding(monkeypatch, capsys):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzing = importlib.import_module("fuzzing")

    def attempt(number):
        if number % 3 == 1:
            raise ZeroDivisionError
        return "read"

    assert fuzzing.tried(attempt, 5, 7) == ([1, 4], {"read": 3})
    told = capsys.readouterr().err
    assert "input 1 of seed 7:\n" in told
    assert "ZeroDivisionError" in told
    assert fuzzing.tried(attempt, 5, 7, only=3) == ([], {"read": 1})
    monkeypatch.setattr("sys.argv", ["fuzz", "--inputs", "2"])
    assert fuzzing.command_line("x", "Fuzzes.", lambda *_: ([], {})) == 0
    assert fuzzing.command_line("x", "Fuzzes.", lambda *_: ([1], {})) == 1
