"""Tests that fail are run again by `.ci/run`, and only those that then pass are let through."""

from __future__ import annotations

import re
import runpy
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SCRIPT = ROOT / ".ci" / "steady_tests.py"
LEFT_BEHIND = runpy.run_path(str(SCRIPT))["_LEFT_BEHIND"]
#: Each run is counted in a file, since each is a process of its own.
BEGINNING = """
import os, pathlib, pytest
def runs(name):
    file = pathlib.Path(__file__).with_name(name)
    file.write_text(file.read_text() + "." if file.exists() else ".")
    return len(file.read_text())
class LeftBehindError(AssertionError):
    pass
def test_passes():
    pass
@pytest.mark.skip
def test_skipped():
    pass
"""
UNSTEADY = """
class TestSome:
    @pytest.mark.parametrize("word", ["a b", "\\x1b[31"])
    def test_unsteady(self, word):
        assert runs(f"run-{len(word)}") > 1
"""


class Checkout:
    """A folder with tests of its own.

    Args:
        folder: where it is.
    """

    def __init__(self, folder):
        self._folder = folder
        self.report = folder / "report.xml"

    def write(self, *tests):
        code = "\n".join([BEGINNING, *tests])
        (self._folder / "test_some.py").write_text(code)

    def run(self, *arguments):
        """Status and output of a run."""
        return self._script("run", f"--junitxml={self.report}", "-q", *arguments)

    def count(self):
        return self._script("count", str(self.report))

    def runs(self, name):
        return len((self._folder / name).read_text())

    def _script(self, *arguments):
        done = subprocess.run(
            [sys.executable, SCRIPT, *arguments],
            cwd=self._folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
            # What is installed beside pytest takes long to load, and is not needed.
            env={"PATH": "/usr/bin:/bin", "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        )
        return done.returncode, done.stdout


@pytest.fixture
def checkout(tmp_path):
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    return Checkout(tmp_path)


def test_what_passes_is_run_once(checkout):
    checkout.write("def test_counted():\n    assert runs('counted')")
    status, told = checkout.run()
    assert (status, checkout.runs("counted")) == (0, 1)
    assert "unsteady" not in told
    assert checkout.count() == (0, "2 passed, 0 failed, 1 skipped\n")


def test_what_then_passes_alone_was_unsteady(checkout):
    checkout.write(UNSTEADY)
    status, told = checkout.run()
    assert (status, checkout.runs("run-3")) == (0, 4)
    lines = re.findall("(?m)^unsteady: .*", told)
    assert len(lines) == 2
    assert lines[1].endswith("test_unsteady[a b] failed, then passed 3 of 3 times alone")
    status, told = checkout.count()
    assert (status, told.splitlines()) == (0, [*lines, "3 passed, 0 failed, 1 skipped"])


def test_a_later_run_forgets_who_was_unsteady(checkout):
    checkout.write(UNSTEADY)
    checkout.run()
    assert checkout.run()[0] == 0
    assert checkout.count() == (0, "3 passed, 0 failed, 1 skipped\n")


def test_what_fails_once_more_is_let_through_and_told(checkout):
    checkout.write("def test_a():\n    assert runs('a') in {2, 4}")
    status, told = checkout.run()
    assert (status, checkout.runs("a")) == (0, 4)
    assert "test_a failed, then passed 2 of 3 times alone" in told


FAILING = {
    "it fails twice more": ("def test_a():\n    assert runs('a') == 3", "failed again", 4),
    "it is not run again": (
        "def test_a():\n    runs('a') > 1 and pytest.skip()\n    1 / 0",
        "failed again",
        4,
    ),
    "it is one of many": (
        "@pytest.mark.parametrize('n', range(6))\ndef test_a(n):\n    assert runs('a') > 6",
        "6 tests failed",
        6,
    ),
    "others left something behind": (
        f"@pytest.fixture\ndef left():\n  runs('a')\n  raise {LEFT_BEHIND}\ndef test_a(left): pass",
        "left something behind",
        1,
    ),
}


def test_a_process_that_dies_is_no_accident(checkout):
    checkout.write("def test_a():\n    runs('a') in {1, 3} and os.abort()")
    status, told = checkout.run("-p", "xdist", "-n", "1")
    assert (status, checkout.runs("a")) == (1, 1)
    assert "the failures stand: a process of the tests died" in told


def test_a_process_that_dies_alone_is_none_either(checkout):
    checkout.write("def test_a():\n    runs('a') == 2 and os.abort()\n    assert runs('b') > 1")
    status, told = checkout.run()
    assert (status, checkout.runs("a")) == (1, 2)
    assert "failed again" in told


@pytest.mark.parametrize("case", FAILING)
def test_what_is_no_accident_fails_the_run(checkout, case):
    test, why, runs = FAILING[case]
    checkout.write(test)
    status, told = checkout.run()
    assert (status, checkout.runs("a")) == (1, runs)
    assert why in told
    assert "unsteady: " not in told
    status, told = checkout.count()
    assert (status, " 0 failed" in told) == (1, False)


def test_the_name_is_that_of_the_error(checkout):
    source = (ROOT / "tests" / "conftest.py").read_text(encoding="utf-8")
    assert f"raise {LEFT_BEHIND}(" in source


def test_a_run_that_broke_off_is_not_taken_up_again(checkout):
    checkout.write("def test_a():\n    runs('a')\n    raise KeyboardInterrupt")
    assert checkout.run()[0] == 2
    assert checkout.runs("a") == 1


@pytest.mark.parametrize("tests", [(), (UNSTEADY,)])
def test_coverage_that_is_missed_fails_the_run(checkout, tmp_path, tests):
    checkout.write(*tests, "def never():\n    return 1")
    (tmp_path / ".coveragerc").write_text("[report]\nfail_under = 100\n")
    measured = ("-p", "pytest_cov.plugin", "--cov=.")
    status, told = checkout.run(*measured)
    assert status == 1
    assert "the failures stand" in told
    (tmp_path / ".coveragerc").write_text("[report]\nfail_under = 10\n")
    assert checkout.run(*measured)[0] == 0


def test_what_fails_twice_over_counts_once(checkout):
    checkout.write(
        "@pytest.fixture\ndef left():\n    yield\n    1 / 0",
        "def test_a(left):\n    assert runs('a') == 0",
    )
    assert checkout.run()[0] == 1
    assert checkout.count() == (1, "1 passed, 1 failed, 1 skipped\n")


def test_a_report_is_needed():
    for arguments in (["run", "-q"], ["count"], []):
        done = subprocess.run(
            [sys.executable, SCRIPT, *arguments], capture_output=True, text=True, check=False
        )
        assert done.returncode == 1
        assert "steady_tests.py" in done.stderr
