"""`hashwarden doctor`: is everything here, and is it safe?"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

import click

from matcher.cli import checks, options
from matcher.cli.context import Session, pass_session
from matcher.cli.finding import Finding, Status
from matcher.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Iterator

EXIT_UNSOUND = 1


@click.command("doctor", short_help="Check the installation and what is unsafe.")
@click.option(
    "--server",
    metavar="HOST:PORT",
    help="Only ask this server's health service whether it serves.",
)
@options.as_json
@pass_session
@click.pass_context
def command(ctx: click.Context, session: Session, *, server: str | None, as_json: bool) -> None:
    """Check what is installed, which formats decode, where data lies, and what is unsafe.

    Nothing is changed. With --json each finding is {"check", "status", "detail"}, and its status
    "ok", "warn" or "fail".

    Exit status: 1 where anything fails, else 0.
    """
    if server is not None:
        found = checks.run({"server": partial(checks.check_server, session, server)})
    else:
        found = _local(session)
    findings = []
    for finding in found:
        findings.append(finding)
        if as_json:
            print_json({"check": finding.check, "status": finding.status, "detail": finding.detail})
    if not as_json:
        rows = [(each.status.value, each.check, each.detail) for each in findings]
        print_table(("status", "check", "detail"), rows)
        _tell_summary(findings)
    failed = any(each.status is Status.FAIL for each in findings)
    ctx.exit(EXIT_UNSOUND if failed else 0)


def _local(session: Session) -> Iterator[Finding]:
    """What the local checks see; where settings are wrong, that is told once and not by each."""
    wrong = list(checks.run({"settings": partial(checks.check_settings, session)}))
    yield from wrong
    yield from checks.run(
        {
            name: partial(check, session)
            for name, check in checks.LOCAL_CHECKS.items()
            if not wrong or name in checks.CHECKS_WITHOUT_SETTINGS
        }
    )
    if wrong:
        detail = "all else is checked once the settings are mended"
        yield Finding("not checked", Status.FAIL, detail)


def _tell_summary(findings: list[Finding]) -> None:
    counts = {status: sum(each.status is status for each in findings) for status in Status}
    note(", ".join(f"{number} {status.value}" for status, number in counts.items() if number))
