"""Columns of a table, named by a `FieldMapping`, as a `RawBatch`.

Values are handed on as they are written, and judged by validation. Where a cell holds several
values, the first goes into its column and the others come on top.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from hashlists.formats.base import (
    DEFAULT_KEY_KINDS,
    Encoding,
    FlagColumn,
    HashColumn,
    RawBatch,
    RawHash,
)
from hashlists.formats.field_mapping import FLAGS
from hashlists.model import EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from hashlists.formats.base import FileHeader
    from hashlists.formats.field_mapping import FieldMapping
    from hashlists.model import PlaceAt

_YES: Final = frozenset({"1", "t", "true", "y", "yes"})
_NO: Final = frozenset({"", "0", "f", "false", "n", "no"})
_UNKNOWN_STATUS: Final = (
    "the word does not say whether the entry is withdrawn: expected yes or no, or one of those that"
    " --option retracted_values=WORD,WORD and --option listed_values=WORD,WORD name"
)
NO_SUCH_WORD_NOTE: Final = (
    "no record has a word of retracted_values, so none is withdrawn; if that is not so, say which "
    "words mean withdrawn, and those that mean in force with --option listed_values=WORD,WORD, "
    "which rejects every other"
)


def mapped_batch(
    mapping: FieldMapping,
    header: FileHeader,
    cells: Mapping[str, Sequence[Any]],
    *,
    rows: int,
    place_at: PlaceAt,
    extra_hashes: Sequence[RawHash] = (),
) -> RawBatch:
    """The columns as a batch.

    Args:
        mapping: says what the columns are.
        header: of the file.
        cells: values by `FieldMapping.all_columns`; those of hashes are texts, or bytes where the
            table has them raw; None and "" stand for none.
        rows: values in each column.
        place_at: where each row stood.
        extra_hashes: further hashes, beside those that the cells hold.
    """
    hashes, extra = _hashes(mapping, cells)
    key_texts, key_kinds = _key(mapping, cells)
    batch = RawBatch(
        rows=rows,
        header=header,
        hashes=hashes,
        place_at=place_at,
        extra_hashes=[*extra, *extra_hashes],
        key_kinds=key_kinds,
        key_texts=key_texts,
        tagged_keys=cells.get("key") if mapping.tagged_keys else None,
        codes=cells.get("category"),
        sizes=cells.get("size"),
        flags=[
            FlagColumn(flag, _flag_cells(flag, cells[name]), mapping.name(name))
            for name, flag in FLAGS.items()
            if name in cells
        ],
        source_ids=cells.get("source_id"),
        media_types=cells.get("media_type"),
        updated_at=cells.get("updated_at"),
        verified_counts=cells.get("verified_count"),
        names=mapping.names,
    )
    return _with_rarer_columns(batch, mapping, cells)


def with_status_told(
    mapping: FieldMapping, header: FileHeader, batches: Iterator[RawBatch]
) -> Iterator[RawBatch]:
    """The batches of a file; at its end a note where none of the words for withdrawn occurred.

    A word that the source never writes would put in force all that it withdraws.
    """
    is_open = bool(mapping.retracted_words) and not mapping.listed_words
    listed = False
    for batch in batches:
        if is_open and batch.rows:
            is_open, listed = not any(batch.retracted or ()), True
        yield batch
    if is_open and listed:
        yield RawBatch.of_notes(header, {NO_SUCH_WORD_NOTE: 1})


def _with_rarer_columns(
    batch: RawBatch, mapping: FieldMapping, cells: Mapping[str, Sequence[Any]]
) -> RawBatch:
    """The batch with what few files say of their records."""
    changes: dict[str, Any] = {
        into: [value or None for value in cells[name]]
        for name, into in (
            ("scheme", "schemes"),
            ("profile", "profiles"),
            ("originator", "originators"),
            ("expires_at", "expires_at"),
            ("retraction_reason", "retraction_reasons"),
        )
        if name in cells
    }
    if "releasable_to" in cells:
        separator = mapping.separators["releasable_to"]
        changes["releasable_to"] = [_recipients(cell, separator) for cell in cells["releasable_to"]]
    if "retracted" in cells:
        gone = _retracted(mapping, cells["retracted"])
        changes["retracted"] = [each is True for each in gone]
        fault = (mapping.name("retracted"), _UNKNOWN_STATUS)
        changes["faults"] = {row: fault for row, each in enumerate(gone) if each is None}
    return replace(batch, **changes) if changes else batch


def _hashes(
    mapping: FieldMapping, cells: Mapping[str, Sequence[Any]]
) -> tuple[list[HashColumn], list[RawHash]]:
    columns: list[HashColumn] = []
    extra: list[RawHash] = []
    for kind in HashKind:
        if kind in cells:
            values = _first_values(mapping, kind, mapping.name(kind), cells[kind], extra)
            encoding = _encoding(mapping, kind, values)
            columns.append(HashColumn(kind, values, encoding, mapping.name(kind)))
    for at, (kind, name) in enumerate(mapping.further, start=2):
        values = _first_values(mapping, kind, name, cells[f"{kind}.{at}"], extra)
        encoding = _encoding(mapping, kind, values)
        extra += [
            RawHash(row, kind, value, encoding, name) for row, value in enumerate(values) if value
        ]
    extra.sort(key=lambda each: each.row)
    return columns, extra


def _encoding(
    mapping: FieldMapping, kind: HashKind, values: Sequence[str | bytes | None]
) -> Encoding:
    first = next((value for value in values if value), None)
    return Encoding.RAW if isinstance(first, bytes) else mapping.encoding(kind)


def _first_values(
    mapping: FieldMapping, kind: HashKind, name: str, cells: Sequence[Any], extra: list[RawHash]
) -> Sequence[str | bytes | None]:
    """One value a cell; others that a cell holds are added to `extra`."""
    separator = mapping.separators.get(kind)
    if separator is None and list not in map(type, cells):
        return cells
    firsts: list[str | None] = []
    for row, cell in enumerate(cells):
        several = _several(cell, separator)
        firsts.append(several[0] if several else None)
        extra += [
            RawHash(row, kind, value, _encoding(mapping, kind, [value]), name)
            for value in several[1:]
        ]
    return firsts


def _several(cell: Any, separator: str | None) -> list[Any]:
    if isinstance(cell, str) and separator is not None:
        return [value for each in cell.split(separator) if (value := each.strip())]
    return [value for value in (cell if isinstance(cell, list) else [cell]) if value]


def _key(
    mapping: FieldMapping, cells: Mapping[str, Sequence[Any]]
) -> tuple[Sequence[str | None] | None, Sequence[HashKind]]:
    """The key column as text, or as a hash where the same column holds one."""
    if "key" not in cells or mapping.tagged_keys:
        return None, DEFAULT_KEY_KINDS
    column = mapping.columns["key"]
    same = [kind for kind in HashKind if mapping.columns.get(kind) == column]
    return (None, same) if same else (cells["key"], ())


def _flag_cells(flag: EntryFlag, cells: Sequence[Any]) -> Sequence[Any]:
    """The cells; a series that is named becomes a plain yes."""
    if flag is not EntryFlag.SERIES:
        return cells
    plain = _YES | _NO
    return [
        "yes" if isinstance(cell, str) and cell.strip().lower() not in plain else cell
        for cell in cells
    ]


def _recipients(cell: Any, separator: str) -> list[str]:
    return cell if isinstance(cell, list) else _several(cell, separator)


def _retracted(mapping: FieldMapping, cells: Sequence[Any]) -> list[bool | None]:
    """Whether each row withdraws its entry; None where its word is not known."""
    gone, listed = mapping.retracted_words or _YES, mapping.listed_words
    if not mapping.retracted_words:
        listed = _NO
    known: dict[Any, bool | None] = {}
    for cell in set(cells):
        word = "" if cell is None else str(cell).strip().lower()
        known[cell] = True if word in gone else False if word in listed or not listed else None
    return [known[cell] for cell in cells]
