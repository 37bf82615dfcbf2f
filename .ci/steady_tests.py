"""Runs pytest, and tests that fail once more: `steady_tests.py run ARGUMENTS`; counts reports.

On a machine with much else to do, a test fails now and then though nothing is wrong. Where few
tests failed, each of those is run alone, three times over; if each passes twice or more, the run
counts as passed, and says how unsteady they were, so that they are mended. Nothing else is let
through: no test that fails more often, no run that broke off, no process that died, no coverage
below what is required, and no file that earlier tests left open, since the test that found it would
not find it alone. What tests do to one another otherwise is not seen.

`steady_tests.py count REPORT...` prints how many tests passed, failed and were skipped, and fails
where any failed or a report has none that passed.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING
from xml.etree import ElementTree as ET

if TYPE_CHECKING:
    from collections.abc import Iterable

#: More than these are no accident.
MOST_UNSTEADY = 5
ROUNDS = 3
#: Of those rounds a test has to pass so many.
LEAST_PASSED = 2
#: What pytest returns where tests failed, and for no other reason.
_TESTS_FAILED = 1
#: The error of what earlier tests left behind, as `tests/conftest.py` names it.
_LEFT_BEHIND = "LeftBehindError"
#: What pytest-xdist says in a report of a test whose process died.
_DIED = "crashed while running"
_NO_ACCIDENTS = {
    _LEFT_BEHIND: "tests left something behind",
    _DIED: "a process of the tests died",
}
_REPORT = "--junitxml="


def outcomes_of(report: Path) -> Counter[str]:
    """How many tests of a report `passed`, `failed` (or had an error) and were `skipped`.

    A test that fails and cannot be cleared away, either, is in a report twice and counts once.

    Raises:
        OSError: if the report cannot be read.
        xml.etree.ElementTree.ParseError: if it is cut off.
    """
    worst: dict[tuple[str, str], str] = {}
    for case in ET.parse(report).getroot().iter("testcase"):  # noqa: S314 - our own
        name = (case.get("classname", ""), case.get("name", ""))
        told = {each.tag for each in case}
        if told & {"failure", "error"}:
            worst[name] = "failed"
        elif worst.get(name) != "failed":
            worst[name] = "skipped" if "skipped" in told else "passed"
    return Counter(worst.values())


def count(reports: Iterable[Path]) -> bool:
    """Prints the outcomes of all reports, unsteady tests first; tells whether all is well."""
    total, well = Counter[str](), True
    for report in reports:
        outcomes, unsteady = outcomes_of(report), _noted(report)
        outcomes.update(passed=len(unsteady), failed=-len(unsteady))
        for told in _told(unsteady):
            print(told)
        well &= outcomes["passed"] > 0 and outcomes["failed"] == 0
        total.update(outcomes)
    print(f"{total['passed']} passed, {total['failed']} failed, {total['skipped']} skipped")
    return well


def run(arguments: list[str]) -> int:
    """Runs pytest with these arguments, which name its report; what it returned, or 0 in the end.

    Raises:
        SystemExit: if the arguments name no report.
    """
    named = [each.removeprefix(_REPORT) for each in arguments if each.startswith(_REPORT)]
    if not named:
        sys.exit(f"steady_tests.py: a report is needed: {_REPORT}FILE")
    report = Path(named[-1])
    _notes(report).unlink(missing_ok=True)
    cache = report.with_suffix(".cache")
    shutil.rmtree(cache, ignore_errors=True)
    status = _pytest([*arguments, "-o", f"cache_dir={cache.absolute()}"])
    if status != _TESTS_FAILED:
        return status
    failed = _failed(cache)
    problem = _problem(arguments, report, failed)
    passed = {} if problem else {test: _passed_alone(report, test) for test in failed}
    if not problem and min(passed.values()) < LEAST_PASSED:
        problem = "tests failed again"
    if problem:
        print(f"the failures stand: {problem}")
        return status
    _notes(report).write_text(json.dumps(passed), encoding="utf-8")
    for told in _told(passed):
        print(told)
    return 0


def _problem(arguments: list[str], report: Path, failed: list[str]) -> str:
    """Why what failed need not be tried again, empty if it may be."""
    if not failed:
        return "they are not of tests"
    if len(failed) > MOST_UNSTEADY:
        return f"{len(failed)} tests failed, and more than {MOST_UNSTEADY} are no accident"
    if outcomes_of(report)["failed"] != len(failed):
        return "the report tells of other failures"
    told = report.read_text(encoding="utf-8")
    for words, why in _NO_ACCIDENTS.items():
        if words in told:
            return why
    measured = any(each.startswith("--cov") for each in arguments)
    if measured and _quiet([sys.executable, "-m", "coverage", "report"]):
        return "the coverage is less than required"
    return ""


def _passed_alone(report: Path, test: str) -> int:
    """In how many rounds a test passed."""
    again, passed = report.with_suffix(".again.xml"), 0
    for number in range(1, ROUNDS + 1):
        print(f"\n=== {test}: alone, {number} of {ROUNDS}", flush=True)
        again.unlink(missing_ok=True)
        status = _pytest([f"{_REPORT}{again}", "-p", "no:cacheprovider", test])
        if status not in {0, _TESTS_FAILED}:  # it died, or never ran
            return 0
        passed += status == 0 and outcomes_of(again) == {"passed": 1}
    return passed


def _failed(cache: Path) -> list[str]:
    """The tests that failed in a run that had this new cache, by pytest's names."""
    try:
        return sorted(json.loads((cache / "v/cache/lastfailed").read_bytes()))
    except FileNotFoundError:
        return []


def _notes(report: Path) -> Path:
    return report.with_suffix(".unsteady.json")


def _noted(report: Path) -> dict[str, int]:
    """The tests of a report that failed and then passed alone, and how often."""
    notes = _notes(report)
    return json.loads(notes.read_bytes()) if notes.exists() else {}


def _told(passed: dict[str, int]) -> list[str]:
    return [
        f"unsteady: {test} failed, then passed {count} of {ROUNDS} times alone"
        for test, count in passed.items()
    ]


def _pytest(arguments: list[str]) -> int:
    return subprocess.run([sys.executable, "-m", "pytest", *arguments], check=False).returncode  # noqa: S603 - a fixed program, no shell


def _quiet(command: list[str]) -> int:
    return subprocess.run(command, check=False, capture_output=True).returncode  # noqa: S603 - a fixed program, no shell


def main() -> None:
    """Ends with the status of the run, or of the count."""
    match sys.argv[1:]:
        case ["run", *arguments]:
            sys.exit(run(arguments))
        case ["count", _, *_] as given:
            sys.exit(not count(map(Path, given[1:])))
        case _:
            sys.exit("usage: steady_tests.py run ARGUMENTS | count REPORT...")


if __name__ == "__main__":
    main()
