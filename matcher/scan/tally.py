"""What records add up to: numbers alone, so that the page for people needs no address.

Tallies of batches are added up; however they are grouped, the sum is the same.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from matcher.scan.model import FOUND

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.scan.model import BatchResult, Record

Counts = dict[str, int]


class ListTally(msgspec.Struct):
    """The objects of which a list knows something, each counted once.

    Attributes:
        outcomes: objects by outcome.
        severities: objects by the severity of their strongest match in the list.
        distances: near matches by kind and distance, as "pdq 12"; of an object the nearest.
    """

    harm: str = ""
    outcomes: Counts = msgspec.field(default_factory=dict)
    severities: Counts = msgspec.field(default_factory=dict)
    distances: Counts = msgspec.field(default_factory=dict)


class Tally(msgspec.Struct):
    """Sums over batches.

    Attributes:
        objects: records of objects of the listing.
        members: records of members of archives.
        listed_bytes: of those objects, as far as the listing tells.
        fetched_bytes: that were read.
        outcomes: objects by outcome; they add up to `objects`.
        member_outcomes: members by outcome.
        reasons: objects and members by "outcome: reason".
        ways, formats: objects and members by `Way`, and by the pictures' format.
        lists: by the list's name.
        revisions: objects by the revision that they were looked up in.
    """

    objects: int = 0
    members: int = 0
    listed_bytes: int = 0
    fetched_bytes: int = 0
    outcomes: Counts = msgspec.field(default_factory=dict)
    member_outcomes: Counts = msgspec.field(default_factory=dict)
    reasons: Counts = msgspec.field(default_factory=dict)
    ways: Counts = msgspec.field(default_factory=dict)
    formats: Counts = msgspec.field(default_factory=dict)
    lists: dict[str, ListTally] = msgspec.field(default_factory=dict)
    revisions: Counts = msgspec.field(default_factory=dict)

    @classmethod
    def of(cls, result: BatchResult) -> Tally:
        """The sums of one batch."""
        tally = cls(fetched_bytes=result.fetched_bytes)
        for record in result.records:
            tally._take(record)
        return tally

    def add(self, other: Tally) -> None:
        """Takes the sums of another one."""
        self.objects += other.objects
        self.members += other.members
        self.listed_bytes += other.listed_bytes
        self.fetched_bytes += other.fetched_bytes
        for mine, theirs in (
            (self.outcomes, other.outcomes),
            (self.member_outcomes, other.member_outcomes),
            (self.reasons, other.reasons),
            (self.ways, other.ways),
            (self.formats, other.formats),
            (self.revisions, other.revisions),
        ):
            _add(mine, theirs)
        for name, its in other.lists.items():
            own = self.lists.setdefault(name, ListTally(its.harm))
            _add(own.outcomes, its.outcomes)
            _add(own.severities, its.severities)
            _add(own.distances, its.distances)

    def _take(self, record: Record) -> None:
        if record.member:
            self.members += 1
            _count(self.member_outcomes, record.outcome)
        else:
            self.objects += 1
            self.listed_bytes += record.size or 0
            _count(self.outcomes, record.outcome)
        if record.reason:
            _count(self.reasons, f"{record.outcome}: {record.reason}")
        _count(self.ways, record.way)
        if record.format:
            _count(self.formats, record.format)
        if record.revision:
            _count(self.revisions, str(record.revision))
        if record.outcome in FOUND:
            self._take_matches(record)

    def _take_matches(self, record: Record) -> None:
        met: set[str] = set()
        nearest: dict[tuple[str, str], int] = {}
        for match in record.matches:
            its = self.lists.setdefault(match.list, ListTally(match.harm))
            if match.list not in met:  # the strongest comes first
                met.add(match.list)
                _count(its.outcomes, record.outcome)
                _count(its.severities, match.severity)
            if match.basis == "near" and match.distance is not None:
                place = (match.list, match.kind)
                nearest[place] = min(match.distance, nearest.get(place, match.distance))
        for (name, kind), distance in nearest.items():
            _count(self.lists[name].distances, f"{kind} {distance}")


def _add(counts: Counts, more: Mapping[str, int]) -> None:
    for key, number in more.items():
        _count(counts, key, number)


def _count(counts: Counts, key: str, number: int = 1) -> None:
    key = str(key)  # of an enumeration the text, as it is read back
    counts[key] = counts.get(key, 0) + number


__all__ = ["Counts", "ListTally", "Tally"]
