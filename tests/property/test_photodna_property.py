"""Sealed PhotoDNA against integers: saved and opened, at every scale of distance."""

from __future__ import annotations

import tempfile
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import HashKind
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import photodna, sealed
from matcher.index.photodna import MAX_DISTANCE, PhotoDnaIndex

PARAMETERS = {"method": "group_sums"}
SHAPES = ["random", "identical", "cluster", "extreme"]


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


def make_hashes(rng: np.random.Generator, size: int, shape: str) -> np.ndarray:
    hashes = rng.integers(0, 256, (size, 144), dtype=np.uint8)
    if shape == "extreme":
        hashes = np.where(rng.random((size, 144)) < 0.5, 0, 255).astype(np.uint8)
    elif shape != "random" and size:
        hashes[:] = hashes[0]
        if shape == "cluster":
            hashes ^= rng.integers(0, 4, hashes.shape, dtype=np.uint8)
    return hashes[np.lexsort(hashes.T[::-1])] if size else hashes


def distances_of(queries: np.ndarray, hashes: np.ndarray) -> np.ndarray:
    difference = queries[:, None].astype(np.int64) - hashes[None]
    return (difference**2).sum(axis=2)


def check_index(index, distances: np.ndarray, queries: np.ndarray, threshold: int) -> None:
    hits = index.search(queries, threshold)
    found = np.zeros(distances.shape, np.int64)
    np.add.at(found, (hits.query_rows, hits.code_rows), 1)
    np.testing.assert_array_equal(found, distances <= threshold)
    np.testing.assert_array_equal(hits.distances, distances[hits.query_rows, hits.code_rows])


@given(
    size=st.sampled_from([0, 1, 2, 7, 8, 9, 63, 64, 65, 257]),
    shape=st.sampled_from(SHAPES),
    batch=st.sampled_from([0, 1, 2, 65]),
    block=st.sampled_from([1, 5, 64, 4096]),
    product=st.sampled_from([1, 4000, 1 << 18]),
    share=st.sampled_from([photodna._DENSE_SHARE, -2.0, 1.0]),
    seed=st.integers(0, 2**32 - 1),
)
def test_saved_and_opened_it_finds_what_integers_find(  # noqa: PLR0917  # each drawn by itself
    size, shape, batch, block, product, share, seed
):
    rng = np.random.default_rng(seed)
    hashes = make_hashes(rng, size, shape)
    queries = make_hashes(rng, batch, "random")
    if size:
        known = hashes[rng.integers(0, size, len(queries[::2]))]
        queries[::2] = known ^ rng.integers(0, 2, known.shape, dtype=np.uint8)
    distances = distances_of(queries, hashes)
    with tempfile.TemporaryDirectory() as folder:
        with SnapshotWriter(Path(folder), revision=1) as writer:
            for name, array in sealed.seal(HashKind.PHOTODNA, hashes):
                writer.add_array(name, array)
            writer.publish({})
        snapshot = open_current(Path(folder))
        opened = sealed.open_sealed(HashKind.PHOTODNA, snapshot.arrays, PARAMETERS)
        assert len(opened) == size
        some = rng.choice(distances.ravel(), 2).tolist() if distances.size else []
        with (
            mock.patch.object(photodna, "_BLOCK_ROWS", block),
            mock.patch.object(photodna, "_MAX_PRODUCT", product),
            mock.patch.object(photodna, "_DENSE_SHARE", share),
        ):
            for threshold in (0, *some, *(each - 1 for each in some if each), MAX_DISTANCE):
                check_index(opened, distances, queries, threshold)
        for threshold in (*some, 100):
            check_index(PhotoDnaIndex(hashes), distances, queries, threshold)


def test_products_stay_small_enough_for_one_thread(rng, monkeypatch):
    """OpenBLAS divides larger ones among threads, which wait for each other."""
    shapes = []
    multiply = np.matmul

    def spy(rows, columns, **options):
        shapes.append((rows.shape[-2], rows.shape[-1], columns.shape[-1]))
        return multiply(rows, columns, **options)

    monkeypatch.setattr(photodna.np, "matmul", spy)
    hashes = make_hashes(rng, 5000, "cluster")
    for batch in (1, 8, 64, 100):
        PhotoDnaIndex(hashes).search(hashes[:batch], 300)
    assert shapes
    for rows, inner, columns in shapes:
        assert rows * inner * columns <= 1 << 18
        assert columns > 1 or rows * inner <= 9216
