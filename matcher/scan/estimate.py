"""What a scan will take, told before it begins: objects, bytes, requests, time and money.

The listing is looked at ahead, up to a bound of time and objects. Where it goes on behind that, all
that is told is told as "at least". Nothing is fetched for it but a few objects, by which the rate
is measured, and those only where the scan may be a big one.
"""

from __future__ import annotations

import asyncio
import random
import time
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final, Protocol

from matcher.scan.model import Batch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.engines.base import Engine
    from matcher.scan.model import Listed, Page
    from matcher.scan.sources.base import Source

_A_LISTING: Final = 1_000  # objects that a store tells in answer to one request
_TRIED: Final = 64  # objects by which a rate is measured
_GB: Final = 10**9  # bytes, as stores put it on their bills


@dataclass(frozen=True, slots=True)
class Bounds:
    """How far ahead is looked.

    Attributes:
        seconds: of listing, all places together.
        objects: that are listed.
        trial_seconds: that the measuring of a rate may take.
    """

    seconds: float = 10.0
    objects: int = 200_000
    trial_seconds: float = 10.0


@dataclass(frozen=True, slots=True)
class Prices:
    """What a store charges; 0 for what is not known, or costs nothing.

    Attributes:
        get, list_: of 1,000 requests.
        gb: of 10^9 bytes that leave it.
    """

    get: float = 0.0
    list_: float = 0.0
    gb: float = 0.0

    def __bool__(self) -> bool:
        return bool(self.get or self.list_ or self.gb)


class Chooser(Protocol):
    """Chooses among what is listed."""

    def passes(self, listed: Listed) -> bool:
        """Whether an object is to be scanned."""
        ...


@dataclass
class Ahead:
    """What was seen of the listing.

    Attributes:
        listed: objects, those that are not selected included.
        objects: to be scanned.
        nbytes: of those, as far as the listing tells.
        unsized: how many of those have no size in the listing.
        complete: the listing ended within the bounds.
        tried: some of the objects, each as likely as any other; by place among the sources.
    """

    listed: int = 0
    objects: int = 0
    nbytes: int = 0
    unsized: int = 0
    complete: bool = False
    tried: list[tuple[int, Listed]] = field(default_factory=list)

    def take(self, source: int, page: Page, chooser: Chooser, left: int | None) -> None:
        """Counts a page; of the objects to be scanned no more than `left`."""
        for listed in page.objects:
            if left is not None and self.objects >= left:
                return
            self.listed += 1
            if not chooser.passes(listed):
                continue
            self.objects += 1
            self.nbytes += listed.size or 0
            self.unsized += listed.size is None
            self._maybe_try(source, listed)

    def _maybe_try(self, source: int, listed: Listed) -> None:
        """Keeps each object with the same chance (reservoir sampling)."""
        if len(self.tried) < _TRIED:
            self.tried.append((source, listed))
        elif (place := random.randrange(self.objects)) < _TRIED:  # noqa: S311  no secret
            self.tried[place] = (source, listed)


@dataclass(frozen=True, slots=True)
class Estimate:
    """What a scan will take.

    Attributes:
        objects, nbytes: to be scanned.
        at_least: there is more than that, for the listing did not end within the bounds.
        seconds: that it will take at the measured rate; None where none was measured.
        list_requests, get_requests: to stores; of folders none.
        cost: in whatever the prices are in; None where there are none.
    """

    objects: int
    nbytes: int
    at_least: bool
    seconds: float | None = None
    list_requests: int = 0
    get_requests: int = 0
    cost: float | None = None

    def is_big(self, *, objects: int, seconds: float) -> bool:
        """Whether it passes either, or may for all that is known."""
        return self.at_least or self.objects > objects or (self.seconds or 0.0) > seconds


async def look_ahead(
    sources: Sequence[Source],
    chooser: Chooser,
    *,
    limit: int | None = None,
    bounds: Bounds | None = None,
) -> Ahead:
    """Lists what will be scanned, as far as the bounds let it.

    Args:
        sources: in the order of the scan's places.
        chooser: which objects are scanned.
        limit: how many at most.
        bounds: how far to look.

    Raises:
        SourceError: a place cannot be listed.
    """
    bounds = bounds or Bounds()
    ahead = Ahead()
    try:
        async with asyncio.timeout(bounds.seconds):
            for number, source in enumerate(sources):
                async with aclosing(source.list()) as pages:  # type: ignore[type-var]
                    async for page in pages:
                        ahead.take(number, page, chooser, limit)
                        if limit is not None and ahead.objects >= limit:
                            ahead.complete = True
                            return ahead
                        if ahead.listed >= bounds.objects:
                            return ahead
    except TimeoutError:
        return ahead
    ahead.complete = True
    return ahead


async def measured_rate(
    ahead: Ahead, engine: Engine, *, bounds: Bounds | None = None
) -> float | None:
    """Objects a second, by scanning a few; what becomes of them is not written down.

    Returns:
        None where it took longer than it may, or there is nothing to try.

    Raises:
        EngineError: nothing can be scanned.
    """
    by_source: dict[int, list[Listed]] = {}
    for source, listed in ahead.tried:
        by_source.setdefault(source, []).append(listed)
    batches = [Batch(0, source, tuple(objects)) for source, objects in by_source.items()]
    begun = time.monotonic()
    try:
        async with asyncio.timeout((bounds or Bounds()).trial_seconds):
            await asyncio.gather(*(engine.scan(each) for each in batches))
    except TimeoutError:
        return None
    seconds = time.monotonic() - begun
    return len(ahead.tried) / seconds if ahead.tried and seconds else None


def estimate(
    ahead: Ahead, *, stores: bool, inventory: bool, rate: float | None, prices: Prices
) -> Estimate:
    """What was seen, as what it will take.

    Args:
        ahead: what was seen of the listing.
        stores: whether objects lie in a store, which counts requests.
        inventory: whether inventories serve as the listing, so that nothing is listed.
        rate: objects a second, None where it was not measured.
        prices: of the store.
    """
    lists = -(-ahead.listed // _A_LISTING) if stores and not inventory else 0
    gets = ahead.objects if stores else 0
    cost = lists / 1_000 * prices.list_ + gets / 1_000 * prices.get + ahead.nbytes / _GB * prices.gb
    return Estimate(
        objects=ahead.objects,
        nbytes=ahead.nbytes,
        at_least=not ahead.complete,
        seconds=ahead.objects / rate if rate else None,
        list_requests=lists,
        get_requests=gets,
        cost=cost if stores and prices else None,
    )


__all__ = [
    "Ahead",
    "Bounds",
    "Estimate",
    "Prices",
    "estimate",
    "look_ahead",
    "measured_rate",
]
