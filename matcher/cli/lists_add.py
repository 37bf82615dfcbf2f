"""`hashwarden lists add`: files at hand become entries of a list; no imagery is kept."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import click

from hashlists.limits import DEFAULT_LIMITS
from hashlists.model import CODE64_KINDS, Classification, Harm, HashKind
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.files import STANDARD_INPUT, as_text, hash_files
from matcher.cli.import_output import import_record, print_import
from matcher.cli.output import note, print_json, progress
from matcher.cli.refusal import RefusalError
from matcher.model import DecodeRequest, ViewSelection

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from hashlists.catalog import DerivedResult
    from hashlists.contribution import Contribution
    from hashlists.importer import ImportReport
    from hashlists.model import HashList, ListState, Rejection
    from matcher.cli.file_entries import FileEntries, FileProblem

EXIT_NOT_HASHED = 2
_MOST_CROPS = 8
_CLASS_PARTS = 3
_LEFT_BEHIND = frozenset({"thumbs.db", "ehthumbs.db", "desktop.ini"})
_REQUESTED_VIEWS = ViewSelection(stored=False, composited=False)


def _classification(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> Classification | None:
    if text is None:
        return None
    parts = text.split("/", _CLASS_PARTS - 1)
    if len(parts) != _CLASS_PARTS or not parts[0] or not parts[2] or not text.isprintable():
        raise click.BadParameter(
            "is SCHEME/PROFILE/CODE, e.g. vics/US/1; a scheme without profiles leaves that empty, "
            "e.g. ncmec//A1",
            ctx,
            option,
        )
    if len(parts[2]) > DEFAULT_LIMITS.max_code_chars:
        raise click.BadParameter(
            f"has a code of more than {DEFAULT_LIMITS.max_code_chars} characters", ctx, option
        )
    return Classification(*parts)


def parse_shares(
    ctx: click.Context, option: click.Parameter, text: str | None
) -> tuple[float, ...]:
    """Reads what `--crops` is given: a few shares, ascending, each once."""
    if text is None:
        return ()
    try:
        shares = tuple(sorted({round(float(each), 4) for each in text.split(",")}))
    except ValueError:
        shares = ()
    if not 0 < len(shares) <= _MOST_CROPS or not all(0 < each < 0.5 for each in shares):  # noqa: PLR2004  # half from either side leaves nothing
        raise click.BadParameter(
            f"is 1 to {_MOST_CROPS} shares between 0 and 0.5 with commas between them, e.g. "
            "0.02,0.05",
            ctx,
            option,
        )
    return shares


@click.command("add")
@options.files
@click.option("--list", "list_name", required=True, metavar="NAME", help="The list to add to.")
@click.option(
    "--classification",
    metavar="SCHEME/PROFILE/CODE",
    callback=_classification,
    help="Of all the files, e.g. vics/US/1 or ncmec//A1; docs/policy.md maps them to severities. "
    "Default: none, which means review.",
)
@click.option(
    "--crops",
    metavar="SHARE,...",
    callback=parse_shares,
    help="Store codes of centred crops, too, each less this share on every side. With "
    "0.015,0.03,0.05 most copies that were cut by 1 to 6 % are near; without, few. Default: none.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in CODE64_KINDS]),
    help="Store this 64-bit hash beside PDQ. Repeat for each.",
)
@click.option(
    "--all-files",
    "all_kinds",
    is_flag=True,
    help="Take files that are neither pictures nor videos, too, by their digests.",
)
@click.option(
    "--known-good",
    is_flag=True,
    help="The files are known to be harmless; needed for a list of harm known_good, where nothing "
    "ever matches.",
)
@click.option("--reason", metavar="TEXT", default="", help="Why, for the revision's record.")
@options.as_json
@pass_session
@click.pass_context
def command(
    ctx: click.Context,
    session: Session,
    *,
    files: Sequence[str],
    list_name: str,
    classification: Classification | None,
    crops: tuple[float, ...],
    kinds: Sequence[str],
    all_kinds: bool,
    known_good: bool,
    reason: str,
    as_json: bool,
) -> None:
    """Add files at hand to a list, as one revision, keeping their hashes alone.

    FILE may be a folder: all files in it, and in folders below, are meant, but for hidden ones and
    those that systems leave behind (Thumbs.db, desktop.ini). Of each file the digests, the size,
    the media type and the PDQ code of the upright picture are kept; no imagery, name or path. A
    file that cannot be hashed, as a video, is reported, and added by its digests; one that cannot
    be read, or is neither a picture nor a video by its first bytes, is reported and left out. The
    list must exist: see `lists create`.

    An entry is known by its file's SHA-256. Where the list has one under that key, what is said
    here takes its place; so keep what you contribute in a list of its own. Codes of crops stand
    beside the entry of the whole picture, as derived ones: they outlast later imports, exports
    carry them only where asked, and they are retracted and purged with the entry. Single ones are
    withdrawn by `lists enrich --withdraw`.

    Exit status: 0; 2 where nothing was added, or a file could not be read or hashed, or was left
    out.
    """
    from hashlists.contribution import Contribution  # noqa: PLC0415  brings the catalog and numpy
    from matcher.cli.file_entries import FileEntries  # noqa: PLC0415

    entries = FileEntries(
        classification, frozenset(map(HashKind, kinds)), crops, all_files=all_kinds
    )
    with session.catalog() as catalog:
        _require_harm(catalog.get_list(list_name).hash_list, known_good=known_good)
        with (
            session.recorded("list.add", list_name, files=len(files), reason=reason) as recorded,
            Contribution.begin(
                catalog, list_name, author=session.author, reason=reason
            ) as contribution,
        ):
            told = _add_all(session, contribution, entries, files, tell=not as_json)
            report = contribution.commit()
            recorded.update(revision=report.revision, added=report.added)
        filled = catalog.get_list(list_name).hash_list
    if as_json:
        print_json(_record(report, filled.state, entries, contribution.derived, told))
    else:
        _print(report, filled, contribution.derived, entries.skipped)
        if report.updated and classification is None:
            note(
                counted(report.updated, "entry was", "entries were")
                + " there already, and what is said here has taken the place of what was said; no "
                "class was given, so whatever class there was is gone. To set it, add the files "
                "again with --classification.",
                style="yellow",
            )
    ctx.exit(EXIT_NOT_HASHED if told.count else 0)


def _require_harm(hash_list: HashList, *, known_good: bool) -> None:
    """Files of abuse in a list of known-good ones would never match, and the other way round.

    Raises:
        RefusalError: the list is of another harm than is meant.
    """
    if known_good == (hash_list.harm is Harm.KNOWN_GOOD):
        return
    if known_good:
        raise RefusalError(
            f"the list {hash_list.name} is of harm {hash_list.harm}, not known_good: what is added "
            "to it matches; leave --known-good out, or name another list"
        )
    raise RefusalError(
        f"the list {hash_list.name} is of harm known_good, where nothing ever matches: name "
        "another list, or add --known-good if the files are known to be harmless"
    )


@dataclass(slots=True)
class _Told:
    """What is to be said of single files: all are counted, the first kept."""

    tell: bool
    count: int = 0
    first: list[FileProblem] = field(default_factory=list)

    def add(self, problems: Iterable[FileProblem]) -> None:
        for each in problems:
            self.count += 1
            if len(self.first) < DEFAULT_LIMITS.max_reported_rejections:
                self.first.append(each)
            if self.tell:
                how = "added by its digests alone" if each.added else "not added"
                words = f"{each.reason}: {each.detail}" if each.detail else each.reason
                note(f"{as_text(each.path)}: {how}: {words}", style="yellow")


def _add_all(
    session: Session,
    contribution: Contribution,
    entries: FileEntries,
    files: Sequence[str],
    *,
    tell: bool,
) -> _Told:
    told = _Told(tell)
    request = DecodeRequest(_REQUESTED_VIEWS, entries.kinds64, entries.crops)
    max_bytes = session.settings.image_bytes
    with session.decode_pool() as pool, progress("Hashing") as advance:
        for batch in hash_files(all_files(files), pool, request, max_bytes=max_bytes):
            raw, derived, problems = entries.batch(batch)
            rejected = contribution.stage(raw, derived)
            told.add(_after_all(problems, rejected))
            advance(entries.files, entries.files, "files")
    return told


def _after_all(problems: list[FileProblem], rejected: list[Rejection]) -> Iterator[FileProblem]:
    """What is said of files once it is known which of them the list has taken."""
    from matcher.cli.file_entries import FileProblem  # noqa: PLC0415

    refused = {each.place.part: each for each in rejected}
    yield from (each for each in problems if each.path not in refused)
    for path, each in refused.items():
        yield FileProblem(path, "rejected", each.reason, added=False)


def all_files(paths: Iterable[str]) -> Iterator[str]:
    """The files that are named and those in folders that are, folders' in the order of names.

    Below a folder no link is followed, and left out are what is no file, as a pipe, and what a
    system may have left on many machines, so that its digest would match what it must not. A folder
    that cannot be read is handed on itself, to be reported as a file that cannot be.
    """
    for path in paths:
        if path == STANDARD_INPUT or not os.path.isdir(path):  # noqa: PTH112  # a Path would tidy up the name that was given
            yield path
        else:
            yield from _below(path)


def _below(folder: str) -> Iterator[str]:
    try:
        with os.scandir(folder) as found:
            names = sorted(found, key=lambda each: each.name)
    except OSError:
        yield folder
        return
    for each in names:
        if each.name.startswith(".") or each.name.lower() in _LEFT_BEHIND:
            continue
        if each.is_dir(follow_symlinks=False):
            yield from _below(each.path)
        elif each.is_file(follow_symlinks=False):
            yield each.path


def _record(
    report: ImportReport,
    state: ListState,
    entries: FileEntries,
    derived: DerivedResult,
    told: _Told,
) -> dict[str, Any]:
    record = import_record(report, state)
    del record["rejections"], record["notes"], record["repeated"], record["absent"]
    return {
        **record,
        "files": entries.files,
        "derived": derived.codes,
        "derived_barred": derived.barred,
        "not_hashed": told.count,
        "skipped": entries.skipped,
        "problems": [
            {
                "path": as_text(each.path),
                "reason": each.reason,
                "detail": each.detail,
                "added": each.added,
            }
            for each in told.first
        ],
    }


def _print(report: ImportReport, filled: HashList, derived: DerivedResult, skipped: int) -> None:
    print_import(report, filled.state, filled.harm)
    if skipped:
        note(
            counted(skipped, "file was left out: it is", "files were left out: they are")
            + " neither picture nor video.",
            style="yellow",
        )
    if derived.codes:
        codes = counted(derived.codes, "code of a crop stands", "codes of crops stand")
        note(f"{codes} beside the entries.")
    if derived.barred:
        note(
            counted(derived.barred, "code of a crop was", "codes of crops were")
            + " left out: such values were purged for good.",
            style="yellow",
        )


__all__ = ["all_files", "command", "parse_shares"]
