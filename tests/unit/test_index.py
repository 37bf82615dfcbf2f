"""The index's own rules: refusals, entry rows, tables, threads. Exactness: tests/property."""

from __future__ import annotations

import copy
import dataclasses
import threading
from concurrent.futures import ThreadPoolExecutor
from types import MappingProxyType
from typing import TYPE_CHECKING
from unittest import mock

import faiss
import numpy as np
import pytest

from hashlists.errors import SnapshotError
from hashlists.model import CODE_KINDS, Classification, EntryFlag, Harm, HashKind, ListState
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import grouping
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.digest import DigestIndex, split_digests
from matcher.index.entries import EntryArrays, EntryTable
from matcher.index.flat import FlatIndex
from matcher.index.grouping import group_codes
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.photodna import PhotoDnaIndex
from matcher.index.sealed import choose_parameters
from matcher.index.segment import Segment
from matcher.index.write import write_index

if TYPE_CHECKING:
    from pathlib import Path

    from matcher.index.base import CodeIndex


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


KINDS = list(HashKind)
LISTS = (
    IndexedList("first", Harm.CSAM, ListState.LIVE, 2, {HashKind.PDQ: 2, HashKind.SHA256: 1}),
    IndexedList("second", Harm.NCII, ListState.SHADOW, 1, {}),
)
CLASSES = (Classification("", "", ""), Classification("vics", "US", "1"))


def code(kind: HashKind, value: int) -> np.ndarray:
    return np.full((1, kind.nbytes), value, np.uint8)


def rows(count: int = 3, first: int = 100, **changes) -> IndexRows:
    """`count` entries, entry `i` with the value `i` in every byte of every kind."""
    owners = np.arange(count, dtype=np.int64)
    plain = IndexRows(
        catalog_ids=owners + first,
        list_rows=(owners % 2).astype(np.uint16),
        classification_rows=(owners % 2).astype(np.uint32),
        flags=np.full(count, 5, np.uint16),
        sizes=owners - 1,
        expires=np.zeros(count, np.uint32),
        codes={
            kind: (owners, np.repeat(owners.astype(np.uint8)[:, None], kind.nbytes, axis=1))
            for kind in KINDS
        },
    )
    return dataclasses.replace(plain, **changes)


def builder(*batches: IndexRows) -> IndexBuilder:
    built = IndexBuilder()
    for batch in batches:
        built.add(batch)
    return built


def saved(root: Path, built: IndexBuilder):
    with SnapshotWriter(root, revision=4) as writer:
        write_index(writer, lists=LISTS, classifications=CLASSES, base=built)
        writer.publish({})
    return open_current(root)


def make_index(kind: HashKind, codes: np.ndarray) -> CodeIndex:
    if kind.is_digest:
        return DigestIndex(kind, *split_digests(codes))
    return PhotoDnaIndex(codes) if kind is HashKind.PHOTODNA else FlatIndex(kind, codes)


class TestQueries:
    @pytest.mark.parametrize("kind", KINDS)
    def test_nothing_is_coerced(self, kind, tmp_path):
        width = kind.nbytes
        wrong = [
            np.zeros((1, width), np.int8),
            np.zeros((1, width), np.float32),
            np.zeros((1, width + 1), np.uint8),
            np.zeros((1, width - 1), np.uint8),
            np.zeros(width, np.uint8),
            np.zeros((1, 1, width), np.uint8),
            [[0] * width],
            bytes(width),
        ]
        full = MatchIndex.open(saved(tmp_path, builder(rows())))
        for index in (make_index(kind, code(kind, 1)), make_index(kind, code(kind, 1)[:0])):
            for queries in wrong:
                with pytest.raises(ValueError, match="uint8"):
                    index.search(queries, 0)
        for index in (full, MatchIndex.empty()):
            for queries in wrong:
                with pytest.raises(ValueError, match="uint8"):
                    index.search(kind, queries, 0)

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("threshold", [-1, 1.0, "1", None])
    def test_thresholds_are_whole_numbers_from_zero(self, kind, threshold):
        with pytest.raises(ValueError, match="threshold"):
            MatchIndex.empty().search(kind, code(kind, 0), threshold)
        with pytest.raises(ValueError, match="threshold"):
            make_index(kind, code(kind, 0)).search(code(kind, 0), threshold)

    def test_digests_take_no_threshold(self):
        for index in (make_index(HashKind.MD5, code(HashKind.MD5, 0)),):
            with pytest.raises(ValueError, match="threshold for md5 is 0"):
                index.search(code(HashKind.MD5, 0), 1)
        with pytest.raises(ValueError, match="threshold for sha256 is 0"):
            MatchIndex.empty().search(HashKind.SHA256, code(HashKind.SHA256, 0), 31)

    @pytest.mark.parametrize("kind", KINDS)
    def test_strided_and_read_only_queries(self, kind):
        index = make_index(kind, np.concatenate([code(kind, value) for value in (1, 2, 3)]))
        wide = np.zeros((4, 2 * kind.nbytes), np.uint8)
        wide[:, ::2] = 2
        queries = wide[::2, ::2]
        queries.flags.writeable = False
        hits = index.search(queries, np.int64(0))
        assert hits.query_rows.tolist() == [0, 1]
        assert hits.code_rows.tolist() == [1, 1]
        assert hits.distances.tolist() == [0, 0]

    def test_no_hash_is_shown(self, tmp_path):
        index = MatchIndex.open(saved(tmp_path, builder(rows())))
        shown = [index.segments[0], index.segments[0].codes[HashKind.PDQ], rows(), index.entries]
        shown.append(index.search(HashKind.PDQ, code(HashKind.PDQ, 1), 0))
        for each in shown:
            assert "array(" not in repr(each)


class TestCodeIndexes:
    @pytest.mark.parametrize("kind", [kind for kind in KINDS if not kind.is_perceptual_code])
    def test_flat_takes_codes_only(self, kind):
        with pytest.raises(ValueError, match="Hamming"):
            FlatIndex(kind, code(kind, 0))

    @pytest.mark.parametrize("kind", CODE_KINDS)
    def test_flat_refuses_other_arrays(self, kind):
        for codes in (
            np.zeros((1, kind.nbytes), np.int8),
            np.zeros((1, kind.nbytes + 1), np.uint8),
            np.zeros(kind.nbytes, np.uint8),
        ):
            with pytest.raises(ValueError, match="uint8"):
                FlatIndex(kind, codes)
        with pytest.raises(ValueError, match="contiguous"):
            FlatIndex(kind, np.zeros((4, kind.nbytes), np.uint8)[::2])

    def test_photodna_refuses_other_arrays(self):
        for codes in (np.zeros((1, 143), np.uint8), np.zeros((1, 144)), np.zeros(144, np.uint8)):
            with pytest.raises(ValueError, match="uint8"):
                PhotoDnaIndex(codes)

    def test_digest_refuses_other_arrays(self):
        leads, tails = np.array([1, 2], np.uint64), np.zeros((2, 8), np.uint8)
        with pytest.raises(ValueError, match="not a digest"):
            DigestIndex(HashKind.PDQ, leads, tails)
        with pytest.raises(ValueError, match="leads"):
            DigestIndex(HashKind.MD5, leads.astype(np.int64), tails)
        with pytest.raises(ValueError, match="leads"):
            DigestIndex(HashKind.MD5, leads[:, None], tails)
        with pytest.raises(ValueError, match="tails"):
            DigestIndex(HashKind.MD5, leads, tails[:1])
        with pytest.raises(ValueError, match="tails"):
            DigestIndex(HashKind.SHA1, leads, tails)
        with pytest.raises(ValueError, match="sorted"):
            DigestIndex(HashKind.MD5, leads[::-1], tails)

    @pytest.mark.parametrize("kind", [HashKind.MD5, HashKind.SHA1, HashKind.SHA256])
    def test_digests_that_share_their_leading_bytes(self, kind):
        codes = np.repeat(code(kind, 255), 100, axis=0)
        codes[:, -1] = np.arange(100)
        index = make_index(kind, codes)
        hits = index.search(codes[[7, 99, 7]], 0)
        assert hits.query_rows.tolist() == [0, 1, 2]
        assert hits.code_rows.tolist() == [7, 99, 7]
        assert len(index.search(code(kind, 255), 0)) == 0

    def test_codes_are_searched_where_they_are_mapped(self, tmp_path):
        snapshot = saved(tmp_path, builder(rows()))
        index = MatchIndex.open(snapshot)
        for kind in (*CODE_KINDS, HashKind.PHOTODNA):
            mapped = snapshot.arrays[f"base.{kind}.codes"]
            assert index.segments[0].codes[kind].index._codes is mapped

    def test_faiss_uses_one_thread_in_every_thread(self):
        """FAISS' setting holds for the calling thread only, so each search makes it anew."""
        seen = []

        def search() -> None:
            FlatIndex(HashKind.PDQ, code(HashKind.PDQ, 0)).search(code(HashKind.PDQ, 0), 0)
            seen.append(faiss.omp_get_max_threads())

        threads = [threading.Thread(target=search) for _ in range(2)]
        for thread in threads:
            thread.start()
            thread.join()
        assert seen == [1, 1]

    @pytest.mark.parametrize("kind", KINDS)
    def test_many_threads_get_the_same_answers(self, kind, rng):
        codes = rng.integers(0, 256, (5000, kind.nbytes), dtype=np.uint8)
        if kind.is_digest:
            codes = codes[np.lexsort(codes.T[::-1])]
        index = make_index(kind, codes)
        batches = [codes[start : start + 16] for start in range(0, 640, 16)]
        threshold = 0 if kind.is_digest else 3 * kind.nbytes
        alone = [index.search(batch, threshold) for batch in batches]
        with ThreadPoolExecutor(4) as pool:
            together = list(pool.map(lambda batch: index.search(batch, threshold), batches))
        for one, other in zip(alone, together, strict=True):
            np.testing.assert_array_equal(one.query_rows, other.query_rows)
            np.testing.assert_array_equal(one.code_rows, other.code_rows)
            np.testing.assert_array_equal(one.distances, other.distances)
        assert sum(map(len, alone)) >= 640


class TestEntries:
    def test_what_is_known_of_an_entry(self, tmp_path):
        index = MatchIndex.open(saved(tmp_path, builder(rows(2), rows(2, first=200))))
        assert len(index.entries) == 4
        first, second = index.entry(2), index.entry(3)
        assert (first.list_row, first.catalog_id, first.size) == (0, 200, None)
        assert first.classification is None
        assert first.flags == EntryFlag.VICTIM_IDENTIFIED | EntryFlag.SERIES
        assert (second.list_row, second.catalog_id, second.size) == (1, 201, 0)
        assert second.classification == CLASSES[1]
        counts = dict.fromkeys(KINDS, 1)  # a code in two entries of one list is one code
        assert index.lists == tuple(dataclasses.replace(each, counts=counts) for each in LISTS)
        assert index.classifications == (None, CLASSES[1])

    @pytest.mark.parametrize("row", [-1, 3, 2**40])
    def test_rows_outside_the_table(self, tmp_path, row):
        index = MatchIndex.open(saved(tmp_path, builder(rows())))
        with pytest.raises(IndexError):
            index.entry(row)
        with pytest.raises(IndexError):
            index.entries.take(np.array([0, row]))
        with pytest.raises(IndexError):
            MatchIndex.empty().entry(0)

    def test_segments_of_every_size_are_numbered_through(self):
        def part(start: int, count: int) -> EntryArrays:
            numbers = np.arange(start, start + count)
            narrow = numbers.astype(np.uint16)
            wide = numbers.astype(np.uint32)
            return EntryArrays(numbers, narrow, wide, narrow, numbers, wide)

        table = EntryTable([part(0, 0), part(0, 2), part(2, 0), part(2, 3), part(5, 0)])
        assert table.starts == (0, 0, 2, 2, 5)
        assert len(table) == 5
        taken = table.take(np.array([4, 0, 2, 1, 3, 4]))
        for column in dataclasses.fields(EntryArrays):
            assert getattr(taken, column.name).tolist() == [4, 0, 2, 1, 3, 4]
        assert [table.locate(row)[0].sizes[table.locate(row)[1]] for row in range(5)] == [*range(5)]
        assert len(table.take(np.empty(0, np.int64))) == 0
        assert len(EntryTable([])) == 0


class TestEmpty:
    def test_an_index_of_nothing(self, tmp_path):
        for index, revision in (
            (MatchIndex.empty(), 0),
            (MatchIndex.open(saved(tmp_path / "none", builder())), 4),
            (MatchIndex.open(saved(tmp_path / "zero", builder(rows(0)))), 4),
        ):
            assert index.revision == revision
            assert len(index.entries) == 0
            for kind in KINDS:
                assert index.code_count(kind) == 0
                assert len(index.search(kind, code(kind, 0), 0)) == 0
                assert len(index.search(kind, code(kind, 0)[:0], 0)) == 0

    def test_entries_without_codes(self, tmp_path):
        index = MatchIndex.open(saved(tmp_path, builder(rows(2, codes={}))))
        assert len(index.entries) == 2
        assert len(index.search(HashKind.PDQ, code(HashKind.PDQ, 0), 256)) == 0

    def test_no_classifications_at_all(self, tmp_path):
        with SnapshotWriter(tmp_path, revision=1) as writer:
            plain = rows(1)
            write_index(writer, lists=LISTS, classifications=(), base=builder(plain))
            writer.publish({})
        assert MatchIndex.open(open_current(tmp_path)).entry(0).classification is None


class TestBuilding:
    def test_an_entry_is_found_once_at_its_nearest_code(self, tmp_path):
        kind = HashKind.PDQ
        values = np.zeros((4, 32), np.uint8)
        values[1, 0], values[2, 0] = 0b111, 0b1  # entry 0 at distances 0, 3 and 1, entry 1 at 0
        owners = np.array([0, 0, 0, 1])
        index = MatchIndex.open(
            saved(tmp_path, builder(rows(2, codes={kind: (owners, values)}))),
        )
        found = index.search(kind, np.zeros((2, 32), np.uint8), 3)
        assert found.query_rows.tolist() == [0, 0, 1, 1]
        assert found.entry_rows.tolist() == [0, 1, 0, 1]
        assert found.distances.tolist() == [0, 0, 0, 0]
        away = np.zeros((1, 32), np.uint8)
        away[0, 0] = 0b1
        assert index.search(kind, away, 0).entry_rows.tolist() == [0]
        assert index.search(kind, away, 1).distances.tolist() == [0, 1]

    def test_a_code_in_several_lists_is_stored_once(self, tmp_path):
        kind = HashKind.SHA256
        values = np.repeat(code(kind, 7), 3, axis=0)
        index = MatchIndex.open(
            saved(tmp_path, builder(rows(3, codes={kind: (np.array([2, 0, 1]), values)}))),
        )
        assert index.code_count(kind) == 1
        found = index.search(kind, code(kind, 7), 0)
        assert found.entry_rows.tolist() == [0, 1, 2]
        assert [index.entry(row).list_row for row in found.entry_rows.tolist()] == [0, 1, 0]

    @pytest.mark.parametrize("kind", KINDS)
    def test_codes_are_grouped_in_the_order_of_their_bytes(self, kind, rng):
        values = rng.integers(0, 256, (200, kind.nbytes), dtype=np.uint8)
        values[:100] = values[0]  # ties in the leading bytes, told apart by the last or not at all
        values[:60, -1] = rng.integers(0, 8, 60)
        owners = rng.integers(0, 50, 200)
        groups = group_codes(values, owners)
        codes, offsets, entry_rows = values[groups.picked], groups.offsets, groups.rows
        wanted: dict[bytes, set[int]] = {}
        for value, owner in zip(values, owners.tolist(), strict=True):
            wanted.setdefault(value.tobytes(), set()).add(owner)
        assert [each.tobytes() for each in codes] == sorted(wanted)
        assert (codes.dtype, offsets.dtype, entry_rows.dtype) == (np.uint8, np.uint32, np.uint32)
        carried = np.split(entry_rows, offsets[1:-1])
        assert [group.tolist() for group in carried] == [
            sorted(wanted[key]) for key in sorted(wanted)
        ]

    @pytest.mark.parametrize(
        "changes",
        [
            {"catalog_ids": np.zeros(3, np.int32)},
            {"list_rows": np.zeros(3, np.int64)},
            {"flags": np.zeros(2, np.uint16)},
            {"sizes": np.zeros((3, 1), np.int64)},
            {"expires": np.zeros(3, np.int64)},
            {"catalog_ids": np.array([200, 200, 201])},
            {"catalog_ids": np.array([202, 200, 201])},
            {"catalog_ids": np.array([101, 200, 201])},
            {"codes": {HashKind.PDQ: (np.zeros(1, np.int64), np.zeros((1, 31), np.uint8))}},
            {"codes": {HashKind.PDQ: (np.zeros(1, np.int64), np.zeros((2, 32), np.uint8))}},
            {"codes": {HashKind.PDQ: (np.zeros(1, np.int64), np.zeros((1, 32), np.int8))}},
            {"codes": {HashKind.PDQ: (np.zeros(1, np.int32), np.zeros((1, 32), np.uint8))}},
            {"codes": {HashKind.PDQ: (np.zeros((1, 1), np.int64), np.zeros((1, 32), np.uint8))}},
            {"codes": {HashKind.MD5: (np.array([3]), np.zeros((1, 16), np.uint8))}},
            {"codes": {HashKind.MD5: (np.array([-1]), np.zeros((1, 16), np.uint8))}},
        ],
    )
    def test_wrong_rows_are_refused_whole(self, changes):
        built = builder(rows(2))
        with pytest.raises(ValueError):
            built.add(rows(3, **{"first": 200, **changes}))
        assert len(built) == 2
        assert len(Segment.from_arrays(built.arrays(), lists=2, classifications=2).entries) == 2

    def test_rows_must_refer_to_lists_and_classifications(self, tmp_path):
        for lists, classifications, word in (
            (LISTS[:1], CLASSES, "list_rows"),
            (LISTS, CLASSES[:1], "classification_rows"),
            ((LISTS[0], LISTS[0]), CLASSES, "one name"),
        ):
            with (
                SnapshotWriter(tmp_path, revision=1) as writer,
                pytest.raises(ValueError, match=word),
            ):
                write_index(
                    writer, lists=lists, classifications=classifications, base=builder(rows())
                )

    def test_row_numbers_have_32_bits(self, monkeypatch):
        monkeypatch.setattr("matcher.index.build.MAX_ROWS", 4)
        monkeypatch.setattr(grouping, "MAX_ROWS", 4)
        built = builder(rows(3))
        with pytest.raises(ValueError, match="at most 4 entries"):
            built.add(rows(2))
        with pytest.raises(ValueError, match="at most 4 codes"):
            group_codes(np.zeros((5, 8), np.uint8), np.zeros(5, np.int64))


class TestAssembling:
    def test_hidden_rows_must_exist(self):
        with pytest.raises(ValueError, match="hidden"):
            MatchIndex(
                revision=1,
                lists=(),
                classifications=(None,),
                segments=(),
                hidden=np.array([0]),
            )

    def test_tables_may_grow_but_not_shrink(self):
        segment = Segment.from_arrays(builder(rows()).arrays(), lists=2, classifications=2)
        index = MatchIndex(
            revision=1,
            lists=(*LISTS, LISTS[0]),
            classifications=(None, CLASSES[1], None),
            segments=[segment],
        )
        assert index.entry(1).classification == CLASSES[1]
        with pytest.raises(ValueError, match="longer tables"):
            MatchIndex(
                revision=1, lists=LISTS[:1], classifications=(None, None), segments=[segment]
            )


def changed_kind(snapshot, kind: str, key: str, value) -> dict:
    """The document `index` with one statement on one kind of its base changed."""
    document = copy.deepcopy(snapshot.documents["index"])
    document["segments"]["base"]["kinds"][kind][key] = value
    return document


class TestWrongSnapshots:
    """A snapshot whose digests are right and whose content is not that of an index."""

    def refused(self, snapshot, word: str, *, arrays=None, documents=None, drop: str = "") -> None:
        changed = dataclasses.replace(
            snapshot,
            arrays=MappingProxyType(
                {k: v for k, v in {**snapshot.arrays, **(arrays or {})}.items() if k != drop},
            ),
            documents=MappingProxyType(
                {k: v for k, v in {**snapshot.documents, **(documents or {})}.items() if k != drop},
            ),
        )
        with pytest.raises(SnapshotError, match=word) as caught:
            MatchIndex.open(changed)
        assert snapshot.path.name in str(caught.value)

    @pytest.fixture
    def snapshot(self, tmp_path):
        return saved(tmp_path, builder(rows()))

    def test_any_missing_piece(self, snapshot):
        for name in (*snapshot.arrays, *snapshot.documents):
            self.refused(snapshot, "not an index", drop=name)

    def test_any_array_of_another_length_or_dtype(self, snapshot):
        for name, array in snapshot.arrays.items():
            self.refused(snapshot, "not an index", arrays={name: array[:-1]})
            self.refused(snapshot, "not an index", arrays={name: array.astype(np.float64)})
            self.refused(snapshot, "not an index", arrays={name: array[:, None]})

    def test_an_array_too_many(self, snapshot):
        self.refused(snapshot, "not known", arrays={"base.pdq.chunks": np.zeros(1, np.uint8)})

    def test_a_kind_that_is_left_out_is_noticed(self, snapshot):
        """Its lists would silently not match."""
        left = {name: v for name, v in snapshot.arrays.items() if not name.startswith("base.pdq.")}
        changed = dataclasses.replace(snapshot, arrays=MappingProxyType(left))
        with pytest.raises(SnapshotError, match=r"pdq\.codes is missing"):
            MatchIndex.open(changed)

    @pytest.mark.parametrize(
        ("name", "values", "word"),
        [
            ("base.entries.list_row", [0, 1, 2], "row 2 of 2"),
            ("base.entries.classification_row", [0, 9, 1], "row 9 of 2"),
            ("base.pdq.entry_rows", [0, 1, 3], "row 3 of 3"),
            ("base.md5.entry_offsets", [0, 2, 1, 3], "ascend"),
            ("base.md5.entry_offsets", [0, 1, 1, 3], "ascend"),
            ("base.md5.entry_offsets", [1, 2, 3, 3], "ascend"),
            ("base.md5.entry_offsets", [0, 1, 2, 4], "ascend"),
            ("base.md5.entry_offsets", [0, 1, 3], "fit"),
            ("base.sha1.leads", [2, 1, 3], "sorted"),
        ],
    )
    def test_arrays_that_contradict_each_other(self, snapshot, name, values, word):
        dtype = snapshot.arrays[name].dtype
        self.refused(snapshot, word, arrays={name: np.array(values, dtype)})

    @pytest.mark.parametrize(
        ("name", "document"),
        [
            ("index", {}),
            ("index", []),
            ("index", None),
            ("index", {"layout": 2, "entries": 3, "kinds": {}}),
            ("index", {"layout": 5, "segments": {}}),
            *(
                ("index", {"layout": layout, **more})
                for layout in (3, 4)
                for more in (
                    {},
                    {"segments": {}},
                    {"segments": {"base": {}}},
                    {"segments": {"base": None}},
                    {"segments": {"base": {"entries": 3, "dead": 0, "kinds": {}}}},
                )
            ),
            ("lists", {}),
            ("lists", []),
            ("lists", [None, None]),
            ("lists", [{"name": "x"}, {"name": "y"}]),
            ("classifications", []),
            ("classifications", [["a", "b", "c"], None]),
            ("classifications", [None, ["a", "b"]]),
            ("classifications", [None, ["a", "b", 3]]),
            ("classifications", [None, "abc"]),
            ("classifications", {"0": None}),
        ],
    )
    def test_documents_of_another_form(self, snapshot, name, document):
        self.refused(snapshot, "not an index", documents={name: document})

    @pytest.mark.parametrize(
        "change",
        [
            {"harm": "unheard of"},
            {"state": "asleep"},
            {"entries": -1},
            {"entries": "3"},
            {"counts": {"crc32": 1}},
            {"counts": {"pdq": 1.5}},
            {"counts": []},
            {"name": None},
        ],
    )
    def test_lists_of_another_form(self, snapshot, change):
        lists = [dict(each) for each in snapshot.documents["lists"]]
        lists[1].update(change)
        self.refused(snapshot, "not an index", documents={"lists": lists})

    def test_the_metric_stands_in_the_document(self, snapshot):
        """The document states the metric of each kind, so that another one is noticed."""
        kinds = snapshot.documents["index"]["segments"]["base"]["kinds"]
        for kind, distance in (
            ("pdq", "hamming"),
            ("photodna", "squared_l2"),
            ("sha1", "equality"),
        ):
            search = choose_parameters(HashKind(kind), 3)
            assert kinds[kind] == {"codes": 3, "distance": distance, "search": search}
            self.refused(
                snapshot,
                "not describe",
                documents={"index": changed_kind(snapshot, kind, "distance", "other")},
            )
            for other in ({"method": "guessing"}, {}, {**search, "more": 1}):
                self.refused(
                    snapshot,
                    "not an index",
                    documents={"index": changed_kind(snapshot, kind, "search", other)},
                )
