"""What became of staged batches, in figures, and the records that were not taken."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.catalog.counts import Counts, coverage

if TYPE_CHECKING:
    from hashlists.model import Coverage, Rejection


@dataclass(slots=True)
class StageResult:
    """What became of a batch.

    Attributes:
        added: entries that the list did not hold.
        updated: entries whose content changed, or that their source lists again.
        unchanged: entries that were not written, since they say what the list says already.
        kept_retracted: how many of the above stay retracted, since an operator retracted them.
        retracted: entries that their source retracted.
        unknown: withdrawals of entries that the list never held.
        kinds: which hashes the accepted rows carry: how many rows by kinds bits.
        rejections: records that were not taken, in file order.
    """

    added: int = 0
    updated: int = 0
    unchanged: int = 0
    kept_retracted: int = 0
    retracted: int = 0
    unknown: int = 0
    kinds: Counts = field(default_factory=Counts)
    rejections: list[Rejection] = field(default_factory=list)

    @property
    def coverage(self) -> Coverage:
        """Coverage of the accepted rows."""
        return coverage((kinds, number) for (kinds, _), number in self.kinds.items())

    def add(self, other: StageResult) -> None:
        """Adds the figures of another batch."""
        self.added += other.added
        self.updated += other.updated
        self.unchanged += other.unchanged
        self.kept_retracted += other.kept_retracted
        self.retracted += other.retracted
        self.unknown += other.unknown
        self.kinds.update(other.kinds)
        self.rejections += other.rejections
