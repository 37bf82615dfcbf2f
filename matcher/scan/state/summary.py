"""What a scan has come to: told from its running sums, however many objects there are."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final, NamedTuple

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.scan.document import ScanDocument
    from matcher.scan.tally import Tally

MOST_BUCKETS: Final = 500


class RunEnd(StrEnum):
    """How a run has ended."""

    DONE = "done"  # nothing is left to scan
    INTERRUPTED = "interrupted"  # a person stopped it
    FAILED = "failed"  # an error ended it
    KILLED = "killed"  # nothing was written down of its end


@dataclass(frozen=True, slots=True)
class Run:
    """One go at a scan.

    Attributes:
        number: from 1.
        began_at: seconds since 1970, UTC.
        revision, policy, policy_version: of what it looked up; 0 and empty where a server was asked
            that had not told yet.
        hashed: names of the views and kinds that were hashed.
        decoders: and their versions, in a line; empty where they are not known.
        ended_at: as `began_at`; of one that was killed when it last finished a batch; 0 while it is
            at work, or where it never did.
        how: a `RunEnd`; empty while it is at work.
        objects: that were finished in it.
        changed: what was not so in the run before, by name: then and now.
    """

    number: int
    began_at: float
    revision: int
    policy: str
    policy_version: str
    hashed: tuple[str, ...] = ()
    decoders: str = ""
    ended_at: float = 0.0
    how: str = ""
    objects: int = 0
    changed: Mapping[str, tuple[str, str]] = field(default_factory=dict)


class Work(NamedTuple):
    """What was finished in one stretch of time.

    Attributes:
        seconds: of work since the beginning of the first run, to the beginning of the stretch.
        objects: finished in it.
        bytes: fetched for them.
    """

    seconds: float
    objects: int
    bytes: int


class Timeline(msgspec.Struct):
    """How work went on, in equal stretches of time; the longer it takes, the longer they are.

    Attributes:
        seconds: of one stretch.
        objects, bytes: by stretch, at most `MOST_BUCKETS`.
    """

    seconds: float = 1.0
    objects: list[int] = msgspec.field(default_factory=list)
    bytes: list[int] = msgspec.field(default_factory=list)

    def add(self, at: float, objects: int, fetched: int) -> None:
        """Takes what was finished after so many seconds of work."""
        while at >= self.seconds * MOST_BUCKETS:
            self._coarsen()
        place = int(at / self.seconds)
        missing = place + 1 - len(self.objects)
        self.objects += [0] * missing
        self.bytes += [0] * missing
        self.objects[place] += objects
        self.bytes[place] += fetched

    def points(self) -> tuple[Work, ...]:
        """Every stretch, also those in which nothing was finished."""
        return tuple(
            Work(place * self.seconds, objects, fetched)
            for place, (objects, fetched) in enumerate(zip(self.objects, self.bytes, strict=True))
        )

    def _coarsen(self) -> None:
        self.seconds *= 2
        self.objects = _pairs(self.objects)
        self.bytes = _pairs(self.bytes)


@dataclass(frozen=True, slots=True)
class ScanSummary:
    """What a scan has come to.

    Attributes:
        document: what was asked for.
        runs: the first one first.
        listed, listed_bytes: objects of the listing so far, and their bytes as far as it tells.
        listing_done: nothing is left to list.
        finished: objects that have their record.
        batches: finished ones.
        tally: what the records add up to.
        not_selected: objects that were met and not asked for.
        skipped: what was met and is no object that can be scanned, by reason.
        kept: objects whose hashes are kept.
        work_seconds: of all runs.
        bucket_seconds: of one of the timeline's stretches.
        timeline: how work went on, at most `MOST_BUCKETS` stretches.
    """

    document: ScanDocument
    runs: tuple[Run, ...]
    listed: int
    listed_bytes: int
    listing_done: bool
    finished: int
    batches: int
    tally: Tally
    not_selected: int
    skipped: Mapping[str, int]
    kept: int
    work_seconds: float
    bucket_seconds: float
    timeline: tuple[Work, ...]

    @property
    def done(self) -> bool:
        """Whether every object of every place has its record."""
        return self.listing_done and self.finished == self.listed


def changes(before: Run | None, now: Run) -> dict[str, tuple[str, str]]:
    """In what a run differs from the one before, by name: then and now."""
    if before is None:
        return {}
    return {
        name: (str(then), str(since))
        for name in ("revision", "policy", "policy_version")
        if (then := getattr(before, name)) != (since := getattr(now, name))
    }


def _pairs(numbers: list[int]) -> list[int]:
    return [sum(numbers[at : at + 2]) for at in range(0, len(numbers), 2)]


__all__ = ["MOST_BUCKETS", "Run", "RunEnd", "ScanSummary", "Timeline", "Work", "changes"]
