"""How codes were made: kept beside them, told with what is found, and never made up."""

from __future__ import annotations

import copy
import dataclasses
from types import MappingProxyType
from unittest import mock

import numpy as np
import pytest

from hashlists.errors import SnapshotError
from hashlists.model import Harm, HashKind, ListState
from hashlists.snapshot import SnapshotWriter, open_snapshot
from matcher.follow.delta import join_rows, keep_rows, sort_rows
from matcher.index import derivations
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.grouping import group_codes
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.segment import Segment
from matcher.index.write import LinkedSegment, write_index

PDQ, SHA1 = HashKind.PDQ, HashKind.SHA1
LISTS = (IndexedList("list", Harm.TEST, ListState.LIVE, 0, {}),)
CROP, WHOLE = "crop:0.02", "file"


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


def code(value: int, kind: HashKind = PDQ) -> np.ndarray:
    return np.full((1, kind.nbytes), value, np.uint8)


def rows(*entries: tuple[int, list[tuple[int, str]]]) -> IndexRows:
    """Entries by id, each with PDQ codes of one byte value and how each was made."""
    told = [(row, *each) for row, (_, codes) in enumerate(entries) for each in codes]
    owners = np.array([row for row, _, _ in told], np.int64)
    values = np.array([[value] * PDQ.nbytes for _, value, _ in told], np.uint8)
    places = [place for place, (_, _, made) in enumerate(told) if made]
    count = len(entries)
    return IndexRows(
        catalog_ids=np.array([each for each, _ in entries], np.int64),
        list_rows=np.zeros(count, np.uint16),
        classification_rows=np.zeros(count, np.uint32),
        flags=np.zeros(count, np.uint16),
        sizes=np.full(count, -1, np.int64),
        expires=np.zeros(count, np.uint32),
        codes={PDQ: (owners, values.reshape(-1, PDQ.nbytes))} if told else {},
        derived={PDQ: (np.array(places, np.int64), [told[each][2] for each in places])}
        if places
        else {},
    )


def builder(*entries) -> IndexBuilder:
    made = IndexBuilder()
    made.add(rows(*entries))
    return made


def publish(root, base, recent=None, *, revision=1):
    with SnapshotWriter(root, revision=revision) as writer:
        write_index(writer, lists=LISTS, classifications=(None,), base=base, recent=recent)
        return open_snapshot(writer.publish({}))


def live(*entries) -> MatchIndex:
    made = builder(*entries)
    segment = Segment.from_arrays(
        made.arrays(), lists=1, classifications=1, derivations=made.derivations
    )
    return MatchIndex(revision=1, lists=LISTS, classifications=(None,), segments=[segment])


def told(index: MatchIndex, value: int, threshold: int = 0) -> dict[int, str | None]:
    """Catalog id -> how the code was made that was found."""
    hits = index.search(PDQ, code(value), threshold)
    ids = index.entries.take(hits.entry_rows).catalog_ids.tolist()
    made = [index.derivations[row] for row in hits.derivation_rows.tolist()]
    return dict(zip(ids, made, strict=True))


@pytest.fixture(params=["sealed", "live"])
def index_of(request, tmp_path):
    def of(*entries) -> MatchIndex:
        if request.param == "live":
            return live(*entries)
        return MatchIndex.open(publish(tmp_path, builder(*entries)))

    return of


def test_each_code_tells_how_it_was_made(index_of):
    index = index_of((1, [(1, ""), (2, CROP)]), (2, [(2, "")]), (3, [(3, WHOLE)]))
    assert told(index, 1) == {1: ""}
    assert told(index, 2) == {1: CROP, 2: ""}
    assert told(index, 3) == {3: WHOLE}
    assert index.derivations == ("", None, CROP, WHOLE)


def test_the_nearest_code_is_told_and_among_equals_the_sources_own(index_of):
    near, far = 0b0000_0001, 0b0000_1111  # 32 and 128 bits from 0
    index = index_of(
        (1, [(near, CROP), (far, "")]),
        (2, [(near, CROP), (near, "")]),
        (3, [(near, WHOLE), (0b0000_0010, "")]),
        (4, [(near, WHOLE), (0b0000_0100, CROP)]),
    )
    assert told(index, 0, 200) == {1: CROP, 2: "", 3: "", 4: CROP}


def test_nothing_is_kept_where_no_code_is_derived(tmp_path):
    snapshot = publish(tmp_path, builder((1, [(1, "")]), (2, [(2, ""), (2, CROP)])))
    assert not [name for name in snapshot.arrays if "deriv" in name]
    assert not [name for name in builder((1, [(1, "")])).arrays() if "deriv" in name]


def test_names_of_several_segments_do_not_mix(tmp_path):
    first = publish(tmp_path, builder((1, [(1, WHOLE)]), (2, [(2, "b")])))
    base = LinkedSegment(first, dead=np.array([1]))
    second = publish(tmp_path, base, builder((2, [(2, "a")]), (3, [(1, CROP)])), revision=2)
    for index in (MatchIndex.open(second), MatchIndex.open(second, held=MatchIndex.open(first))):
        assert told(index, 1) == {1: WHOLE, 3: CROP}
        assert told(index, 2) == {2: "a"}


class TestAnEarlierLayout:
    """A snapshot of a build that did not keep it: used as it is, and nothing is claimed."""

    @staticmethod
    def earlier(snapshot):
        document = copy.deepcopy(snapshot.documents["index"])
        document["layout"] = 3
        for segment in document["segments"].values():
            del segment["derivations"]
        arrays = {
            name: array
            for name, array in snapshot.arrays.items()
            if not name.endswith((derivations.PLACES, derivations.NAME_ROWS))
        }
        return dataclasses.replace(
            snapshot,
            arrays=MappingProxyType(arrays),
            documents={**snapshot.documents, "index": document},
        )

    def test_is_searched_and_says_that_it_does_not_know(self, tmp_path):
        snapshot = self.earlier(publish(tmp_path, builder((1, [(1, CROP)]), (2, [(1, "")]))))
        assert told(MatchIndex.open(snapshot), 1) == {1: None, 2: None}

    def test_is_linked_beside_what_knows(self, tmp_path):
        first = self.earlier(publish(tmp_path, builder((1, [(1, CROP)]), (2, [(2, "")]))))
        base = LinkedSegment(first, dead=np.array([1]))
        second = publish(tmp_path, base, builder((2, [(1, ""), (2, WHOLE)])), revision=2)
        index = MatchIndex.open(second)
        assert told(index, 1) == {1: None, 2: ""}
        assert told(index, 2) == {2: WHOLE}
        assert second.documents["index"]["segments"]["base"]["derivations"] is None

    def test_arrays_that_it_cannot_have_are_refused(self, tmp_path):
        first = publish(tmp_path, builder((1, [(1, CROP)])))
        changed = dataclasses.replace(self.earlier(first), arrays=first.arrays)
        with pytest.raises(SnapshotError, match=r"outside 1\.\.0"):
            MatchIndex.open(changed)


class TestRefusals:
    """Digests are right, and what they vouch for contradicts itself."""

    @pytest.fixture
    def snapshot(self, tmp_path):
        return publish(tmp_path, builder((1, [(1, ""), (2, CROP)]), (2, [(3, WHOLE)])))

    @pytest.mark.parametrize(
        ("name", "values", "word"),
        [
            ("derived_places", np.array([1, 3], np.uint32), "within the 3 entry rows"),
            ("derived_places", np.array([2, 1], np.uint32), "does not ascend"),
            ("derived_places", np.array([1, 1], np.uint32), "does not ascend"),
            ("derived_places", np.empty(0, np.uint32), "does not ascend"),
            ("derived_places", np.array([1], np.uint32), "does not fit the 1"),
            ("derived_places", np.array([1, 2], np.int64), "dtype uint32"),
            ("derivation_rows", np.array([[1, 2]], np.uint32), "one axis"),
            ("derivation_rows", np.array([0, 1], np.uint32), r"outside 1\.\.2"),
            ("derivation_rows", np.array([1, 3], np.uint32), r"outside 1\.\.2"),
        ],
        ids=str,
    )
    def test_arrays(self, snapshot, name, values, word):
        arrays = {**snapshot.arrays, f"base.pdq.{name}": values}
        with pytest.raises(SnapshotError, match=word):
            MatchIndex.open(dataclasses.replace(snapshot, arrays=MappingProxyType(arrays)))

    @pytest.mark.parametrize("name", ["derived_places", "derivation_rows"])
    def test_an_array_that_is_gone(self, snapshot, name):
        """What was derived would be told as the source's own."""
        arrays = {each: snapshot.arrays[each] for each in snapshot.arrays if name not in each}
        with pytest.raises(SnapshotError, match=f"pdq.{name} is missing"):
            MatchIndex.open(dataclasses.replace(snapshot, arrays=MappingProxyType(arrays)))

    @pytest.mark.parametrize(
        "names", ["file", [1, 2], ["", "x"], ["b", "a"], ["a", "a"], {"a": 1}], ids=str
    )
    def test_names(self, snapshot, names):
        document = copy.deepcopy(snapshot.documents["index"])
        document["segments"]["base"]["derivations"] = names
        documents = {**snapshot.documents, "index": document}
        with pytest.raises(SnapshotError, match="not an index"):
            MatchIndex.open(dataclasses.replace(snapshot, documents=documents))

    @pytest.mark.parametrize(
        ("kind", "places", "names", "word"),
        [
            (PDQ, np.array([0, 0]), ["a", "b"], "ascend within 2"),
            (PDQ, np.array([1, 2]), ["a", "b"], "ascend within 2"),
            (PDQ, np.array([-1]), ["a"], "ascend within 2"),
            (PDQ, np.array([0]), [""], "does not say"),
            (PDQ, np.array([0]), ["a", "b"], "shape"),
            (PDQ, np.array([0], np.uint32), ["a"], "dtype int64"),
            (SHA1, np.array([0]), ["a"], "ascend within 0"),
        ],
        ids=str,
    )
    def test_batches(self, kind, places, names, word):
        batch = rows((1, [(1, ""), (2, "")]))
        made = IndexBuilder()
        with pytest.raises(ValueError, match=word):
            made.add(dataclasses.replace(batch, derived={kind: (places, names)}))
        assert (len(made), made.derivations) == (0, ())


def test_a_table_has_an_end(monkeypatch):
    monkeypatch.setattr(derivations, "MAX_NAMES", 3)
    made = [(value, f"way {value}") for value in range(1, 6)]
    index = live((1, made), (2, [(6, "way 1")]))
    assert index.derivations == ("", None, "other", "way 1", "way 2")
    found = [told(index, value)[1] for value in range(1, 6)]
    assert found == ["way 1", "way 2", "other", "other", "other"]
    assert told(index, 6) == {2: "way 1"}


def test_batches_follow_each_other():
    made = IndexBuilder()
    made.add(rows((1, [(1, ""), (2, WHOLE)])))
    made.add(rows((2, [(3, "")])))
    made.add(rows((3, [(4, CROP), (5, "")])))
    segment = Segment.from_arrays(
        made.arrays(), lists=1, classifications=1, derivations=made.derivations
    )
    index = MatchIndex(revision=1, lists=LISTS, classifications=(None,), segments=[segment])
    assert [told(index, value) for value in range(1, 6)] == [
        {1: ""},
        {1: WHOLE},
        {2: ""},
        {3: CROP},
        {3: ""},
    ]


def test_groups_keep_the_least_mark_of_each_owner():
    values = np.repeat(np.array([[2], [1], [2], [2], [1]], np.uint8), 16, axis=1)
    owners = np.array([5, 0, 5, 1, 0])
    groups = group_codes(values, owners, np.array([3, 4, 2, 0, 7], np.uint32))
    assert groups.rows.tolist() == [0, 1, 5]
    assert groups.marks.tolist() == [4, 0, 2]
    assert group_codes(values, owners).marks is None
    apart = group_codes(values[:2], owners[:2], np.array([3, 4], np.uint32))
    assert apart.marks.tolist() == [4, 3]


class TestRowsOfADelta:
    """Joined, chosen and put in order, codes keep how they were made."""

    FIRST = (4, [(1, ""), (2, CROP)]), (9, [(3, WHOLE)])
    SECOND = (5, [(4, "")]), (6, [(5, CROP), (6, ""), (7, "x")])

    @staticmethod
    def as_dict(batch: IndexRows) -> dict[int, list[tuple[int, str]]]:
        owners, values = batch.codes.get(PDQ, ((), ()))
        derived = dict(zip(*map(list, batch.derived.get(PDQ, ((), ()))), strict=True))
        found: dict[int, list[tuple[int, str]]] = {}
        for place, (owner, value) in enumerate(zip(owners, values, strict=True)):
            entry = int(batch.catalog_ids[owner])
            found.setdefault(entry, []).append((int(value[0]), derived.get(place, "")))
        return found

    def test_joined_and_sorted(self):
        joined = join_rows([rows(*self.FIRST), rows(), rows(*self.SECOND)])
        assert self.as_dict(joined) == dict([*self.FIRST, *self.SECOND])
        assert self.as_dict(sort_rows(joined)) == dict([*self.FIRST, *self.SECOND])
        assert sort_rows(joined).catalog_ids.tolist() == [4, 5, 6, 9]

    @pytest.mark.parametrize("kept", range(16))
    def test_chosen(self, kept):
        joined = join_rows([rows(*self.FIRST), rows(*self.SECOND)])
        wanted = np.array([bool(kept >> bit & 1) for bit in range(4)])
        expected = [
            each
            for each, is_kept in zip([*self.FIRST, *self.SECOND], wanted, strict=True)
            if is_kept
        ]
        assert self.as_dict(keep_rows(joined, wanted)) == dict(expected)
