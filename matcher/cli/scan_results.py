"""What came of a scan, as it is told at its end and by `scan status`; and its reports."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from hashlists.words import counted
from matcher.cli.output import note, print_table
from matcher.cli.scan_words import EXIT_FOUND, EXIT_UNDECIDED, exit_status, outcome_words
from matcher.scan.model import Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from hashlists.formats.unpacking.age_files import Identity
    from matcher.cli.scan_progress import Display
    from matcher.scan.reports import Written
    from matcher.scan.state import Run, ScanState, ScanSummary
    from matcher.scan.tally import Tally

_MOST_REASONS: Final = 20


def write_all(
    state: ScanState,
    folder: Path,
    formats: Sequence[str],
    *,
    identities: Sequence[Identity] = (),
    recipients: Sequence[str] = (),
    vics_profile: str = "",
) -> Written:
    """Writes reports of what is finished.

    Args:
        state: of the scan.
        folder: where they go.
        formats: which.
        identities: private keys that open records, where those are encrypted.
        recipients: public keys to which what names objects is encrypted.
        vics_profile: whose categories a VICS file has; empty: those of most of what was found.

    Raises:
        ReportError: one cannot be made.
    """
    from matcher.scan.reports import write_reports  # noqa: PLC0415  brings what reports are made of

    sealed = state.document.recipients and not identities
    records = None if sealed else state.records(identities)
    return write_reports(
        folder,
        state.summary(),
        records,
        formats,
        recipients=recipients,
        vics_profile=vics_profile,
    )


def tell_changes(display: Display, run: Run) -> None:
    """Tells in what a run differs from the one before, by which the first objects were judged."""
    if not run.changed:
        return
    told = ", ".join(
        f"{_CHANGED[name]} {then or 'none'} then and {now or 'none'} now"
        for name, (then, now) in run.changed.items()
        if name in _CHANGED
    )
    display.tell(
        "changed",
        f"warning: since the run before, lists or policy have changed: {told or 'the policy'}. "
        "Objects that are finished keep what was found then.",
        {"changed": {name: list(both) for name, both in run.changed.items()}},
    )


_CHANGED: Final = {"revision": "revision", "policy": "policy", "policy_version": "policy version"}


def tell_results(display: Display, state: ScanState, written: Written) -> int:
    """Tells what a scan that is through has found; gives the exit status."""
    summary = state.summary()
    status = exit_status(summary.tally.outcomes, summary.tally.member_outcomes)
    if not summary.listed and not summary.not_selected:
        status = EXIT_UNDECIDED  # a name that was mistyped must not look like a clean bucket
    display.tell(
        "done",
        f"Scan {summary.document.id} is through.",
        {**summary_record(summary), "exit_status": status, "reports": _names(written)},
    )
    if not display.for_programs:
        tell_summary(summary)
    for told in written.notes:
        note(told)
    if not display.for_programs:
        note("Reports: " + ", ".join(_names(written)))
        tell_lead(status)
    return status


def tell_lead(status: int) -> None:
    """Says what a match is, and is not, where there is one."""
    if status == EXIT_FOUND:
        note("A hash match is a lead, not proof: a person must look before anything is done.")


def _names(written: Written) -> list[str]:
    return [str(each) for each in written.files]


def tell_summary(summary: ScanSummary) -> None:
    """Prints the outcomes as a table, and what there is to know beside it."""
    tally = summary.tally
    columns = ("outcome", "objects") + ("members of archives",) * bool(tally.members)
    rows = [_row(each, tally) for each in Outcome]
    total = ("all", f"{tally.objects:,}") + (f"{tally.members:,}",) * bool(tally.members)
    print_table(columns, [*rows, total])
    for reason, number in _most(tally.reasons):
        outcome, _, why = reason.partition(": ")
        note(f"{number:,} {outcome_words(outcome)}: {outcome_words(why)}")
    for reason, number in _most(summary.skipped):
        note(f"{number:,} skipped, and no part of the listing: {outcome_words(reason)}")
    if summary.not_selected:
        note(f"{counted(summary.not_selected, 'object')} met that the options leave out")
    if summary.done and not summary.listed:
        why = "the options leave all of them out" if summary.not_selected else "there are none"
        told = f"warning: no object was scanned: {why}; see to the URLs, --prefix and globs"
        note(told, style="yellow")
    revisions = ", ".join(sorted(tally.revisions, key=int))
    if revisions:
        one = len(tally.revisions) == 1
        note(f"Looked up in revision{'' if one else 's'} {revisions} of the lists.")


def _row(outcome: Outcome, tally: Tally) -> tuple[str, ...]:
    counts = [tally.outcomes] + [tally.member_outcomes] * bool(tally.members)
    return (outcome_words(outcome), *(f"{each.get(outcome.value, 0):,}" for each in counts))


def _most(counts: Mapping[str, int]) -> list[tuple[str, int]]:
    return sorted(counts.items(), key=lambda each: (-each[1], each[0]))[:_MOST_REASONS]


def summary_record(summary: ScanSummary, *, at_work: bool = False) -> dict[str, Any]:
    """What a scan has come to, as an object of JSON without the name of any object.

    Args:
        summary: of the scan.
        at_work: a process goes on with it now; else what has not ended was killed.
    """
    tally = summary.tally
    return {
        "scan": summary.document.id,
        "begun": _moment(summary.document.made_at),
        "places": [each.url for each in summary.document.places],
        "complete": summary.done,
        "listed": summary.listed,
        "listing_complete": summary.listing_done,
        "finished": summary.finished,
        "outcomes": {each.value: tally.outcomes.get(each.value, 0) for each in Outcome},
        "members": tally.members,
        "member_outcomes": {
            each.value: tally.member_outcomes.get(each.value, 0) for each in Outcome
        },
        "reasons": dict(sorted(tally.reasons.items())),
        "skipped": dict(sorted(summary.skipped.items())),
        "not_selected": summary.not_selected,
        "fetched_bytes": tally.fetched_bytes,
        "kept_hashes": summary.kept,
        "revisions": dict(sorted(tally.revisions.items())),
        "work_seconds": round(summary.work_seconds, 1),
        "runs": [_run_record(each, at_work=at_work) for each in summary.runs],
    }


def _run_record(run: Run, *, at_work: bool) -> dict[str, Any]:
    from matcher.scan.state import RunEnd  # noqa: PLC0415  brings SQLAlchemy

    unended = None if at_work else RunEnd.KILLED.value
    return {
        "begun": _moment(run.began_at),
        "ended": _moment(run.ended_at) if run.ended_at else None,
        "how": run.how or unended,
        "objects": run.objects,
        "revision": run.revision or None,
        "policy": run.policy or None,
        "policy_version": run.policy_version or None,
    }


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


__all__ = [
    "summary_record",
    "tell_changes",
    "tell_lead",
    "tell_results",
    "tell_summary",
    "write_all",
]
