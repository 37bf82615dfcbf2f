"""Entries that are hit far more often than usual: mostly wrong ones, or of images that spread.

Hits are counted in bounded memory, by the algorithm of Misra and Gries ("Finding repeated
elements", 1982): a count never exceeds the truth, and falls short of it by at most the hits of a
window over the number of counters plus one. So crowding can hide an entry, but nothing is flagged
that was not hit as often as is told.

What is usual is an entry's own mean over the windows before, grown as all other hits have: twice
the traffic makes no entry hot. An entry that was never hit has no usual, so there is a floor as
well, which is higher in the first window, when nothing is known to be usual. Ids of entries and
numbers are all that is kept, since the start of the process. Hits at other processes of the machine
count as well, as far as they are told of (`learn`); an entry is flagged by a hit here alone.

Not for several threads.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

MAX_COUNTERS = 10_000
MAX_FLAGS = 1_000
#: Windows for which an entry stays flagged after the last in which it was hot.
FLAGGED_WINDOWS = 24
#: Weight of the newest window in what is usual.
_NEWEST = 0.1
#: Hits a window below which what is usual is forgotten.
_FORGOTTEN = 0.01


@dataclass(frozen=True, slots=True)
class HotEntry:
    """An entry that was flagged.

    Attributes:
        entry_id: the catalog's.
        hits: in the window, up to then; no more than there were.
        usual: expected in a whole window.
        window_seconds: how long a window is.
    """

    entry_id: int
    hits: int
    usual: float
    window_seconds: float


class FrequentItems:
    """Counts the most frequent of any number of items in bounded memory.

    Args:
        size: counters.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._counts: dict[int, int] = {}
        self._short = 0

    @property
    def counts(self) -> Mapping[int, int]:
        """What is counted: no more than the truth, and less by `shortfall` at most."""
        return self._counts

    @property
    def shortfall(self) -> int:
        """By how much any count may be too low; that of an item without a counter, too."""
        return self._short

    def add(self, item: int) -> int:
        """Counts an item, and gives its count."""
        count = self._counts.get(item)
        if count is not None or len(self._counts) < self._size:
            self._counts[item] = (count or 0) + 1
            return self._counts[item]
        # All counters and this item give one up; as many hits pay for it as there are counters.
        self._short += 1
        self._counts = {each: left - 1 for each, left in self._counts.items() if left > 1}
        return 0


class HotEntries:
    """Flags entries.

    Args:
        floor: hits in a window below which nothing is flagged.
        factor: how many times the usual is far more.
        window_seconds: over which hits are counted.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        *,
        floor: int,
        factor: float,
        window_seconds: float,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._floor = floor
        self._factor = factor
        self._window_seconds = window_seconds
        self._clock = clock
        self._window = 0
        self._began = clock()
        self._hits = FrequentItems(MAX_COUNTERS)
        self._total = 0
        self._usual: dict[int, float] = {}
        self._usual_total = 0.0
        self._flags: OrderedDict[int, int] = OrderedDict()
        self._reviewed: OrderedDict[int, int] = OrderedDict()
        self.flagged = 0

    @property
    def flags(self) -> int:
        """Entries that are flagged now; from any thread."""
        return len(self._flags)

    def is_flagged(self, entry_id: int) -> bool:
        """Whether an entry is flagged now."""
        self._turn()
        return entry_id in self._flags

    def add(self, entry_ids: Iterable[int]) -> list[HotEntry]:
        """Counts the entries that one upload hit, each once, and gives those that became hot."""
        self._turn()
        found = []
        for entry_id in set(entry_ids):
            self._total += 1
            hits = self._hits.add(entry_id)
            if hits < (self._floor if self._window else self._floor * self._factor):
                continue
            if entry_id in self._reviewed:
                continue
            usual = self._expected(entry_id, hits)
            if hits >= self._factor * usual and self._flag(entry_id):
                self.flagged += 1
                found.append(HotEntry(entry_id, hits, usual, self._window_seconds))
        return found

    def learn(self, entry_ids: Iterable[int]) -> None:
        """Counts the entries that one upload hit at another process; flags none."""
        self._turn()
        for entry_id in set(entry_ids):
            self._total += 1
            self._hits.add(entry_id)

    def learn_flagged(self, entry_id: int) -> None:
        """Another process has flagged an entry, and told it."""
        self._turn()
        if entry_id not in self._reviewed:
            self._flag(entry_id)

    def reviewed(self, entry_id: int) -> None:
        """Somebody looked at an entry: it is not flagged, for as long as a flag would last."""
        self._turn()
        self._flags.pop(entry_id, None)
        self._mark(self._reviewed, entry_id)

    def _expected(self, entry_id: int, hits: int) -> float:
        """What is usual for an entry, where all others are hit as they are now."""
        if not self._window:
            return 0.0
        weight = 1 - (1 - _NEWEST) ** self._window  # as little as is known in the beginning
        usual = self._usual.get(entry_id, 0.0) / weight
        others = self._usual_total / weight - usual
        if others < 1:
            return usual
        return usual * max(1.0, (self._total - hits) / others)

    def _flag(self, entry_id: int) -> bool:
        """Flags an entry, or does so for longer; whether it was not flagged."""
        is_new = entry_id not in self._flags
        self._mark(self._flags, entry_id)
        return is_new

    def _mark(self, marks: OrderedDict[int, int], entry_id: int) -> None:
        """Marks an entry for as long as a flag lasts; the oldest mark makes room."""
        marks[entry_id] = self._window + FLAGGED_WINDOWS
        marks.move_to_end(entry_id)
        if len(marks) > MAX_FLAGS:
            marks.popitem(last=False)

    def _turn(self) -> None:
        """Begins another window where the last is over."""
        passed = int((self._clock() - self._began) // self._window_seconds)
        if passed < 1:
            return
        self._began += passed * self._window_seconds
        self._window += passed
        # The windows without a hit behind the last one count, too.
        older = (1 - _NEWEST) ** passed
        newer = _NEWEST * (1 - _NEWEST) ** (passed - 1)
        counts = self._hits.counts
        usual = {
            each: self._usual.get(each, 0.0) * older + counts.get(each, 0) * newer
            for each in {*self._usual, *counts}
        }
        kept = sorted(usual.items(), key=lambda item: item[1], reverse=True)[:MAX_COUNTERS]
        self._usual = {each: value for each, value in kept if value >= _FORGOTTEN}
        self._usual_total = self._usual_total * older + self._total * newer
        self._hits, self._total = FrequentItems(MAX_COUNTERS), 0
        for marks in (self._flags, self._reviewed):
            for each in [each for each, until in marks.items() if until < self._window]:
                del marks[each]


__all__ = ["FrequentItems", "HotEntries", "HotEntry"]
