"""The page for people: one HTML file that needs nothing from elsewhere, and runs no script.

It is made of sums and of opaque ids, so that it may be shown to those who decide what comes next
without handing them a map to the material. Names of lists, reasons and policies come from others:
everything is escaped by the template engine, and a content security policy forbids the rest.
"""

from __future__ import annotations

import base64
import hashlib
from dataclasses import dataclass
from functools import cache
from importlib import resources
from typing import TYPE_CHECKING, Any, BinaryIO, Final

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from hashlists.words import counted
from matcher import __version__
from matcher.scan.model import FOUND, Outcome
from matcher.scan.reports import sections, svg

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from matcher.scan.model import Record
    from matcher.scan.state.summary import ScanSummary

#: Found objects that are shown.
SHOWN: Final = 300
_ENDS: Final[Mapping[str, str]] = {
    "done": "at its end",
    "interrupted": "stopped by a person",
    "failed": "ended by an error",
    "killed": "killed",
}
_PACKAGE: Final = "matcher.scan.reports"


@dataclass(frozen=True, slots=True)
class _FoundRow:
    id: str
    outcome: str
    list: str
    severity: str
    match: str
    distance: str
    total: int


class PageReport:
    """Writes the page (see `base.Report`).

    Args:
        stream: written to.
        summary: of the scan.
        sealed: there are records, and they cannot be read here.
        shown: how many found objects are shown at most.
    """

    def __init__(
        self,
        stream: BinaryIO,
        summary: ScanSummary,
        *,
        sealed: bool = False,
        shown: int = SHOWN,
    ) -> None:
        self._stream = stream
        self._summary = summary
        self._sealed = sealed
        self._shown = shown
        self._rows: list[_FoundRow] = []

    @property
    def notes(self) -> Sequence[str]:
        """Nothing is lost."""
        return ()

    def write(self, records: Sequence[Record]) -> None:
        """Takes the first ones that were found."""
        for record in records:
            if len(self._rows) < self._shown and record.outcome in FOUND:
                self._rows.append(_found_row(record))

    def finish(self) -> None:
        """Writes the page."""
        self._stream.write(render(self._summary, self._rows, sealed=self._sealed).encode())


def render(summary: ScanSummary, rows: Sequence[_FoundRow], *, sealed: bool) -> str:
    """The page.

    Args:
        summary: of the scan.
        rows: found objects to show.
        sealed: there are records, and they cannot be read here.
    """
    tally = summary.tally
    style = (resources.files(_PACKAGE) / "page.css").read_text(encoding="utf-8")
    both = {
        outcome: tally.outcomes.get(outcome, 0) + tally.member_outcomes.get(outcome, 0)
        for outcome in Outcome
    }
    page: str = (
        _environment()
        .get_template("page.html.jinja")
        .render(
            summary=summary,
            version=__version__,
            style=Markup(style),  # noqa: S704  a file of this package
            policy=_content_policy(style),
            begun=sections.time_text(summary.runs[0].began_at) if summary.runs else "",
            asked=sections.time_text(summary.document.made_at),
            waiting=summary.listed - summary.finished,
            found=sum(both[outcome] for outcome in FOUND),
            failed=both[Outcome.FAILED],
            not_hashable=both[Outcome.NOT_HASHABLE],
            members=tally.members,
            places=sections.place_words(summary.document.places),
            chosen=sections.selection_words(summary.document.selection),
            runs=_runs(summary),
            changed=any(run.changed for run in summary.runs) or len(tally.revisions) > 1,
            hashed=summary.runs[-1].hashed if summary.runs else (),
            revisions=sorted((int(name), count) for name, count in tally.revisions.items()),
            skipped=sorted(summary.skipped.items()),
            reasons=sections.reason_rows(tally),
            ways=tally.ways,
            formats=sorted(tally.formats.items(), key=lambda item: (-item[1], item[0])),
            adds_up=adds_up(summary),
            histograms=_histograms(summary),
            speed=_speed(summary),
            rows=rows,
            sealed=sealed,
            **_totals(summary),
            **_lists(summary),
        )
    )
    return page


def adds_up(summary: ScanSummary) -> bool:
    """Whether each object of the listing has exactly one outcome, or waits."""
    tally = summary.tally
    return (
        sum(tally.outcomes.values()) == tally.objects == summary.finished <= summary.listed
        and sum(tally.member_outcomes.values()) == tally.members
    )


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader(_PACKAGE, "."),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "counted": counted,
        "duration": sections.duration_text,
        "size": sections.size_text,
    }
    return environment


def _content_policy(style: str) -> str:
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


def _found_row(record: Record) -> _FoundRow:
    first = record.matches[0] if record.matches else None
    if first is None:
        return _FoundRow(record.id, str(record.outcome), "", "", "", "", record.total_matches)
    return _FoundRow(
        record.id,
        str(record.outcome),
        first.list,
        first.severity,
        f"{first.basis}, {first.kind}, {first.view}"
        if first.view
        else f"{first.basis}, {first.kind}",
        "" if first.distance is None else f"{first.distance:,}",
        record.total_matches,
    )


def _runs(summary: ScanSummary) -> list[Mapping[str, Any]]:
    return [
        {
            "began": sections.time_text(run.began_at),
            "ended": sections.time_text(run.ended_at),
            "how": _ENDS.get(run.how, run.how) if run.how else "still at work, or killed",
            "objects": run.objects,
            "revision": run.revision or "-",
            "policy": run.policy,
        }
        for run in summary.runs
    ]


def _totals(summary: ScanSummary) -> dict[str, Any]:
    rows = sections.outcome_rows(summary.tally)
    return {
        "outcomes": rows,
        "bars": [
            svg.stacked_bar(
                [(row.key, row.objects)],
                summary.tally.objects,
                title=f"{row.name}: {row.objects:,}",
            )
            for row in rows
        ],
    }


def _lists(summary: ScanSummary) -> dict[str, Any]:
    rows = sections.list_rows(summary.tally)
    most = max((row.matched + row.review for row in rows), default=0)
    return {
        "lists": rows,
        "severities": sections.severities_of(summary.tally),
        "list_bars": [
            svg.stacked_bar(
                [("matched", row.matched), ("review", row.review)],
                most,
                title=f"{row.name}: {row.matched:,} matched, {row.review:,} for review",
            )
            for row in rows
        ],
    }


def _histograms(summary: ScanSummary) -> list[Mapping[str, Any]]:
    shown: list[Mapping[str, Any]] = []
    for each in sections.histograms(summary.tally):
        labels = [each.label(row) for row in range(len(each.counts))]
        at_most = max(range(len(labels)), key=lambda row: each.counts[row])
        drawn = svg.columns(
            each.counts,
            title=f"Near matches of {each.kind} by distance",
            description=f"{sum(each.counts):,} in all, most of them at distance {labels[at_most]}. "
            "The numbers stand in the table below.",
            colour="plain",
        )
        shown.append(
            {
                "kind": each.kind,
                "counts": each.counts,
                "drawn": drawn,
                "labels": labels,
                "rows": [row for row in zip(labels, each.counts, strict=True) if row[1]],
            }
        )
    return shown


def _speed(summary: ScanSummary) -> Mapping[str, Any] | None:
    rows = sections.speed_rows(summary)
    if not rows:
        return None
    top, end = max(row.rate for row in rows), rows[-1].until
    points = [(0.0, rows[0].rate), *((row.until, row.rate) for row in rows)]
    return {
        "rows": rows,
        "top": top,
        "end": end,
        "objects": sum(row.objects for row in rows) / end,
        "bytes": sum(row.bytes for row in rows) / end,
        "drawn": svg.line(
            points,
            title="Objects a second over the time at work",
            description=f"Over {sections.duration_text(end)}, {top:,.1f} a second at most. The "
            "numbers stand in the table below.",
            colour="plain",
        ),
    }


__all__ = ["SHOWN", "PageReport", "adds_up", "render"]
