"""How many hits an upload would meet by pure chance.

Model: every bit of every code is an independent fair coin, so the Hamming distance of two codes of
`n` bits is binomial(n, 1/2), and a list of `N` codes looked up in `v` views gives on average
`N * v * P(distance <= t)` hits. Real pictures do worse: their codes crowd together (skies, text,
charts), and bits hang together. So this is a lower bound: what fails it is certainly too wide, and
what passes still has to be measured on one's own pictures before near matches may decide.

PhotoDNA is left out: its 144 values are far from uniform, and no model of them is public.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from math import comb
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hashlists.model import HashKind

#: The most chance hits for one upload (an expectation) that a policy may have.
MAX_EXPECTED_CHANCE_HITS = 0.01


@lru_cache(maxsize=1024)
def chance_of_hit(bits: int, threshold: int) -> float:
    """P(X <= threshold) for X binomial(bits, 1/2), from exact integers, rounded once."""
    favourable = sum(comb(bits, distance) for distance in range(min(threshold, bits) + 1))
    return float(favourable / (1 << bits))


@dataclass(frozen=True, slots=True)
class ChanceTerm:
    """One kind of one list, looked up in the views of one family.

    Attributes:
        list_name, kind, family: which.
        threshold: bits.
        codes: how many codes of that kind the list holds.
        views: how many views of the family an upload has at most.
    """

    list_name: str
    kind: HashKind
    family: str
    threshold: int
    codes: int
    views: int

    @property
    def expected_hits(self) -> float:
        """For one upload, on average."""
        if not self.kind.is_perceptual_code:
            return 0.0
        return self.codes * self.views * chance_of_hit(8 * self.kind.nbytes, self.threshold)

    def widest_allowed(self, limit: float = MAX_EXPECTED_CHANCE_HITS) -> int | None:
        """The widest threshold with which this term alone stays within `limit`; None if none."""
        bits = 8 * self.kind.nbytes
        pairs = self.codes * self.views
        fitting = (t for t in range(bits, -1, -1) if pairs * chance_of_hit(bits, t) <= limit)
        return next(fitting, None)


__all__ = ["MAX_EXPECTED_CHANCE_HITS", "ChanceTerm", "chance_of_hit"]
