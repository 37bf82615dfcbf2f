"""The state of a scan: planned or finished, sums that are kept up with, one writer, own files."""

from __future__ import annotations

import errno
import gc
import os
import sqlite3
import subprocess
import sys
import threading
from contextlib import closing
from pathlib import Path

import pytest
from sqlalchemy import make_url
from sqlalchemy.exc import SQLAlchemyError

from hashlists.catalog import on_sqlite
from hashlists.errors import CatalogError
from matcher.scan.document import Place
from matcher.scan.errors import StateError
from matcher.scan.model import Batch, BatchResult, Listed
from matcher.scan.state import Position, RunEnd, ScanState, database, lock, packing
from matcher.scan.state import state as state_module
from matcher.scan.state.database import state_errors
from matcher.scan.tally import Tally
from tests.clocks import Clock
from tests.scan_state_support import RUN, batches, document, records, result


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def state(folder):
    with ScanState.create(folder, document()) as made:
        yield made


def test_a_new_scan_has_nothing(state):
    assert state.document == document()
    assert state.next_number == 1
    assert state.position(0) == Position("", False)
    assert list(state.planned()) == []
    assert list(state.records()) == []
    summary = state.summary()
    assert (summary.listed, summary.finished, summary.batches) == (0, 0, 0)
    assert summary.runs == summary.timeline == ()
    assert not summary.listing_done
    assert not summary.done


def test_what_is_planned_is_there_after_a_restart(state, folder):
    made = batches(range(10))
    state.plan(0, "c1", made, not_selected=2, skipped={"link": 3})
    state.plan(0, "c2", [], done=True, skipped={"link": 1, "pipe": 1})
    state.close()
    with ScanState.open(folder) as again:
        assert list(again.planned()) == made
        assert again.position(0) == Position("", True)
        assert again.next_number == 4
        summary = again.summary()
    assert (summary.listed, summary.listed_bytes) == (10, sum(range(10)))
    assert (summary.not_selected, summary.skipped) == (2, {"link": 4, "pipe": 1})
    assert summary.listing_done
    assert not summary.done


def test_a_finished_batch_has_its_records_and_is_planned_no_more(state):
    one, two = batches(range(8))
    state.plan(0, "c", [one, two], done=True)
    assert state.finish(result(two))
    assert list(state.planned()) == [one]
    assert list(state.records()) == list(records(two))
    assert state.finish(result(one))
    assert list(state.records()) == [*records(one), *records(two)]
    assert state.summary().done


def test_a_batch_is_finished_once(state):
    (one,) = batches(range(4))
    state.plan(0, "c", [one])
    assert state.finish(result(one))
    before = state.summary()
    assert not state.finish(result(one))
    assert not state.finish(result(Batch(9, 0, one.objects)))
    assert state.summary() == before
    assert len(list(state.records())) == 4


def test_batches_that_are_given_out_may_be_finished_meanwhile(state):
    made = batches(range(12))
    state.plan(0, "c", made)
    seen = []
    for each in state.planned():
        seen.append(each)
        assert state.finish(result(each))
        if len(seen) == 1:
            assert state.finish(result(made[1]))
    assert seen == [made[0], made[2]]


def test_numbers_ascend(state):
    made = batches(range(8))
    state.plan(0, "c", [made[1]])
    assert state.next_number == 3
    for wrong in ([made[0]], [made[1]], batches(range(8), first=4)[::-1]):
        with pytest.raises(ValueError, match="lowest number left"):
            state.plan(0, "d", wrong)
    assert state.position(0).cursor == "c"
    assert list(state.planned()) == [made[1]]


def test_each_object_must_have_one_record(state):
    (one,) = batches(range(4))
    state.plan(0, "c", [one])
    with pytest.raises(ValueError, match="3 records of 4 objects"):
        state.finish(BatchResult(1, records(one)[:3]))
    assert list(state.planned()) == [one]
    assert list(state.records()) == []


def test_places_have_positions_of_their_own(folder):
    with ScanState.create(folder, document(places=(Place("/a"), Place("s3://b")))) as state:
        state.plan(1, "x", [], done=True)
        assert state.position(0) == Position()
        assert state.position(1) == Position("", True)
        assert not state.summary().listing_done
        state.plan(0, "y", [], done=True)
        assert state.summary().done


def test_sums_are_those_of_the_results(state):
    made = batches(range(30), size=7)
    state.plan(0, "c", made)
    expected = Tally()
    for each in made[:-1]:
        state.finish(result(each))
        expected.add(Tally.of(result(each)))
    summary = state.summary()
    assert summary.tally == expected
    assert (summary.finished, summary.batches) == (28, 4)


def test_runs_tell_what_changed_and_how_they_ended(state, folder):
    first = state.begin_run(**RUN, hashed=("upright", "pdq"))
    assert (first.number, first.changed, first.how) == (1, {}, "")
    made = batches(range(8))
    state.plan(0, "c", made)
    state.finish(result(made[0]))
    state.close()  # as if it was killed: nothing tells of its end
    with ScanState.open(folder) as again:
        second = again.begin_run(revision=5, policy="default", policy_version="y")
        assert second.changed == {"revision": ("4", "5"), "policy_version": ("x", "y")}
        again.finish(result(made[1]))
        again.end_run(RunEnd.INTERRUPTED)
        again.end_run(RunEnd.DONE)  # nothing runs
        third = again.begin_run(revision=5, policy="default", policy_version="y")
        assert third.changed == {}
        runs = again.summary().runs
    assert [each.how for each in runs] == ["killed", "interrupted", ""]
    assert [each.objects for each in runs] == [4, 4, 0]
    assert runs[0].hashed == ("upright", "pdq")
    assert runs[0].ended_at >= runs[0].began_at
    assert runs[2].ended_at == 0


def test_time_of_work_goes_on_over_runs(folder):
    steady = Clock()
    with ScanState.create(folder, document(), steady=steady) as state:
        made = batches(range(12))
        state.plan(0, "c", made)
        steady.now += 1_000  # nothing runs: this is no work
        state.begin_run(**RUN)
        steady.now += 3.5
        state.finish(result(made[0]))
        steady.now += 1
        state.end_run(RunEnd.INTERRUPTED)
        steady.now += 1_000
        state.begin_run(**RUN)
        steady.now += 2
        state.finish(result(made[1]))
        steady.now += 70  # killed before it is written down
    with ScanState.open(folder, steady=steady) as state:
        state.begin_run(**RUN)
        state.finish(result(made[2]))
        summary = state.summary()
    assert summary.work_seconds == 6.5
    assert summary.bucket_seconds == 1
    assert [(each.seconds, each.objects, each.bytes) for each in summary.timeline] == [
        *((at, 0, 0) for at in range(3)),
        (3, 4, 100),
        *((at, 0, 0) for at in range(4, 6)),
        (6, 8, 200),
    ]


def test_one_process_writes_and_others_look(state, folder):
    with pytest.raises(StateError, match=f"another scan is writing there, process {os.getpid()}"):
        ScanState.open(folder)
    state.plan(0, "c", batches(range(4)))
    with ScanState.open(folder, writing=False) as looking:
        assert looking.summary().listed == 4
        state.finish(result(batches(range(4))[0]))
        assert looking.summary().finished == 4
        for act in (
            lambda: looking.plan(0, "d", []),
            lambda: looking.finish(result(batches(range(4))[0])),
            lambda: looking.begin_run(**RUN),
            lambda: looking.forget(None),
            lambda: looking.erase_expired(0),
        ):
            with pytest.raises(StateError, match="to be looked at"):
                act()
    state.close()
    state.close()
    ScanState.open(folder).close()


def test_another_process_is_told_who_writes(state, folder):
    code = (
        "import sys; from pathlib import Path; from matcher.scan.state import ScanState\n"
        "from matcher.scan.errors import StateError\n"
        "try: ScanState.open(Path(sys.argv[1]))\n"
        "except StateError as error: print(error)"
    )
    command = [sys.executable, "-c", code, str(folder)]
    run = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"process {os.getpid()};" in run.stdout


def test_threads_may_share_it(state):
    made = batches(range(80))
    state.plan(0, "c", made)
    errors = []

    def work(part):
        try:
            for each in part:
                assert state.finish(result(each))
                state.summary()
        except BaseException as error:  # noqa: BLE001
            errors.append(error)

    threads = [threading.Thread(target=work, args=(made[at::4],)) for at in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert errors == []
    assert state.summary().finished == 80


def test_everything_is_for_its_owner_alone(folder):
    before = os.umask(0)
    try:
        with ScanState.create(folder, document()) as state:
            state.plan(0, "c", batches(range(4)))
            modes = {each.name: each.stat().st_mode & 0o777 for each in folder.iterdir()}
            assert folder.stat().st_mode & 0o777 == 0o700
    finally:
        os.umask(before)
    assert set(modes) == {"state.db", "state.db-wal", "state.db-shm", "state.lock"}
    assert set(modes.values()) == {0o600}


def test_an_open_folder_that_is_empty_is_closed_to_others(folder):
    folder.mkdir(mode=0o755)
    ScanState.create(folder, document()).close()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_a_folder_that_holds_something_is_refused(folder):
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(StateError, match="is not empty"):
        ScanState.create(folder, document())
    assert [each.name for each in folder.iterdir()] == ["mine.txt"]


def test_a_scan_is_not_begun_over_another(state, folder):
    with pytest.raises(StateError, match="holds a scan already"):
        ScanState.create(folder, document(id="s2"))
    assert state.document.id == "s1"


def test_what_a_kill_left_of_the_beginning_is_cleared(folder):
    folder.mkdir()
    (folder / ".state-00ff").write_bytes(b"half")
    (folder / ".state-00ff-wal").write_bytes(b"half")
    (folder / "state.lock").write_bytes(b"1")
    ScanState.create(folder, document()).close()
    assert {each.name for each in folder.iterdir()} == {"state.db", "state.lock"}


def test_a_folder_that_cannot_be_made(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateError, match="cannot be written"):
        ScanState.create(tmp_path / "file" / "out", document())


def test_nothing_is_there(folder):
    with pytest.raises(StateError, match="holds no scan"):
        ScanState.open(folder)
    assert not folder.exists()


def test_a_database_of_something_else_is_left_alone(folder):
    folder.mkdir()
    path = folder / "state.db"
    with sqlite3.connect(path) as other:
        other.execute("CREATE TABLE mine (a)")
    other.close()
    before = path.read_bytes()
    with pytest.raises(StateError, match="not the state of a scan"):
        ScanState.open(folder)
    assert path.read_bytes() == before
    assert [each.name for each in folder.iterdir()] == ["state.db"]


def test_a_state_of_another_build_is_refused(state, folder):
    state.close()
    with sqlite3.connect(folder / "state.db") as known:
        known.execute("PRAGMA user_version = 99")
    known.close()
    with pytest.raises(StateError, match="of another build"):
        ScanState.open(folder)


@pytest.mark.parametrize("damage", ["no database", "cut off", "a page", "no row"])
def test_a_damaged_state_is_told_with_what_to_do(state, folder, damage):
    state.plan(0, "c", batches(range(400)))
    state.close()
    path = folder / "state.db"
    content = bytearray(path.read_bytes())
    if damage == "no database":
        content[:100] = bytes(range(100))
    elif damage == "cut off":
        del content[8192:]
    elif damage == "a page":
        content[8192:] = b"\xaa" * (len(content) - 8192)
    path.write_bytes(content)
    if damage == "no row":
        with sqlite3.connect(path) as known:
            known.execute("DELETE FROM scan")
        known.close()
    with pytest.raises(StateError, match="is damaged; put a copy of it back"):
        ScanState.open(folder)


@pytest.mark.parametrize("table", ["planned", "finished"])
def test_damaged_content_is_never_taken_for_whole(state, folder, table):
    one, two = batches(range(8))
    state.plan(0, "c", [one, two])
    state.finish(result(one))
    state.close()
    path = folder / "state.db"
    with sqlite3.connect(path) as known:
        ((content,),) = known.execute(f"SELECT content FROM {table}").fetchall()
        broken = bytearray(content)
        broken[len(broken) // 2] ^= 1
        known.execute(f"UPDATE {table} SET content = ?", (bytes(broken),))
    known.close()
    with ScanState.open(folder) as again:
        read = again.planned() if table == "planned" else again.records()
        with pytest.raises(StateError, match="is damaged"):
            list(read)


def test_a_damaged_sum_is_told(state, folder):
    state.close()
    with sqlite3.connect(folder / "state.db") as known:
        known.execute("UPDATE scan SET tally = x'c1'")
    known.close()
    with ScanState.open(folder) as again, pytest.raises(StateError, match="is damaged"):
        again.summary()


def test_a_state_that_is_moved_away_is_not_written(state, folder):
    state.plan(0, "c", batches(range(4)))
    (folder / "state.db").rename(folder / "gone.db")
    with pytest.raises(StateError, match=r"moved away or replaced|is away"):
        state.finish(result(batches(range(4))[0]))


def test_a_bug_leaves_the_lock_free(state, folder, monkeypatch):
    state.close()
    monkeypatch.setattr(state_module, "decoded", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        ScanState.open(folder)
    monkeypatch.undo()
    ScanState.open(folder).close()


def test_a_locked_state_is_told(state, folder, monkeypatch):
    state.close()
    hasty = tuple(each.replace("= 30000", "= 50") for each in on_sqlite._PRAGMAS)
    monkeypatch.setattr(on_sqlite, "_PRAGMAS", hasty)
    with ScanState.open(folder) as again, closing(sqlite3.connect(folder / "state.db")) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(StateError, match="keeps the state of the scan locked"):
            again.plan(0, "c", [])
        other.rollback()
        again.plan(0, "c", [])


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (sqlite3.OperationalError("attempt to write a readonly database"), "may not be read and"),
        (sqlite3.OperationalError("disk I/O error"), "cannot be used: disk I/O error"),
        (SQLAlchemyError("of a value"), "this is a bug .SQLAlchemyError."),
        (CatalogError("of a catalog"), "was moved away or replaced"),
    ],
)
def test_errors_of_the_database_are_ours(error, told):
    with pytest.raises(StateError, match=told), state_errors():
        raise error


def test_a_state_that_could_not_be_taken_over_is_not_begun(folder, monkeypatch):
    real = database.open_engine

    def unfinished(url, **options):
        made = real(url, **options)
        left = make_url(url).database
        monkeypatch.setattr(made, "dispose", lambda: Path(f"{left}-wal").touch())
        return made

    monkeypatch.setattr(database, "open_engine", unfinished)
    with pytest.raises(StateError, match="the disk is full"):
        ScanState.create(folder, document())
    assert [each.name for each in folder.iterdir()] == ["state.lock"]
    gc.collect()


@pytest.mark.parametrize("call", ["open", "flock"])
def test_a_lock_that_cannot_be_had_is_told(state, folder, monkeypatch, call):
    state.close()

    def refuse(*_args, **_options):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(lock.os if call == "open" else lock.fcntl, call, refuse)
    with pytest.raises(StateError, match="No locks available"):
        lock.WriterLock(folder)


def test_a_long_scan_has_a_short_timeline(folder):
    steady = Clock(0.0)
    with ScanState.create(folder, document(), steady=steady) as state:
        made = batches(range(12))
        state.plan(0, "c", made)
        state.begin_run(**RUN)
        for each in made:
            steady.now += 1_000
            state.finish(result(each))
        summary = state.summary()
    assert summary.bucket_seconds == 8
    assert len(summary.timeline) == 376
    assert [each.seconds for each in summary.timeline if each.objects] == [1_000, 2_000, 3_000]
    assert sum(each.bytes for each in summary.timeline) == 300


def test_content_that_would_unpack_to_no_end_is_refused(monkeypatch):
    monkeypatch.setattr(packing, "_MOST_BYTES", 100)
    with pytest.raises(StateError, match="is damaged"):
        packing.unpack_objects(packing.pack_objects([Listed("k" * 200)]))
