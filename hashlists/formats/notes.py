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

_PLAIN_NAME = re.compile(r"[A-Za-z0-9 _.|/\-]{1,40}", re.ASCII)
#: A hash in hex or base32, that of 64 bits too: a long word with a digit in it.
_HASH_LIKE = re.compile(r"(?=[A-Za-z]*[0-9])[A-Za-z0-9]{12,}", re.ASCII)
_MAX_NAMES: Final = 20
_MAX_NOTES: Final = 100
_FURTHER: Final = "further notes"
#: With the format's name of it behind; an import goes without what it says.
OTHER_CASE_NOTE: Final = "member not read, since its name is written in another case than"


class Notes(Counter[str]):
    """Each note, and how often it was made."""

    def add_named(self, what: str, name: object) -> None:
        """Counts a thing that has a name in the file, e.g. a hash of a kind that is not known."""
        note = f"{what}: {name if is_printable(name) else 'without a printable name'}"
        if note not in self and len(self) >= _MAX_NAMES:
            note = f"{what}: further names"
        self[note] += 1

    def take(self, notes: Mapping[str, int]) -> None:
        """Adds the notes of a batch; each batch of a long file may bring names of its own."""
        for note, times in notes.items():
            self[note if note in self or len(self) < _MAX_NOTES else _FURTHER] += times


def is_printable(name: object) -> bool:
    """Whether a name of a file may be shown: it is short, plain and no hash."""
    return (
        isinstance(name, str)
        and _PLAIN_NAME.fullmatch(name) is not None
        and _HASH_LIKE.search(name) is None
    )


__all__ = ["OTHER_CASE_NOTE", "Notes", "is_printable"]
