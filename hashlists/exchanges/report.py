"""What a fetch did."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterable

    from hashlists.catalog import SetAside, StageResult
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
        told_again: of those records, how many came behind a full fetch, which asks again for what
            changed around it; most of them are the same.
        set_aside: malformed records, each once.
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
    told_again: int = 0
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
    _aside: set[bytes] = field(default_factory=set, repr=False)

    def take_page(self, page: ReadPage, *, again: bool = False) -> None:
        """Counts a page.

        Args:
            page: as it was read.
            again: whether a full fetch has just told the same.
        """
        self.pages += 1
        self.records += page.records
        self.told_again += page.records if again else 0
        self.take_aside(page.set_aside)
        self.repeated += page.repeated
        self.notes.update(page.notes)

    def take_aside(self, found: Iterable[SetAside]) -> None:
        """Counts records that were set aside and have not been counted yet."""
        self._aside.update(each.record_sha256 for each in found)
        self.set_aside = len(self._aside)

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
        del document["_aside"]
        return {**document, "seconds": round(self.seconds, 3), "notes": dict(self.notes)}


__all__ = ["FetchReport"]
