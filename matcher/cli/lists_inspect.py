"""`hashwarden lists inspect`: what files look like and why, without importing them."""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from matcher.cli import options, reading
from matcher.cli.list_output import coverage_facts, coverage_record
from matcher.cli.output import note, print_json, print_table
from matcher.cli.paths import ExistingPath

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.inspection import Candidate, FileInspection, PartInspection, Reading

EXIT_UNKNOWN = 2
_SHOWN_PARTS = 20


@click.command("inspect")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=ExistingPath(dir_okay=False, path_type=Path),
)
@click.option(
    "--format",
    "file_format",
    metavar="FORMAT",
    help="Read it by this format, whatever it looks like.",
)
@reading.column
@reading.mapping
@reading.option
@reading.identity
@click.option(
    "--count",
    is_flag=True,
    help="Read every record, rather than about the first 10,000 of each file.",
)
@options.as_json
@click.pass_context
def command(
    ctx: click.Context,
    *,
    files: Sequence[Path],
    file_format: str | None,
    columns: Sequence[str],
    mapping: Path | None,
    format_options: Sequence[str],
    key_files: Sequence[Path],
    count: bool,
    as_json: bool,
) -> None:
    """Tell what list files look like and why, without importing them.

    Names the formats that a file may be of, likeliest first; how it is packed and what an archive
    holds; version and profile; and, from about the first 10,000 records, what is wrong with them,
    which kinds of hash they have, and whether entries are withdrawn. No hash, id or other value of
    a file is shown. The command that would import the files is suggested, not run. --column and
    --mapping say which columns a table has, as for `lists import`.

    What is no list at all (an image, a spreadsheet, a web page that was saved in its place) is
    named, with what to do. Files encrypted with age are opened with --identity.

    Exit status: 0 where an import would take each file, as far as was looked; 2 otherwise.
    """
    from hashlists.inspection import RECORDS_READ, inspect_file  # noqa: PLC0415  brings all formats

    given = reading.settled_options(files, mapping, columns, format_options)
    identities = reading.identities_of(key_files)
    found = []
    for file in files:
        found.append(
            inspect_file(
                file,
                format=file_format,
                options=given,
                max_records=None if count else RECORDS_READ,
                identities=identities,
            )
        )
        if as_json:
            print_json(_record(found[-1]))
        else:
            _print(found[-1])
    suggested = suggested_command(files, found, mapping, key_files)
    if not as_json and suggested is not None:
        note(f"To import: {suggested}")
        note(f"For a list that is not there yet, add --harm{_harm(found)} and --source.")
    ctx.exit(0 if all(map(_is_readable, found)) else EXIT_UNKNOWN)


def suggested_command(
    files: Sequence[Path],
    found: Sequence[FileInspection],
    mapping: Path | None = None,
    key_files: Sequence[Path] = (),
) -> str | None:
    """How to import the files together; None where no import would take them."""
    if not all(map(_is_readable, found)):
        return None
    readings = [part.reading for each in found for part in each.parts]
    ways = {
        (each.format, tuple(sorted(each.options.items()))) for each in readings if each is not None
    }
    if len(ways) != 1:
        return None
    ((name, given),) = ways
    words = ["hashwarden", "lists", "import", *map(str, files), "--list", "NAME", "--format", name]
    return shlex.join([*words, *reading.option_words(dict(given), mapping, key_files)])


def _harm(found: Sequence[FileInspection]) -> str:
    """The harm that a list must be about to take the files, where their format says so."""
    readings = [part.reading for each in found for part in each.parts]
    harms = {each.harm for each in readings if each is not None}
    harm = harms.pop() if len(harms) == 1 else None
    return "" if harm is None else f" {harm}"


def _is_readable(found: FileInspection) -> bool:
    return not found.problem and all(
        part.reading is not None and part.reading.header is not None and not part.reading.refused
        for part in found.parts
    )


def _record(found: FileInspection) -> dict[str, Any]:
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
        "harm": seen.harm,
        "problems": list(seen.problems),
        "notes": dict(seen.notes),
        "coverage": coverage_record(seen.coverage),
    }


def _print(found: FileInspection) -> None:
    """Prints one file: a table for each part, and what needs a look below it."""
    if found.problem:
        note(f"{found.name}: {found.problem}", style="yellow")
    for told, times in found.notes.items():
        note(f"{found.name}: {told} ({times:,} times)", style="yellow")
    for part in found.parts[:_SHOWN_PARTS]:
        print_table(("file", part.name or found.name), _facts(found, part))
        for problem in part.reading.problems if part.reading else ():
            note(problem, style="yellow")
        _tell_notes(part.reading.notes if part.reading else {})
    if len(found.parts) > _SHOWN_PARTS:
        note(f"... and {len(found.parts) - _SHOWN_PARTS:,} more files; --json shows all")


def _tell_notes(notes: Mapping[str, int]) -> None:
    for told, times in notes.items():
        note(f"{told} ({times:,} times)", style="yellow")


def _facts(found: FileInspection, part: PartInspection) -> list[tuple[str, str]]:
    packed = ", ".join(filter(None, (found.encryption, found.compression)))
    facts = [("packed with", packed or "nothing"), ("bytes", f"{found.size:,}")]
    facts += [
        (f"looks like {each.format}", f"{each.score} of 100: {each.why}")
        for each in part.candidates
    ]
    if not part.candidates:
        facts.append(("looks like", part.advice or "no format that is read here"))
    if part.reading is not None:
        facts += _reading_facts(part.reading)
    return facts


def _reading_facts(seen: Reading) -> list[tuple[str, str]]:
    header = seen.header
    if header is None:
        return [("read as", seen.format), ("records", "none: see below")]
    shown = f"{seen.records:,}" + ("" if seen.whole else f" read, about {seen.estimate:,} in all")
    told = f"{seen.withdrawn:,} here" if seen.tells_retractions else "the format cannot say"
    return [
        ("read as", seen.format),
        ("version", header.version),
        ("profile", header.profile or "none named"),
        ("records", shown),
        ("rejected", f"{seen.rejected:,}"),
        ("withdrawn", told),
        *coverage_facts(seen.coverage),
    ]
