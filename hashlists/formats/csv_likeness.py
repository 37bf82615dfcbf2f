"""What a file that looks like CSV shows of itself: its delimiter, and columns named for hashes."""

from __future__ import annotations

import codecs
import csv
import re
from typing import TYPE_CHECKING, Final

from hashlists.formats import own_layout
from hashlists.formats.base import Likeness
from hashlists.formats.field_mapping import LAYOUT_OPTION, OWN_LAYOUT
from hashlists.formats.shown_columns import is_shown
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from hashlists.formats.base import Sample

_DELIMITERS: Final = ",;\t|"
_NOT_WORD = re.compile(r"[^a-z0-9]+")
_NOISE = re.compile(r"^(?:file|hash|digest)|(?:hash|digest|value|hex|prufsumme|summe|sum)$")
_KINDS: Final = {str(kind): kind for kind in HashKind}
_MAX_NAMES: Final = 8
#: Encodings that any text fits which is no UTF-8, so which it is its sender must say.
ONE_BYTE: Final = ("latin-1", "cp1252")
NOT_UTF8: Final = (
    "; it is not UTF-8, and what its characters are is a guess: ask its sender for the encoding"
)
#: Control characters but for those of white space: the file is binary.
_NO_TEXT: Final = re.compile(r"[\x00-\x08\x0e-\x1f\x7f-\x9f\ufffd]")
_OF_UTF8: Final = re.compile(rb"[\xc2-\xf4][\x80-\xbf]")
_ONLY_IN_CP1252: Final = re.compile(rb"[\x80-\x9f]")


def header_cells(sample: Sample) -> tuple[Sequence[str], str, str] | None:
    """The first line as cells, with delimiter and encoding; None where it is no line of a table."""
    text, encoding = sample_text(sample)
    line = text.splitlines()[0] if text else ""
    seen = text if encoding in ONE_BYTE else line  # any bytes would do for those
    if not line or _NO_TEXT.search(seen) or line.lstrip()[:1] in ("{", "[", "<"):
        return None
    delimiter = max(_DELIMITERS, key=line.count)
    try:
        cells = next(csv.reader([line], delimiter=delimiter, strict=True))
    except (csv.Error, StopIteration):
        return None
    return [cell.strip() for cell in cells], delimiter, encoding


def sample_text(sample: Sample) -> tuple[str, str]:
    """The beginning of a file as text, and the name of its encoding as the reader's option has it.

    What is not UTF-8, and has no character of it beyond ASCII either, is taken for text of one byte
    a character: by Windows' code page 1252 where Latin 1 has no characters for some bytes.
    """
    head = sample.head
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return head[: len(head) // 2 * 2].decode("utf-16", "replace"), "utf-16"
    try:
        text = codecs.getincrementaldecoder("utf-8-sig")().decode(head, sample.whole)
    except UnicodeDecodeError:
        if _OF_UTF8.search(head):
            return head.decode("utf-8-sig", "replace"), "utf-8"
        encoding = "cp1252" if _ONLY_IN_CP1252.search(head) else "latin-1"
        return head.decode(encoding, "replace"), encoding
    return text, "utf-8"


def looks_like(sample: Sample) -> Likeness | None:
    """How far the first line is the header of a table with hashes."""
    found = header_cells(sample)
    if found is None:
        return None
    cells, delimiter, encoding = found
    if own_layout.has_its_columns(cells):
        why = "its first line names the columns of Hashwarden's own layout"
        return Likeness(95, why, {LAYOUT_OPTION: OWN_LAYOUT})
    options: dict[str, str] = {}
    if delimiter != "," and delimiter in sample_text(sample)[0]:
        options["delimiter"] = "tab" if delimiter == "\t" else delimiter
    if encoding != "utf-8":
        options["encoding"] = encoding
    also = NOT_UTF8 if encoding in ONE_BYTE else ""
    named = kinds_named([cell for cell in cells if is_shown(cell)])
    if not named:
        if len(cells) < 2:  # noqa: PLR2004  # one column alone is any text file
            return None
        why = f"its first line has {len(cells)} cells, none of them named for a hash{also}"
        return Likeness(10, why, options)
    names = ", ".join(repr(name) for name in list(named.values())[:_MAX_NAMES])
    options |= {f"columns.{kind}": cell for kind, cell in named.items()}
    return Likeness(50, f"its first line names columns for hashes: {names}{also}", options)


def kind_named(name: str) -> HashKind | None:
    """The kind that a column is named for: SHA-256 for `sha256_hex`, `File SHA-256`; or None."""
    word = _NOT_WORD.sub("", name.lower().replace("ü", "u"))
    while word not in _KINDS and (shorter := _NOISE.sub("", word)) != word:
        word = shorter
    return _KINDS.get(word)


def kinds_named(names: Sequence[str]) -> dict[HashKind, str]:
    """The names of a table that are those of kinds; of several of a kind the first.

    Where no whole name is that of a kind, it may be what stands behind the last dot, as in
    `hashes.md5`: a name such as `thumbnail.md5` never stands for the plain one.
    """
    last = {kind: name for name in reversed(names) if (kind := kind_named(last_part(name)))}
    return last | {kind: name for name in reversed(names) if (kind := kind_named(name))}


def last_part(name: str) -> str:
    """What stands behind the last dot."""
    return name.rpartition(".")[2]
