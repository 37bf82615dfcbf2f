"""`hashwarden lists import`: a list file becomes one revision.

A list that an import describes is created only once the file's beginning has proved good. Where an
import fails later, its list stays, empty; the next import can then correct what was said of it.
"""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import fields
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import HashlistsError, ListExistsError, ListNotFoundError
from hashlists.model import ChangeKind, EntryFlag, Harm, HashKind, HashList
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.describing import Described, described
from matcher.cli.list_output import coverage_facts, warn_of_coverage
from matcher.cli.output import note, print_json, print_table, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashlists.catalog import Catalog
    from hashlists.importer import ImportReport
    from hashlists.model import Revision

_NEWEST = 100
_STDIN = Path("-")
_FLAG_NAMES = ", ".join((flag.name or "").lower() for flag in EntryFlag)
_MOST_REJECTS_SHOWN = 20
_FORMATS_BY_SUFFIX = {".json": "vics", ".csv": "csv", ".tsv": "csv"}


@click.command("import")
@click.argument(
    "file", type=click.Path(dir_okay=False, exists=True, allow_dash=True, path_type=Path)
)
@click.option("--list", "list_name", required=True, metavar="NAME", help="The list to fill.")
@click.option(
    "--format",
    "file_format",
    metavar="vics|csv",
    help="Default: by the file's name, .json for vics and .csv or .tsv for csv.",
)
@click.option(
    "--column",
    "columns",
    multiple=True,
    metavar="FIELD=COLUMN",
    help="CSV: which column holds a field, e.g. md5=MD5. Fields: "
    f"{', '.join(HashKind)}; key, source_id, category (needs --option scheme=...), size, "
    f"media_type, updated_at, verified_count; columns of yes or no: {_FLAG_NAMES}. "
    "Repeat for each.",
)
@click.option(
    "--option",
    "format_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the format. CSV: scheme and profile of the categories (docs/policy.md maps "
    "vics, uk, iwf, ncmec, interpol); delimiter, one character or tab; encoding, utf-8, utf-16, "
    "latin-1 or cp1252; hash_encoding.KIND, e.g. hash_encoding.md5=base64: hex, base64, base32, "
    "decimal or detect, the default; multiline=yes. Repeat for each.",
)
@click.option(
    "--max-rejected-share",
    metavar="SHARE",
    type=click.FloatRange(0, 1),
    help="Import nothing where more than this share of the records is rejected. Default: the "
    "setting max_rejected_share, 0.05 unless it was changed: 5 of 100.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the revision's record.")
@described(required=False)
@options.as_json
@pass_session
def command(
    session: Session,
    *,
    file: Path,
    list_name: str,
    file_format: str | None,
    columns: Sequence[str],
    format_options: Sequence[str],
    max_rejected_share: float | None,
    reason: str,
    described: Described,
    as_json: bool,
) -> None:
    """Import a list file as one revision.

    FILE may be "-" for standard input, with --format. A record that is wrong is left out and
    reported with its place; the rest is imported, unless too large a share is wrong: then nothing
    is. A list that does not exist yet is created where --harm and --source are given; of one that
    never held an entry, what is given is corrected.

    In the report, kept_retracted counts entries that an operator has retracted here and that stay
    so; repeated is true only for an import that a server had made before under the same
    idempotency key.

    Exit status: 0 where the file was imported, even if records were rejected; 2 where nothing was
    imported; 130 where it was interrupted.
    """
    format_name = file_format or _format_by_suffix(file)
    share = (
        session.settings.max_rejected_share if max_rejected_share is None else max_rejected_share
    )
    settled = _format_options(file, columns, format_options)

    from hashlists.importer import import_file  # noqa: PLC0415  brings the catalog and numpy

    with session.catalog(create=described.suffices) as catalog:
        prepare = _list_plan(catalog, list_name, described, author=session.author)
        with (
            _telling_what_stays(catalog, list_name),
            _seekable(file, session.settings.spool_dir) as readable,
            progress(f"Importing {file.name}", of_bytes=True) as advance,
        ):
            report = import_file(
                catalog,
                readable,
                list_name=list_name,
                format=format_name,
                options=settled,
                importer=session.author,
                reason=reason,
                max_rejected_share=share,
                progress=lambda done, total, count: advance(done, total, f"{count:,} records"),
                prepare_list=prepare,
            )
    if as_json:
        print_json(import_record(report))
    else:
        _print_import(report)


def _format_options(
    file: Path, columns: Sequence[str], format_options: Sequence[str]
) -> dict[str, str]:
    """The options of the format as its reader takes them."""
    settled = _pairs("--option", format_options)
    for field, column in _pairs("--column", columns).items():
        settled[f"columns.{field}"] = column
    if file.suffix.lower() == ".tsv":
        settled.setdefault("delimiter", "tab")
    return settled


def _format_by_suffix(file: Path) -> str:
    known = _FORMATS_BY_SUFFIX.get(file.suffix.lower())
    if known is None:
        raise click.UsageError(f"the format cannot be told from the name {file.name}: add --format")
    return known


def _pairs(option: str, given: Sequence[str]) -> dict[str, str]:
    pairs: dict[str, str] = {}
    for each in given:
        key, equals, value = each.partition("=")
        if not key or not equals:
            raise click.BadParameter(f"{each!r} is not of the form KEY=VALUE", param_hint=option)
        if key in pairs:
            raise click.BadParameter(f"{key} is given twice", param_hint=option)
        pairs[key] = value
    return pairs


@contextmanager
def _seekable(file: Path, spool_dir: Path) -> Iterator[Path]:
    """The file, or what a pipe gives as a file without a name, which only this process can open."""
    if file != _STDIN and stat.S_ISREG(file.stat().st_mode):
        yield file
        return
    spool_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    with tempfile.TemporaryFile(dir=spool_dir) as spooled:
        if file == _STDIN:
            shutil.copyfileobj(sys.stdin.buffer, spooled)
        else:
            with file.open("rb") as pipe:
                shutil.copyfileobj(pipe, spooled)
        spooled.seek(0)
        yield Path(f"/dev/fd/{spooled.fileno()}")


def _list_plan(
    catalog: Catalog, name: str, described: Described, *, author: str
) -> Callable[[], None] | None:
    """What has to be done so that the list is what the user takes it for; None for nothing.

    Raises:
        ListNotFoundError: it does not exist and too little was said of it to create it.
        ListExistsError: it is another than was described, and has held entries.
    """
    try:
        existing = catalog.get_list(name).hash_list
    except ListNotFoundError:
        if not described.suffices:
            raise ListNotFoundError(
                f"no list is named {name}; add --harm and --source to create it"
            ) from None
        return partial(_create_list, catalog, described.to_list(name), author=author)
    wrong = {}
    for each in fields(described):
        wanted, held = getattr(described, each.name), getattr(existing, each.name)
        if wanted is not None and wanted != held:
            wrong[each.name] = f"{each.name.replace('_', ' ')} is {held or 'empty'}, not {wanted}"
    if not wrong:
        return None
    if catalog.was_filled(name):
        raise ListExistsError(
            f"the list {name} exists already, and its {'; its '.join(wrong.values())}; import "
            "without that option, or name another list"
        )
    return partial(_correct_list, catalog, name, described, list(wrong), author=author)


def _create_list(catalog: Catalog, hash_list: HashList, *, author: str) -> None:
    catalog.create_list(hash_list, author=author)
    note(f"The list {hash_list.name} was created.")


def _correct_list(
    catalog: Catalog, name: str, described: Described, wrong: Sequence[str], *, author: str
) -> None:
    catalog.update_list(
        name,
        author=author,
        reason="corrected before its first entry",
        state=described.state,
        title=described.title,
        legal_basis=described.legal_basis,
        harm=None if described.harm is None else Harm(described.harm),
        source=described.source,
    )
    words = ", ".join(f"{each.replace('_', ' ')} is {getattr(described, each)}" for each in wrong)
    note(f"The list {name}, which never held an entry, was corrected: its {words}.", style="yellow")


@contextmanager
def _telling_what_stays(catalog: Catalog, name: str) -> Iterator[None]:
    """Where an import ends early, says what it has left behind."""
    before = catalog.head()
    try:
        yield
    except BaseException as error:
        with suppress(HashlistsError):
            made = {each.kind for each in _revisions_since(catalog, name, before)}
            if ChangeKind.IMPORT in made:
                note("The import had been made already; see `hashwarden lists revisions`.")
            elif isinstance(error, KeyboardInterrupt):
                note("Nothing was imported.")
            if ChangeKind.CREATE_LIST in made and ChangeKind.IMPORT not in made:
                note(f"The list {name} stays, empty; the next import can correct its --harm.")
        raise


def _revisions_since(catalog: Catalog, name: str, revision: int) -> list[Revision]:
    newer = catalog.list_revisions(limit=_NEWEST)
    return [each for each in newer if each.number > revision and each.list_name == name]


def import_record(report: ImportReport) -> dict[str, Any]:
    """The JSON object of an import's report."""
    from hashlists.importer import report_to_dict  # noqa: PLC0415  brings the catalog and numpy

    return report_to_dict(report)


def _print_import(report: ImportReport) -> None:
    changed = f"revision {report.revision}" if report.revision else "nothing changed"
    rate = f"{report.read / report.seconds:,.0f} a second" if report.seconds >= 1 else ""
    facts = [
        ("result", changed + (" (repeated: this import was made before)" * report.repeated)),
        ("read", f"{report.read:,}"),
        ("added", f"{report.added:,}"),
        ("updated", f"{report.updated:,}"),
        ("unchanged", f"{report.unchanged:,}"),
        ("rejected", f"{report.rejected:,}"),
        ("kept retracted", f"{report.kept_retracted:,}"),
        ("seconds", f"{report.seconds:.1f}" + (f" ({rate})" if rate else "")),
        *coverage_facts(report.coverage)[1:],
    ]
    print_table(("import", report.list_name), facts)
    warn_of_coverage(report.coverage)
    for told, times in report.notes.items():
        note(told if times == 1 else f"{told} ({times:,} times)", style="yellow")
    _tell_rejects(report)


def _tell_rejects(report: ImportReport) -> None:
    for rejection in report.rejections[:_MOST_REJECTS_SHOWN]:
        where = f"{rejection.place}" + (f", {rejection.field}" if rejection.field else "")
        note(f"rejected: {where}: {rejection.reason}", style="yellow")
    more = report.rejected - min(len(report.rejections), _MOST_REJECTS_SHOWN)
    if more:
        note(f"... and {more:,} more; --json lists the first {len(report.rejections):,}")
