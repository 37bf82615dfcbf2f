"""What the checks of all columns share: the limits, and the first fault of each row."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection

    from hashlists.limits import ImportLimits

#: Control characters and halves of surrogate pairs: neither database nor UTF-8 takes all of them.
UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")

#: Bytes that are no UTF-8, as readers of text hand them on.
_RAW_BYTE = re.compile("[\udc80-\udcff]")


def text_fault(text: str, max_chars: int) -> str | None:
    """What is wrong with a text that is to be kept, as words behind "it"; None if nothing is."""
    if _RAW_BYTE.search(text):
        return (
            "is not UTF-8 text; if the file is in another encoding, say in which, e.g. --option "
            "encoding=cp1252 for csv"
        )
    if len(text) > max_chars:
        return f"has {len(text)} characters; at most {max_chars} are allowed"
    if UNPRINTABLE.search(text):
        return "has control characters or is not valid Unicode"
    return None


class Check:
    """Faults of a batch, found column by column; of each row the first one counts.

    A row that withdraws an entry needs a key and nothing else: whatever is wrong with its other
    fields, the withdrawal holds.

    Args:
        rows: rows of the batch.
        limits: ceilings of the import.
        retracted: rows that withdraw an entry.
    """

    def __init__(
        self, rows: int, limits: ImportLimits, retracted: Collection[int] = frozenset()
    ) -> None:
        self.rows = rows
        self.limits = limits
        self.retracted = retracted
        self.faults: dict[int, tuple[str, str]] = {}

    def reject(self, row: int, name: str, reason: str) -> None:
        """Notes a fault of an entry's field."""
        if row not in self.retracted:
            self.faults.setdefault(row, (name, reason))

    def reject_key(self, row: int, name: str, reason: str) -> None:
        """Notes that a row names no entry, so that it cannot even be a withdrawal."""
        self.faults.setdefault(row, (name, reason))

    def nones(self) -> list[None]:
        """A column that the file does not have."""
        return [None] * self.rows


__all__ = ["UNPRINTABLE", "Check", "text_fault"]
