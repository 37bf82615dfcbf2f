"""A scan is killed at every step, or its disk is full: no object is lost or there twice."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from matcher.scan.errors import StateError
from matcher.scan.state import ScanState
from tests.scan_state_support import RUN, batches, document, records, result, sealer

ROOT = Path(__file__).parents[2]
SEALER = sealer()


def kill_at_every(stride, folder):
    """Kills at every `stride`-th step; how many kills that were."""
    run = subprocess.run(
        [sys.executable, "-m", "tests.scan_state_kill_driver", str(folder), str(stride)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-3000:]
    return json.loads(run.stdout)["kills"]


@pytest.mark.timeout(170)
def test_a_kill_at_some_steps(tmp_path):
    assert kill_at_every(29, tmp_path) >= 6


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_kill_at_every_step(tmp_path):
    assert kill_at_every(1, tmp_path) >= 150


@pytest.fixture
def small_disk(tmp_path):
    """A folder on a file system of its own that is soon full; in memory, so that it takes root."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = shutil.which("mount")
    if os.geteuid() != 0 or mount is None:
        pytest.skip("only root can mount a small file system")
    command = [mount, "-t", "tmpfs", "-o", "size=2m", "tmpfs", folder]
    if subprocess.run(command, capture_output=True, check=False).returncode:
        pytest.skip("no file system can be mounted here")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def fill(folder):
    """Takes every byte that is left; gives the file that does."""
    filler = folder / "filler"
    for size in (1 << 16, 512, 1):
        with filler.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            while True:
                file.write(bytes(size))
    return filler


def test_a_full_disk_leaves_nothing_half_written(small_disk):
    folder = small_disk / "out"
    made = batches(range(2_000), size=200)
    with ScanState.create(folder, document(hashes_until=1e12)) as state:
        state.begin_run(**RUN)
        state.plan(0, "c", made[:5])
        assert state.finish(result(made[0], keep=True), sealer=SEALER)
        filler = fill(small_disk)
        done = 1
        with pytest.raises(StateError, match=r"the disk is full; .* go on with --resume"):  # noqa: PT012
            while state.finish(result(made[done], keep=True), sealer=SEALER):
                done += 1
        before = state.summary()
        assert before.finished == before.kept + done * 40 == done * 200
        with pytest.raises(StateError, match="the disk is full"):
            state.plan(0, "d", made[5:])
        assert state.position(0).cursor == "c"
        assert state.summary() == before
        assert list(state.planned()) == made[done:5]
        filler.unlink()
        state.plan(0, "d", made[5:], done=True)
        for each in list(state.planned()):
            assert state.finish(result(each, keep=True), sealer=SEALER)
        assert list(state.records()) == [one for each in made for one in records(each)]
        assert state.summary().done


def test_a_scan_is_not_begun_on_a_full_disk(small_disk):
    folder = small_disk / "out"
    folder.mkdir()
    filler = fill(small_disk)
    with pytest.raises(StateError, match=r"the disk is full|No space left"):
        ScanState.create(folder, document())
    assert not (folder / "state.db").exists()
    filler.unlink()
    ScanState.create(folder, document()).close()
