"""A policy: which lists, kinds, thresholds, views and severities count for a caller.

Policies are values: frozen, hashable, compared by content. Later rules go before earlier ones, and
any rule before the policy's own base. Digests are always looked up, and only equal ones count.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING

from hashlists.model import (
    CODE64_KINDS,
    CODE_KINDS,
    DIGEST_KINDS,
    TEST_LIST_NAME,
    Harm,
    HashKind,
)
from matcher.model import DEFAULT_VIEWS, DecodeRequest, ViewSelection
from matcher.policy.allow import AllowFile, AllowRule, sort_key
from matcher.policy.severity import DEFAULT_VERDICTS, SeverityTable, Verdict
from matcher.policy.views import view_names, view_selection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

#: In `Policy.lists`: every list whose harm the policy counts.
EVERY_LIST = "*"
#: Kinds that are compared by distance.
NEAR_KINDS: tuple[HashKind, ...] = (*CODE_KINDS, HashKind.PHOTODNA)
#: A list of known-good files never counts, so it is not here.
COUNTABLE_HARMS: tuple[Harm, ...] = (Harm.CSAM, Harm.NCII, Harm.TERRORISM, Harm.TEST)
#: What `Policy.version` is a digest of changes meaning with this number.
_CONTENT_FORMAT = 1
_VERSION_HEX_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Thresholds:
    """Distances by kind, bits (PhotoDNA: squared L2). None: the kind is off. Absent: not said."""

    values: tuple[tuple[HashKind, int | None], ...] = ()

    @classmethod
    def of(cls, values: Mapping[HashKind, int | None]) -> Thresholds:
        """The same, whatever order `values` are in."""
        return cls(tuple((kind, values[kind]) for kind in NEAR_KINDS if kind in values))

    def __iter__(self) -> Iterator[tuple[HashKind, int | None]]:
        return iter(self.values)

    def __contains__(self, kind: HashKind) -> bool:
        return any(each is kind for each, _ in self.values)

    def get(self, kind: HashKind) -> int | None:
        """The distance for a kind; None where it is off or not said."""
        return next((value for each, value in self.values if each is kind), None)

    def over(self, base: Thresholds) -> Thresholds:
        """These where they say something, else those of `base`; kinds that are off left out."""
        merged = dict(base.values) | dict(self.values)
        return Thresholds.of({kind: value for kind, value in merged.items() if value is not None})


#: PDQ: the threshold its authors recommend. The 64-bit kinds crowd together far more on real
#: pictures, the mean-based ones most, so they start low; they cost nothing unless a list has them.
DEFAULT_THRESHOLDS = Thresholds.of(
    {
        HashKind.PDQ: 31,
        HashKind.PHASH: 6,
        HashKind.DHASH: 6,
        HashKind.AHASH: 2,
        HashKind.WHASH: 2,
        HashKind.PHOTODNA: 0,
    }
)


@dataclass(frozen=True, slots=True)
class Verdicts:
    """What severities may decide; one that is absent is not spoken of."""

    values: tuple[tuple[str, Verdict], ...] = ()

    @classmethod
    def of(cls, values: Mapping[str, Verdict]) -> Verdicts:
        """The same, whatever order `values` are in."""
        return cls(tuple(sorted(values.items())))

    def __iter__(self) -> Iterator[tuple[str, Verdict]]:
        return iter(self.values)

    def get(self, severity: str) -> Verdict | None:
        """What a severity may decide; None where it is not spoken of."""
        return next((verdict for name, verdict in self.values if name == severity), None)

    def over(self, base: Verdicts) -> Verdicts:
        """These where they say something, else those of `base`."""
        return Verdicts.of(dict(base.values) | dict(self.values))


BASE_VERDICTS = Verdicts.of(DEFAULT_VERDICTS)
BUILT_IN_SEVERITIES = SeverityTable()


@dataclass(frozen=True, slots=True)
class ListRule:
    """What differs for some lists, or some views, from the policy's base.

    Attributes:
        lists: names; empty: every list.
        views: families of views; empty: every view, and exact matches too, which have none.
        thresholds: what counts as near there.
        near_match_up_to: distances up to which a near match may decide `MATCH` there, since the
            operator has measured how often that is wrong.
        verdicts: what severities may decide there.
    """

    lists: tuple[str, ...] = ()
    views: tuple[str, ...] = ()
    thresholds: Thresholds = Thresholds()
    near_match_up_to: Thresholds = Thresholds()
    verdicts: Verdicts = Verdicts()

    def applies(self, list_name: str, family: str) -> bool:
        """True for that list and family of views (empty: exact matches)."""
        in_lists = not self.lists or list_name in self.lists
        return in_lists and (not self.views or family in self.views)


@dataclass(frozen=True, slots=True)
class Limits:
    """What a policy says of one kind in one list and one family of views.

    Attributes:
        threshold: a hit up to this distance counts; None: none counts.
        match_up_to: a hit up to this distance may decide `MATCH`; None: near hits mean review.
    """

    threshold: int | None
    match_up_to: int | None


EXACT_LIMITS = Limits(threshold=0, match_up_to=0)


@dataclass(frozen=True, slots=True)
class Policy:
    """Which lists, kinds, thresholds, views and severities count.

    Attributes:
        name: what callers ask for it by.
        lists: names, or `"*"` for every list whose harm is in `harms`.
        harms: the kinds of harm that `"*"` stands for.
        views: in which views uploads are hashed.
        thresholds: base distances by kind; a kind without one is looked up only where a rule says.
        verdicts: base of what severities may decide.
        rules: what differs; the last one that speaks of a thing decides it.
        severities: what classifications mean.
        allow: the allow-list.
        force: accept more chance hits than allowed; near matches then only mean review.
    """

    name: str
    lists: tuple[str, ...] = (EVERY_LIST,)
    harms: frozenset[Harm] = frozenset(COUNTABLE_HARMS)
    views: ViewSelection = DEFAULT_VIEWS
    thresholds: Thresholds = DEFAULT_THRESHOLDS
    verdicts: Verdicts = BASE_VERDICTS
    rules: tuple[ListRule, ...] = ()
    severities: SeverityTable = BUILT_IN_SEVERITIES
    allow: tuple[AllowRule, ...] = ()
    force: bool = False

    @property
    def kinds(self) -> frozenset[HashKind]:
        """The kinds that are looked up: all digests, and what has a threshold anywhere."""
        near = {kind for kind in NEAR_KINDS if self.max_threshold(kind) is not None}
        return frozenset(DIGEST_KINDS) | near

    @property
    def request(self) -> DecodeRequest:
        """What the decoder has to deliver for this policy."""
        return DecodeRequest(views=self.views, kinds64=self.kinds & frozenset(CODE64_KINDS))

    @property
    def version(self) -> str:
        """16 hex digits that change with the content; the name is not part of it."""
        content = {"format": _CONTENT_FORMAT, "policy": describe(self)}
        text = json.dumps(content, sort_keys=True, default=_to_text, ensure_ascii=True)
        return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_HEX_DIGITS]

    def with_views(self, names: Sequence[str]) -> Policy:
        """The same policy over other views (`views.VIEW_NAMES`); none named: this one.

        Raises:
            PolicyError: a name is unknown.
        """
        return replace(self, views=view_selection(names)) if names else self

    def counts(self, list_name: str, harm: Harm) -> bool:
        """True when entries of that list count.

        A list of known-good files never does, and the built-in test list always does.
        """
        if harm is Harm.KNOWN_GOOD:
            return False
        if list_name == TEST_LIST_NAME and harm is Harm.TEST:
            return True
        return list_name in self.lists or (EVERY_LIST in self.lists and harm in self.harms)

    def max_threshold(self, kind: HashKind) -> int | None:
        """The widest distance at which a hit counts in any list or view; None: no lookup at all."""
        if kind.is_digest:
            return 0
        sources = (self.thresholds, *(rule.thresholds for rule in self.rules))
        return max((v for each in sources if (v := each.get(kind)) is not None), default=None)

    def limits(self, kind: HashKind, list_name: str, family: str) -> Limits:
        """What counts for one kind in one list and family of views."""
        if kind.is_digest:
            return EXACT_LIMITS
        threshold, match_up_to = self.thresholds.get(kind), None
        for rule in self.rules:
            if rule.applies(list_name, family):
                if kind in rule.thresholds:
                    threshold = rule.thresholds.get(kind)
                if kind in rule.near_match_up_to:
                    match_up_to = rule.near_match_up_to.get(kind)
        return Limits(threshold, match_up_to)

    def verdict(self, severity: str, list_name: str, family: str) -> Verdict:
        """The most that a severity may decide there; review for one that nothing speaks of."""
        verdict = self.verdicts.get(severity)
        for rule in self.rules:
            if rule.applies(list_name, family):
                said = rule.verdicts.get(severity)
                verdict = verdict if said is None else said
        return Verdict.REVIEW if verdict is None else verdict


def describe(policy: Policy) -> dict[str, object]:
    """All of a policy but its name as plain values, in one fixed form: equal content, equal form.

    The keys are those of the policy document; the tables that a document shares among its policies
    (`severity`, `severity_order`, `allow`) stand beside them.
    """
    return {
        "lists": sorted(policy.lists),
        "harms": sorted(harm.value for harm in policy.harms),
        "views": list(view_names(policy.views)),
        "force": policy.force,
        "thresholds": _thresholds(policy.thresholds),
        "severities": {name: verdict.word for name, verdict in policy.verdicts},
        "rules": [_rule(rule) for rule in policy.rules],
        **describe_shared(policy),
    }


def describe_shared(policy: Policy) -> dict[str, object]:
    """The part of `describe` that all policies of one document share."""
    return {
        "severity_order": list(policy.severities.names),
        "severity": sorted(
            (
                {"scheme": c.scheme, "profile": c.profile, "code": c.code, "severity": severity}
                for c, severity in policy.severities.rows
            ),
            key=lambda row: sorted(row.items()),
        ),
        "allow": [_allow(rule) for rule in sorted(policy.allow, key=sort_key)],
    }


def _thresholds(thresholds: Thresholds) -> dict[str, int | str]:
    return {kind.value: "off" if value is None else value for kind, value in thresholds}


def _rule(rule: ListRule) -> dict[str, object]:
    parts = {
        "lists": sorted(rule.lists),
        "views": sorted(rule.views),
        "thresholds": _thresholds(rule.thresholds),
        "near_match_up_to": _thresholds(rule.near_match_up_to),
        "severities": {name: verdict.word for name, verdict in rule.verdicts},
    }
    return {key: value for key, value in parts.items() if value}


def _allow(rule: AllowRule) -> dict[str, object]:
    base = {"reason": rule.reason, "expires": rule.expires_at}
    if isinstance(rule, AllowFile):
        return {"sha256": rule.sha256.hex(), **base}
    return {"kind": rule.kind.value, "code": rule.code.hex(), "entry": rule.entry_id, **base}


def _to_text(value: object) -> str:
    assert isinstance(value, datetime), "describe() yields plain values and times only"
    return value.isoformat()


__all__ = [
    "COUNTABLE_HARMS",
    "DEFAULT_THRESHOLDS",
    "EVERY_LIST",
    "EXACT_LIMITS",
    "NEAR_KINDS",
    "Limits",
    "ListRule",
    "Policy",
    "Thresholds",
    "Verdicts",
    "describe",
    "describe_shared",
]
