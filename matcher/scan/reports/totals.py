"""`summary.json`: what a scan has come to, for programs. It names no place and no object.

    format, version     "hashwarden-scan", 1
    scan                its id, when it was asked for, whether it is done, whether it adds up
    totals              listed, finished, waiting, members, not_selected, skipped (by reason), kept,
                        listed_bytes, fetched_bytes
    outcomes, member_outcomes, reasons, ways, formats, revisions
                        numbers by name, as `matcher.scan.tally.Tally` has them
    lists               by name: harm, outcomes, severities, distances
    runs                began_at, ended_at, how, objects, revision, policy, policy_version
    work_seconds        of all runs

Times are RFC 3339 in UTC, and null where there is none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec

from matcher.scan.model import Outcome
from matcher.scan.reports.addresses import moment_text
from matcher.scan.reports.page import adds_up

if TYPE_CHECKING:
    from matcher.scan.state.summary import Run, ScanSummary

VERSION: Final = 1


def totals_json(summary: ScanSummary) -> bytes:
    """The file, indented, with a line end behind it."""
    return msgspec.json.format(msgspec.json.encode(totals(summary)), indent=2) + b"\n"


def totals(summary: ScanSummary) -> dict[str, Any]:
    """What the file says, as plain values."""
    tally = summary.tally
    return {
        "format": "hashwarden-scan",
        "version": VERSION,
        "scan": {
            "id": summary.document.id,
            "asked_at": moment_text(summary.document.made_at) or None,
            "places": len(summary.document.places),
            "done": summary.done,
            "adds_up": adds_up(summary),
        },
        "totals": {
            "listed": summary.listed,
            "finished": summary.finished,
            "waiting": summary.listed - summary.finished,
            "members": tally.members,
            "not_selected": summary.not_selected,
            "skipped": dict(sorted(summary.skipped.items())),
            "kept": summary.kept,
            "listed_bytes": summary.listed_bytes,
            "fetched_bytes": tally.fetched_bytes,
        },
        "outcomes": {str(each): tally.outcomes.get(each, 0) for each in Outcome},
        "member_outcomes": {str(each): tally.member_outcomes.get(each, 0) for each in Outcome},
        "reasons": dict(sorted(tally.reasons.items())),
        "ways": dict(sorted(tally.ways.items())),
        "formats": dict(sorted(tally.formats.items())),
        "revisions": dict(sorted(tally.revisions.items(), key=lambda item: int(item[0]))),
        "lists": {name: msgspec.to_builtins(tally.lists[name]) for name in sorted(tally.lists)},
        "runs": [_run(run) for run in summary.runs],
        "work_seconds": round(summary.work_seconds, 3),
    }


def _run(run: Run) -> dict[str, Any]:
    return {
        "began_at": moment_text(run.began_at or None) or None,
        "ended_at": moment_text(run.ended_at or None) or None,
        "how": run.how,
        "objects": run.objects,
        "revision": run.revision,
        "policy": run.policy,
        "policy_version": run.policy_version,
    }


__all__ = ["VERSION", "totals", "totals_json"]
