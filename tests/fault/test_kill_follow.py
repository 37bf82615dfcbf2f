"""Kill -9 at every step of build, publication, swap and compaction: a restart answers as before."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.follow_kill_driver import SCENARIOS

ROOT = Path(__file__).parents[2]


def kill_at_every(stride: int, scenario: str, folder: Path) -> int:
    """Kills at every `stride`-th step; how many kills that were."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.follow_kill_driver", scenario, str(folder), str(stride)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)["kills"]


@pytest.mark.slow
@pytest.mark.timeout(170)
@pytest.mark.parametrize("scenario", ["purge", "swap"])
def test_a_kill_at_some_steps(scenario, tmp_path):
    assert kill_at_every(37, scenario, tmp_path) >= 6


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_kill_while_it_is_kept_what_was_retracted(tmp_path):
    assert kill_at_every(11, "retract", tmp_path) >= 4


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("scenario", list(SCENARIOS))
def test_a_kill_at_every_step(scenario, tmp_path):
    assert kill_at_every(1, scenario, tmp_path) >= 50
