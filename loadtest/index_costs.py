"""Measures the constants of `matcher.index.cost` by fitting them to the times of searches.

Searches of random codes at several thresholds, with several cuts into chunks, so that probes and
candidates vary independently; least squares of relative errors give the cost of each.
"""

from __future__ import annotations

import time
from dataclasses import fields, replace
from statistics import median
from typing import TYPE_CHECKING, Final

import numpy as np

from hashlists.model import HashKind
from loadtest.generate_codes import uniform_codes
from loadtest.measure import markdown_table
from matcher.index.cost import MEASURED, SearchCost, plan_probes
from matcher.index.flat import FlatIndex
from matcher.index.multi_index import MultiIndex, build_chunks

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray

_ALWAYS_PROBE: Final = replace(MEASURED, scan_call=1e9, compared_code=1.0)
_CUTS: Final = ((16,) * 16, (18,) * 14, (20,) * 12, (22,) * 11)
_THRESHOLDS: Final = (0, 8, 16, 24, 31, 36)
_BATCHES: Final = (1, 4, 16, 64)
_ROUNDS: Final = 7


def table(counts: Sequence[int]) -> str:
    """A Markdown table of what was measured, beside what the code says."""
    columns = [measure(count) for count in counts]
    rows = [
        (each.name, *(f"{getattr(cost, each.name):.2e}" for cost in (MEASURED, *columns)))
        for each in fields(SearchCost)
    ]
    return "\n" + markdown_table(("seconds", "in the code", *map("{:,}".format, counts)), rows)


def measure(count: int) -> SearchCost:
    """The constants at one number of codes."""
    codes = uniform_codes(count)
    rng = np.random.default_rng(3)
    probing, probing_seconds = [], []
    for chunk_bits in _CUTS:
        index = MultiIndex(codes, list(build_chunks(codes, chunk_bits)), cost=_ALWAYS_PROBE)
        for threshold in _THRESHOLDS:
            plan = plan_probes(chunk_bits, count, threshold)
            for batch in _BATCHES:
                chunks = sum(radius >= 0 for radius in plan.radii)
                probing.append((batch * plan.probes, batch * plan.candidates, chunks, 1))
                probing_seconds.append(_seconds(index.search, rng, batch, threshold))
        del index
    flat = FlatIndex(HashKind.PDQ, codes)
    # A search from which nothing is read tells the cost of the call, the others that of the codes.
    scanning = [(batch * count, count, 0) for batch in _BATCHES] + [(0, 0, 1)]
    scanning_seconds = [_seconds(flat.search, rng, batch, 31) for batch in _BATCHES]
    scanning_seconds.append(_seconds(FlatIndex(HashKind.PDQ, codes[:1]).search, rng, 1, 31))
    probe, candidate, chunk, call = _fit(probing, probing_seconds)
    compared_code, read_code, scan_call = _fit(scanning, scanning_seconds)
    return SearchCost(
        probe=probe,
        candidate=candidate,
        chunk=chunk,
        call=call,
        compared_code=compared_code,
        read_code=read_code,
        scan_call=scan_call,
    )


def _seconds(
    search: Callable[..., object], rng: np.random.Generator, batch: int, threshold: int
) -> float:
    """Median CPU seconds of a search for random codes, new ones each time."""
    took = []
    for _ in range(_ROUNDS):
        queries = rng.integers(0, 256, (batch, HashKind.PDQ.nbytes), dtype=np.uint8)
        start = time.process_time()
        search(queries, threshold)
        took.append(time.process_time() - start)
    return median(took)


def _fit(steps: Sequence[Sequence[float]], seconds: Sequence[float]) -> NDArray[np.float64]:
    """Cost of each kind of step, by least squares of the relative errors."""
    taken = np.array(seconds)
    matrix = np.array(steps, np.float64) / taken[:, np.newaxis]
    scale = matrix.max(axis=0)
    costs = np.linalg.lstsq(matrix / scale, np.ones(len(taken)), rcond=None)[0]
    result: NDArray[np.float64] = costs / scale
    return result
