"""What a fetch did."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hashlists.catalog import StageResult
    from hashlists.exchanges.reading import ReadPage


@dataclass(slots=True)
class FetchReport:
    """What a fetch did; filled page by page, so that it tells the truth after an error, too.

    Attributes:
        exchange, list_name: which, into which list.
        full: all was fetched anew.
        pages: that were taken.
        records: on them, as the exchange told them.
        added, updated, retracted, unchanged, kept_retracted: entries, as in `ImportReport`.
        set_aside: malformed records.
        repeated: records that a later one of the same page replaced.
        revision: the newest that it made; 0 where nothing had changed.
        absent: entries that a full fetch no longer found.
        seconds: wall-clock time.
        notes: what was left aside without harm, and how often.
    """

    exchange: str
    list_name: str
    full: bool = False
    pages: int = 0
    records: int = 0
    added: int = 0
    updated: int = 0
    retracted: int = 0
    unchanged: int = 0
    kept_retracted: int = 0
    set_aside: int = 0
    repeated: int = 0
    revision: int = 0
    absent: int = 0
    seconds: float = 0.0
    notes: Counter[str] = field(default_factory=Counter)

    def take_page(self, page: ReadPage) -> None:
        """Counts a page."""
        self.pages += 1
        self.records += page.records
        self.set_aside += len(page.set_aside)
        self.repeated += page.repeated
        self.notes.update(page.notes)

    def take_result(self, result: StageResult) -> None:
        """Counts what was staged."""
        self.added += result.added
        self.updated += result.updated
        self.retracted += result.retracted
        self.unchanged += result.unchanged
        self.kept_retracted += result.kept_retracted
        self.notes.update(result.notes)

    def to_document(self) -> dict[str, Any]:
        """As plain values."""
        document = asdict(self)
        document["list"] = document.pop("list_name")
        return {**document, "seconds": round(self.seconds, 3), "notes": dict(self.notes)}


__all__ = ["FetchReport"]
