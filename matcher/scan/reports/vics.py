"""VICS 2.0: what matched or needs review, for tools that examine such material.

A hash set (`#Media`), one record a file content, as the schema's key is the MD5: where the same
bytes were found in several places, each is a member of `MediaFiles`. This is the one report with
digests; they are of the scanned files, and none is a list's.

- `RelativeFilePath`, `FileName`, `FilePath`, and for members of archives `ParentFileName` and
  `ParentFilePath`: where it is. `SourceID` is the place that was scanned.
- `Category`: of the strongest match that a list classifies by VICS in the file's profile, with a
  number of 0 to 255; null otherwise. It is the list's word for a known file, found by its hash, so
  `IsPrecategorized` is true with it, and `PrecategorizationSource` names the list.
- `Comments`: outcome, list, severity, kind and distance, and the object's id.
- `AlternativeHashes`: SHA-256, by the name that the project's other VICS files have for it.

A file has one profile: the one that is asked for, else the one of most of the first files found.
Of up to 50,000 found files no content stands twice; of more, some may, which is told.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING, BinaryIO, Final

import msgspec

from hashlists.formats.shared_keys import SharedKeys
from hashlists.formats.vics_context import is_written_profile, written_context
from hashlists.words import counted
from matcher.model import MEDIA_TYPES
from matcher.scan.model import FOUND
from matcher.scan.reports.addresses import moment_text, within

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from matcher.scan.model import MatchRecord, Record
    from matcher.scan.reports.addresses import Addresses

_SCHEME: Final = "vics"
#: Where nothing that was found has one.
_PROFILE: Final = "Default"
_NUMBER: Final = re.compile(r"0|[1-9][0-9]{0,2}", re.ASCII)
_MAX_CATEGORY: Final = 255
_HELD: Final = 50_000
_encode = msgspec.json.Encoder().encode


class _AlternativeHash(msgspec.Struct, gc=False):
    MD5: str
    HashName: str
    HashValue: str


class _MediaFile(msgspec.Struct, omit_defaults=True, gc=False):
    MD5: str
    MediaFileID: int
    FileName: str
    FilePath: str
    Written: str | None = None
    SourceID: str | None = None
    ParentFileName: str | None = None
    ParentFilePath: str | None = None


class _Media(msgspec.Struct, omit_defaults=True):
    """One record; members without a default are always written."""

    MD5: str
    MediaID: int
    Category: int | None
    SHA1: str | None = None
    Comments: str | None = None
    MediaSize: int | None = None
    RelativeFilePath: str | None = None
    IsPrecategorized: bool | None = None
    PrecategorizationSource: str | None = None
    MimeType: str | None = None
    AlternativeHashes: list[_AlternativeHash] | None = None
    MediaFiles: list[_MediaFile] | None = None


class VicsReport:
    """Writes VICS 2.0 (see `base.Report`).

    Args:
        stream: written to.
        addresses: of the scan.
        profile: whose categories are written; empty: of most of what is found.
        held: how many files wait, so that those of the same content join them.

    Raises:
        OptionsError: the profile is none.
    """

    def __init__(
        self, stream: BinaryIO, addresses: Addresses, *, profile: str = "", held: int = _HELD
    ) -> None:
        if profile:
            written_context(profile)
        self._stream = stream
        self._addresses = addresses
        self._profile = profile
        self._limit = held
        self._waiting = 0
        self._held: dict[str, list[Record]] = {}
        self._shared = SharedKeys()
        self._begun = False
        self._media = 0
        self._files = 0
        self._without_md5 = 0
        self._without_category = 0

    @property
    def notes(self) -> Sequence[str]:
        """What could not be written, and of how many files."""
        repeated = self._shared.repeated
        told = {
            f"{counted(self._without_md5, 'file is', 'files are')} left out: the MD5, which VICS "
            "needs, is not known": self._without_md5,
            f"{counted(self._without_category, 'record has', 'records have')} no category: the "
            f"list's is of another profile than {self._profile}, or no number of 0 to 255": (
                self._without_category
            ),
            f"{counted(repeated, 'record shares', 'records share')} an MD5 with an earlier one; "
            "readers by the schema keep one of them": repeated,
        }
        return tuple(f"VICS: {text}" for text, number in told.items() if number)

    def write(self, records: Sequence[Record]) -> None:
        """Takes those that were found, and writes once enough are held."""
        for record in records:
            if record.outcome not in FOUND:
                continue
            if not record.md5:
                self._without_md5 += 1
                continue
            self._held.setdefault(record.md5, []).append(record)
            self._waiting += 1
        if self._waiting >= self._limit:
            self._write_held()

    def finish(self) -> None:
        """Writes what is held, and the end."""
        self._write_held()
        self._stream.write(b"\n]}\n")

    def _write_held(self) -> None:
        if not self._begun:
            self._profile = self._profile or _commonest_profile(self._held.values())
            context = _encode(written_context(self._profile))
            self._stream.write(b'{"@odata.context":%b,"value":[' % context)
        lines = []
        for records in self._held.values():
            lines.append(b",\n" if self._begun else b"\n")
            lines.append(_encode(self._record(records)))
            self._begun = True
        self._begun = True
        self._shared.take(map(bytes.fromhex, self._held))
        self._stream.write(b"".join(lines))
        self._held.clear()
        self._waiting = 0

    def _record(self, records: Sequence[Record]) -> _Media:
        first = records[0]
        self._media += 1
        match, category = self._category(first)
        return _Media(
            MD5=first.md5,
            MediaID=self._media,
            Category=category,
            SHA1=first.sha1 or None,
            Comments=_comments(first),
            MediaSize=first.size,
            RelativeFilePath=within(first),
            IsPrecategorized=match is not None,
            PrecategorizationSource=match.list if match else None,
            MimeType=MEDIA_TYPES.get(first.format),
            AlternativeHashes=[_AlternativeHash(first.md5, "SHA256", first.sha256)]
            if first.sha256
            else None,
            MediaFiles=[self._file(record) for record in records],
        )

    def _file(self, record: Record) -> _MediaFile:
        self._files += 1
        member = bool(record.member)
        return _MediaFile(
            MD5=record.md5,
            MediaFileID=self._files,
            FileName=_last_part(record.member or record.key),
            FilePath=self._addresses.address(record),
            Written=moment_text(record.modified) or None,
            SourceID=self._addresses.place(record),
            ParentFileName=_last_part(record.key) if member else None,
            ParentFilePath=self._addresses.archive(record) if member else None,
        )

    def _category(self, record: Record) -> tuple[MatchRecord | None, int | None]:
        """The match that gives the category, and the category."""
        classified = [match for match in record.matches if _profile_of(match) is not None]
        for match in classified:
            assert match.classification is not None
            _, profile, code = match.classification
            if profile == self._profile and _NUMBER.fullmatch(code) and int(code) <= _MAX_CATEGORY:
                return match, int(code)
        self._without_category += bool(classified)
        return None, None


def _profile_of(match: MatchRecord) -> str | None:
    """The profile of a match's class; None where it is none of VICS."""
    scheme, profile, _ = match.classification or ("", "", "")
    return profile if scheme == _SCHEME else None


def _commonest_profile(contents: Iterable[Sequence[Record]]) -> str:
    met: Counter[str] = Counter()
    for records in contents:
        profiles = (_profile_of(match) for match in records[0].matches)
        first = next((each for each in profiles if each and is_written_profile(each)), None)
        if first is not None:
            met[first] += 1
    return min(met, key=lambda name: (-met[name], name), default=_PROFILE)


def _comments(record: Record) -> str:
    """What was found, in words, without a hash."""
    words = [f"{record.outcome}, object {record.id}"]
    if record.matches:
        match = record.matches[0]
        how = match.basis if match.distance is None else f"{match.basis} at {match.distance}"
        words.append(f"{how} ({match.kind}) in list {match.list}, severity {match.severity}")
    return "; ".join(words)


def _last_part(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path


__all__ = ["VicsReport"]
