"""Hashwarden's own layout of columns, which carries everything that is known of an entry.

CSV, JSON Lines and Parquet have it in common; each writes the values in its own way. What stands
in a column is what `hashlists.model.Entry` says of the field of that name. `harm` and `list` are
the same in every row of a file: on the way back the harm must be that of the list that the import
names, and rows of several lists are refused, since what one of them withdraws another may hold.
In a delta `since` is the revision that the recipient had, which is kept for no whole list; each
format says it of the whole file as well, and whose file it is and which revision it shows
(`delta_mark`), in CSV by further columns (`mark_columns`), so that a delta without rows is none
either.
`entry_id` and `revision` tell where an entry stood, and are left aside. `key` is empty where the
strongest hash is the key; else it is the key as `base.tagged_key` writes it.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final

from hashlists.errors import OptionsError
from hashlists.formats.base import DEFAULT_KEY_KINDS, Encoding, tagged_key
from hashlists.formats.delta_mark import SENDER, SINCE, UPTO, FileMark, revision_of
from hashlists.formats.field_mapping import FIELDS, FLAGS, LAYOUT_OPTION, OWN_LAYOUT, FieldMapping
from hashlists.model import KEY_TAGS, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.formats.base import FileOrigin, RawBatch
    from hashlists.model import EntryBatch, ExportBatch, ExtraHash

#: Read back to be checked alone; files of earlier versions lack all but the list.
ORIGIN: Final = ("harm", "list", "since")
#: Written, and never read back.
CONTEXT: Final = ("entry_id", "revision")
FURTHER: Final = "further_hashes"
#: In the order in which they are written.
COLUMNS: Final[tuple[str, ...]] = (
    "key",
    "source_id",
    *DEFAULT_KEY_KINDS,
    FURTHER,
    "size",
    "media_type",
    "scheme",
    "profile",
    "category",
    *FLAGS,
    "verified_count",
    "updated_at",
    "originator",
    "releasable_to",
    "expires_at",
    "retracted",
    "retraction_reason",
    *ORIGIN,
    *CONTEXT,
)

_DELTA_COLUMN = re.compile(r"delta_since_([0-9]+)")
_SENDER_COLUMN = re.compile(r"sender_([a-p]+)_upto_([0-9]+)")

MAPPING: Final = FieldMapping(
    columns={name: name for name in (*map(str, HashKind), *FIELDS, *FLAGS)},
    encodings=dict.fromkeys(HashKind, Encoding.HEX),
    tagged_keys=True,
)


def is_asked_for(options: Mapping[str, str]) -> bool:
    """Whether the options name this layout.

    Raises:
        OptionsError: they name another, which there is not, or columns beside it.
    """
    if LAYOUT_OPTION not in options:
        return False
    if options[LAYOUT_OPTION] != OWN_LAYOUT:
        raise OptionsError(
            f"unknown layout {options[LAYOUT_OPTION]!r}; the option columns takes {OWN_LAYOUT} "
            "alone, each other layout is named column by column, e.g. columns.md5=NAME"
        )
    if len(options) > 1:
        more = sorted(set(options) - {LAYOUT_OPTION})
        raise OptionsError(f"columns={OWN_LAYOUT} settles everything; {more[0]} must not be given")
    return True


def has_its_columns(names: Iterable[str]) -> bool:
    """Whether a table has the columns of this layout; those of `ORIGIN` and `CONTEXT` may lack."""
    return {*MAPPING.columns, FURTHER} <= set(names)


def refuse_writer_options(options: Mapping[str, str]) -> None:
    """Refuses all options but the one that says what is written anyway.

    Raises:
        OptionsError: there are others.
    """
    for name in options:
        if name != LAYOUT_OPTION:
            raise OptionsError(f"unknown option {name!r}; allowed: {LAYOUT_OPTION}={OWN_LAYOUT}")
    is_asked_for(options)


def further_columns(there: Sequence[str]) -> dict[str, str]:
    """The columns beside those of `MAPPING` that are read, each under its own name.

    Args:
        there: the columns of the file; only those of `ORIGIN` may be missing.
    """
    return {name: name for name in (FURTHER, *ORIGIN) if name == FURTHER or name in there}


def mark_columns(origin: FileOrigin) -> tuple[str, ...]:
    """Names of the columns that say whose the table is and, of a delta, since when."""
    sender = (f"sender_{origin.sender}_upto_{origin.upto}",) if origin.sender else ()
    return (*sender, f"delta_since_{origin.since}") if origin.since else sender


def columns_mark(columns: Sequence[str]) -> FileMark:
    """What the names of a table's columns say of it."""
    sender = next(filter(None, map(_SENDER_COLUMN.fullmatch, columns)), None)
    delta = next(filter(None, map(_DELTA_COLUMN.fullmatch, columns)), None)
    said = {} if sender is None else {SENDER: sender[1], UPTO: sender[2]}
    return FileMark.of(said if delta is None else {**said, SINCE: delta[1]})


def mark_members(origin: FileOrigin) -> dict[str, str | int]:
    """The same by name, for formats whose head has members."""
    said: dict[str, str | int] = {}
    if origin.sender:
        said |= {SENDER: origin.sender, UPTO: origin.upto}
    if origin.since:
        said[SINCE] = origin.since
    return said


def key_column(entries: EntryBatch) -> list[str]:
    """Keys as they are written: empty where the strongest hash says the same."""
    implied: list[bytes | None] = [None] * len(entries)
    for kind in reversed(DEFAULT_KEY_KINDS):
        tag = KEY_TAGS[kind]
        for row, value in enumerate(entries.hashes.get(kind, ())):
            if value:
                implied[row] = tag + value
    return [
        "" if key == default else tagged_key(key)
        for key, default in zip(entries.keys, implied, strict=True)
    ]


def flag_columns(entries: EntryBatch) -> dict[str, list[bool | None]]:
    """What is said of each flag: yes, no, or nothing."""
    pairs = list(zip(entries.flags, entries.flags_known, strict=True))
    return {
        name: [bool(flags & flag) if known & flag else None for flags, known in pairs]
        for name, flag in FLAGS.items()
    }


def extra_by_row(entries: EntryBatch) -> list[list[ExtraHash]]:
    """Further hashes of each row, in order."""
    found: list[list[ExtraHash]] = [[] for _ in entries.keys]
    for each in entries.extra_hashes:
        found[each.row].append(each)
    return found


def class_columns(entries: EntryBatch) -> dict[str, list[str | None]]:
    """Scheme, profile and code of each row; None where it has no classification."""
    classes = entries.classifications
    return {
        "scheme": [None if each is None else each.scheme for each in classes],
        "profile": [None if each is None else each.profile for each in classes],
        "category": [None if each is None else each.code for each in classes],
    }


def context_columns(batch: ExportBatch, origin: FileOrigin) -> dict[str, Sequence[str | int]]:
    """What each entry's list is about, and where the entry stood when it was written."""
    harms = [str(origin.harm) if origin.harm else ""] * len(batch)
    since = [str(origin.since) if origin.since else ""] * len(batch)
    columns = (harms, batch.list_names, since, batch.entry_ids, batch.revisions)
    return dict(zip((*ORIGIN, *CONTEXT), columns, strict=True))


def with_origin(batch: RawBatch, cells: Mapping[str, Sequence[str | None]]) -> RawBatch:
    """The batch with what the columns of `ORIGIN` say, of those that the file has."""
    harms, lists, since = ({value for value in cells.get(name, ()) if value} for name in ORIGIN)
    revision = max(map(revision_of, since), default=0)
    return replace(batch, harms=harms, list_names=lists, delta=bool(since), since=revision)
