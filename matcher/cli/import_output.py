"""How an import's report is shown, wherever it was made: as a JSON object, and to people."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

from hashlists.model import ListState
from matcher.cli.list_output import coverage_facts, coverage_record, warn_of_coverage
from matcher.cli.output import note, print_table, told_often

if TYPE_CHECKING:
    from hashlists.importer import ImportReport
    from hashlists.model import Harm
    from matcher.client import ImportResult

    #: What an import did, as the local importer or a server tells it.
    ShownImport: TypeAlias = ImportReport | ImportResult

_MOST_REJECTS_SHOWN = 20


def import_record(report: ShownImport, state: ListState | None) -> dict[str, Any]:
    """The JSON object of an import's report; `state` is the list's, None where nobody knows."""
    counts = (
        *("revision", "read", "added", "updated", "retracted", "unchanged", "rejected"),
        *("kept_retracted", "absent"),
    )
    return {
        "list": report.list_name,
        "format": report.format,
        **{name: getattr(report, name) for name in counts},
        "seconds": round(report.seconds, 3),
        "coverage": coverage_record(report.coverage),
        "rejections": [
            {"place": str(each.place), "field": each.field, "reason": each.reason}
            for each in report.rejections
        ],
        "sha256": report.sha256,
        "notes": dict(report.notes),
        "repeated": report.repeated,
        "list_state": None if state is None else state.value,
    }


@dataclass(frozen=True, slots=True)
class Planned:
    """That a report is of a trial, so that nothing was changed.

    Attributes:
        creates: whether the import would create the list.
        is_refused: whether it would be refused; why is told elsewhere.
    """

    creates: bool
    is_refused: bool = False


def print_import(
    report: ShownImport,
    state: ListState | None,
    harm: Harm | None,
    planned: Planned | None = None,
) -> None:
    """Prints the report as a table, and below it what needs a look.

    Args:
        report: what the import did.
        state: of the list; None where nobody knows.
        harm: the same.
        planned: that it was only tried; None where it was done.
    """
    rate = f"{report.read / report.seconds:,.0f} a second" if report.seconds >= 1 else ""
    words = ("added", "updated", "retracted")
    if planned is not None:
        words = ("would add", "would update", "would retract")
    added, updated, retracted = words
    facts = [
        *_result_facts(report, state, planned),
        ("read", f"{report.read:,}"),
        (added, f"{report.added:,}"),
        (updated, f"{report.updated:,}"),
        (retracted, f"{report.retracted:,}" + _not_named(report)),
        ("unchanged", f"{report.unchanged:,}"),
        ("rejected", f"{report.rejected:,}"),
        ("kept retracted", f"{report.kept_retracted:,}"),
        ("seconds", f"{report.seconds:.1f}" + (f" ({rate})" if rate else "")),
        *coverage_facts(report.coverage)[1:],
    ]
    print_table(("import", report.list_name), facts)
    if not report.read:
        note("No record was found: perhaps the export behind the file failed.", style="yellow")
    warn_of_coverage(report.coverage, harm)
    if state is ListState.SHADOW:
        is_now = "is" if planned is None or not planned.creates else "would be"
        note(
            f"The list {report.list_name} {is_now} in shadow: it is matched and counted, and "
            "decides nothing until `lists promote`.",
            style="yellow",
        )
    for told, times in report.notes.items():
        note(told_often(told, times), style="yellow")
    _tell_rejects(report)


def _result_facts(
    report: ShownImport, state: ListState | None, planned: Planned | None
) -> list[tuple[str, str]]:
    """What became of it; of a trial what would become, and of which list."""
    if planned is None:
        changed = (
            f"revision {report.revision} of the catalog" if report.revision else "nothing changed"
        )
        repeated = " (repeated: this import was made before)" * report.repeated
        return [("result", changed + repeated)]
    changes = report.added + report.updated + report.retracted
    would = "it would be one revision" if changes else "it would change nothing"
    if planned.is_refused:
        would = "it would be refused"
    held = "" if state is None else state.value
    return [
        ("result", f"a plan: nothing was imported; {would}"),
        ("list", f"would be created, {held}" if planned.creates else f"is there, {held}"),
    ]


def _not_named(report: ShownImport) -> str:
    return f" ({report.absent:,} not in the file)" if report.absent else ""


def _tell_rejects(report: ShownImport) -> None:
    for rejection in report.rejections[:_MOST_REJECTS_SHOWN]:
        where = f"{rejection.place}" + (f", {rejection.field}" if rejection.field else "")
        note(f"rejected: {where}: {rejection.reason}", style="yellow")
    more = report.rejected - min(len(report.rejections), _MOST_REJECTS_SHOWN)
    if more:
        note(f"... and {more:,} more; --json lists the first {len(report.rejections):,}")
