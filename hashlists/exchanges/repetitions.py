"""Which records of one answer stand, where it names one entry several times.

The latest change stands, and among those without a time, or of one time, the last. What one entry
is, its key says as the catalog knows it, so that one hash counts once however it is written. A
malformed record takes no other's place. Only what is decoded is kept of a batch, never its text.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.catalog.bulk import take

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from datetime import datetime

    from hashlists.model import EntryBatch, Retraction


@dataclass(frozen=True, slots=True)
class _Batch:
    """What is good of a batch.

    Attributes:
        rows: numbers of its records among all of the answer, the malformed ones left out.
        gone: which of them are withdrawals.
    """

    rows: Sequence[int]
    gone: Collection[int]
    entries: EntryBatch
    retractions: Sequence[Retraction]


@dataclass(slots=True)
class Repetitions:
    """The good records of one answer, batch by batch.

    Attributes:
        times: when its records changed, the malformed ones included; None for what names no time.
    """

    times: list[datetime | None] = field(default_factory=list)
    _batches: list[_Batch] = field(default_factory=list)
    _standing: dict[bytes, int] = field(default_factory=dict)
    _outdated: set[int] = field(default_factory=set)

    def __len__(self) -> int:
        """Records that another one replaces."""
        return len(self._outdated)

    def add(
        self,
        times: Sequence[datetime | None],
        entries: EntryBatch,
        retractions: Sequence[Retraction],
        *,
        gone: Collection[int],
        malformed: Collection[int],
    ) -> None:
        """Takes the next batch.

        Args:
            times: of all its records.
            entries: those that are good.
            retractions: those that are good.
            gone: rows that are withdrawals.
            malformed: rows that are neither.
        """
        if not times:  # its places may hold text that the batch was picked from
            return
        first = len(self.times)
        self.times += times
        good = [row for row in range(len(times)) if row not in malformed]
        listed, withdrawn = iter(entries.keys), iter(retractions)
        for row in good:
            key = next(withdrawn).key if row in gone else next(listed)
            self._note(key, first + row)
        rows: Sequence[int] = [first + row for row in good]
        if len(good) == len(times):
            rows = range(first, first + len(times))
        self._batches.append(_Batch(rows, {first + row for row in gone}, entries, retractions))

    def entries(self) -> Sequence[EntryBatch]:
        """Those that stand."""
        return [self._standing_entries(each) for each in self._batches]

    def retractions(self) -> Sequence[Retraction]:
        """Those that stand."""
        return [
            retraction
            for each in self._batches
            if each.retractions
            for row, retraction in zip(
                (row for row in each.rows if row in each.gone), each.retractions, strict=True
            )
            if row not in self._outdated
        ]

    def _note(self, key: bytes, row: int) -> None:
        earlier = self._standing.get(key)
        if earlier is not None:
            time, before = self.times[row], self.times[earlier]
            if time is not None and before is not None and time < before:
                self._outdated.add(row)
                return
            self._outdated.add(earlier)
        self._standing[key] = row

    def _standing_entries(self, batch: _Batch) -> EntryBatch:
        listed = [row for row in batch.rows if row not in batch.gone]
        stand = [at for at, row in enumerate(listed) if row not in self._outdated]
        return batch.entries if len(stand) == len(listed) else take(batch.entries, stand)


__all__ = ["Repetitions"]
