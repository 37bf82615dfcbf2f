"""What became of staged batches, in figures, and the records that were not taken."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.catalog.counts import coverage

if TYPE_CHECKING:
    from hashlists.model import Coverage, Rejection

UNMATCHABLE = "entries withdrawn, since their source lists them by nothing that can be matched now"
OLDER = "records left aside: older, by their time stamps, than what the list has of their entries"
OLDER_WITHDRAWALS = (
    "withdrawals left aside: older, by their time stamps, than the records that the list has; these"
    " entries stay in force, and --force takes the withdrawals"
)
PURGED_RECORDS = "records of entries that were purged for good, which stay erased"
PURGED_VALUES = "perceptual hashes left out of other entries, since they were purged for good"


@dataclass(slots=True)
class StageResult:
    """What became of a batch.

    Attributes:
        added: entries that the list did not hold.
        updated: entries whose content changed, or that their source lists again.
        unchanged: entries that were not written, since they say what the list says already.
        kept_retracted: how many of the above stay retracted, since an operator retracted them.
        retracted: entries that their source retracted.
        unmatchable: how many of those their source lists still, but by nothing that could be
            matched.
        unknown: withdrawals of entries that the list never held.
        older: records that were left aside, since the list has a later word on their entries.
        older_withdrawals: withdrawals that were, likewise.
        kinds: which hashes the accepted rows carry: how many rows by kinds bits.
        rejections: records that were not taken, in file order.
        barred: records that were not taken since they are of entries purged for good; nothing is
            wrong with them, so they are no rejections.
        left_out: values that were purged for good, and that other entries carry, too.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    kept_retracted: int = 0
    retracted: int = 0
    unmatchable: int = 0
    unknown: int = 0
    older: int = 0
    older_withdrawals: int = 0
    kinds: Counter[int] = field(default_factory=Counter)
    rejections: list[Rejection] = field(default_factory=list)
    barred: list[Rejection] = field(default_factory=list)
    left_out: int = 0

    @property
    def coverage(self) -> Coverage:
        """Coverage of the accepted rows."""
        return coverage(self.kinds.items())

    @property
    def notes(self) -> dict[str, int]:
        """What a report says beside its figures, and of how many; empty where there is nothing."""
        told = {
            UNMATCHABLE: self.unmatchable,
            OLDER: self.older,
            OLDER_WITHDRAWALS: self.older_withdrawals,
            PURGED_RECORDS: len(self.barred),
            PURGED_VALUES: self.left_out,
        }
        return {note: times for note, times in told.items() if times}

    def add(self, other: StageResult) -> None:
        """Adds the figures of another batch."""
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.kept_retracted += other.kept_retracted
        self.retracted += other.retracted
        self.unmatchable += other.unmatchable
        self.unknown += other.unknown
        self.older += other.older
        self.older_withdrawals += other.older_withdrawals
        self.kinds.update(other.kinds)
        self.rejections += other.rejections
        self.barred += other.barred
        self.left_out += other.left_out
