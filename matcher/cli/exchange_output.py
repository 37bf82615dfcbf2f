"""How exchanges and fetches are shown: as JSON objects, and as tables for people.

Positions are not shown: they may hold tokens. Of records that were set aside only their places are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from matcher.cli.output import is_terminal, note, print_json, print_paragraphs, print_table

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashlists.catalog import ExchangeRecord, SetAsideRecord
    from hashlists.exchanges.report import FetchReport

_NEVER = "never"


def exchange_record(
    record: ExchangeRecord, entries: int, aside: Sequence[SetAsideRecord], now: datetime
) -> dict[str, Any]:
    """The JSON object of an exchange."""
    from hashlists.exchanges.progress import Progress, next_full  # noqa: PLC0415
    from hashlists.exchanges.registry import ExchangeSettings, make_client  # noqa: PLC0415

    progress = Progress.from_document(record.checkpoint)
    settings = ExchangeSettings.from_document(record.settings)
    client = make_client(record.kind, settings.options)
    moved = progress.moved_at
    return {
        "name": record.name,
        "kind": record.kind,
        "list": record.list_name,
        "url": settings.url,
        "state": record.state.value,
        "entries": entries,
        "fetched_at": _text(progress.fetched_at),
        "checkpoint": client.words(progress.position) if progress.position else None,
        "checkpoint_at": _text(moved),
        "checkpoint_age_seconds": round((now - moved).total_seconds()) if moved else None,
        "full_at": _text(record.full_at),
        "full_due_at": _text(next_full(record, client)),
        "failed_at": _text(progress.failed_at),
        "error": {"reason": progress.error_reason, "detail": progress.error}
        if progress.error
        else None,
        "set_aside": record.set_aside,
        "set_aside_last": [
            {
                "seen_at": _text(each.seen_at),
                "page": each.record.page,
                "place": each.record.place,
                "field": each.record.field,
                "reason": each.record.reason,
            }
            for each in aside
        ],
    }


def print_exchanges(shown: Sequence[Mapping[str, Any]]) -> None:
    """Exchanges: paragraphs for a person, a table elsewhere; below what went wrong."""
    columns = (
        *("exchange", "kind", "list", "state", "entries", "fetched", "set aside", "full due"),
        "address",
    )
    rows = [
        (
            each["name"],
            each["kind"],
            each["list"],
            "failing" if each["error"] and each["state"] == "active" else each["state"],
            f"{each['entries']:,}",
            each["fetched_at"] or _NEVER,
            f"{each['set_aside']:,}",
            each["full_due_at"] or "-",
            each["url"],
        )
        for each in shown
    ]
    if not rows:
        note("There are no exchanges; see: hashwarden exchanges add --help")
        return
    if is_terminal():
        print_paragraphs(_paragraph(dict(zip(columns, row, strict=True))) for row in rows)
    else:
        print_table(columns, rows)
    for each in shown:
        if each["error"]:
            when = each["failed_at"]
            note(f"{each['name']}: failed at {when}: {each['error']['detail']}", style="yellow")


def _paragraph(shown: Mapping[str, str]) -> tuple[str, Sequence[str]]:
    """An exchange for a person, with what is to be copied whole on a line of its own."""
    return (
        f"{shown['exchange']}  {shown['state']}",
        [
            f"{shown['kind']}, fills the list {shown['list']}",
            shown["address"],
            f"{shown['entries']} in force, {shown['set aside']} set aside",
            f"fetched {shown['fetched']}",
            "" if shown["full due"] == "-" else f"full due {shown['full due']}",
        ],
    )


def print_set_aside(shown: Mapping[str, Any]) -> None:
    """The checkpoint of one exchange, and its newest records that were set aside."""
    if shown["checkpoint"]:
        note(f"Goes on with {shown['checkpoint']}; it last moved at {shown['checkpoint_at']}.")
    rows = [
        (each["seen_at"], each["page"], each["place"], each["field"] or "-", each["reason"])
        for each in shown["set_aside_last"]
    ]
    if rows:
        print_table(("seen", "page", "place", "field", "reason"), rows)


def print_fetched(report: FetchReport, *, as_json: bool) -> None:
    """What a fetch did."""
    if as_json:
        print_json(report.to_document())
        return
    columns = ("exchange", "pages", "records", "added", "updated", "retracted", "set aside")
    counts = (
        *(report.pages, report.records, report.added, report.updated),
        *(report.retracted, report.set_aside),
    )
    print_table(columns, [(report.exchange, *(f"{each:,}" for each in counts))])
    if report.told_again:
        note(
            f"{report.exchange}: of these records {report.told_again:,} came behind the full fetch,"
            " which asks once more for what changed around it"
        )
    for what, count in sorted(report.notes.items()):
        note(f"{report.exchange}: {what}: {count:,}")


def _text(moment: datetime | None) -> str | None:
    return moment.isoformat(timespec="seconds") if moment is not None else None
