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
from dataclasses import dataclass, field, replace
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
KIND_ORDER = {kind: i for i, kind in enumerate((*DIGEST_KINDS, *CODE_KINDS, HashKind.PHOTODNA))}
#: Below every distance.
NEVER = -1
#: Beyond every distance.
_ALWAYS = 2**62


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
        derivation: how the entry's code was made, as in `Match`; told on, and judges nothing.
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
    derivation: str | None = None


@dataclass(frozen=True, slots=True)
class Judgement:
    """What a policy makes of one upload.

    An entry counts at most twice, by its strongest exact and its strongest near hit; so `matches`
    is not filled with one entry's many views and digests.

    Attributes:
        decision: the answer.
        reason: why pixels could not be hashed, whatever was decided from digests.
        detail: one line for any caller: holds no hash, no distance, nothing that only the entry's
            flags or entries that are not listed would tell.
        detail_for_operator: the same line in full.
        matches: the strongest first, at most `max_matches`.
        total_matches: how many there were.
        shadow_matches: matches in shadow lists.
        suppressed_matches: matches that the allow-list took out.
        ignored_matches: matches of entries whose severity decides nothing.
        ignored: entries of those in live lists that do not count otherwise, the strongest first, at
            most `max_matches`, where any match is listed: whoever judges that must see which lists
            say otherwise. Where none is, that a list calls an upload harmless is nobody's business
            but the operator's.
        hit_lists: each list, in shadow or live, that holds any of the matches or shadow matches,
            and whether that one was exact.
        recorded: as `matches`, but up to `MAX_MATCHES`: what a record of the match holds.
    """

    decision: Decision
    reason: NotHashableReason | None
    detail: str
    detail_for_operator: str
    matches: tuple[Match, ...]
    total_matches: int
    shadow_matches: int
    suppressed_matches: int
    ignored_matches: int
    ignored: tuple[Match, ...] = ()
    hit_lists: frozenset[tuple[str, bool]] = frozenset()
    recorded: tuple[Match, ...] = ()


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
    check_max_matches(max_matches)
    judge = Judge(policy, hashes, now)
    tally = _Tally()
    for candidate in candidates:
        judge.count(candidate, tally)
    return conclude(
        judge,
        _strongest(tally.best, MAX_MATCHES),
        tally.totals(),
        ignored=_strongest(tally.against(), max_matches),
        max_matches=max_matches,
    )


def _strongest(found: _Ordered, max_matches: int) -> list[Candidate]:
    first = heapq.nsmallest(max_matches, found.values(), key=lambda each: each[0])
    return [candidate for _, candidate in first]


def check_max_matches(max_matches: int) -> None:
    """Refuses a number of matches that no answer lists.

    Raises:
        InvalidRequestError: it is out of range.
    """
    if not 1 <= max_matches <= MAX_MATCHES:
        raise InvalidRequestError(f"must be from 1 to {MAX_MATCHES}", field="max_matches")


@dataclass(frozen=True, slots=True)
class Totals:
    """How many matches there were of each fate, and in which lists; see `Judgement`.

    Attributes:
        ignored_lists: the lists of those that are ignored, since a list that calls an upload
            harmless may disagree with one that does not.
    """

    matches: int
    shadow: int
    suppressed: int
    ignored: int
    hit_lists: frozenset[tuple[str, bool]]
    ignored_lists: frozenset[str] = frozenset()

    def remarks(self) -> list[str]:
        """What became of matches that are not listed, for the operator."""
        lists = ", ".join(sorted(self.ignored_lists))
        counted = (
            (self.suppressed, "suppressed by the allow-list"),
            (self.ignored, f"of a class that decides nothing (in {lists})"),
        )
        return [f"{n} match{'es' * (n > 1)} {what}" for n, what in counted if n]


def conclude(
    judge: Judge,
    strongest: Sequence[Candidate],
    totals: Totals,
    *,
    ignored: Sequence[Candidate],
    max_matches: int,
) -> Judgement:
    """The judgement, once it is known which matches are the strongest, and the counts.

    Args:
        judge: of the upload.
        strongest: the first `MAX_MATCHES` of them.
        totals: the counts.
        ignored: matches of a class that decides nothing, to list where any match is.
        max_matches: how many of the strongest to list.
    """
    reason, why_unhashed = _unhashed(judge.hashes)
    ignored = ignored if strongest else ()
    decision, told, because = Decision.NO_KNOWN_MATCH, "", ""
    if strongest:
        decision, because = judge.explain(strongest[0])
        told = _told_to_anyone(strongest[0])
    elif reason is not None:
        decision = Decision.NOT_HASHABLE
    matches = tuple(judge.match(candidate) for candidate in strongest)
    return Judgement(
        decision=decision,
        reason=reason,
        detail=_sentence(told, why_unhashed, _told_of_ignored(ignored)),
        detail_for_operator=_sentence(because, why_unhashed, *totals.remarks()),
        matches=matches[:max_matches],
        total_matches=totals.matches,
        shadow_matches=totals.shadow,
        suppressed_matches=totals.suppressed,
        ignored_matches=totals.ignored,
        ignored=tuple(map(judge.match, ignored)),
        hit_lists=totals.hit_lists,
        recorded=matches,
    )


def _told_to_anyone(strongest: Candidate) -> str:
    """List and kind; the rest, such as its source's doubt, is for the operator alone."""
    how = "equal" if strongest.kind.is_digest else "near by"
    return f"list {strongest.list_name}: {how} {strongest.kind.value}"


def _told_of_ignored(ignored: Sequence[Candidate]) -> str:
    lists = ", ".join(dict.fromkeys(each.list_name for each in ignored))
    return f"held under a class that decides nothing, too (in {lists})" if lists else ""


def _sentence(*parts: str) -> str:
    return "; ".join(filter(None, parts))


def _unhashed(hashes: ImageHashes) -> tuple[NotHashableReason | None, str]:
    """Why no pixels could be hashed; `(None, "")` where they were, or were not tried."""
    if hashes.undecodable is not None:
        return hashes.undecodable.reason, f"pixels not hashed: {hashes.undecodable.detail}"
    if hashes.views and all(view.quality < QUALITY_FLOOR for view in hashes.views):
        detail = f"too little detail to hash: PDQ quality is below {QUALITY_FLOOR} in every view"
        return NotHashableReason.FEATURELESS, detail
    return None, ""


#: One entry of one list, exact or not: what counts as one match.
_Key = tuple[str, int, bool]
#: Where a match stands among others; the smallest first. Begins with the verdict, negated; then
#: harm comes before a trial, so that a test list never hides a real one of equal verdict.
_Order = tuple[int, bool, int, bool, float, int, str, int, str]


_Ordered = dict[_Key, tuple[_Order, Candidate]]


@dataclass(slots=True)
class _Tally:
    best: _Ordered = field(default_factory=dict)
    ignored_live: _Ordered = field(default_factory=dict)
    shadow: set[_Key] = field(default_factory=set)
    suppressed: set[_Key] = field(default_factory=set)
    ignored: set[_Key] = field(default_factory=set)

    def against(self) -> _Ordered:
        """Of those that are ignored the entries in live lists that do not count otherwise."""
        counting = {(list_name, entry_id) for list_name, entry_id, _ in self.best}
        live = self.ignored_live.items()
        return {key: found for key, found in live if key[:2] not in counting}

    def totals(self) -> Totals:
        return Totals(
            matches=len(self.best),
            shadow=len(self.shadow),
            suppressed=len(self.suppressed),
            ignored=len(self.ignored),
            hit_lists=frozenset(
                (list_name, exact) for list_name, _, exact in (*self.best, *self.shadow)
            ),
            ignored_lists=frozenset(list_name for list_name, _, _ in self.ignored),
        )


@dataclass(frozen=True, slots=True)
class Ruling:
    """What is settled of a candidate before its distance and its entry are looked at.

    Attributes:
        threshold: up to which distance it counts; `NEVER` where none does.
        decisive: up to which distance the evidence is enough for a match.
        by_size: the evidence is enough, too, where the sizes are known and equal.
        cap: the most that the entry's class may decide.
        severity_rank: of the entry's class, 0 for the gravest.
    """

    threshold: int
    decisive: int
    by_size: bool
    cap: Verdict
    severity_rank: int


class Judge:
    """Judges the hits of one upload; remembers what the policy said of each list and class."""

    def __init__(self, bound: BoundPolicy, hashes: ImageHashes, now: datetime) -> None:
        self._bound = bound
        self._policy = bound.policy
        self.hashes = hashes
        self._now = now
        self.file_allowed = bound.allow.allows_file(hashes, now)
        self._limits: dict[tuple[HashKind, str, str], Limits] = {}
        self._severities: dict[tuple[Classification | None, EntryFlag], str] = {}
        self._verdicts: dict[tuple[str, str, str], Verdict] = {}

    def count(self, candidate: Candidate, tally: _Tally) -> None:
        """Puts one candidate where it belongs, or passes over it."""
        if not self._counts(candidate):
            return
        key = (candidate.list_name, candidate.entry_id, candidate.kind.is_digest)
        verdict, _ = self._judge(candidate)
        if self._allowed(candidate):
            tally.suppressed.add(key)
        elif verdict is Verdict.IGNORE:
            tally.ignored.add(key)
            if candidate.list_state is not ListState.SHADOW:
                self._keep_strongest(tally.ignored_live, key, candidate, verdict)
        elif candidate.list_state is ListState.SHADOW:
            tally.shadow.add(key)
        else:
            self._keep_strongest(tally.best, key, candidate, verdict)

    def _keep_strongest(
        self, found: _Ordered, key: _Key, candidate: Candidate, verdict: Verdict
    ) -> None:
        order = self._order(candidate, verdict)
        known = found.get(key)
        if known is None or order < known[0]:
            found[key] = (order, candidate)

    def explain(self, candidate: Candidate) -> tuple[Decision, str]:
        """What the strongest match decides, and why, in one line."""
        verdict, because = self._judge(candidate)
        decision = Decision.MATCH if verdict is Verdict.MATCH else Decision.REVIEW
        return decision, f"list {candidate.list_name}: {because}"

    def match(self, candidate: Candidate) -> Match:
        """A candidate that counts, as answers list it."""
        exact = candidate.kind.is_digest
        return Match(
            list_name=candidate.list_name,
            harm=candidate.harm.value,
            entry_id=candidate.entry_id,
            kind=candidate.kind,
            basis=Basis.EXACT if exact else Basis.NEAR,
            view="" if exact else candidate.view,
            distance=candidate.distance,
            closeness=Closeness.of(candidate.distance, self._limits_of(candidate).threshold or 0),
            classification=candidate.classification,
            severity=self._severity(candidate),
            derivation=candidate.derivation,
        )

    def ruling(self, candidate: Candidate) -> Ruling:
        """What holds for all candidates that differ from this in distance and entry alone."""
        limits = self._limits_of(candidate)
        counts = self._counts(replace(candidate, distance=0))
        by_size = candidate.kind is HashKind.MD5 and candidate.harm is not Harm.TEST
        return Ruling(
            threshold=limits.threshold if counts and limits.threshold is not None else NEVER,
            decisive=NEVER if by_size else self._decisive_distance(candidate),
            by_size=by_size,
            cap=self._class_verdict(candidate)[0],
            severity_rank=self._policy.severities.rank(self._severity(candidate)),
        )

    @property
    def has_pairs(self) -> bool:
        """True when the allow-list names any pair."""
        return self._bound.allow.has_pairs

    def allowed_entries(self, kind: HashKind, view: str) -> frozenset[int]:
        """The entries that the allow-list pairs with the upload's code of that view."""
        return self._bound.allow.allowed_entries(self.hashes, kind, view, self._now)

    def _decisive_distance(self, candidate: Candidate) -> int:
        """Up to which distance a hit of that kind in that list may decide a match."""
        if candidate.kind.is_digest:
            return _ALWAYS
        if self._bound.near_means_review:
            return NEVER
        if candidate.harm is Harm.TEST:
            return _ALWAYS
        measured = self._limits_of(candidate).match_up_to
        return NEVER if measured is None else measured

    def _counts(self, candidate: Candidate) -> bool:
        if not self._policy.counts(candidate.list_name, candidate.harm):
            return False
        if candidate.kind.is_perceptual_code and candidate.quality < QUALITY_FLOOR:
            return False
        threshold = self._limits_of(candidate).threshold
        return threshold is not None and candidate.distance <= threshold

    def _limits_of(self, candidate: Candidate) -> Limits:
        key = (candidate.kind, candidate.list_name, View.family(candidate.view))
        limits = self._limits.get(key)
        if limits is None:
            limits = self._limits[key] = self._policy.limits(*key)
        return limits

    def _allowed(self, candidate: Candidate) -> bool:
        return self.file_allowed or self._bound.allow.allows_pair(
            self.hashes, candidate.kind, candidate.view, candidate.entry_id, self._now
        )

    def _order(self, candidate: Candidate, verdict: Verdict) -> _Order:
        threshold = self._limits_of(candidate).threshold
        return (
            -verdict,
            candidate.harm is Harm.TEST,
            self._policy.severities.rank(self._severity(candidate)),
            not candidate.kind.is_digest,
            candidate.distance / threshold if threshold else 0.0,
            KIND_ORDER[candidate.kind],
            candidate.list_name,
            candidate.entry_id,
            candidate.view,
        )

    def _judge(self, candidate: Candidate) -> tuple[Verdict, str]:
        """The most that a candidate may decide, and what says so."""
        evidence, because = self._evidence(candidate)
        verdict, doubt = self._class_verdict(candidate)
        return (verdict, doubt) if verdict < evidence else (evidence, because)

    def _severity(self, candidate: Candidate) -> str:
        key = (candidate.classification, candidate.flags)
        severity = self._severities.get(key)
        if severity is None:
            severity = self._severities[key] = self._policy.severities.severity_of(*key)
        return severity

    def _class_verdict(self, candidate: Candidate) -> tuple[Verdict, str]:
        """What the entry's class may decide, and what it says where that is less than a match."""
        if candidate.harm is Harm.TEST:
            return Verdict.MATCH, ""
        family = "" if candidate.kind.is_digest else View.family(candidate.view)
        key = (self._severity(candidate), candidate.list_name, family)
        verdict = self._verdicts.get(key)
        if verdict is None:
            verdict = self._verdicts[key] = self._policy.verdict(*key)
        if verdict is Verdict.MATCH and EntryFlag.SUSPECTED in candidate.flags:
            return Verdict.REVIEW, "its source only suspects the entry"
        return verdict, f"an entry of severity {key[0]} is for review"

    def _evidence(self, candidate: Candidate) -> tuple[Verdict, str]:
        """What the hit itself may decide, and why."""
        name = candidate.kind.value
        if candidate.kind.is_digest:
            if candidate.kind is not HashKind.MD5 or candidate.harm is Harm.TEST:
                return Verdict.MATCH, f"equal {name}"
            return _md5_evidence(self.hashes.size, candidate.entry_size)
        if self._bound.near_means_review:
            return Verdict.REVIEW, f"near by {name}; too many chance hits to decide more"
        if candidate.distance <= self._decisive_distance(candidate):
            return Verdict.MATCH, f"near by {name}, within the distance that decides"
        return Verdict.REVIEW, f"near by {name}"


def _md5_evidence(size: int | None, entry_size: int | None) -> tuple[Verdict, str]:
    """MD5 alone can be forged; with an equal size it takes far more, so only then it decides."""
    if size is None or entry_size is None:
        return Verdict.REVIEW, "equal md5, but a size is not known"
    if size != entry_size:
        return Verdict.REVIEW, "equal md5, but of another size"
    return Verdict.MATCH, "equal md5 and size"


__all__ = [
    "KIND_ORDER",
    "MAX_MATCHES",
    "NEVER",
    "Candidate",
    "Judge",
    "Judgement",
    "Ruling",
    "Totals",
    "check_max_matches",
    "conclude",
    "decide",
]
