"""The words of a scan as types: what is listed, what becomes of it, what that adds up to.

Records are what is written down of an object, and what every report is made of.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.model import Digests, ImageHashes, MatchResult


class Outcome(StrEnum):
    """What becomes of an object; each has exactly one."""

    MATCHED = "matched"
    REVIEW = "review"
    NO_KNOWN_MATCH = "no_known_match"
    NOT_HASHABLE = "not_hashable"
    FAILED = "failed"


#: Outcomes that somebody has to look at.
FOUND: Final = (Outcome.MATCHED, Outcome.REVIEW)


class FailureReason(StrEnum):
    """Why an object has no answer."""

    VANISHED = "vanished"  # it was listed, and is gone
    FORBIDDEN = "forbidden"  # this account may not read it
    THROTTLED = "throttled"  # the store asked for patience until ours was used up
    STORE_ERROR = "store_error"  # the store failed, time and again
    CUT_OFF = "cut_off"  # fewer bytes came than were told
    TIMED_OUT = "timed_out"
    UNREADABLE = "unreadable"  # of a disk: it cannot be opened or read
    ARCHIVED = "archived"  # it lies in cold storage, and must be restored first
    ARCHIVE_DAMAGED = "archive_damaged"  # what is within cannot be listed or taken out
    ARCHIVE_LIMIT = "archive_limit"  # what is within passes a limit
    SERVER = "server"  # the server that should have matched it gave no answer
    DECODERS_AWAY = "decoders_away"  # no decoder could be started


class Way(StrEnum):
    """How an object came to its outcome."""

    FETCHED = "fetched"
    REPEAT = "repeat"  # its bytes are those of another object of this scan
    UNCHANGED = "unchanged"  # an earlier scan has hashed this very version of it


class Listed(msgspec.Struct, frozen=True, array_like=True):
    r"""An object as a listing shows it.

    Attributes:
        key: its name below the source's URL, parts set apart by "/". Of a file whose name is no
            UTF-8 the bytes that are none stand as escapes, e.g. "\xff".
        size: bytes; None where the listing does not tell.
        modified: seconds since 1970, UTC; None where the listing does not tell.
        etag: tells versions of one key apart, and nothing else: it is no digest.
        version: the store's id of this version, where it keeps several; of a file when it was
            changed last, by the system's own clock.
        raw: the bytes of the name, where `key` does not tell them.
    """

    key: str
    size: int | None = None
    modified: float | None = None
    etag: str = ""
    version: str = ""
    raw: bytes = b""


@dataclass(frozen=True, slots=True)
class Page:
    """A part of a listing.

    Attributes:
        objects: in the source's order.
        cursor: from which the listing goes on behind the last of them; opaque, never empty.
        skipped: what stood there and is no object that can be scanned, by reason; e.g. links that
            leave the folder. It is counted and told, and no part of the listing.
    """

    objects: tuple[Listed, ...]
    cursor: str
    skipped: dict[str, int] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Content:
    """An object as it was read.

    Attributes:
        data: its bytes; None where it passes the limit of a file that is decoded.
        digests: of all its bytes, where `data` is None; else None, for they are taken later.
        listed: as the store told when it was read; it may be newer than the listing.
    """

    listed: Listed
    data: bytes | None = field(repr=False)
    digests: Digests | None = None


class FetchError(Exception):
    """An object could not be read this time.

    Attributes:
        reason: why.
        transient: another try may do better.
        throttled: the store asks to be asked less often.
        after_seconds: how long it asks to be left alone; 0 where it does not say.
    """

    def __init__(
        self,
        reason: FailureReason,
        detail: str,
        *,
        transient: bool = False,
        throttled: bool = False,
        after_seconds: float = 0.0,
    ) -> None:
        super().__init__(detail)
        self.reason = reason
        self.transient = transient
        self.throttled = throttled
        self.after_seconds = after_seconds


class Batch(msgspec.Struct, frozen=True, array_like=True):
    """Objects that are scanned together, and finished together.

    Attributes:
        number: counts from 1 in the order of the listing.
        source: which of the scan's URLs they are of, from 0.
        objects: in the order of the listing.
    """

    number: int
    source: int
    objects: tuple[Listed, ...]

    def object_id(self, row: int) -> str:
        """An id that tells nothing of the object; the same however often the scan is resumed."""
        return f"{self.number}-{row + 1}"


class MatchRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """A match of an object; fields as `matcher.model.Match` has them."""

    list: str
    harm: str
    entry: int
    kind: str
    basis: str
    view: str
    distance: int | None
    severity: str
    classification: tuple[str, str, str] | None = None  # scheme, profile, code
    derivation: str | None = None


class Record(msgspec.Struct, frozen=True, omit_defaults=True):
    """All that is written down of an object: one for each object of the listing.

    Attributes:
        id: opaque; unique in the scan, and the same in all its reports.
        source: which of the scan's URLs, from 0.
        key: as `Listed.key`; for a member of an archive the archive's.
        member: path within the archive; empty for an object itself.
        outcome, way: what became of it, and how.
        reason: of `NOT_HASHABLE` a `NotHashableReason`, also beside a match of digests alone; of
            `FAILED` a `FailureReason`.
        detail: one line for a person.
        attempts: how often it was fetched; 0 where it was not.
        size, modified, etag, version: as `Listed` has them, of what was read.
        format: of the picture, e.g. "jpeg".
        match_id: of `MATCHED` and `REVIEW`; drawn at random.
        matches: the strongest first.
        total_matches: how many there were.
        revision: of the lists that it was looked up in; 0 where it was not.
        md5, sha1, sha256: hex, of `MATCHED` and `REVIEW` alone, for VICS. No other report has them.
        gaps: what was not looked at: `truncated`, `frames`, `views_left_out`.
    """

    id: str
    source: int
    key: str
    outcome: Outcome
    way: Way = Way.FETCHED
    member: str = ""
    reason: str = ""
    detail: str = ""
    attempts: int = 0
    size: int | None = None
    modified: float | None = None
    etag: str = ""
    version: str = ""
    format: str = ""
    match_id: str = ""
    matches: tuple[MatchRecord, ...] = ()
    total_matches: int = 0
    revision: int = 0
    md5: str = ""
    sha1: str = ""
    sha256: str = ""
    gaps: tuple[str, ...] = ()
    raw: bytes = b""


class KeptHashes(msgspec.Struct, frozen=True, array_like=True):
    """What lets an object be looked up again without being fetched; only ever stored sealed.

    Attributes:
        id: of its record.
        hashes: as `matcher.tokens.to_bytes` packs them.
        undecodable: a `NotHashableReason` and its detail, where there are no views.
    """

    id: str
    source: int
    listed: Listed
    member: str
    hashes: bytes
    format: str = ""
    undecodable: tuple[str, str] | None = None
    gaps: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class BatchResult:
    """What became of a batch.

    Attributes:
        records: one for each object of the batch, in its order, each followed by those of its
            members where it is an archive that was opened.
        kept: for each record that has hashes; empty where none are kept.
        fetched_bytes: that were read, but for tries that broke off.
        seconds: from when its first object was begun until its last one was done.
    """

    number: int
    records: tuple[Record, ...]
    kept: tuple[KeptHashes, ...] = ()
    fetched_bytes: int = 0
    seconds: float = 0.0

    def of_objects(self) -> Iterator[Record]:
        """The records of objects of the listing, members of archives left out."""
        return (each for each in self.records if not each.member)


@dataclass(frozen=True, slots=True)
class Answer:
    """What judging an object's bytes gives.

    Attributes:
        result: None where it `failed`.
        hashes: None where a server has hashed it.
        failed: why there is no result.
    """

    digests: Digests
    result: MatchResult | None
    hashes: ImageHashes | None = None
    format: str = ""
    gaps: tuple[str, ...] = ()
    failed: tuple[FailureReason, str] | None = None


__all__ = [
    "FOUND",
    "Answer",
    "Batch",
    "BatchResult",
    "Content",
    "FailureReason",
    "FetchError",
    "KeptHashes",
    "Listed",
    "MatchRecord",
    "Outcome",
    "Page",
    "Record",
    "Way",
]
