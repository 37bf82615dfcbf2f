"""Fits a policy to the lists at hand: do they exist, and how many chance hits are to be expected?

A bound policy is immutable and belongs to one revision: lists grow, so it is bound anew with each.
A policy that asks too much is refused when it is loaded with `strict`; a service that is already
running binds without it, since a list that has grown must not stop matching.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from hashlists.model import Harm, HashKind, ListState
from hashlists.words import counted
from matcher.errors import PolicyError
from matcher.policy.allow import AllowList
from matcher.policy.chance import MAX_EXPECTED_CHANCE_HITS, ChanceTerm
from matcher.policy.policy import EVERY_LIST, NEAR_KINDS, Policy
from matcher.policy.views import views_by_family

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from matcher.model import DecodeRequest


@dataclass(frozen=True, slots=True)
class ListInfo:
    """What a policy needs to know of a list.

    Attributes:
        name, harm, state: as in the catalog.
        counts: hash values by kind.
    """

    name: str
    harm: Harm
    state: ListState
    counts: Mapping[HashKind, int] = field(hash=False)


@dataclass(frozen=True)
class BoundPolicy:
    """A policy together with what it rests on.

    Attributes:
        policy: what was bound.
        lists: those that count, shadow lists included.
        expected_chance_hits: for one upload, over live lists; a lower bound (see `chance`).
        near_means_review: near matches decide no more than `REVIEW`, whatever the rules say.
        problems: what `bind` would have refused; empty when it was strict.
    """

    policy: Policy
    lists: tuple[ListInfo, ...]
    expected_chance_hits: float
    near_means_review: bool
    problems: tuple[str, ...] = ()

    @property
    def name(self) -> str:
        """The policy's name."""
        return self.policy.name

    @cached_property
    def request(self) -> DecodeRequest:
        """What the decoder has to deliver: 64-bit kinds only where a list that counts has them."""
        wanted = self.policy.request
        held = {kind for each in self.lists for kind, codes in each.counts.items() if codes}
        return replace(wanted, kinds64=wanted.kinds64 & held)

    @cached_property
    def list_names(self) -> tuple[str, ...]:
        """Of the lists that count."""
        return tuple(each.name for each in self.lists)

    @property
    def kinds(self) -> frozenset[HashKind]:
        """The kinds that are looked up."""
        return self.policy.kinds

    @cached_property
    def version(self) -> str:
        """`Policy.version`."""
        return self.policy.version

    @cached_property
    def allow(self) -> AllowList:
        """The policy's allow-list, arranged for lookup."""
        return AllowList(self.policy.allow)

    def max_threshold(self, kind: HashKind) -> int | None:
        """`Policy.max_threshold`, worked out once."""
        return self._max_thresholds.get(kind)

    @cached_property
    def _max_thresholds(self) -> Mapping[HashKind, int | None]:
        return {kind: self.policy.max_threshold(kind) for kind in HashKind}


def bind(policy: Policy, lists: Sequence[ListInfo], *, strict: bool = True) -> BoundPolicy:
    """Binds a policy to the lists of one revision.

    Args:
        policy: what to bind.
        lists: every list there is.
        strict: refuse what does not fit. Otherwise too many chance hits make near matches mean
            review, names of lists that do not exist count nothing, and `problems` says so.

    Raises:
        PolicyError: a named list does not exist or holds known-good files, or an upload is expected
            to meet more than 0.01 chance hits and the policy does not say `force`.
    """
    counted = tuple(each for each in lists if policy.counts(each.name, each.harm))
    problems = list(_list_problems(policy, lists))
    terms = [term for each in counted for term in _terms(policy, each)]
    expected = sum(term.expected_hits for term in terms)
    excessive = expected > MAX_EXPECTED_CHANCE_HITS
    if excessive and not policy.force:
        problems.append(_explain_excess(terms, expected))
    if problems and strict:
        raise PolicyError(f"policy {policy.name!r}: " + "; ".join(problems))
    return BoundPolicy(policy, counted, expected, excessive, tuple(problems))


def _list_problems(policy: Policy, lists: Sequence[ListInfo]) -> Iterator[str]:
    harms = {each.name: each.harm for each in lists}
    named = set(policy.lists) - {EVERY_LIST}
    for rule in policy.rules:
        named.update(rule.lists)
    for name in sorted(named):
        if name not in harms:
            known = ", ".join(sorted(harms)) or "none"
            yield f"no list is named {name!r} (there are: {known})"
        elif harms[name] is Harm.KNOWN_GOOD:
            yield f"list {name!r} holds known-good files, which never count"


def _terms(policy: Policy, listed: ListInfo) -> Iterator[ChanceTerm]:
    """What a live list adds; a shadow list decides nothing, so it adds nothing."""
    if listed.state is ListState.SHADOW:
        return
    for kind in NEAR_KINDS:
        codes = listed.counts.get(kind, 0)
        for family, views in views_by_family(policy.views).items():
            threshold = policy.limits(kind, listed.name, family).threshold
            if codes and threshold is not None:
                yield ChanceTerm(listed.name, kind, family, threshold, codes, views)


def _explain_excess(terms: Sequence[ChanceTerm], expected: float) -> str:
    worst = max(terms, key=lambda term: term.expected_hits)
    widest = worst.widest_allowed()
    cure = "turn it off" if widest is None else f"at most {widest} passes for it alone"
    return (
        f"an upload is expected to meet {expected:.2g} chance hits, above the limit of "
        f"{MAX_EXPECTED_CHANCE_HITS}; most come from {worst.kind.value} within {worst.threshold} "
        f"in list {worst.list_name!r} ({counted(worst.codes, 'code')}, {worst.family} views): "
        f"{cure}; or say force = true, and near matches mean review only"
    )


__all__ = ["BoundPolicy", "ListInfo", "bind"]
