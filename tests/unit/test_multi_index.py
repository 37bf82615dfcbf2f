"""Multi-index hashing's own rules: radii, masks, sizes, memory. Exactness: tests/property."""

from __future__ import annotations

import itertools
import subprocess
import sys
from dataclasses import replace

import numpy as np
import pytest

from hashlists.model import HashKind
from loadtest.generate_codes import sorted_codes
from matcher.index import cost, multi_index
from matcher.index.cost import MEASURED, plan_probes
from matcher.index.flat import FlatIndex
from matcher.index.multi_index import MultiIndex, build_chunks, chunk_keys, flip_masks


def make_codes(rng: np.random.Generator, size: int) -> np.ndarray:
    return sorted_codes(rng.integers(0, 256, (size, 32), dtype=np.uint8))


class TestPlan:
    @pytest.mark.parametrize("threshold", [0, 1, 7, 31, 43, 100, 255, 256])
    @pytest.mark.parametrize("chunk_bits", [(256 // 11,) * 11, (21,) * 7 + (18,) * 6, (3, 9), (1,)])
    def test_radii_leave_no_room_for_a_miss(self, threshold, chunk_bits):
        plan = plan_probes(chunk_bits, 10**6, threshold)
        assert sum(radius + 1 for radius in plan.radii) == threshold + 1
        assert plan.probes == sum(map(cost.ball, chunk_bits, plan.radii))

    @pytest.mark.parametrize("threshold", range(8))
    def test_radii_are_the_cheapest(self, threshold):
        chunk_bits, count = (20, 12, 16), 10**5
        price = [MEASURED.probe + MEASURED.candidate * count / 2**bits for bits in chunk_bits]

        def seconds(radii):
            balls = map(cost.ball, chunk_bits, radii)
            return sum(each * keys for each, keys in zip(price, balls, strict=True))

        possible = [
            radii
            for radii in itertools.product(range(-1, threshold + 1), repeat=3)
            if sum(radii) + 3 == threshold + 1
        ]
        found = plan_probes(chunk_bits, count, threshold).radii
        assert seconds(found) == pytest.approx(min(map(seconds, possible)))

    def test_a_ball_counts_keys(self):
        assert [cost.ball(4, radius) for radius in range(-1, 6)] == [0, 1, 5, 11, 15, 16, 16]


class TestLayout:
    @pytest.mark.parametrize(
        ("count", "most"),
        [(10**6, 170), (3 * 10**6, 115), (10**7, 115), (3 * 10**7, 115), (10**8, 115)],
    )
    def test_it_takes_no_more_memory_than_promised(self, count, most):
        chunk_bits = cost.choose_chunk_bits(count)
        assert chunk_bits is not None
        assert sum(chunk_bits) <= cost.CODE_BITS
        assert cost.bytes_a_code(chunk_bits, count) <= most
        assert max(chunk_bits) <= multi_index.MAX_CHUNK_BITS

    @pytest.mark.parametrize("count", [0, 1, 1000, 10_000])
    def test_few_codes_are_scanned(self, count):
        assert cost.choose_chunk_bits(count) is None

    def test_bytes_are_those_of_the_arrays(self, rng):
        codes = make_codes(rng, 500)
        chunks = list(build_chunks(codes, [9, 8, 7]))
        size = codes.nbytes + sum(chunk.offsets.nbytes for chunk in chunks)
        size += sum(chunk.rows.nbytes for chunk in chunks if chunk.rows is not None)
        assert cost.bytes_a_code((9, 8, 7), len(codes)) * len(codes) == pytest.approx(size)


class TestKeys:
    @pytest.mark.parametrize(("start", "bits"), [(0, 1), (3, 8), (17, 28), (200, 28), (255, 1)])
    def test_a_key_is_a_run_of_bits(self, start, bits, rng):
        codes = make_codes(rng, 50)
        text = ["".join(f"{byte:08b}" for byte in code) for code in codes.tolist()]
        expected = [int(each[start : start + bits], 2) for each in text]
        assert chunk_keys(codes, start, bits).tolist() == expected

    @pytest.mark.parametrize(("bits", "radius"), [(1, 0), (1, 1), (5, 2), (5, 5), (11, 3)])
    def test_masks_are_all_numbers_with_so_few_bits(self, bits, radius):
        expected = [number for number in range(2**bits) if number.bit_count() <= radius]
        masks = flip_masks(bits, radius)
        assert masks.tolist() == expected
        assert not masks.flags.writeable


class TestSearch:
    def test_codes_at_an_odd_address_are_refused(self):
        buffer = np.zeros(33, np.uint8)
        aligned = buffer[1:] if buffer.ctypes.data % 8 == 0 else buffer[:-1]
        with pytest.raises(ValueError, match="address"):
            MultiIndex(aligned.reshape(1, 32), [])

    @pytest.mark.parametrize(("threshold", "scans"), [(0, False), (8, False), (80, True)])
    def test_wide_searches_are_scanned(self, threshold, scans, rng, monkeypatch):
        codes = make_codes(rng, 100_000)
        index = MultiIndex(codes, list(build_chunks(codes, [16] * 16)))
        scanned = []
        monkeypatch.setattr(FlatIndex, "collect", lambda *_arguments: scanned.append(1))
        index.search(codes[:32], threshold)
        assert bool(scanned) is scans

    def test_more_probes_than_memory_is_meant_for_are_never_made(self, rng, monkeypatch):
        codes = make_codes(rng, 100)
        always = replace(MEASURED, scan_call=1e12)
        index = MultiIndex(codes, list(build_chunks(codes, [16] * 16)), cost=always)
        monkeypatch.setattr(multi_index, "MAX_PROBES", 16 * 17 - 1)
        monkeypatch.setattr(multi_index, "flip_masks", None)
        assert len(index.search(codes[:1], 31)) == 1

    def test_a_query_with_many_candidates_is_scanned_and_others_are_not(self, rng, monkeypatch):
        """Ten thousand codes that share seven of eight chunks with one query."""
        crowd = np.repeat(make_codes(rng, 1), 10_000, axis=0)
        crowd[:, 28:] = rng.integers(0, 256, (10_000, 4), dtype=np.uint8)
        codes = sorted_codes(np.concatenate([crowd, make_codes(rng, 100_000)]))
        index = MultiIndex(codes, list(build_chunks(codes, [16] * 16)))
        queries = rng.integers(0, 256, (20, 32), dtype=np.uint8)
        queries[7] = crowd[0]
        scanned = []
        collect = FlatIndex.collect

        def spy(self, queries, query_rows, *rest):
            scanned.extend(query_rows.tolist())
            collect(self, queries, query_rows, *rest)

        monkeypatch.setattr(FlatIndex, "collect", spy)
        hits = index.search(queries, 31)
        assert scanned == [7]
        expected = np.bitwise_count(queries[:, None] ^ codes[None]).sum(axis=2, dtype=np.int64)
        assert len(hits) == int((expected <= 31).sum())


_MEMORY = """
import resource, sys, tracemalloc
import numpy as np
from loadtest.generate_codes import sorted_codes
from matcher.index.multi_index import MultiIndex, build_chunks
rng = np.random.default_rng(1)
shape = sys.argv[1]
codes = rng.integers(0, 256, (150_000, 32), dtype=np.uint8)
if shape == "cluster":  # 100,000 codes around one centre
    codes[:100_000] = codes[0]
    for _ in range(9):
        at = rng.integers(0, 256, 100_000)
        codes[np.arange(100_000), at >> 3] ^= (1 << (at & 7)).astype(np.uint8)
elif shape == "same chunks":  # all codes share all chunks but the last
    codes[:, :30] = codes[0, :30]
codes = sorted_codes(codes)
index = MultiIndex(codes, list(build_chunks(codes, [16] * 16)))
queries = rng.integers(0, 256, (512, 32), dtype=np.uint8)
known = 80 if shape == "cluster" else 8
queries[-known:] = codes[:: len(codes) // known][:known]
tracemalloc.start()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
hits = index.search(queries, 31)
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(len(hits), tracemalloc.get_traced_memory()[1] // 2**20, (after - before) // 2**10)
"""


@pytest.mark.slow
@pytest.mark.parametrize(("shape", "least"), [("cluster", 5_000_000), ("same chunks", 80_000)])
def test_memory_stays_bounded_on_skewed_codes(shape, least):
    """A batch of 512, hits included; the kernel's own memory shows in the process's peak."""
    done = subprocess.run(
        [sys.executable, "-c", _MEMORY, shape],
        capture_output=True,
        check=True,
        text=True,
    )
    hits, traced, resident = map(int, done.stdout.split())
    assert hits > least
    assert traced < 256
    assert resident < 256


def test_hits_have_their_own_query_whatever_the_order(rng):
    codes = make_codes(rng, 3000)
    index = MultiIndex(
        codes, list(build_chunks(codes, [16] * 16)), cost=replace(MEASURED, scan_call=1e9)
    )
    rows = rng.permutation(3000)[:700]
    hits = index.search(codes[rows], 0)
    assert index.kind is HashKind.PDQ
    assert dict(zip(hits.query_rows.tolist(), hits.code_rows.tolist(), strict=True)) == dict(
        enumerate(rows.tolist())
    )
