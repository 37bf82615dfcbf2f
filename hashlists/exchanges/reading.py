"""One answer of an exchange, read whole: its records validated, repetitions within it resolved.

Invariants: an answer counts as a whole or not at all. A malformed record is set aside with its
place and never holds up the others; an answer most of whose records are malformed is of a layout
that is not known, and nothing of it counts, since moving on would lose all of them in silence.
Where an answer names one entry several times the latest change stands, and among those without a
time, or of one time, the last.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from hashlists.catalog import SetAside
from hashlists.errors import ExchangePageError, FormatError
from hashlists.exchanges.times import read_moment
from hashlists.formats.page_reader import PageReader
from hashlists.formats.registry import open_reader
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence
    from datetime import datetime

    from hashlists.exchanges.base import Client
    from hashlists.exchanges.http import Answer
    from hashlists.formats.base import PageInfo, RawBatch
    from hashlists.limits import ImportLimits
    from hashlists.model import EntryBatch, Handling, Rejection, Retraction

#: An answer with more malformed records than this, and a larger share, is malformed as a whole.
MALFORMED_RECORDS: Final = 10
MALFORMED_SHARE: Final = 0.5
_REPEATED: Final = "named again by this page"


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
    try:
        batches, info = _read(answer, client, limits)
        times = [read_moment(text) for raw in batches for text in _times(raw)]
        outdated = _outdated(batches, times)
        entries: list[EntryBatch] = []
        retractions: list[Retraction] = []
        aside: list[SetAside] = []
        notes: Counter[str] = Counter()
        repeated = 0
        for raw, rows in zip(batches, outdated, strict=True):
            faults = {**dict.fromkeys(rows, ("", _REPEATED)), **raw.faults}
            good = validate(replace(raw, faults=faults), default_handling=handling, limits=limits)
            rejections = [each for each in good.rejections if each.reason != _REPEATED]
            repeated += len(good.rejections) - len(rejections)
            entries.append(good.entries)
            retractions += good.retractions
            aside += _set_aside(raw, rejections)
            notes.update(raw.notes)
    except FormatError as error:
        raise ExchangePageError(f"the page cannot be read: {error}") from None
    records = sum(map(len, entries)) + len(retractions) + len(aside) + repeated
    _require_known_layout(aside, records)
    return ReadPage(
        info=info,
        entries=entries,
        retractions=retractions,
        set_aside=aside,
        records=records,
        repeated=repeated,
        times=times,
        notes=notes,
        sha256=answer.sha256,
        length=answer.length,
    )


def _read(
    answer: Answer, client: Client, limits: ImportLimits
) -> tuple[Sequence[RawBatch], PageInfo]:
    reader = open_reader(
        answer.stream, format=client.format, options=client.reader_options, limits=limits
    )
    assert isinstance(reader, PageReader), "readers of exchanges tell of their page"
    return list(reader), reader.page


def _times(raw: RawBatch) -> Iterable[str | None]:
    return raw.updated_at if raw.updated_at is not None else [None] * raw.rows


def _outdated(
    batches: Sequence[RawBatch], times: Sequence[datetime | None]
) -> Sequence[Sequence[int]]:
    """By batch the rows that another one of the same page replaces."""
    outdated: list[list[int]] = [[] for _ in batches]
    standing: dict[object, tuple[int, int, datetime | None]] = {}
    moments = iter(times)
    for number, raw in enumerate(batches):
        for row in range(raw.rows):
            key, time = _key(raw, row), next(moments)
            earlier = standing.get(key) if key is not None else None
            if earlier is not None:
                before = earlier[2]
                if time is not None and before is not None and time < before:
                    outdated[number].append(row)
                    continue
                outdated[earlier[0]].append(earlier[1])
            standing[key] = (number, row, time)
    return outdated


def _key(raw: RawBatch, row: int) -> object | None:
    """What tells one entry from another; None where the record is too malformed to have it."""
    if raw.key_texts is not None:
        return raw.key_texts[row]
    for column in raw.hashes:
        value = column.values[row]
        if value:
            return column.kind, value.strip().lower()
    return None


def _set_aside(raw: RawBatch, rejections: Sequence[Rejection]) -> Iterable[SetAside]:
    if not rejections:
        return
    rows = {raw.place_at(row).number: row for row in range(raw.rows)}
    for each in rejections:
        row = rows.get(each.place.number)
        digest = _digest(raw, row) if row is not None else _digest_of_place(each)
        yield SetAside("", str(each.place), each.field, each.reason, digest)


def _digest(raw: RawBatch, row: int) -> bytes:
    """SHA-256 over the record as its columns tell it, wherever it stands."""
    columns = (raw.key_texts, raw.source_ids, raw.codes, raw.updated_at, raw.retracted)
    values = [column[row] if column is not None else None for column in columns]
    hashes = [(column.kind.value, column.values[row]) for column in raw.hashes]
    return hashlib.sha256(repr((values, hashes)).encode()).digest()


def _digest_of_place(rejection: Rejection) -> bytes:
    """Of a record that has no columns, not even an id: all that is known is where it stood."""
    known = (rejection.place.number, rejection.field, rejection.reason)
    return hashlib.sha256(repr(known).encode()).digest()


def _require_known_layout(aside: Sequence[SetAside], records: int) -> None:
    if len(aside) <= MALFORMED_RECORDS or len(aside) <= MALFORMED_SHARE * records:
        return
    first = aside[0]
    named = f"{first.field}: " if first.field else ""
    raise ExchangePageError(
        f"{len(aside)} of {records} records of the page are malformed, so its layout is not the "
        f"known one, and nothing of it was taken; the first: {first.place}: {named}{first.reason}"
    )


__all__ = ["MALFORMED_RECORDS", "MALFORMED_SHARE", "ReadPage", "read_page"]
