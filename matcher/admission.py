"""Bounds on work in flight, taken before any work is spent.

`Admission` bounds all of it, by count and by bytes: more load than capacity is refused at once with
`OverloadedError`, and nothing queues without bound. `Room` is one such bound; some of it is kept
for those who have little of it, so that no caller takes the room of all others. `Places` does the
same for a few places. `Throttle` bounds the work of a single client whose images keep taking
decoders down. Single event loop only: no lock is needed.
"""

from __future__ import annotations

import math
import time
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from hashlists.words import counted
from matcher.errors import OverloadedError, ThrottledError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

#: Clients whose images took decoders down are remembered up to this number, the latest.
_MOST_CLIENTS = 10_000
_MOST_RETRY_SECONDS = 5
#: One part in so many is shared out among callers.
_SHARED_PART = 5


class Room:
    """Room for so much, of which the last fifth is shared out.

    Whoever comes first has the rest. Of the last fifth a caller has at most as much as is left free
    then: one alone half of it, which is nine tenths of all; two a third of it each. So there is
    some left for one who has none. Until it comes to the last fifth nobody is asked who they are.

    Args:
        size: that all have together.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._unshared = size - size // _SHARED_PART
        self._taken = 0
        self._shared: Counter[str] = Counter()

    @property
    def taken(self) -> int:
        """How much is taken now."""
        return self._taken

    @property
    def is_short(self) -> bool:
        """True while it matters who asks."""
        return self._taken >= self._unshared

    @property
    def is_full(self) -> bool:
        """True while nobody would be given anything."""
        return self._taken >= self._size

    def has(self, amount: int, who: str | None) -> bool:
        """Whether a caller would be given so much; None asks for no caller in particular."""
        if self._taken + amount <= self._unshared:
            return True
        had = 0 if who is None else self._shared[who]
        return had + amount <= self._size - self._taken

    def take(self, amount: int, who: str | None) -> Callable[[], None]:
        """Takes so much, whether there is so much or not; gives what gives it back, once."""
        of = None if self._taken + amount <= self._unshared else who
        self._taken += amount
        if of is not None:
            self._shared[of] += amount
        return partial(self._give_back, amount, of)

    def _give_back(self, amount: int, who: str | None) -> None:
        self._taken -= amount
        if who is not None:
            self._shared[who] -= amount
            if self._shared[who] < 1:
                del self._shared[who]


class Admission:
    """Counts accepted items and their bytes until they are answered.

    Args:
        max_items: items in flight.
        max_bytes: their encoded bytes together.
    """

    def __init__(self, *, max_items: int, max_bytes: int) -> None:
        self._items = Room(max_items)
        self._bytes = Room(max_bytes)

    @property
    def items(self) -> int:
        """Items in flight now."""
        return self._items.taken

    @property
    def is_full(self) -> bool:
        """True while nothing more would be accepted, however small."""
        return self.items > 0 and (self._items.is_full or self._bytes.is_full)

    @property
    def is_short(self) -> bool:
        """True while it matters whose an item is."""
        return self._items.is_short or self._bytes.is_short

    def has_room(self, nbytes: int, who: str | None) -> bool:
        """Whether an item would be accepted; an idle service accepts any single one."""
        fits = self._items.has(1, who) and self._bytes.has(nbytes, who)
        return fits or not self.items

    def take(self, nbytes: int, who: str | None = None) -> Place:
        """A place for one item of `nbytes`, held until it is released.

        Args:
            nbytes: of the item.
            who: sent it; None where that does not matter: whoever comes first is given all.

        Raises:
            OverloadedError: no place is free, or none for who has so many already.
        """
        if not self.has_room(nbytes, who):
            in_flight = counted(self.items, "item is", "items are")
            raise OverloadedError(f"{in_flight} in flight; try again, with back-off")
        return Place(self._items.take(1, who), self._bytes.take(nbytes, who))

    @contextmanager
    def admit(self, nbytes: int, who: str | None = None) -> Iterator[None]:
        """Holds a place for one item of `nbytes` while the block runs.

        Raises:
            OverloadedError: as `take`.
        """
        place = self.take(nbytes, who)
        try:
            yield
        finally:
            place.release()


class Places:
    """A few places for work that lasts, of which no caller has the last one, too.

    Args:
        size: how many.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._of_one = max(1, size - 1)
        self._taken: Counter[str] = Counter()

    def take(self, who: str) -> Place:
        """A place, held until it is released.

        Raises:
            OverloadedError: none is free, or `who` has all but one.
        """
        taken = self._taken.total()
        if taken >= self._size or self._taken[who] >= self._of_one:
            under_way = counted(taken, "is", "are")
            raise OverloadedError(f"{under_way} under way; try again, with back-off")
        self._taken[who] += 1
        return Place(partial(self._give_back, who))

    @contextmanager
    def held(self, who: str) -> Iterator[None]:
        """Holds a place while the block runs.

        Raises:
            OverloadedError: as `take`.
        """
        place = self.take(who)
        try:
            yield
        finally:
            place.release()

    def _give_back(self, who: str) -> None:
        self._taken[who] -= 1
        if not self._taken[who]:
            del self._taken[who]


class Place:
    """One item's place; see `Admission.take` and `Places.take`."""

    def __init__(self, *give_back: Callable[[], None]) -> None:
        self._give_back = give_back

    def release(self) -> None:
        """Gives the place back; a second call does nothing."""
        give_back, self._give_back = self._give_back, ()
        for each in give_back:
            each()


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
