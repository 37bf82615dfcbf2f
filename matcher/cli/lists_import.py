"""`hashwarden lists import`: a list file becomes one revision, here or at a server."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hashlists.errors import HashlistsError
from matcher.cli import options, reading
from matcher.cli.context import Session, pass_session
from matcher.cli.describing import Described, described
from matcher.cli.import_output import import_record, print_import
from matcher.cli.importing import STDIN, ImportOrder, WholeOrder
from matcher.cli.keeping import keeper
from matcher.cli.output import print_json
from matcher.cli.paths import ExistingPath
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.unpacking.age_files import Identity
    from hashlists.model import HashList
    from matcher.cli.import_output import ShownImport

_EXIT_NOT_IMPORTED = 2
_MAX_KEY_CHARS = 200
#: Table formats whose columns are declared anyway; every other format is named by whoever imports.
_FORMATS_BY_SUFFIX = {
    ".csv": "csv",
    ".tsv": "csv",
    ".jsonl": "jsonl",
    ".ndjson": "jsonl",
    ".parquet": "parquet",
}


def _check_key(ctx: click.Context, option: click.Parameter, key: str | None) -> str | None:
    """Refuses what a server would refuse, and an empty one, which would be none."""
    if key is not None and not (0 < len(key) <= _MAX_KEY_CHARS and key.isprintable()):
        raise click.BadParameter(f"has 1 to {_MAX_KEY_CHARS} printable characters", ctx, option)
    return key


@click.command("import")
@click.argument(
    "files",
    nargs=-1,
    required=True,
    metavar="FILE...",
    type=ExistingPath(dir_okay=False, allow_dash=True, path_type=Path),
)
@click.option("--list", "list_name", required=True, metavar="NAME", help="The list to fill.")
@click.option(
    "--format",
    "file_format",
    metavar="FORMAT",
    help="As docs/formats.md names it, e.g. vics; `lists inspect` says what a file looks like. "
    "Only tables go without, by the file's name: .csv or .tsv for csv, .jsonl or .ndjson for "
    "jsonl, .parquet for parquet.",
)
@reading.column
@reading.mapping
@reading.option
@reading.identity
@click.option(
    "--max-rejected-share",
    metavar="SHARE",
    type=options.Share(),
    help="Import nothing where more than this share of the records is rejected. Default: the "
    "setting max_rejected_share, 0.05 unless it was changed: 5 of 100.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the revision's record.")
@click.option(
    "--idempotency-key",
    metavar="KEY",
    callback=_check_key,
    help="A name for this import. The same key with the same file, list and options again imports "
    "nothing twice and gives the first report. Default: another for each import.",
)
@click.option(
    "--full",
    is_flag=True,
    help="The files are the whole list: retract entries that they do not name. For formats that "
    "never say what was withdrawn. Shows how many, and asks.",
)
@click.option(
    "--force",
    is_flag=True,
    help="Take a file of Hashwarden that does not follow what the list had of its sender, such as "
    "an older one, or a delta with a gap before it, and records that are older than what the list "
    "has of their entries; also where more than a fifth of the list would go since its source "
    "lists it by nothing that can be matched. With --full: also where more "
    "than a fifth is not named, records were rejected, or the last import was of another format.",
)
@click.option(
    "--yes",
    is_flag=True,
    help="With --full: do not ask; needed where nobody can be asked.",
)
@click.option(
    "--plan",
    "--dry-run",
    "plan",
    is_flag=True,
    help="Import nothing: tell what would change, and screen the entries. On the catalog's own "
    "machine, not with --server.",
)
@click.option(
    "--reference",
    "references",
    multiple=True,
    metavar="DIR",
    type=ExistingPath(),
    help="With --plan: pictures known to be harmless, which no entry should be near: a "
    "folder, with all below it, or a file. Repeat for each.",
)
@described(required=False)
@options.server
@options.as_json
@pass_session
def command(
    session: Session,
    *,
    files: Sequence[Path],
    list_name: str,
    file_format: str | None,
    columns: Sequence[str],
    mapping: Path | None,
    format_options: Sequence[str],
    key_files: Sequence[Path],
    max_rejected_share: float | None,
    reason: str,
    idempotency_key: str | None,
    full: bool,
    force: bool,
    yes: bool,
    plan: bool,
    references: Sequence[str],
    described: Described,
    server: str | None,
    as_json: bool,
) -> None:
    """Import list files as one revision.

    Several files, like the members of a ZIP archive, are one set: all are imported as one revision,
    or none is. Files packed with gzip or Zstandard are read as they are. FILE may be "-" for
    standard input, with --format. Files encrypted with age are opened with --identity. A record
    that is wrong is left out and reported with its place; the rest is imported, unless too large a
    share is wrong: then nothing is. A list that does not exist yet is created where --harm and
    --source are given; of one that never held an entry, what is given is corrected.

    In the report, list_state tells whether the list is live, or in shadow: matched and counted, it
    decides nothing until `lists promote`. kept_retracted counts entries that an operator has
    retracted here and that stay so; repeated is true only for an import that had been made before
    under the same --idempotency-key. Its revision is a number of the whole catalog, in which every
    committed change counts one: a list that is created, too.

    With --full, entries in force that no record names go out of force in the same revision, and
    come back with the next file that lists them. Name all files of a set at once: each is taken
    for the whole list otherwise. Over --server the file is sent twice, first only to be looked at.

    With --server the file goes to that server, which then holds the list. A list that is there
    already is never corrected. The revision names the client that calls, or your address, and your
    account, as unverified.

    With --plan, on the catalog's own machine, nothing is imported. The report tells what would be
    added, changed and retracted, and what was found of the entries: those near pictures that are
    known to be harmless (about a hundred codes that come with Hashwarden, and --reference), within
    the distance at which the default policy calls them near; those whose digests stand in a
    known-good list of the catalog; what is rejected, by reason; and for each policy, how many hits
    an upload would meet by chance, before and after, with this list live. Places are told, no hash
    is. Uploads are not kept, so they cannot be compared with. Where too many records are rejected,
    or something speaks against --full, that is told, too: such an import would be refused.

    Exit status: 0 where the file was imported, even if records were rejected, or with --plan would
    be; 2 where nothing was imported, or would be; 130 where it was interrupted.
    """
    if references and not plan:
        raise click.UsageError("--reference goes with --plan")
    if STDIN in files and len(files) > 1:
        raise click.UsageError("standard input is imported alone, not with other files")
    if server is not None and key_files:
        raise click.UsageError(
            "--identity works on the machine that has the catalog, not with --server, which would "
            "send the decrypted file on; that is done by: age -d -i KEY_FILE FILE | hashwarden "
            "lists import - ..."
        )
    identities = reading.identities_of(key_files)
    read_as = file_format or _format_by_suffix(files, identities)
    order = ImportOrder(
        files=files,
        list_name=list_name,
        format=read_as,
        options=reading.settled_options(files, mapping, columns, format_options, read_as),
        identities=identities,
        max_rejected_share=max_rejected_share,
        reason=reason,
        idempotency_key=idempotency_key,
        described=described,
        whole=_whole(full=full, force=force, yes=yes or (plan and full)),
        force=force,
    )
    where = reading.where_options_stand(mapping, columns, format_options)
    if plan:
        with reading.telling_where_options_stand(where):
            _plan(session, server, order, references, as_json=as_json)
        return
    with reading.telling_where_options_stand(where):
        report = _imported(session, server, order)
    filled = _filled(session, server, list_name)
    state, harm = (None, None) if filled is None else (filled.state, filled.harm)
    if as_json:
        print_json(import_record(report, state))
    else:
        print_import(report, state, harm)


def _plan(
    session: Session,
    server: str | None,
    order: ImportOrder,
    references: Sequence[str],
    *,
    as_json: bool,
) -> None:
    if server is not None:
        raise click.UsageError(
            "--plan works on the machine that has the catalog, not with --server"
        )
    from matcher.cli.import_plan import plan_here, show  # noqa: PLC0415  brings the index

    made = plan_here(session, order, references)
    show(made, as_json=as_json)
    if made.refusals:
        click.get_current_context().exit(_EXIT_NOT_IMPORTED)


def _whole(*, full: bool, force: bool, yes: bool) -> WholeOrder | None:
    if not full:
        if yes:
            raise click.UsageError("--yes goes with --full")
        return None
    return WholeOrder(yes=yes, force=force)


def _imported(session: Session, server: str | None, order: ImportOrder) -> ShownImport:
    if server is None:
        from matcher.cli.import_local import import_here  # noqa: PLC0415  only one is needed

        return import_here(session, order)
    from matcher.cli.import_remote import import_at_server  # noqa: PLC0415

    return import_at_server(session, server, order)


def _filled(session: Session, server: str | None, list_name: str) -> HashList | None:
    """The list as it is now; what was imported is told also where that cannot be asked."""
    with suppress(HashlistsError, ServerError), keeper(session, server) as lists:
        return lists.get_list(list_name).hash_list
    return None


def _format_by_suffix(files: Sequence[Path], identities: Sequence[Identity] = ()) -> str:
    """The format of tables by their names.

    Raises:
        UsageError: it has to be named; says what the file looks like.
        FormatError: it is nothing that could be imported.
    """
    known = {_FORMATS_BY_SUFFIX.get(reading.suffix_of(each)) for each in files}
    if len(known) == 1 and (found := known.pop()) is not None:
        return found
    raise click.UsageError(
        f"add --format; {_likeness(files[0], identities)}`hashwarden lists inspect` tells more"
    )


def _likeness(file: Path, identities: Sequence[Identity]) -> str:
    """What the file looks like, as the beginning of a sentence; empty where nothing can be said.

    Raises:
        FormatError: it is nothing that could be imported.
    """
    from hashlists.inspection import likeliest  # noqa: PLC0415  brings every format

    found = likeliest(file, identities=identities) if file.is_file() else None
    return "" if found is None else f"{file.name} looks like {found.format} ({found.title}), and "
