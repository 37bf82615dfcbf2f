"""Kills a scan at every step that touches its state, and looks at what a restart makes of it.

Run as `python -m tests.scan_state_kill_driver FOLDER STRIDE`; prints one JSON line. Each run is a
process of its own (a fork, so that nothing has to be imported again) that kills itself with SIGKILL
just before, or just after, its n-th step; `n` rises until one run comes to its end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from functools import partial
from pathlib import Path

from sqlalchemy import Engine, event

from matcher.scan.errors import StateError
from matcher.scan.model import BatchResult
from matcher.scan.state import RunEnd, ScanState
from matcher.scan.tally import Tally
from tests.kill_steps import die_at, forked, need_no_syncs, was_killed
from tests.scan_state_support import RUN, batches, document, result, sealer

OBJECTS = 15
PAGE = 6
FORGOTTEN = "k00000"
SEALER = sealer()
#: What changes the folder beside the database.
STEPS = ((os, "open"), (os, "mkdir"), (os, "rename"), (os, "unlink"), (os, "fsync"))


def open_state(folder: Path) -> ScanState:
    if (folder / "state.db").exists():
        return ScanState.open(folder)
    return ScanState.create(folder, document(hashes_until=1e12))


def scan(folder: Path) -> None:
    """A whole scan, or what is left of it; its listing are the numbers up to `OBJECTS`."""
    with open_state(folder) as state:
        state.begin_run(**RUN)
        for each in state.planned():
            assert state.finish(result(each, keep=True), sealer=SEALER)
        while not state.position(0).done:
            at = int(state.position(0).cursor or 0)
            page = range(at, min(at + PAGE, OBJECTS))
            made = batches(page, first=state.next_number)
            state.plan(0, str(page.stop), made, done=page.stop == OBJECTS, skipped={"link": 1})
            for each in state.planned():
                assert state.finish(result(each, keep=True), sealer=SEALER)
        state.forget(SEALER, prefix=FORGOTTEN)
        state.end_run(RunEnd.DONE)


def look(folder: Path) -> None:
    """What is listed is planned or finished, once; sums are those of what is finished."""
    if not (folder / "state.db").exists():
        return
    with ScanState.open(folder) as state:
        planned = [each.key for batch in state.planned() for each in batch.objects]
        made = list(state.records())
        summary = state.summary()
        kept = [each for batch in state.kept(SEALER) for each in batch.hashes]
        position = state.position(0)
        at = OBJECTS if position.done else int(position.cursor or 0)
    finished = [each.key for each in made]
    listing = [each.key for batch in batches(range(at)) for each in batch.objects]
    assert sorted(planned + finished) == listing, "an object is lost, or there twice"
    expected = Tally()
    for batch in batches(range(at)):
        its = tuple(each for each in made if each.key in {one.key for one in batch.objects})
        expected.add(Tally.of(BatchResult(batch.number, its, fetched_bytes=0)))
    summary.tally.fetched_bytes = 0
    assert summary.tally == expected, "the sums are not those of the records"
    assert (summary.listed, summary.finished) == (at, len(made))
    assert summary.kept == len(kept)
    assert sum(each.objects for each in summary.timeline) == len(made)
    assert {each.id for each in kept} <= {each.id for each in made}


def resume(folder: Path, undisturbed: list[object]) -> None:
    """What a restart ends with is what an undisturbed scan does."""
    scan(folder)
    look(folder)
    with ScanState.open(folder) as state:
        assert list(state.records()) == undisturbed
        assert state.summary().done
        assert state.summary().skipped == {"link": -(-OBJECTS // PAGE)}
        assert not any(
            each.listed.key.startswith(FORGOTTEN)
            for batch in state.kept(SEALER)
            for each in batch.hashes
        )
    left = {each.name for each in folder.iterdir()}
    assert left == {"state.db", "state.lock"}, f"left over: {sorted(left)}"


def scan_until(folder: Path, number: int, *, after: bool) -> None:
    """Scans, and dies before the `number`-th step, or after it."""
    step = die_at(STEPS, number, after=after)
    event.listen(Engine, "before_cursor_execute", lambda *_: step(False))
    event.listen(Engine, "after_cursor_execute", lambda *_: step(True))
    event.listen(Engine, "commit", lambda *_: step(False))
    scan(folder)


def main() -> None:
    need_no_syncs()
    folder, stride = Path(sys.argv[1]), int(sys.argv[2])
    whole = folder / "whole"
    scan(whole)
    with ScanState.open(whole) as state:
        undisturbed = list(state.records())
    assert len(undisturbed) == OBJECTS
    kills = 0
    for after in (False, True):
        number = 1 + stride // 2 * after
        while True:
            work = folder / f"{number}-{after}"
            if not was_killed(forked(partial(scan_until, work, number, after=after))):
                break
            if work.exists():
                try:
                    look(work)
                except StateError as error:
                    raise AssertionError(f"step {number}: {error}") from error
            resume(work, undisturbed)
            shutil.rmtree(work)
            kills += 1
            number += stride
    print(json.dumps({"kills": kills}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
