"""Generated codes, and queries for them: spread evenly, or in clusters as real lists have them.

    python -m loadtest.generate_codes FILE.npy [--count N] [--clustered]

Real lists hold the same picture over and over, resaved and resized: clusters of near-duplicates of
many sizes. Half of the clustered codes stand in clusters of 2, 4, 8, ... 16,384 codes, as many
codes in each size; a tenth, at most 100,000, around one centre; the rest alone. A code of a cluster
is up to 20 bits away from its centre. No code is that of any picture.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    UInt8Array = NDArray[np.uint8]

CODE_BYTES: Final = 32
PHOTODNA_VALUES: Final = 144
LARGEST_CLUSTER: Final = 100_000
_CLUSTER_SIZES: Final = tuple(2**power for power in range(1, 15))
#: Bits by which a code of a cluster differs from its centre. With fewer, many would be the same.
_SPREAD: Final = (4, 20)
_NEAR: Final = (0, 8)  # and by which a query differs from a code
_ROWS: Final = 1 << 20  # codes made at a time


def uniform_codes(count: int, seed: int = 1) -> UInt8Array:
    """Random codes `(count, 32) uint8`, distinct and sorted by their bytes."""
    rng = np.random.default_rng(seed)
    lead = np.sort(rng.integers(0, 2**64, count, dtype=np.uint64))
    while (lead[1:] == lead[:-1]).any():
        lead = np.sort(rng.integers(0, 2**64, count, dtype=np.uint64))
    codes = np.empty((count, CODE_BYTES), np.uint8)
    for start in range(0, count, _ROWS):
        block = codes[start : start + _ROWS]
        block[:] = rng.integers(0, 256, block.shape, dtype=np.uint8)
        block[:, :8] = lead[start : start + _ROWS].astype(">u8").view(np.uint8).reshape(-1, 8)
    return codes


def clustered_codes(count: int, seed: int = 1) -> tuple[UInt8Array, UInt8Array]:
    """Codes in clusters, see above.

    Returns:
        Codes `(count, 32) uint8`, distinct and sorted by their bytes, and the centre of one cluster
        of each size, that of the largest first.
    """
    rng = np.random.default_rng(seed)
    largest = min(LARGEST_CLUSTER, count // 10)
    parts = [_cluster(rng, 1, largest)]
    centres = [parts[0][0]]
    share = count // 2 // len(_CLUSTER_SIZES)
    for size in reversed([size for size in _CLUSTER_SIZES if size <= share]):
        parts.append(_cluster(rng, share // size, size))
        centres.append(parts[-1][0])
    alone = count - sum(map(len, parts))
    parts.append(rng.integers(0, 256, (alone, CODE_BYTES), dtype=np.uint8))
    codes = sorted_codes(np.concatenate(parts))
    while len(codes) < count:  # a few of the nearest stood twice
        more = rng.integers(0, 256, (count - len(codes), CODE_BYTES), dtype=np.uint8)
        codes = sorted_codes(np.concatenate([codes, more]))
    return codes, np.stack(centres)


def near_queries(codes: UInt8Array, count: int, seed: int = 2) -> UInt8Array:
    """Queries `(count, nbytes) uint8`: every other one random, every other one near a code."""
    rng = np.random.default_rng(seed)
    queries = rng.integers(0, 256, (count, codes.shape[1]), dtype=np.uint8)
    queries[::2] = near(codes[rng.integers(0, len(codes), count)], seed)[::2]
    return queries


def near(codes: UInt8Array, seed: int = 3) -> UInt8Array:
    """A code a few bits from each."""
    queries = codes.copy()
    _flip(np.random.default_rng(seed), queries, *_NEAR)
    return queries


def photodna_hashes(count: int, seed: int = 1) -> UInt8Array:
    """Random PhotoDNA hashes `(count, 144) uint8`, half of them near another, sorted."""
    rng = np.random.default_rng(seed)
    hashes = np.empty((count, PHOTODNA_VALUES), np.uint8)
    for start in range(0, count, _ROWS):
        block = hashes[start : start + _ROWS]
        block[:] = rng.integers(0, 256, block.shape, dtype=np.uint8)
        near = block[len(block) // 2 :]
        near[:] = block[rng.integers(0, max(1, len(block) // 2), len(near))]
        near ^= rng.integers(0, 8, near.shape, dtype=np.uint8)
    lead = np.ascontiguousarray(hashes[:, :8]).view(">u8").ravel().astype(np.uint64)
    return hashes[np.argsort(lead)]


def sorted_codes(codes: UInt8Array) -> UInt8Array:
    """The distinct codes, sorted by their bytes."""
    words = codes.view(">u8").astype(np.uint64)
    order = np.argsort(words[:, 0])
    words = words[order]
    same = np.flatnonzero(words[1:, 0] == words[:-1, 0])
    tied = np.unique(np.concatenate([same, same + 1]))
    order[tied] = order[tied[np.lexsort(words[tied].T[::-1])]]
    codes = codes[order]
    first = np.ones(len(codes), np.bool_)
    first[1:] = (codes[1:] != codes[:-1]).any(axis=1)
    return codes[first]


def _cluster(rng: np.random.Generator, clusters: int, size: int) -> UInt8Array:
    """`clusters * size` codes; the first is a centre."""
    centres = rng.integers(0, 256, (clusters, CODE_BYTES), dtype=np.uint8)
    codes = np.repeat(centres, size, axis=0)
    for block in _blocks(codes):
        _flip(rng, block, *_SPREAD)
    codes[::size] = centres
    return codes


def _flip(rng: np.random.Generator, codes: UInt8Array, least: int, most: int) -> None:
    """Flips `least` to `most` bits of each code, in place; now and then one of them back again."""
    bits = rng.integers(least, most + 1, len(codes))
    for flip in range(most):
        rows = np.flatnonzero(bits > flip)
        at = rng.integers(0, 8 * codes.shape[1], len(rows))
        codes[rows, at >> 3] ^= (1 << (at & 7)).astype(np.uint8)


def _blocks(codes: UInt8Array) -> Iterator[UInt8Array]:
    for start in range(0, len(codes), _ROWS):
        yield codes[start : start + _ROWS]


def main() -> int:
    """Writes a file of codes; returns the exit status."""
    parser = argparse.ArgumentParser(description="Generates codes.")
    parser.add_argument("file", type=Path)
    parser.add_argument("--count", type=int, default=1_000_000)
    parser.add_argument("--clustered", action="store_true")
    options = parser.parse_args()
    codes = clustered_codes(options.count)[0] if options.clustered else uniform_codes(options.count)
    np.save(options.file, codes, allow_pickle=False)
    return 0


if __name__ == "__main__":
    sys.exit(main())
