"""Cells of Hashwarden's own CSV layout: how each value is written, and the way back.

A spreadsheet takes a cell that begins with `=`, `+`, `-` or `@` for a formula and runs it, and a
source may well have put one into an id. So a text cell that begins with one of these, or with an
apostrophe, gets an apostrophe in front, and loses it on the way back. No text holds a character
that the rules of CSV would part lines by.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, Final
from urllib.parse import quote, unquote

from hashlists.formats import own_layout
from hashlists.formats.base import Encoding, RawBatch, RawHash
from hashlists.formats.mapped_batch import mapped_batch
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.base import FileHeader
    from hashlists.model import ExtraHash, PlaceAt

#: What a spreadsheet may take for the beginning of a formula, wide forms included.
FORMULA_STARTS: Final = "=+-@\t\r\uff1d\uff0b\uff0d\uff20"
_GUARD: Final = "'"
_GUARDED = tuple(FORMULA_STARTS + _GUARD)
#: Cells that hold text of a source or an operator, and so may be guarded.
TEXT_COLUMNS: Final = (
    "source_id",
    "media_type",
    "scheme",
    "profile",
    "category",
    "updated_at",
    "originator",
    "releasable_to",
    "retraction_reason",
    "list",
)
_BETWEEN_NAMES: Final = "|"
_NAME_ESCAPES: Final = str.maketrans({"%": "%25", _BETWEEN_NAMES: "%7C"})
UNKNOWN_KIND_NOTE: Final = "further hash of unknown kind left aside"
_KINDS: Final = frozenset(map(str, HashKind))
_NO_FIELDS: Final = frozenset({own_layout.FURTHER, *own_layout.ORIGIN})
_CONTROL = re.compile("[\x00-\x1f\x7f]")


def guarded(text: str | None) -> str:
    """The text as no spreadsheet runs it."""
    if not text:
        return ""
    return _GUARD + text if text.startswith(_GUARDED) else text


def unguarded(cell: str) -> str:
    """The text that `guarded` was given."""
    return cell.removeprefix(_GUARD)


def on_one_line(text: str) -> str:
    """The text with a space for each control character, line ends among them."""
    return _CONTROL.sub(" ", text)


def names_cell(names: Sequence[str]) -> str:
    """Names with bars between them; a bar in a name is written as in a URL."""
    return _BETWEEN_NAMES.join(name.translate(_NAME_ESCAPES) for name in names)


def read_names(cell: str) -> list[str]:
    """The names that `names_cell` was given."""
    return [unquote(name) for name in cell.split(_BETWEEN_NAMES) if name]


def further_cell(extra: Sequence[ExtraHash]) -> str:
    """Further hashes with spaces between them: kind, colon, hex, and how it was derived."""
    return " ".join(
        f"{each.kind}:{each.value.hex()}"
        + ("" if each.derivation is None else ":" + quote(each.derivation, safe=""))
        for each in extra
    )


def own_batch(
    header: FileHeader, cells: Mapping[str, Sequence[str]], *, rows: int, place_at: PlaceAt
) -> RawBatch:
    """Cells of the own layout as a batch, as `mapped_batch` makes it of foreign ones."""
    further, faults, notes = _read_further(cells[own_layout.FURTHER])
    plain: dict[str, Sequence[str | list[str]]] = {
        name: [unguarded(cell) for cell in column] if name in TEXT_COLUMNS else column
        for name, column in cells.items()
        if name not in _NO_FIELDS and (name in _KINDS or any(column))
    }
    plain["releasable_to"] = [read_names(unguarded(cell)) for cell in cells["releasable_to"]]
    batch = mapped_batch(
        own_layout.MAPPING, header, plain, rows=rows, place_at=place_at, extra_hashes=further
    )
    batch = replace(batch, faults={**faults, **batch.faults}, notes=notes)
    return own_layout.with_origin(batch, cells)


def _read_further(
    cells: Sequence[str],
) -> tuple[list[RawHash], dict[int, tuple[str, str]], dict[str, int]]:
    """Further hashes of all rows, rows at fault, and how many were of a kind not known here."""
    found: list[RawHash] = []
    faults: dict[int, tuple[str, str]] = {}
    unknown = 0
    for row, cell in enumerate(cells):
        for item in cell.split(" ") if cell else ():
            kind, colon, rest = item.partition(":")
            value, told, derivation = rest.partition(":")
            if not colon or (told and not derivation):
                faults[row] = (own_layout.FURTHER, "not a kind, a colon and a hash in hex")
            elif kind not in _KINDS:
                unknown += 1
            else:
                how = unquote(derivation) if told else None
                found.append(
                    RawHash(row, HashKind(kind), value, Encoding.HEX, own_layout.FURTHER, how)
                )
    return found, faults, {UNKNOWN_KIND_NOTE: unknown} if unknown else {}
