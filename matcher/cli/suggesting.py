"""The commands that would import files which were inspected, and why none would.

Nothing is suggested that an import would refuse, or that would import something else than its
source means: where columns may say what is not read, places are left to fill in, which every
import refuses.
"""

from __future__ import annotations

import re
import shlex
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from hashlists.formats.field_mapping import PLACE
from hashlists.formats.table_columns import MaySay
from matcher.cli import reading

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from hashlists.inspection import FileInspection, Reading, UnreadColumn

NO_FORMAT = (
    "no format that is read here; ask its source what it is, or name the format with --format "
    "(docs/formats.md has them all). A table needs a first line that names its columns, and "
    "JSON objects stand one on a line: jq -c '.[]' FILE > NEW_FILE makes that of an array"
)
_HOW = (
    "Look at them and say what they mean: --column retracted=COLUMN with --option "
    "retracted_values=WORDS, those that mean withdrawn; --column category=COLUMN with --option "
    "scheme=NAME for a class; --column expires_at=COLUMN for when a record counts no longer; "
    "--column FIELD=COLUMN for what else there is"
)
#: A format and the options of its reader.
_Way: TypeAlias = "tuple[str, tuple[tuple[str, str], ...]]"
_FIELD_PLACE = "FIELD"
#: Names of columns that hold a time, not a word: what they say is `expires_at`.
_OF_EXPIRY = re.compile(r"expir(?:es|y|ation)|until|lapse", re.IGNORECASE)
_MAX_NAMED = 8


@dataclass(frozen=True, slots=True)
class Suggested:
    """One import.

    Attributes:
        command: for a shell.
        told: what to know of columns that are not read; empty for nothing.
        is_ready: whether nothing has to be filled in.
        harm: the only kind of harm that the list may be about; None for any.
    """

    command: str
    told: str
    is_ready: bool
    harm: str | None


def suggestions(
    files: Sequence[Path],
    found: Sequence[FileInspection],
    mapping: Path | None = None,
    key_files: Sequence[Path] = (),
) -> list[Suggested]:
    """How to import the files: those of one format and with the same options together.

    A delta is imported alone, after the files that are none.
    """
    read_as = _formats_read(found)
    together: dict[_Way, list[int]] = defaultdict(list)
    alone: list[tuple[_Way, list[int]]] = []
    beside: list[tuple[str, Path]] = []
    for row, each in enumerate(found):
        readings = _readings(each)
        ways = {(seen.format, tuple(sorted(seen.options.items()))) for seen in readings}
        if not _is_taken(each, read_as) or any(seen.is_misnamed for seen in readings):
            continue
        if len(ways) == 1 and any(seen.delta for seen in readings):
            alone.append((ways.pop(), [row]))
        elif len(ways) == 1:
            together[ways.pop()].append(row)
        elif not ways:
            beside.append((each.parts[0].left_aside_by, files[row]))
    return [
        _suggested(
            [*(files[row] for row in rows), *(file for wanted, file in beside if wanted == name)],
            [seen for row in rows for seen in _readings(found[row])],
            reading.option_words(dict(given), mapping, key_files),
        )
        for (name, given), rows in [*together.items(), *alone]
    ]


def is_ready(each: FileInspection, found: Sequence[FileInspection]) -> bool:
    """Whether an import of all files would take this one, with nothing left to fill in."""
    if any(seen.is_unsettled or seen.is_misnamed for seen in _readings(each)):
        return False
    return _is_taken(each, _formats_read(found))


def no_list_in(each: FileInspection) -> list[str]:
    """What is to be said of those parts that no format fits, or that keep others from a list."""
    told = []
    several = each.compression == "zip" and len(each.parts) > 1
    for part in each.parts:
        if part.reading is None:
            told.append(f"{part.name}: {part.advice or NO_FORMAT}")
        if several and not part.left_aside_by and not (part.reading and part.reading.is_taken):
            member = part.name.removeprefix(f"{each.name}/")
            left_out = shlex.join(["zip", "--delete", each.name, member])
            told.append(
                f"{part.name}: an import takes an archive whole or not at all; if this is no list "
                f"file, leave it out: {left_out}"
            )
    return told


def _formats_read(found: Sequence[FileInspection]) -> frozenset[str]:
    """The formats of all parts that an import would take."""
    return frozenset(seen.format for each in found for seen in _readings(each) if seen.is_taken)


def _is_taken(each: FileInspection, read_as: frozenset[str]) -> bool:
    """Whether an import would take all parts, or leave them aside as those of a set do."""
    return (
        bool(each.parts)
        and not each.problem
        and all(
            part.left_aside_by in read_as if part.reading is None else part.reading.is_taken
            for part in each.parts
        )
    )


def _readings(each: FileInspection) -> list[Reading]:
    return [part.reading for part in each.parts if part.reading is not None]


def _suggested(
    files: Sequence[Path], readings: Sequence[Reading], option_words: Sequence[str]
) -> Suggested:
    first = readings[0]
    words = ["hashwarden", "lists", "import", *map(str, files), "--list", "NAME"]
    words += ["--format", first.format, *option_words]
    columns = {x.name: x for seen in readings for x in seen.unread if _may_say(x)}.values()
    is_ready = not any(seen.is_unsettled for seen in readings)
    told = ""
    if columns:
        told = (
            "Not read, and may say that a record is withdrawn, or of which class it is: "
            + named_columns([*columns])
            + ("" if is_ready else f". {_HOW}")
        )
    if not is_ready:
        words += _places(columns, first.options)
    harms = {seen.harm for seen in readings}
    harm = harms.pop() if len(harms) == 1 else None
    return Suggested(shlex.join(words), told, is_ready, None if harm is None else harm.value)


def _may_say(column: UnreadColumn) -> bool:
    return column.may_say is not MaySay.NOTHING


def _places(columns: Collection[UnreadColumn], given: Mapping[str, str]) -> list[str]:
    """The words in which the importer says what columns mean, as far as their names tell."""
    words: list[str] = []
    says = [x for x in columns if x.may_say is MaySay.WITHDRAWN and x.name]
    withdrawn = next((x for x in says if not _OF_EXPIRY.search(x.name)), None)
    if withdrawn is not None:
        words += ["--column", f"retracted={withdrawn.name}"]
        words += ["--option", f"retracted_values={PLACE}"]
    of_class = next((x for x in columns if x.may_say is MaySay.CLASS and x.name), None)
    if of_class is not None:
        words += ["--column", f"category={of_class.name}"]
        words += [] if given.get("scheme") else ["--option", f"scheme={PLACE}"]
    is_more = len(says) > (withdrawn is not None)
    if not words or is_more or any(x.may_say is MaySay.EITHER for x in columns):
        words += ["--column", f"{_FIELD_PLACE}={PLACE}"]
    return words


def named_columns(columns: Sequence[UnreadColumn]) -> str:
    """Names of columns; those that are not fit to be shown are counted."""
    names = [repr(each.name) for each in columns if each.name]
    more = len(columns) - len(names[:_MAX_NAMED])
    shown = ", ".join(names[:_MAX_NAMED])
    if not shown:
        return f"{more} that are not shown"
    return f"{shown} and {more} more" if more else shown


__all__ = ["NO_FORMAT", "Suggested", "is_ready", "named_columns", "no_list_in", "suggestions"]
