"""A short run of the fuzz target; the long one is described in `tests/fuzz/fuzz_decode.py`."""

from __future__ import annotations

import importlib
from pathlib import Path

import pytest

FOLDER = Path(__file__).parents[1] / "fuzz"


@pytest.fixture(scope="module")
def target():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FOLDER)
        yield importlib.import_module("fuzz_decode")


def test_mutated_files_end_in_results(target):
    findings, outcomes = target.run(1500, seed=7)
    assert findings == []
    # Mutation must reach beyond the first check, or this would show nothing.
    assert {"decoded", "truncated", "malformed", "over_limit", "unsupported"} <= set(outcomes)


def test_mutations_are_deterministic(target):
    corpus = list(target.seeds().values())
    assert [target.mutated(corpus, 3, n) for n in range(40)] == [
        target.mutated(corpus, 3, n) for n in range(40)
    ]


def test_findings_are_told(target, monkeypatch, capsys):
    def fails(*_):
        raise ZeroDivisionError

    monkeypatch.setattr(target.worker, "decode", fails)
    monkeypatch.setattr(target.sys, "argv", ["fuzz_decode", "--inputs", "2"])
    assert target.main() == 1
    assert "findings: 2" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("taken", "found"), [((4.0, 2**29), []), ((6.0, 0), [0]), ((0.0, 2**31), [0])]
)
def test_costly_inputs_are_findings(target, monkeypatch, capsys, taken, found):
    readings = iter([(1.0, 2**27), (1.0 + taken[0], 2**27 + taken[1]), (9.0, 2**32)])
    monkeypatch.setattr(target.Cost, "_taken", staticmethod(lambda: next(readings)))
    assert target.run(1, seed=7)[0] == found
    assert ("TooCostlyError" in capsys.readouterr().err) is bool(found)
