"""Reads hash sets in the Project VIC data model (VICS): JSON, versions 1.0 to 1.3 and 2.0.

A file is one OData object: a context that names version, profile and entity set, and an array
`value` of `Media` records. Keys may come in any order; where the context stands behind the array,
the file is read twice.

Taken over: hashes, the category verbatim with the file's profile (the meaning of a number depends
on the profile, 0 is a value, null is none), size, id, time stamp, media type and yes/no flags.
Never taken over: paths, comments, tags, the names of series (only that there is one), thumbnails,
Exif, files on seized disks. Case files (`#Cases`) are refused, since they carry data of cases.
Members `SHA256` and `PDQ`, which the schema does not have, are read where a file has them.
A file that is one page of several (OData's `nextLink`) or holds another number of records than its
own `count` says is refused: a part must not pass for the whole.
Where a record has a member twice, the last one counts. Records are not searched for that: the
decoder does not tell, and the text alone does not either, since nested objects have an `MD5` too,
so that every record would have to be parsed a second time, and slower.
VICS has no retractions: that a record is missing from a later file proves nothing by itself.
"""

from __future__ import annotations

import re
from collections import Counter
from operator import attrgetter
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import (
    DEFAULT_KEY_KINDS,
    Encoding,
    FieldNames,
    FileHeader,
    FlagColumn,
    Format,
    HashColumn,
    RawBatch,
    RawHash,
)
from hashlists.formats.json_stream import Chunk, JsonArrayStream
from hashlists.model import EntryFlag, HashKind

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from hashlists.limits import ImportLimits

VERSIONS: Final = ("1.0", "1.1", "1.2", "1.3", "2.0")
_CONTEXT_KEYS: Final = ("@odata.context", "odata.metadata")
_NEXT_KEYS: Final = ("@odata.nextLink", "odata.nextLink")
_COUNT_KEYS: Final = ("@odata.count", "odata.count")
_COUNT_TEXT = re.compile(r"[0-9]{1,20}", re.ASCII)
_CONTEXT = re.compile(
    r"/DataModels/(?P<version>\d+(?:\.\d+)*)\.xml"
    r"(?:/(?P<profile>[^/#$?]+))?(?:/\$metadata)?#(?P<entity_set>\w+)",
    re.IGNORECASE,
)
#: The issuer's schema makes MD5 the key of a record.
_KEY_KINDS: Final = (
    HashKind.MD5,
    *(kind for kind in DEFAULT_KEY_KINDS if kind is not HashKind.MD5),
)
_MEMBER_KINDS: Final = (
    ("MD5", HashKind.MD5, Encoding.HEX),
    ("SHA1", HashKind.SHA1, Encoding.HEX),
    ("SHA256", HashKind.SHA256, Encoding.HEX),
    ("PDQ", HashKind.PDQ, Encoding.DETECT),
    ("PhotoDNA", HashKind.PHOTODNA, Encoding.DETECT),
)
_MEMBER_FLAGS: Final = (
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
_KINDS_BY_NAME: Mapping[str, HashKind] = {str(kind): kind for kind in HashKind}
_NAME_NOISE = str.maketrans("", "", "-_ .")
_SAFE_NAME = re.compile(r"[A-Za-z0-9 _.\-]{1,24}")
_MAX_NOTES = 20
#: A series that is "no" rather than a name.
_SERIES_WORDS: Final = ("", "0", "1", "false", "true", "no", "yes", "n", "y")
_OPTIONS: Final = ("profile",)


class _AlternativeHash(msgspec.Struct, gc=False):
    HashName: str | None = None
    HashValue: str | None = None


class _Media(msgspec.Struct, gc=False):
    """The members that are taken over, under the schema's names; the decoder skips all others."""

    MD5: str | None = None
    SHA1: str | None = None
    SHA256: str | None = None
    PDQ: str | None = None
    PhotoDNA: str | None = None
    AlternativeHashes: list[_AlternativeHash | None] | None = None
    MediaID: int | str | None = None
    Category: int | str | None = None
    MediaSize: int | float | str | None = None
    MimeType: str | None = None
    DateUpdated: str | None = None
    VictimIdentified: bool | int | str | None = None
    OffenderIdentified: bool | int | str | None = None
    SelfGenerated: bool | int | str | None = None
    IsDistributed: bool | int | str | None = None
    IsSuspected: bool | int | str | None = None
    IsPrecategorized: bool | int | str | None = None
    Series: bool | int | str | None = None


_MediaStream = JsonArrayStream[_Media]


class VicsReader:
    """Iterates over a VICS file (see `base.ListReader`).

    Options:
        profile: the profile to assume where the file names none (1.x files usually do not).

    Raises:
        OptionsError: an option is unknown, or names another profile than the file.
        FormatError: the file is not a VICS hash set of a known version.
    """

    format: Final = "vics"

    def __init__(self, stream: BinaryIO, options: Mapping[str, str], limits: ImportLimits) -> None:
        unknown = sorted(set(options) - set(_OPTIONS))
        if unknown:
            raise OptionsError(
                f"unknown option {unknown[0]!r} of format vics; known options: profile"
            )
        self._stream = stream
        self._limits = limits
        self._assumed_profile = options.get("profile", "")
        self._records = self._open()
        self._header = self._find_header()
        self._batches = self._read()

    @property
    def header(self) -> FileHeader:
        """Version and profile as the file's context names them."""
        return self._header

    @property
    def bytes_read(self) -> int:
        """Bytes consumed in the pass that yields batches."""
        return self._records.bytes_read

    def __iter__(self) -> Iterator[RawBatch]:
        return self

    def __next__(self) -> RawBatch:
        return next(self._batches)

    def _open(self) -> _MediaStream:
        self._stream.seek(0)
        records = JsonArrayStream(
            self._stream,
            array_key="value",
            record_type=_Media,
            wanted=(*_CONTEXT_KEYS, *_NEXT_KEYS, *_COUNT_KEYS),
            limits=self._limits,
        )
        records.open_array()
        _refuse_page(records.members)
        return records

    def _find_header(self) -> FileHeader:
        """The header from before the array, else from behind it by reading the file twice."""
        context = _context(self._records.members)
        if context is None:
            for _ in self._records.chunks():
                pass
            context = _context(self._records.members)
            self._records = self._open()
        if context is None:
            raise FormatError(
                'the file has neither "@odata.context" (VICS 2.0) nor "odata.metadata" (1.x); '
                "without it, it is not a VICS file"
            )
        return _parse_context(context, self._assumed_profile)

    def _read(self) -> Iterator[RawBatch]:
        for chunk in self._records.chunks():
            if chunk.records or chunk.rejections:
                yield _to_batch(chunk, self._header)
        # Members may be repeated behind the array; the last one must not say something else.
        if _parse_context(_context(self._records.members), self._assumed_profile) != self._header:
            raise FormatError(
                "the file names two contexts that differ; which one counts is not clear"
            )
        _refuse_page(self._records.members)
        _check_count(self._records.members, self._records.records_read)


def _context(members: Mapping[str, object]) -> object:
    return next((members[key] for key in _CONTEXT_KEYS if key in members), None)


def _refuse_page(members: Mapping[str, object]) -> None:
    """Refuses a file that says that the set goes on elsewhere."""
    for key in _NEXT_KEYS:
        if members.get(key):
            raise FormatError(
                f'the file is one page of several ("{key}" names the next); import the whole set: '
                "fetch every page and put the records of all into one file without that link, or "
                "let the source export the set as one file"
            )


def _check_count(members: Mapping[str, object], found: int) -> None:
    """Compares the number of records with the count that the file may carry."""
    for key in _COUNT_KEYS:
        count = members.get(key)
        if count is None:
            continue
        said = _whole_number(count)
        if said is None:
            raise FormatError(f'"{key}" is not a number of records')
        if said != found:
            raise FormatError(
                f'"{key}" says {said} records, but the file holds {found}; it may be a part of the '
                "set, or damaged: get it again from its source"
            )


def _whole_number(value: object) -> int | None:
    """The count as a number; OData writes it as text, too."""
    if isinstance(value, str) and _COUNT_TEXT.fullmatch(value):
        return int(value)
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _parse_context(context: object, assumed_profile: str) -> FileHeader:
    match = _CONTEXT.search(context) if isinstance(context, str) else None
    if match is None:
        raise FormatError(
            "the OData context is not that of a VICS file; "
            "expected .../DataModels/2.0.xml/<profile>/$metadata#Media"
        )
    version, entity_set = match["version"], match["entity_set"].lower()
    if entity_set == "cases":
        raise FormatError(
            "this is a case file (#Cases), which carries data of cases; "
            "export the hash set alone (#Media) and import that"
        )
    if entity_set != "media":
        raise FormatError("the OData context names another entity set than #Media")
    if version not in VERSIONS:
        raise FormatError(
            f"VICS version {version[:16]} is not known; known versions: {', '.join(VERSIONS)}"
        )
    profile = match["profile"] or ""
    if profile and assumed_profile and profile != assumed_profile:
        raise OptionsError(
            f"the file is of profile {profile[:64]!r}, the option says {assumed_profile!r}"
        )
    return FileHeader("vics", version, "vics", profile or assumed_profile)


def _to_batch(chunk: Chunk[_Media], header: FileHeader) -> RawBatch:
    """Turns records into columns."""
    records = chunk.records
    columns = [
        HashColumn(kind, values, encoding, name)
        for name, kind, encoding in _MEMBER_KINDS
        if any(values := list(map(attrgetter(name), records)))
    ]
    alternatives = _Alternatives(records, {column.kind for column in columns})
    flags = [
        FlagColumn(flag, list(map(attrgetter(name), records)), name) for name, flag in _MEMBER_FLAGS
    ]
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
        updated_at=[record.DateUpdated for record in records],
        names=_NAMES,
        rejections=chunk.rejections,
        notes=alternatives.notes,
    )


def _has_series(records: Sequence[_Media]) -> list[bool | str | None]:
    """Whether a series is named; the name itself goes no further."""
    return [_is_series(record.Series) if record.Series else None for record in records]


def _is_series(value: bool | int | str) -> bool | str | None:  # noqa: FBT001  # as the file has it
    if isinstance(value, str) and value.strip().lower() not in _SERIES_WORDS:
        return True
    return str(value)


class _Alternatives:
    """Hashes of `AlternativeHashes`, as columns where each row has at most one of a kind."""

    def __init__(self, records: Sequence[_Media], taken: Collection[HashKind]) -> None:
        self.extra: list[RawHash] = []
        self._taken = taken
        self._rows = len(records)
        self._columns: dict[HashKind, list[str | None]] = {}
        self._by_name: dict[str | None, list[str | None]] = {}
        self._notes: Counter[str] = Counter()
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

    def _read_row(self, row: int, hashes: Sequence[_AlternativeHash | None]) -> None:
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
            self._note(name)
            return
        if kind not in self._taken:
            column = self._columns.setdefault(kind, [None] * self._rows)
            self._by_name[name] = column
            if column[row] is None:
                column[row] = value
                return
        self.extra.append(RawHash(row, kind, value, Encoding.DETECT, _alternative_field(kind)))

    def _note(self, name: str | None) -> None:
        shown = name if name and _SAFE_NAME.fullmatch(name) else "without a printable name"
        note = f"hash of unknown kind left aside: {shown}"
        if note not in self._notes and len(self._notes) >= _MAX_NOTES:
            note = "hash of unknown kind left aside: further names"
        self._notes[note] += 1


def _alternative_field(kind: HashKind) -> str:
    return f"AlternativeHashes ({kind})"


FORMAT = Format("vics", "Project VIC JSON", open_reader=VicsReader)
