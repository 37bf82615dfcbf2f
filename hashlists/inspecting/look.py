"""Reads records of one part as one format, and keeps figures; nothing of a record goes on.

What is told are counts, kinds, places, and names of columns by the rule of `shown_columns`. Words
of readers lose what they quote of a file, and the advice to do what is being done.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from hashlists.errors import HashlistsError, OptionsError
from hashlists.formats.advice import INSPECT
from hashlists.formats.field_mapping import LAYOUT_OPTION
from hashlists.formats.harm import told_by
from hashlists.formats.notes import Notes
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import MORE_PAGES_NOTE, is_unfinished
from hashlists.formats.parquet import ParquetReader
from hashlists.formats.registry import find_format, open_reader
from hashlists.formats.shown_columns import is_record, is_shown, show_columns
from hashlists.formats.shown_text import without_values
from hashlists.formats.table_columns import csv_columns, jsonl_columns
from hashlists.formats.unpacking.parts import shown_name
from hashlists.inspecting.findings import Reading, UnreadColumn
from hashlists.model import CODE_KINDS, NO_ONWARD_SHARING, Coverage, Harm, HashKind, Rejection
from hashlists.validate import validate
from hashlists.words import counted, one_or_many

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.base import FileHeader, ListReader, RawBatch, Sample
    from hashlists.formats.table_columns import Column
    from hashlists.formats.unpacking import Part
    from hashlists.inspecting.same_keys import SameKeys
    from hashlists.limits import ImportLimits
    from hashlists.model import EntryBatch

#: Formats whose columns are declared.
TABLES: Final = ("csv", "jsonl", "parquet")
_PROBLEMS: Final = 10
_COLUMNS: Final = f"{LAYOUT_OPTION}."
_NAMED: Final = "its columns are: "
_KEYS_LEFT: Final = "not all keys were held against one another: only an import does that"
_CONTRADICTION: Final = (
    "a record withdraws an entry that another lists; an import keeps it on the list"
)


@dataclass(frozen=True, slots=True)
class LookOrder:
    """What to read.

    Attributes:
        format: by which.
        options: with which.
        declared: whether whoever asks has named columns.
        max_records: about how many; None for all.
        limits: ceilings, as for an import.
        keys: of the parts that were read before, which an import would take together with this.
        options_from: where the options stand, told where they are wrong; empty for nowhere.
    """

    format: str
    options: Mapping[str, str]
    declared: bool
    max_records: int | None
    limits: ImportLimits
    keys: SameKeys
    options_from: str = ""


class Look:
    """One reading of one part.

    Args:
        part: open, at its start.
        sample: its beginning.
        order: what to read.
    """

    def __init__(self, part: Part, sample: Sample, order: LookOrder) -> None:
        self._part = part
        self._order = order
        self._format = find_format(order.format)
        self._columns = _seen_columns(order.format, sample, order.options)
        self._scope = hash((order.format, *sorted(order.options.items())))
        self._header: FileHeader | None = None
        self._records = self._rejected = self._withdrawn = self._near = self._entries = 0
        self._by_kind: Counter[HashKind] = Counter()
        self._notes = Notes()
        self._harms: set[str] = set()
        self._problems: list[str] = []
        self._estimate = 0
        self._since = 0
        self._whole = self._refused = self._delta = False

    def reading(self) -> Reading:
        """Reads, and says what was seen."""
        try:
            self._read()
        except HashlistsError as error:
            self._problems.append(self._in_words(error))
            self._refused = True
        else:
            self._judge_share()
        return Reading(
            format=self._order.format,
            options=self._order.options,
            header=self._header,
            records=self._records,
            whole=self._whole,
            estimate=self._records if self._whole else max(self._estimate, self._records),
            rejected=self._rejected,
            withdrawn=self._withdrawn,
            tells_retractions=self._tells_retractions(),
            delta=self._delta,
            since=self._since,
            harm=told_by(self._format, self._order.options) or self._told_harm(),
            problems=tuple(self._problems),
            refused=self._refused,
            notes={without_values(note): times for note, times in self._notes.items()},
            coverage=Coverage(self._entries, dict(self._by_kind), self._near),
            unread=self._unread(),
            declared=self._order.declared,
        )

    def _read(self) -> None:
        order = self._order
        reader = open_reader(
            self._part.stream, format=order.format, options=order.options, limits=order.limits
        )
        self._header = reader.header
        if isinstance(reader, ParquetReader):
            self._columns = reader.columns
        for raw in reader:
            self._take(raw)
            done = self._part.packed_read(reader.bytes_read)
            if done:
                self._estimate = self._records * self._part.packed_bytes // done
            if order.max_records is not None and self._records >= order.max_records:
                self._whole = next(reader, None) is None
                break
        else:
            self._whole = True
        self._note_end(reader)

    def _note_end(self, reader: ListReader) -> None:
        if self._whole and isinstance(reader, PageReader) and is_unfinished([reader.page]):
            self._notes[MORE_PAGES_NOTE] += 1
        if self._order.keys.is_full:
            self._notes[_KEYS_LEFT] += 1

    def _in_words(self, error: HashlistsError) -> str:
        """What is wrong; where the options of a table are, with the names of its columns."""
        is_table = bool(self._columns) or self._order.format == "parquet"
        of_table = isinstance(error, OptionsError) and is_table
        told = without_values(_without_advice(str(error)), sparing_quotes=of_table)
        if of_table and self._columns and _NAMED not in told:
            names = [each.name for each in self._columns]
            told += f"; {_NAMED}{show_columns(names, header_line=self._order.format == 'csv')}"
        if isinstance(error, OptionsError) and self._order.options_from:
            return f"{self._order.options_from}: {told}"
        return told

    def _tells_retractions(self) -> bool:
        """A table tells by a column alone, so not where none is named for it."""
        if self._order.format not in TABLES or self._is_own:
            return self._format.tells_retractions
        return f"{_COLUMNS}retracted" in self._order.options

    @property
    def _is_own(self) -> bool:
        """Whether the reader takes all columns, since the layout is Hashwarden's own."""
        options = self._order.options
        return LAYOUT_OPTION in options or (not options and self._order.format != "csv")

    def _unread(self) -> tuple[UnreadColumn, ...]:
        if self._header is None or self._order.format not in TABLES or self._is_own:
            return ()
        named = {value for key, value in self._order.options.items() if key.startswith(_COLUMNS)}
        names = [each.name for each in self._columns]
        is_hidden = self._order.format == "csv" and is_record(names)
        return tuple(
            UnreadColumn("" if is_hidden or not is_shown(each.name) else each.name, each.may_say)
            for each in self._columns
            if each.name not in named
        )

    def _told_harm(self) -> Harm | None:
        """The one that the file's entries say they are about, as far as it is known here."""
        told = [each for each in Harm if each in self._harms]
        return told[0] if len(told) == len(self._harms) == 1 else None

    def _judge_share(self) -> None:
        """Says where an import would give up over the share of rejected records."""
        share = self._order.limits.max_rejected_share
        if self._rejected > share * self._records:
            self._refused = True
            self._problems.append(
                f"{self._rejected:,} of {counted(self._records, 'record')} "
                f"{one_or_many(self._rejected, 'was', 'were')} rejected, more than the limit of "
                f"{share:.1%}: an import would take none of them, unless --max-rejected-share "
                "allows for it"
            )

    def _take(self, raw: RawBatch) -> None:
        good = validate(raw, default_handling=NO_ONWARD_SHARING, limits=self._order.limits)
        keys = self._order.keys
        conflicts = keys.conflicts(good.entries, self._scope)
        contradictions = keys.contradictions(good.retractions, self._scope)
        self._records += len(good.entries) + len(good.retractions) + len(good.rejections)
        self._rejected += len(good.rejections) + len(conflicts) + contradictions
        self._withdrawn += keys.withdrawals(good.retractions, self._scope)
        self._delta |= raw.delta
        self._since = max(self._since, raw.since)
        self._notes.take(raw.notes)
        self._harms.update(raw.harms)
        self._entries += len(good.entries)
        self._count_kinds(good.entries)
        self._tell([*good.rejections, *conflicts])
        if contradictions and _CONTRADICTION not in self._problems:
            self._problems.append(_CONTRADICTION)

    def _tell(self, rejections: Sequence[Rejection]) -> None:
        room = max(_PROBLEMS - len(self._problems), 0)
        self._problems += map(_rejected_in_words, rejections[:room])

    def _count_kinds(self, entries: EntryBatch) -> None:
        near: set[int] = set()
        for kind, values in entries.hashes.items():
            rows = [row for row, value in enumerate(values) if value]
            self._by_kind[kind] += len(rows)
            if kind in CODE_KINDS:
                near.update(rows)
        self._near += len(near)


def _seen_columns(name: str, sample: Sample, options: Mapping[str, str]) -> Sequence[Column]:
    """The columns of a table whose beginning shows them; a Parquet file's stand at its end.

    None where the file is of another format, or a text whose first line names no columns.
    """
    if name == "csv":
        return csv_columns(sample, options)
    return jsonl_columns(sample) if name == "jsonl" else ()


def _without_advice(text: str) -> str:
    """The words of an error without the advice to inspect, in which this ends already."""
    return text.replace(f"; {INSPECT}", "")


def _rejected_in_words(rejection: Rejection) -> str:
    named = f"{shown_name(rejection.field)}: " if rejection.field else ""
    return f"{rejection.place}: {named}{without_values(rejection.reason)}"


__all__ = ["TABLES", "Look", "LookOrder"]
