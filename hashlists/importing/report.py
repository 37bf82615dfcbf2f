"""What an import did: as a value, as the catalog keeps it, and as plain values for others."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.model import Coverage, HashKind, Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.catalog import FinishedImport


@dataclass(frozen=True, slots=True)
class ImportReport:
    """What an import did.

    Attributes:
        revision: the revision it made; 0 where nothing had changed, or it was only tried.
        read: records in the file.
        added: entries that the list did not hold.
        updated: entries that changed, or that their source lists again after retracting them.
        retracted: entries in force until now that the source withdraws.
        unchanged: entries that the list holds just so, and repetitions within the file.
        rejected: records that were not imported.
        kept_retracted: entries that stay retracted here, since an operator retracted them.
        seconds: wall-clock time.
        coverage: of the entries in this file.
        rejections: the first of them, in the order in which they were found.
        sha256: of the file, lower-case hex; of several files see `request.identify`.
        notes: what was left aside without harm, e.g. a hash of an unknown name, and how often.
        absent: those of the retracted ones that a whole list does not name.
        repeated: this import had been made before under its idempotency key; this is its report.
    """

    list_name: str
    format: str
    revision: int
    read: int
    added: int
    updated: int
    retracted: int
    unchanged: int
    rejected: int
    kept_retracted: int
    seconds: float
    coverage: Coverage
    rejections: tuple[Rejection, ...]
    sha256: str
    notes: Mapping[str, int] = field(default_factory=dict)
    absent: int = 0
    repeated: bool = False


def report_to_dict(report: ImportReport) -> dict[str, object]:
    """The report as plain JSON-able values; places as words."""
    shown = to_document(report)
    shown["rejections"] = [
        {"place": str(rejection.place), "field": rejection.field, "reason": rejection.reason}
        for rejection in report.rejections
    ]
    return shown


def to_document(report: ImportReport) -> dict[str, object]:
    """The report as it is kept in the catalog; `from_document` is the way back."""
    coverage = report.coverage
    shares = {
        kind: number / coverage.entries if coverage.entries else 0.0
        for kind in HashKind
        for number in (coverage.by_kind.get(kind, 0),)
    }
    return {
        "list": report.list_name,
        "format": report.format,
        "revision": report.revision,
        "read": report.read,
        "added": report.added,
        "updated": report.updated,
        "retracted": report.retracted,
        "unchanged": report.unchanged,
        "rejected": report.rejected,
        "kept_retracted": report.kept_retracted,
        "seconds": round(report.seconds, 3),
        "coverage": {
            "entries": coverage.entries,
            "near_matchable": coverage.near_matchable,
            "near_matchable_share": coverage.near_matchable_share,
            "by_kind": {kind.value: coverage.by_kind.get(kind, 0) for kind in HashKind},
            "share_by_kind": {kind.value: share for kind, share in shares.items()},
        },
        "rejections": [
            [
                *(each.place.unit, each.place.number, each.place.offset),
                *(each.field, each.reason, each.place.part),
            ]
            for each in report.rejections
        ],
        "sha256": report.sha256,
        "notes": dict(report.notes),
        "absent": report.absent,
        "repeated": report.repeated,
    }


def from_document(finished: FinishedImport) -> ImportReport:
    """The report that was kept with an import, as one that is told again."""
    kept = finished.report
    coverage = kept["coverage"]
    by_kind = {HashKind(kind): number for kind, number in coverage["by_kind"].items() if number}
    counts = ("read", "added", "updated", "unchanged", "rejected", "kept_retracted", "seconds")
    return ImportReport(
        list_name=finished.list_name,
        format=finished.source.format,
        revision=finished.revision,
        retracted=kept.get("retracted", 0),  # earlier reports do not tell
        **{name: kept[name] for name in counts},
        coverage=Coverage(coverage["entries"], by_kind, coverage["near_matchable"]),
        rejections=tuple(
            Rejection(Place(unit, number, offset, *part), named, why)
            for unit, number, offset, named, why, *part in kept["rejections"]
        ),
        sha256=finished.source.sha256.hex(),
        notes=kept["notes"],
        absent=kept.get("absent", 0),
        repeated=True,
    )


__all__ = ["ImportReport", "from_document", "report_to_dict", "to_document"]
