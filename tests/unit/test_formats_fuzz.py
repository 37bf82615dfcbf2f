"""A smoke run of the list fuzzers; a long one is `tests/fuzz/fuzz_vics.py --inputs 100000`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).resolve().parents[1] / "fuzz"
#: Every fuzzer of a list format, named as its module is; dashes of the format are underscores.
NAMES = sorted(path.stem for path in FOLDER.glob("fuzz_*.py") if path.stem != "fuzz_decode")
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
def test_the_unchanged_files_import_without_rejection(name, monkeypatch):
    monkeypatch.syspath_prepend(str(FOLDER))
    fuzzer = importlib.import_module(name)
    shared = importlib.import_module("list_fuzzing")
    for data, options in fuzzer.corpus():
        for limits in shared.LIMITS:
            format_name = name.removeprefix("fuzz_").replace("_", "-")
            assert shared.read(data, format_name, options, limits) == "imported"
