"""What a file that looks like CSV shows of itself: its delimiter, and columns named for hashes."""

from __future__ import annotations

import codecs
import csv
import re
from typing import TYPE_CHECKING, Final

from hashlists.formats import own_layout
from hashlists.formats.base import Likeness
from hashlists.formats.field_mapping import LAYOUT_OPTION, OWN_LAYOUT
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import Sample

_DELIMITERS: Final = ",;\t|"
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_NOISE = re.compile(r"(?:hash|digest|value|hex|sum)$")
_KINDS: Final = {str(kind): kind for kind in HashKind}
_MAX_NAMES: Final = 8
_SHOWN: Final = re.compile(r"[ -~]{1,40}")


def header_cells(sample: Sample) -> tuple[Sequence[str], str, str] | None:
    """The first line as cells, with delimiter and encoding; None where it is no line of a table."""
    encoding = "utf-8"
    head = sample.head
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        encoding, head = "utf-16", head[: len(head) // 2 * 2]
    text = head.decode(encoding, "replace").removeprefix("\ufeff")
    line = text.splitlines()[0] if text else ""
    if not line or "\x00" in line or "\ufffd" in line or line.lstrip()[:1] in ("{", "[", "<"):
        return None
    delimiter = max(_DELIMITERS, key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None
    return [cell.strip() for cell in cells], delimiter, encoding


def looks_like(sample: Sample) -> Likeness | None:
    """How far the first line is the header of a table with hashes."""
    found = header_cells(sample)
    if found is None:
        return None
    cells, delimiter, encoding = found
    if set(own_layout.COLUMNS) <= set(cells):
        why = "its first line names the columns of Hashwarden's own layout"
        return Likeness(95, why, {LAYOUT_OPTION: OWN_LAYOUT})
    options: dict[str, str] = {}
    if delimiter != "," and delimiter in sample.head.decode(encoding, "replace"):
        options["delimiter"] = "tab" if delimiter == "\t" else delimiter
    if encoding != "utf-8":
        options["encoding"] = encoding
    named = {
        kind: cell
        for cell in reversed(cells)
        if (kind := kind_named(cell)) and _SHOWN.fullmatch(cell)
    }
    if not named:
        if len(cells) < 2:  # noqa: PLR2004  # one column alone is any text file
            return None
        why = f"its first line has {len(cells)} cells, none of them named for a hash"
        return Likeness(10, why, options)
    names = ", ".join(repr(name) for name in list(named.values())[:_MAX_NAMES])
    options |= {f"columns.{kind}": cell for kind, cell in named.items()}
    return Likeness(50, f"its first line names columns for hashes: {names}", options)


def kind_named(name: str) -> HashKind | None:
    """The kind that a column is named for, e.g. SHA-256 for `sha256_hex`; None for none."""
    word = _NOT_WORD.sub("", name.lower())
    while word not in _KINDS and (shorter := _NOISE.sub("", word)) != word:
        word = shorter
    return _KINDS.get(word)
