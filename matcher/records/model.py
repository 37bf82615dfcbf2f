"""The record of one match, and its form at rest.

A record holds what an answer rested on and nothing else: no hash but the upload's SHA-256, no code,
no flag of an entry. Its form at rest is JSON, sealed by the store, and names its version.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from hashlists.model import Classification, HashKind
from matcher.errors import MatchRecordsError
from matcher.model import Basis, Closeness, Decision, Match, Outcome

if TYPE_CHECKING:
    from collections.abc import Mapping

    from matcher.model import MatchResult

#: Matches of one upload that a record holds.
MOST_MATCHES = 100
_VERSION = 1
Form = TypeVar("Form")
_MOMENT = "$datetime"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)


class RecordedEntry(msgspec.Struct, frozen=True, array_like=True):
    """An entry as it was when it was met.

    Attributes:
        list_name, harm: of its list.
        entry_id: the catalog's id.
        classification: scheme, profile and code as its source issued them; None for none.
    """

    list_name: str
    harm: str
    entry_id: int
    classification: tuple[str, str, str] | None = None

    @property
    def label(self) -> Classification | None:
        """The classification."""
        return None if self.classification is None else Classification(*self.classification)


class RecordedMatch(msgspec.Struct, frozen=True):
    """One entry that was met, and how.

    Attributes:
        entry: which, as it was.
        kind, basis, view, distance, closeness: as in `Match`.
        severity: what the policy made of its class then.
        derivation: as in `Match`.
    """

    entry: RecordedEntry
    kind: HashKind
    basis: Basis
    view: str
    distance: int
    closeness: Closeness
    severity: str
    derivation: str | None = None

    def match(self) -> Match:
        """As answers list it."""
        entry = self.entry
        return Match(
            list_name=entry.list_name,
            harm=entry.harm,
            entry_id=entry.entry_id,
            kind=self.kind,
            basis=self.basis,
            view=self.view,
            distance=self.distance,
            closeness=self.closeness,
            classification=entry.label,
            severity=self.severity,
            derivation=self.derivation,
        )


class MatchRecord(msgspec.Struct, frozen=True, omit_defaults=True):
    """What one `MATCH` or `REVIEW` rested on.

    Attributes:
        match_id: as the answer told it.
        at: when, in microseconds since 1970 UTC.
        client: who asked; empty where callers are not known.
        reference: the caller's own name for the upload.
        sha256: of the upload, 64 hex digits; empty where a lookup came without.
        size: bytes of the upload, by which an MD5 counts; None where it is not known.
        decision: the answer.
        revision, policy, policy_version, hasher_version, decoder_version: as in answers.
        matches: the strongest first, at most `MOST_MATCHES`.
        total_matches: how many there were.
        version: of this form.
        flagged: as in `MatchResult`.
    """

    match_id: str
    at: int
    client: str
    reference: str
    sha256: str
    size: int | None
    decision: Decision
    revision: int
    policy: str
    policy_version: str
    hasher_version: str
    decoder_version: str
    matches: tuple[RecordedMatch, ...]
    total_matches: int
    version: int = _VERSION
    flagged: bool = False

    def __repr__(self) -> str:
        return f"MatchRecord({self.match_id!r})"

    @property
    def moment(self) -> datetime:
        """When, in UTC."""
        return moment_of(self.at)

    def to_bytes(self) -> bytes:
        """The form at rest."""
        return _encoder.encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> MatchRecord:
        """The record of a form at rest.

        Raises:
            MatchRecordsError: it is none that this build reads.
        """
        return _decoded(_records, data)


class Reported(msgspec.Struct, frozen=True):
    """What was reported of a match.

    Attributes:
        outcome: whether it was right.
        reason: in a person's words.
        at: when, in microseconds since 1970 UTC.
        reporter: the client that reported it; empty where callers are not known.
    """

    outcome: Outcome
    reason: str
    at: int
    reporter: str

    @property
    def moment(self) -> datetime:
        """When, in UTC."""
        return moment_of(self.at)

    def to_bytes(self) -> bytes:
        """The form at rest."""
        return _encoder.encode(self)

    @staticmethod
    def from_bytes(data: bytes) -> Reported:
        """What was reported, from its form at rest.

        Raises:
            MatchRecordsError: it is none that this build reads.
        """
        return _decoded(_reports, data)


@dataclass(frozen=True, slots=True)
class Asked:
    """Who asked, and what of an upload stands in no `MatchResult`.

    Attributes:
        client, reference: as in `MatchRecord`.
        sha256: 32 bytes, or None.
        size: bytes of the upload, or None.
        hasher_version, decoder_version: of the server.
    """

    client: str
    reference: str
    sha256: bytes | None = field(repr=False)
    size: int | None
    hasher_version: str
    decoder_version: str


def record_of(result: MatchResult, asked: Asked, *, at: datetime) -> MatchRecord:
    """The record of a `MATCH` or `REVIEW`.

    Args:
        result: as the pipeline gave it.
        asked: by whom, and of what.
        at: when.
    """
    return MatchRecord(
        match_id=result.match_id,
        at=micros_of(at),
        client=asked.client,
        reference=asked.reference,
        sha256="" if asked.sha256 is None else asked.sha256.hex(),
        size=asked.size,
        decision=result.decision,
        revision=result.revision,
        policy=result.policy,
        policy_version=result.policy_version,
        hasher_version=asked.hasher_version,
        decoder_version=asked.decoder_version,
        matches=tuple(map(_recorded, result.recorded or result.matches)),
        total_matches=result.total_matches,
        flagged=result.flagged,
    )


def _recorded(match: Match) -> RecordedMatch:
    label = match.classification
    return RecordedMatch(
        entry=RecordedEntry(
            match.list_name,
            match.harm,
            match.entry_id,
            None if label is None else (label.scheme, label.profile, label.code),
        ),
        kind=match.kind,
        basis=match.basis,
        view=match.view,
        distance=match.distance or 0,
        closeness=match.closeness,
        severity=match.severity,
        derivation=match.derivation,
    )


def micros_of(moment: datetime) -> int:
    """Microseconds since 1970 UTC."""
    return (moment - _EPOCH) // _MICROSECOND


def moment_of(micros: int) -> datetime:
    """The moment, in UTC."""
    return _EPOCH + micros * _MICROSECOND


def policy_to_bytes(document: Mapping[str, Any]) -> bytes:
    """A policy document's form at rest."""
    return json.dumps(document, default=_moment_to_json).encode()


def policy_from_bytes(data: bytes) -> Mapping[str, Any]:
    """The policy document of a form at rest."""
    document: Mapping[str, Any] = json.loads(data, object_hook=_moment_from_json)
    return document


def _moment_to_json(value: object) -> dict[str, str]:
    assert isinstance(value, datetime), "policies hold plain values and times only"
    return {_MOMENT: value.isoformat()}


def _moment_from_json(found: dict[str, Any]) -> Any:
    return datetime.fromisoformat(found[_MOMENT]) if found.keys() == {_MOMENT} else found


_encoder = msgspec.json.Encoder()
_records = msgspec.json.Decoder(MatchRecord)
_reports = msgspec.json.Decoder(Reported)
entries_decoder = msgspec.json.Decoder(RecordedEntry)


def entry_to_bytes(entry: RecordedEntry) -> bytes:
    """An entry's form at rest: equal for equal entries."""
    return _encoder.encode(entry)


def _decoded(decoder: msgspec.json.Decoder[Form], data: bytes) -> Form:
    try:
        return decoder.decode(data)
    except msgspec.MsgspecError:
        raise MatchRecordsError("a record of a match is none that this build reads") from None
