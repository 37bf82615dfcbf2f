"""Which column or member of a foreign table is which field: the options that every table shares.

CSV, JSON Lines and Parquet take the same options. Nothing is guessed: every column that is taken
over is named, and every other one is never looked at.

    columns.KIND: column that holds a hash, for each `HashKind`, e.g. `columns.md5`; at least one.
    columns.KIND.2, columns.KIND.3 and so on: columns with further values of that kind.
    columns.key: column that is an entry's identity; without it its strongest hash is.
    columns.source_id, columns.category, columns.scheme, columns.profile, columns.size,
    columns.media_type, columns.updated_at, columns.verified_count, columns.originator,
    columns.expires_at: columns for these fields.
    columns.releasable_to: column of recipients; where it is empty, there are none.
    columns.retracted: column that tells which entries are withdrawn: yes or no, or a status.
    columns.retraction_reason: column that says why.
    columns.FLAG: column of yes or no for each `EntryFlag` in lower case, e.g. `columns.baseline`;
        in `columns.series` any other text means yes, and is not kept.
    retracted_values: words in `columns.retracted` that mean withdrawn, with commas between them;
        `yes` and the like without it.
    listed_values: words there that mean in force; any third word is rejected. Without it, but with
        retracted_values, every other word means in force.
    separator.KIND, separator.releasable_to: what stands between several values in one cell, or
        the word `space` or `tab`; recipients stand between semicolons by default.
    scheme, profile: of the classifications in the category column, where no column says so.
    hash_encoding.KIND: `hex`, `base64`, `base32`, `decimal` or `detect` (default).
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from hashlists.errors import OptionsError
from hashlists.formats.base import Encoding, FieldNames
from hashlists.model import EntryFlag, HashKind
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

#: Option that names a layout of columns instead of naming each column, and the one there is.
LAYOUT_OPTION: Final = "columns"
OWN_LAYOUT: Final = "hashwarden"
#: Stands in a suggested command for a value that only the importer knows.
PLACE: Final = "..."
#: Fields that are neither hash nor flag.
FIELDS: Final = (
    "key",
    "source_id",
    "category",
    "scheme",
    "profile",
    "size",
    "media_type",
    "updated_at",
    "verified_count",
    "originator",
    "releasable_to",
    "expires_at",
    "retracted",
    "retraction_reason",
)
FLAGS: Mapping[str, EntryFlag] = {(flag.name or "").lower(): flag for flag in EntryFlag}
_PLAIN: Final = ("listed_values", "profile", "retracted_values", "scheme")
_RECIPIENTS: Final = "releasable_to"
_COLUMN_NAMES: Final = (*HashKind, *FIELDS, *FLAGS)
#: How the options of which there are many are told.
_SHOWN_NAMES: Final = ("columns.FIELD", "hash_encoding.KIND", "separator.KIND")
_FURTHER = re.compile(r"(?P<kind>[a-z0-9]+)\.(?P<number>[2-9]|[1-9][0-9])", re.ASCII)
_SEPARATOR_WORDS: Mapping[str, str] = {"space": " ", "tab": "\t", "\\t": "\t"}
_MAX_SEPARATOR_CHARS: Final = 8
_TEXT_ENCODINGS: Final = tuple(each for each in Encoding if each is not Encoding.RAW)


class NoHashColumnError(OptionsError):
    """No column is named for a hash."""


@dataclass(frozen=True, slots=True)
class FieldMapping:
    """The options of one import, checked for themselves; the file may still lack a column.

    Attributes:
        columns: from a kind, field or flag to the name of its column.
        further: columns with further values of a kind.
        encodings: how the kinds that are named here are written.
        separators: from a kind, or `releasable_to`, to what stands between values in one cell.
        scheme, profile: of classifications whose record names none.
        retracted_words, listed_words: of the column `retracted`, in lower case; empty for none.
        tagged_keys: whether keys are in Hashwarden's own notation (`own_layout`).
    """

    columns: Mapping[str, str]
    further: Sequence[tuple[HashKind, str]] = ()
    encodings: Mapping[HashKind, Encoding] = field(default_factory=dict)
    separators: Mapping[str, str] = field(default_factory=lambda: {_RECIPIENTS: ";"})
    scheme: str = ""
    profile: str = ""
    retracted_words: frozenset[str] = frozenset()
    listed_words: frozenset[str] = frozenset()
    tagged_keys: bool = False

    @classmethod
    def parse(cls, options: Mapping[str, str], also: Sequence[str] = ()) -> FieldMapping:
        """Reads the options.

        Args:
            options: as given.
            also: options of the format itself, which are let pass.

        Raises:
            NoHashColumnError: no column is named for a hash.
            OptionsError: one is unknown, or has a value that is not allowed.
        """
        _refuse_places(options)
        every = (*also, *_every_name())
        columns, further = _columns(options, every)
        written = _section(options, "hash_encoding.", tuple(HashKind), every)
        separators = _section(options, "separator.", (*HashKind, _RECIPIENTS), every)
        prefixes = ("columns.", "hash_encoding.", "separator.")
        plain = [name for name in options if not name.startswith(prefixes)]
        known = sorted((*_PLAIN, *also))
        refuse_unknown(plain, known, every=every, shown=(*known, *_SHOWN_NAMES))
        _require_hash(columns)
        _require_scheme(columns, options)
        mapping = cls(
            columns=columns,
            further=further,
            encodings={HashKind(kind): _hash_encoding(text) for kind, text in written.items()},
            separators={_RECIPIENTS: ";"}
            | {name: _separator(name, text) for name, text in separators.items()},
            scheme=options.get("scheme", ""),
            profile=options.get("profile", ""),
            retracted_words=_words(options.get("retracted_values", "")),
            listed_words=_words(options.get("listed_values", "")),
        )
        mapping._require_status()
        return mapping

    @property
    def names(self) -> FieldNames:
        """What the file calls the plain columns."""
        names = {name: self.name(name) for name in FIELDS}
        handling = names["expires_at"] if "expires_at" in self.columns else names[_RECIPIENTS]
        plain = {name: names[name] for name in FieldNames.__slots__ if name in names}
        return FieldNames(**plain, handling=handling)

    def name(self, wanted: str) -> str:
        """What the file calls a field, for messages."""
        return self.columns.get(wanted, wanted)

    def encoding(self, kind: HashKind) -> Encoding:
        """How the values of a kind are written."""
        return self.encodings.get(kind, Encoding.DETECT)

    def all_columns(self) -> dict[str, str]:
        """From what is wanted to its column's name; further hashes as `KIND.2` and so on."""
        numbered = {f"{kind}.{at}": name for at, (kind, name) in enumerate(self.further, start=2)}
        return {**self.columns, **numbered}

    def _require_status(self) -> None:
        for option, words in (
            ("retracted_values", self.retracted_words),
            ("listed_values", self.listed_words),
        ):
            if words and "retracted" not in self.columns:
                raise OptionsError(f"{option} needs columns.retracted, whose values it explains")
        if self.listed_words and not self.retracted_words:
            raise OptionsError("listed_values needs retracted_values beside it")
        if self.listed_words & self.retracted_words:
            raise OptionsError("a word stands in both retracted_values and listed_values")


def refuse_unknown(
    options: Iterable[str],
    known: Sequence[str],
    prefix: str = "",
    *,
    every: Sequence[str] = (),
    shown: Sequence[str] = (),
) -> None:
    """Refuses options that are not among the known ones, and says which may have been meant.

    Args:
        options: without the prefix.
        known: the same.
        prefix: of all of them.
        every: whole names of which one may have been meant; none for the known ones.
        shown: whole names that are told as allowed; none for the known ones.

    Raises:
        OptionsError: one is not.
    """
    for name in options:
        if name not in known:
            whole, here = prefix + name, [f"{prefix}{word}" for word in known]
            hint = did_you_mean(whole, every or here)
            raise OptionsError(f"unknown option {whole!r}{hint}allowed: {', '.join(shown or here)}")


def yes_or_no(name: str, text: str) -> bool:
    """What an option of yes or no says.

    Raises:
        OptionsError: it says neither.
    """
    if text not in ("yes", "no"):
        raise OptionsError(f"the option {name} must be yes or no, not {text!r}")
    return text == "yes"


def _refuse_places(options: Mapping[str, str]) -> None:
    """Refuses what stands in a suggested command for words that only the importer knows."""
    for name, value in options.items():
        if value == PLACE:
            raise OptionsError(
                f"{name} is {PLACE}, a place to fill in: say what it is, or leave it out"
            )


def _columns(
    options: Mapping[str, str], every: Sequence[str]
) -> tuple[dict[str, str], list[tuple[HashKind, str]]]:
    """The columns, and those of further hashes in the order of their numbers."""
    named = {
        name.removeprefix("columns."): column
        for name, column in options.items()
        if name.startswith("columns.")
    }
    further: list[tuple[HashKind, int, str]] = []
    for name in list(named):
        found = _FURTHER.fullmatch(name)
        if found and found["kind"] in tuple(HashKind):
            if found["kind"] not in named:
                raise OptionsError(f"columns.{name} needs columns.{found['kind']} beside it")
            further.append((HashKind(found["kind"]), int(found["number"]), named.pop(name)))
    refuse_unknown(named, _COLUMN_NAMES, "columns.", every=every)
    in_order = sorted(further, key=lambda each: (list(HashKind).index(each[0]), each[1]))
    return named, [(kind, column) for kind, _, column in in_order]


def _require_hash(columns: Mapping[str, str]) -> None:
    if not any(kind in columns for kind in HashKind):
        kinds = ", ".join(f"columns.{kind}" for kind in HashKind)
        raise NoHashColumnError(
            "no column is mapped to a hash: say which column holds one, e.g. --column md5=NAME;"
            f" as options: {kinds}"
        )


def _require_scheme(columns: Mapping[str, str], options: Mapping[str, str]) -> None:
    if "category" in columns and not options.get("scheme") and "scheme" not in columns:
        raise OptionsError(
            "columns.category needs the option scheme, which says whose categories they are: "
            "--option scheme=NAME; vics, uk, iwf, ncmec and interpol mean something as built "
            "in, others need [[severity]] rows in the policy file (docs/policy.md)"
        )


def _every_name() -> tuple[str, ...]:
    """Whole names of all options that every table shares, but for numbered columns."""
    return (
        *_PLAIN,
        *(f"columns.{name}" for name in _COLUMN_NAMES),
        *(f"hash_encoding.{kind}" for kind in HashKind),
        *(f"separator.{name}" for name in (*HashKind, _RECIPIENTS)),
    )


def _section(
    options: Mapping[str, str], prefix: str, known: Sequence[str], every: Sequence[str]
) -> dict[str, str]:
    """The options under a prefix, without it."""
    section = {
        name.removeprefix(prefix): value
        for name, value in options.items()
        if name.startswith(prefix)
    }
    refuse_unknown(section, known, prefix, every=every)
    return section


def _hash_encoding(text: str) -> Encoding:
    if text not in _TEXT_ENCODINGS:
        allowed = ", ".join(_TEXT_ENCODINGS)
        raise OptionsError(f"unknown encoding of a hash {text!r}; allowed: {allowed}")
    return Encoding(text)


def _separator(name: str, text: str) -> str:
    text = _SEPARATOR_WORDS.get(text, text)
    if not 0 < len(text) <= _MAX_SEPARATOR_CHARS or any(each.isalnum() for each in text):
        raise OptionsError(
            f"separator.{name} must be 1 to {_MAX_SEPARATOR_CHARS} characters that are neither "
            "letters nor digits, or the word space or tab"
        )
    return text


def _words(text: str) -> frozenset[str]:
    return frozenset(word for each in text.split(",") if (word := each.strip().lower()))
