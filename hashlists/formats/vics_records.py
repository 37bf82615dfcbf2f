"""Records of the VICS entity `Media` as raw columns: what is taken over of each, and how.

Every other member the decoder skips: of paths, comments, tags, thumbnails, Exif and files on seized
disks nothing is kept. Those that most exports have are named as raw text, so that counting can tell
that no member stands twice in its object (`json_members.all_counted`). For the same reason what is
absent is "" and not null, which a file may say as well; both mean that nothing is said.
"""

from __future__ import annotations

import re
from operator import attrgetter
from typing import TYPE_CHECKING, Final

import msgspec

from hashlists.formats.base import (
    DEFAULT_KEY_KINDS,
    Encoding,
    FieldNames,
    FileHeader,
    FlagColumn,
    HashColumn,
    RawBatch,
    RawHash,
)
from hashlists.formats.notes import OTHER_CASE_NOTE, Notes
from hashlists.model import EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from hashlists.formats.chunk import Chunk

#: The issuer's schema makes MD5 the key of a record.
_KEY_KINDS: Final = (
    HashKind.MD5,
    *(kind for kind in DEFAULT_KEY_KINDS if kind is not HashKind.MD5),
)
MEMBER_KINDS: Final = (
    ("MD5", HashKind.MD5, Encoding.HEX),
    ("SHA1", HashKind.SHA1, Encoding.HEX),
    ("SHA256", HashKind.SHA256, Encoding.HEX),
    ("PDQ", HashKind.PDQ, Encoding.DETECT),
    ("PhotoDNA", HashKind.PHOTODNA, Encoding.DETECT),
)
MEMBER_FLAGS: Final = (
    ("VictimIdentified", EntryFlag.VICTIM_IDENTIFIED),
    ("OffenderIdentified", EntryFlag.OFFENDER_IDENTIFIED),
    ("SelfGenerated", EntryFlag.SELF_GENERATED),
    ("IsDistributed", EntryFlag.DISTRIBUTED),
    ("IsSuspected", EntryFlag.SUSPECTED),
    ("IsPrecategorized", EntryFlag.PRECATEGORIZED),
)
_NAMES = FieldNames(
    key="MD5",
    source_id="MediaID",
    category="Category",
    size="MediaSize",
    media_type="MimeType",
    updated_at="DateUpdated",
)
_HASH_MEMBERS: Final = (*(name for name, _, _ in MEMBER_KINDS), "AlternativeHashes")
_KINDS_BY_NAME: Mapping[str, HashKind] = {str(kind): kind for kind in HashKind}
_NAME_NOISE = str.maketrans("", "", "-_ .")
#: A series that is "no" rather than a name.
_SERIES_WORDS: Final = ("", "0", "1", "false", "true", "no", "yes", "n", "y")
#: Time stamps are kept verbatim; what is none by its look is left aside, not the record with it.
_TIME = re.compile(r"[!-~][ -~]{0,63}")
_TIMES = re.compile(r"(?:[!-~][ -~]{0,63}\n)*+")
_ODD_TIME_NOTE: Final = "DateUpdated that is no time stamp left aside"
_OTHER_CASE_REASON: Final = (
    "the record has no hash: its names are written in another case than the format's, and names "
    "count by case"
)
_SKIPPED: Final = msgspec.Raw()


class AlternativeHash(msgspec.Struct, gc=False, omit_defaults=True):
    """A hash by the name of its kind."""

    HashName: str | None = ""
    HashValue: str | None = ""
    MD5: msgspec.Raw = _SKIPPED


class Media(msgspec.Struct, gc=False, omit_defaults=True):
    """The members that are taken over, under the schema's names, and those that are counted."""

    MD5: str | None = ""
    SHA1: str | None = ""
    SHA256: str | None = ""
    PDQ: str | None = ""
    PhotoDNA: str | None = ""
    AlternativeHashes: list[AlternativeHash | None] | msgspec.UnsetType | None = msgspec.UNSET
    MediaID: int | str | None = ""
    Category: int | str | None = ""
    MediaSize: int | float | str | None = ""
    MimeType: str | None = ""
    DateUpdated: int | float | str | None = ""
    VictimIdentified: bool | int | str | None = ""
    OffenderIdentified: bool | int | str | None = ""
    SelfGenerated: bool | int | str | None = ""
    IsDistributed: bool | int | str | None = ""
    IsSuspected: bool | int | str | None = ""
    IsPrecategorized: bool | int | str | None = ""
    Series: bool | int | str | None = ""
    Comments: msgspec.Raw = _SKIPPED
    Tags: msgspec.Raw = _SKIPPED
    Exifs: msgspec.Raw = _SKIPPED
    MediaFiles: msgspec.Raw = _SKIPPED


def count_objects(records: Sequence[Media]) -> int:
    """How many objects of a file the records were made of."""
    found = len(records)
    for hashes in map(attrgetter("AlternativeHashes"), records):
        if hashes:
            found += len(hashes) - hashes.count(None)
    return found


def to_batch(chunk: Chunk[Media], header: FileHeader) -> RawBatch:
    """Turns records into columns."""
    records = chunk.records
    columns = [
        HashColumn(kind, values, encoding, name)
        for name, kind, encoding in MEMBER_KINDS
        if any(values := list(map(attrgetter(name), records)))
    ]
    alternatives = _Alternatives(records, {column.kind for column in columns})
    flags = [
        FlagColumn(flag, list(map(attrgetter(name), records)), name) for name, flag in MEMBER_FLAGS
    ]
    in_other_case = Notes()
    for names in chunk.odd_names.values():
        for name in names:
            in_other_case.add_named(OTHER_CASE_NOTE, name)
    updated_at, odd_times = _times([record.DateUpdated for record in records])
    flags.append(FlagColumn(EntryFlag.SERIES, _has_series(records), "Series"))
    return RawBatch(
        rows=len(records),
        header=header,
        hashes=[*columns, *alternatives.columns()],
        place_at=chunk.place_at,
        extra_hashes=alternatives.extra,
        key_kinds=_KEY_KINDS,
        codes=[record.Category for record in records],
        sizes=[record.MediaSize for record in records],
        flags=flags,
        source_ids=[record.MediaID for record in records],
        media_types=[record.MimeType for record in records],
        updated_at=updated_at,
        names=_NAMES,
        rejections=chunk.rejections,
        faults=_no_hash_for_case(chunk),
        notes={**alternatives.notes, **odd_times, **in_other_case},
    )


def _times(values: Sequence[float | str | None]) -> tuple[list[str | None], Mapping[str, int]]:
    """Time stamps as texts, and how many were left aside."""
    if set(map(type, values)) == {str}:
        joined = "".join(f"{text}\n" for text in values)
        if joined.count("\n") == len(values) and _TIMES.fullmatch(joined):
            return list(values), {}  # type: ignore[arg-type]  # as just seen
    texts = [None if value is None or value == "" else str(value) for value in values]
    good = [text if text is None or _TIME.fullmatch(text) else None for text in texts]
    odd = sum(text is not None for text in texts) - sum(text is not None for text in good)
    return good, {_ODD_TIME_NOTE: odd} if odd else {}


def _has_series(records: Sequence[Media]) -> list[bool | str | None]:
    """Whether a series is named; the name itself goes no further."""
    return [_is_series(record.Series) if record.Series else None for record in records]


def _is_series(value: bool | int | str) -> bool | str | None:  # noqa: FBT001  # as the file has it
    if isinstance(value, str) and value.strip().lower() not in _SERIES_WORDS:
        return True
    return str(value)


class _Alternatives:
    """Hashes of `AlternativeHashes`, as columns where each row has at most one of a kind."""

    def __init__(self, records: Sequence[Media], taken: Collection[HashKind]) -> None:
        self.extra: list[RawHash] = []
        self._taken = taken
        self._rows = len(records)
        self._columns: dict[HashKind, list[str | None]] = {}
        self._by_name: dict[str | None, list[str | None]] = {}
        self._notes = Notes()
        for row, hashes in enumerate([record.AlternativeHashes for record in records]):
            if hashes:
                self._read_row(row, hashes)

    @property
    def notes(self) -> Mapping[str, int]:
        """Names of hashes that are not known here, and how often each came."""
        return dict(self._notes)

    def columns(self) -> list[HashColumn]:
        """One column for each kind that the records' own members do not hold."""
        return [
            HashColumn(kind, values, Encoding.DETECT, _alternative_field(kind))
            for kind, values in self._columns.items()
        ]

    def _read_row(self, row: int, hashes: Sequence[AlternativeHash | None]) -> None:
        for item in hashes:
            if item is None or not item.HashValue:
                continue
            column = self._by_name.get(item.HashName)
            if column is not None and column[row] is None:
                column[row] = item.HashValue
            else:
                self._read_other(row, item.HashName, item.HashValue)

    def _read_other(self, row: int, name: str | None, value: str) -> None:
        """A name not met before in this batch, or a further value of a kind."""
        kind = _KINDS_BY_NAME.get((name or "").lower().translate(_NAME_NOISE))
        if kind is None:
            self._notes.add_named("hash of unknown kind left aside", name)
            return
        if kind not in self._taken:
            column = self._columns.setdefault(kind, [None] * self._rows)
            self._by_name[name] = column
            if column[row] is None:
                column[row] = value
                return
        self.extra.append(RawHash(row, kind, value, Encoding.DETECT, _alternative_field(kind)))


def _alternative_field(kind: HashKind) -> str:
    return f"AlternativeHashes ({kind})"


def _no_hash_for_case(chunk: Chunk[Media]) -> dict[int, tuple[str, str]]:
    """Why records have no hash whose hashes have names in another case; by row."""
    return {
        row: (name, _OTHER_CASE_REASON)
        for row, names in chunk.odd_names.items()
        if (name := next((each for each in names if each in _HASH_MEMBERS), None)) is not None
        and not any(getattr(chunk.records[row], each) for each in _HASH_MEMBERS)
    }


__all__ = ["MEMBER_FLAGS", "MEMBER_KINDS", "AlternativeHash", "Media", "count_objects", "to_batch"]
