"""`hashwarden lists`: hash lists are created, filled and looked at.

A list that an import describes is created only once the file's beginning has proved good. Where an
import fails later, its list stays, empty; the next import can then correct what was said of it.
"""

from __future__ import annotations

import shutil
import stat
import sys
import tempfile
from contextlib import contextmanager, suppress
from dataclasses import dataclass, fields
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import HashlistsError, ListExistsError, ListNotFoundError
from hashlists.model import ChangeKind, EntryFlag, Harm, HashKind, HashList, ListState
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, print_table, progress

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from hashlists.catalog import Catalog, ListRecord
    from hashlists.importer import ImportReport
    from hashlists.model import Coverage, Revision

_PAGE = 100
_STDIN = Path("-")
_FLAG_NAMES = ", ".join((flag.name or "").lower() for flag in EntryFlag)
_MOST_REJECTS_SHOWN = 20
_FORMATS_BY_SUFFIX = {".json": "vics", ".csv": "csv", ".tsv": "csv"}


@click.group("lists")
def command() -> None:
    """Create, fill and look at hash lists."""


@dataclass(frozen=True, slots=True)
class _Described:
    """What the user said of a list; None where nothing was said."""

    harm: str | None
    source: str | None
    title: str | None
    legal_basis: str | None
    state: ListState | None

    @property
    def suffices(self) -> bool:
        """Whether a list can be created from it."""
        return self.harm is not None and self.source is not None

    def to_list(self, name: str) -> HashList:
        assert self.harm is not None
        assert self.source is not None
        return HashList(
            name=name,
            harm=Harm(self.harm),
            source=self.source,
            title=self.title or "",
            legal_basis=self.legal_basis or "",
            state=self.state or ListState.LIVE,
        )


def _described(*, required: bool) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Adds the options that describe a list, given to the command as one `described`."""
    made = [
        click.option(
            "--harm",
            required=required,
            type=click.Choice([harm.value for harm in Harm]),
            help="The kind of harm that the whole list is about.",
        ),
        click.option("--source", required=required, help="The body that issues the list."),
        click.option("--title", help="A name for people."),
        click.option("--legal-basis", help="Why it may be held and matched here."),
        click.option(
            "--shadow",
            "state",
            flag_value=ListState.SHADOW,
            type=click.UNPROCESSED,
            help="Match and count it, but let it decide nothing.",
        ),
    ]

    def decorate(function: Callable[..., None]) -> Callable[..., None]:
        @wraps(function)
        def gathered(*arguments: Any, **chosen: Any) -> None:
            described = _Described(
                **{each.name: chosen.pop(each.name) for each in fields(_Described)}
            )
            function(*arguments, described=described, **chosen)

        command: Callable[..., None] = gathered
        for option in reversed(made):
            command = option(command)
        return command

    return decorate


@command.command()
@click.argument("name")
@_described(required=True)
@options.as_json
@pass_session
def create(session: Session, *, name: str, described: _Described, as_json: bool) -> None:
    """Create an empty list.

    NAME is lower-case letters, digits and dashes; policies and answers call the list by it.
    """
    with session.catalog(create=True) as catalog:
        record = catalog.create_list(described.to_list(name), author=session.author)
    if as_json:
        print_json(list_record(record))
    else:
        _print_list(record)


@command.command()
@click.argument("name", required=False)
@options.as_json
@pass_session
def show(session: Session, *, name: str | None, as_json: bool) -> None:
    """Show one list, or all: how many entries, and what share can match near, by kind.

    An entry with digests and PhotoDNA alone matches only exact copies of its file: Hashwarden
    computes no PhotoDNA.
    """
    with session.catalog() as catalog:
        records = [catalog.get_list(name)] if name else list(_all_lists(catalog))
    if as_json:
        for record in records:
            print_json(list_record(record))
    elif name:
        _print_list(records[0])
    else:
        _print_lists(records)


def _all_lists(catalog: Catalog) -> Iterator[ListRecord]:
    after: str | None = None
    while page := catalog.list_lists(after=after, limit=_PAGE):
        yield from page
        after = page[-1].hash_list.name


@command.command("import")
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
@_described(required=False)
@options.as_json
@pass_session
def import_command(
    session: Session,
    *,
    file: Path,
    list_name: str,
    file_format: str | None,
    columns: Sequence[str],
    format_options: Sequence[str],
    max_rejected_share: float | None,
    reason: str,
    described: _Described,
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
    catalog: Catalog, name: str, described: _Described, *, author: str
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
    catalog: Catalog, name: str, described: _Described, wrong: Sequence[str], *, author: str
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
    newer = catalog.list_revisions(limit=_PAGE)
    return [each for each in newer if each.number > revision and each.list_name == name]


@command.command()
@click.argument("name", required=False)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=_PAGE,
    show_default=True,
    help="Show at most this many.",
)
@options.as_json
@pass_session
def revisions(session: Session, *, name: str | None, limit: int, as_json: bool) -> None:
    """Show the committed changes of one list, or of all, newest first.

    Each is one revision: create_list and update_list change what is said of a list; import, retract
    and restore change entries; rollback brings back an earlier state; purge erases for good. What
    an import rejected, or did not change, stands in its report only.
    """
    with session.catalog() as catalog:
        if name:
            catalog.get_list(name)  # an unknown list is an error, not an empty history
        found = list(_revisions(catalog, name, limit))
    if as_json:
        for revision in found:
            print_json(revision_record(revision))
    else:
        _print_revisions(found)


def _revisions(catalog: Catalog, name: str | None, limit: int) -> Iterator[Revision]:
    before: int | None = None
    while limit > 0:
        page = catalog.list_revisions(name, before=before, limit=min(limit, _PAGE))
        if not page:
            return
        yield from page
        limit -= len(page)
        before = page[-1].number


def list_record(record: ListRecord) -> dict[str, Any]:
    """The JSON object of a list."""
    held = record.hash_list
    return {
        "name": held.name,
        "title": held.title,
        "harm": held.harm.value,
        "source": held.source,
        "legal_basis": held.legal_basis,
        "state": held.state.value,
        "revision": record.revision,
        "created_at": record.created_at.isoformat(),
        "coverage": coverage_record(record.coverage),
    }


def coverage_record(coverage: Coverage) -> dict[str, Any]:
    """What share of the entries can match what, by kind."""
    return {
        "entries": coverage.entries,
        "near_matchable": coverage.near_matchable,
        "near_matchable_share": coverage.near_matchable_share,
        "by_kind": {kind.value: coverage.by_kind.get(kind, 0) for kind in HashKind},
        "share_by_kind": {kind.value: _share(coverage, kind) for kind in HashKind},
    }


def _share(coverage: Coverage, kind: HashKind) -> float:
    return coverage.by_kind.get(kind, 0) / coverage.entries if coverage.entries else 0.0


def revision_record(revision: Revision) -> dict[str, Any]:
    """The JSON object of a revision."""
    return {
        "revision": revision.number,
        "kind": revision.kind.value,
        "list": revision.list_name,
        "author": revision.author,
        "reason": revision.reason,
        "committed_at": revision.committed_at.isoformat(),
        "added": revision.added,
        "updated": revision.updated,
        "retracted": revision.retracted,
        "restored": revision.restored,
    }


def import_record(report: ImportReport) -> dict[str, Any]:
    """The JSON object of an import's report."""
    from hashlists.importer import report_to_dict  # noqa: PLC0415  brings the catalog and numpy

    return report_to_dict(report)


def _print_list(record: ListRecord) -> None:
    held = record.hash_list
    facts = [
        ("name", held.name),
        ("title", held.title),
        ("harm", held.harm.value),
        ("source", held.source),
        ("legal basis", held.legal_basis),
        ("state", held.state.value),
        ("created", f"{record.created_at:%Y-%m-%d %H:%M} UTC"),
        ("revision", str(record.revision)),
        *_coverage_facts(record.coverage),
    ]
    print_table(("list", held.name), facts[1:])
    _warn_of_coverage(record.coverage)


def _coverage_facts(coverage: Coverage) -> list[tuple[str, str]]:
    return [
        ("entries", f"{coverage.entries:,}"),
        ("can match near", _counted(coverage.near_matchable, coverage.entries)),
        *(
            (f"with {kind.value}", _counted(coverage.by_kind[kind], coverage.entries))
            for kind in HashKind
            if coverage.by_kind.get(kind)
        ),
    ]


def _counted(part: int, whole: int) -> str:
    return f"{part:,} ({part / whole:.1%})" if whole else f"{part:,}"


def _warn_of_coverage(coverage: Coverage) -> None:
    exact_only = coverage.entries - coverage.near_matchable
    if exact_only:
        note(
            f"{_counted(exact_only, coverage.entries)} of the entries match exact copies only: "
            "they have no hash of a kind that is computed from uploads.",
            style="yellow",
        )


def _print_lists(records: Sequence[ListRecord]) -> None:
    if not records:
        note("There are no lists yet; see `hashwarden lists import --help`.")
        return
    columns = ("name", "harm", "state", "entries", "can match near", "revision", "source")
    rows = [
        (
            record.hash_list.name,
            record.hash_list.harm.value,
            record.hash_list.state.value,
            f"{record.coverage.entries:,}",
            _counted(record.coverage.near_matchable, record.coverage.entries),
            str(record.revision),
            record.hash_list.source,
        )
        for record in records
    ]
    print_table(columns, rows)


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
        *_coverage_facts(report.coverage)[1:],
    ]
    print_table(("import", report.list_name), facts)
    _warn_of_coverage(report.coverage)
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


def _print_revisions(found: Sequence[Revision]) -> None:
    if not found:
        note("Nothing was changed yet.")
        return
    columns = ("revision", "when (UTC)", "what", "list", "added", "updated", "by", "reason")
    rows = [
        (
            str(each.number),
            f"{each.committed_at:%Y-%m-%d %H:%M:%S}",
            each.kind.value,
            each.list_name or "",
            f"{each.added:,}",
            f"{each.updated:,}",
            each.author,
            each.reason,
        )
        for each in found
    ]
    print_table(columns, rows)
