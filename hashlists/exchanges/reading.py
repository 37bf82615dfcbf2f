"""One answer of an exchange, read whole: its records validated, repetitions within it resolved.

Invariants: an answer counts as a whole or not at all. A malformed record is set aside with its
place and never holds up the others; an answer most of whose records are malformed is of a layout
that is not known, and nothing of it counts, since moving on would lose all of them in silence.
Where an answer names one entry several times, `repetitions` says which record stands.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

from hashlists.catalog import SetAside
from hashlists.errors import ExchangePageError, FormatError
from hashlists.exchanges.identity import of_place, of_record
from hashlists.exchanges.repetitions import Repetitions
from hashlists.formats.page_reader import PageReader
from hashlists.formats.registry import open_reader
from hashlists.importing.full import MAX_ABSENT_SHARE
from hashlists.moments import read_moment
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from datetime import datetime

    from hashlists.exchanges.base import Client
    from hashlists.exchanges.http import Answer
    from hashlists.formats.base import PageInfo, RawBatch
    from hashlists.limits import ImportLimits
    from hashlists.model import EntryBatch, Handling, Retraction

#: An answer with more malformed records than this, and a larger share, is malformed as a whole.
MALFORMED_RECORDS: Final = 10
MALFORMED_SHARE: Final = 0.5


@dataclass(frozen=True, slots=True)
class ReadPage:
    """What an answer holds.

    Attributes:
        info: where the page stands among its pages.
        entries, retractions: good records, each entry in one of them at most.
        set_aside: malformed records; their `page` is empty yet.
        records: how many there were, the malformed ones included.
        repeated: records that a later one of the same answer replaced.
        times: when the records changed; None for what names no time.
        notes: what was left aside without harm, and how often.
        sha256, length: of the answer.
    """

    info: PageInfo
    entries: Sequence[EntryBatch]
    retractions: Sequence[Retraction]
    set_aside: Sequence[SetAside]
    records: int
    repeated: int
    times: Sequence[datetime | None] = field(repr=False)
    notes: Mapping[str, int]
    sha256: bytes = field(repr=False)
    length: int

    @property
    def is_empty(self) -> bool:
        """Whether nothing is to be staged."""
        return not self.retractions and not any(map(len, self.entries))

    def keys(self) -> Iterator[bytes]:
        """Of what it lists and of what it withdraws."""
        for entries in self.entries:
            yield from entries.keys
        for each in self.retractions:
            yield each.key


def read_page(answer: Answer, client: Client, handling: Handling, limits: ImportLimits) -> ReadPage:
    """Reads an answer to its end.

    Raises:
        ExchangePageError: it is malformed as a whole.
        OptionsError: the exchange's options do not fit its reader.
    """
    found = Repetitions()
    aside: list[SetAside] = []
    notes: Counter[str] = Counter()
    try:
        reader = _open(answer, client, limits)
        for raw in reader:  # its text is not kept: a page may hold a great many records
            aside += _take(raw, handling, limits, found, answer.sha256)
            notes.update(raw.notes)
    except FormatError as error:
        raise ExchangePageError(f"the page cannot be read: {error}") from None
    entries, retractions = found.entries(), found.retractions()
    records = sum(map(len, entries)) + len(retractions) + len(aside) + len(found)
    _require_known_layout(aside, records)
    return ReadPage(
        info=reader.page,
        entries=entries,
        retractions=retractions,
        set_aside=aside,
        records=records,
        repeated=len(found),
        times=found.times,
        notes=notes,
        sha256=answer.sha256,
        length=answer.length,
    )


def _open(answer: Answer, client: Client, limits: ImportLimits) -> PageReader[Any]:
    reader = open_reader(
        answer.stream, format=client.format, options=client.reader_options, limits=limits
    )
    assert isinstance(reader, PageReader), "readers of exchanges tell of their page"
    return reader


def _take(
    raw: RawBatch, handling: Handling, limits: ImportLimits, found: Repetitions, page_sha256: bytes
) -> Sequence[SetAside]:
    """Validates a batch; returns its malformed records."""
    checked = validate(raw, default_handling=handling, limits=limits)
    if raw.rows:
        raw.place_at(0)  # from here on the block of the page that it stands in is not held
    rows = {raw.place_at(row).number: row for row in range(raw.rows)} if checked.rejections else {}
    malformed = [rows.get(each.place.number) for each in checked.rejections]
    found.add(
        [read_moment(text) for text in raw.updated_at or [None] * raw.rows],
        checked.entries,
        checked.retractions,
        gone=raw.withdrawn.difference(malformed),
        malformed={row for row in malformed if row is not None},
    )
    return [
        SetAside(
            "",
            str(each.place),
            each.field,
            each.reason,
            of_place(page_sha256, each) if row is None else of_record(raw, row),
        )
        for each, row in zip(checked.rejections, malformed, strict=True)
    ]


def _require_known_layout(aside: Sequence[SetAside], records: int) -> None:
    if len(aside) <= MALFORMED_RECORDS or len(aside) <= MALFORMED_SHARE * records:
        return
    first = aside[0]
    named = f"{first.field}: " if first.field else ""
    raise ExchangePageError(
        f"{len(aside)} of {records} records of the page are malformed, so its layout is not the "
        f"known one, and nothing of it was taken; the first: {first.place}: {named}{first.reason}"
    )


def require_few_unmatchable(unmatchable: int, records: int, before: int) -> None:
    """Refuses a page that withdraws much since nothing it says can be matched.

    Args:
        unmatchable: entries that it would withdraw for that.
        records: on the page.
        before: entries of the list that were in force until now.

    Raises:
        ExchangePageError: they are more than `MALFORMED_RECORDS`, and half of the page or a fifth
            of the list.
    """
    few = min(MALFORMED_SHARE * records, MAX_ABSENT_SHARE * before)
    if unmatchable <= max(MALFORMED_RECORDS, few):
        return
    raise ExchangePageError(
        f"{unmatchable} of {records} records of the page would withdraw their entries, since "
        f"nothing of theirs can be matched now; the list has {before:,} in force. Probably they "
        "are written in a new way, so nothing of the page was taken: look at it, then: hashwarden "
        "exchanges fetch NAME --full --force"
    )


__all__ = [
    "MALFORMED_RECORDS",
    "MALFORMED_SHARE",
    "ReadPage",
    "read_page",
    "require_few_unmatchable",
]
