"""`hashwarden matches`: what was matched, why, and what became of it."""

from __future__ import annotations

from contextlib import contextmanager
from datetime import UTC, datetime
from itertools import islice
from typing import TYPE_CHECKING, Any

import click

from hashlists.words import counted, one_or_many
from matcher.cli import options
from matcher.cli.context import Session, pass_session
from matcher.cli.output import note, print_json, print_table

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from matcher.cli.past_matches import PastMatches
    from matcher.client import (
        RecordAnswer,
        ReplayAnswer,
        ReplayedMatch,
        ReportedOutcome,
        UndoneMatch,
    )
    from matcher.model import EntryStanding, Match

_DEFAULT_SHOWN = 50
_OUTCOMES = ("confirmed", "wrong")
_WHEN = click.DateTime(["%Y-%m-%d", "%Y-%m-%dT%H:%M:%S%z"])


@click.group("matches")
def command() -> None:
    """See what was matched and why, and say what became of it.

    Every MATCH and REVIEW of a server leaves an encrypted record for a while (match_record_days):
    what the answer rested on, the upload's SHA-256 and the caller's own name for it, and no other
    hash. What `hashwarden match` finds on this machine leaves none.
    """


def _since(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--since",
        type=_WHEN,
        metavar="WHEN",
        help="Only matches of then and later: a date (UTC), or a time with its offset.",
    )(function)


def _limit(function: Callable[..., None]) -> Callable[..., None]:
    return click.option(
        "--limit",
        type=click.IntRange(1),
        default=_DEFAULT_SHOWN,
        show_default=True,
        metavar="N",
        help="How many at most.",
    )(function)


@command.command()
@click.argument("match_id")
@options.server
@options.as_json
@pass_session
def show(session: Session, *, match_id: str, server: str | None, as_json: bool) -> None:
    """Show what one match rested on, and what was reported of it."""
    with _past_matches(session, server) as matches:
        record = matches.get(match_id)
    if as_json:
        print_json(_record(record))
        return
    _print_record(record)


@command.command("list")
@_since
@click.option(
    "--until", type=_WHEN, metavar="WHEN", help="Only matches before then, written as for --since."
)
@click.option(
    "--entry",
    "entries",
    type=click.IntRange(1),
    multiple=True,
    metavar="ID",
    help="Only matches that rest on this entry, by its id in the catalog; may be repeated.",
)
@click.option("--client", metavar="NAME", default="", help="Only matches of this client.")
@click.option(
    "--reference",
    metavar="NAME",
    default="",
    help="Only matches of uploads that their caller gave this name.",
)
@_limit
@options.server
@options.as_json
@pass_session
def list_(
    session: Session,
    *,
    since: datetime | None,
    until: datetime | None,
    entries: tuple[int, ...],
    client: str,
    reference: str,
    limit: int,
    server: str | None,
    as_json: bool,
) -> None:
    """List records of matches, the newest first."""
    with _past_matches(session, server) as matches:
        wanted = matches.list(
            since=_utc(since),
            until=_utc(until),
            entries=entries,
            client=client,
            reference=reference,
        )
        found = list(islice(wanted, limit + 1))
    shown = found[:limit]
    if as_json:
        for each in shown:
            print_json(_record(each))
    else:
        columns = ("match", "at", "client", "reference", "decision", "lists", "outcome")
        print_table(columns, map(_row, shown))
    _note_more(found, limit)


@command.command()
@click.argument("match_id")
@options.server
@options.as_json
@pass_session
def replay(session: Session, *, match_id: str, server: str | None, as_json: bool) -> None:
    """Judge one match anew, and say what differs: by the policy of then and by that of now.

    What is judged is what was met then, at the distances of then, as those entries are now. What
    else the upload might meet by now is not known: its hashes are not kept.
    """
    with _past_matches(session, server) as matches:
        anew = matches.replay(match_id)
    if as_json:
        print_json(_replayed(anew))
        return
    _print_record(anew.record, anew.standings)
    for name, judged in (("policy of then", anew.then), ("policy of now", anew.now)):
        if judged is not None:
            told = f"{judged.decision.value} ({judged.policy_version}): {judged.explanation}"
            click.echo(f"{name}: {told}")
    for each in anew.differences:
        click.echo(f"differs: {each}")
    if not anew.differences:
        note("Nothing differs between then and now.")


@command.command()
@_since
@_limit
@options.server
@options.as_json
@pass_session
def undone(
    session: Session, *, since: datetime | None, limit: int, server: str | None, as_json: bool
) -> None:
    """List matches that rest on entries which are no longer what they were.

    Retracted, purged or expired, of a list that is in shadow again, or of another class: whoever
    was wronged by them can be reinstated. "nothing left" means that no entry which the match rests
    on is in force and unchanged.
    """
    with _past_matches(session, server) as matches:
        found = list(islice(matches.undone(since=_utc(since)), limit + 1))
    shown = found[:limit]
    if as_json:
        for each in shown:
            print_json(_undone(each))
    else:
        columns = ("match", "at", "client", "reference", "decision", "lists", "left")
        print_table(columns, map(_undone_row, shown))
    _note_more(found, limit)


@command.command()
@click.argument("match_id")
@click.argument("outcome", type=click.Choice(_OUTCOMES))
@click.option("--reason", default="", metavar="TEXT", help="In a person's words; without a hash.")
@options.server
@options.as_json
@pass_session
def report(
    session: Session,
    *,
    match_id: str,
    outcome: str,
    reason: str,
    server: str | None,
    as_json: bool,
) -> None:
    """Say whether a match was right; the last word counts.

    Outcomes are counted by list, and `hashwarden lists stats` shows them.
    """
    from matcher.model import Outcome  # noqa: PLC0415  brings numpy

    with _past_matches(session, server) as matches:
        kept = matches.report(match_id, Outcome(outcome), reason=reason)
    if as_json:
        print_json({"match_id": match_id, **_outcome(kept)})
    note(f"Kept: the match is {kept.outcome.value}.")


@command.command("rotate-key")
@pass_session
def rotate_key(session: Session) -> None:
    """Seal records and tokens with a new key from now on.

    The new key goes before the others in the file that match_keys names; servers take it up within
    seconds. What older keys sealed stays readable for as long as they stand there: remove one once
    all it sealed has expired, records (match_record_days) and tokens (token_days) alike.
    """
    from matcher.sealing import KeySource  # noqa: PLC0415  brings cryptography

    KeySource(session.settings.match_keys).rotate()
    note("A new key seals records and tokens from now on; older keys go on opening.")


@contextmanager
def _past_matches(session: Session, server: str | None) -> Iterator[PastMatches]:
    from matcher.cli.past_matches import past_matches  # noqa: PLC0415  brings SQLAlchemy and grpc

    with past_matches(session, server) as matches:
        yield matches


def _utc(moment: datetime | None) -> datetime | None:
    return moment.replace(tzinfo=UTC) if moment is not None and moment.tzinfo is None else moment


def _note_more(found: Sequence[object], limit: int) -> None:
    if len(found) > limit:
        note(f"There are more than {counted(limit, 'match', 'matches')}: see --limit and --since.")
    elif not found:
        note("There are none.")


def _lists(record: RecordAnswer) -> str:
    return ", ".join(dict.fromkeys(each.list_name for each in record.matches))


def _row(record: RecordAnswer) -> tuple[str, ...]:
    outcome = "" if record.outcome is None else record.outcome.outcome.value
    return (*_first_cells(record), outcome)


def _first_cells(record: RecordAnswer) -> tuple[str, ...]:
    return (
        record.match_id,
        record.created_at.isoformat(timespec="seconds"),
        record.client,
        record.reference,
        record.decision.value,
        _lists(record),
    )


def _undone_row(found: UndoneMatch) -> tuple[str, ...]:
    left = sum(each.value == "unchanged" for each in found.standings)
    told = "nothing" if found.nothing_left else f"{left} of {found.record.total_matches}"
    return (*_first_cells(found.record), told)


def _print_record(record: RecordAnswer, standings: Sequence[EntryStanding] = ()) -> None:
    for name, value in (
        ("match", record.match_id),
        ("at", record.created_at.isoformat(timespec="seconds")),
        ("kept until", record.expires_at.isoformat(timespec="seconds")),
        ("client", record.client),
        ("reference", record.reference),
        ("decision", record.decision.value),
        ("flagged", "all entries were hit far more often than usual" if record.flagged else ""),
        ("revision", str(record.revision)),
        ("policy", f"{record.policy} ({record.policy_version})"),
        ("hasher", record.hasher_version),
        ("decoder", record.decoder_version),
    ):
        if value:
            click.echo(f"{name}: {value}")
    if record.outcome is not None:
        said = record.outcome
        click.echo(f"outcome: {said.outcome.value}{f' ({said.reason})' if said.reason else ''}")
    columns = ["list", "entry", "kind", "basis", "view", "distance", "closeness", "severity"]
    rows: Iterable[tuple[str, ...]] = map(_match_row, record.matches)
    if standings:
        columns.append("now")
        rows = [(*row, each.value) for row, each in zip(rows, standings, strict=True)]
    print_table(columns, rows)
    unlisted = record.total_matches - len(record.matches)
    if unlisted:
        are = one_or_many(unlisted, "is", "are")
        note(f"{counted(unlisted, 'further match', 'further matches')} {are} not in the record.")


def _match_row(match: Match) -> tuple[str, ...]:
    return (
        match.list_name,
        str(match.entry_id),
        match.kind.value,
        match.basis.value,
        match.view,
        "" if match.distance is None else str(match.distance),
        match.closeness.value,
        match.severity,
    )


def _record(record: RecordAnswer) -> dict[str, Any]:
    said = record.outcome
    return {
        "match_id": record.match_id,
        "at": record.created_at.isoformat(),
        "expires_at": record.expires_at.isoformat(),
        "client": record.client,
        "reference": record.reference,
        "sha256": record.sha256.hex(),
        "decision": record.decision.value,
        "flagged": record.flagged,
        "revision": record.revision,
        "policy": record.policy,
        "policy_version": record.policy_version,
        "hasher_version": record.hasher_version,
        "decoder_version": record.decoder_version,
        "matches": list(map(_match, record.matches)),
        "total_matches": record.total_matches,
        "outcome": None if said is None else _outcome(said),
    }


def _outcome(said: ReportedOutcome) -> dict[str, Any]:
    return {
        "outcome": said.outcome.value,
        "reason": said.reason,
        "at": said.reported_at.isoformat(),
        "reporter": said.reporter,
    }


def _match(match: Match) -> dict[str, Any]:
    label = match.classification
    return {
        "list": match.list_name,
        "harm": match.harm,
        "entry": match.entry_id,
        "kind": match.kind.value,
        "basis": match.basis.value,
        "view": match.view,
        "distance": match.distance,
        "closeness": match.closeness.value,
        "classification": None
        if label is None
        else {"scheme": label.scheme, "profile": label.profile, "code": label.code},
        "severity": match.severity,
        "derivation": match.derivation,
    }


def _replayed(anew: ReplayedMatch) -> dict[str, Any]:
    return {
        "record": _record(anew.record),
        "by_policy_then": _replay(anew.then),
        "by_policy_now": _replay(anew.now),
        "standings": [each.value for each in anew.standings],
        "differences": list(anew.differences),
        "revision": anew.revision,
    }


def _replay(judged: ReplayAnswer | None) -> dict[str, Any] | None:
    if judged is None:
        return None
    return {
        "decision": judged.decision.value,
        "policy_version": judged.policy_version,
        "explanation": judged.explanation,
    }


def _undone(found: UndoneMatch) -> dict[str, Any]:
    return {
        "record": _record(found.record),
        "standings": [each.value for each in found.standings],
        "nothing_left": found.nothing_left,
    }
