"""Bounds on work in flight, taken before any work is spent.

`Admission` bounds all of it, by count and by bytes: more load than capacity is refused at once with
`OverloadedError`, and nothing queues without bound. `Throttle` bounds that of a single client whose
images keep taking decoders down. Single event loop only: no lock is needed.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.words import counted
from matcher.errors import OverloadedError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Clients whose images took decoders down are remembered up to this number, the latest.
_MOST_CLIENTS = 10_000
_MOST_RETRY_SECONDS = 5


class Admission:
    """Counts accepted items and their bytes until they are answered.

    Args:
        max_items: items in flight.
        max_bytes: their encoded bytes together.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._items = 0
        self._bytes = 0

    @property
    def items(self) -> int:
        """Items in flight now."""
        return self._items

    @property
    def is_full(self) -> bool:
        """True while nothing more would be accepted, however small."""
        return self._items > 0 and (
            self._items >= self._max_items or self._bytes >= self._max_bytes
        )

    def take(self, nbytes: int) -> Place:
        """A place for one item of `nbytes`, held until it is released.

        Raises:
            OverloadedError: no place is free; an idle service accepts any single item.
        """
        full = self._items >= self._max_items or self._bytes + nbytes > self._max_bytes
        if self._items and full:
            in_flight = counted(self._items, "item is", "items are")
            raise OverloadedError(f"{in_flight} in flight; try again, with back-off")
        self._items += 1
        self._bytes += nbytes
        return Place(self, nbytes)

    @contextmanager
    def admit(self, nbytes: int) -> Iterator[None]:
        """Holds a place for one item of `nbytes` while the block runs.

        Raises:
            OverloadedError: as `take`.
        """
        place = self.take(nbytes)
        try:
            yield
        finally:
            place.release()

    def _give_back(self, nbytes: int) -> None:
        self._items -= 1
        self._bytes -= nbytes


class Place:
    """One item's place; see `Admission.take`."""

    def __init__(self, admission: Admission, nbytes: int) -> None:
        self._admission = admission
        self._nbytes = nbytes
        self._held = True

    def release(self) -> None:
        """Gives the place back; a second call does nothing."""
        if self._held:
            self._held = False
            self._admission._give_back(self._nbytes)  # noqa: SLF001 - its other half


class Throttle:
    """Keeps the decoders of others from a client whose images take theirs down.

    A client may do so `burst` times, and once more whenever `refill_seconds` have passed. Past that
    it has `places` images in work at a time and no more. It is never shut out: what it sends comes
    from its own users, of whom one could else keep those of all others from being looked at.

    Args:
        burst: images that may take down their decoders at once, before their client is held back.
        refill_seconds: after which one of them is forgiven.
        places: images in work of one client that is held back.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        burst: int,
        refill_seconds: float,
        places: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._burst = burst
        self._refill_seconds = refill_seconds
        self._places = places
        self._clock = clock
        self._in_work: Counter[str] = Counter()
        self._buckets: OrderedDict[str, _Bucket] = OrderedDict()
        self.refused = 0

    @property
    def held_back(self) -> int:
        """Clients that are held back now; from any thread."""
        buckets = list(self._buckets.values())  # asked for by other threads, too
        return sum(self._left(each) < 1 for each in buckets)

    def take(self, client: str) -> Turn:
        """A client's turn for one image, to be ended.

        Raises:
            ThrottledError: it is held back, and has as many images in work as it may.
        """
        bucket = self._buckets.get(client)
        if bucket is not None and self._in_work[client] >= self._places:
            left = self._left(bucket)
            if left < 1:
                self.refused += 1
                wait = math.ceil((1 - left) * self._refill_seconds)
                raise ThrottledError(
                    "images that you sent took down their decoders, so only "
                    f"{self._places} of yours are looked at a time; try again",
                    retry_seconds=max(1, min(wait, _MOST_RETRY_SECONDS)),
                )
        self._in_work[client] += 1
        return Turn(self, client)

    def _end(self, client: str, *, fatal: bool) -> None:
        self._in_work[client] -= 1
        if not self._in_work[client]:
            del self._in_work[client]
        if fatal:
            self._charge(client)

    def _charge(self, client: str) -> None:
        bucket = self._buckets.setdefault(client, _Bucket(self._burst, self._clock()))
        bucket.left, bucket.at = max(0.0, self._left(bucket) - 1), self._clock()
        self._buckets.move_to_end(client)
        if len(self._buckets) > _MOST_CLIENTS:
            self._buckets.popitem(last=False)

    def _left(self, bucket: _Bucket) -> float:
        refilled = (self._clock() - bucket.at) / self._refill_seconds
        return min(float(self._burst), bucket.left + refilled)


class Turn:
    """One image of a client; see `Throttle.take`."""

    def __init__(self, throttle: Throttle, client: str) -> None:
        self._throttle = throttle
        self._client = client
        self._held = True

    def end(self, *, fatal: bool = False) -> None:
        """The image is answered; a second call does nothing.

        Args:
            fatal: it took down its decoder.
        """
        if self._held:
            self._held = False
            self._throttle._end(self._client, fatal=fatal)  # noqa: SLF001 - its other half


@dataclass(slots=True)
class _Bucket:
    """How often more images of a client may take down their decoders, as of a time."""

    left: float
    at: float
