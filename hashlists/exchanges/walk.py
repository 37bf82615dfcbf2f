"""Tells pages that have no end: they lead back to one another, or bring nothing new for too long.

Invariants: memory is bounded, however many pages there are. No request is made twice among those
remembered; a longer circle is found by what its pages bring. A page brings something new where it
names an entry that no page before it named, whatever the list holds already: all of a range may be
told again after an interruption. Whether that is so is kept as one bit for each hash of a key, so a
few new keys may pass for known ones, but never all of a page's for many pages in a row.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.errors import ExchangePageError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hashlists.exchanges.base import Ask

_BITS: Final = 1 << 27


@dataclass(frozen=True, slots=True)
class WalkLimits:
    """How long pages may go on.

    Attributes:
        remembered: requests, of which none may come again.
        repeated_pages: pages in a row that name only entries that were named before.
        idle_pages: pages in a row that name no entry at all, such as those of records of other
            kinds, which a feed may hold many of.
    """

    remembered: int = 10_000
    repeated_pages: int = 1_000
    idle_pages: int = 10_000


class Walk:
    """The pages of one feed, from a position to its end."""

    def __init__(self, limits: WalkLimits) -> None:
        self._limits = limits
        self._asked: dict[bytes, None] = {}
        self._bits = bytearray()
        self._repeated = 0
        self._idle = 0

    def take(self, asked: Ask, keys: Iterable[bytes], following: Ask) -> None:
        """Notes a page that is not the last.

        Args:
            asked: what it was the answer to.
            keys: of the entries that it names.
            following: what is to be asked for after it.

        Raises:
            ExchangePageError: the pages have no end.
        """
        self._asked[_mark(asked)] = None
        if len(self._asked) > self._limits.remembered:
            del self._asked[next(iter(self._asked))]
        if _mark(following) in self._asked:
            raise ExchangePageError("the page leads back to one before it, so there is no end")
        self._count(list(keys))

    def _count(self, keys: list[bytes]) -> None:
        if self._any_new(keys):
            self._repeated = self._idle = 0
        elif keys:
            self._repeated += 1
        else:
            self._idle += 1
        if self._repeated >= self._limits.repeated_pages or self._idle >= self._limits.idle_pages:
            raise ExchangePageError(
                f"{self._repeated + self._idle:,} pages in a row brought nothing new, so there is "
                "no end to be seen"
            )

    def _any_new(self, keys: list[bytes]) -> bool:
        self._bits = self._bits or bytearray(_BITS // 8)
        is_new = False
        for key in keys:
            at = hash(key) % _BITS
            byte, bit = at >> 3, 1 << (at & 7)
            if not self._bits[byte] & bit:
                self._bits[byte] |= bit
                is_new = True
        return is_new


def _mark(ask: Ask) -> bytes:
    """Stands for a request, which may be long."""
    return hashlib.blake2b(repr((ask.path, ask.query)).encode(), digest_size=16).digest()


__all__ = ["Walk", "WalkLimits"]
