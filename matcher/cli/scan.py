"""`hashwarden scan`: every object of folders and buckets, once, however often stopped."""

from __future__ import annotations

from typing import Any

import click

from matcher.cli import scan_forget, scan_rematch, scan_report, scan_status, scan_tag
from matcher.cli.context import Session, pass_session
from matcher.cli.scan_asked import Asked, given_options
from matcher.cli.scan_group import ScanGroup
from matcher.cli.scan_options import DEFAULT_KEPT_DAYS, scanning


@click.command(
    "scan",
    cls=ScanGroup,
    optional={"--keep-hashes": DEFAULT_KEPT_DAYS},
    short_help="Scan folders and buckets, and see what a scan has found.",
)
@scanning
@pass_session
@click.pass_context
def command(ctx: click.Context, session: Session, /, **given: Any) -> None:
    """Match every object of folders and buckets.

    A URL is a folder, or s3://, gs:// or az:// with a bucket and what names in it begin with;
    credentials come by each cloud's usual means. A folder named like a command below is given as
    ./NAME.

    The scan's own folder (--output) holds its state and its reports. Stopped or killed at any
    moment, it goes on with --resume DIR: no object is missed, and the reports have each once.
    Before a big scan it is told what it will take, and asked on a terminal whether to begin.

    Nothing of what is scanned is kept but names and outcomes, and nothing there is changed.

    Exit status: 1 where any object matched or needs review, else 2 where any could not be hashed or
    read, or where there was nothing at all, else 0. 130 where it was interrupted.
    """
    asked = Asked(**given)
    named = [each for each in asked.urls if each in ctx.command.commands]  # type: ignore[attr-defined]
    if named:
        raise click.UsageError(
            f"{named[0]} is a command here, which stands before all else; a folder of that name is "
            f"./{named[0]}"
        )
    from matcher.cli.scan_run import scan  # noqa: PLC0415  brings what scans

    ctx.exit(scan(session, asked, given_options(ctx)))


for _command in (scan_report, scan_status, scan_rematch, scan_forget, scan_tag):
    command.add_command(_command.command)
