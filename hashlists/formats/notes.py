"""Counts of what a reader left aside without harm, in words that are safe to show.

Names come from the file, so only short plain ones are shown, and only so many: a note never
repeats a hash, and a hostile file cannot fill a report.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Mapping

_SAFE_NAME = re.compile(r"[A-Za-z0-9 _.|\-]{1,24}")
_MAX_NAMES: Final = 20


class Notes:
    """Notes of one batch."""

    def __init__(self) -> None:
        self._counts: Counter[str] = Counter()

    @property
    def counts(self) -> Mapping[str, int]:
        """Each note, and how often it was made."""
        return dict(self._counts)

    def add(self, note: str) -> None:
        """Counts a note whose words are all our own."""
        self._counts[note] += 1

    def add_named(self, what: str, name: object) -> None:
        """Counts a thing that has a name in the file, e.g. a hash of a kind that is not known."""
        safe = isinstance(name, str) and _SAFE_NAME.fullmatch(name)
        note = f"{what}: {name if safe else 'without a printable name'}"
        if note not in self._counts and len(self._counts) >= _MAX_NAMES:
            note = f"{what}: further names"
        self._counts[note] += 1


__all__ = ["Notes"]
