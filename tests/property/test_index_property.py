"""The index against brute force, for every kind, before and after it was saved and loaded."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from unittest import mock

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import (
    CODE64_KINDS,
    CODE_KINDS,
    DIGEST_KINDS,
    Harm,
    HashKind,
    ListState,
)
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import photodna
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.digest import DigestIndex, split_digests
from matcher.index.flat import FlatIndex
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.photodna import MAX_DISTANCE, PhotoDnaIndex
from matcher.index.segment import Segment
from matcher.index.write import write_index


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


SIZES = [0, 1, 2, 3, 7, 8, 9, 63, 64, 65, 255, 256, 257]
SHAPES = ["random", "identical", "cluster", "twins"]
BATCHES = [0, 1, 2, 5, 33]
KINDS = list(HashKind)


def oracle(kind: HashKind, queries: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """All distances (Q, N), worked out without anything of the index."""
    if kind is HashKind.PHOTODNA:
        difference = queries[:, None].astype(np.int64) - codes[None]
        return (difference**2).sum(axis=2)
    bits = np.bitwise_count(queries[:, None] ^ codes[None]).sum(axis=2, dtype=np.int64)
    if kind.is_digest:
        return np.where(bits == 0, 0, 10**6)
    return bits


def make_codes(rng: np.random.Generator, kind: HashKind, size: int, shape: str) -> np.ndarray:
    codes = rng.integers(0, 256, (size, kind.nbytes), dtype=np.uint8)
    if shape == "random" or size == 0:
        return codes
    if shape == "identical":
        return np.repeat(codes[:1], size, axis=0)
    if shape == "twins":  # the same codes, each about twice
        return codes[rng.integers(0, (size + 1) // 2, size)]
    near = np.repeat(codes[:1], size, axis=0)  # a cluster around one centre
    for row in range(size):
        for position in rng.integers(0, kind.nbytes, rng.integers(0, 12)):
            near[row, position] ^= np.uint8(1 << rng.integers(0, 8))
    return near


def make_queries(
    rng: np.random.Generator,
    kind: HashKind,
    codes: np.ndarray,
    count: int,
) -> np.ndarray:
    """Half of them close to what is there."""
    queries = rng.integers(0, 256, (count, kind.nbytes), dtype=np.uint8)
    if len(codes):
        known = codes[rng.integers(0, len(codes), count)]
        flips = np.packbits(rng.random((count, 8 * kind.nbytes)) < rng.choice([0, 0.05]), axis=1)
        queries = np.where(rng.random(count)[:, None] < 0.5, known ^ flips, queries)
    return np.ascontiguousarray(queries)


def make_threshold(rng: np.random.Generator, kind: HashKind, distances: np.ndarray) -> int:
    """Often exactly a distance that occurs, or one beside it: the edge is where errors are."""
    if kind.is_digest:
        return 0
    if distances.size and rng.random() < 0.7:
        return max(0, int(rng.choice(distances.ravel())) + int(rng.integers(-1, 2)))
    return int(rng.integers(0, 257 if kind.is_perceptual_code else MAX_DISTANCE + 2))


def make_index(kind: HashKind, codes: np.ndarray):
    if kind.is_digest:
        codes = codes[np.lexsort(codes.T[::-1])] if len(codes) else codes
        return DigestIndex(kind, *split_digests(codes)), codes
    return (PhotoDnaIndex(codes) if kind is HashKind.PHOTODNA else FlatIndex(kind, codes)), codes


@pytest.mark.parametrize("kind", KINDS)
@given(
    size=st.sampled_from(SIZES),
    shape=st.sampled_from(SHAPES),
    batch=st.sampled_from(BATCHES),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_code_index_finds_what_brute_force_finds(kind, size, shape, batch, seed):
    rng = np.random.default_rng(seed)
    index, codes = make_index(kind, make_codes(rng, kind, size, shape))
    queries = make_queries(rng, kind, codes, batch)
    distances = oracle(kind, queries, codes)
    threshold = make_threshold(rng, kind, distances)
    hits = index.search(queries, threshold)
    assert len(index) == size
    assert index.kind is kind
    assert hits.query_rows.dtype == hits.code_rows.dtype == np.int64
    assert hits.distances.dtype == (np.uint32 if kind is HashKind.PHOTODNA else np.uint16)
    found = sorted(zip(hits.query_rows.tolist(), hits.code_rows.tolist(), strict=True))
    assert found == list(
        zip(*(each.tolist() for each in np.nonzero(distances <= threshold)), strict=True)
    )
    np.testing.assert_array_equal(hits.distances, distances[hits.query_rows, hits.code_rows])


@pytest.mark.parametrize("kind", CODE_KINDS)
def test_every_threshold_is_inclusive(kind, rng):
    bits = 8 * kind.nbytes
    ladder = np.zeros((bits + 1, kind.nbytes), np.uint8)  # row i differs from 0 in i bits
    for row in range(bits + 1):
        ladder[row] = np.packbits(np.arange(bits) < row)
    index = FlatIndex(kind, ladder)
    query = np.zeros((1, kind.nbytes), np.uint8)
    for threshold in range(bits + 1):
        hits = index.search(query, threshold)
        assert sorted(hits.distances.tolist()) == list(range(threshold + 1))
    assert len(index.search(query, bits + 1)) == bits + 1
    assert len(index.search(query, 10**30)) == bits + 1


@pytest.mark.parametrize("kind", CODE_KINDS)
@given(seed=st.integers(0, 2**32 - 1), threshold=st.integers(0, 256))
def test_the_flat_index_agrees_with_faiss(kind, seed, threshold):
    rng = np.random.default_rng(seed)
    codes = make_codes(rng, kind, 300, str(rng.choice(SHAPES)))
    queries = make_queries(rng, kind, codes, 7)
    reference = faiss.IndexBinaryFlat(8 * kind.nbytes)
    reference.add(codes)
    limits, distances, labels = reference.range_search(queries, threshold + 1)
    expected = sorted(
        zip(np.repeat(range(7), np.diff(limits.astype(int))), labels, distances, strict=True),
    )
    hits = FlatIndex(kind, codes).search(queries, threshold)
    assert sorted(zip(hits.query_rows, hits.code_rows, hits.distances, strict=True)) == expected


@given(seed=st.integers(0, 2**32 - 1), threshold=st.integers(0, 2_000_000))
def test_photodna_agrees_with_faiss(seed, threshold):
    rng = np.random.default_rng(seed)
    codes = make_codes(rng, HashKind.PHOTODNA, 200, str(rng.choice(SHAPES)))
    queries = make_queries(rng, HashKind.PHOTODNA, codes, 5)
    reference = faiss.IndexFlatL2(144)
    reference.add(codes.astype(np.float32))
    # Fewer than 20 queries: FAISS sums differences, which is exact in float32 here.
    limits, distances, labels = reference.range_search(queries.astype(np.float32), threshold + 0.5)
    expected = sorted(
        zip(np.repeat(range(5), np.diff(limits.astype(int))), labels, distances, strict=True),
    )
    hits = PhotoDnaIndex(codes).search(queries, threshold)
    assert sorted(zip(hits.query_rows, hits.code_rows, hits.distances, strict=True)) == expected


@given(
    seed=st.integers(0, 2**32 - 1),
    low=st.integers(0, 255),
    high=st.integers(0, 255),
    spread=st.integers(0, 3),
    share=st.sampled_from([photodna._DENSE_SHARE, -1.0, 1.0]),  # either second stage, always
)
def test_photodna_is_exact_at_the_edges_of_its_range(seed, low, high, spread, share):
    """Hashes near the corners of the range: the largest norms, sums and distances there are."""
    rng = np.random.default_rng(seed)
    base = np.where(rng.random((40, 144)) < rng.random(), low, high)
    codes = np.clip(base + rng.integers(-spread, spread + 1, (40, 144)), 0, 255).astype(np.uint8)
    codes[:2] = [[0], [255]]
    queries = codes[:6].copy()
    distances = oracle(HashKind.PHOTODNA, queries, codes)
    index = PhotoDnaIndex(codes)
    for threshold in {0, 1, *rng.choice(distances.ravel(), 3).tolist(), MAX_DISTANCE}:
        for near in (threshold - 1, threshold):
            if near >= 0:
                with mock.patch.object(photodna, "_DENSE_SHARE", share):
                    hits = index.search(queries, near)
                found = np.zeros_like(distances, dtype=bool)
                found[hits.query_rows, hits.code_rows] = True
                np.testing.assert_array_equal(found, distances <= near)
                np.testing.assert_array_equal(
                    hits.distances,
                    distances[hits.query_rows, hits.code_rows],
                )


# ------------------------------------------------------------------------------- the whole index


def make_rows(rng: np.random.Generator, entries: int, shape: str, first: int = 1) -> IndexRows:
    """Entries of two lists; some carry several codes of a kind, some none, some share one."""
    codes = {}
    for kind in KINDS:
        if rng.random() < 0.25:
            continue
        owners = np.flatnonzero(rng.random(entries) < 0.8)
        if entries and rng.random() < 0.5:
            owners = np.concatenate([owners, rng.integers(0, entries, 1 + entries // 4)])
        rng.shuffle(owners)
        codes[kind] = (owners.astype(np.int64), make_codes(rng, kind, len(owners), shape))
    return IndexRows(
        catalog_ids=first + np.cumsum(rng.integers(1, 2**40, entries)),
        list_rows=rng.integers(0, 2, entries, dtype=np.uint16),
        classification_rows=rng.integers(0, 2, entries, dtype=np.uint32),
        flags=rng.integers(0, 256, entries, dtype=np.uint16),
        sizes=rng.integers(-1, 2**40, entries),
        expires=rng.integers(0, 9, entries, dtype=np.uint32),
        codes=codes,
    )


def make_batches(rng: np.random.Generator, sizes: list[int], shape: str) -> list[IndexRows]:
    """Batches whose catalog ids ascend from one to the next."""
    return [
        make_rows(rng, size, shape, first=1 + number * 2**50) for number, size in enumerate(sizes)
    ]


def join_rows(parts: list[IndexRows]) -> IndexRows:
    """The same entries in one batch."""
    starts = np.cumsum([0, *(len(part.catalog_ids) for part in parts)])
    codes = {}
    for kind in KINDS:
        pairs = [
            (part.codes[kind][0] + start, part.codes[kind][1])
            for part, start in zip(parts, starts[:-1], strict=True)
            if kind in part.codes
        ]
        if pairs:
            codes[kind] = tuple(np.concatenate(each) for each in zip(*pairs, strict=True))
    columns = ("catalog_ids", "list_rows", "classification_rows", "flags", "sizes", "expires")
    return IndexRows(
        **{name: np.concatenate([getattr(part, name) for part in parts]) for name in columns},
        codes=codes,
    )


def expected(rows: IndexRows, kind: HashKind, queries: np.ndarray, threshold: int, hidden=()):
    """(query, entry) -> smallest distance, by brute force."""
    if kind not in rows.codes:
        return {}
    owners, codes = rows.codes[kind]
    distances = oracle(kind, queries, codes)
    best: dict[tuple[int, int], int] = {}
    for query, code in zip(*np.nonzero(distances <= threshold), strict=True):
        pair = (int(query), int(owners[code]))
        if pair[1] not in hidden:
            best[pair] = min(best.get(pair, 10**9), int(distances[query, code]))
    return best


def check_search(index: MatchIndex, rows: IndexRows, rng: np.random.Generator, hidden=()) -> None:
    for kind in KINDS:
        codes = rows.codes[kind][1] if kind in rows.codes else np.empty((0, kind.nbytes), np.uint8)
        queries = make_queries(rng, kind, codes, int(rng.choice(BATCHES)))
        threshold = make_threshold(rng, kind, oracle(kind, queries, codes))
        found = index.search(kind, queries, threshold)
        assert found.query_rows.dtype == found.entry_rows.dtype == np.int64
        assert found.distances.dtype == np.uint32
        assert (np.diff(found.query_rows) >= 0).all()
        pairs = list(zip(found.query_rows.tolist(), found.entry_rows.tolist(), strict=True))
        assert len(set(pairs)) == len(pairs), "an entry occurs once for a query"
        assert dict(zip(pairs, found.distances.tolist(), strict=True)) == expected(
            rows,
            kind,
            queries,
            threshold,
            hidden,
        )


LISTS = [
    IndexedList("one", Harm.TEST, ListState.LIVE, 3, {HashKind.PDQ: 3}),
    IndexedList("two", Harm.CSAM, ListState.SHADOW, 0, {}),
]


def build(parts: list[IndexRows]) -> IndexBuilder:
    builder = IndexBuilder()
    for part in parts:
        builder.add(part)
    return builder


def distinct_codes(rows: IndexRows, list_row: int) -> dict[HashKind, int]:
    """How many different codes of each kind stand in one list."""
    counts = {
        kind: len(
            {
                code.tobytes()
                for owner, code in zip(*pair, strict=True)
                if rows.list_rows[owner] == list_row
            }
        )
        for kind, pair in rows.codes.items()
    }
    return {kind: count for kind, count in counts.items() if count}


def segment_of(rows: IndexRows) -> Segment:
    return Segment.from_arrays(build([rows]).arrays(), lists=2, classifications=2)


sizes = st.sampled_from([0, 1, 2, 4, 5, 8, 9, 31, 32, 33])


@given(
    parts=st.lists(sizes, min_size=1, max_size=3),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_an_index_finds_what_brute_force_finds_before_and_after_saving(parts, shape, seed):
    rng = np.random.default_rng(seed)
    batches = make_batches(rng, parts, shape)
    rows = join_rows(batches)
    unsaved = MatchIndex(
        revision=1,
        lists=LISTS,
        classifications=(None, None),
        segments=[Segment.from_arrays(build(batches).arrays(), lists=2, classifications=2)],
    )
    check_search(unsaved, rows, rng)
    with tempfile.TemporaryDirectory() as root:
        with SnapshotWriter(Path(root), revision=9) as writer:
            write_index(writer, lists=LISTS, classifications=(None, None), base=build(batches))
            writer.publish({})
        index = MatchIndex.open(open_current(Path(root)))
    assert index.revision == 9
    assert index.lists == tuple(
        replace(each, counts=distinct_codes(rows, row)) for row, each in enumerate(LISTS)
    )
    assert len(index.entries) == sum(parts)
    for kind in KINDS:
        distinct = {code.tobytes() for code in rows.codes[kind][1]} if kind in rows.codes else set()
        assert index.code_count(kind) == len(distinct)
    check_search(index, rows, rng)
    for row in range(len(index.entries)):
        assert index.entry(row).catalog_id == rows.catalog_ids[row]


@given(
    parts=st.lists(sizes, max_size=4),
    shape=st.sampled_from(SHAPES),
    seed=st.integers(0, 2**32 - 1),
)
def test_segments_side_by_side_answer_as_one(parts, shape, seed):
    rng = np.random.default_rng(seed)
    batches = [make_rows(rng, size, shape) for size in parts]
    total = sum(parts)
    retracted = rng.integers(0, total, total // 3) if total else np.empty(0, np.int64)
    index = MatchIndex(
        revision=1,
        lists=LISTS,
        classifications=(None, None),
        segments=[segment_of(batch) for batch in batches],
        hidden=retracted,
    )
    rows = join_rows(batches) if batches else make_rows(rng, 0, "random")
    check_search(index, rows, rng, hidden=set(retracted.tolist()))
    wanted = rng.integers(0, total, 20) if total else np.empty(0, np.int64)
    np.testing.assert_array_equal(index.entries.take(wanted).catalog_ids, rows.catalog_ids[wanted])
    for row in wanted.tolist():
        assert index.entry(row).catalog_id == rows.catalog_ids[row]


@pytest.mark.parametrize(
    "kind", [HashKind.PDQ, CODE64_KINDS[0], DIGEST_KINDS[0], HashKind.PHOTODNA]
)
@pytest.mark.parametrize("size", [4095, 4096, 4097, 40_000])
def test_blocks_meet_without_a_gap(kind, size, rng):
    """More codes than one block holds: each is found at its own row, at either side of a seam."""
    if kind is HashKind.PHOTODNA:
        size = min(size, 10_000)
    index, codes = make_index(kind, make_codes(rng, kind, size, "random"))
    seams = {0, 1, 4095, 4096, 8191, 8192, 32_767, 32_768, 32_769, size - 2, size - 1}
    rows = sorted(row for row in seams if 0 <= row < size)
    for batch in (rows, rows[-1:]):
        hits = index.search(codes[batch], 0)
        assert dict(zip(hits.query_rows.tolist(), hits.code_rows.tolist(), strict=True)) == dict(
            enumerate(batch),
        )


def test_photodna_queries_meet_without_a_gap(rng):
    codes = make_codes(rng, HashKind.PHOTODNA, 700, "random")
    hits = PhotoDnaIndex(codes).search(codes, 0)
    assert sorted(zip(hits.query_rows.tolist(), hits.code_rows.tolist(), strict=True)) == [
        (row, row) for row in range(700)
    ]
