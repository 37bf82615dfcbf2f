"""What an earlier scan kept stands for an object of its very key and version, and for no other."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import msgspec
import pytest

from matcher.model import ImageHashes, NotHashableReason
from matcher.scan.document import Place
from matcher.scan.errors import StateError
from matcher.scan.model import Answer, Batch, BatchResult, Listed
from matcher.scan.records import digests_of, kept_again, kept_hashes, opened_hashes
from matcher.scan.state import ScanState
from matcher.scan.unchanged import Earlier, is_same, not_hashed
from tests.scan_state_support import (
    READ_AT,
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
HASHED = ("pdq", "upright")
DECODERS = "reader 1.0; codec 2.1"
MADE = {**RUN, "hashed": HASHED, "decoders": DECODERS}
PLACES = (Place("/a"), Place("s3://b", endpoint="http://store"))
NUMBERS = range(0, 60, 2)
changed = msgspec.structs.replace


def order(key):
    return key


@pytest.fixture
def earlier(tmp_path):
    """Even numbers of both places, all of which have hashes but every fifth."""
    with ScanState.create(tmp_path / "out", document(places=PLACES, hashes_until=1e12)) as state:
        state.begin_run(**MADE)
        for source in (0, 1):
            made = batches(NUMBERS, first=state.next_number, source=source)
            state.plan(source, "c", made, done=True)
            for each in made:
                state.finish(result(each, keep=True), sealer=SEALER)
        yield state


def opened(
    state, places=PLACES, *, archives=False, hashed=HASHED, opener=SEALER, decoders=DECODERS
):
    return Earlier(
        state,
        opener,
        places,
        [order] * len(places),
        archives=archives,
        hashed=hashed,
        decoders=decoders,
    )


def is_kept(number):
    return number in NUMBERS and number % 5 != 4


def test_objects_are_found_in_the_order_of_the_listing(earlier):
    known = opened(earlier)
    assert known.problem == ""
    for source in (1, 0):  # places do not depend on each other
        for number in range(70):
            found = known.find(source, listed(number))
            assert len(found) == is_kept(number)
            if found:
                assert found[0].listed == listed(number)
                assert opened_hashes(found[0]) == (READ_AT, hashes(listed(number).key))


def test_what_was_asked_for_may_be_asked_for_again(earlier):
    known = opened(earlier)
    assert known.find(0, listed(10)) == known.find(0, listed(10)) != ()


def test_what_comes_late_is_not_found(earlier):
    known = opened(earlier)
    assert known.find(0, listed(30))
    assert known.find(0, listed(10)) == ()
    assert known.find(0, listed(32))


def test_places_are_told_by_their_url_and_endpoint(earlier):
    swapped = (PLACES[1], PLACES[0], Place("s3://b"))
    known = opened(earlier, swapped)
    assert [bool(known.find(source, listed(10))) for source in range(3)] == [True, True, False]
    assert known.find(0, listed(10))[0].source == 1


def test_nothing_stands_for_other_places(earlier):
    known = opened(earlier, (Place("/elsewhere"),))
    assert known.problem.startswith("the earlier scan was of other places")
    assert known.find(0, listed(10)) == ()


def test_an_inventory_is_in_no_order_that_could_be_gone_along(earlier, tmp_path):
    of_inventory = Place(PLACES[1].url, inventory="m.json", endpoint=PLACES[1].endpoint)
    assert "inventory" in opened(earlier, (of_inventory,)).problem
    known = opened(earlier, (of_inventory, PLACES[0]))
    assert known.find(0, listed(10)) == ()
    assert known.find(1, listed(10))
    places = (of_inventory,)
    with ScanState.create(tmp_path / "x", document(places=places)) as state:
        for now in (places, PLACES):
            assert "inventory" in opened(state, now, hashed=()).problem


def test_nothing_stands_where_less_was_hashed(earlier):
    known = opened(earlier, hashed=(*HASHED, "phash"))
    assert known.problem == "the earlier scan has not hashed: phash"
    assert known.find(0, listed(10)) == ()
    assert not_hashed(earlier, ("mirrored", "phash", "pdq")) == ("mirrored", "phash")


def test_every_run_must_have_hashed_it(earlier):
    earlier.begin_run(**RUN, hashed=("pdq",))
    assert not_hashed(earlier, HASHED) == ()  # nothing was finished in it
    (more,) = batches([100], first=earlier.next_number)
    earlier.plan(0, "d", [more])
    earlier.finish(result(more, keep=True), sealer=SEALER)
    assert not_hashed(earlier, HASHED) == ("upright",)


def test_nothing_stands_where_nothing_is_kept(earlier):
    earlier.forget(None)
    assert "kept no hashes" in opened(earlier).problem


def test_a_forgotten_prefix_does_not_stand(earlier):
    earlier.forget(SEALER, prefix="k0001")
    known = opened(earlier)
    assert not known.find(0, listed(10))
    assert known.find(0, listed(20))


def test_keys_that_are_not_here_are_told(earlier):
    with pytest.raises(StateError, match="match_keys"):
        opened(earlier, opener=sealer(b"another"))


SEEN = Listed("k00003", 10, 1_000.0, "tag", "v1")


@pytest.mark.parametrize(
    ("then", "now", "stands"),
    [
        (SEEN, SEEN, True),
        (SEEN, changed(SEEN, key="k00004"), False),
        (SEEN, changed(SEEN, raw=b"k\xff"), False),
        (SEEN, changed(SEEN, size=11), False),
        (SEEN, changed(SEEN, size=None), False),
        (SEEN, changed(SEEN, etag="other"), False),
        (SEEN, changed(SEEN, etag=""), False),
        (SEEN, changed(SEEN, version="v2"), False),
        (SEEN, changed(SEEN, version=""), True),  # listings seldom tell it
        (SEEN, changed(SEEN, modified=1_000.4), True),  # a listing tells it finer than a reading
        (SEEN, changed(SEEN, modified=1_002.0), False),  # written again, with the same content
        (SEEN, changed(SEEN, modified=None), True),
        (Listed("k00003", 10, 1_000.0), Listed("k00003", 10, 1_000.0), True),
        (Listed("k00003", 10, 1_000.0), Listed("k00003", 10, 1_000.1), False),
        (Listed("k00003", 10), Listed("k00003", 10), False),
        (Listed("k00003", None, 1_000.0), Listed("k00003", None, 1_000.0), False),
        # it may have been written again in the tick in which it was read
        (Listed("k00003", 10, READ_AT - 1), Listed("k00003", 10, READ_AT - 1), False),
        (Listed("k00003", 10, READ_AT + 9), Listed("k00003", 10, READ_AT + 9), False),
        (Listed("k00003"), Listed("k00003"), False),
        (Listed("k00003", version="v"), Listed("k00003", version="v"), False),
    ],
)
def test_only_the_very_version_stands(then, now, stands):
    assert is_same(kept(Batch(1, 0, (then,)), 0), now) is stands


def finish_archives(state, *, partly=False):
    """An archive of two members, the second of which may have no hashes."""
    batch = Batch(state.next_number, 0, (listed(200),))
    whole = hashes(listed(200).key)
    own = Answer(digests_of(whole), None, ImageHashes(whole.digests, 10))  # it is not decoded
    members = [changed(records(batch)[0], id=f"{batch.number}-1.{at}", member="m") for at in (1, 2)]
    its = [kept_hashes(batch, 0, own, now=READ_AT), kept(batch, 0, member="m", member_number=1)]
    if not partly:
        its.append(kept(batch, 0, member="m", member_number=2))
    state.plan(0, "d", [batch])
    state.finish(BatchResult(batch.number, (*records(batch), *members), tuple(its)), sealer=SEALER)


def archived(folder, **changes):
    return ScanState.create(folder, document(places=PLACES, hashes_until=1e12, **changes))


def test_an_archive_stands_with_all_its_members(tmp_path):
    with archived(tmp_path / "x", archives=True) as state:
        state.begin_run(**MADE)
        finish_archives(state)
        found = opened(state, archives=True).find(0, listed(200))
        assert [each.id for each in found] == ["1-1", "1-1.1", "1-1.2"]
        again = Batch(7, 1, (listed(5), listed(200)))
        assert [kept_again(each, again, 1).id for each in found] == ["7-2", "7-2.1", "7-2.2"]
        assert {kept_again(each, again, 1).source for each in found} == {1}
        assert opened(state, archives=False).find(0, listed(200)) == ()


def test_an_archive_of_which_a_member_has_no_hashes_does_not_stand(tmp_path):
    with archived(tmp_path / "x", archives=True) as state:
        state.begin_run(**MADE)
        finish_archives(state, partly=True)
        assert opened(state, archives=True).find(0, listed(200)) == ()


def test_what_may_be_an_archive_does_not_stand_once_they_are_opened(earlier):
    known = opened(earlier, archives=True)
    assert known.find(0, listed(0))  # a picture
    assert known.find(0, listed(2)) == ()  # nothing that could be decoded
    assert known.find(0, listed(6))


@pytest.mark.parametrize("reason", [NotHashableReason.DECODER_FAILED, NotHashableReason.OVER_LIMIT])
def test_what_may_do_better_now_is_tried_again(tmp_path, reason):
    with archived(tmp_path / "x") as state:
        state.begin_run(**MADE)
        (one,) = batches([2, 5], size=2)
        first = changed(kept(one, 0), undecodable=(str(reason), "took too long, or was too much"))
        state.plan(0, "c", [one])
        state.finish(BatchResult(1, records(one), (first, kept(one, 1))), sealer=SEALER)
        known = opened(state)
        assert known.find(0, listed(2)) == ()
        assert known.find(0, listed(5))


def what_stands(state, decoders=DECODERS):
    """Numbers of the objects that stand, of those with views and of those without."""
    known = opened(state, decoders=decoders)
    found = [number for number in NUMBERS if known.find(0, listed(number))]
    return [[number for number in found if (number % 3 == 2) is lacks] for lacks in (False, True)]


HASHABLE, NOT_HASHABLE = (
    [number for number in NUMBERS if is_kept(number) and (number % 3 == 2) is lacks]
    for lacks in (False, True)
)


@pytest.mark.parametrize("now", ["reader 1.0; codec 2.2", "reader 1.0", ""])
def test_what_could_not_be_hashed_is_tried_again_by_other_decoders(earlier, now):
    assert what_stands(earlier) == [HASHABLE, NOT_HASHABLE]
    assert what_stands(earlier, now) == [HASHABLE, []]


def finish_another(state, number):
    (more,) = batches([number], first=state.next_number)
    state.plan(0, "d", [more])
    state.finish(result(more, keep=True), sealer=SEALER)


@pytest.mark.parametrize("other", ["reader 0.9; codec 2.1", ""])
def test_every_run_that_has_finished_something_must_have_had_these_decoders(earlier, other):
    earlier.begin_run(**MADE | {"decoders": other})
    assert what_stands(earlier) == [HASHABLE, NOT_HASHABLE]  # nothing was finished in it
    finish_another(earlier, 100)
    assert what_stands(earlier) == [HASHABLE, []]
    assert what_stands(earlier, other) == [HASHABLE, []]


def test_an_archive_is_opened_again_where_a_member_may_be_hashed_now(tmp_path):
    with archived(tmp_path / "x", archives=True) as state:
        state.begin_run(**MADE)
        batch = Batch(1, 0, (listed(200),))
        whole = hashes(listed(200).key)
        own = Answer(digests_of(whole), None, ImageHashes(whole.digests, 10))
        lacking = ("unsupported", "is no picture")
        its = kept_hashes(batch, 0, own, now=READ_AT), kept(batch, 0, member="m", member_number=1)
        made = (*records(batch), changed(records(batch)[0], id="1-1.1", member="m"))
        state.plan(0, "d", [batch])
        kept_then = (its[0], changed(its[1], undecodable=lacking))
        state.finish(BatchResult(1, made, kept_then), sealer=SEALER)
        assert len(opened(state, archives=True).find(0, listed(200))) == 2
        assert opened(state, archives=True, decoders="other").find(0, listed(200)) == ()


def as_by_an_older_build(folder):
    """Makes the file what it was before runs were told the decoders of."""
    with closing(sqlite3.connect(folder / "state.db")) as connection:
        connection.execute("DROP TABLE decoders")
        connection.commit()


def test_a_state_of_an_older_build_opens_and_its_decoders_are_not_known(earlier, tmp_path):
    folder = tmp_path / "out"
    earlier.close()
    as_by_an_older_build(folder)
    with ScanState.open(folder, writing=False) as looked_at:
        assert [each.decoders for each in looked_at.summary().runs] == [""]
        assert what_stands(looked_at) == [HASHABLE, []]
    with ScanState.open(folder) as state:
        assert what_stands(state) == [HASHABLE, []]
        assert state.begin_run(**MADE).decoders == DECODERS
        finish_another(state, 100)
        assert [each.decoders for each in state.summary().runs] == ["", DECODERS]
        assert what_stands(state) == [HASHABLE, []]  # of some it is still not known
