"""`hashwarden lists retract`, `restore`, `rollback`, `purge` and `wipe`.

Each act is one revision with its reason and author, or nothing at all. What cannot be undone, or
touches more than was named, is shown and asked about first.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import wraps
from typing import TYPE_CHECKING, Any

import click

from matcher.cli import options
from matcher.cli.asking import agreed, require_someone_to_ask
from matcher.cli.building import forget_purged
from matcher.cli.context import Session, pass_session
from matcher.cli.keeping import keeper
from matcher.cli.output import note, print_json, print_table
from matcher.cli.selecting import selecting

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashlists.model import (
        EntryActReport,
        EntrySelection,
        PurgeReport,
        Revision,
        RollbackReport,
    )

EXIT_UNFINISHED = 2
_NOT_DONE = 2


@dataclass(frozen=True, slots=True)
class _Order:
    """What all acts are told.

    Attributes:
        name: the list.
        reason: why.
        server: HOST:PORT, or None for the local catalog.
        dry_run: change nothing.
        as_json: print JSON.
    """

    name: str
    reason: str
    server: str | None
    dry_run: bool
    as_json: bool


def _act(function: Callable[..., None]) -> Callable[..., None]:
    """Adds the arguments that all acts have, given to the command as one `order`."""

    @wraps(function)
    def gathered(
        *arguments: Any,
        name: str,
        reason: str,
        server: str | None,
        dry_run: bool,
        as_json: bool,
        **chosen: Any,
    ) -> None:
        if not reason.strip():
            raise click.UsageError("the reason is empty; it is kept for those who ask why")
        order = _Order(name, reason, server, dry_run, as_json)
        function(*arguments, order=order, **chosen)

    command: Callable[..., None] = gathered
    for option in (
        options.as_json,
        options.server,
        click.option("--dry-run", is_flag=True, help="Change nothing; tell what would change."),
        click.option(
            "--reason", required=True, metavar="TEXT", help="Why; kept with the revision."
        ),
    ):
        command = option(command)
    return click.argument("name")(command)


_yes = click.option("--yes", is_flag=True, help="Do not ask; needed where nobody can be asked.")


@click.command(short_help="Take entries out of force.")
@_act
@selecting
@pass_session
def retract(session: Session, *, order: _Order, selection: EntrySelection) -> None:
    """Take entries of the list NAME out of force, as one revision.

    ENTRY is an id as `match` and `lookup` show it. What is retracted matches no more within
    seconds, and no import brings it back; `lists restore` does. One entry that is not of this list
    is an error, and nothing is changed. Recipients of exports are told that it is withdrawn, and
    not the reason.

    A source's own ids and digests are not indexed: to find them, every entry of the catalog is
    read, which takes seconds at ten million. Entries that are out of force are found too.

    With --server the revision names the client that calls, or your address, and your account, as
    unverified.
    """
    with keeper(session, order.server) as lists:
        report = lists.retract(order.name, selection, reason=order.reason, dry_run=order.dry_run)
    words = ("retracted", "would be retracted", "had been retracted already")
    _tell_entries("retract", order, report, words)


@click.command(short_help="Put entries back in force.")
@_act
@selecting
@pass_session
def restore(session: Session, *, order: _Order, selection: EntrySelection) -> None:
    """Put entries of the list NAME back in force, as one revision.

    It does not matter whether an operator or their source had retracted them. Entries are named as
    for `lists retract`.
    """
    with keeper(session, order.server) as lists:
        report = lists.restore(order.name, selection, reason=order.reason, dry_run=order.dry_run)
    words = ("restored", "would be restored", "were in force already")
    _tell_entries("restore", order, report, words)


@click.command(short_help="Bring back the entries of an earlier revision.")
@_act
@click.option(
    "--to",
    "to_revision",
    required=True,
    metavar="REVISION",
    type=click.IntRange(1, 2**63 - 1),
    help="The revision whose state comes back; `lists revisions` shows them.",
)
@_yes
@pass_session
@click.pass_context
def rollback(
    ctx: click.Context, session: Session, *, order: _Order, to_revision: int, yes: bool
) -> None:
    """Make the entries of the list NAME those of an earlier revision.

    Nothing is deleted: the way back is a revision of its own, and can be rolled back in its turn.
    Entries that came later go out of force until their source brings them again; what was purged
    stays purged. Other lists, and what is said of this one, stay as they are.

    First it shows what would change, and asks.
    """
    _require_someone_to_ask(order, yes=yes)
    with keeper(session, order.server) as lists:
        would = lists.roll_back(order.name, to_revision, reason=order.reason, dry_run=True)
        if order.dry_run or not would.changes:
            _tell_rollback(order, would)
            return
        if not yes:
            _show_rollback(order, would)
            if not _agreed("Roll back?"):
                ctx.exit(_NOT_DONE)
        done = lists.roll_back(order.name, to_revision, reason=order.reason, dry_run=False)
    _tell_rollback(order, done)


@click.command(short_help="Erase entries for good.")
@_act
@selecting
@_yes
@pass_session
@click.pass_context
def purge(
    ctx: click.Context, session: Session, *, order: _Order, selection: EntrySelection, yes: bool
) -> None:
    """Erase entries of the list NAME for good: from the catalog and from all snapshots.

    This cannot be undone. All their versions go, the database is rewritten so that no trace stays
    in its file, and keyed fingerprints are left that keep the entries from being imported again.
    Rewriting takes time in proportion to the catalog, and writers wait: where it is urgent,
    retract first.

    Backups, exported files and the files that were imported are not reached: erase them too.
    Entries are named as for `lists retract`. First it shows how many they are, and asks.

    Exit status: 2 where something of the entries is left; what, and what to do, is told.
    """
    _require_someone_to_ask(order, yes=yes)
    with keeper(session, order.server) as lists:
        if order.dry_run or not yes:
            would = lists.purge(order.name, selection, reason=order.reason, dry_run=True)
            if order.dry_run:
                _tell_purge(order, would, "")
                return
            _show_purge(order, would)
            if not _agreed("Erase them for good?"):
                ctx.exit(_NOT_DONE)
        done = lists.purge(order.name, selection, reason=order.reason, dry_run=False)
        ctx.exit(_finish_purge(session, order, done))


def _finish_purge(session: Session, order: _Order, done: PurgeReport) -> int:
    """Erases the entries from the snapshots of this machine, and tells everything."""
    if order.server is not None:
        _tell_purge(order, done, "the servers build theirs anew and drop the old ones")
        return 0 if done.traces_wiped else EXIT_UNFINISHED
    try:
        forgotten = forget_purged(session, done)
    except BaseException:
        _tell_purge(order, done, "still there")
        note("The snapshots still hold them; to end that: hashwarden index build", style="red")
        raise
    _tell_purge(order, done, forgotten.told, forgotten.stores)
    return 0 if done.traces_wiped and not forgotten.stores else EXIT_UNFINISHED


@click.command(short_help="Finish a purge that left traces.")
@pass_session
@click.pass_context
def wipe(ctx: click.Context, session: Session) -> None:
    """Rewrite the local catalog without any trace of what was purged.

    For a purge that said that traces are left, since a reader or a writer was in its way or the
    disk was full. It may be repeated.

    Exit status: 2 where traces are left still.
    """
    with session.catalog() as catalog, session.recorded("catalog.wipe", "catalog") as told:
        wiped = told["traces_wiped"] = catalog.wipe_deleted()
    if wiped:
        note("The catalog was rewritten; no trace of what was purged is left in its file.")
    else:
        note(_TRACES_LEFT, style="red")
        ctx.exit(EXIT_UNFINISHED)


COMMANDS = (retract, restore, rollback, purge, wipe)


def _require_someone_to_ask(order: _Order, *, yes: bool) -> None:
    if not (yes or order.dry_run):
        require_someone_to_ask(otherwise="add --yes, or --dry-run to look first")


def _agreed(question: str) -> bool:
    if agreed(question):
        return True
    note("Nothing was changed.")
    return False


def _tell_entries(
    act: str, order: _Order, report: EntryActReport, words: tuple[str, str, str]
) -> None:
    if order.as_json:
        counts = {
            "entries": report.entries,
            "changed": report.changed,
            "unchanged": report.unchanged,
        }
        print_json(_record(act, order, report.revision, counts))
        return
    done, would, already = words
    facts = [
        ("result", _result(order, report.revision, f"all of them {already}", report.changed)),
        ("entries named", f"{report.entries:,}"),
        (would if order.dry_run else done, f"{report.changed:,}"),
        (already, f"{report.unchanged:,}"),
    ]
    print_table((act, order.name), facts)


def _result(order: _Order, revision: Revision | None, unchanged: str, changes: object) -> str:
    if revision is not None:
        return f"revision {revision.number}"
    if order.dry_run and changes:
        return "nothing was changed: a dry run"
    return f"nothing changed: {unchanged}"


def _record(
    act: str, order: _Order, revision: Revision | None, counts: dict[str, Any]
) -> dict[str, Any]:
    """The JSON object of an act."""
    return {
        "list": order.name,
        "act": act,
        "dry_run": order.dry_run,
        "revision": revision.number if revision else 0,
        **counts,
    }


def _tell_rollback(order: _Order, report: RollbackReport) -> None:
    if order.as_json:
        names = (
            *("to_revision", "withdrawn", "reverted", "retracted", "restored", "purged"),
            "exchange",
        )
        counts = {name: getattr(report, name) for name in names}
        print_json(_record("rollback", order, report.revision, counts))
        return
    unchanged = f"the entries are those of revision {report.to_revision} already"
    result = _result(order, report.revision, unchanged, report.changes)
    print_table(("rollback", order.name), [("result", result), *_rollback_facts(report)])


def _show_rollback(order: _Order, would: RollbackReport) -> None:
    """What would change, on standard error: results are what was done."""
    note(f"Rolling the list {order.name} back to revision {would.to_revision} would change:")
    for what, number in _rollback_facts(would):
        note(f"  {what}: {number}")


def _rollback_facts(report: RollbackReport) -> list[tuple[str, str]]:
    facts = [
        ("came later, go out of force", report.withdrawn),
        ("changed later, get their earlier content back", report.reverted),
        ("retracted then, go out of force again", report.retracted),
        ("retracted later, come back in force", report.restored),
    ]
    if report.purged:
        facts.append(("purged since, stay erased", report.purged))
    told = [(what, f"{number:,}") for what, number in facts]
    if report.exchange:
        told.append(("fetched anew as a whole next, with what it lists", report.exchange))
    return told


def _show_purge(order: _Order, would: PurgeReport) -> None:
    """What would be erased, on standard error: results are what was done."""
    note(f"From the list {order.name} would be erased for good:", style="yellow")
    for what, number in (
        ("entries", would.entries),
        ("of them in force", would.in_force),
        ("versions of them", would.versions),
    ):
        note(f"  {what}: {number:,}", style="yellow")


def _tell_purge(
    order: _Order, report: PurgeReport, snapshots: str, stores: Sequence[str] = ()
) -> None:
    if order.as_json:
        names = ("entries", "in_force", "versions", "values", "tombstones", "traces_wiped")
        counts = {name: getattr(report, name) for name in names}
        print_json(
            _record(
                "purge",
                order,
                report.revision,
                counts | {"snapshots": snapshots, "stores_left": list(stores)},
            )
        )
    elif order.dry_run:
        facts = [
            ("result", "nothing was changed: a dry run"),
            ("entries to erase", f"{report.entries:,}"),
            ("in force", f"{report.in_force:,}"),
            ("versions", f"{report.versions:,}"),
        ]
        print_table(("purge", order.name), facts)
    else:
        wiped = "rewritten, no trace left" if report.traces_wiped else "traces left"
        facts = [
            ("result", _result(order, report.revision, "", report.entries)),
            ("entries erased", f"{report.entries:,}"),
            ("in force until now", f"{report.in_force:,}"),
            ("versions erased", f"{report.versions:,}"),
            ("hash values erased", f"{report.values:,}"),
            ("fingerprints against re-import", f"{report.tombstones:,}"),
            ("catalog's file", wiped),
            ("snapshots", snapshots),
        ]
        print_table(("purge", order.name), facts)
    if order.dry_run:
        return
    if not report.traces_wiped:
        note(_TRACES_LEFT, style="red")
    for url in stores:
        note(
            f"The store {url} may hold older snapshots still, with what was purged. To end that: "
            f"hashwarden index build --publish {url}",
            style="red",
        )
    note(
        "Not reached: backups of the catalog, exported files, the files once imported, and stores "
        "that another machine publishes to, until it does so again."
    )


_TRACES_LEFT = (
    "Traces are left in the catalog's file: a reader or a writer was in the way, or the disk is "
    "full. To end that, on the catalog's machine: hashwarden lists wipe"
)
