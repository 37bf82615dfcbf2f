"""A run in a few lines of Markdown, for a terminal and for docs/performance.md."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from loadtest import measure
from loadtest.openloop.scenario import ALONE

if TYPE_CHECKING:
    from loadtest.openloop.results import RunResult

#: Milliseconds of lateness beyond which the 99th percentile is worth a word.
_LATE_MS: Final = 20.0


def late_phases(result: RunResult) -> list[str]:
    """A sentence for each phase that was sent late: its latencies tell of the machine, too."""
    return [
        f"{each.name}: one in a hundred was sent {each.late.p99:.0f} ms late or more, since the"
        " machine was too busy for the load generator; latencies contain that"
        for each in result.phases
        if each.is_open and each.late.p99 > _LATE_MS
    ]


def summary(result: RunResult) -> str:
    """The run as Markdown: circumstances, phases, verdicts."""
    columns = ("phase", "offered/s", "right/s", "refused", "failed", "p50 ms", "p99 ms", "CPU ms")
    rows = [
        (
            f"{each.name} ({each.round})",
            f"{each.offered:.1f}",
            f"{each.goodput:.1f}",
            f"{each.counts.refused:,}",
            f"{each.counts.failed:,}",
            f"{each.latency.p50:.1f}" if each.is_open or each.name == ALONE else "-",
            f"{each.latency.p99:.1f}" if each.is_open or each.name == ALONE else "-",
            f"{each.cost.server:.2f}" if each.cost else "-",
        )
        for each in result.phases
    ]
    verdicts = [
        (
            f"{each.phase}: {each.what}",
            f"{each.value:.2f}",
            f"{each.low:.2f} to {each.high:.2f}",
            each.limit,
            "met" if each.met else "**missed**",
        )
        for each in result.verdicts
    ]
    late = [f"- {each}" for each in late_phases(result)]
    faults = [f"- {each.name}: {fault}" for each in result.phases for fault in each.faults[:5]]
    return "\n".join(
        (
            *result.circumstances,
            "",
            measure.markdown_table(columns, rows),
            "",
            measure.markdown_table(("what", "value", "rounds", "required", ""), verdicts),
            *late,
            *faults,
        )
    )
