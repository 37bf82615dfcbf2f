"""What the page says, as plain values: numbers put in order, and their words. Pure.

Nothing here is an address, and nothing a hash; texts are as they were met, and not yet escaped.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.words import counted
from matcher.policy.severity import BUILT_IN_ORDER
from matcher.scan.model import Outcome
from matcher.scan.reports.addresses import moment
from matcher.scan.reports.advice import Advice, advice_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matcher.scan.document import Place, Selection
    from matcher.scan.state.summary import ScanSummary
    from matcher.scan.tally import Tally

#: In the order in which they are shown, the gravest first.
OUTCOMES: Final = (
    (Outcome.MATCHED, "Matched", "a list knows it, and the policy says that this is enough"),
    (Outcome.REVIEW, "Needs review", "like something that a list knows; a person must judge"),
    (Outcome.NOT_HASHABLE, "Not hashable", "looked up by its bytes alone, and by these not known"),
    (Outcome.FAILED, "Failed", "no answer: nothing is known of it"),
    (Outcome.NO_KNOWN_MATCH, "No known match", "in none of the lists, as far as was looked"),
)
_MOST_COLUMNS: Final = 48
_UNITS: Final = ("bytes", "KiB", "MiB", "GiB", "TiB", "PiB")
_STEP: Final = 1024
_SECONDS: Final = ((86_400, "d"), (3_600, "h"), (60, "min"))
_STORES: Mapping[str, tuple[str, str]] = {
    "s3": ("bucket of S3", "buckets of S3"),
    "gs": ("bucket of Google Cloud Storage", "buckets of Google Cloud Storage"),
    "az": ("container of Azure", "containers of Azure"),
}


@dataclass(frozen=True, slots=True)
class OutcomeRow:
    """How many ended in one way.

    Attributes:
        key: of the outcome; the class of its colour, too.
        objects, members: of the listing, and of archives.
        share: of the objects, 0..1.
    """

    key: str
    name: str
    means: str
    objects: int
    members: int
    share: float


@dataclass(frozen=True, slots=True)
class ListRow:
    """What one list knows.

    Attributes:
        severities: objects, in the order of `severities_of`.
    """

    name: str
    harm: str
    matched: int
    review: int
    severities: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Histogram:
    """Near matches of a kind by distance.

    Attributes:
        first: the first distance of each column.
        width: distances in a column.
        counts: near matches in each column.
    """

    kind: str
    width: int
    first: tuple[int, ...]
    counts: tuple[int, ...]

    def label(self, row: int) -> str:
        """The distances of a column."""
        low = self.first[row]
        return str(low) if self.width == 1 else f"{low:,} to {low + self.width - 1:,}"


@dataclass(frozen=True, slots=True)
class ReasonRow:
    """Why objects and members have no answer, or none but by their bytes."""

    outcome: str
    reason: str
    count: int
    advice: Advice


@dataclass(frozen=True, slots=True)
class SpeedRow:
    """How much was done in a stretch of time.

    Attributes:
        until: seconds of work at its end.
        objects, bytes: finished, and read.
        rate: objects a second.
    """

    until: float
    objects: int
    bytes: int
    rate: float


def outcome_rows(tally: Tally) -> list[OutcomeRow]:
    """A row for each outcome, those that nothing came to included."""
    return [
        OutcomeRow(
            str(key),
            name,
            means,
            tally.outcomes.get(key, 0),
            tally.member_outcomes.get(key, 0),
            tally.outcomes.get(key, 0) / tally.objects if tally.objects else 0.0,
        )
        for key, name, means in OUTCOMES
    ]


def severities_of(tally: Tally) -> list[str]:
    """The severities that were met, the gravest first."""
    met = {name for each in tally.lists.values() for name in each.severities}
    known = [name for name in BUILT_IN_ORDER if name in met]
    return [*known, *sorted(met.difference(known))]


def list_rows(tally: Tally) -> list[ListRow]:
    """A row for each list that knows something, the one that knows most first."""
    severities = severities_of(tally)
    rows = [
        ListRow(
            name,
            each.harm,
            each.outcomes.get(Outcome.MATCHED, 0),
            each.outcomes.get(Outcome.REVIEW, 0),
            tuple(each.severities.get(severity, 0) for severity in severities),
        )
        for name, each in tally.lists.items()
    ]
    return sorted(rows, key=lambda row: (-row.matched, -row.review, row.name))


def histograms(tally: Tally) -> list[Histogram]:
    """One for each kind that had near matches, over all lists."""
    kinds: dict[str, Counter[int]] = {}
    for each in tally.lists.values():
        for text, count in each.distances.items():
            kind, _, distance = text.rpartition(" ")
            kinds.setdefault(kind, Counter())[int(distance)] += count
    return [_histogram(kind, kinds[kind]) for kind in sorted(kinds)]


def _histogram(kind: str, counts: Counter[int]) -> Histogram:
    width = -(-(max(counts) + 1) // _MOST_COLUMNS)
    columns = [0] * (max(counts) // width + 1)
    for distance, count in counts.items():
        columns[distance // width] += count
    first = tuple(range(0, len(columns) * width, width))
    return Histogram(kind, width, first, tuple(columns))


def reason_rows(tally: Tally) -> list[ReasonRow]:
    """A row for each reason, failures first, the commonest of each first."""
    rows = []
    for text, count in tally.reasons.items():
        outcome, _, reason = text.partition(": ")
        rows.append(ReasonRow(outcome, reason, count, advice_for(outcome, reason)))
    return sorted(
        rows, key=lambda row: (row.outcome != Outcome.FAILED, row.outcome, -row.count, row.reason)
    )


def speed_rows(summary: ScanSummary) -> list[SpeedRow]:
    """A row for each stretch of the timeline.

    The last one ends with the work. Where it is shorter than the others, it is taken together with
    the one before: few objects in no time are no speed.
    """
    stretch, end = summary.bucket_seconds, summary.work_seconds
    found = [(each.seconds, each.objects, each.bytes) for each in summary.timeline]
    if len(found) > 1 and end - found[-1][0] < stretch:
        _, objects, read = found.pop()
        begin, more, further = found.pop()
        found.append((begin, more + objects, further + read))
    if not found or end <= found[-1][0]:
        return []
    ends = [*(begin for begin, _, _ in found[1:]), end]
    return [
        SpeedRow(until, objects, read, objects / (until - begin))
        for (begin, objects, read), until in zip(found, ends, strict=True)
    ]


def place_words(places: Sequence[Place]) -> str:
    """How many places of which sort, e.g. "2 buckets of S3 and 1 folder"."""
    sorts = Counter(
        scheme if "://" in place.url and (scheme := place.url.partition("://")[0]) else ""
        for place in places
    )
    words = [
        counted(number, *_STORES.get(sort, ("folder", "folders") if not sort else ("place", "")))
        for sort, number in sorted(sorts.items(), reverse=True)
    ]
    return " and ".join((", ".join(words[:-1]), words[-1]) if words[1:] else words)


def selection_words(selection: Selection) -> list[str]:
    """What was chosen of what is there, without a name of anything in it."""
    s = selection
    told: list[tuple[object, str]] = [
        (s.include, f"only names that match one of {counted(len(s.include), 'pattern')}"),
        (s.exclude, f"no names that match one of {counted(len(s.exclude), 'pattern')}"),
        (s.prefix, "only names that begin with a prefix"),
        (s.min_bytes is not None, f"{_size(s.min_bytes)} or more"),
        (s.max_bytes is not None, f"{_size(s.max_bytes)} or less"),
        (s.modified_since is not None, f"modified since {_time(s.modified_since)}"),
        (s.modified_before is not None, f"modified before {_time(s.modified_before)}"),
        (s.sample < 1, f"a sample of {100 * s.sample:g} %"),
        (s.shards > 1, f"part {s.shard:,} of {s.shards:,}"),
        (s.limit is not None, f"{s.limit or 0:,} objects at most"),
    ]
    return [words for holds, words in told if holds]


def size_text(number: float) -> str:
    """Bytes for people, e.g. "1.5 GiB"."""
    unit = 0
    while number >= _STEP and unit < len(_UNITS) - 1:
        number, unit = number / _STEP, unit + 1
    return f"{number:,.0f} bytes" if unit == 0 else f"{number:,.1f} {_UNITS[unit]}"


def duration_text(seconds: float) -> str:
    """A time for people, e.g. "2 h 5 min"."""
    left, words = round(seconds), []
    for length, unit in _SECONDS:
        if left >= length:
            words.append(f"{left // length:,} {unit}")
            left %= length
    if left or not words:
        words.append(f"{left} s")
    return " ".join(words[:2])


def time_text(seconds: float) -> str:
    """A moment for people, in UTC; empty for 0."""
    found = moment(seconds) if seconds else None
    return found.strftime("%Y-%m-%d %H:%M:%S UTC") if found else ""


def _size(number: int | None) -> str:
    return size_text(number or 0)


def _time(seconds: float | None) -> str:
    return time_text(seconds or 0)


__all__ = [
    "OUTCOMES",
    "Histogram",
    "ListRow",
    "OutcomeRow",
    "ReasonRow",
    "SpeedRow",
    "duration_text",
    "histograms",
    "list_rows",
    "outcome_rows",
    "place_words",
    "reason_rows",
    "selection_words",
    "severities_of",
    "size_text",
    "speed_rows",
    "time_text",
]
