"""Records that contradict one another, told as an import tells them, as far as was looked.

Of two records with one key and other content an import takes the first and rejects the second; of
an entry that is both listed and withdrawn it rejects the withdrawal, or takes it back. Numbers
stand for keys and contents here, so nothing of a file is held longer than its batch. After so many
keys no new ones are noted: what was read is then looked at no further, and that is told.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.model import Rejection

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.model import EntryBatch, Retraction

#: About 100 bytes each.
MAX_KEYS: Final = 1_000_000
_CONFLICT: Final = "another record has the same key and other content; an import keeps the first"


class SameKeys:
    """The keys of all records so far, of as many parts as an import would take together.

    Attributes:
        is_full: whether there were more keys than are noted.
    """

    def __init__(self, most: int = MAX_KEYS) -> None:
        self.is_full = False
        self._most = most
        self._contents: dict[int, int] = {}
        self._withdrawn: set[int] = set()

    def conflicts(self, entries: EntryBatch, scope: object) -> list[Rejection]:
        """Notes the keys of a batch; those of its records that an import would reject.

        Args:
            entries: the batch.
            scope: what parts have in common that an import would take together.
        """
        found = []
        for row, (key, digest) in enumerate(
            zip(entries.keys, map(hash, entries.content_digests), strict=True)
        ):
            number = hash((scope, key))
            first = self._contents.get(number)
            if first is None:
                self._note(number, digest)
            elif first != digest:
                found.append(Rejection(entries.place_at(row), "", _CONFLICT))
        return found

    def contradictions(self, retractions: Sequence[Retraction], scope: object) -> int:
        """How many withdrawals are of entries that were listed before."""
        return sum(hash((scope, each.key)) in self._contents for each in retractions)

    def withdrawals(self, retractions: Sequence[Retraction], scope: object) -> int:
        """Notes what a batch withdraws; how many entries that no record listed, each told once.

        A page of NCMEC may withdraw one entry twice, as image and as video. One that is listed,
        though by nothing that could be matched, is not told as withdrawn.
        """
        found = 0
        for each in retractions:
            number = hash((scope, each.key))
            if each.unmatchable or number in self._contents or number in self._withdrawn:
                continue
            found += 1
            if len(self._contents) + len(self._withdrawn) < self._most:
                self._withdrawn.add(number)
            else:
                self.is_full = True
        return found

    def _note(self, key: int, digest: int) -> None:
        if len(self._contents) + len(self._withdrawn) < self._most:
            self._contents[key] = digest
        else:
            self.is_full = True


__all__ = ["MAX_KEYS", "SameKeys"]
