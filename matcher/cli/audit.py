"""`hashwarden audit`: who did what, and whether that record is whole."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hashlists.access.audit_head import AuditHead
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import is_terminal, note, print_json, print_paragraphs, print_table

if TYPE_CHECKING:
    from hashlists.access.audit import AuditRecord

EXIT_BROKEN = 1
_DEFAULT_SHOWN = 50


@click.group("audit")
def command() -> None:
    """See who changed what, and whether that record is whole.

    Every import, export, retraction, purge and other change of lists, of exchanges, clients and
    policies is recorded before it takes place and when it has ended, whether it was done here or
    through a server. What cannot be recorded is not done. Servers add what they notice, and sums of
    the calls that they refused for who called.
    """


@command.command()
@click.option(
    "--after", type=click.IntRange(0), metavar="NUMBER", help="Only records after this one."
)
@click.option(
    "--limit",
    type=click.IntRange(1, 100_000),
    default=_DEFAULT_SHOWN,
    show_default=True,
    metavar="N",
    help="How many: the newest, or with --after the next.",
)
@options.as_json
@pass_session
def show(session: Session, *, after: int | None, limit: int, as_json: bool) -> None:
    """Show records, oldest first: the newest 50, or as many as are asked for."""
    with session.access_database(create=False) as database:
        begin = max(0, database.audit_head().number - limit) if after is None else after
        records = database.records(after=begin, limit=limit)
    if as_json:
        for each in records:
            print_json(_record(each))
        return
    if is_terminal():  # details are as long as they are
        print_paragraphs(map(_paragraph, records))
        return
    columns = ("number", "at", "who", "act", "subject", "outcome", "details")
    print_table(columns, map(_row, records))


class _Head(click.ParamType[AuditHead]):
    """An end of the chain, as `audit verify` prints it."""

    name = "head"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The end as an `AuditHead`."""
        if isinstance(value, AuditHead):
            return value
        try:
            return AuditHead.parse(str(value).replace(":", " ", 1))
        except ValueError:
            self.fail("must be NUMBER:SHA256, as `audit verify` prints it", param, ctx)


@command.command()
@click.option(
    "--head",
    type=_Head(),
    metavar="NUMBER:SHA256",
    help="An end of the chain that you kept elsewhere. Default: the one in the data folder.",
)
@options.as_json
@pass_session
@click.pass_context
def verify(ctx: click.Context, session: Session, *, head: AuditHead | None, as_json: bool) -> None:
    """Check that no record was changed, taken out, put in between, or cut off at the end.

    Prints the end of the chain: keep it elsewhere, and name it with --head later. Whoever can write
    to the database and to the data folder can replace all of the record by another, and only an
    end that was kept elsewhere tells.

    Exit status: 1 where a record is broken or missing; the first one is named.
    """
    with session.access_database(create=False) as database:
        fault = database.verify_audit(head)
        end = database.audit_head()
    shown = f"{end.number}:{end.digest.hex()}"
    if as_json:
        problem = None if fault is None else fault.problem
        number = None if fault is None else fault.number
        print_json({"whole": fault is None, "broken": number, "problem": problem, "head": shown})
    elif fault is None:
        click.echo(shown)
        note(f"The audit is whole: {end.number:,} records.")
    else:
        note(f"The audit is broken: record {fault.number} {fault.problem}.", style="red")
    ctx.exit(0 if fault is None else EXIT_BROKEN)


def _record(record: AuditRecord) -> dict[str, Any]:
    event = record.event
    return {
        "number": record.number,
        "at": record.at.isoformat(),
        "who": event.actor,
        "act": event.act,
        "subject": event.subject,
        "outcome": event.outcome.value,
        "details": dict(event.details),
        "sha256": record.digest.hex(),
    }


def _paragraph(record: AuditRecord) -> tuple[str, list[str]]:
    """What was done, and what came of it; below it by whom, and each of the details."""
    event = record.event
    what = " ".join(filter(None, (event.act, event.subject)))
    heading = f"{record.number}  {record.at:%Y-%m-%d %H:%M:%S} UTC  {what}: {event.outcome.value}"
    details = [f"{name}: {value}" for name, value in event.details.items()]
    return heading, [f"by {event.actor}", *details]


def _row(record: AuditRecord) -> tuple[str, ...]:
    shown = _record(record)
    return (
        str(record.number),
        record.at.isoformat(timespec="seconds"),
        *(shown[name] for name in ("who", "act", "subject", "outcome")),
        json.dumps(shown["details"], ensure_ascii=False),
    )
