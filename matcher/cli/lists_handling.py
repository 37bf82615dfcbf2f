"""`hashwarden lists handling`: to whom a list's entries may go on, and until when they are used."""

from __future__ import annotations

from dataclasses import asdict, astuple
from typing import TYPE_CHECKING

import click

from hashlists.model import SaidHandling
from hashlists.words import counted
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.describing import MOMENT, in_utc, names
from matcher.cli.keeping import keeper
from matcher.cli.list_output import list_record, print_list
from matcher.cli.output import note, print_json

if TYPE_CHECKING:
    from datetime import datetime

    from hashlists.model import ApartFromList


@click.command("handling", short_help="Change a list's handling.")
@click.argument("name")
@click.option(
    "--releasable-to",
    metavar="NAME",
    multiple=True,
    callback=names,
    help="To whom entries may be released, in place of whoever it was. May be repeated.",
)
@click.option("--releasable-to-nobody", "nobody", is_flag=True, help="They stay here.")
@click.option(
    "--expires",
    "expires_at",
    type=MOMENT,
    callback=in_utc,
    help="Until when, in UTC, they may be used.",
)
@click.option("--never-expires", "endless", is_flag=True, help="They may be used without an end.")
@click.option(
    "--originator",
    metavar="NAME",
    help='Who made them known; "" for the list\'s source.',
)
@click.option("--reason", required=True, metavar="TEXT", help="Why; kept with the revision.")
@options.server
@options.as_json
@pass_session
def command(
    session: Session,
    *,
    name: str,
    releasable_to: tuple[str, ...] | None,
    nobody: bool,
    expires_at: datetime | None,
    endless: bool,
    originator: str | None,
    reason: str,
    server: str | None,
    as_json: bool,
) -> None:
    """Change what the list NAME says of handling, as one revision.

    It holds of every entry as far as the record says nothing of its own, of those that are there
    and of those to come; what is not named here stays as it is. No entry is written, however many
    there are. What a recipient was given and would be given no longer is withdrawn by the next
    `lists export --since`. With --server handling is only narrowed: a server cannot tell who asks
    for more.

    Of entries that an earlier Hashwarden imported, which did not keep apart what their record
    said, the stricter holds: they are narrowed with their list, and not widened beyond what they
    had until their files are imported again.
    """
    if releasable_to and nobody:
        raise click.UsageError("--releasable-to and --releasable-to-nobody contradict each other")
    if expires_at and endless:
        raise click.UsageError("--expires and --never-expires contradict each other")
    if not reason.strip():
        raise click.UsageError("the reason is empty; it is kept for those who ask why")
    said = SaidHandling(originator, () if nobody else releasable_to, expires_at)
    if said == SaidHandling() and not endless:
        raise click.UsageError("nothing to change was named; `lists show` tells what holds now")
    with keeper(session, server) as lists:
        before = lists.get_list(name).hash_list.handling
        record = lists.change_handling(name, said, endless=endless, reason=reason)
        apart = lists.count_apart(name)
    changed = record.hash_list.handling != before
    if as_json:
        print_json({**list_record(record), "changed": changed, "apart": apart and asdict(apart)})
        return
    print_list(record)
    if not changed:
        note(f"The list {name} says so already: nothing was changed.", style="yellow")
    if apart is not None:
        _tell_apart(apart, said, endless=endless)


def _tell_apart(apart: ApartFromList, said: SaidHandling, *, endless: bool) -> None:
    """Says for how many entries the change does not hold, in the fields that it was about."""
    named = {
        "originator": said.originator is not None,
        "recipients": said.releasable_to is not None,
        "end of use": said.expires_at is not None or endless,
    }
    for (field, is_named), number in zip(named.items(), astuple(apart), strict=True):
        if is_named and number:
            told = counted(number, "entry", "entries")
            note(
                f"Not changed for {told}, whose own records say otherwise: {field}.", style="yellow"
            )


__all__ = ["command"]
