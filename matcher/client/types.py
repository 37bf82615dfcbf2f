"""What a client gives back, and what it takes beside bytes."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hashlists.model import Coverage, HashKind, HashList
    from matcher.errors import ServerError
    from matcher.model import (
        Decision,
        EntryStanding,
        ImageHashes,
        Match,
        MatchResult,
        Outcome,
    )


@dataclass(frozen=True, slots=True)
class ImageInfo:
    """What the server's decoder saw of a file."""

    width: int
    height: int
    format: str
    frames: int
    truncated: bool


@dataclass(frozen=True, slots=True)
class MatchAnswer:
    """A server's answer for one image or lookup.

    Attributes:
        result: the decision; `shadow_matches` is always 0, a server does not tell them.
        image: what the decoder saw; None for lookups and for what could not be decoded.
        stale: the server knows that its lists are not the newest.
        hasher_version, decoder_version: what computed the codes.
        token: the upload's hashes, sealed, where one was asked for; see `lookup_tokens`.
    """

    result: MatchResult
    image: ImageInfo | None
    stale: bool
    hasher_version: str
    decoder_version: str
    token: bytes = b""


@dataclass(frozen=True, slots=True)
class HashAnswer:
    """A server's hashes of one image."""

    hashes: ImageHashes
    image: ImageInfo | None


@dataclass(frozen=True, slots=True)
class StreamAnswer:
    """The answer for one item of a stream: an answer, or an error of its own."""

    request_id: str
    answer: MatchAnswer | None
    error: ServerError | None


@dataclass(frozen=True, slots=True)
class HashQuery:
    """Hashes of one file, computed by the caller.

    Attributes:
        hashes: raw bytes by kind.
        size: bytes of the file; an MD5 decides only with an equal size.
        quality: PDQ quality 0..100; None counts as good.
        reference: the caller's own name for the file, kept with the record of a match.
    """

    hashes: Mapping[HashKind, bytes]
    size: int | None = None
    quality: int | None = None
    reference: str = ""


@dataclass(frozen=True, slots=True)
class TokenQuery:
    """An upload of the past that is to be checked again.

    Attributes:
        request_id: unique among those of one call.
        token: as it came in `MatchAnswer.token`.
        reference: the caller's own name for the upload, kept with the record of a match.
    """

    request_id: str
    token: bytes = field(repr=False)
    reference: str = ""


@dataclass(frozen=True, slots=True)
class TokenAnswers:
    """What came of some tokens.

    Attributes:
        found: those that have something to tell: a match, or an error of the token's own.
        checked: how many were checked; of all others nothing new is known.
        revision: from which the next check has to look.
    """

    found: tuple[StreamAnswer, ...]
    checked: int
    revision: int


@dataclass(frozen=True, slots=True)
class ReportedOutcome:
    """What was reported of a match.

    Attributes:
        outcome: whether it was right.
        reason: in a person's words.
        reported_at: when.
        reporter: the client that reported it.
    """

    outcome: Outcome
    reason: str
    reported_at: datetime
    reporter: str


@dataclass(frozen=True, slots=True)
class RecordAnswer:
    """The record of a match.

    Attributes:
        match_id: as the answer told it.
        created_at, expires_at: from when to when it is kept.
        client: who asked; empty where callers are not known.
        reference: the caller's own name for the upload.
        sha256: of the upload; empty where a lookup came without.
        decision: the answer.
        revision, policy, policy_version, hasher_version, decoder_version: what it rested on.
        matches: at most 100; `distance` is None where the server does not tell.
        total_matches: how many there were.
        outcome: what was reported of it; None where nothing was.
        flagged: `REVIEW` in place of `MATCH`, as all that it rests on is entries that were hit far
            more often than usual.
    """

    match_id: str
    created_at: datetime
    expires_at: datetime
    client: str
    reference: str
    sha256: bytes = field(repr=False)
    decision: Decision
    revision: int
    policy: str
    policy_version: str
    hasher_version: str
    decoder_version: str
    matches: tuple[Match, ...]
    total_matches: int
    outcome: ReportedOutcome | None
    flagged: bool = False


@dataclass(frozen=True, slots=True)
class ReplayAnswer:
    """What a policy makes of a recorded match, as entries are now."""

    decision: Decision
    policy_version: str
    explanation: str


@dataclass(frozen=True, slots=True)
class ReplayedMatch:
    """A recorded match judged anew.

    Attributes:
        record: what it rested on.
        then: by the policy of then; None where that is not kept.
        now: by the policy of that name as it is now; None where there is none.
        standings: how the entries of its matches stand now, in their order.
        differences: between then and now, one line each.
        revision: that entries were looked up in.
    """

    record: RecordAnswer
    then: ReplayAnswer | None
    now: ReplayAnswer | None
    standings: tuple[EntryStanding, ...]
    differences: tuple[str, ...]
    revision: int


@dataclass(frozen=True, slots=True)
class UndoneMatch:
    """A match that rests on entries which are no longer what they were.

    Attributes:
        record: what it rested on.
        standings: how the entries of its matches stand now, in their order.
        nothing_left: none of them is in force and unchanged.
    """

    record: RecordAnswer
    standings: tuple[EntryStanding, ...]
    nothing_left: bool


@dataclass(frozen=True, slots=True)
class RemoteList:
    """A list as a server holds it.

    Attributes:
        hash_list: what it is.
        coverage: what share of it can match what.
        revision: the newest revision that changed it.
        created_at: when it was made.
    """

    hash_list: HashList
    coverage: Coverage
    revision: int
    created_at: datetime


@dataclass(frozen=True, slots=True)
class WholeList:
    """An imported file is the whole list: entries that it does not name are retracted.

    Refused, unless it is forced: a file that leaves out more than a fifth of the entries in force,
    one with rejected records, and one of another format than the import before.

    Attributes:
        force: retract whatever speaks against it.
        max_absent_entries: import nothing where more entries would be retracted for not being
            named, e.g. than a dry run told; None for any number.
    """

    force: bool = False
    max_absent_entries: int | None = None


@dataclass(frozen=True, slots=True)
class ImportProgress:
    """How far an import has come."""

    bytes_read: int
    records_read: int


@dataclass(frozen=True, slots=True)
class RejectedRecord:
    """A record that was not imported: where it stands, which field is at fault, and why."""

    place: str
    field: str
    reason: str


@dataclass(frozen=True, slots=True)
class ImportResult:
    """What an import did.

    Attributes:
        list_name, format: where it went and how it was read.
        revision: the revision it made; 0 where nothing had changed.
        read: records in the file.
        retracted: entries in force until now that the source withdraws.
        kept_retracted: entries that stay retracted, since an operator retracted them there.
        coverage: of the entries in this file.
        rejections: the first of them; `rejected` counts all.
        sha256: of the file, lower-case hex.
        notes: what was left aside without harm, and how often.
        absent: those of the retracted ones that the file, as a whole list, does not name.
        repeated: this import had been made before under its idempotency key.
    """

    list_name: str
    format: str
    revision: int
    read: int
    added: int
    updated: int
    retracted: int
    unchanged: int
    rejected: int
    kept_retracted: int
    seconds: float
    coverage: Coverage
    rejections: tuple[RejectedRecord, ...]
    sha256: str
    notes: Mapping[str, int]
    absent: int
    repeated: bool
