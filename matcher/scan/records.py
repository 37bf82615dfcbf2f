"""What is written down of an object once it was judged, and what is kept of its hashes.

A record holds no hash but the digests of what was found; hashes are kept apart, and sealed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

import msgspec

from hashlists.model import HashKind
from matcher.errors import BrokenSealError
from matcher.model import Decision, Digests, ImageHashes, NotHashableReason, Undecodable
from matcher.scan.model import FOUND, Answer, KeptHashes, MatchRecord, Outcome, Record, Way
from matcher.tokens import from_bytes, to_bytes

if TYPE_CHECKING:
    from matcher.model import Match, MatchResult
    from matcher.scan.model import Batch, FailureReason, Listed

_OUTCOMES: Final = {
    Decision.MATCH: Outcome.MATCHED,
    Decision.REVIEW: Outcome.REVIEW,
    Decision.NO_KNOWN_MATCH: Outcome.NO_KNOWN_MATCH,
    Decision.NOT_HASHABLE: Outcome.NOT_HASHABLE,
}
#: Parts an object's id from the number of a member.
_MEMBER: Final = "."


def outcome_of(result: MatchResult) -> Outcome:
    """What a decision makes of an object."""
    return _OUTCOMES[result.decision]


def record_id(batch: Batch, row: int, member_number: int = 0) -> str:
    """Of an object, or of the n-th member of an archive, from 1."""
    own = batch.object_id(row)
    return f"{own}{_MEMBER}{member_number}" if member_number else own


def object_id_of(its_record: str) -> str:
    """The id of the object that a record is of, or of a member of."""
    return its_record.partition(_MEMBER)[0]


def record_of(
    batch: Batch,
    row: int,
    answer: Answer,
    *,
    attempts: int,
    way: Way = Way.FETCHED,
    member: str = "",
    member_number: int = 0,
    listed: Listed | None = None,
) -> Record:
    """The record of an object that was judged.

    Args:
        batch: in which the object is.
        row: of the object in the batch, from 0.
        answer: what judging it gave; of one that failed, the record of that.
        attempts: how often it was fetched.
        way: how it came to its outcome.
        member: path of a member within the archive; empty for the object itself.
        member_number: of the member in the archive, from 1; 0 for the object itself.
        listed: as the store told when it was read; None for as it was listed.
    """
    if answer.result is None:
        reason, detail = answer.failed or _no_answer()
        return failed_record(
            batch,
            row,
            reason,
            detail,
            attempts=attempts,
            way=way,
            member=member,
            member_number=member_number,
            listed=listed,
        )
    read = batch.objects[row] if listed is None else listed
    return judged_record(
        record_id(batch, row, member_number),
        batch.source,
        read,
        answer,
        answer.result,
        attempts=attempts,
        way=way,
        member=member,
    )


def judged_record(
    its_id: str,
    source: int,
    listed: Listed,
    answer: Answer,
    result: MatchResult,
    *,
    attempts: int,
    way: Way,
    member: str = "",
) -> Record:
    """The record of that id; see `record_of`."""
    outcome = outcome_of(result)
    found = outcome in FOUND
    told = "" if outcome is Outcome.NO_KNOWN_MATCH else result.detail_for_operator or result.detail
    digests = answer.digests
    return Record(
        id=its_id,
        source=source,
        key=listed.key,
        outcome=outcome,
        way=way,
        member=member,
        reason="" if result.reason is None else str(result.reason),
        detail=told,
        attempts=attempts,
        size=digests.size if member else listed.size,
        modified=listed.modified,
        etag=listed.etag,
        version=listed.version,
        format=answer.format,
        match_id=result.match_id,
        matches=tuple(map(_match, result.matches)) if found else (),
        total_matches=result.total_matches,
        revision=result.revision,
        md5=digests.md5.hex() if found else "",
        sha1=digests.sha1.hex() if found else "",
        sha256=digests.sha256.hex() if found else "",
        gaps=answer.gaps,
        raw=listed.raw,
    )


def failed_record(
    batch: Batch,
    row: int,
    reason: FailureReason,
    detail: str,
    *,
    attempts: int,
    way: Way = Way.FETCHED,
    member: str = "",
    member_number: int = 0,
    listed: Listed | None = None,
) -> Record:
    """The record of an object that has no answer; arguments as of `record_of`."""
    read = batch.objects[row] if listed is None else listed
    return Record(
        id=record_id(batch, row, member_number),
        source=batch.source,
        key=read.key,
        outcome=Outcome.FAILED,
        way=way,
        member=member,
        reason=str(reason),
        detail=detail,
        attempts=attempts,
        size=None if member else read.size,
        modified=read.modified,
        etag=read.etag,
        version=read.version,
        raw=read.raw,
    )


def kept_hashes(
    batch: Batch,
    row: int,
    answer: Answer,
    *,
    now: float,
    member: str = "",
    member_number: int = 0,
    listed: Listed | None = None,
) -> KeptHashes | None:
    """What lets an object be looked up again; None where nothing is known that could be.

    Args:
        batch: in which the object is.
        row: of the object in the batch, from 0.
        answer: what judging it gave.
        now: when it was read, in seconds since 1970 UTC.
        member: path of a member within the archive; empty for the object itself.
        member_number: of the member in the archive, from 1; 0 for the object itself.
        listed: as the store told when it was read; None for as it was listed.
    """
    if answer.hashes is None:
        return None
    missing = answer.hashes.undecodable
    return KeptHashes(
        id=record_id(batch, row, member_number),
        source=batch.source,
        listed=batch.objects[row] if listed is None else listed,
        member=member,
        hashes=to_bytes(answer.hashes, sealed_at=int(now)),
        format=answer.format,
        undecodable=None if missing is None else (str(missing.reason), missing.detail),
        gaps=answer.gaps,
    )


def kept_again(kept: KeptHashes, batch: Batch, row: int) -> KeptHashes:
    """What an earlier scan has kept of an object, or a member of it, as this scan keeps it.

    Args:
        kept: of the object, or the member.
        batch: of this scan, in which the object is.
        row: of the object in the batch, from 0.
    """
    member_number = int(kept.id.partition(_MEMBER)[2] or 0)
    return msgspec.structs.replace(
        kept, id=record_id(batch, row, member_number), source=batch.source
    )


def record_of_kept(
    kept: KeptHashes, hashes: ImageHashes, result: MatchResult, *, gaps: tuple[str, ...] = ()
) -> Record:
    """The record of an object that was looked up by its kept hashes, and not fetched.

    Args:
        kept: of the object; its id becomes the record's.
        hashes: that it holds, of `opened_hashes`.
        result: what looking them up gave.
        gaps: what was not looked at, beside what was not then.
    """
    added = tuple(each for each in gaps if each not in kept.gaps)
    answer = Answer(
        digests_of(hashes), result, hashes, format=kept.format, gaps=(*kept.gaps, *added)
    )
    return judged_record(
        kept.id,
        kept.source,
        kept.listed,
        answer,
        result,
        attempts=0,
        way=Way.UNCHANGED,
        member=kept.member,
    )


def opened_hashes(kept: KeptHashes) -> tuple[float, ImageHashes]:
    """When an object was read, in seconds since 1970 UTC, and its hashes as they were then.

    Raises:
        BrokenSealError: a later build has kept them.
    """
    read_at, hashes = from_bytes(kept.hashes)
    if kept.undecodable is None:
        return read_at, hashes
    reason, detail = kept.undecodable
    try:
        missing = Undecodable(NotHashableReason(reason), detail)
    except ValueError:
        raise BrokenSealError("the hashes were kept by a later version") from None
    return read_at, ImageHashes(
        hashes.digests, hashes.size, photodna=hashes.photodna, undecodable=missing
    )


def digests_of(hashes: ImageHashes) -> Digests:
    """The digests among the hashes of an object that was read."""
    known = hashes.digests
    return Digests(
        known[HashKind.MD5], known[HashKind.SHA1], known[HashKind.SHA256], hashes.size or 0
    )


def _match(match: Match) -> MatchRecord:
    label = match.classification
    return MatchRecord(
        list=match.list_name,
        harm=match.harm,
        entry=match.entry_id,
        kind=str(match.kind),
        basis=str(match.basis),
        view=match.view,
        distance=match.distance,
        severity=match.severity,
        classification=None if label is None else (label.scheme, label.profile, label.code),
        derivation=match.derivation,
    )


def _no_answer() -> tuple[FailureReason, str]:
    raise ValueError("an answer has a result, or says why it has none")


__all__ = [
    "digests_of",
    "failed_record",
    "judged_record",
    "kept_again",
    "kept_hashes",
    "object_id_of",
    "opened_hashes",
    "outcome_of",
    "record_id",
    "record_of",
    "record_of_kept",
]
