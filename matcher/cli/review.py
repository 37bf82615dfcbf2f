"""`hashwarden review`: what servers noticed by themselves, and who looked at it."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import click

from hashlists.errors import EntryNotFoundError
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from hashlists.access.noticed import Noticed


@click.group("review")
def command() -> None:
    """See what servers noticed by themselves, and say that you looked at it.

    An entry that is hit far more often than usual is a wrong one, or of an image that spreads. A
    client that sends series of near-identical queries, some of which match and some do not, may be
    looking for what passes. Neither is proof. Both stand in the audit.
    """


@command.command("list")
@options.as_json
@pass_session
def show(session: Session, *, as_json: bool) -> None:
    """Show what waits to be looked at, that which was noticed last at the end.

    Look at an entry with `hashwarden lists entry ID`, at its matches with `hashwarden matches list
    --entry ID`; a wrong one is retracted with `hashwarden lists retract`.
    """
    from hashlists.access.noticed import waiting  # noqa: PLC0415  brings SQLAlchemy

    with session.access_database(create=False) as database:
        found = waiting(database)
    if as_json:
        for each in found:
            print_json(_record(each))
        return
    if not found:
        note("Nothing waits to be looked at.")
        return
    print_table(("subject", "noticed", "first", "last", "times", "details"), map(_row, found))


@command.command()
@click.argument("subject", metavar="SUBJECT")
@click.option(
    "--reason", required=True, metavar="TEXT", help="What you found; kept with the audit's record."
)
@pass_session
def done(session: Session, *, subject: str, reason: str) -> None:
    """Say that you looked at SUBJECT, as `review list` names it, such as entry:4711.

    Servers then take an entry for one that may be hit that often, within half a minute, and for a
    day unless `hot_entry_seconds` was set.
    """
    from hashlists.access.audit import Event  # noqa: PLC0415  brings SQLAlchemy
    from hashlists.access.noticed import REVIEWED, waiting  # noqa: PLC0415

    with session.access_database(create=False) as database:
        if subject not in {each.subject for each in waiting(database)}:
            raise EntryNotFoundError(
                "nothing of that name waits to be looked at; see `hashwarden review list`"
            )
        database.record(Event(session.actor, REVIEWED, subject, details={"reason": reason}))
    note(f"{subject} no longer waits.")


def _record(noticed: Noticed) -> dict[str, Any]:
    return {
        "subject": noticed.subject,
        "noticed": noticed.act,
        "first_at": noticed.first_at.isoformat(),
        "last_at": noticed.last_at.isoformat(),
        "times": noticed.times,
        "details": dict(noticed.details),
    }


def _row(noticed: Noticed) -> tuple[str, ...]:
    return (
        noticed.subject,
        noticed.act,
        noticed.first_at.isoformat(timespec="seconds"),
        noticed.last_at.isoformat(timespec="seconds"),
        str(noticed.times),
        json.dumps(dict(noticed.details), ensure_ascii=False),
    )
