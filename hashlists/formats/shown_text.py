"""What may be shown of words that were made over a foreign file: nothing that stands in it."""

from __future__ import annotations

import re
from typing import Final

from hashlists.formats.unpacking.parts import shown_name

_QUOTED = re.compile(r"(?<!\w)'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\"")
#: Words of the formats themselves, which readers quote to say what is missing.
_OWN_WORDS: Final = frozenset(
    f'"{word}"'
    for word in (
        *("value", "@odata.context", "odata.metadata", "nextLink"),
        *("hashRecords", "results", "data", "objects", "indicator"),
    )
)


def without_values(text: str, *, sparing_quotes: bool = False) -> str:
    """The text without what it may have from a file: quoted parts, and what looks like a hash."""
    kept = text if sparing_quotes else _QUOTED.sub(_kept, text)
    return " ".join(shown_name(word) for word in kept.split(" "))


def _kept(quoted: re.Match[str]) -> str:
    return quoted[0] if quoted[0] in _OWN_WORDS else "..."


__all__ = ["without_values"]
