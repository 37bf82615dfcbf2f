"""Tells what a list file looks like and why, without importing it.

Every registered format is asked about the beginning of each part; the likeliest one then reads and
validates some records, or all. What is told never repeats a hash, an id or any other value of the
file: of its texts only names of columns and kinds go on, and what readers quote is left out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError, HashlistsError, OptionsError
from hashlists.formats.base import Sample
from hashlists.formats.foreign_files import is_utf16
from hashlists.formats.notes import Notes
from hashlists.formats.page_reader import PageReader
from hashlists.formats.pages import MORE_PAGES_NOTE, is_unfinished
from hashlists.formats.registry import FORMATS, find_format, open_reader
from hashlists.formats.shown_text import without_values
from hashlists.formats.unpacking import open_parts
from hashlists.formats.unpacking.parts import shown_name
from hashlists.formats.unreadable import refuse_unreadable, why_unreadable
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import CODE_KINDS, NO_ONWARD_SHARING, Coverage, Harm, HashKind, Rejection
from hashlists.validate import validate

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hashlists.formats.base import FileHeader, RawBatch
    from hashlists.formats.unpacking import Part
    from hashlists.formats.unpacking.age_files import Identity
    from hashlists.model import EntryBatch

#: Records that are read unless all are to be counted.
RECORDS_READ: Final = 10_000
_SAMPLE_BYTES: Final = 64 * 1024
_PROBLEMS: Final = 10
_COLUMNS: Final = "columns"
#: Formats whose columns are declared.
_TABLES: Final = ("csv", "jsonl", "parquet")
_NAMES_APART: Final = "parquet"
_UTF16_ADVICE: Final = (
    "text in UTF-16 that no format here reads so; write it in UTF-8 instead: "
    "iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE"
)


@dataclass(frozen=True, slots=True)
class Candidate:
    """A format that a part may be of.

    Attributes:
        format, title: of the format.
        score: 0..100, as in `base.Likeness`.
        why: what was seen.
        options: options that fit, as far as the file shows.
    """

    format: str
    title: str
    score: int
    why: str
    options: Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Reading:
    """What reading some or all records as one format showed.

    Attributes:
        format: by which it was read.
        options: with which.
        header: what the file says of itself; None where the reader could not begin.
        records: how many were read.
        whole: whether those were all, and the file is whole.
        estimate: how many there are, about; `records` where all were read.
        rejected: of those read.
        withdrawn: entries that the source withdraws, of those read.
        tells_retractions: whether the format can say that.
        harm: the only kind of harm that the format's entries are about; None for any.
        problems: the first rejections, and what stopped the reader, in words.
        refused: an import with these options would refuse the file: it is not of the format,
            damaged or cut off, an option is missing or wrong, or too many records are rejected.
        notes: what was left aside, and how often.
        coverage: of the good entries.
    """

    format: str
    options: Mapping[str, str]
    header: FileHeader | None
    records: int
    whole: bool
    estimate: int
    rejected: int
    withdrawn: int
    tells_retractions: bool
    harm: Harm | None
    problems: tuple[str, ...]
    refused: bool
    notes: Mapping[str, int]
    coverage: Coverage


@dataclass(frozen=True, slots=True)
class PartInspection:
    """One part of a file: the file itself, or a member of an archive.

    Attributes:
        name: fit to be shown.
        candidates: likeliest first.
        reading: None where no format fits.
        advice: what to import in place of a file that no reader takes; empty for any other.
    """

    name: str
    candidates: tuple[Candidate, ...]
    reading: Reading | None
    advice: str = ""


@dataclass(frozen=True, slots=True)
class FileInspection:
    """One file.

    Attributes:
        name: fit to be shown, without folders.
        size: bytes on disk.
        encryption: `age`, or empty.
        compression: `gzip`, `zstd`, `zip`, or empty.
        parts: as far as they could be opened.
        problem: why the file cannot be opened to its end; empty where it can.
        notes: what an archive holds beside its parts.
    """

    name: str
    size: int
    compression: str
    parts: tuple[PartInspection, ...]
    problem: str = ""
    notes: Mapping[str, int] = field(default_factory=dict)
    encryption: str = ""


def inspect_file(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the word that the command line uses
    options: Mapping[str, str] | None = None,
    max_records: int | None = RECORDS_READ,
    limits: ImportLimits = DEFAULT_LIMITS,
    identities: Sequence[Identity] = (),
) -> FileInspection:
    """Looks at one file.

    Args:
        path: the file; not a pipe.
        format: read by this format, whatever the file looks like; None for the likeliest.
        options: options of the format, before those that the file shows; where they declare
            columns, the file is taken for a table, and no other columns are.
        max_records: about how many records to read of each part; None for all.
        limits: ceilings, as for an import.
        identities: private keys, for a file that is encrypted; all of it is decrypted then.

    Raises:
        UnknownFormatError: there is no such format.
        FormatError: the file cannot be read at all.
    """
    if format is not None:
        find_format(format)
    try:
        with path.open("rb") as stream:
            plan = _Plan(format, options or {}, max_records, limits, identities)
            return _inspect(stream, path.name, plan)
    except OSError as error:
        raise FormatError(f"the file cannot be read: {error.strerror}") from error


def candidates_of(sample: Sample) -> tuple[Candidate, ...]:
    """The formats that can be read and of which a file with this beginning may be, best first."""
    found = []
    for each in FORMATS.values():
        likeness = each.looks_like(sample) if each.open_reader is not None else None
        if likeness is not None:
            why = without_values(likeness.why, sparing_quotes=True)
            found.append(
                Candidate(each.name, each.title, likeness.score, why, dict(likeness.options))
            )
    return tuple(sorted(found, key=lambda each: (-each.score, each.format)))


def likeliest(
    path: Path, limits: ImportLimits = DEFAULT_LIMITS, identities: Sequence[Identity] = ()
) -> Candidate | None:
    """The likeliest format of a file's first part; None where none fits.

    Raises:
        FormatError: the file cannot be opened, or is known to be nothing that is read here.
        OSError: it cannot be read.
    """
    with path.open("rb") as stream:
        parts = open_parts(stream, path.name, limits, identities=identities)
        with parts.part(0, prove=False) as part:
            sample = _sample(part.stream, part.name)
            refuse_unreadable(sample)
            return next(iter(candidates_of(sample)), None)


@dataclass(frozen=True, slots=True)
class _Plan:
    format: str | None
    options: Mapping[str, str]
    max_records: int | None
    limits: ImportLimits
    identities: Sequence[Identity]


def _inspect(stream: BinaryIO, name: str, plan: _Plan) -> FileInspection:
    shown = shown_name(name)
    size = stream.seek(0, 2)
    try:
        parts = open_parts(stream, name, plan.limits, identities=plan.identities)
    except FormatError as error:
        return FileInspection(shown, size, "", (), without_values(str(error)))
    several = parts.compression == "zip"
    found: list[PartInspection] = []
    problem = ""
    for number in range(len(parts.names)):
        try:
            with parts.part(number, prove=False) as part:
                found.append(_inspect_part(part, plan))
        except FormatError as error:
            which = f"{parts.names[number]}: " if several else ""
            problem = problem or without_values(f"{which}{error}")
    return FileInspection(
        shown, size, parts.compression, tuple(found), problem, parts.notes, parts.encryption
    )


def _inspect_part(part: Part, plan: _Plan) -> PartInspection:
    sample = _sample(part.stream, part.name)
    advice = why_unreadable(sample)
    if advice is not None and plan.format is None:
        return PartInspection(part.name, (), None, advice)
    candidates = candidates_of(sample)
    fitting = [each for each in candidates if _may_be_read_as(each.format, plan)]
    if not fitting and plan.format is None:
        return PartInspection(
            part.name, candidates, None, _UTF16_ADVICE if is_utf16(sample.head) else ""
        )
    name = plan.format or fitting[0].format
    shown = next((each.options for each in fitting if each.format == name), {})
    options = _with_shown(plan.options, shown)
    return PartInspection(part.name, candidates, _Look(part, name, options, plan).reading())


def _is_column(option: str) -> bool:
    return option.partition(".")[0] == _COLUMNS


def _declares_columns(options: Mapping[str, str]) -> bool:
    return any(map(_is_column, options))


def _may_be_read_as(name: str, plan: _Plan) -> bool:
    if plan.format is not None:
        return name == plan.format
    return name in _TABLES or not _declares_columns(plan.options)


def _with_shown(given: Mapping[str, str], shown: Mapping[str, str]) -> Mapping[str, str]:
    """The given options, and those that the file shows beside them."""
    if _declares_columns(given):
        shown = {key: value for key, value in shown.items() if not _is_column(key)}
    return {**shown, **given}


class _Look:
    """Reads records of one part and keeps figures."""

    def __init__(self, part: Part, name: str, options: Mapping[str, str], plan: _Plan) -> None:
        self._part = part
        self._name = name
        self._options = options
        self._plan = plan
        self._header: FileHeader | None = None
        self._records = self._rejected = self._withdrawn = self._near = self._entries = 0
        self._by_kind: Counter[HashKind] = Counter()
        self._notes = Notes()
        self._problems: list[str] = []
        self._estimate = 0
        self._whole = self._refused = False

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
            format=self._name,
            options=self._options,
            header=self._header,
            records=self._records,
            whole=self._whole,
            estimate=self._records if self._whole else max(self._estimate, self._records),
            rejected=self._rejected,
            withdrawn=self._withdrawn,
            tells_retractions=find_format(self._name).tells_retractions,
            harm=find_format(self._name).harm,
            problems=tuple(self._problems),
            refused=self._refused,
            notes={without_values(note): times for note, times in self._notes.items()},
            coverage=Coverage(self._entries, dict(self._by_kind), self._near),
        )

    def _read(self) -> None:
        plan = self._plan
        reader = open_reader(
            self._part.stream, format=self._name, options=self._options, limits=plan.limits
        )
        self._header = reader.header
        for raw in reader:
            self._take(raw)
            done = self._part.packed_read(reader.bytes_read)
            if done:
                self._estimate = self._records * self._part.packed_bytes // done
            if plan.max_records is not None and self._records >= plan.max_records:
                self._whole = next(reader, None) is None
                return
        self._whole = True
        if isinstance(reader, PageReader) and is_unfinished([reader.page]):
            self._notes[MORE_PAGES_NOTE] += 1

    def _in_words(self, error: HashlistsError) -> str:
        """What is wrong; of Parquet with the names of columns, which stand apart from values."""
        names_alone = isinstance(error, OptionsError) and self._name == _NAMES_APART
        return without_values(str(error), sparing_quotes=names_alone)

    def _judge_share(self) -> None:
        """Says where an import would give up over the share of rejected records."""
        share = self._plan.limits.max_rejected_share
        if self._rejected > share * self._records:
            self._refused = True
            self._problems.append(
                f"{self._rejected:,} of {self._records:,} records were rejected, more than the "
                f"limit of {share:.1%}: an import would take none of them, unless "
                "--max-rejected-share allows for it"
            )

    def _take(self, raw: RawBatch) -> None:
        good = validate(raw, default_handling=NO_ONWARD_SHARING, limits=self._plan.limits)
        self._records += len(good.entries) + len(good.retractions) + len(good.rejections)
        self._rejected += len(good.rejections)
        self._withdrawn += len(good.retractions)
        self._notes.take(raw.notes)
        self._entries += len(good.entries)
        self._count_kinds(good.entries)
        room = max(_PROBLEMS - len(self._problems), 0)
        self._problems += [_in_words(each) for each in good.rejections[:room]]

    def _count_kinds(self, entries: EntryBatch) -> None:
        near: set[int] = set()
        for kind, values in entries.hashes.items():
            rows = [row for row, value in enumerate(values) if value]
            self._by_kind[kind] += len(rows)
            if kind in CODE_KINDS:
                near.update(rows)
        self._near += len(near)


def _in_words(rejection: Rejection) -> str:
    named = f"{shown_name(rejection.field)}: " if rejection.field else ""
    return f"{rejection.place}: {named}{without_values(rejection.reason)}"


def _sample(stream: BinaryIO, name: str) -> Sample:
    stream.seek(0)
    head = stream.read(_SAMPLE_BYTES + 1)
    stream.seek(0)
    own = name.rpartition("/")[2]
    return Sample(head[:_SAMPLE_BYTES], own, whole=len(head) <= _SAMPLE_BYTES)


__all__ = [
    "RECORDS_READ",
    "Candidate",
    "FileInspection",
    "PartInspection",
    "Reading",
    "inspect_file",
    "likeliest",
]
