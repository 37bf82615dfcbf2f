"""Kept hashes are looked up again: as the objects would be, resumed like any scan."""

from __future__ import annotations

from itertools import islice

import msgspec
import numpy as np
import pytest

from hashlists import snapshot
from hashlists.model import Harm, HashKind, ListState
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.entries import COLUMNS
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.write import write_index
from matcher.pipeline import Generation, MatchOptions, match_items
from matcher.policy.rules import default_policy
from matcher.scan.document import Place
from matcher.scan.errors import StateError
from matcher.scan.model import BatchResult, Outcome, Way
from matcher.scan.records import outcome_of
from matcher.scan.rematch import (
    NO_MEMBER_HASHES,
    NO_OBJECT_HASHES,
    NOT_FINISHED,
    NOT_LISTED,
    rematch,
)
from matcher.scan.state import ScanState
from matcher.scan.unchanged import decoders_in, not_hashed
from tests.scan_state_support import (
    RUN,
    batches,
    document,
    hashes,
    kept,
    listed,
    records,
    result,
    sealer,
)

SEALER = sealer()
OPTIONS = MatchOptions(within=None)
COUNT = 110
#: Objects that the newer lists know: one by its code, one by its digest alone.
KNOWN = (0, 12, 41, 100)


@pytest.fixture(scope="module")
def generation(tmp_path_factory):
    found = [hashes(listed(number).key) for number in KNOWN]
    digests = np.frombuffer(b"".join(each.digests[HashKind.SHA256] for each in found), np.uint8)
    builder = IndexBuilder()
    builder.add(
        IndexRows(
            catalog_ids=np.arange(1, len(KNOWN) + 1, dtype=np.int64),
            list_rows=np.zeros(len(KNOWN), np.uint16),
            classification_rows=np.zeros(len(KNOWN), COLUMNS["classification_rows"]),
            flags=np.zeros(len(KNOWN), np.uint16),
            sizes=np.full(len(KNOWN), -1, np.int64),
            expires=np.zeros(len(KNOWN), np.uint32),
            codes={HashKind.SHA256: (np.arange(len(KNOWN)), digests.reshape(-1, 32))},
        )
    )
    lists = [IndexedList("demo", Harm.TEST, ListState.LIVE, 4, {HashKind.SHA256: 4})]
    with snapshot.SnapshotWriter(tmp_path_factory.mktemp("snapshots"), revision=9) as writer:
        write_index(writer, lists=lists, classifications=[None], base=builder)
        path = writer.publish(parameters={})
    index = MatchIndex.open(snapshot.open_snapshot(path))
    return Generation(index, {"default": default_policy()})


@pytest.fixture
def earlier(tmp_path):
    with ScanState.create(tmp_path / "then", document(hashes_until=1e12)) as state:
        state.begin_run(**RUN, hashed=("pdq", "upright"), decoders="reader 1")
        made = batches(range(COUNT))
        state.plan(0, "c", made, done=True)
        for each in made:
            state.finish(result(each, keep=True), sealer=SEALER)
        yield state


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "now"


def new_document(**changes):
    return document(id="s2", rematch_of="then", **changes)


def kept_ids(earlier):
    return [each.id for batch in earlier.kept(SEALER) for each in batch.hashes]


def test_what_it_keeps_was_read_by_the_decoders_of_then(earlier, folder, generation, tmp_path):
    with ScanState.create(folder, new_document(hashes_until=1e12)) as state:
        state.begin_run(**RUN, decoders="newer")
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        assert decoders_in(earlier) == decoders_in(state) == "reader 1"
    earlier.begin_run(**RUN, decoders="reader 2")
    (more,) = batches([200], first=earlier.next_number)
    earlier.plan(0, "d", [more])
    earlier.finish(result(more, keep=True), sealer=SEALER)
    with ScanState.create(tmp_path / "later", new_document(hashes_until=1e12)) as state:
        state.begin_run(**RUN, decoders="reader 2")
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        assert decoders_in(state) == ""


def test_the_answer_is_that_of_looking_the_objects_up(earlier, folder, generation):
    with ScanState.create(folder, new_document()) as state:
        state.begin_run(**RUN)
        results = list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        summary = state.summary()
        made = list(state.records())
    assert [each.id for each in made] == kept_ids(earlier)
    assert [each for batch in results for each in batch.records] == made
    before = {each.id: each for each in earlier.records()}
    for each in made:
        (expected,) = match_items(generation, [hashes(each.key)], [OPTIONS])
        assert each.key == before[each.id].key
        assert each.outcome is outcome_of(expected)
        assert (each.reason, each.revision) == (str(expected.reason or ""), 9)
        assert (each.way, each.attempts) == (Way.UNCHANGED, 0)
        assert each.format == "png"
    found = {each.key for each in made if each.outcome in (Outcome.MATCHED, Outcome.REVIEW)}
    assert found == {listed(number).key for number in KNOWN if number % 5 != 4}
    assert Outcome.NOT_HASHABLE in {each.outcome for each in made}
    assert summary.done
    assert (summary.listed, summary.finished) == (88, 88)
    assert summary.skipped == {NO_OBJECT_HASHES: 22}
    assert summary.kept == 0


@pytest.mark.parametrize("stop", [1, 7, 16, 17, 27])
def test_it_is_resumed(earlier, folder, generation, stop):
    with ScanState.create(folder, new_document()) as state:
        list(islice(rematch(state, earlier, generation, OPTIONS, sealer=SEALER), stop))
        assert not state.summary().done
    with ScanState.open(folder) as state:
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        assert list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER)) == []
        assert state.summary().done
        assert [each.id for each in state.records()] == kept_ids(earlier)
        assert state.summary().skipped == {NO_OBJECT_HASHES: 22}


def test_hashes_are_kept_again_where_that_is_asked_for(earlier, folder, generation):
    asked = ("mirrored", "pdq", "upright")
    with ScanState.create(folder, new_document(hashes_until=1e12)) as state:
        state.begin_run(**RUN, hashed=asked)
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER, hashed=asked))
        assert kept_ids(state) == kept_ids(earlier)
        assert state.summary().kept == 88
        assert not_hashed(state, asked) == ("mirrored",)  # still


def test_what_was_not_hashed_is_told(earlier, folder, generation):
    asked = ("pdq", "upright", "mirrored")
    with ScanState.create(folder, new_document()) as state:
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER, hashed=asked))
        for each in state.records():
            views = hashes(each.key).views
            assert each.gaps == (("views_left_out",) if views else ())


def test_what_was_forgotten_before_is_skipped(earlier, folder, generation):
    earlier.forget(SEALER, prefix="k0000")
    with ScanState.create(folder, new_document()) as state:
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        assert state.summary().skipped == {NO_OBJECT_HASHES: 30}
        assert [each.id for each in state.records()] == kept_ids(earlier)


def test_what_was_forgotten_meanwhile_has_a_record(earlier, folder, generation):
    with ScanState.create(folder, new_document()) as state:
        list(islice(rematch(state, earlier, generation, OPTIONS, sealer=SEALER), 1))
        earlier.forget(SEALER, prefix="k00006")
        earlier.forget(SEALER, prefix="k00008")
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        summary, made = state.summary(), list(state.records())
    assert summary.done
    assert summary.finished == len({each.id for each in made}) == 88
    gone = [each for each in made if each.outcome is Outcome.FAILED]
    assert [each.key for each in gone] == ["k00006", "k00008"]
    assert {each.reason for each in gone} == {"vanished"}


def test_it_is_of_the_same_places(earlier, folder, generation):
    with (
        ScanState.create(folder, new_document(places=(Place("/other"),))) as state,
        pytest.raises(StateError, match="different places"),
    ):
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))


def test_members_of_archives_are_looked_up_with_them(earlier, folder, generation):
    (batch,) = batches([12], first=earlier.next_number)
    own = records(batch)[0]
    members = [msgspec.structs.replace(own, id=f"{own.id}.{at}", member="m") for at in (1, 2)]
    its = (kept(batch, 0), kept(batch, 0, member="m", member_number=1))
    earlier.plan(0, "d", [batch], done=True)
    earlier.finish(BatchResult(batch.number, (own, *members), its), sealer=SEALER)
    with ScanState.create(folder, new_document()) as state:
        list(rematch(state, earlier, generation, OPTIONS, sealer=SEALER))
        made = list(state.records())[-2:]
        assert [(each.id, each.member) for each in made] == [(own.id, ""), (f"{own.id}.1", "m")]
        assert made[1].size == 10
        assert {each.outcome for each in made} == {Outcome.MATCHED}
        assert state.summary().skipped == {NO_OBJECT_HASHES: 22, NO_MEMBER_HASHES: 1}
        assert state.summary().done


def test_what_the_earlier_scan_has_not_come_to_is_told(tmp_path, folder, generation):
    with (
        ScanState.create(tmp_path / "stopped", document(hashes_until=1e12)) as stopped,
        ScanState.create(folder, new_document()) as state,
    ):
        stopped.begin_run(**RUN)
        first, second = batches(range(12), size=6)
        stopped.plan(0, "c", [first, second])
        stopped.finish(result(first, keep=True), sealer=SEALER)
        list(rematch(state, stopped, generation, OPTIONS, sealer=SEALER))
        told = state.summary()
        assert told.skipped == {
            NO_OBJECT_HASHES: 6 - told.listed,
            NOT_FINISHED: len(second.objects),
            NOT_LISTED: 1,
        }
        assert told.done
