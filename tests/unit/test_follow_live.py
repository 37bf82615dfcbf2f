"""What changed after a snapshot: in pieces, above the snapshot and above a newer one."""

from __future__ import annotations

import random
import threading
from dataclasses import fields, replace
from types import SimpleNamespace
from unittest import mock

import numpy as np
import pytest

from hashlists.catalog import Catalog
from hashlists.catalog.reader import CatalogReader
from hashlists.errors import CatalogError
from hashlists.model import Harm, HashKind, HashList, ListState
from matcher.follow import delta
from matcher.follow.choosing import fits_in_memory, withdraws
from matcher.follow.delta import Delta, Tables
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.follow.view import Sealed, View
from matcher.index.build import IndexRows
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import CLASS_1, CLASS_2, DEMO, Item, bring, items
from tests.follow_support import NAMES, VERSIONS, found_in, read_state

NOW = 1_900_000_000
WHO = {"author": "an operator", "reason": "why"}
#: The later one sorts before the first by name, and so comes first when everything is built anew.
LISTS = ("demo", "a-later-one")
KINDS = ((HashKind.MD5,), (HashKind.MD5, HashKind.PDQ), (HashKind.PHOTODNA, HashKind.PHASH))


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("a", "b", "c"))
        yield catalog


def sealed(catalog, folder, *, full=True):
    build_snapshot(catalog, folder, full=full)
    return Sealed.open_current(folder)


def advanced(view, catalog):
    with catalog.read() as reader:
        return view.advanced(reader), read_state(reader)


def change(catalog, chance):
    """Any one thing that may happen to a catalog, but for a purge."""
    known = {each.hash_list.name for each in catalog.list_lists()}
    with catalog.read() as reader:
        ids = [each for columns in reader.entry_columns() for each in columns.entry_ids.tolist()]
    act = chance.choice(["bring", "bring", "bring", "retract", "list"])
    if act == "bring":
        more = [
            Item(
                name,
                chance.choice(KINDS),
                chance.randrange(VERSIONS),
                classification=chance.choice([None, CLASS_1, CLASS_2]),
            )
            for name in chance.sample(NAMES, chance.randint(1, 5))
        ]
        bring(catalog, more, list_name=chance.choice(sorted(known)))
    elif act == "retract" and ids:
        for name in known:
            catalog.retract(name, ids_of(catalog, name, chance.sample(ids, 1)), **WHO)
    elif known != set(LISTS):
        catalog.create_list(HashList(LISTS[1], Harm.CSAM, "someone"), author="a person")
    else:
        catalog.update_list("demo", state=chance.choice(list(ListState)), **WHO)


def ids_of(catalog, name, ids):
    with catalog.read() as reader:
        (list_id,) = (each.list_id for each in reader.lists() if each.hash_list.name == name)
        return [
            entry_id
            for columns in reader.entry_columns(entry_ids=np.array(sorted(ids), np.int64))
            for entry_id, of in zip(columns.entry_ids.tolist(), columns.list_ids, strict=True)
            if of == list_id
        ]


@pytest.mark.parametrize("seed", range(8))
def test_a_newer_snapshot_beneath_changes_nothing_that_is_found(
    seed, catalog, tmp_path, monkeypatch
):
    monkeypatch.setattr(delta, "MERGED_ENTRIES", 4)
    chance = random.Random(seed)
    view = View.of(sealed(catalog, tmp_path / "first"))
    begins, steps = chance.randrange(6), 9
    newer = None
    for step in range(steps):
        if step == begins:
            newer = sealed(catalog, tmp_path / "newer")
        change(catalog, chance)
        if chance.random() < 0.7:
            view, state = advanced(view, catalog)
            assert found_in(view.index(NOW)) == state.at(NOW)
    view, state = advanced(view, catalog)
    assert view.covers(newer)
    above = view.onto(newer, purged=False)
    assert (above.revision, above.mark) == (view.revision, view.mark)
    assert found_in(above.index(NOW)) == state.at(NOW)
    assert {each.name: each.state for each in above.lists} == state.lists
    assert [each.name for each in above.lists][: len(newer.index.lists)] == [
        each.name for each in newer.index.lists
    ]
    assert withdraws(above) == bool(found_in(newer.index).keys() - state.entries.keys())
    for _ in range(3):  # and it goes on from there
        change(catalog, chance)
        above, state = advanced(above, catalog)
        assert found_in(above.index(NOW)) == state.at(NOW)


def test_above_a_snapshot_of_the_same_revision_nothing_is_live(catalog, tmp_path):
    view = View.of(sealed(catalog, tmp_path / "first"))
    bring(catalog, items("d"))
    view, state = advanced(view, catalog)
    assert len(view.delta) == 1
    newer = sealed(catalog, tmp_path / "newer")
    assert view.covers(newer)
    assert not View.of(newer).covers(view.sealed)
    assert not View.of(view.sealed).covers(newer)
    above = view.onto(newer, purged=False)
    assert (len(above.delta), above.delta.pieces, len(above.superseded)) == (0, (), 0)
    assert found_in(above.index(NOW)) == state.at(NOW)


def test_what_was_purged_does_not_stay_in_a_piece_that_is_kept(catalog, tmp_path):
    view = View.of(sealed(catalog, tmp_path / "first"))
    bring(catalog, items("d", "e"))
    view, _ = advanced(view, catalog)
    entry_id = max(view.delta.touched.tolist())
    catalog.purge("demo", [entry_id], **WHO)
    view, _ = advanced(view, catalog)
    bring(catalog, items("f"))
    newer = sealed(catalog, tmp_path / "newer")
    bring(catalog, items("g", "h"))
    view, state = advanced(view, catalog)
    above = view.onto(newer, purged=False)
    assert not above.purged
    assert found_in(above.index(NOW)) == state.at(NOW)
    for piece in above.delta.pieces:
        assert entry_id not in piece.rows.catalog_ids


def _none_of(columns):
    """A batch without any entry."""
    arrays = {each.name: getattr(columns, each.name)[:0] for each in fields(columns)[:-2]}
    return replace(columns, **arrays, codes={}, derived={})


def rows(ids):
    count = len(ids)
    return IndexRows(
        catalog_ids=np.array(ids, np.int64),
        list_rows=np.zeros(count, np.uint16),
        classification_rows=np.zeros(count, np.uint32),
        flags=np.zeros(count, np.uint16),
        sizes=np.full(count, -1, np.int64),
        expires=np.zeros(count, np.uint32),
        codes={
            HashKind.MD5: (
                np.arange(count),
                np.array([[each % 256] * 16 for each in ids], np.uint8).reshape(count, 16),
            )
        },
    )


def after(held, ids, revision, in_force=None):
    changed = np.array(ids, np.int64)
    return held.after(
        changed,
        [rows(ids if in_force is None else in_force)],
        since=revision - 1,
        until=revision,
        tables=Tables(1, 1),
    )


def test_many_small_changes_make_few_pieces():
    held = Delta.empty()
    for revision in range(1, 201):
        held = after(held, [revision], revision)
        assert len(held.pieces) <= 1 + revision.bit_length()
        assert held.pieces[0].since == 0
        assert held.pieces[-1].until == revision
    assert len(held) == 200


def test_large_pieces_are_left_alone(monkeypatch):
    monkeypatch.setattr(delta, "MERGED_ENTRIES", 10)
    held = Delta.empty()
    for revision in range(1, 7):
        held = after(held, range(revision * 6, revision * 6 + 6), revision)
    assert len(held.pieces) == 6
    assert [len(each.entries) for each in held.segments] == [6] * 6


def test_the_newest_piece_counts(monkeypatch):
    monkeypatch.setattr(delta, "MERGED_ENTRIES", 0)
    held = after(Delta.empty(), [1, 2, 3], 1)
    held = after(held, [2, 3], 2, in_force=[3])
    none = np.empty(0, np.int64)
    assert held.hidden_rows(none, NOW).tolist() == [1, 2]
    assert held.hidden_rows(np.array([3]), NOW).tolist() == [1, 2, 2, 3]
    assert held.gone().tolist() == [2]
    assert len(held) == 3
    assert after(held, [], 3) is held


@pytest.mark.parametrize(("ids", "in_force"), [([1], [2]), ([1], [1, 1])])
def test_rows_that_do_not_fit_are_refused(ids, in_force):
    with pytest.raises(ValueError, match="an entry"):
        after(Delta.empty(), ids, 1, in_force=in_force)


class TestBounds:
    """What may be read in one look, and held."""

    @staticmethod
    def fits(*, changed, held=0, entries=0, behind=1, served=True):
        view = SimpleNamespace(
            revision=1,
            delta=range(held),
            sealed=SimpleNamespace(index=SimpleNamespace(entries=range(entries))),
        )
        reader = SimpleNamespace(revision=1 + behind, changed_count=lambda _since: changed)
        return fits_in_memory(view, reader, live_entries=10, served=view if served else None)

    def test_one_revision_brings_as_much_as_is_promised(self):
        assert self.fits(changed=10)
        assert not self.fits(changed=11)

    def test_several_at_once_bring_a_few_times_as_much(self):
        assert self.fits(changed=40, behind=9)
        assert not self.fits(changed=41, behind=9)

    def test_a_snapshot_that_nobody_serves_may_be_caught_up_with(self):
        assert self.fits(changed=80, served=False)
        assert not self.fits(changed=81, served=False)

    def test_the_live_part_is_bounded(self):
        assert self.fits(changed=10, held=310)
        assert not self.fits(changed=10, held=311)

    def test_the_more_is_sealed_the_more_may_be_live(self):
        assert self.fits(changed=10, held=990, entries=4000)
        assert not self.fits(changed=10, held=991, entries=4000)

    def test_nothing_new_always_fits(self):
        assert self.fits(changed=10**9, held=10**9, behind=0)


class TestAdoption:
    """A newly published snapshot is adopted without reading again what is in memory."""

    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "snapshots"

    @pytest.fixture
    def follower(self, catalog, root):
        build_snapshot(catalog, root)
        policies = {"default": default_policy()}
        follower = Follower(catalog, root, policies, Holder())
        follower.refresh()
        return follower

    def test_nothing_is_read_again(self, catalog, root, follower):
        first = follower.state().snapshot
        for name in "defg":
            bring(catalog, items(name))
            follower.refresh()
        build_snapshot(catalog, root, full=True)
        with mock.patch.object(CatalogReader, "entry_columns", side_effect=AssertionError):
            assert follower.refresh()
        state = follower.state()
        assert state.snapshot != first
        assert (state.revision, state.live_entries, state.problem) == (catalog.head(), 0, "")

    def test_only_what_is_new_is_read(self, catalog, root, follower):
        for name in "defg":
            bring(catalog, items(name))
            follower.refresh()
        build_snapshot(catalog, root, full=True)
        bring(catalog, items("h"))
        real = CatalogReader.entry_columns
        read = []

        def counted(reader, *, entry_ids):
            read.extend(entry_ids.tolist())
            return real(reader, entry_ids=entry_ids)

        with mock.patch.object(CatalogReader, "entry_columns", counted):
            assert follower.refresh()
        assert len(read) == 1
        assert follower.state().live_entries == 1
        with catalog.read() as reader:
            assert found_in(follower._holder.current.index) == read_state(reader).at(NOW)

    def test_where_that_fails_it_is_read_after_all(self, catalog, root, follower):
        bring(catalog, items("d"))
        follower.refresh()
        build_snapshot(catalog, root)
        with mock.patch.object(View, "onto", side_effect=MemoryError):
            assert follower.refresh()
        state = follower.state()
        assert (state.revision, state.live_entries, state.problem) == (catalog.head(), 0, "")


class TestOrder:
    """Nothing urgent waits while much is read."""

    @pytest.fixture
    def root(self, tmp_path):
        return tmp_path / "snapshots"

    @pytest.fixture
    def follower(self, catalog, root):
        build_snapshot(catalog, root)
        policies = {"default": default_policy()}
        follower = Follower(catalog, root, policies, Holder(), live_entries=2)
        follower.refresh()
        follower._making.builder = None  # another process builds
        follower._opener._background = True
        return follower

    def test_what_is_retracted_is_hidden_before_much_is_read(self, catalog, follower, monkeypatch):
        monkeypatch.setattr("matcher.follow.follower._FEW_CHANGES", 1)
        gone = min(found_in(follower._holder.current.index))
        bring(catalog, items("d"))
        catalog.retract("demo", [gone], **WHO)
        known = []
        real = View.advanced

        def slow(view, reader, *, pause):
            known.append(gone in found_in(follower._holder.current.index))
            return real(view, reader, pause=pause)

        monkeypatch.setattr(View, "advanced", slow)
        assert follower.refresh()
        assert known == [False]
        assert len(follower._view.withdrawn) == 0, "gone for good by now"
        assert gone not in found_in(follower._holder.current.index)
        assert not follower.refresh()

    def test_and_so_is_what_is_retracted_while_it_is_read(self, catalog, follower, monkeypatch):
        first, second, *_ = sorted(found_in(follower._holder.current.index))
        now, known = [0.0], []
        monkeypatch.setattr(follower, "_clock", lambda: now[0])
        real = CatalogReader.entry_columns

        def slow(reader, *, entry_ids):
            for columns in real(reader, entry_ids=entry_ids):
                for each in (first, second):
                    catalog.retract("demo", [each], **WHO)
                    now[0] += 1.0
                    yield columns if each == first else _none_of(columns)
                    found = found_in(follower._holder.current.index)
                    known.append((first in found, second in found))

        monkeypatch.setattr(CatalogReader, "entry_columns", slow)
        bring(catalog, items("d"))
        new = catalog.head()
        assert follower.refresh()
        assert known == [(False, True), (False, False)]
        found = found_in(follower._holder.current.index)
        assert follower._view.revision == new
        assert not {first, second} & found.keys(), "they stay hidden by what was read"
        assert len(found) == 2
        assert follower.state().behind
        monkeypatch.setattr(CatalogReader, "entry_columns", real)
        assert follower.refresh()
        assert found_in(follower._holder.current.index).keys() == found.keys()
        assert (follower.state().behind, follower.state().problem) == (False, "")

    def test_where_that_cannot_be_read_the_reading_goes_on(self, catalog, follower, monkeypatch):
        now = [0.0]
        monkeypatch.setattr(follower, "_clock", lambda: now[0])
        real, reads = catalog.read, []

        def read():
            reads.append(now[0])
            now[0] += 1.0
            if len(reads) == 2:
                raise CatalogError("away")
            return real()

        bring(catalog, items("d"))
        with mock.patch.object(catalog, "read", read):
            monkeypatch.setattr(
                View,
                "advanced",
                lambda view, reader, *, pause, real=View.advanced: real(
                    view, reader, pause=lambda: (now.__setitem__(0, now[0] + 1.0), pause())
                ),
            )
            assert follower.refresh()
        assert len(reads) > 1
        assert follower._view.revision == catalog.head()
        assert follower.state().problem == ""

    def test_what_a_new_snapshot_lacks_is_read_where_it_is_opened(
        self, catalog, root, follower, monkeypatch
    ):
        readers = []
        real = CatalogReader.entry_columns

        def told(reader, *, entry_ids):
            readers.append((threading.current_thread().name, len(entry_ids)))
            return real(reader, entry_ids=entry_ids)

        bring(catalog, items(*"defghijk"))
        build_snapshot(catalog, root)
        for name in "lm":
            bring(catalog, items(name))
        monkeypatch.setattr(CatalogReader, "entry_columns", told)
        follower.refresh()
        follower._opener.wait()
        assert readers == [("snapshot-opening", 2)]
        bring(catalog, items("n"))
        assert follower.refresh()
        assert readers[1:] == [(threading.current_thread().name, 1)]
        state = follower.state()
        assert (state.revision, state.live_entries, state.problem) == (catalog.head(), 3, "")

    @pytest.mark.parametrize("outcome", [False, CatalogError("away")])
    def test_where_that_fails_a_look_reads_it(self, catalog, root, follower, monkeypatch, outcome):
        real, asked = View.stands, []

        def stands(view, reader):
            if threading.current_thread().name != "snapshot-opening":
                return real(view, reader)
            asked.append(view)
            if outcome:
                raise outcome
            return False

        monkeypatch.setattr(View, "stands", stands)
        bring(catalog, items(*"defghijk"))
        build_snapshot(catalog, root)
        bring(catalog, items("l"))
        follower.refresh()
        follower._opener.wait()
        assert len(asked) == 1
        assert follower.refresh()
        assert follower.state().revision == catalog.head()
        assert follower.state().problem == ""
