"""What to do about a file that cannot be read: the words in which every reader ends its refusal.

A message names the fault and its place; without these words whoever reads it would know what is
wrong and not what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.errors import FormatError

if TYPE_CHECKING:
    from hashlists.model import Place

#: For a file that is damaged or not whole.
GET_AGAIN: Final = "get the file again from its source"
#: For a file that is of another format.
INSPECT: Final = "hashwarden lists inspect tells what format a file looks like"
#: For a file that may be either.
GET_OR_INSPECT: Final = f"{GET_AGAIN}; {INSPECT}"


def cut_line(problem: str, place: Place, *, unit: str = "record") -> FormatError:
    """The error of a file whose last line has no line end and no whole record.

    Args:
        problem: in what the line falls short, e.g. "does not hold all columns".
        place: of the line.
        unit: what is cut: a record, a line or a value.
    """
    return FormatError(
        f"the file ends inside a {unit}: it was cut off, for its last line has no line end and "
        f"{problem}; {GET_AGAIN}",
        place=place,
    )


__all__ = ["GET_AGAIN", "GET_OR_INSPECT", "INSPECT", "cut_line"]
