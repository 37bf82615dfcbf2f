"""`hashwarden scan status`: how far a scan is, and what it has found so far."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

import click

from hashlists.words import counted
from matcher.cli import options, scan_folders
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, print_table
from matcher.cli.scan_results import summary_record, tell_summary
from matcher.cli.scan_words import size_words, time_words

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from matcher.scan.state import Run, ScanSummary

_UNFINISHED: Final = 1


@click.command("status", short_help="Show how far a scan is, and what it has found so far.")
@scan_folders.folder
@options.as_json
@pass_session
@click.pass_context
def command(ctx: click.Context, session: Session, *, folder: Path, as_json: bool) -> None:
    """Show how far the scan in DIR is, and what it has found so far; also while it runs.

    Exit status: 0 where it is finished, 1 where it is not.
    """
    at_work = scan_folders.is_at_work(folder)  # asked first: a run may end meanwhile
    with scan_folders.opened(folder) as state:
        summary = state.summary()
    if as_json:
        print_json(summary_record(summary, at_work=at_work))
    else:
        print_table(("scan", summary.document.id), _facts(summary, at_work=at_work))
        tell_summary(summary)
        if at_work and not summary.done:
            note("Not finished: it is at work.")
        elif not summary.done:
            again = scan_folders.resume_command(session.words, folder)
            note(f"Not finished. Go on with: {again}")
    ctx.exit(0 if summary.done else _UNFINISHED)


def _facts(summary: ScanSummary, *, at_work: bool) -> Iterator[tuple[str, str]]:
    document, tally = summary.document, summary.tally
    yield "places", ", ".join(each.url for each in document.places)
    yield "begun", f"{_moment(document.made_at)} by {document.made_by}"
    yield "runs", ", ".join(_run_words(each, at_work=at_work) for each in summary.runs) or "none"
    listed = f"{summary.listed:,}" + ("" if summary.listing_done else ", and more to list")
    yield "listed", listed
    yield "finished", f"{summary.finished:,}"
    yield "fetched", size_words(tally.fetched_bytes)
    yield "worked", time_words(summary.work_seconds)
    if document.hashes_until:
        until = _moment(document.hashes_until)
        yield "kept hashes", f"of {counted(summary.kept, 'object')}, until {until}"
    if document.recipients:
        yield "records", f"encrypted to {counted(len(document.recipients), 'public key')}"


def _run_words(run: Run, *, at_work: bool) -> str:
    unended = "at work" if at_work else "killed"
    return f"{run.how or unended} ({counted(run.objects, 'object')})"


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")


__all__ = ["command"]
