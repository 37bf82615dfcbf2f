"""What to do about a file that cannot be read: the words in which every reader ends its refusal.

A message names the fault and its place; without these words whoever reads it would know what is
wrong and not what to do.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.errors import FormatError
from hashlists.formats.foreign_files import what_it_is

if TYPE_CHECKING:
    from hashlists.formats.base import Format, Sample
    from hashlists.model import Place

#: For a file that is damaged or not whole.
GET_AGAIN: Final = "get the file again from its source"
#: For a file that is of another format.
INSPECT: Final = "hashwarden lists inspect tells what format a file looks like"
#: For a file that may be either.
GET_OR_INSPECT: Final = f"{GET_AGAIN}; {INSPECT}"


#: For text in UTF-16 that no reader takes as it is.
TO_UTF8: Final = "write it in UTF-8 instead: iconv -f UTF-16 -t UTF-8 FILE > NEW_FILE"
#: For text of which only its source knows the encoding, such as ISO-8859-1.
FROM_ENCODING: Final = (
    "ask its source for the encoding, and write it in UTF-8 instead: iconv -f ENCODING -t UTF-8"
    " FILE > NEW_FILE"
)
#: Of a file without a byte; reads on after "the file is".
EMPTY: Final = f"empty: the download or the export has failed; {GET_AGAIN}"


def fit_for_set(told: str, format_: Format, sample: Sample) -> str:
    """What to say of one of several files that are imported together, and could not be read.

    A file that does not look like the format at all is whole, most likely, and another's. What is
    known to be no list at all is told already.

    Args:
        told: what the reader says, with its advice.
        format_: by which all files of the set are read.
        sample: the beginning of the file.
    """
    is_told = not sample.head or what_it_is(sample.head) is not None
    if is_told or format_.looks_like(sample) is not None:
        return told
    for advice in (GET_OR_INSPECT, GET_AGAIN, INSPECT):
        told = told.removesuffix(f"; {advice}").removesuffix(f": {advice}")
    return (
        f"{told}; it does not look like {format_.name}, of which all files of one import are: "
        f"import it by itself, or leave it out ({INSPECT})"
    )


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


__all__ = [
    "EMPTY",
    "FROM_ENCODING",
    "GET_AGAIN",
    "GET_OR_INSPECT",
    "INSPECT",
    "TO_UTF8",
    "cut_line",
    "fit_for_set",
]
