"""A smoke run of the list fuzzers; the long one is `tests/fuzz/fuzz_vics.py --inputs 100000`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "fuzz"


@pytest.mark.parametrize("name", ["fuzz_vics", "fuzz_csv"])
def test_mutated_files_end_in_a_result_or_a_typed_error(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer = importlib.import_module(name)
    findings, outcomes = fuzzer.fuzz(inputs=1500, seed=11)
    assert findings == []
    assert sum(outcomes.values()) == 1500
    # The mutations must reach both sides: files that pass, and files that are refused.
    assert {"imported", "partly", "LIST_FILE_MALFORMED"} <= set(outcomes)


@pytest.mark.parametrize("name", ["fuzz_vics", "fuzz_csv"])
def test_the_unchanged_files_import_without_rejection(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer = importlib.import_module(name)
    shared = importlib.import_module("list_fuzzing")
    for data, options in fuzzer.corpus():
        for limits in shared.LIMITS:
            format_name = name.removeprefix("fuzz_")
            assert shared.read(data, format_name, options, limits) == "imported"
