"""`hashwarden lists stats`: what a list did to uploads, or in shadow would have done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import click

from hashlists.model import ListState
from hashlists.words import counted, one_or_many
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.keeping import keeper
from matcher.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.model import HashList, MatchDay

_DEFAULT_DAYS = 30
_MOST_DAYS = 3_660


@click.command("stats", short_help="What a list did to uploads, by day.")
@click.argument("name")
@click.option(
    "--days",
    metavar="N",
    default=_DEFAULT_DAYS,
    show_default=True,
    type=click.IntRange(1, _MOST_DAYS),
    help="How many days back, today included; days are those of UTC.",
)
@options.server
@options.as_json
@pass_session
def command(session: Session, *, name: str, days: int, server: str | None, as_json: bool) -> None:
    """Tell what the list NAME did to uploads, or would have done while it is in shadow.

    For each day and policy: how many uploads and lookups a server judged while the list counted,
    how many of them have exactly a digest of an entry, and how many others are near one. What the
    allow-list took out, and classes that decide nothing, are not counted. The servers that follow
    this catalog count, replicas do not, and each hands its numbers over every half minute; what it
    counted since is lost where it is killed.

    What was reported of its matches (`hashwarden matches report`) is told beside, of all time; with
    --json in an object of its own at the end, where there is any.
    """
    with keeper(session, server) as lists:
        hash_list = lists.get_list(name).hash_list
        found = lists.match_days(name, days)
        told = lists.match_outcomes(name) or {}
        outcomes = {each.value: number for each, number in told.items()}
    reported = sum(outcomes.values())
    if as_json:
        for each in found:
            print_json(_record(hash_list, each))
        if reported:
            print_json({"list": hash_list.name, "outcomes": outcomes})
        return
    print_table(
        ("day", "policy", "uploads", "exact", "near", "share"), [_cells(each) for each in found]
    )
    note(_summary(hash_list, found, days))
    if reported:
        wrong = outcomes.get("wrong", 0)
        note(
            f"Of {counted(reported, 'match', 'matches')} that were looked into, of all time, "
            f"{wrong:,} {one_or_many(wrong, 'was', 'were')} wrong ({wrong / reported:.4%})."
        )


def _record(hash_list: HashList, day: MatchDay) -> dict[str, Any]:
    return {
        "list": hash_list.name,
        "state": hash_list.state.value,
        "day": day.day.isoformat(),
        "policy": day.policy,
        "uploads": day.uploads,
        "exact": day.exact,
        "near": day.near,
        "share": day.share,
    }


def _cells(day: MatchDay) -> tuple[str, ...]:
    return (
        day.day.isoformat(),
        day.policy,
        f"{day.uploads:,}",
        f"{day.exact:,}",
        f"{day.near:,}",
        f"{day.share:.4%}",
    )


def _summary(hash_list: HashList, found: Sequence[MatchDay], days: int) -> str:
    if not found:
        return (
            f"No upload was judged by a server while {hash_list.name} counted, in the last "
            f"{counted(days, 'day')}; only servers count, not `hashwarden match` on this machine,"
            " and they hand their numbers over every half minute."
        )
    uploads = sum(each.uploads for each in found)
    matched = sum(each.exact + each.near for each in found)
    would = "would have matched" if hash_list.state is ListState.SHADOW else "matched"
    return (
        f"The list {hash_list.name} is {_STATES[hash_list.state]}; by the numbers above it {would} "
        f"{matched:,} of {counted(uploads, 'upload')} ({matched / uploads:.4%}), as servers "
        "counted."
    )


_STATES = {ListState.SHADOW: "in shadow", ListState.LIVE: "live"}

__all__ = ["command"]
