"""`hashwarden scan forget`: erases hashes that a scan has kept."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from hashlists.words import counted
from matcher.cli import scan_folders
from matcher.cli.asking import agreed, require_someone_to_ask
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note
from matcher.cli.scan_keys import sealer_of

if TYPE_CHECKING:
    from pathlib import Path

_NOT_DONE = 2


@click.command("forget", short_help="Erase hashes that a scan has kept.")
@scan_folders.folder
@click.option(
    "--prefix",
    default="",
    metavar="TEXT",
    help="Only of objects whose name below the URL begins so. Default: of all.",
)
@click.option("--yes", is_flag=True, help="Erase without asking.")
@pass_session
@click.pass_context
def command(ctx: click.Context, session: Session, *, folder: Path, prefix: str, yes: bool) -> None:
    """Erase the hashes that the scan in DIR has kept, for good; its records and reports stay.

    What is erased can no longer be looked up by `scan rematch` or --unchanged-from. It is recorded
    in the audit.
    """
    with scan_folders.opened(folder, writing=True) as state:
        kept = state.summary().kept
        if not kept:
            note("No hashes are kept.")
            return
        what = f"of objects that begin with {prefix!r}" if prefix else f"of all {kept:,} objects"
        if not yes:
            require_someone_to_ask(otherwise="nothing was erased; add --yes to erase kept hashes")
            if not agreed(f"Erase the hashes {what} for good?"):
                note("Nothing was erased.")
                ctx.exit(_NOT_DONE)
        sealer = sealer_of(session) if prefix else None
        # What the prefix is stays out of the audit: it may name an object.
        with session.recorded("scan.forget", state.document.id, all=not prefix) as told:
            forgotten = state.forget(sealer, prefix=prefix)
            told["objects"] = forgotten.objects
    note(f"Erased the hashes of {counted(forgotten.objects, 'object')}.")
    if forgotten.traces:
        note(
            "warning: traces are left in the file, which could not be written anew: make room on "
            "the disk, end what reads the scan, and run this again",
            style="yellow",
        )
        ctx.exit(_NOT_DONE)


__all__ = ["command"]
