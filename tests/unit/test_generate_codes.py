"""Generated codes are what their descriptions say."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from loadtest import generate_codes


def bits(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    return np.bitwise_count(first ^ second).sum(axis=1, dtype=np.int64)


def is_sorted(codes: np.ndarray) -> bool:
    rows = [code.tobytes() for code in codes]
    return all(first < second for first, second in itertools.pairwise(rows))


@pytest.mark.parametrize("count", [0, 1, 1000])
def test_uniform_codes_are_distinct_and_sorted(count):
    codes = generate_codes.uniform_codes(count)
    assert codes.shape == (count, 32)
    assert is_sorted(codes)


def test_clusters_have_many_sizes():
    codes, centres = generate_codes.clustered_codes(50_000)
    assert codes.shape == (50_000, 32)
    assert is_sorted(codes)
    sizes = [int((bits(codes, centre) <= 20).sum()) for centre in centres]
    expected = [5000, *(2**power for power in range(10, 0, -1))]
    assert len(sizes) == len(expected)
    assert all(0.98 * size <= found <= size for found, size in zip(sizes, expected, strict=True))


def test_every_other_query_is_near_a_code():
    codes = generate_codes.uniform_codes(500)
    queries = generate_codes.near_queries(codes, 20)
    nearest = [int(bits(codes, query).min()) for query in queries]
    assert max(nearest[::2]) <= 8
    assert min(nearest[1::2]) > 31


def test_half_of_the_photodna_hashes_are_near_another():
    hashes = generate_codes.photodna_hashes(200).astype(np.int64)
    squared = ((hashes[:, None] - hashes[None]) ** 2).sum(axis=2)
    np.fill_diagonal(squared, 10**9)
    assert hashes.shape == (200, 144)
    assert int((squared.min(axis=1) < 10_000).sum()) >= 100


def test_repeated_codes_are_kept_once(rng):
    codes = rng.integers(0, 2, (300, 32), dtype=np.uint8)
    codes[:, :30] = 0
    found = generate_codes.sorted_codes(codes)
    assert found.tolist() == np.unique(codes, axis=0).tolist()
