"""How far a scan is, how fast it goes, and when it will be done: numbers that displays show.

Rates are those of the last minute, so that they follow a store that slows down; what is left is
told by them, and only where the number of all objects is known.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import InitVar, dataclass, field
from typing import TYPE_CHECKING, Any, Final

from matcher.scan.events import Finished, Planned, Retried, Throttled
from matcher.scan.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from matcher.scan.events import Event
    from matcher.scan.tally import Tally

_WINDOW_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 1.0  # below which a rate says nothing


@dataclass(frozen=True, slots=True)
class Moment:
    """What was done by then.

    Attributes:
        at: seconds, of the clock that the meter is given.
        objects: of the listing.
        nbytes: that were fetched.
    """

    at: float
    objects: int
    nbytes: int


@dataclass
class Meter:
    """Counts what a run does; the caller tells the time.

    Attributes:
        begun: when the run began, in seconds of the caller's clock.
        sources: whose listing has not ended, by their places among the scan's URLs.
        listed: objects that are planned or finished.
        total: objects of the whole scan; None while nobody knows.
        done: objects with a record, those of earlier runs included.
        nbytes: that were fetched in this run.
        outcomes: of those objects and of members of archives, by `Outcome`.
        members: of archives.
        retried, throttled: how often an object was fetched anew, and a store asked for patience.
        prefix: where in the listing the newest batch lies.
    """

    begun: float
    sources: InitVar[Collection[int]] = ()
    listed: int = 0
    total: int | None = None
    done: int = 0
    nbytes: int = 0
    outcomes: Counter[str] = field(default_factory=Counter)
    members: int = 0
    retried: int = 0
    throttled: int = 0
    prefix: str = ""
    _open: set[int] = field(default_factory=set)
    _moments: deque[Moment] = field(default_factory=deque)

    def __post_init__(self, sources: Collection[int]) -> None:
        """The run begins."""
        self._open = {*sources}
        if not self._open:
            self.total = self.listed
        self._moments.append(Moment(self.begun, self.done, self.nbytes))

    @classmethod
    def resumed(
        cls,
        begun: float,
        tally: Tally,
        *,
        sources: Collection[int],
        listed: int,
        expected: int | None = None,
    ) -> Meter:
        """A meter that goes on from what is finished already.

        Args:
            begun: when the run begins.
            tally: of what is finished.
            sources: whose listing has not ended.
            listed: objects that are planned or finished.
            expected: objects of the whole scan as they were seen ahead; the listing tells better.
        """
        outcomes = Counter(tally.outcomes) + Counter(tally.member_outcomes)
        return cls(
            begun,
            sources,
            listed=listed,
            total=expected,
            done=tally.objects,
            outcomes=outcomes,
            members=tally.members,
        )

    def take(self, event: Event, *, at: float) -> None:
        """Counts what the run tells."""
        match event:
            case Planned():
                self._planned(event)
            case Finished():
                self._finished(event, at)
            case Retried():
                self.retried += 1
            case Throttled():
                self.throttled += 1

    def _planned(self, event: Planned) -> None:
        self.listed += event.objects
        if event.complete:
            self._open.discard(event.source)
        if not self._open:
            self.total = self.listed

    def _finished(self, event: Finished, at: float) -> None:
        tally = event.tally
        self.done += tally.objects
        self.members += tally.members
        self.outcomes.update(tally.outcomes)
        self.outcomes.update(tally.member_outcomes)
        self.nbytes += tally.fetched_bytes
        self.prefix = event.folder
        self._moments.append(Moment(at, self.done, self.nbytes))

    def rates(self, at: float) -> tuple[float, float]:
        """Objects and bytes a second, of the last minute."""
        while len(self._moments) > 1 and self._moments[1].at <= at - _WINDOW_SECONDS:
            self._moments.popleft()
        first = self._moments[0]
        seconds = at - first.at
        if seconds < _LEAST_SECONDS:
            return 0.0, 0.0
        return (self.done - first.objects) / seconds, (self.nbytes - first.nbytes) / seconds

    def seconds_left(self, at: float) -> float | None:
        """How long the rest will take; None where nobody can tell yet."""
        objects, _ = self.rates(at)
        if self.total is None or not objects:
            return None
        return max(0, self.total - self.done) / objects

    def count(self, outcome: Outcome) -> int:
        """Objects and members with an outcome."""
        return self.outcomes[outcome.value]

    def record(self, at: float) -> Mapping[str, Any]:
        """What it shows, as an object of JSON."""
        objects, nbytes = self.rates(at)
        left = self.seconds_left(at)
        return {
            "objects": self.done,
            "total": self.total,
            "members": self.members,
            "fetched_bytes": self.nbytes,
            "objects_per_second": round(objects, 2),
            "bytes_per_second": round(nbytes),
            "seconds": round(at - self.begun, 1),
            "seconds_left": None if left is None else round(left),
            "outcomes": {each.value: self.count(each) for each in Outcome},
            "retried": self.retried,
            "throttled": self.throttled,
        }


__all__ = ["Meter"]
