"""`hashwarden lists inspect`: what files look like and why, without importing them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from matcher.cli import options, reading
from matcher.cli.importing import STDIN, seekable
from matcher.cli.output import note, print_json
from matcher.cli.paths import ExistingPath

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.cli.suggesting import Suggested

EXIT_UNKNOWN = 2


@click.command("inspect")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=ExistingPath(dir_okay=False, allow_dash=True, path_type=Path),
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
    --mapping say which columns a table has, as for `lists import`; the columns that an import would
    not read are named. FILE may be "-" for standard input.

    Where nobody has said what the columns of a table mean, and one that is not read may say that a
    record is withdrawn, or of which class it is, the suggested command has places to fill in.

    What is no list at all (an image, a spreadsheet, a web page that was saved in its place) is
    named, with what to do. Files encrypted with age are opened with --identity. Where a file writes
    names of its format in another case, no command is suggested: an import would not read them.

    Exit status: 0 where an import would take each file, as far as was looked; 2 otherwise, and
    where something has to be filled in first.
    """
    from hashlists.inspection import (  # noqa: PLC0415  brings all formats
        RECORDS_READ,
        SameKeys,
        inspect_file,
    )
    from matcher.cli.inspect_output import file_record, print_file  # noqa: PLC0415  the same
    from matcher.cli.suggesting import is_ready, suggestions  # noqa: PLC0415

    if files.count(STDIN) > 1:
        raise click.UsageError("standard input can be read once only")
    given = reading.settled_options(files, mapping, columns, format_options, file_format)
    identities = reading.identities_of(key_files)
    keys = SameKeys()
    where = reading.where_options_stand(mapping, columns, format_options)
    found = []
    for file in files:
        with seekable(file, None) as path:
            seen = inspect_file(
                path,
                format=file_format,
                options=given,
                max_records=None if count else RECORDS_READ,
                identities=identities,
                keys=keys,
                name="standard input" if file == STDIN else file.name,
                options_from=where,
            )
        found.append(seen)
        if as_json:
            print_json(file_record(seen))
        else:
            print_file(seen, named=len(files) > 1)
    if not as_json:
        _suggest(suggestions(files, found, mapping, key_files))
    ctx.exit(0 if all(is_ready(each, found) for each in found) else EXIT_UNKNOWN)


def _suggest(found: Sequence[Suggested]) -> None:
    for each in found:
        if each.told:
            note(each.told, style="yellow")
        when = "" if each.is_ready else ", once what they say is filled in, or left out"
        note(f"To import{when}: {each.command}")
    if found:
        harms = {each.harm for each in found}
        harm = f" {harms.pop()}" if len(harms) == 1 and None not in harms else ""
        note(f"For a list that is not there yet, add --harm{harm} and --source.")
