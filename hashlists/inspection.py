"""Tells what a list file looks like and why, without importing it.

Every registered format is asked about the beginning of each part; the likeliest one then reads and
validates some records, or all. What is told never repeats a hash, an id or any other value of the
file: of its texts only names of columns and kinds go on, and what readers quote is left out.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, BinaryIO, Final

from hashlists.errors import FormatError
from hashlists.formats.advice import TO_UTF8
from hashlists.formats.base import Sample
from hashlists.formats.field_mapping import LAYOUT_OPTION
from hashlists.formats.foreign_files import is_utf16
from hashlists.formats.registry import FORMATS, find_format
from hashlists.formats.shown_text import without_values
from hashlists.formats.unpacking import open_parts
from hashlists.formats.unpacking.parts import shown_name
from hashlists.formats.unreadable import refuse_unreadable, why_no_event, why_unreadable
from hashlists.inspecting.findings import (
    Candidate,
    FileInspection,
    PartInspection,
    Reading,
    UnreadColumn,
)
from hashlists.inspecting.look import TABLES, Look, LookOrder
from hashlists.inspecting.same_keys import SameKeys
from hashlists.limits import DEFAULT_LIMITS, ImportLimits

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hashlists.formats.unpacking import Part
    from hashlists.formats.unpacking.age_files import Identity

#: Records that are read unless all are to be counted.
RECORDS_READ: Final = 10_000
_SAMPLE_BYTES: Final = 64 * 1024
#: Reads any text as a table, where its importer says that it is one.
_ANY_TABLE: Final = "csv"
#: The format beside whose files those lie that its imports leave aside.
_OF_FEEDS: Final = "misp"
_UTF16_ADVICE: Final = f"text in UTF-16 that no format here reads so; {TO_UTF8}"


def inspect_file(
    path: Path,
    *,
    format: str | None = None,  # noqa: A002 - the word that the command line uses
    options: Mapping[str, str] | None = None,
    max_records: int | None = RECORDS_READ,
    limits: ImportLimits = DEFAULT_LIMITS,
    identities: Sequence[Identity] = (),
    keys: SameKeys | None = None,
    name: str | None = None,
    options_from: str = "",
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
        keys: of the files that were inspected before, where they are to be imported together.
        name: of the file, where the path is none that tells; None for that of the path.
        options_from: where the options stand, told where they are wrong; empty for nowhere.

    Raises:
        UnknownFormatError: there is no such format.
        FormatError: the file cannot be read at all.
    """
    if format is not None:
        find_format(format)
    try:
        with path.open("rb") as stream:
            plan = _Plan(
                format,
                options or {},
                max_records,
                limits,
                identities,
                keys or SameKeys(),
                options_from,
            )
            return _inspect(stream, path.name if name is None else name, plan)
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
    keys: SameKeys = field(repr=False)
    options_from: str


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
        beside = _OF_FEEDS if why_no_event(sample.head) else ""
        return PartInspection(part.name, (), None, advice, beside)
    candidates = candidates_of(sample)
    name = plan.format or _likeliest_name(candidates, sample, plan)
    if name is None:
        return PartInspection(
            part.name, candidates, None, _UTF16_ADVICE if is_utf16(sample.head) else ""
        )
    shown = next((each.options for each in candidates if each.format == name), {})
    order = LookOrder(
        format=name,
        options=_with_shown(plan.options, shown),
        declared=_declares_columns(plan.options),
        max_records=plan.max_records,
        limits=plan.limits,
        keys=plan.keys,
        options_from=plan.options_from,
    )
    return PartInspection(part.name, candidates, Look(part, sample, order).reading())


def _likeliest_name(candidates: Sequence[Candidate], sample: Sample, plan: _Plan) -> str | None:
    """The format by which to read; where columns are declared, that of a table."""
    if not _declares_columns(plan.options):
        return candidates[0].format if candidates else None
    tables = [each.format for each in candidates if each.format in TABLES]
    if tables:
        return tables[0]
    return _ANY_TABLE if b"\x00" not in sample.head or is_utf16(sample.head) else None


def _declares_columns(options: Mapping[str, str]) -> bool:
    return any(map(_is_column, options))


def _is_column(option: str) -> bool:
    return option.partition(".")[0] == LAYOUT_OPTION


def _with_shown(given: Mapping[str, str], shown: Mapping[str, str]) -> Mapping[str, str]:
    """The given options, and those that the file shows beside them."""
    if _declares_columns(given):
        shown = {key: value for key, value in shown.items() if not _is_column(key)}
    return {**shown, **given}


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
    "SameKeys",
    "UnreadColumn",
    "inspect_file",
    "likeliest",
]
