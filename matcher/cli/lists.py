"""`hashwarden lists`: hash lists are created, filled, corrected and looked at.

Importing and the acts on entries have modules of their own.
"""

from __future__ import annotations

from typing import Any

import click

from matcher.cli import (
    lists_acts,
    lists_add,
    lists_enrich,
    lists_entry,
    lists_export,
    lists_handling,
    lists_import,
    lists_inspect,
    lists_state,
    lists_stats,
    options,
)
from matcher.cli.context import Session, pass_session
from matcher.cli.describing import Described, described
from matcher.cli.keeping import PAGE, keeper
from matcher.cli.list_output import (
    list_record,
    print_list,
    print_lists,
    print_revisions,
    revision_record,
)
from matcher.cli.output import print_json
from matcher.cli.refusal import RefusalError
from matcher.errors import ServerError

#: How a server answers a call that it does not have.
_NO_LISTS_THERE = "UNIMPLEMENTED"


class _ListsGroup(click.Group):
    """Tells what it means where there are no lists at an address."""

    def invoke(self, ctx: click.Context) -> Any:
        """Runs a command; where a server matches, or is a replica's, it has none of its calls."""
        try:
            return super().invoke(ctx)
        except ServerError as error:
            if error.reason == _NO_LISTS_THERE:
                raise RefusalError(
                    "the server at that address keeps no lists: it may be where a server matches, "
                    "and its lists have an address of their own (the setting lists_listen; `serve` "
                    "prints both), or a replica, which matches what the builder's machine "
                    "publishes; name the address of lists of the server that has the catalog, or "
                    "run this on its machine without --server"
                ) from error
            raise


@click.group("lists", cls=_ListsGroup)
def command() -> None:
    """Create, fill, correct and look at hash lists."""


@command.command()
@click.argument("name")
@described(required=True)
@options.server
@options.as_json
@pass_session
def create(
    session: Session, *, name: str, described: Described, server: str | None, as_json: bool
) -> None:
    """Create an empty list.

    NAME is lower-case letters, digits and dashes; policies and answers call the list by it.
    """
    with keeper(session, server, create=True) as lists:
        record = lists.create_list(described.to_list(name, at_server=server is not None))
    if as_json:
        print_json(list_record(record))
    else:
        print_list(record)


@command.command()
@click.argument("name", required=False)
@options.server
@options.as_json
@pass_session
def show(session: Session, *, name: str | None, server: str | None, as_json: bool) -> None:
    """Show one list, or all: how many entries, and what share can match near, by kind.

    An entry with digests and PhotoDNA alone matches only exact copies of its file: Hashwarden
    computes no PhotoDNA.
    """
    with keeper(session, server) as lists:
        records = [lists.get_list(name)] if name else list(lists.lists())
    if as_json:
        for record in records:
            print_json(list_record(record))
    elif name:
        print_list(records[0])
    else:
        print_lists(records)


@command.command()
@click.argument("name", required=False)
@click.option(
    "--limit",
    metavar="N",
    type=click.IntRange(min=1),
    default=PAGE,
    show_default=True,
    help="Show at most this many.",
)
@options.server
@options.as_json
@pass_session
def revisions(
    session: Session, *, name: str | None, limit: int, server: str | None, as_json: bool
) -> None:
    """Show the committed changes of one list, or of all, newest first.

    Each is one revision: create_list, update_list and handling change what is said of a list;
    import, retract and restore change entries; rollback brings back an earlier state; purge erases
    for good. What an import rejected, or did not change, stands in its report only.
    """
    with keeper(session, server) as lists:
        if name:
            lists.get_list(name)  # an unknown list is an error, not an empty history
        found = lists.revisions(name, limit)
    if as_json:
        for revision in found:
            print_json(revision_record(revision))
    else:
        print_revisions(found)


_OWN_MODULES = (
    lists_import.command,
    lists_add.command,
    lists_enrich.command,
    lists_inspect.command,
    lists_export.command,
    lists_handling.command,
    lists_entry.command,
    lists_stats.command,
)
for _command in (*_OWN_MODULES, *lists_state.COMMANDS, *lists_acts.COMMANDS):
    command.add_command(_command)
