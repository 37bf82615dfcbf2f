"""Records that are encrypted to recipients: only who has a private key of theirs reads them."""

from __future__ import annotations

import io
import shutil
import sqlite3
from contextlib import closing

import pyrage
import pytest

from hashlists.errors import EncryptionRecipientError
from hashlists.formats.unpacking.age_files import identities_in
from matcher.scan.errors import ReportError, StateError
from matcher.scan.state import RunEnd, ScanState, database
from matcher.scan.tally import Tally
from tests.scan_state_support import RUN, batches, document, records, result

MADE = batches(range(12))


def key_pair():
    made = pyrage.x25519.Identity.generate()
    return identities_in(io.BytesIO(f"# a key\n{made}\n".encode())), str(made.to_public())


@pytest.fixture(scope="module")
def pairs():
    return [key_pair() for _ in range(3)]


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def state(folder, pairs):
    with ScanState.create(folder, document(recipients=(pairs[0][1], pairs[1][1]))) as made:
        made.plan(0, "c", MADE, done=True)
        for each in MADE:
            assert made.finish(result(each))
        yield made


def test_each_recipient_reads_them(state, pairs):
    expected = [each for batch in MADE for each in records(batch)]
    for identities, _ in pairs[:2]:
        assert list(state.records(identities)) == expected


def test_without_a_key_they_are_not_read(state):
    with pytest.raises(ReportError, match="names it with --identity KEY_FILE"):
        list(state.records())


def test_another_key_does_not_read_them(state, pairs):
    with pytest.raises(ReportError, match="were encrypted to others"):
        list(state.records(pairs[2][0]))


def test_sums_are_told_without_a_key(state):
    expected = Tally()
    for each in MADE:
        expected.add(Tally.of(result(each)))
    assert state.summary().tally == expected


def test_no_name_of_a_finished_object_is_in_the_file(state, folder):
    state.close()
    content = (folder / "state.db").read_bytes()
    for batch in MADE:
        for each in batch.objects:
            assert each.key.encode() not in content


def log_bytes(folder):
    log = folder / "state.db-wal"
    return log.stat().st_size if log.exists() else 0


def test_the_log_is_empty_when_a_run_has_ended(state, folder):
    state.begin_run(**RUN)
    assert log_bytes(folder) > 0
    state.end_run(RunEnd.INTERRUPTED)
    assert log_bytes(folder) == 0
    assert state.summary().runs[0].how == RunEnd.INTERRUPTED


def test_the_log_of_a_killed_run_is_emptied_when_it_is_opened(state, folder, pairs, tmp_path):
    killed = shutil.copytree(folder, tmp_path / "killed")  # as it lies there at a kill
    assert log_bytes(killed) > 0
    with ScanState.open(killed) as again:
        assert log_bytes(killed) == 0
        assert len(list(again.records(pairs[0][0]))) == 12


def test_a_reader_in_the_way_of_emptying_it_ends_nothing(state, folder, monkeypatch):
    monkeypatch.setattr(database, "_EMPTYING_SECONDS", 0.01)
    state.begin_run(**RUN)
    with closing(sqlite3.connect(folder / "state.db")) as reader:
        reader.execute("BEGIN")
        reader.execute("SELECT count(*) FROM finished").fetchall()
        state.end_run(RunEnd.DONE)
        assert log_bytes(folder) > 0
        assert state.summary().runs[0].how == RunEnd.DONE
    state.begin_run(**RUN)
    state.end_run(RunEnd.DONE)
    assert log_bytes(folder) == 0


def test_the_log_stays_short_however_much_is_written(folder):
    made = batches(range(12_800), size=64)
    with ScanState.create(folder, document()) as state:
        longest = 0
        for at in range(0, len(made), 20):
            state.plan(0, "c", made[at : at + 20])
            for each in made[at : at + 20]:
                state.finish(result(each))
                longest = max(longest, log_bytes(folder))
    assert 0 < longest < 3 * 1024 * 1024  # of more than twice as much that went through it


def test_damage_is_told_from_a_missing_key(state, folder, pairs):
    state.close()
    with closing(sqlite3.connect(folder / "state.db")) as known:
        ((content,),) = known.execute("SELECT content FROM finished WHERE number = 1").fetchall()
        known.execute("UPDATE finished SET content = ?", (content[:-1],))
        known.commit()
    with ScanState.open(folder) as again, pytest.raises(StateError, match="is damaged"):
        list(again.records(pairs[0][0]))


def test_a_recipient_that_is_none_is_told(folder):
    with ScanState.create(folder, document(recipients=("age1none",))) as state:
        state.plan(0, "c", MADE[:1])
        with pytest.raises(EncryptionRecipientError):
            state.finish(result(MADE[0]))
        assert list(state.planned()) == MADE[:1]
