"""Kept hashes: sealed, forgotten by prefix without a trace, erased when they have expired."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
import pytest

from hashlists.catalog import on_sqlite
from matcher import tokens
from matcher.errors import SealingKeyError
from matcher.model import ImageHashes
from matcher.scan.errors import StateError
from matcher.scan.model import Batch, BatchResult, Outcome, Record
from matcher.scan.records import record_id
from matcher.scan.state import ScanState, kept
from tests.clocks import Clock
from tests.scan_state_support import (
    batches,
    document,
    hashes,
    listed,
    records,
    result,
    sealer,
)
from tests.scan_state_support import kept as kept_hashes

SEALER = sealer()
NO_VIEWS = ImageHashes(hashes("k00000").digests, 10)
changed = msgspec.structs.replace
UNTIL = 5_000.0


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out"


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def state(folder, clock):
    with ScanState.create(folder, document(hashes_until=UNTIL), clock=clock) as made:
        fill(made)
        yield made


def fill(state):
    made = batches(range(20))
    state.plan(0, "c", made, done=True)
    for each in made:
        assert state.finish(result(each, keep=True), sealer=SEALER)


def keys(state, opener=SEALER):
    return [each.listed.key for batch in state.kept(opener) for each in batch.hashes]


def expected():
    return [
        each.listed.key for batch in batches(range(20)) for each in result(batch, keep=True).kept
    ]


def raw(folder):
    return b"".join(each.read_bytes() for each in sorted(folder.iterdir()))


def sealed_in(folder):
    """What is sealed in the file, by batch."""
    with closing(sqlite3.connect(folder / "state.db")) as known:
        return dict(known.execute("SELECT number, sealed FROM kept").fetchall())


def test_what_is_kept_is_read_again(state):
    read = [each for batch in state.kept(SEALER) for each in batch.hashes]
    assert read == [each for batch in batches(range(20)) for each in result(batch, keep=True).kept]
    assert state.summary().kept == len(read) == 16
    assert [each.number for each in state.kept(SEALER, after=3)] == [4, 5]
    assert list(state.kept(SEALER, source=1)) == []
    assert state.kept_of(2, SEALER).hashes == result(batches(range(20))[1], keep=True).kept
    assert state.kept_of(9, SEALER) is None


def test_nothing_of_it_lies_in_clear(state, folder):
    hashes = [each.hashes for batch in state.kept(SEALER) for each in batch.hashes]
    state.close()
    content = raw(folder)
    for each in hashes:
        assert each[-32:] not in content
    assert b"is cut off" not in content


def test_nothing_is_kept_unless_asked_for(folder):
    with ScanState.create(folder, document()) as state:
        (one,) = batches(range(4))
        state.plan(0, "c", [one])
        state.finish(result(one, keep=True))
        assert list(state.kept(SEALER)) == []
        assert state.summary().kept == 0


def test_a_batch_of_which_nothing_has_hashes_keeps_none(state):
    (one,) = batches([4, 9], first=6)  # both have failed
    state.plan(0, "d", [one])
    assert state.finish(result(one, keep=True), sealer=SEALER)
    assert state.kept_of(6, SEALER) is None
    assert state.summary().kept == 16


def test_another_key_opens_nothing(state):
    with pytest.raises(StateError, match="key that is not here; have match_keys name"):
        list(state.kept(sealer(b"another")))
    with pytest.raises(StateError, match="match_keys"):
        state.forget(sealer(b"another"), prefix="k")
    assert keys(state) == expected()


def test_without_a_key_a_batch_is_not_finished(state, tmp_path):
    (one,) = batches(range(4), first=6)
    state.plan(0, "d", [one])
    absent = kept.scan_sealer(type(SEALER.keys)(f"file:{tmp_path}/absent"))
    with pytest.raises(SealingKeyError):
        state.finish(result(one, keep=True), sealer=absent)
    assert list(state.planned()) == [one]


def test_what_was_sealed_for_another_batch_does_not_open(state, folder):
    state.close()
    with closing(sqlite3.connect(folder / "state.db")) as known:
        known.execute("UPDATE kept SET sealed = (SELECT sealed FROM kept WHERE number = 2)")
        known.commit()
    with ScanState.open(folder, clock=Clock()) as again:
        assert again.kept_of(2, SEALER) is not None
        with pytest.raises(StateError, match="was altered, or was not sealed for this"):
            again.kept_of(1, SEALER)


def test_a_prefix_is_forgotten_without_a_trace(state, folder):
    with closing(sqlite3.connect(folder / "state.db")) as known:
        known.execute("PRAGMA wal_checkpoint(FULL)")
    before, content = sealed_in(folder), raw(folder)
    assert all(each[-64:] in content for each in before.values())
    forgotten = state.forget(SEALER, prefix="k0000")  # 0 to 9: batches 1, 2 and half of 3
    assert (forgotten.objects, forgotten.traces) == (8, False)
    assert keys(state) == [each for each in expected() if each >= "k00010"]
    assert state.summary().kept == 8
    after, content = sealed_in(folder), raw(folder)
    assert set(after) == {3, 4, 5}
    for number in (1, 2, 3):  # what these keys were sealed in is nowhere, so no key opens it
        assert not any(
            before[number][at : at + 24] in content for at in range(0, len(before[number]) - 24, 8)
        )
    for number in (4, 5):
        assert before[number] == after[number]
    assert state.forget(SEALER, prefix="k0000").objects == 0
    assert state.summary().finished == 20
    assert len(list(state.records())) == 20


def test_all_is_forgotten_without_a_key(state, folder):
    before = sealed_in(folder)
    with pytest.raises(StateError, match="by prefix with the keys"):
        state.forget(None, prefix="k")
    assert state.forget(None).objects == 16
    assert keys(state) == []
    assert not any(each[-24:] in raw(folder) for each in before.values())
    assert state.forget(None).objects == 0


def test_what_has_expired_is_erased_by_whoever_opens_it(state, folder, clock):
    clock.now = UNTIL - 1
    assert keys(state) == expected()
    clock.now = UNTIL
    assert keys(state) == []
    assert state.kept_of(1, SEALER) is None
    assert sealed_in(folder)
    state.close()
    before = sealed_in(folder)
    with ScanState.open(folder, writing=False, clock=clock):
        assert sealed_in(folder) == before
    with ScanState.open(folder, clock=clock) as again:
        assert again.summary().kept == 0
    assert not any(each[-24:] in raw(folder) for each in before.values())


def test_traces_that_a_kill_left_are_erased_when_it_is_opened(state, folder, monkeypatch, clock):
    before = sealed_in(folder)
    monkeypatch.setattr(kept, "rewrite_files", lambda _: False)
    assert state.forget(None).traces
    state.close()
    monkeypatch.undo()
    seen = []
    real = kept.rewrite_files
    monkeypatch.setattr(kept, "rewrite_files", lambda engine: seen.append(1) or real(engine))
    ScanState.open(folder, clock=clock).close()
    ScanState.open(folder, clock=clock).close()
    assert seen == [1]
    assert not any(each[-24:] in raw(folder) for each in before.values())


def test_a_reader_in_the_way_leaves_traces_that_are_told(state, folder, monkeypatch, clock):
    state.close()
    monkeypatch.setattr(on_sqlite, "_PAUSES_SECONDS", ())
    hasty = tuple(each.replace("= 30000", "= 50") for each in on_sqlite._PRAGMAS)
    monkeypatch.setattr(on_sqlite, "_PRAGMAS", hasty)
    with ScanState.open(folder, clock=clock) as again:
        with closing(sqlite3.connect(folder / "state.db")) as reader:
            reader.execute("BEGIN")
            reader.execute("SELECT * FROM scan").fetchall()
            assert again.forget(SEALER, prefix="k").traces
            reader.rollback()
        assert keys(again) == []
        again.erase_expired(0)
        assert not again.forget(None).traces


def test_archives_of_which_a_member_has_no_hashes_are_named(state):
    archive = Batch(6, 0, (listed(30), listed(31)))
    members = [
        Record(
            id=record_id(archive, row, 1),
            source=0,
            key=each.key,
            member="m",
            outcome=Outcome.FAILED if row else Outcome.NO_KNOWN_MATCH,
        )
        for row, each in enumerate(archive.objects)
    ]
    own = records(archive)
    made = BatchResult(
        6,
        (own[0], members[0], own[1], members[1]),
        (
            kept_hashes(archive, 0),
            kept_hashes(archive, 0, member="m", member_number=1),
            kept_hashes(archive, 1),
        ),
    )
    state.plan(0, "d", [archive])
    assert state.finish(made, sealer=SEALER)
    found = state.kept_of(6, SEALER)
    assert found.partly == {"6-2"}
    assert state.summary().kept == 18
    assert state.forget(SEALER, prefix=listed(31).key).objects == 1
    assert state.kept_of(6, SEALER).partly == frozenset()
    assert len(state.kept_of(6, SEALER).hashes) == 2


def test_an_archive_that_could_not_be_opened_stays_what_it_was(state):
    archive = Batch(6, 0, (listed(30), listed(31), listed(33)))
    whole = kept_hashes(archive, 0)
    bare = [
        changed(kept_hashes(archive, row), hashes=tokens.to_bytes(NO_VIEWS, sealed_at=0))
        for row in range(3)
    ]
    own = records(archive)
    made = (
        changed(own[0], outcome=Outcome.FAILED, reason="archive_damaged"),
        changed(own[1], outcome=Outcome.NOT_HASHABLE, reason="encrypted", detail="a password"),
        changed(own[2], outcome=Outcome.NOT_HASHABLE, reason="featureless", detail="a blank"),
    )
    state.plan(0, "d", [archive])
    its = (bare[0], bare[1], changed(whole, id="6-3"))
    assert state.finish(BatchResult(6, made, its), sealer=SEALER)
    found = state.kept_of(6, SEALER).hashes
    assert [(each.id, each.undecodable) for each in found] == [
        ("6-2", ("encrypted", "a password")),
        ("6-3", None),
    ]
