"""Indexes of several segments: what is written, linked, refused, hidden and expires."""

from __future__ import annotations

import copy
import dataclasses
import os
from types import MappingProxyType
from typing import TYPE_CHECKING
from unittest import mock

import numpy as np
import pytest

from hashlists.errors import SnapshotError
from hashlists.model import Classification, Harm, HashKind, ListState
from hashlists.snapshot import SnapshotWriter, open_current, open_snapshot
from matcher.index import growing
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.expiry import Expiry
from matcher.index.growing import GrowingArray
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.overlay import Overlay
from matcher.index.segment import Segment
from matcher.index.write import LinkedSegment, write_index

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


KINDS = (HashKind.PDQ, HashKind.PHASH, HashKind.PHOTODNA, HashKind.SHA1)
LISTS = (
    IndexedList("first", Harm.CSAM, ListState.LIVE, 0, {}),
    IndexedList("second", Harm.NCII, ListState.SHADOW, 0, {}),
)
CLASSES = (None, Classification("vics", "US", "1"))


def code(kind: HashKind, value: int) -> np.ndarray:
    return np.full((1, kind.nbytes), value, np.uint8)


def builder(*ids: int, **changes) -> IndexBuilder:
    """Entries of these catalog ids, each with its id in every byte of every kind."""
    numbers = np.array(ids, np.int64)
    values = numbers.astype(np.uint8)[:, None]
    owners = np.arange(len(ids), dtype=np.int64)
    rows = IndexRows(
        catalog_ids=numbers,
        list_rows=(numbers % 2).astype(np.uint16),
        classification_rows=np.ones(len(ids), np.uint32),
        flags=np.zeros(len(ids), np.uint16),
        sizes=np.full(len(ids), -1, np.int64),
        expires=np.zeros(len(ids), np.uint32),
        codes={kind: (owners, np.repeat(values, kind.nbytes, axis=1)) for kind in KINDS},
    )
    made = IndexBuilder()
    made.add(dataclasses.replace(rows, **changes))
    return made


def publish(root: Path, base, recent=None, *, revision=1, lists=LISTS, classifications=CLASSES):
    with SnapshotWriter(root, revision=revision) as writer:
        write_index(writer, lists=lists, classifications=classifications, base=base, recent=recent)
        return open_snapshot(writer.publish({}))


def segment(*ids: int, **changes) -> Segment:
    arrays = builder(*ids, **changes).arrays()
    return Segment.from_arrays(arrays, lists=2, classifications=2)


def found(index: MatchIndex, value: int, kind: HashKind = HashKind.PDQ) -> list[int]:
    """Catalog ids of the entries with that code."""
    rows = index.search(kind, code(kind, value), 0).entry_rows
    return index.entries.take(rows).catalog_ids.tolist()


@pytest.fixture
def first(tmp_path):
    return publish(tmp_path, builder(1, 2, 3, 4))


@pytest.fixture
def second(tmp_path, first):
    """Entry 2 was retracted after the base, 3 given a new version, and 9 added."""
    base = LinkedSegment(first, dead=np.array([2, 1, 1]))
    return publish(tmp_path, base, builder(3, 9), revision=2)


class TestBaseAndRecent:
    def test_what_is_dead_is_not_found(self, second):
        index = MatchIndex.open(second)
        for kind in KINDS:
            assert [found(index, value, kind) for value in (1, 2, 3, 4, 9)] == [
                [1],
                [],
                [3],
                [4],
                [9],
            ]
        assert index.hidden.rows().tolist() == [1, 2]
        assert index.search(HashKind.PDQ, code(HashKind.PDQ, 3), 0).entry_rows.tolist() == [4]

    def test_the_base_is_linked(self, first, second):
        for name in first.arrays:
            assert name.startswith("base.")
            file = f"{name}.bin"
            assert (second.path / file).samefile(first.path / file)
        assert {name for name in second.arrays if not name.startswith("recent.")} == {
            *first.arrays,
            "base.dead",
        }

    def test_the_document_tells_of_both(self, second):
        segments = second.documents["index"]["segments"]
        assert [segments[name]["entries"] for name in ("base", "recent")] == [4, 2]
        assert [segments[name]["dead"] for name in ("base", "recent")] == [2, 0]
        counts = [each["counts"]["pdq"] for each in second.documents["lists"]]
        assert counts == [1, 3]  # 4; 1, 3 and 9

    def test_a_recent_segment_may_be_linked_too(self, tmp_path, second):
        recent = LinkedSegment(second, "recent", dead=np.array([0], np.uint32))
        third = publish(tmp_path, LinkedSegment(second, dead=np.array([1, 2])), recent, revision=3)
        index = MatchIndex.open(third)
        assert [found(index, value) for value in (1, 3, 9)] == [[1], [], [9]]
        assert index.hidden.rows().tolist() == [1, 2, 4]

    def test_a_base_alone_may_be_linked(self, tmp_path, second):
        third = publish(tmp_path, LinkedSegment(second), revision=3)
        assert found(MatchIndex.open(third), 2) == [2], "dead is what the new snapshot says"
        assert "base.dead" not in third.arrays

    def test_an_empty_base(self, tmp_path):
        first = publish(tmp_path, IndexBuilder())
        second = publish(tmp_path, LinkedSegment(first), builder(7), revision=2)
        index = MatchIndex.open(second)
        assert found(index, 7) == [7]
        assert len(index.entries) == 1

    def test_held_segments_are_taken_over(self, tmp_path, first, second):
        held = MatchIndex.open(first)
        opened = open_current(tmp_path, held=first)
        index = MatchIndex.open(opened, held=held)
        assert index.segments[0] is held.segments[0]
        assert len(index.segments) == 2
        assert MatchIndex.open(second, held=held).segments[0] is not held.segments[0]

    def test_a_held_segment_does_not_excuse_a_wrong_document(self, tmp_path, first, second):
        opened = open_current(tmp_path, held=first)
        document = copy.deepcopy(opened.documents["index"])
        document["segments"]["base"]["kinds"]["pdq"]["codes"] = 5
        changed = dataclasses.replace(opened, documents={**opened.documents, "index": document})
        with pytest.raises(SnapshotError, match=r"'base'.*document says"):
            MatchIndex.open(changed, held=MatchIndex.open(first))


class TestGrowingTables:
    def test_tables_grow_at_their_ends(self, tmp_path, first):
        more = IndexedList("third", Harm.TEST, ListState.LIVE, 0, {})
        classes = (*CLASSES, Classification("vics", "US", "2"))
        second = publish(
            tmp_path,
            LinkedSegment(first),
            builder(9, list_rows=np.array([2], np.uint16)),
            revision=2,
            lists=(*LISTS, more),
            classifications=classes,
        )
        index = MatchIndex.open(second, held=MatchIndex.open(first))
        assert index.lists[2].counts == dict.fromkeys(KINDS, 1)
        assert index.classifications == classes

    @pytest.mark.parametrize("lists", [LISTS[::-1], LISTS[:1], ()], ids=["order", "fewer", "none"])
    def test_other_lists_are_refused(self, tmp_path, first, lists):
        with pytest.raises(ValueError, match="lists do not begin"):
            publish(tmp_path, LinkedSegment(first), lists=lists)
        assert open_current(tmp_path).path == first.path

    @pytest.mark.parametrize(
        "classes",
        [(None,), (None, None), (None, Classification("vics", "US", "2"), CLASSES[1])],
        ids=["fewer", "none", "order"],
    )
    def test_other_classifications_are_refused(self, tmp_path, first, classes):
        with pytest.raises(ValueError, match="classifications do not begin"):
            publish(tmp_path, LinkedSegment(first), classifications=classes)

    def test_a_list_may_change_its_state(self, tmp_path, first):
        lists = (dataclasses.replace(LISTS[0], state=ListState.SHADOW), LISTS[1])
        opened = publish(tmp_path, LinkedSegment(first), lists=lists)
        assert MatchIndex.open(opened).lists[0].state is ListState.SHADOW


class TestWriting:
    def test_a_builder_is_used_up(self, tmp_path):
        made = builder(1)
        publish(tmp_path, made)
        for use in (made.arrays, lambda: publish(tmp_path, made), lambda: made.add(None)):
            with pytest.raises(ValueError, match="written already"):
                use()

    def test_a_live_builder_goes_on(self):
        made = builder(1)
        before = made.arrays()
        rows = IndexRows(
            *(np.full(70_000, 0, array.dtype) for array in list(before.values())[:6]), codes={}
        )
        made.add(dataclasses.replace(rows, catalog_ids=np.arange(2, 70_002)))
        assert before["entries.catalog_id"].tolist() == [1]
        assert len(made.arrays()["entries.catalog_id"]) == 70_001

    def test_only_known_segments(self, tmp_path):
        with (
            SnapshotWriter(tmp_path, revision=1) as writer,
            pytest.raises(ValueError, match="one of"),
        ):
            builder(1).write_segment(writer, lists=2, classifications=2, segment="other")

    @pytest.mark.parametrize("dead", [[4], [-1], [0, 2**33]], ids=str)
    def test_dead_rows_must_exist(self, tmp_path, first, dead):
        with pytest.raises(ValueError, match="dead rows"):
            publish(tmp_path, LinkedSegment(first, dead=np.array(dead)))

    def test_a_source_of_another_layout(self, tmp_path, first):
        document = {**first.documents["index"], "layout": 2}
        other = dataclasses.replace(first, documents={**first.documents, "index": document})
        with pytest.raises(ValueError, match="layout is 2"):
            publish(tmp_path, LinkedSegment(other))

    def test_no_recent_to_link(self, tmp_path, first):
        with pytest.raises(ValueError, match="no segment 'recent'"):
            publish(tmp_path, LinkedSegment(first), LinkedSegment(first, "recent"))

    def test_a_file_that_was_changed_meanwhile(self, tmp_path, first):
        file = first.path / "base.pdq.codes.bin"
        with file.open("r+b") as stream:
            stream.write(b"\xff")
        os.utime(file, ns=(1, 1))
        with pytest.raises(SnapshotError, match="changed after it was verified"):
            publish(tmp_path, LinkedSegment(first), revision=2)


class TestRefusals:
    """Digests are right, and what they vouch for is not an index."""

    def refused(self, snapshot, word: str, arrays=None, document=None, drop=()) -> None:
        changed = dataclasses.replace(
            snapshot,
            arrays=MappingProxyType(
                {
                    name: array
                    for name, array in {**snapshot.arrays, **(arrays or {})}.items()
                    if name not in drop
                }
            ),
            documents={**snapshot.documents, **({"index": document} if document else {})},
        )
        with pytest.raises(SnapshotError, match=word):
            MatchIndex.open(changed)

    @pytest.mark.parametrize(
        ("rows", "word"),
        [
            (np.array([2, 1], np.uint32), "'base': dead does not ascend"),
            (np.array([1, 1], np.uint32), "'base': dead does not ascend"),
            (np.array([1, 4], np.uint32), "'base': dead refers to row 4 of 4"),
            (np.array([1, 2], np.int64), "dtype uint32"),
            (np.array([[1, 2]], np.uint32), "dtype uint32"),
            (np.array([1], np.uint32), "does not hold the 2 rows"),
        ],
        ids=["order", "twice", "outside", "dtype", "axes", "fewer"],
    )
    def test_dead_rows(self, second, rows, word):
        self.refused(second, word, {"base.dead": rows})

    def test_dead_rows_that_are_gone(self, second):
        """What was retracted would be found again."""
        self.refused(second, "does not hold the 2 rows", drop=("base.dead",))

    def test_dead_rows_that_nobody_speaks_of(self, first):
        self.refused(first, "does not hold the 0 rows", {"base.dead": np.array([1], np.uint32)})

    @pytest.mark.parametrize("ids", [[1, 3, 2, 4], [1, 2, 2, 4]], ids=["order", "twice"])
    def test_catalog_ids_ascend(self, first, ids):
        arrays = {"base.entries.catalog_id": np.array(ids, np.int64)}
        self.refused(first, "catalog_id does not ascend", arrays)

    def test_a_segment_that_is_gone(self, second):
        recent = [name for name in second.arrays if name.startswith("recent.")]
        self.refused(second, "'recent': array .* is missing", drop=recent)
        document = copy.deepcopy(second.documents["index"])
        del document["segments"]["recent"]
        self.refused(second, "of no segment", document=document)
        del document["segments"]["base"]
        self.refused(second, "does not describe", document=document)

    def test_a_recent_without_a_base(self, second):
        document = copy.deepcopy(second.documents["index"])
        del document["segments"]["base"]
        base = [name for name in second.arrays if name.startswith("base.")]
        self.refused(second, "does not describe", document=document, drop=base)

    def test_arrays_of_another_segment(self, first):
        self.refused(first, "of no segment", {"later.dead": np.zeros(1, np.uint32)})
        self.refused(first, "of no segment", {"pdq.codes": np.zeros((1, 32), np.uint8)})

    @pytest.mark.parametrize(
        ("path", "value"),
        [
            (("entries",), 3),
            (("entries",), -1),
            (("entries",), "4"),
            (("dead",), 1),
            (("dead",), None),
            (("kinds", "pdq", "codes"), 3),
            (("kinds", "pdq", "search"), None),
            (("kinds", "pdq", "more"), 1),
            (("more",), 1),
        ],
        ids=str,
    )
    def test_a_document_that_contradicts(self, first, path, value):
        document = copy.deepcopy(first.documents["index"])
        place = document["segments"]["base"]
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = value
        self.refused(first, "not an index", document=document)

    def test_a_segment_that_this_build_does_not_know(self, first):
        document = copy.deepcopy(first.documents["index"])
        document["segments"]["later"] = document["segments"]["base"]
        self.refused(first, "does not describe", document=document)

    def test_a_later_layout(self, first):
        document = {**first.documents["index"], "layout": 5}
        self.refused(first, "layout is 5, this build reads 4 and 3", document=document)

    def test_a_recent_segment_that_is_damaged(self, second):
        """On disk, so that the digest tells."""
        file = second.path / "recent.pdq.codes.bin"
        file.write_bytes(bytes(len(file.read_bytes())))
        with pytest.raises(SnapshotError, match=r"recent\.pdq\.codes\.bin"):
            open_snapshot(second.path)

    @pytest.mark.parametrize("name", ["base.dead", "recent.entries.expires"])
    def test_an_array_that_is_cut_off(self, second, name):
        file = second.path / f"{name}.bin"
        file.write_bytes(file.read_bytes()[:-1])
        with pytest.raises(SnapshotError, match="cut off"):
            open_snapshot(second.path)


class TestLive:
    def test_a_live_segment_stands_behind(self, second):
        sealed = MatchIndex.open(second)
        superseded = sealed.rows_of(np.array([4, 9, 77]))
        index = sealed.extended(
            revision=3,
            lists=LISTS,
            classifications=CLASSES,
            live=[segment(4, 10)],
            hidden=superseded,
        )
        assert index.revision == 3
        assert sealed.segment_names == ("base", "recent")
        assert index.segment_names == ("base", "recent", "live")
        assert [found(index, value) for value in (1, 2, 3, 4, 9, 10)] == [
            [1],
            [],
            [3],
            [4],
            [],
            [10],
        ]
        assert index.hidden.rows().tolist() == [1, 2, 3, 5]
        assert sealed.hidden.rows().tolist() == [1, 2], "the sealed one is as it was"
        assert found(sealed, 9) == [9]

    def test_rows_of_a_live_segment_can_be_hidden(self, first):
        sealed = MatchIndex.open(first)
        index = sealed.extended(
            revision=2,
            lists=LISTS,
            classifications=CLASSES,
            live=[segment(8, 9)],
            hidden=np.array([5]),
        )
        assert [found(index, value) for value in (8, 9)] == [[8], []]
        assert index.segment_names == ("base", "live")

    def test_without_a_live_segment(self, first):
        sealed = MatchIndex.open(first)
        index = sealed.extended(
            revision=2, lists=LISTS, classifications=CLASSES, live=[], hidden=np.array([0])
        )
        assert found(index, 1) == []
        assert index.segments == sealed.segments
        assert index.segment_names == ("base",)

    def test_hidden_rows_must_exist(self, first):
        sealed = MatchIndex.open(first)
        for row in (4, -1):
            with pytest.raises(ValueError, match="hidden rows"):
                sealed.extended(
                    revision=2,
                    lists=LISTS,
                    classifications=CLASSES,
                    live=[],
                    hidden=np.array([row]),
                )

    def test_an_overlay_must_fit(self):
        with pytest.raises(ValueError, match="does not fit"):
            MatchIndex(
                revision=1,
                lists=LISTS,
                classifications=CLASSES,
                segments=[segment(1)],
                hidden=Overlay(2),
            )
        with pytest.raises(ValueError, match="shrink"):
            Overlay(2).extended(np.array([0]), length=1)

    def test_rows_of_in_any_order(self, second):
        index = MatchIndex.open(second)
        assert sorted(index.rows_of(np.array([9, 3, -5, 10**15, 1])).tolist()) == [0, 2, 4, 5]
        assert index.rows_of(np.empty(0, np.int64)).tolist() == []
        assert MatchIndex.empty().rows_of(np.array([1])).tolist() == []

    def test_counts_of_a_segment(self):
        shared = np.repeat(code(HashKind.PDQ, 1), 3, axis=0)
        codes = {HashKind.PDQ: (np.arange(3), shared)}
        one = segment(2, 4, 5, codes=codes)
        assert one.codes_by_list(2) == [{HashKind.PDQ: 1}, {HashKind.PDQ: 1}]
        assert one.codes_by_list(2, np.array([0])) == [{HashKind.PDQ: 1}, {HashKind.PDQ: 1}]
        assert one.codes_by_list(3, np.array([0, 1, 1])) == [{}, {HashKind.PDQ: 1}, {}]
        assert one.codes_by_list(2, np.array([0, 1, 2])) == [{}, {}]


class TestExpiry:
    def test_rows_expire_at_their_second(self):
        expiry = Expiry(np.array([0, 7, 5, 0, 2**32 - 1, 7], np.uint32))
        assert expiry.expired_rows(4).tolist() == []
        assert expiry.expired_rows(5).tolist() == [2]
        assert expiry.expired_rows(6).tolist() == [2]
        assert expiry.expired_rows(7).tolist() == [1, 2, 5]
        assert expiry.expired_rows(5).tolist() == [2], "a clock may be set back"
        assert expiry.expired_rows(2**32).tolist() == [1, 2, 4, 5]
        assert [expiry.next_after(now) for now in (-1, 4, 5, 7, 2**32 - 1, 2**40)] == [
            5,
            5,
            7,
            2**32 - 1,
            None,
            None,
        ]

    @pytest.mark.parametrize("count", [0, 3])
    def test_nothing_expires(self, count):
        expiry = Expiry(np.zeros(count, np.uint32))
        assert expiry.expired_rows(2**32).tolist() == []
        assert expiry.next_after(0) is None

    def test_what_was_told_is_not_worked_out_again(self):
        expiry = Expiry(np.array([5, 9], np.uint32))
        rows = expiry.expired_rows(5)
        assert expiry.expired_rows(8) is rows
        with pytest.raises(ValueError):
            rows[0] = 1

    def test_of_all_segments(self, tmp_path):
        base = builder(1, 2, expires=np.array([0, 5], np.uint32))
        recent = builder(3, expires=np.array([4], np.uint32))
        index = MatchIndex.open(publish(tmp_path, base, recent))
        assert index.expired_rows(4).tolist() == [2]
        assert index.expired_rows(5).tolist() == [1, 2]
        assert [index.next_expiry(now) for now in (0, 4, 5)] == [4, 5, None]
        assert MatchIndex.empty().next_expiry(0) is None
        assert MatchIndex.empty().expired_rows(10).tolist() == []


class TestGrowingArray:
    @pytest.mark.parametrize("row_shape", [(), (32,)], ids=["numbers", "codes"])
    def test_rows_are_kept_through_growth(self, row_shape, rng, monkeypatch):
        monkeypatch.setattr(growing, "_HUGE_BYTES", 1 << 18)
        array = GrowingArray(np.uint8, row_shape)
        parts = [
            rng.integers(0, 256, (size, *row_shape), dtype=np.uint8)
            for size in (0, 1, 65_535, 1, 100_000, 0, 7)
        ]
        views = []
        for number, part in enumerate(parts):
            array.extend(part)
            if number % 2:
                views.append((array.view(), np.concatenate(parts[: number + 1])))
        assert len(array) == sum(map(len, parts))
        for view, expected in (*views, (array.view(), np.concatenate(parts))):
            np.testing.assert_array_equal(view, expected)
            assert not view.flags.writeable

    def test_a_kernel_without_huge_pages(self, monkeypatch):
        monkeypatch.setattr(growing, "_HUGE_BYTES", 1)
        monkeypatch.setattr(growing.mmap, "MADV_HUGEPAGE", 10**6)  # EINVAL
        array = GrowingArray(np.int64)
        array.extend(np.arange(100_000))
        assert array.view().tolist() == list(range(100_000))
