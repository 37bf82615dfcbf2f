"""The index beside those of FAISS: time, memory, recall, at sizes that real lists have.

    python -m loadtest.index [--counts N,N,...] [--rounds N] [--smoke]
                             [--photodna] [--hundred-million] [--costs]

Generated codes, spread evenly and in clusters; threshold 31; one thread; CPU time, medians of
rounds in which the ways take turns over the same queries. Half of the queries are near a code. In a
round each query comes once, so that nobody finds its answer in cache.
`--photodna` compares PhotoDNA instead; `--hundred-million` builds and searches 100 million codes
once, and takes 20 GiB of memory; `--costs` measures the constants of `matcher.index.cost` anew.
Exit status 1 where a promise is missed.
"""

from __future__ import annotations

import statistics
import sys
import tempfile
import time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Final

import faiss
import numpy as np

from hashlists.model import HashKind
from loadtest import generate_codes, index_costs, index_ways, measure

if TYPE_CHECKING:
    import argparse
    from collections.abc import Callable, Sequence

    from loadtest.index_ways import Int64Array, Search, UInt8Array, Way

_THRESHOLD: Final = 31
_PHOTODNA_THRESHOLD: Final = 10_000
_COUNTS: Final = (10_000, 1_000_000, 10_000_000)
_SMOKE_COUNTS: Final = (10_000, 200_000)
_BATCHES: Final = (1, 8, 64)
_BATCH: Final = 64
_QUERIES: Final = 4 * _BATCH
_PHOTODNA_QUERIES: Final = 64
_BIG_BATCH: Final = 512
#: Above so many hashes FAISS' 8-bit index is left out: it takes half a microsecond for each.
_MOST_FOR_8BIT: Final = 100_000
_HEADER: Final = (
    "index",
    "build (s)",
    "bytes a hash",
    "open (s)",
    *(f"ms a query, batch {batch}" for batch in _BATCHES),
    "times as fast as flat, batch 64",
    "recall",
)


class Promises:
    """Gathers what was promised and how it came out."""

    def __init__(self, *, smoke: bool) -> None:
        self._smoke = smoke
        self.missed = 0

    def check(self, what: str, value: float, *, least: float = -1e9, most: float = 1e9) -> None:
        """Prints whether a value is what it should be."""
        kept = least <= value <= most
        bound = f"at least {least:g}" if most == 1e9 else f"at most {most:g}"
        print(f"- {what}: {value:.2f}, wanted {bound}: {'met' if kept else 'missed'}")
        self.missed += not (kept or self._smoke)


def compare(ways: Sequence[Way], queries: UInt8Array, rounds: int, sizes: dict[int, int]) -> str:
    """Times all ways over the same queries and compares what they find with the last of them.

    Args:
        ways: the last one is exact.
        queries: for recall.
        rounds: rounds to time.
        sizes: for each batch size how many queries to time it with.
    """
    timed = {
        batch: measure.interleaved(
            {way.name: partial(in_batches, way.search, queries[:used], batch) for way in ways},
            rounds=rounds,
        )
        for batch, used in sizes.items()
    }
    largest = timed[max(sizes)]
    flat = largest[ways[-1].name]
    truth = pairs(ways[-1].search(queries))
    rows = [
        (
            way.name,
            f"{way.build:.2f}",
            f"{way.bytes_a_code:.0f}",
            f"{way.open:.2f}",
            *(f"{1e3 * timed[b][way.name].cpu_median / used:.3f}" for b, used in sizes.items()),
            str(measure.times_as_fast(largest[way.name], flat)),
            f"{recall(pairs(way.search(queries)), truth):.4f}",
        )
        for way in ways
    ]
    return measure.markdown_table(_HEADER, rows)


def in_batches(search: Search, queries: UInt8Array, batch: int) -> None:
    """Searches for all queries, a batch at a time."""
    for start in range(0, len(queries), batch):
        search(queries[start : start + batch])


def pairs(found: tuple[Int64Array, Int64Array]) -> Int64Array:
    """Hits as sorted numbers."""
    return np.sort(found[0] << 32 | found[1])


def recall(found: Int64Array, truth: Int64Array) -> float:
    """The share of the true hits that were found; -1 where something else was found as well."""
    if not np.isin(found, truth, assume_unique=True).all():
        return -1.0
    return len(found) / len(truth) if len(truth) else 1.0


def ways_of(codes: UInt8Array, folder: Path) -> list[Way]:
    """Ours and the peers', the exact one last."""
    return [
        index_ways.ours(HashKind.PDQ, codes, _THRESHOLD, folder),
        index_ways.faiss_multi_hash(codes, _THRESHOLD, folder),
        index_ways.faiss_flat(codes, _THRESHOLD, folder),
    ]


def uniform(count: int, options: argparse.Namespace, promises: Promises) -> None:
    """The table for codes spread evenly."""
    codes = generate_codes.uniform_codes(count)
    queries = generate_codes.near_queries(codes, _QUERIES)
    print(f"\n## {count:,} codes, spread evenly\n")
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(codes, Path(folder))
        print(compare(ways, queries, options.rounds, dict.fromkeys(_BATCHES, _QUERIES)), end="\n\n")
        mine, flat = ways[0], ways[-1]
        check_recall(mine, flat, queries, promises)
        if count >= 1_000_000:
            check_speed(mine, flat, queries, options.rounds, promises)
            check_size(mine, promises)


def check_recall(mine: Way, flat: Way, queries: UInt8Array, promises: Promises) -> None:
    """Everything that flat finds must be found."""
    found = recall(pairs(mine.search(queries)), pairs(flat.search(queries)))
    promises.check("recall", found, least=1)


def check_speed(mine: Way, flat: Way, queries: UInt8Array, rounds: int, promises: Promises) -> None:
    """How fast a search is promised to be where codes are spread evenly."""
    ways = {way.name: partial(in_batches, way.search, queries, _BATCH) for way in (mine, flat)}
    took = measure.interleaved(ways, rounds=rounds)
    ratio = measure.times_as_fast(took[mine.name], took[flat.name])
    many = mine.count >= 10_000_000
    promises.check("times as fast as FAISS flat", ratio.median, least=25 if many else 6)
    alone = 1e3 * cpu_seconds(lambda: mine.search(queries[:1]), 15)
    promises.check("ms of a single query", alone, most=3)


def check_size(mine: Way, promises: Promises) -> None:
    """What is promised of memory, building and opening."""
    most = 115 if mine.count >= 10_000_000 else 170
    promises.check("bytes a hash", mine.bytes_a_code, most=most)
    promises.check("build seconds", mine.build, most=30)
    promises.check("open seconds", mine.open, most=3)


def clustered(count: int, options: argparse.Namespace, promises: Promises) -> None:
    """The table for codes in clusters, the worst query and the memory of a big batch."""
    codes, centres = generate_codes.clustered_codes(count)
    queries = generate_codes.near_queries(codes, _QUERIES)
    print(f"\n## {count:,} codes, in clusters\n")
    with tempfile.TemporaryDirectory() as folder:
        ways = ways_of(codes, Path(folder))
        print(compare(ways, queries, options.rounds, dict.fromkeys(_BATCHES, _QUERIES)), end="\n\n")
        mine, flat = ways[0], ways[-1]
        check_recall(mine, flat, np.concatenate([queries, centres]), promises)
        ratios = []
        for query in np.concatenate([centres, generate_codes.near(centres)]):
            ours = cpu_seconds(partial(mine.search, query[None]), 9)
            ratios.append((ours / cpu_seconds(partial(flat.search, query[None]), 9), ours))
        worst, seconds = max(ratios)
        print(f"- worst single query of {len(ratios)}: {1e3 * seconds:.2f} ms")
        promises.check("worst query, times what FAISS flat takes", worst, most=3)
        check_memory(mine, codes, centres, promises)


def check_memory(mine: Way, codes: UInt8Array, centres: UInt8Array, promises: Promises) -> None:
    """Memory of batches of 512, answer included, in one of them many at the largest cluster."""
    big = generate_codes.near_queries(codes, _BIG_BATCH)
    for what, queries in (
        ("spread over all codes", big),
        ("50 of them at the largest cluster", np.concatenate([big[50:], [centres[0]] * 50])),
    ):
        peak = index_ways.peak_bytes(partial(mine.search, queries))
        answer = 18 * len(mine.search(queries)[0]) / 1e6
        print(f"- batch {_BIG_BATCH}, {what}: {answer:.0f} MB of hits")
        if peak is not None:
            promises.check("peak memory of that search, hits included (MB)", peak / 1e6, most=256)


def cpu_seconds(work: Callable[[], object], rounds: int) -> float:
    """Median CPU seconds."""
    took = []
    for _ in range(rounds):
        start = time.process_time()
        work()
        took.append(time.process_time() - start)
    return statistics.median(took)


def photodna(count: int, options: argparse.Namespace, promises: Promises) -> None:
    """The table for PhotoDNA."""
    hashes = generate_codes.photodna_hashes(count)
    queries = generate_codes.near_queries(hashes, _PHOTODNA_QUERIES)
    print(f"\n## {count:,} PhotoDNA hashes, squared distance {_PHOTODNA_THRESHOLD:,}\n")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        ways = [index_ways.ours(HashKind.PHOTODNA, hashes, _PHOTODNA_THRESHOLD, folder)]
        if count <= _MOST_FOR_8BIT:
            ways.append(index_ways.faiss_direct_8bit(hashes, _PHOTODNA_THRESHOLD, folder))
        ways.append(index_ways.faiss_flat_l2(hashes, _PHOTODNA_THRESHOLD, folder))
        sizes = {1: 2, 8: 8, 64: _PHOTODNA_QUERIES}
        print(compare(ways, queries, min(options.rounds, 3), sizes), end="\n\n")
        mine, flat = ways[0], ways[-1]
        check_recall(mine, flat, queries, promises)
        promises.check("bytes a hash", mine.bytes_a_code, most=200)
        for batch in _BATCHES:
            ratios = [
                cpu_seconds(partial(way.search, queries[:batch]), 3) for way in (*ways[1:], mine)
            ]
            ratio = min(ratios[:-1]) / ratios[-1]
            promises.check(f"times as fast as the fastest scan, batch {batch}", ratio, least=1)


def hundred_million(options: argparse.Namespace) -> None:
    """Builds and searches 100 million codes once; nothing is promised."""
    del options
    count = 100_000_000
    codes = generate_codes.uniform_codes(count)
    queries = generate_codes.near_queries(codes, _QUERIES)
    print(f"\n## {count:,} codes, spread evenly\n")
    with tempfile.TemporaryDirectory() as folder:
        mine = index_ways.ours(HashKind.PDQ, codes, _THRESHOLD, Path(folder), shuffled=False)
        print(f"- {mine.name}: built in {mine.build:.0f} s, opened in {mine.open:.1f} s")
        print(f"- {mine.bytes_a_code:.0f} bytes a hash")
        for batch in _BATCHES:
            mine.search(queries[:batch])
            seconds = cpu_seconds(partial(in_batches, mine.search, queries, batch), 3)
            print(f"- batch {batch}: {1e3 * seconds / _QUERIES:.2f} ms a query")
        del mine
        flat = faiss.IndexBinaryFlat(256)
        flat.add(codes)
        del codes
        seconds = cpu_seconds(lambda: flat.range_search(queries[:8], _THRESHOLD + 1), 1)
        print(f"- FAISS flat, batch 8: {1e3 * seconds / 8:.0f} ms a query")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """What this benchmark takes beside the usual."""
    parser.add_argument("--counts", help="codes to compare with, apart by commas")
    parser.add_argument("--photodna", action="store_true", help="PhotoDNA, only")
    parser.add_argument("--hundred-million", action="store_true", help="100 million codes, only")
    parser.add_argument(
        "--costs", action="store_true", help="the constants of the cost model, only"
    )


def main() -> int:
    """Prints the tables; returns the exit status."""
    options = measure.arguments("The index beside those of FAISS.", rounds=9, add=add_arguments)
    faiss.omp_set_num_threads(1)
    promises = Promises(smoke=options.smoke)
    print(f"Index, one thread, CPU time, medians of {options.rounds} rounds\n")
    print(measure.circumstances(("numpy", "faiss-cpu")))
    if options.costs:
        print(index_costs.table((200_000,) if options.smoke else (1_000_000, 10_000_000)))
        return 0
    if options.hundred_million:
        hundred_million(options)
        return 0
    usual = _SMOKE_COUNTS if options.smoke else _COUNTS
    counts = tuple(map(int, options.counts.split(","))) if options.counts else usual
    for count in () if options.photodna else counts:
        uniform(count, options, promises)
        clustered(count, options, promises)
    if options.photodna or options.smoke:
        for count in (20_000,) if options.smoke else [each for each in counts if each > 10_000]:
            photodna(count, options, promises)
    return int(promises.missed > 0)


if __name__ == "__main__":
    sys.exit(main())
