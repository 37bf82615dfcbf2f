"""Multi-index hashing against FAISS' flat index: in memory, and saved and opened.

Chunks are made narrow, and pieces and blocks short, so that small sets go all the ways that
millions of codes go: probing and scanning in one batch, queries handled alone, pieces that cut the
codes of a key.
"""

from __future__ import annotations

import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from unittest import mock

import faiss
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import HashKind
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import multi_index, sealed
from matcher.index.cost import CODE_BITS, MEASURED, plan_probes
from matcher.index.multi_index import MultiIndex, build_chunks

SIZES = [0, 1, 2, 3, 7, 8, 9, 127, 128, 129, 255, 256, 257]
SHAPES = ["random", "identical", "cluster", "shared start", "shared end"]
THRESHOLDS = [0, 1, 5, 31, 43, 64, 128, 200, 255, 256, 300]
#: Never scans a whole batch; a query with over three candidates a code is scanned.
PROBING = replace(MEASURED, scan_call=1e12, compared_code=3.0, candidate=1.0)
NEVER_SCANNING = replace(PROBING, candidate=1e-9)

widths = st.one_of(
    st.lists(st.integers(1, 10), min_size=1, max_size=12),
    st.sampled_from([[8] * 32, [16] * 16, [12] * 21, [9, 3, 11], [17, 14, 14, 15]]),
)


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


def in_order(codes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(codes[np.lexsort(codes.T[::-1])])


def make_codes(rng: np.random.Generator, size: int, shape: str) -> np.ndarray:
    codes = rng.integers(0, 256, (size, 32), dtype=np.uint8)
    if size == 0 or shape == "random":
        return in_order(codes)
    if shape == "identical":
        return np.repeat(codes[:1], size, axis=0)
    if shape == "cluster":
        flips = np.packbits(rng.random((size, CODE_BITS)) < rng.choice([0.01, 0.05, 0.1]), axis=1)
        return in_order(codes[:1] ^ flips)
    part = slice(0, 24) if shape == "shared start" else slice(8, 32)
    codes[:, part] = codes[0, part]
    return in_order(codes)


def make_queries(rng: np.random.Generator, codes: np.ndarray, count: int) -> np.ndarray:
    """Some of them codes, some close to one, some anywhere, some as far from one as can be."""
    queries = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    for row in range(count if len(codes) else 0):
        flips = np.packbits(rng.random(CODE_BITS) < rng.choice([0, 0.02, 0.12, 0.5, 0.99, 1]))
        queries[row] = codes[rng.integers(0, len(codes))] ^ flips
    return queries


def by_faiss(codes: np.ndarray, queries: np.ndarray, threshold: int) -> list[tuple[int, int, int]]:
    flat = faiss.IndexBinaryFlat(CODE_BITS)
    flat.add(codes)
    limits, distances, labels = flat.range_search(queries, min(threshold, CODE_BITS) + 1)
    rows = np.repeat(np.arange(len(queries)), np.diff(limits.astype(np.int64)))
    return sorted(zip(rows.tolist(), labels.tolist(), distances.tolist(), strict=True))


def check_index(index, codes: np.ndarray, queries: np.ndarray, threshold: int) -> None:
    hits = index.search(queries, threshold)
    assert (hits.query_rows.dtype, hits.code_rows.dtype) == (np.int64, np.int64)
    assert hits.distances.dtype == np.uint16
    found = zip(
        hits.query_rows.tolist(),
        hits.code_rows.tolist(),
        hits.distances.tolist(),
        strict=True,
    )
    assert sorted(found) == (by_faiss(codes, queries, threshold) if len(queries) else [])


@given(
    size=st.sampled_from(SIZES),
    shape=st.sampled_from(SHAPES),
    chunk_bits=widths,
    batch=st.sampled_from([0, 1, 2, 5, 33]),
    threshold=st.one_of(st.sampled_from(THRESHOLDS), st.integers(0, CODE_BITS)),
    cost=st.sampled_from([PROBING, NEVER_SCANNING, MEASURED]),
    limits=st.fixed_dictionaries(
        {
            "_PIECE": st.sampled_from([1, 3, 64, 1 << 14]),
            "_MANY_CANDIDATES": st.sampled_from([0, 10, 1 << 14]),
            "_BLOCK_PROBES": st.sampled_from([1, 5000, 1 << 15]),
        },
    ),
    seed=st.integers(0, 2**32 - 1),
)
def test_it_finds_what_the_flat_index_finds(  # noqa: PLR0917  # each drawn by itself
    size, shape, chunk_bits, batch, threshold, cost, limits, seed
):
    rng = np.random.default_rng(seed)
    codes = make_codes(rng, size, shape)
    queries = make_queries(rng, codes, batch)
    if limits["_PIECE"] < 64:
        codes, queries = codes[:40], queries[:3]
    index = MultiIndex(codes, list(build_chunks(codes, chunk_bits)), cost=cost)
    assert len(index) == len(codes)
    assert index.kind is HashKind.PDQ
    with mock.patch.multiple(multi_index, **limits):
        check_index(index, codes, queries, threshold)


@given(
    chunk_bits=st.lists(st.integers(2, 12), min_size=2, max_size=20),
    threshold=st.integers(0, 40),
    seed=st.integers(0, 2**32 - 1),
)
def test_a_code_that_only_one_chunk_can_find_is_found(chunk_bits, threshold, seed):
    """The hardest case of the pigeonhole principle: every other chunk is one bit too far away."""
    rng = np.random.default_rng(seed)
    plan = plan_probes(tuple(chunk_bits), 1000, threshold, PROBING)
    starts = np.cumsum([0, *chunk_bits[:-1]])
    query = rng.integers(0, 256, 32, dtype=np.uint8)
    for alone, radius in enumerate(plan.radii):
        if radius < 0:
            continue
        flips = np.zeros(CODE_BITS, np.bool_)
        for chunk, bits in enumerate(chunk_bits):
            far = min(plan.radii[chunk] + (chunk != alone), bits)
            flips[starts[chunk] + rng.permutation(bits)[:far]] = True
        distance = int(flips.sum())
        assert distance <= threshold
        others = rng.integers(0, 256, (20, 32), dtype=np.uint8)
        codes = in_order(np.concatenate([others, (query ^ np.packbits(flips))[None]]))
        index = MultiIndex(codes, list(build_chunks(codes, chunk_bits)), cost=NEVER_SCANNING)
        assert distance in index.search(query[None], threshold).distances.tolist()


@given(
    size=st.sampled_from(SIZES),
    shape=st.sampled_from([shape for shape in SHAPES if shape != "identical"]),
    chunk_bits=widths,
    threshold=st.sampled_from(THRESHOLDS),
    seed=st.integers(0, 2**32 - 1),
)
def test_saved_and_opened_it_finds_the_same(size, shape, chunk_bits, threshold, seed):
    rng = np.random.default_rng(seed)
    codes = np.unique(make_codes(rng, size, shape), axis=0)
    queries = make_queries(rng, codes, 4)
    parameters = {"method": "multi_index", "chunk_bits": chunk_bits}
    with tempfile.TemporaryDirectory() as folder:
        with SnapshotWriter(Path(folder), revision=1) as writer:
            for name, array in sealed.seal(HashKind.PDQ, codes, parameters):
                writer.add_array(name, array)
            writer.publish({})
        snapshot = open_current(Path(folder))
        assert set(snapshot.arrays) == set(sealed.sealed_names(HashKind.PDQ, parameters))
        with mock.patch.object(MultiIndex.__init__, "__kwdefaults__", {"cost": PROBING}):
            index = sealed.open_sealed(HashKind.PDQ, snapshot.arrays, parameters)
        assert isinstance(index, MultiIndex)
        check_index(index, codes, queries, threshold)


@pytest.mark.parametrize("size", [2**15 - 1, 2**15, 2**15 + 1])
@pytest.mark.parametrize("threshold", [0, 8, 31, 43, 64, 256])
def test_thousands_of_codes_with_the_limits_as_they_are(size, threshold, rng):
    """Random codes and a cluster of a fifth of them, probed, and scanned where that is cheaper."""
    cluster = make_codes(rng, size // 5, "cluster")
    codes = in_order(np.concatenate([make_codes(rng, size - len(cluster), "random"), cluster]))
    queries = np.concatenate([make_queries(rng, codes, 40), cluster[:3]])
    queries = queries[:3] if threshold > 200 else queries
    chunks = list(build_chunks(codes, [16] * 6 + [14] * 11))
    for cost in (MEASURED, replace(MEASURED, scan_call=1e9)):
        check_index(MultiIndex(codes, chunks, cost=cost), codes, queries, threshold)


@pytest.mark.parametrize("chunk_bits", [[8] * 32, [12] * 6 + [9] * 20, [5, 3]])
@pytest.mark.parametrize("cost", [NEVER_SCANNING, PROBING, MEASURED])
def test_every_threshold_is_inclusive(chunk_bits, cost):
    ladder = np.packbits(np.tri(CODE_BITS + 1, CODE_BITS, -1, dtype=np.bool_), axis=1)
    codes = in_order(ladder)  # one code at each distance from 0
    index = MultiIndex(codes, list(build_chunks(codes, chunk_bits)), cost=cost)
    query = np.zeros((1, 32), np.uint8)
    for threshold in range(CODE_BITS + 1):
        hits = index.search(query, threshold)
        assert sorted(hits.distances.tolist()) == list(range(threshold + 1))
    assert len(index.search(query, 10**30)) == CODE_BITS + 1


def test_threads_search_at_once(rng):
    codes = make_codes(rng, 20_000, "random")
    chunks = list(build_chunks(codes, [16] * 16))
    index = MultiIndex(codes, chunks, cost=replace(MEASURED, scan_call=1e9))
    batches = [codes[start : start + 50] for start in range(0, 800, 50)]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda queries: index.search(queries, 31), batches))
    for number, hits in enumerate(found):
        assert hits.code_rows.tolist() == list(range(50 * number, 50 * number + 50))
