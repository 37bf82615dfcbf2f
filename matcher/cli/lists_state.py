"""`hashwarden lists promote` and `demote`: whether what a list holds decides."""

from __future__ import annotations

from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from hashlists.model import ListState
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.keeping import keeper
from matcher.cli.list_output import list_record, print_list
from matcher.cli.output import note, print_json

if TYPE_CHECKING:
    from collections.abc import Callable

    from matcher.cli.keeping import Keeper
    from matcher.cli.list_output import ShownList


def _on_a_list(function: Callable[..., ShownList]) -> Callable[..., None]:
    """Adds what both are told, and shows the list that `function` returns, and what changed."""

    @wraps(function)
    @pass_session
    def shown(
        session: Session,
        /,
        *,
        name: str,
        server: str | None,
        reason: str,
        as_json: bool,
        **chosen: Any,
    ) -> None:
        if not reason.strip():
            raise click.UsageError("the reason is empty; it is kept for those who ask why")
        with keeper(session, server) as lists:
            before = lists.get_list(name).hash_list.state
            record = function(lists, name, reason=reason, **chosen)
        state = record.hash_list.state
        changed = state is not before
        if as_json:
            print_json({**list_record(record), "changed": changed})
            return
        print_list(record)
        if not changed:
            is_now = "live" if state is ListState.LIVE else "in shadow"
            note(f"The list {name} is {is_now} already: nothing was changed.", style="yellow")

    command: Callable[..., None] = shown
    for option in (
        options.as_json,
        options.server,
        click.option(
            "--reason", required=True, metavar="TEXT", help="Why; kept with the revision."
        ),
    ):
        command = option(command)
    return click.argument("name")(command)


@click.command(short_help="Let a list in shadow decide.")
@_on_a_list
@click.option(
    "--if-revision",
    metavar="REVISION",
    type=click.IntRange(1, 2**63 - 1),
    help="Only where this is the list's newest revision still, as `lists show` told it.",
)
def promote(lists: Keeper, name: str, *, reason: str, if_revision: int | None) -> ShownList:
    """Let the list NAME, which is in shadow, decide, as one revision.

    Until then it is matched and counted; `lists stats` tells what it would have done. While an
    import into it is under way it is not promoted: nobody has looked at what that brings. A list
    that is live already stays as it is.
    """
    return lists.promote(name, reason=reason, if_revision=if_revision)


@click.command(short_help="Put a list in shadow.")
@_on_a_list
def demote(lists: Keeper, name: str, *, reason: str) -> ShownList:
    """Put the list NAME in shadow, as one revision: matched and counted, it decides nothing.

    What it has matched is then no reason to hold an upload, from the next answers on. `lists
    promote` is the way back. A list that is in shadow already stays as it is.
    """
    return lists.demote(name, reason=reason)


COMMANDS = (promote, demote)

__all__ = ["COMMANDS"]
