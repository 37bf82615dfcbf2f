"""Names of a file's columns as a message may show them.

A file without a header line has its first record in the place of the names: where one of them
looks like a hash, none is shown. Where names stand apart from values, as in Parquet, only such a
one is told by its number, and so is one that is not fit to be printed.
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
#: As above, but no long word of letters alone, which is still a name.
_SURELY_A_HASH = re.compile(
    r"(?=[A-Fa-f]*[0-9])[0-9A-Fa-f]{12,}|(?=[A-Za-z+/]*[0-9])[0-9A-Za-z+/=]{24,}"
    r"|(?:[0-9]{1,3}\s*,\s*){8}"
)


def show_columns(names: Sequence[str], *, header_line: bool = True) -> str:
    """The names for a message, at most 50 of them.

    Args:
        names: of all columns, in their order.
        header_line: whether they are the file's first line, which may be a record.
    """
    if header_line and is_record(names):
        count = "the only column" if len(names) == 1 else f"{len(names)} columns"
        return f"({count}, not shown: one looks like a hash, so the header line may be missing)"
    shown = [_shown(number, name) for number, name in enumerate(names[:_SHOWN_COLUMNS], start=1)]
    more = len(names) - len(shown)
    return ", ".join(shown) + (f" and {more} more" if more > 0 else "")


def is_record(first_line: Sequence[str]) -> bool:
    """Whether the cells of a first line hold a hash, and so are no names but a record."""
    return any(map(_SURELY_A_HASH.search, first_line))


def is_shown(name: str) -> bool:
    """Whether a name stands in messages as it is, and may be repeated in a command."""
    return name.isprintable() and len(name) <= _SHOWN_CHARS and not _HASH_LIKE.search(name)


def _shown(number: int, name: str) -> str:
    if _HASH_LIKE.search(name):
        return f"(column {number}, not shown: it looks like a hash)"
    if not name.isprintable():
        return f"(column {number}, not shown: it is no printable text)"
    return repr(name[:_SHOWN_CHARS])


__all__ = ["is_record", "is_shown", "show_columns"]
