"""What a search costs, as measured: how to cut codes into chunks, how to probe them, when to scan.

Multi-index hashing (Norouzi, Punjani, Fleet 2012) rests on the pigeonhole principle, here in its
sharper form: give chunk `i` a radius `r_i` of -1 or more (-1 probes nothing) such that
`sum(r_i + 1) = threshold + 1`. Two codes that differ by more than `r_i` bits in every chunk differ
by `threshold + 1` bits at least. So a code within the threshold is within `r_i` bits of the query
in some chunk `i`, and it suffices to look there.

Raising a radius from `r` to `r + 1` adds `C(bits, r + 1)` keys to probe, more for every step, so
taking the cheapest step `threshold + 1` times gives the cheapest radii.

Costs are of one thread and in seconds; only their ratios matter here. They were measured with
`python -m loadtest.index --costs`, which prints them anew, on an AMD EPYC of 2025 at 1 and 10
million uniform codes. Being wrong costs time and never a hit.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass
from math import comb

CODE_BITS = 256
#: Widths of chunks considered. Offsets take `4 * 2^width` bytes a chunk.
_MIN_BITS = 14
_MAX_BITS = 27
#: A query that would probe more keys than this is scanned instead; bounds the memory of a search.
MAX_PROBES = 1 << 20
#: A query with more candidates than this is scanned instead, whatever it costs: for the same.
MAX_CANDIDATES = 1 << 21
#: So many codes stay in the third-level cache from search to search.
_CACHED_CODES = 1 << 19
#: The threshold that indexes are laid out for: what PDQ's authors recommend.
_USUAL_THRESHOLD = 31
#: And for so many queries at a time.
_USUAL_QUERIES = 8
#: Bytes a code that an index may take, code included: where codes are many, and where they are few.
_MANY_CODES = 2_000_000
_MAX_BYTES_OF_MANY = 115
_MAX_BYTES_OF_FEW = 165


@dataclass(frozen=True, slots=True)
class SearchCost:
    """Seconds that the steps of a search take.

    Attributes:
        probe: finding where a key's codes start and end.
        candidate: fetching a code and comparing it.
        chunk: handling a chunk that is probed, whatever the probes.
        call: handling a search, whatever its size.
        compared_code: comparing a code with a query in the exact scan.
        read_code: reading a code from memory for that, once for all queries of a batch.
        scan_call: handling a scan, whatever its size.
    """

    probe: float = 30e-9
    candidate: float = 27e-9
    chunk: float = 10e-6
    call: float = 60e-6
    compared_code: float = 0.65e-9
    read_code: float = 0.5e-9
    scan_call: float = 14e-6

    def scan(self, count: int, queries: int) -> float:
        """Seconds to scan `count` codes for a batch of queries."""
        return self.scan_call + self._reading(count) + queries * count * self.compared_code

    def probing(self, plan: ProbePlan, queries: int) -> float:
        """Seconds to search by chunks for a batch of queries."""
        chunks = sum(radius >= 0 for radius in plan.radii)
        each = plan.probes * self.probe + plan.candidates * self.candidate
        return self.call + chunks * self.chunk + queries * each

    def most_candidates(self, count: int) -> int:
        """With more candidates than this, scanning `count` codes for one query is cheaper."""
        seconds = self._reading(count) + count * self.compared_code
        return min(int(seconds / self.candidate), MAX_CANDIDATES)

    def _reading(self, count: int) -> float:
        return max(0, count - _CACHED_CODES) * self.read_code


#: What was measured; see the module's docstring.
MEASURED = SearchCost()


@dataclass(frozen=True, slots=True)
class ProbePlan:
    """How to search by chunks.

    Attributes:
        radii: for each chunk, bits by which keys may differ; -1 leaves the chunk out.
        probes: keys probed for a query.
        candidates: codes that a query is compared with if codes are spread evenly.
    """

    radii: tuple[int, ...]
    probes: int
    candidates: float


def ball(bits: int, radius: int) -> int:
    """How many keys of `bits` bits differ from one by at most `radius` (-1: none) bits."""
    return sum(comb(bits, flips) for flips in range(radius + 1))


def plan_probes(
    chunk_bits: tuple[int, ...],
    count: int,
    threshold: int,
    cost: SearchCost = MEASURED,
) -> ProbePlan:
    """The cheapest radii that find every code within `threshold` among `count`, evenly spread."""
    prices = [cost.probe + cost.candidate * count / (1 << bits) for bits in chunk_bits]
    radii = [-1] * len(chunk_bits)
    steps = [(price, chunk) for chunk, price in enumerate(prices)]
    heapq.heapify(steps)
    for _ in range(threshold + 1):
        _, chunk = steps[0]
        radii[chunk] += 1
        # Past its own width a chunk finds everything already: such a step costs nothing.
        more = comb(chunk_bits[chunk], radii[chunk] + 1)
        heapq.heapreplace(steps, (more * prices[chunk], chunk))
    probed = [ball(bits, radius) for bits, radius in zip(chunk_bits, radii, strict=True)]
    return ProbePlan(
        radii=tuple(radii),
        probes=sum(probed),
        candidates=sum(
            keys * count / (1 << bits) for keys, bits in zip(probed, chunk_bits, strict=True)
        ),
    )


def bytes_a_code(chunk_bits: tuple[int, ...], count: int) -> float:
    """Bytes that codes, rows and offsets take for each of `count` codes."""
    rows = 4 * (len(chunk_bits) - 1)  # the first chunk needs none
    offsets = sum(4 * ((1 << bits) + 1) for bits in chunk_bits)
    return CODE_BITS // 8 + rows + offsets / max(1, count)


def choose_chunk_bits(count: int, cost: SearchCost = MEASURED) -> tuple[int, ...] | None:
    """Widths of the chunks for `count` codes, fastest at the usual threshold; None: scan them.

    Narrow chunks, probed with a smaller radius, stand beside wide ones: there is one width of each.
    """
    scanned = cost.scan(count, _USUAL_QUERIES)
    if scanned <= cost.call:  # what any search by chunks takes at least
        return None
    limit = _MAX_BYTES_OF_MANY if count >= _MANY_CODES else _MAX_BYTES_OF_FEW
    best: tuple[float, tuple[int, ...]] | None = None
    for wide in range(_MIN_BITS, _MAX_BITS + 1):
        for narrow in range(_MIN_BITS, wide + 1):
            for wides in range(1, CODE_BITS // wide + 1):
                chunk_bits = (wide,) * wides + (narrow,) * ((CODE_BITS - wides * wide) // narrow)
                if bytes_a_code(chunk_bits, count) > limit:
                    continue
                plan = plan_probes(chunk_bits, count, _USUAL_THRESHOLD, cost)
                seconds = cost.probing(plan, _USUAL_QUERIES)
                if best is None or seconds < best[0]:
                    best = seconds, chunk_bits
    if best is None or best[0] >= scanned:
        return None
    return best[1]


__all__ = [
    "CODE_BITS",
    "MAX_CANDIDATES",
    "MAX_PROBES",
    "MEASURED",
    "ProbePlan",
    "SearchCost",
    "ball",
    "bytes_a_code",
    "choose_chunk_bits",
    "plan_probes",
]
