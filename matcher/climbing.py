"""Notices who climbs: alters an image a little, asks, and alters it again, until it passes.

Of each client the latest PDQ codes are kept that came near an entry, or near such a code: a ring
of fixed size, in memory alone, forgotten with the process. A query that lies close to many of them,
but is equal to none, is a step of a series. A series is one of a climber where it crosses the
border, as some steps matched and others did not: copies of an image that spreads are mostly on one
side. What clients ask at other processes of the machine counts as far as they tell (`learn`). What
this can and cannot notice is told in ADR 0022.

Not for several threads.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

_CODE_BYTES = 32
#: Codes of one client, the latest.
RING = 128
#: Clients, those who asked last.
MAX_CLIENTS = 1_000
#: Bits by which steps of a series differ at most; PDQ's own threshold.
NEAR_BITS = 31
#: Steps on either side of the border.
EACH_SIDE = 3


@dataclass(frozen=True, slots=True)
class Series:
    """A series of near-identical queries.

    Attributes:
        client: who asked.
        steps: how many different codes.
        matched: of these, how many matched.
        is_new: this client had none for as long as a series lasts.
        may_ask: whether one more answer is due, where answers of a series are held to a rate.
        retry_seconds: after which one is.
    """

    client: str
    steps: int
    matched: int
    is_new: bool
    may_ask: bool
    retry_seconds: int


@dataclass(slots=True)
class _Ring:
    codes: NDArray[np.uint8] = field(
        default_factory=lambda: np.zeros((RING, _CODE_BYTES), dtype=np.uint8)
    )
    at: NDArray[np.float64] = field(default_factory=lambda: np.full(RING, -math.inf))
    matched: NDArray[np.bool_] = field(default_factory=lambda: np.zeros(RING, dtype=np.bool_))
    place: int = 0
    told_until: float = -math.inf
    next_answer: float = -math.inf

    def put(self, code: NDArray[np.uint8], *, matched: bool, now: float) -> None:
        self.codes[self.place] = code
        self.at[self.place] = now
        self.matched[self.place] = matched
        self.place = (self.place + 1) % RING


class Climbing:
    """Watches the queries of clients.

    Args:
        steps: different codes that make a series.
        seconds: within which they come; and for which a client is not told of again.
        answer_seconds: from one answer within a series to the next, where they are held to a rate.
        clock: seconds that never go back.
        on_note: is called with each query that is noted, as `look` is; for other processes.
    """

    def __init__(
        self,
        *,
        steps: int,
        seconds: float,
        answer_seconds: float,
        clock: Callable[[], float] = time.monotonic,
        on_note: Callable[[str, bytes, bool], None] | None = None,
    ) -> None:
        self._steps = steps
        self._on_note = on_note
        self._seconds = seconds
        self._answer_seconds = answer_seconds
        self._clock = clock
        self._rings: OrderedDict[str, _Ring] = OrderedDict()
        self.noticed = 0

    def knows(self, client: str) -> bool:
        """Whether a client matched lately; of another, a query that does not is no step."""
        return client in self._rings

    def look(self, client: str, code: bytes, *, matched: bool) -> Series | None:
        """Notes a query, and tells the series that it belongs to.

        Args:
            client: who asks, as far as that is known.
            code: PDQ code of the upright view, 32 bytes.
            matched: the query matched, or is to be reviewed, by how it looks.

        Returns:
            None where there is no series, as nearly always.
        """
        now = self._clock()
        near = self._note(client, code, matched=matched, now=now)
        if near is None:
            return None
        if self._on_note is not None:
            self._on_note(client, code, matched)
        return self._series(client, self._rings[client], near, matched=matched, now=now)

    def learn(self, client: str, code: bytes, *, matched: bool) -> None:
        """Notes a query that another process was asked.

        Raises:
            ValueError: that is no PDQ code.
        """
        if len(code) != _CODE_BYTES:
            raise ValueError(f"a PDQ code has {_CODE_BYTES} bytes, not {len(code)}")
        self._note(client, code, matched=matched, now=self._clock())

    def learn_series(self, client: str, *, answered: bool) -> None:
        """Another process has told of a client's series, and answered a query of it or not."""
        ring = self._rings.get(client) or self._new_ring(client)
        now = self._clock()
        ring.told_until = now + self._seconds
        if answered:
            ring.next_answer = now + self._answer_seconds

    def _note(
        self, client: str, code: bytes, *, matched: bool, now: float
    ) -> NDArray[np.bool_] | None:
        """Keeps a query; which of the ring's are near it and not equal. None: it is no step."""
        ring = self._rings.get(client)
        if ring is None:
            if not matched:
                return None
            ring = self._new_ring(client)
        self._rings.move_to_end(client)
        asked = np.frombuffer(code, dtype=np.uint8)
        bits = np.bitwise_count(ring.codes ^ asked).sum(axis=1, dtype=np.int64)
        near = (now - ring.at <= self._seconds) & (bits <= NEAR_BITS)
        same = near & (bits == 0)
        if same.any():
            ring.at[same] = now
        elif matched or near.any():
            ring.put(asked, matched=matched, now=now)
        else:
            return None
        steps: NDArray[np.bool_] = near & ~same
        return steps

    def _series(
        self, client: str, ring: _Ring, near: NDArray[np.bool_], *, matched: bool, now: float
    ) -> Series | None:
        steps = int(near.sum()) + 1
        inside = int((near & ring.matched).sum()) + matched
        if steps < self._steps or min(inside, steps - inside) < EACH_SIDE:
            return None
        is_new = now >= ring.told_until
        ring.told_until = now + self._seconds
        self.noticed += is_new
        may_ask = now >= ring.next_answer
        if may_ask:
            ring.next_answer = now + self._answer_seconds
        wait = max(1, math.ceil(ring.next_answer - now))
        return Series(client, steps, inside, is_new, may_ask, wait)

    def _new_ring(self, client: str) -> _Ring:
        ring = self._rings[client] = _Ring()
        if len(self._rings) > MAX_CLIENTS:
            self._rings.popitem(last=False)
        return ring


__all__ = ["Climbing", "Series"]
