"""Bounds how often one place may try credentials that are wrong.

A place is an address, or a network of 64 bits with IPv6. Once it has failed too often, all that is
wrong is refused for a while without a word of why. What is right is never asked about here: tokens
hold 256 bits, so nobody guesses one, and behind one address are many machines, with some load
balancers all: what one does wrong must not keep the uploads of another from being looked at.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from matcher.service.callers import place_of

if TYPE_CHECKING:
    from collections.abc import Callable

#: Failures that a place has at once, and seconds after which it has one more.
BURST, REFILL_SECONDS = 10, 6.0
_MOST_PLACES = 10_000


@dataclass(slots=True)
class _Place:
    left: float
    at: float


class Attempts:
    """Counts failures. Single event loop only.

    Args:
        clock: seconds that never go back.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._places: OrderedDict[str, _Place] = OrderedDict()

    def wait(self, peer: str) -> float:
        """Seconds until a place may fail again; 0 where it may now."""
        place = self._places.get(place_of(peer))
        if place is None:
            return 0.0
        left = self._refilled(place)
        return 0.0 if left >= 1 else (1 - left) * REFILL_SECONDS

    def failed(self, peer: str) -> None:
        """Counts a failure."""
        place = self._place(peer)
        place.left, place.at = max(0.0, self._refilled(place) - 1), self._clock()

    def _place(self, peer: str) -> _Place:
        name = place_of(peer)
        place = self._places.setdefault(name, _Place(float(BURST), self._clock()))
        self._places.move_to_end(name)
        if len(self._places) > _MOST_PLACES:
            self._places.popitem(last=False)
        return place

    def _refilled(self, place: _Place) -> float:
        return min(float(BURST), place.left + (self._clock() - place.at) / REFILL_SECONDS)


__all__ = ["BURST", "REFILL_SECONDS", "Attempts"]
