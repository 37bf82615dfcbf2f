"""Names of a file's columns as a message may show them.

A file without a header line has its first record in the place of the names, so what may hold a
hash, or is not fit to be printed, is told by its number alone.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from collections.abc import Sequence

_SHOWN_COLUMNS: Final = 50
_SHOWN_CHARS: Final = 40
#: Hex with a digit, base64 or base32, or decimal numbers, anywhere in a name.
_HASH_LIKE = re.compile(
    r"(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{12,}|[0-9A-Za-z+/=]{24,}|(?:[0-9]{1,3}\s*,\s*){8}"
)


def show_columns(names: Sequence[str]) -> str:
    """The names for a message, at most 50 of them."""
    shown = [_shown(number, name) for number, name in enumerate(names[:_SHOWN_COLUMNS], start=1)]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def _shown(number: int, name: str) -> str:
    if _HASH_LIKE.search(name):
        return (
            f"(column {number}, not shown: it looks like a hash, so the header line may be missing)"
        )
    if not name.isprintable():
        return f"(column {number}, not shown: it is no printable text)"
    return repr(name[:_SHOWN_CHARS])


__all__ = ["show_columns"]
