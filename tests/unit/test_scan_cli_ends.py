"""How a scan ends that does not come to its end: told, resumable, and by the right status."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from matcher import cli
from matcher.cli import asking, scan_forget, scan_stopping, scan_tag
from matcher.cli.scan_progress import LineDisplay
from matcher.cli.scan_stopping import Stopping
from matcher.scan.errors import SourceError
from matcher.scan.sources.folder import FolderSource
from matcher.scan.state import ScanState
from matcher.scan.tagging.attributes import FileTagger
from matcher.scan.tagging.model import Came, Done
from tests.scan_state_support import RUN, document

FILES = 150  # more than two batches


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(3)
    for number in range(FILES):
        picture = Image.fromarray(rng.integers(0, 256, (48, 48), dtype=np.uint8))
        picture.save(folder / f"{number:03}.png")
    return folder


@pytest.fixture
def run(begun_data, capsys):
    def ran(*arguments, status=0):
        found = cli.main(["--data", str(begun_data), *map(str, arguments)])
        captured = capsys.readouterr()
        assert "this is a bug" not in captured.err, captured.err
        assert found == status, captured.err
        return captured

    return ran


def test_a_place_that_cannot_be_listed_any_further_ends_it_and_it_goes_on(
    run, pictures, tmp_path, monkeypatch
):
    listed = FolderSource.list

    async def broken(self, after=""):
        async for page in listed(self, after):
            yield page
            if broken.times:
                broken.times -= 1
                raise SourceError("the store is away; try again later")

    out = tmp_path / "an out"
    broken.times = 0
    told = run("scan", pictures, "--output", tmp_path / "whole").err
    assert "Reports: " in told
    monkeypatch.setattr(FolderSource, "list", broken)
    run("scan", pictures, "--output", out, "--limit", "100")
    broken.times = 2  # the look ahead, and the scan
    told = run("scan", pictures, "--output", tmp_path / "other", status=2).err
    assert "the store is away" in told
    assert not (tmp_path / "other").exists()
    broken.times = 0
    run("scan", pictures, "--output", tmp_path / "other")
    broken.times = 1
    monkeypatch.setattr("matcher.cli.scan_run._told_ahead", lambda *_: _ahead())
    told = run("scan", pictures, "--output", tmp_path / "third", status=2).err
    assert f"What is finished is kept. Go on with: hashwarden --data {run_data(told)}" in told
    assert "error: the store is away" in told
    shown = run("scan", "status", tmp_path / "third", status=1)
    assert "failed (" in shown.out
    assert "Not finished. Go on with: " in shown.err
    run("scan", "--resume", tmp_path / "third")


def test_a_run_that_was_killed_is_told_as_that_and_one_at_work_is_not(run, tmp_path):
    out = tmp_path / "out"
    with ScanState.create(out, document()) as state:
        state.begin_run(**RUN)
        at_work = run("scan", "status", out, "--json", status=1)
        assert "at work (0 objects)" in run("scan", "status", out, status=1).out
        state.plan(0, "", [], done=True)
        # All is finished, and the run still closes what it has open.
        closing = run("scan", "status", out, "--json")
    killed = run("scan", "status", out, "--json")
    found = [json.loads(each.out)["runs"][0]["how"] for each in (at_work, closing, killed)]
    assert found == [None, None, "killed"]


def _ahead():
    from matcher.scan.estimate import Estimate

    return Estimate(0, 0, at_least=False)


def run_data(told):
    return told.partition("hashwarden --data ")[2].split()[0]


@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_stops_a_scan_in_this_process(run, pictures, tmp_path, monkeypatch, sign):
    from matcher.cli.scan_meter import Meter

    taken = Meter.take

    def signalled(self, event, *, at):
        taken(self, event, at=at)
        if self.done and not signalled.sent:
            signalled.sent = True
            os.kill(os.getpid(), sign)

    signalled.sent = False
    monkeypatch.setattr(Meter, "take", signalled)
    monkeypatch.setattr("matcher.scan.run.BATCH_OBJECTS", 8)
    out = tmp_path / "out"
    told = run("scan", pictures, "--output", out, "--events", "--fetches", "1", status=130).out
    events = [json.loads(each) for each in told.splitlines()]
    assert [each["event"] for each in events][-2:] == ["stopping", "interrupted"]
    assert 0 < events[-1]["finished"] < FILES
    assert f"scan --resume {out} --fetches 1 --events" in events[-1]["resume"]
    run("scan", "--resume", out)


def test_a_rematch_is_stopped_and_goes_on(run, pictures, tmp_path, monkeypatch):
    from matcher.cli.scan_meter import Meter

    first, again = tmp_path / "first", tmp_path / "again"
    run("scan", pictures, "--output", first, "--keep-hashes")
    taken = Meter.take

    def signalled(self, event, *, at):
        taken(self, event, at=at)
        os.kill(os.getpid(), signal.SIGINT)

    with monkeypatch.context() as patch:
        patch.setattr(Meter, "take", signalled)
        told = run("scan", "rematch", first, "--output", again, status=130).err
    assert "Stopping: the batch at hand is finished" in told
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler
    shown = json.loads(run("scan", "status", again, "--json", status=1).out)
    assert 0 < shown["finished"] < FILES
    run("scan", "--resume", again)
    shown = run("scan", "status", again)
    assert f"finished\t{FILES}" in shown.out
    kept = run("scan", "status", first).out
    assert f"kept hashes\tof {FILES} objects, until " in kept


def test_a_second_signal_ends_it_at_once(capsys, monkeypatch):
    ended = []
    monkeypatch.setattr(scan_stopping.os, "_exit", ended.append)
    stopping = Stopping(LineDisplay(), "hashwarden scan --resume out", grace="it waits")
    stopping.stop()
    assert stopping.requested
    assert ended == []
    stopping.stop()
    assert ended == [130]
    told = capsys.readouterr().err
    assert "Stopping: it waits. Once more to end at once." in told
    assert "Ended at once. Go on with: hashwarden scan --resume out" in told


async def test_signals_of_a_loop_are_given_back():
    stopping, then = Stopping(LineDisplay(), "again", grace="it waits"), asyncio.Event()
    with stopping.of_loop(asyncio.get_running_loop(), then.set):
        pass
    assert signal.getsignal(signal.SIGTERM) is signal.SIG_DFL
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


@pytest.fixture
def usual_signals():
    yield
    signal.signal(signal.SIGTERM, signal.SIG_DFL)


@pytest.mark.usefixtures("usual_signals")
async def test_a_second_signal_is_met_after_the_loop_as_well(capsys, monkeypatch):
    """While reports are written and the process winds up."""
    ended = []
    monkeypatch.setattr(scan_stopping.os, "_exit", ended.append)
    stopping, then = Stopping(LineDisplay(), "again", grace="it waits"), asyncio.Event()
    with stopping.of_loop(asyncio.get_running_loop(), then.set):
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(then.wait(), 60)
    assert stopping.requested
    os.kill(os.getpid(), signal.SIGTERM)
    assert ended == [130]
    assert "Go on with: again" in capsys.readouterr().err


def test_a_ray_cluster_is_not_taken_for_granted(run, pictures, tmp_path):
    """Whatever keeps the engine from being there is told in one line, and no folder is left."""
    told = run("scan", pictures, "--server", "h:1", "--engine", "ray", status=2).err
    assert "--server" in told
    assert list(tmp_path.glob("scan-*")) == []


# Asked on a terminal


@pytest.fixture
def watched(monkeypatch):
    """A person watches; what they say is appended."""
    said = []

    def agreed(question):
        watched_questions.append(question)
        return said.pop(0)

    watched_questions = []
    for module in (scan_tag, scan_forget):
        monkeypatch.setattr(module, "agreed", agreed)
    monkeypatch.setattr(scan_tag, "can_ask", lambda: True)
    monkeypatch.setattr(asking, "can_ask", lambda: True)
    return SimpleNamespace(said=said, questions=watched_questions)


def test_a_person_is_asked_before_hashes_are_erased(run, pictures, tmp_path, watched):
    out = tmp_path / "out"
    run("scan", pictures, "--output", out, "--keep-hashes")
    watched.said += [False, True]
    assert "Nothing was erased." in run("scan", "forget", out, "--prefix", "00", status=2).err
    told = run("scan", "forget", out, "--prefix", "00").err
    assert "Erased the hashes of 10 objects." in told
    assert watched.questions == ["Erase the hashes of objects that begin with '00' for good?"] * 2


def test_traces_that_stay_are_told(run, pictures, tmp_path, monkeypatch):
    from matcher.scan.state import Forgotten, ScanState

    out = tmp_path / "out"
    run("scan", pictures, "--output", out, "--keep-hashes")
    monkeypatch.setattr(ScanState, "forget", lambda *_, **__: Forgotten(3, traces=True))
    assert "traces are left" in run("scan", "forget", out, "--yes", status=2).err


@pytest.fixture
def found(run, tmp_path, demo_folder):
    """A scan that has found the built-in picture, of which there are many."""
    folder, out = tmp_path / "found", tmp_path / "out"
    folder.mkdir()
    content = (demo_folder / "hashwarden-test-image.png").read_bytes()
    for number in range(60):
        (folder / f"{number}.png").write_bytes(content)
    run("scan", folder, "--output", out, status=1)
    return out


def test_a_person_is_asked_before_anything_is_tagged(run, found, watched, monkeypatch):
    tagged = []

    def tag(self, target, tags):
        tagged.append(target.key)
        return Done(Came.TAGGED)

    monkeypatch.setattr(FileTagger, "tag", tag)
    watched.said += [False, True]
    assert "Nothing was tagged." in run("scan", "tag", found, "--tag", "a=b", status=2).err
    assert tagged == []
    assert "60 tagged" in run("scan", "tag", found, "--tag", "a=b").err
    assert len(tagged) == 60
    assert watched.questions == ["Tag 60 objects?"] * 2


def test_of_many_that_cannot_be_tagged_the_first_are_told(run, found, monkeypatch):
    refused = Done(Came.FORBIDDEN, "Permission denied")
    monkeypatch.setattr(FileTagger, "tag", lambda *_: refused)
    told = run("scan", "tag", found, "--tag", "a=b", "--yes", status=2).err
    assert told.count("not tagged (forbidden)") == 50
    assert "and 10 more that were not tagged" in told
    assert "60 not tagged, since this account may not" in told


def test_it_is_asked_where_a_person_can_answer(monkeypatch):
    class Terminal:
        def isatty(self):
            return True

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr(asking, "is_terminal", lambda **_: True)
    assert asking.can_ask()


def test_a_scan_that_is_declined_leaves_nothing(run, pictures, tmp_path, monkeypatch):
    monkeypatch.setattr("matcher.cli.scan_estimate.BIG_OBJECTS", 10)
    monkeypatch.setattr("matcher.cli.scan_estimate.WORTH_MEASURING_OBJECTS", 10)
    monkeypatch.setattr("matcher.cli.scan_estimate.can_ask", lambda: True)
    monkeypatch.setattr("matcher.cli.scan_estimate.agreed", lambda _: False)
    told = run("scan", pictures, "--output", tmp_path / "out", status=2).err
    assert f"To scan: {FILES} objects" in told
    assert "at the rate of a few tried" in told
    assert "Nothing was scanned." in told
    assert not (tmp_path / "out").exists()


def test_status_tells_a_killed_scan_from_one_at_work(run, pictures, tmp_path, monkeypatch):
    from matcher.scan.state import ScanState
    from matcher.scan.state.lock import WriterLock

    out = tmp_path / "out"
    monkeypatch.setattr(ScanState, "end_run", lambda *_: None)  # as where it was killed
    monkeypatch.setattr("matcher.cli.scan_run._told_ahead", lambda *_: _ahead())
    monkeypatch.setattr(FolderSource, "list", _never_listed)
    run("scan", pictures, "--output", out, status=2)
    shown = run("scan", "status", out, status=1)
    assert "killed (0 objects)" in shown.out
    assert "Not finished. Go on with: " in shown.err
    lock = WriterLock(out)
    try:
        shown = run("scan", "status", out, status=1)
    finally:
        lock.release()
    assert "at work (0 objects)" in shown.out
    assert "Not finished: it is at work." in shown.err


async def _never_listed(self, after=""):
    raise SourceError("the store is away; try again later")
    yield


def test_a_folder_that_is_taken_is_refused_before_looking_ahead(run, pictures, tmp_path):
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "a.txt").touch()
    told = run("scan", pictures, "--output", taken, status=2).err
    assert "is not empty; choose a new folder" in told
    assert "To scan:" not in told


def test_a_scan_of_nothing_is_warned_of(run, pictures, tmp_path):
    told = run("scan", pictures, "--output", tmp_path / "a", "--include", "*.none").err
    assert "warning: no object was scanned: the options leave all of them out" in told
    (tmp_path / "empty").mkdir()
    told = run("scan", tmp_path / "empty", "--output", tmp_path / "b", status=2).err
    assert "warning: no object was scanned: there are none" in told


@pytest.mark.parametrize(("typed", "meant"), [("statu", "status"), ("reprot", "report")])
def test_a_mistyped_sub_command_is_told(run, typed, meant):
    told = run("scan", typed, "first", status=2).err
    assert f"'{typed}' is no command and no folder here; did you mean" in told
    assert f"scan {meant}'?" in told


def test_a_folder_named_almost_like_a_sub_command_is_scanned(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "tags").mkdir()
    assert "through" in run("scan", "tags", "--output", tmp_path / "out", status=2).err
