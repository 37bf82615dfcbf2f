"""Errors and kills at every step of writing and publishing: the previous snapshot stays current."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
import pytest

from hashlists.errors import SnapshotError
from hashlists.snapshot import SnapshotWriter, open_current, open_snapshot, sweep

#: The calls by which a writer touches the disk.
CALLS = ("open", "mkdir", "link", "fsync", "rename", "replace")


def publish(root: Path, revision: int) -> Path:
    """Writes arrays of its own, and shares one with the snapshot before it."""
    with SnapshotWriter(root, revision=revision) as writer:
        before = open_current(root)
        writer.add_array("a", np.full(100, revision, np.int64))
        if before is None:
            writer.add_array("shared", np.arange(100))
        else:
            writer.link_array("shared", before)
        writer.add_array("b", np.empty(0, np.uint8))
        writer.add_document("d", {"revision": revision})
        return writer.publish({})


class Trap:
    """Counts calls of `os` and strikes at one of them, before or after the call itself."""

    def __init__(self, strike_at: int, strike, *, after: bool = False) -> None:
        self.count = 0
        self.struck_in = ""
        self._strike_at, self._strike, self._after = strike_at, strike, after

    def wrap(self, name: str):
        real = getattr(os, name)

        def wrapped(*arguments, **keywords):
            self.count += 1
            strike = self.count == self._strike_at
            if strike and not self._after:
                self.struck_in = name
                self._strike()
            try:
                return real(*arguments, **keywords)
            finally:
                if strike and self._after:
                    self.struck_in = name
                    self._strike()

        return wrapped


def count_calls(root: Path, monkeypatch: pytest.MonkeyPatch) -> int:
    trap = Trap(0, None)
    publish(root, 1)
    with monkeypatch.context() as patch:
        for name in CALLS:
            patch.setattr(os, name, trap.wrap(name))
        publish(root, 2)
    return trap.count


def no_space() -> None:
    raise OSError(28, "No space left on device")


def check_whole(root: Path, revisions: set[int]) -> int:
    """What is current is one of `revisions`, whole; gives which."""
    opened = open_current(root)
    assert opened is not None
    assert opened.revision in revisions
    assert opened.arrays["a"].tolist() == [opened.revision] * 100
    assert opened.arrays["shared"].tolist() == list(range(100))
    assert opened.documents == {"d": {"revision": opened.revision}}
    return opened.revision


def names(root: Path) -> set[str]:
    return {each.name for each in root.iterdir()}


def test_an_error_at_any_step_leaves_the_previous_one_current(tmp_path, monkeypatch):
    steps = count_calls(tmp_path / "counted", monkeypatch)
    assert steps >= 15
    outcomes = []
    # The first step makes the root, which is there already: an error there is none.
    for step in range(2, steps + 1):
        root = tmp_path / str(step)
        publish(root, 1)
        before = names(root)
        trap = Trap(step, no_space)
        with monkeypatch.context() as patch:
            for name in CALLS:
                patch.setattr(os, name, trap.wrap(name))
            with pytest.raises((OSError, SnapshotError), match="No space"):
                publish(root, 2)
        outcomes.append(check_whole(root, {1, 2}))
        if outcomes[-1] == 1:
            assert names(root) == before, f"step {step} ({trap.struck_in}) left something behind"
        publish(root, 3)
        assert check_whole(root, {3}) == 3
    # Only the syncing after the swap (opening the folder, and the sync itself) may come too late.
    assert outcomes == [1] * (steps - 3) + [2, 2]


@pytest.mark.parametrize("after", [False, True], ids=["before", "after"])
def test_a_failing_swap(tmp_path, monkeypatch, after):
    publish(tmp_path, 1)
    before = names(tmp_path)
    trap = Trap(1, no_space, after=after)
    with monkeypatch.context() as patch:
        patch.setattr(os, "rename", trap.wrap("rename"))
        with pytest.raises(OSError, match="No space"):
            publish(tmp_path, 2)
    assert check_whole(tmp_path, {1}) == 1
    sweep(tmp_path)
    assert names(tmp_path) == before


KILLED_CHILD = """
import os, sys
from pathlib import Path
sys.path[:0] = sys.argv[2:]
from test_snapshot_faults import CALLS, Trap, check_whole, names, publish
from hashlists.snapshot import sweep

top = Path(sys.argv[1])
step, steps = 0, 10 ** 6
while step < steps:
    step += 1
    root = top / str(step)
    publish(root, 1)
    child = os.fork()
    if child == 0:
        trap = Trap(step, lambda: os._exit(9))
        for name in CALLS:
            setattr(os, name, trap.wrap(name))
        publish(root, 2)
        os._exit(0)
    _, status = os.waitpid(child, 0)
    code = os.waitstatus_to_exitcode(status)
    assert code in (0, 9), code
    if code == 0:
        steps = step
    current = check_whole(root, {1, 2})
    sweep(root)
    assert check_whole(root, {current}) == current
    left = names(root)
    assert not [name for name in left if name.startswith(".")], left
    assert len(left) == 1 + current, left  # `current`, and the one before where there is one
    publish(root, 3)
    check_whole(root, {3})
    print(step, current)
"""


@pytest.mark.slow
def test_a_kill_at_any_step_leaves_a_whole_snapshot_current(tmp_path):
    here = Path(__file__)
    done = subprocess.run(
        [sys.executable, "-c", KILLED_CHILD, str(tmp_path), str(here.parent), str(here.parents[2])],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stderr
    outcomes = [line.split()[-1] for line in done.stdout.splitlines()]
    assert outcomes.count("1") >= 20
    assert outcomes == sorted(outcomes), "once swapped, it stays swapped"
    assert outcomes[-1] == "2"


def test_writers_and_sweepers_at_once(tmp_path):
    errors: list[BaseException] = []

    def write(number: int) -> None:
        try:
            for revision in range(10):
                try:
                    publish(tmp_path, 2 * revision + number)
                except SnapshotError as error:
                    assert "allow_older" in str(error)  # noqa: PT017  # either way is right here
                sweep(tmp_path)
                opened = open_current(tmp_path)
                assert opened is not None
                assert opened.arrays["a"].tolist() == [opened.revision] * 100
        except BaseException as error:  # noqa: BLE001  # handed to the test's own thread
            errors.append(error)

    threads = [threading.Thread(target=write, args=(number,)) for number in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert errors == []
    sweep(tmp_path)
    assert open_current(tmp_path).revision == 19
    assert len(names(tmp_path)) == 3


def test_a_disk_that_fails_to_read(tmp_path, monkeypatch):
    folder = publish(tmp_path, 1)
    real = os.open

    def failing(path, *arguments, **keywords):
        if path == "a.bin":
            raise OSError(5, "Input/output error")
        return real(path, *arguments, **keywords)

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", failing)
        with pytest.raises(SnapshotError, match=r"a\.bin cannot be read \(Input/output error\)"):
            open_snapshot(folder)
    assert open_snapshot(folder).revision == 1


@pytest.mark.parametrize("call", ["listdir", "fdopen", "fstat"])
def test_any_failing_call_while_opening_is_a_typed_error(tmp_path, monkeypatch, call):
    folder = publish(tmp_path, 1)

    def failing(*arguments, **keywords):
        raise OSError(5, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, call, failing)
        with pytest.raises(SnapshotError, match="Input/output error"):
            open_snapshot(folder)
        with pytest.raises(SnapshotError, match="Input/output error"):
            open_current(tmp_path)
    assert open_current(tmp_path).revision == 1
