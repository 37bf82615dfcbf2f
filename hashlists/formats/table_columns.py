"""What stands in the columns of a foreign table, as far as its beginning and their names show.

Columns that no option names are never looked at by a reader, and one of them may well say that a
record is withdrawn, or of which class it is. Which may, is told here by its name, and by values:
those that come again and again, as of a status, and those that only some records have, as the date
of a withdrawal. So few records that neither could show leave every column in question. What they
mean, nobody but the importer knows. No value goes on from here.
"""

from __future__ import annotations

import csv
import io
import re
import unicodedata
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import msgspec

from hashlists.formats.csv_likeness import header_cells, kind_named, last_part, sample_text
from hashlists.formats.csv_table import ENCODINGS, TAB_WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.formats.base import Sample

#: Records that are looked at.
MAX_ROWS: Final = 2_000
_MAX_COLUMNS: Final = 1_000
#: Different values that a status or a class has at most.
_FEW: Final = 20
#: Records below which values show nothing.
_TOO_FEW_RECORDS: Final = 10
_WORD = re.compile(r"[^\W\d_]+|\d+")
#: Beginnings of words, in the languages of sources; without accents.
_OF_WITHDRAWAL: Final = (
    *("status", "state", "remov", "delet", "withdr", "retract", "revok", "recall", "purge"),
    *("activ", "inactiv", "enabl", "disabl", "expir", "obsolet", "valid", "invalid", "action"),
    *("operation", "statut", "supprim", "retir", "estado", "elimin", "stato", "rimoss"),
    *("zustand", "geloscht", "geloescht", "entfernt", "aktiv", "gultig", "verwijder", "usuniet"),
    *("losch", "loesch", "aufgehoben", "suppress", "drop", "cancel", "annul", "void", "resc"),
    *("until", "ended", "lapse", "удал", "отозв", "отмен", "статус", "деиств", "видал"),
)
_OF_CLASS: Final = (
    *("class", "categor", "cat", "sever", "grade", "level", "tier", "rating", "verdict", "copine"),
    *(
        "label",
        "klass",
        "einstuf",
        "kategor",
        "stufe",
        "clase",
        "classe",
        "niveau",
        "nivel",
        "livello",
    ),
)
#: Names of what is neither, however often its values come again.
_NEITHER: Final = frozenset(
    (
        *("filename", "file", "path", "folder", "url", "extension", "ext", "mime", "mimetype"),
        *("mediatype", "contenttype", "size", "filesize", "bytes", "length", "width", "height"),
        *("date", "time", "timestamp", "id", "created", "updated", "modified"),
        *("no", "nr", "number", "nummer", "row", "index"),
    )
)


#: What a cell holds; lists and what is nested deeper say nothing of a record.
_Scalar: TypeAlias = str | float
_SCALARS: Final = (str, bool, int, float)


class MaySay(StrEnum):
    """What a column that is not read may say of a record."""

    NOTHING = "nothing"
    WITHDRAWN = "withdrawn"
    CLASS = "class"
    EITHER = "withdrawn or class"


@dataclass(frozen=True, slots=True)
class Column:
    """A column of a table.

    Attributes:
        name: as an option names it; of a member of a nested object with dots.
        may_be_status: whether its values may be those of a status (see `may_be_status`).
    """

    name: str
    may_be_status: bool = False

    @property
    def may_say(self) -> MaySay:
        """What it may say of a record, were it read."""
        if kind_named(self.name) is not None:
            return MaySay.NOTHING
        words = _words(self.name)
        if any(word.startswith(_OF_WITHDRAWAL) for word in words):
            return MaySay.WITHDRAWN
        if any(word.startswith(_OF_CLASS) for word in words):
            return MaySay.CLASS
        if kind_named(last_part(self.name)) is not None:
            return MaySay.NOTHING
        if self.may_be_status and "".join(words) not in _NEITHER:
            return MaySay.EITHER
        return MaySay.NOTHING


def csv_columns(sample: Sample, options: Mapping[str, str]) -> list[Column]:
    """The columns of a CSV file; none where most lines below have another number of cells.

    Args:
        sample: the beginning of the file.
        options: of the reader, so far as they are known; the delimiter and the encoding count.
    """
    text, seen = sample_text(sample)
    found = header_cells(sample)
    delimiter = options.get("delimiter") or (found[1] if found else ",")
    codec = ENCODINGS.get(options.get("encoding", seen).lower(), "utf-8-sig")
    if codec != ENCODINGS[seen]:
        text = sample.head.decode(codec, "replace")
    if not sample.whole:
        text = text[: text.rfind("\n") + 1]
    delimiter = "\t" if delimiter in TAB_WORDS else delimiter
    try:
        rows = _first(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter))
    except (csv.Error, TypeError, ValueError):  # what is no delimiter, its reader says
        return []
    if not rows:
        return []
    header, *records = rows
    fitting = [row for row in records if len(row) == len(header)]
    if records and 2 * len(fitting) < len(records):
        return []
    return [
        Column(name.strip(), may_be_status([row[at].strip() for row in fitting]))
        for at, name in enumerate(header[:_MAX_COLUMNS])
    ]


def jsonl_columns(sample: Sample) -> list[Column]:
    """The members of the objects of a JSON Lines file, those of nested ones with dots."""
    values: dict[str, list[_Scalar]] = {}
    lines = sample.head.removeprefix(b"\xef\xbb\xbf").split(b"\n")
    whole = lines if sample.whole else lines[:-1]
    number = 0
    for line in whole[:MAX_ROWS]:
        try:
            record = msgspec.json.decode(line)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            continue
        if not isinstance(record, dict):
            continue
        for name, value in _members(record):
            if name in values or len(values) < _MAX_COLUMNS:
                column = values.setdefault(name, [])
                column += [""] * (number - len(column))
                column.append(value)
        number += 1
    return [
        Column(name, may_be_status([*column, *[""] * (number - len(column))]))
        for name, column in values.items()
    ]


def may_be_status(values: Sequence[_Scalar]) -> bool:
    """Whether values come again and again, stand in some records only, or are too few to tell.

    A column without any value says nothing.
    """
    different = set(values)
    if not different - {""}:
        return False
    is_sparse = "" in different
    return (
        is_sparse or len(values) < _TOO_FEW_RECORDS or len(different) <= min(_FEW, len(values) // 2)
    )


def _first(rows: Iterable[list[str]]) -> list[list[str]]:
    taken = []
    for row in rows:
        if row:
            taken.append(row)
        if len(taken) > MAX_ROWS:
            break
    return taken


def _members(
    record: Mapping[str, Any], prefix: str = "", depth: int = 0
) -> list[tuple[str, _Scalar]]:
    found: list[tuple[str, _Scalar]] = []
    for name, value in record.items():
        if isinstance(value, dict) and depth < 4:  # noqa: PLR2004  deeper ones nobody names
            found += _members(value, f"{prefix}{name}.", depth + 1)
        else:
            found.append((f"{prefix}{name}", value if isinstance(value, _SCALARS) else ""))
    return found


def _words(name: str) -> list[str]:
    """The words of a name in small letters without accents, e.g. `is`, `deleted` of `isDeleted`."""
    plain = unicodedata.normalize("NFKD", name.replace("ß", "ss"))
    letters = "".join(each for each in plain if not unicodedata.combining(each))
    spaced = "".join(
        f" {each}" if _begins_word(letters[at - 1 : at], each, letters[at + 1 : at + 2]) else each
        for at, each in enumerate(letters)
    )
    return [word.lower() for word in _WORD.findall(spaced)]


def _begins_word(before: str, letter: str, after: str) -> bool:
    """Whether a capital begins a word within letters: behind a small one, or before one."""
    return letter.isupper() and (before.islower() or (before.isupper() and after.islower()))


__all__ = ["MAX_ROWS", "Column", "MaySay", "csv_columns", "jsonl_columns", "may_be_status"]
