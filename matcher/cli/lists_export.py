"""`hashwarden lists export`: lists go out in an exchange format, to whom they may go."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from hashlists.exporting.request import Compression, ExportRequest
from hashlists.model import Classification, HashKind
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.export_output import tell_export
from matcher.cli.output import is_terminal
from matcher.cli.paths import ExistingPath
from matcher.cli.refusal import RefusalError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from hashlists.exporting.report import ExportReport

_STDOUT: Final = Path("-")
_NO_CLASS: Final = "none"
_CLASS_PARTS: Final = 3


class _ClassType(click.ParamType[Any]):
    """A classification as SCHEME/PROFILE/CODE, or none."""

    name = "classification"

    def convert(
        self, value: str, param: click.Parameter | None, ctx: click.Context | None
    ) -> Classification | str:
        """The classification; `none` stays as it is, since None would be no value to click."""
        if value == _NO_CLASS:
            return value
        parts = value.split("/", _CLASS_PARTS - 1)
        if len(parts) != _CLASS_PARTS or not parts[0] or not parts[-1]:
            self.fail(
                f"{value!r} is not SCHEME/PROFILE/CODE, e.g. vics/US/1 or ncmec//A1", param, ctx
            )
        return Classification(*parts)


@click.command("export")
@click.option(
    "--list",
    "list_names",
    multiple=True,
    required=True,
    metavar="NAME",
    help="The list to export. Repeat for several of one kind of harm with stix; a file of any "
    "other format holds one list.",
)
@click.option(
    "--format",
    "file_format",
    required=True,
    metavar="FORMAT",
    help="A format that is written, as docs/formats.md names it, e.g. vics, csv or jsonl.",
)
@click.option(
    "--to",
    "target",
    required=True,
    metavar="FILE",
    type=click.Path(path_type=Path, allow_dash=True),
    help='The file to write, or "-" for standard output. A name that ends with .gz or .zst says '
    "how it is packed; .age behind it, that it is encrypted.",
)
@click.option(
    "--recipient",
    "recipients",
    multiple=True,
    metavar="NAME",
    help="Who gets it, as the entries' handling names them: only what may be released to every one "
    "of them goes out. Repeat for several.",
)
@click.option(
    "--own-copy",
    is_flag=True,
    help="In place of --recipient: the file stays with whoever keeps this catalog, and handling "
    "holds nothing back.",
)
@click.option(
    "--since",
    metavar="REVISION",
    type=click.IntRange(min=1),
    help="Only what changed after this revision, withdrawals included. Default: all that is in "
    "force.",
)
@click.option(
    "--up-to",
    "upto",
    metavar="REVISION",
    type=click.IntRange(min=0),
    help="The lists as they were at this revision. Default: the newest.",
)
@click.option(
    "--classification",
    "classifications",
    multiple=True,
    metavar="SCHEME/PROFILE/CODE",
    type=_ClassType(),
    help="Only entries of this class, e.g. vics/US/1; ncmec//A1 where there is no profile; none "
    "for entries without one. Repeat for several.",
)
@click.option(
    "--kind",
    "kinds",
    multiple=True,
    type=click.Choice([kind.value for kind in HashKind]),
    help="Only hashes of this kind, and entries that have one. Repeat for several.",
)
@click.option(
    "--derived",
    is_flag=True,
    help="Send derived hashes, too, e.g. those of crops, marked as such; formats that cannot mark "
    "them leave them out. Default: only what the lists' sources issued.",
)
@click.option(
    "--option",
    "format_options",
    multiple=True,
    metavar="KEY=VALUE",
    help="An option of the format; docs/formats.md has them all, e.g. profile=US for vics. Repeat "
    "for each.",
)
@click.option(
    "--compress",
    "compression",
    type=click.Choice([each.value for each in Compression]),
    help="How to pack it. Default: as the name of the file says, else not at all.",
)
@click.option(
    "--encrypt-to",
    multiple=True,
    metavar="PUBLIC_KEY",
    help="Encrypt it with age to this public key: age1..., ssh-ed25519 ... or ssh-rsa .... Repeat "
    "for several, each of whom can read it.",
)
@click.option(
    "--encrypt-to-file",
    "key_files",
    multiple=True,
    type=ExistingPath(dir_okay=False, path_type=Path),
    help="Encrypt it to every public key in this file, one a line. Repeat for several.",
)
@click.option("--force", is_flag=True, help="Replace FILE if it is there.")
@options.server
@options.as_json
@pass_session
def command(
    session: Session,
    *,
    list_names: Sequence[str],
    file_format: str,
    target: Path,
    recipients: Sequence[str],
    own_copy: bool,
    since: int | None,
    upto: int | None,
    classifications: Sequence[Classification | str],
    kinds: Sequence[str],
    derived: bool,
    format_options: Sequence[str],
    compression: str | None,
    encrypt_to: Sequence[str],
    key_files: Sequence[Path],
    force: bool,
    server: str | None,
    as_json: bool,
) -> None:
    """Export lists to a file in an exchange format.

    Only what may be released to every --recipient goes out; what is held back is counted. An entry
    whose handling names nobody goes to nobody. What the format cannot carry is counted by field.

    The file is written whole or not at all, for its owner alone to read, and never over one that is
    there without --force. With "-" the report goes to standard error.

    With --server that server's lists are exported, and the file is written here. Nothing goes out
    over the network but for a --recipient. The server's audit and log name the client that calls,
    or its address.

    Exit status: 0 where the file was written; 2 where it was not; 130 where it was interrupted.
    """
    if own_copy == bool(recipients):
        raise click.UsageError(
            "say who gets the file: --recipient NAME, or --own-copy where it stays with you"
        )
    if own_copy and server is not None:
        raise click.UsageError(
            "--own-copy is for the machine that has the catalog; over --server name who gets the "
            "file: --recipient NAME"
        )
    if upto is not None and since is not None and upto < since:
        raise click.UsageError("--up-to is before --since")
    request = ExportRequest(
        list_names=list_names,
        format=file_format,
        recipients=None if own_copy else recipients,
        options=options.pairs("--option", format_options),
        since=since or 0,
        upto=upto,
        classifications=[None if isinstance(each, str) else each for each in classifications]
        or None,
        kinds=[HashKind(kind) for kind in kinds] or None,
        derived=derived,
        compression=None if compression is None else Compression(compression),
        encrypt_to=[*encrypt_to, *_keys_in(key_files)],
    )
    if target == _STDOUT and is_terminal():
        raise RefusalError(
            "standard output is a terminal, which would show the list; name a file with --to, or "
            "send the output on to a program"
        )
    if server is None:
        report = _export_here(session, request, target, force=force)
    else:
        report = _export_there(session, server, request, target, force=force)
    tell_export(report, target, as_json=as_json, aside=target == _STDOUT)


def _export_here(
    session: Session, request: ExportRequest, target: Path, *, force: bool
) -> ExportReport:
    from hashlists.exporter import export_lists, export_to_stream  # noqa: PLC0415

    recipients = None if request.recipients is None else list(request.recipients)
    said = {"format": request.format, "recipients": recipients}
    with (
        session.catalog() as catalog,
        session.recorded("list.export", ", ".join(request.list_names), **said) as told,
    ):
        if target == _STDOUT:
            report = export_to_stream(catalog, sys.stdout.buffer, request)
        else:
            report = export_lists(catalog, target, request, force=force)
        told.update(revision=report.revision, entries=report.entries, retracted=report.retracted)
        return report


def _export_there(
    session: Session, server: str, request: ExportRequest, target: Path, *, force: bool
) -> ExportReport:
    with session.client(server) as client:
        if target == _STDOUT:
            return client.export_to_stream(sys.stdout.buffer, request, author=session.author)
        return client.export_list(target, request, force=force, author=session.author)


def _keys_in(files: Sequence[Path]) -> Iterator[str]:
    from hashlists.exporting.age import recipients_in  # noqa: PLC0415

    for file in files:
        with file.open("rb") as stream:
            yield from recipients_in(stream)
