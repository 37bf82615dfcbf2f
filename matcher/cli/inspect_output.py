"""What was found of files as JSON objects, and as tables for a person."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from hashlists.formats.registry import find_format
from hashlists.words import counted
from matcher.cli.list_output import coverage_facts, coverage_record
from matcher.cli.output import note, print_table, told_often
from matcher.cli.suggesting import named_columns, no_list_in

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.inspection import Candidate, FileInspection, PartInspection, Reading

_SHOWN_PARTS = 20
_OF_SIZE: Final = re.compile(r"(?:(?:file|media|image)[ _-]?)?(?:size|bytes|length)", re.IGNORECASE)


def file_record(found: FileInspection) -> dict[str, Any]:
    """The JSON object of a file."""
    return {
        "file": found.name,
        "bytes": found.size,
        "encryption": found.encryption or None,
        "compression": found.compression or None,
        "problem": found.problem or None,
        "notes": dict(found.notes),
        "parts": [
            {
                "name": part.name,
                "candidates": [_candidate_record(each) for each in part.candidates],
                "advice": part.advice or None,
                "reading": None if part.reading is None else _reading_record(part.reading),
            }
            for part in found.parts
        ],
    }


def _candidate_record(candidate: Candidate) -> dict[str, Any]:
    return {
        "format": candidate.format,
        "title": candidate.title,
        "score": candidate.score,
        "why": candidate.why,
        "options": dict(candidate.options),
    }


def _reading_record(seen: Reading) -> dict[str, Any]:
    header = seen.header
    return {
        "format": seen.format,
        "options": dict(seen.options),
        "version": header.version if header else None,
        "scheme": header.scheme if header else None,
        "profile": header.profile if header else None,
        "records": seen.records,
        "whole": seen.whole,
        "estimate": seen.estimate,
        "rejected": seen.rejected,
        "withdrawn": seen.withdrawn,
        "tells_retractions": seen.tells_retractions,
        "delta": seen.delta,
        "since": seen.since or None,
        "harm": seen.harm,
        "problems": list(seen.problems),
        "notes": dict(seen.notes),
        "coverage": coverage_record(seen.coverage),
        "unread": [
            {"column": each.name or None, "may_say": each.may_say.value} for each in seen.unread
        ],
        "unsettled": seen.is_unsettled,
    }


def print_file(found: FileInspection, *, named: bool) -> None:
    """Prints one file: a table for each part, and what needs a look below it.

    Args:
        found: what was found.
        named: there are several files, so notes name theirs.
    """
    if found.problem:
        note(f"{found.name}: {found.problem}", style="yellow")
    for told, times in found.notes.items():
        note(f"{found.name}: {told_often(told, times)}", style="yellow")
    for part in found.parts[:_SHOWN_PARTS]:
        print_table(("file", part.name or found.name), _facts(found, part))
        which = f"{part.name}: " if named or len(found.parts) > 1 else ""
        for problem in part.reading.problems if part.reading else ():
            note(f"{which}{problem}", style="yellow")
        _tell_notes(part.reading.notes if part.reading else {}, which)
    for told in no_list_in(found)[:_SHOWN_PARTS]:
        note(told, style="yellow")
    if len(found.parts) > _SHOWN_PARTS:
        more = counted(len(found.parts) - _SHOWN_PARTS, "more file")
        note(f"... and {more}; --json shows all")


def _tell_notes(notes: Mapping[str, int], which: str) -> None:
    for told, times in notes.items():
        note(f"{which}{told_often(told, times)}", style="yellow")


def _facts(found: FileInspection, part: PartInspection) -> list[tuple[str, str]]:
    packed = ", ".join(filter(None, (found.encryption, found.compression)))
    facts = [("packed with", packed or "nothing"), ("bytes", f"{found.size:,}")]
    facts += [
        (f"looks like {each.format}", f"{each.score} of 100: {each.why}")
        for each in part.candidates
    ]
    if not part.candidates:
        facts.append(("looks like", "no list that is read here: see below"))
    if part.reading is not None:
        facts += _reading_facts(part.reading)
    return facts


def _reading_facts(seen: Reading) -> list[tuple[str, str]]:
    header = seen.header
    if header is None or not (seen.records or seen.whole):
        return [("read as", seen.format), ("records", "none could be read: see below")]
    shown = f"{seen.records:,}" + ("" if seen.whole else f" read, about {seen.estimate:,} in all")
    return [
        ("read as", seen.format),
        ("version", header.version),
        ("profile", header.profile or "none named"),
        ("harm", seen.harm.value if seen.harm else "not told"),
        ("records", shown),
        *([("holds", _holds(seen))] if seen.delta else ()),
        ("rejected", f"{seen.rejected:,}"),
        ("withdrawn", _withdrawn(seen)),
        *coverage_facts(seen.coverage),
        *([("columns not read", _not_read(seen))] if seen.unread else ()),
    ]


def _holds(seen: Reading) -> str:
    since = f"revision {seen.since:,}" if seen.since else "an earlier revision"
    return f"changes since {since}: not the whole list; --full would be refused"


def _withdrawn(seen: Reading) -> str:
    if seen.tells_retractions:
        return f"{seen.withdrawn:,} here"
    told = find_format(seen.format).tells_retractions
    return "not known: no column is named for it" if told else "the format cannot say"


def _not_read(seen: Reading) -> str:
    """Names of columns, and which of them is by its name one that is kept wherever it is told."""
    told = named_columns(seen.unread)
    sizes = [each.name for each in seen.unread if _OF_SIZE.fullmatch(each.name)]
    if not sizes or "columns.size" in seen.options:
        return told
    return f"{told}; where {sizes[0]!r} is the size in bytes: --column {f'size={sizes[0]}'!r}"


__all__ = ["file_record", "print_file"]
