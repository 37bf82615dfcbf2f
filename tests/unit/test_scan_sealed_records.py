"""Records that are encrypted to recipients: only who has a private key of theirs reads them."""

from __future__ import annotations

import io
import sqlite3
from contextlib import closing

import pyrage
import pytest

from hashlists.errors import EncryptionRecipientError
from hashlists.formats.unpacking.age_files import identities_in
from matcher.scan.errors import ReportError, StateError
from matcher.scan.state import ScanState
from matcher.scan.tally import Tally
from tests.scan_state_support import batches, document, records, result

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
