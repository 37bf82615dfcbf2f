r"""The forms of a line that holds one digest: which line is of which, and what stands in it.

A tab behind the value sets cells of a table apart, and one may say that the record is withdrawn:
such a line is none of these forms, unless whoever imports says that names stand there.

Forms: `HEX  NAME` and `HEX *NAME` (md5sum, sha1sum, sha256sum; a backslash in front where the name
has escapes), a bare value, `KIND (NAME) = HEX` (BSD, `--tag`, openssl), and `HEX|OFFSET` (the index
files of The Sleuth Kit). Empty lines, comments (`#`) and the head of an index are passed over.

Pure: no file, no state. Names are never handed on. No text here repeats a value.
"""

from __future__ import annotations

import re
from enum import Enum, auto
from typing import TYPE_CHECKING, Final, NamedTuple

from hashlists.model import DIGEST_KINDS, HashKind
from hashlists.words import counted

if TYPE_CHECKING:
    from collections.abc import Mapping

#: The forms in which the value comes first. What is behind it tells the form.
LISTED: Final = re.compile(r"[ \t]*\\?([0-9A-Fa-f]{8,})(?:[ \t]*| (?! *\t).*|\|[0-9]{16}[ \t]*)")
#: The same where a tab may stand before a name.
LISTED_BY_TABS: Final = re.compile(r"[ \t]*\\?([0-9A-Fa-f]{8,})(?:[ \t].*|\|[0-9]{16}[ \t]*)?")
_TABLE: Final = (
    "a tab behind the value, so this is a row of a table: import it as csv with --option"
    " delimiter=tab and a first line that names the columns; where the tab stands before the"
    " name of a file, say --option behind=names"
)
#: Begins like a name as md5sum writes it, or has the dot or slash of one.
_NAME_BEHIND: Final = re.compile(r" \*\S|.*[./\\]")
_TAGGED: Final = re.compile(r"([A-Za-z0-9/-]{2,16}) ?\(.*\) ?= ?([0-9A-Fa-f]+)[ \t]*")
#: What an index of The Sleuth Kit begins with: the kind of file it was made of, and its name.
_INDEX_HEAD: Final = re.compile(r"0{41}\|.*|0{40}1\|.*")
#: The Sleuth Kit leaves all-zero values out of its indexes, so one is no record either.
_INDEX_ZERO: Final = re.compile(r"0{32}(?:0{8})?\|[0-9]{16}[ \t]*")
_KIND_NAMES: Mapping[str, HashKind] = {
    "MD5": HashKind.MD5,
    "SHA1": HashKind.SHA1,
    "SHA256": HashKind.SHA256,
    "SHA2256": HashKind.SHA256,
}
#: By the number of hexadecimal digits.
KIND_OF_DIGITS: Mapping[int, HashKind] = {2 * kind.nbytes: kind for kind in DIGEST_KINDS}
_OTHER_DIGITS: Mapping[int, str] = {
    8: "CRC-32",
    56: "SHA-224",
    96: "SHA-384",
    128: "SHA-512",
}


class Aside(Enum):
    """Lines that hold no record."""

    EMPTY = auto()
    COMMENT = auto()
    INDEX_HEAD = auto()
    ZERO = auto()


class Digest(NamedTuple):
    """One value as written.

    Attributes:
        bare: it stands alone on its line, without a name, a kind or an offset.
    """

    kind: HashKind
    digits: str
    bare: bool


def read_line(line: str, *, names_behind: bool = False) -> Digest | Aside | str:
    """What a line holds: a digest, nothing, or else what is wrong with it.

    Args:
        line: without its end.
        names_behind: whether what stands behind a value, be it a tab, is surely a name.
    """
    if tagged := _TAGGED.fullmatch(line):
        return _tagged(tagged[1], tagged[2])
    if aside := _aside(line):
        return aside
    listed = (LISTED_BY_TABS if names_behind else LISTED).fullmatch(line)
    if listed is None:
        if LISTED_BY_TABS.fullmatch(line):
            return _TABLE
        return "no digest: expected HEX, HEX and a name, KIND (NAME) = HEX, or HEX|OFFSET"
    kind = KIND_OF_DIGITS.get(len(listed[1]))
    if kind is None:
        return _wrong_digits(len(listed[1]))
    return Digest(kind, listed[1], bare=not line[listed.end(1) :].strip())


def behind(line: str) -> str:
    """What stands behind the value of a line that begins with one, and may be a word of a status.

    Empty for any other line, and where it surely is the name of a file: behind the star of md5sum,
    or with the dot or slash of a path.
    """
    listed = LISTED_BY_TABS.fullmatch(line)
    rest = line[listed.end(1) :] if listed is not None else ""
    return "" if _NAME_BEHIND.match(rest) else rest.strip()


def kind_named(text: str) -> HashKind | None:
    """The kind that a word names, as `MD5`, `sha-1` or `SHA2-256`; None for any other."""
    return _KIND_NAMES.get(text.strip().upper().replace("-", ""))


def _tagged(name: str, digits: str) -> Digest | str:
    kind = kind_named(name)
    if kind is None:
        return "a digest of a kind that lists do not hold; MD5, SHA-1 and SHA-256 are read"
    if KIND_OF_DIGITS.get(len(digits)) is not kind:
        has = counted(len(digits), "digit")
        return f"the line names one kind of digest, but its value has {has}"
    return Digest(kind, digits, bare=False)


def _aside(line: str) -> Aside | None:
    if not line or line.isspace():
        return Aside.EMPTY
    if line.startswith("#"):
        return Aside.COMMENT
    if _INDEX_HEAD.fullmatch(line):
        return Aside.INDEX_HEAD
    return Aside.ZERO if _INDEX_ZERO.fullmatch(line) else None


def _wrong_digits(found: int) -> str:
    other = _OTHER_DIGITS.get(found)
    known = f", which is {other}" if other else ""
    return (
        f"the value has {counted(found, 'hexadecimal digit')}{known}; "
        "an MD5 has 32, a SHA-1 40 and a SHA-256 64"
    )


__all__ = [
    "KIND_OF_DIGITS",
    "LISTED",
    "LISTED_BY_TABS",
    "Aside",
    "Digest",
    "behind",
    "kind_named",
    "read_line",
]
