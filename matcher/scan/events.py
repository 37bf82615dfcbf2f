"""What a run tells while it goes on, for a display: numbers, and where it is.

Places and names are for the terminal of who scans, and for nobody else: no event is written down.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.scan.model import FailureReason
    from matcher.scan.tally import Tally


@dataclass(frozen=True, slots=True)
class Planned:
    """A part of the listing was written down.

    Attributes:
        source: which of the scan's URLs, from 0.
        objects, nbytes: that are to be scanned, and their size as far as the listing tells.
        not_selected: objects that the selection left out.
        skipped: what is no object that can be scanned, by reason.
        complete: nothing more of this source will be listed.
    """

    source: int
    objects: int
    nbytes: int
    not_selected: int = 0
    skipped: Mapping[str, int] = field(default_factory=dict)
    complete: bool = False


@dataclass(frozen=True, slots=True)
class Finished:
    """A batch was finished, and that is written down.

    Attributes:
        source: which of the scan's URLs, from 0.
        tally: of the batch.
        seconds: that it took.
        folder: of its last object's key; empty for the uppermost.
    """

    source: int
    tally: Tally
    seconds: float
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Throttled:
    """A store asked for less.

    Attributes:
        source: which of the scan's URLs, from 0.
        at_once: how many objects are fetched at a time now.
    """

    source: int
    at_once: int


@dataclass(frozen=True, slots=True)
class Retried:
    """An object will be fetched once more.

    Attributes:
        source: which of the scan's URLs, from 0.
        reason: why it could not be read this time.
        attempt: how often that was tried, from 1.
    """

    source: int
    reason: FailureReason
    attempt: int


@dataclass(frozen=True, slots=True)
class Ended:
    """The run is over; nothing comes behind it.

    Attributes:
        complete: every object of the listing has its record.
        left: batches that are planned and not finished.
    """

    complete: bool
    left: int = 0


Event = Planned | Finished | Throttled | Retried | Ended


def unheard(event: Event) -> None:
    """Where nobody listens."""


__all__ = [
    "Ended",
    "Event",
    "Finished",
    "Planned",
    "Retried",
    "Throttled",
    "unheard",
]
