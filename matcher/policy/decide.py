"""Judges the hits of one upload: which count, what each may decide, what all of them decide.

Invariants, each held by a property test: one more hit never lowers the decision; the order of hits
changes nothing; shadow and known-good lists decide nothing and cancel nothing; nothing beyond a
threshold and no code below the quality floor counts.

What a hit may decide is the least of three things: its evidence (equal SHA-256, SHA-1, or MD5 with
equal size: match; else review, unless the operator has measured better), the severity of its
entry's class, and its source's own doubt (`SUSPECTED`: review). A list of harm `test` is there to
try the whole way from upload to answer, so all its hits may decide `MATCH`.

A hash match is a lead, not proof: nothing here says what an image shows.
"""

from __future__ import annotations

import heapq
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hashlists.model import (
    CODE_KINDS,
    DIGEST_KINDS,
    Classification,
    EntryFlag,
    Harm,
    HashKind,
    ListState,
)
from matcher.errors import InvalidRequestError
from matcher.model import (
    QUALITY_FLOOR,
    Basis,
    Closeness,
    Decision,
    ImageHashes,
    Match,
    NotHashableReason,
    View,
)
from matcher.policy.severity import NO_FLAGS, Verdict

if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from matcher.policy.binding import BoundPolicy
    from matcher.policy.policy import Limits

MAX_MATCHES = 100
_KIND_ORDER = {kind: i for i, kind in enumerate((*DIGEST_KINDS, *CODE_KINDS, HashKind.PHOTODNA))}
_DECISIONS = {
    Verdict.IGNORE: Decision.NO_KNOWN_MATCH,
    Verdict.REVIEW: Decision.REVIEW,
    Verdict.MATCH: Decision.MATCH,
}


@dataclass(frozen=True, slots=True)
class Candidate:
    """A hit joined with its entry, before judgement.

    Attributes:
        list_name, harm, list_state: the entry's list.
        entry_id: the catalog's id.
        kind, view, quality: which code of the upload hit, and the PDQ quality of its view (not
            looked at for digests and PhotoDNA).
        distance: bits; PhotoDNA: squared L2; digests: 0.
        classification, flags, entry_size: the entry's; size in bytes, None where unknown.
    """

    list_name: str
    harm: Harm
    list_state: ListState
    entry_id: int
    kind: HashKind
    view: str
    quality: int
    distance: int
    classification: Classification | None = None
    flags: EntryFlag = NO_FLAGS
    entry_size: int | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy makes of one upload.

    An entry counts at most twice, by its strongest exact and its strongest near hit; so `matches`
    is not filled with one entry's many views and digests.

    Attributes:
        decision: the answer.
        reason: why pixels could not be hashed, whatever was decided from digests.
        detail: one line for a person; holds no hash and no distance.
        matches: the strongest first, at most `max_matches`.
        total_matches: how many there were.
        shadow_matches: matches in shadow lists.
        suppressed_matches: matches that the allow-list took out.
        ignored_matches: matches of entries whose severity decides nothing.
    """

    decision: Decision
    reason: NotHashableReason | None
    detail: str
    matches: tuple[Match, ...]
    total_matches: int
    shadow_matches: int
    suppressed_matches: int
    ignored_matches: int


def decide(
    policy: BoundPolicy,
    hashes: ImageHashes,
    candidates: Sequence[Candidate],
    *,
    max_matches: int,
    now: datetime,
) -> Judgement:
    """Judges one upload.

    Args:
        policy: whose rules count.
        hashes: what is known of the upload.
        candidates: hits, in any order; those that do not count for this policy are passed over.
        max_matches: how many matches to list, 1..100.
        now: aware; decides which allow-list rules are in force.

    Raises:
        InvalidRequestError: `max_matches` is out of range.
    """
    if not 1 <= max_matches <= MAX_MATCHES:
        raise InvalidRequestError(f"must be from 1 to {MAX_MATCHES}", field="max_matches")
    tally = _Tally()
    if candidates:
        judge = _Judge(policy, hashes, now)
        for candidate in candidates:
            judge.count(candidate, tally)
    reason, why_unhashed = _unhashed(hashes)
    strongest = heapq.nsmallest(max_matches, tally.best.values(), key=lambda each: each.order)
    decision = _DECISIONS[strongest[0].verdict if strongest else Verdict.IGNORE]
    if decision is Decision.NO_KNOWN_MATCH and reason is not None:
        decision = Decision.NOT_HASHABLE
    because = strongest[0].because if strongest else ""
    return Judgement(
        decision=decision,
        reason=reason,
        detail="; ".join(filter(None, (because, why_unhashed, *tally.remarks()))),
        matches=tuple(each.match for each in strongest),
        total_matches=len(tally.best),
        shadow_matches=len(tally.shadow),
        suppressed_matches=len(tally.suppressed),
        ignored_matches=len(tally.ignored),
    )


def _unhashed(hashes: ImageHashes) -> tuple[NotHashableReason | None, str]:
    """Why no pixels could be hashed; `(None, "")` where they were, or were not tried."""
    if hashes.undecodable is not None:
        return hashes.undecodable.reason, f"pixels not hashed: {hashes.undecodable.detail}"
    if hashes.views and all(view.quality < QUALITY_FLOOR for view in hashes.views):
        detail = f"pixels not hashed: PDQ quality is below {QUALITY_FLOOR} in every view"
        return NotHashableReason.FEATURELESS, detail
    return None, ""


#: One entry of one list, by one basis: what counts as one match.
_Key = tuple[str, int, Basis]


@dataclass(frozen=True, slots=True)
class _Judged:
    match: Match
    verdict: Verdict
    because: str
    order: tuple[object, ...]


@dataclass(slots=True)
class _Tally:
    best: dict[_Key, _Judged] = field(default_factory=dict)
    shadow: set[_Key] = field(default_factory=set)
    suppressed: set[_Key] = field(default_factory=set)
    ignored: set[_Key] = field(default_factory=set)

    def add(self, key: _Key, judged: _Judged) -> None:
        known = self.best.get(key)
        if known is None or judged.order < known.order:
            self.best[key] = judged

    def remarks(self) -> list[str]:
        counted = (
            (len(self.suppressed), "suppressed by the allow-list"),
            (len(self.ignored), "of a class that decides nothing"),
        )
        return [f"{n} match{'es' * (n > 1)} {what}" for n, what in counted if n]


class _Judge:
    """Judges the hits of one upload; remembers what the policy said of each list and class."""

    def __init__(self, bound: BoundPolicy, hashes: ImageHashes, now: datetime) -> None:
        self._bound = bound
        self._policy = bound.policy
        self._hashes = hashes
        self._now = now
        self._file_allowed = bound.allow.allows_file(hashes, now)
        self._limits: dict[tuple[HashKind, str, str], Limits] = {}
        self._severities: dict[tuple[Classification | None, EntryFlag], str] = {}
        self._verdicts: dict[tuple[str, str, str], Verdict] = {}

    def count(self, candidate: Candidate, tally: _Tally) -> None:
        """Puts one candidate where it belongs, or passes over it."""
        threshold = self._threshold(candidate)
        if threshold is None:
            return
        basis = Basis.EXACT if candidate.kind.is_digest else Basis.NEAR
        key = (candidate.list_name, candidate.entry_id, basis)
        judged = self._judge(candidate, basis, threshold)
        if self._allowed(candidate):
            tally.suppressed.add(key)
        elif judged.verdict is Verdict.IGNORE:
            tally.ignored.add(key)
        elif candidate.list_state is ListState.SHADOW:
            tally.shadow.add(key)
        else:
            tally.add(key, judged)

    def _threshold(self, candidate: Candidate) -> int | None:
        """The threshold that a candidate keeps; None when it does not count at all."""
        if not self._policy.counts(candidate.list_name, candidate.harm):
            return None
        if candidate.kind.is_perceptual_code and candidate.quality < QUALITY_FLOOR:
            return None
        threshold = self._limits_of(candidate).threshold
        if threshold is None or candidate.distance > threshold:
            return None
        return threshold

    def _limits_of(self, candidate: Candidate) -> Limits:
        key = (candidate.kind, candidate.list_name, View.family(candidate.view))
        limits = self._limits.get(key)
        if limits is None:
            limits = self._limits[key] = self._policy.limits(*key)
        return limits

    def _allowed(self, candidate: Candidate) -> bool:
        return self._file_allowed or self._bound.allow.allows_pair(
            self._hashes, candidate.kind, candidate.view, candidate.entry_id, self._now
        )

    def _judge(self, candidate: Candidate, basis: Basis, threshold: int) -> _Judged:
        severity = self._severity(candidate)
        evidence, because = self._evidence(candidate)
        verdict, doubt = self._class_verdict(candidate, severity, basis)
        if verdict < evidence:
            because = doubt
        verdict = min(verdict, evidence)
        exact = basis is Basis.EXACT
        match = Match(
            list_name=candidate.list_name,
            harm=candidate.harm.value,
            entry_id=candidate.entry_id,
            kind=candidate.kind,
            basis=basis,
            view="" if exact else candidate.view,
            distance=candidate.distance,
            closeness=Closeness.of(candidate.distance, threshold),
            classification=candidate.classification,
            severity=severity,
        )
        order = (
            -verdict,
            self._policy.severities.rank(severity),
            not exact,
            candidate.distance / threshold if threshold else 0.0,
            _KIND_ORDER[candidate.kind],
            candidate.list_name,
            candidate.entry_id,
            match.view,
        )
        return _Judged(match, verdict, f"list {candidate.list_name}: {because}", order)

    def _severity(self, candidate: Candidate) -> str:
        key = (candidate.classification, candidate.flags)
        severity = self._severities.get(key)
        if severity is None:
            severity = self._severities[key] = self._policy.severities.severity_of(*key)
        return severity

    def _class_verdict(
        self, candidate: Candidate, severity: str, basis: Basis
    ) -> tuple[Verdict, str]:
        """What the entry's class may decide, and what it says where that is less than a match."""
        if candidate.harm is Harm.TEST:
            return Verdict.MATCH, ""
        family = "" if basis is Basis.EXACT else View.family(candidate.view)
        key = (severity, candidate.list_name, family)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._policy.verdict(*key)
        if verdict is Verdict.MATCH and EntryFlag.SUSPECTED in candidate.flags:
            return Verdict.REVIEW, "its source only suspects the entry"
        return verdict, f"an entry of severity {severity} is for review"

    def _evidence(self, candidate: Candidate) -> tuple[Verdict, str]:
        """What the hit itself may decide, and why."""
        name = candidate.kind.value
        if candidate.kind.is_digest:
            if candidate.kind is not HashKind.MD5 or candidate.harm is Harm.TEST:
                return Verdict.MATCH, f"equal {name}"
            return _md5_evidence(self._hashes.size, candidate.entry_size)
        if self._bound.near_means_review:
            return Verdict.REVIEW, f"near by {name}; too many chance hits to decide more"
        measured = self._limits_of(candidate).match_up_to
        if candidate.harm is Harm.TEST or (measured is not None and candidate.distance <= measured):
            return Verdict.MATCH, f"near by {name}, as near as may decide"
        return Verdict.REVIEW, f"near by {name}"


def _md5_evidence(size: int | None, entry_size: int | None) -> tuple[Verdict, str]:
    """MD5 alone can be forged; with an equal size it takes far more, so only then it decides."""
    if size is None or entry_size is None:
        return Verdict.REVIEW, "equal md5, but a size is not known"
    if size != entry_size:
        return Verdict.REVIEW, "equal md5, but of another size"
    return Verdict.MATCH, "equal md5 and size"


__all__ = ["MAX_MATCHES", "Candidate", "Judgement", "decide"]
