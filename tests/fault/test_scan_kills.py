"""A scan that is killed at random moments, and resumed, tells what an undisturbed one tells."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def killed(folder, objects, kills, *, seed):
    """What the driver says of a scan of so many objects that was killed so often."""
    command = [sys.executable, "-m", "tests.scan_kill_driver", str(folder)]
    done = subprocess.run(
        [*command, str(objects), str(kills), str(seed)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def check(told, objects, kills):
    assert told["kills"] == kills
    assert sum(told["outcomes"].values()) == objects
    assert told["outcomes"]["matched"] == objects // 25
    assert told["outcomes"]["not_hashable"] == 2 * objects // 25


def test_a_scan_that_is_killed_a_few_times(tmp_path):
    check(killed(tmp_path, 600, 3, seed=1), 600, 3)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_scan_of_5000_objects_that_is_killed_20_times(tmp_path):
    check(killed(tmp_path, 5000, 20, seed=2), 5000, 20)
