"""How an export's report is shown, wherever it was made: as a JSON object, and to people."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from hashlists.exporting.report import report_to_dict
from hashlists.words import counted
from matcher.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from hashlists.exporting.report import ExportReport

_MIB = 1024 * 1024
_HOW_TO_RELEASE = (
    "names are compared letter by letter; to whom a list's entries may go is said by `hashwarden "
    "lists handling LIST --releasable-to NAME`, which names all of them anew"
)


def tell_export(report: ExportReport, target: Path, *, as_json: bool, aside: bool) -> None:
    """Shows the report.

    Args:
        report: what was exported.
        target: the file, as the user named it.
        as_json: as one line of JSON, and nothing else.
        aside: on standard error, since the list itself went to standard output.
    """
    if as_json and aside:
        click.echo(json.dumps(report_to_dict(report)), err=True)
    elif as_json:
        print_json(report_to_dict(report))
    elif aside:
        for name, fact in _facts(report, target):
            note(f"{name}: {fact}")
        _tell_rest(report)
    else:
        print_table(("export", ", ".join(report.list_names)), _facts(report, target))
        _tell_rest(report)


def _facts(report: ExportReport, target: Path) -> Iterator[tuple[str, str]]:
    shown = f"revision {report.revision}"
    yield "shows", f"{shown}, what changed since revision {report.since}" if report.since else shown
    yield "for", _for_whom(report)
    yield "file", str(target)
    yield "format", _form(report)
    yield "entries", f"{report.entries:,}"
    yield "withdrawals", f"{report.retracted:,}"
    yield "held back", f"{report.held_back:,}"
    yield "left out", f"{report.left_out:,}"
    yield (
        "size",
        f"{report.bytes / _MIB:,.1f} MiB" if report.bytes >= _MIB else f"{report.bytes:,} bytes",
    )
    yield "sha256", report.sha256
    yield "seconds", f"{report.seconds:.1f}"


def _for_whom(report: ExportReport) -> str:
    if report.recipients is None:
        return "nobody else: a copy of your own, which nothing was held back from"
    return ", ".join(report.recipients)


def _form(report: ExportReport) -> str:
    packed = "" if report.compression == "none" else f", packed with {report.compression}"
    keys = len(report.encrypted_to)
    if not keys:
        return f"{report.format}{packed}, not encrypted"
    return f"{report.format}{packed}, encrypted to {counted(keys, 'public key')}"


def _tell_rest(report: ExportReport) -> None:
    """What needs a look: each on a line of its own, the gravest first."""
    for warning in report.warnings:
        note(f"warning: {warning}", style="red")
    for name, count in sorted(report.by_recipient.items()):
        held = counted(count, "entry is", "entries are")
        note(f"held back: {held} not released to {name}", style="yellow")
    if report.expired:
        expired = counted(report.expired, "entry has", "entries have")
        note(f"held back: {expired} expired", style="yellow")
    for what, count in sorted(report.losses.items()):
        of_entries = counted(count, "entry", "entries")
        note(f"not carried by {report.format}: {what} ({of_entries})", style="yellow")
    if report.entries or report.retracted:
        return
    if report.since and not report.held_back and not report.warnings:
        note(f"nothing to tell: no entry changed after revision {report.since}")
    else:
        why = _why_nothing(report)
        note(f"warning: nothing went out; the file holds no entry: {why}", style="red")


def _why_nothing(report: ExportReport) -> str:
    if report.unreleasable:
        return _HOW_TO_RELEASE
    if report.expired:
        return "those that were asked for must no longer be used by anyone"
    if report.left_out:
        return f"those that were asked for have no hash that {report.format} carries"
    return "the lists have none in force, of the classes and kinds that were asked for"


__all__ = ["tell_export"]
