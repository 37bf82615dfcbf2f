"""Whether one policy asks for no more than another: what a client's request may choose.

Both are bound to the same lists, so that what is compared is what would happen now: which lists
count, in which views, how near is near, and what that may decide. Nothing is compared that both
share as policies of one document: what classes mean, and the allow-list.
"""

from __future__ import annotations

from dataclasses import fields
from typing import TYPE_CHECKING

from matcher.model import ViewSelection
from matcher.policy.policy import NEAR_KINDS
from matcher.policy.views import views_by_family

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.policy.binding import BoundPolicy
    from matcher.policy.policy import Policy

#: Exact matches have no view.
_NO_VIEW = ""


def widening(asked: BoundPolicy, allowed: BoundPolicy) -> str:
    """In what a policy goes beyond another, in a word; empty where in nothing."""
    if not _views_within(asked.policy.views, allowed.policy.views):
        return "views"
    if not set(asked.list_names) <= set(allowed.list_names):
        return "lists"
    if allowed.near_means_review and not asked.near_means_review:
        return "near matches"
    places = [(each.name, view) for each in asked.lists for view in _views(asked.policy)]
    if not all(_near_within(asked.policy, allowed.policy, *place) for place in places):
        return "thresholds"
    if not all(_verdicts_within(asked.policy, allowed.policy, *place) for place in places):
        return "severities"
    return ""


def _views_within(asked: ViewSelection, allowed: ViewSelection) -> bool:
    return all(
        getattr(asked, each.name) <= getattr(allowed, each.name) for each in fields(ViewSelection)
    )


def _views(policy: Policy) -> Iterator[str]:
    yield _NO_VIEW
    yield from views_by_family(policy.views)


def _near_within(asked: Policy, allowed: Policy, list_name: str, view: str) -> bool:
    for kind in NEAR_KINDS:
        ours, theirs = (each.limits(kind, list_name, view) for each in (asked, allowed))
        if not _is_at_most(ours.threshold, theirs.threshold):
            return False
        if not _is_at_most(ours.match_up_to, theirs.match_up_to):
            return False
    return True


def _is_at_most(distance: int | None, most: int | None) -> bool:
    return distance is None or (most is not None and distance <= most)


def _verdicts_within(asked: Policy, allowed: Policy, list_name: str, view: str) -> bool:
    return all(
        asked.verdict(name, list_name, view) <= allowed.verdict(name, list_name, view)
        for name in _severities(asked) | _severities(allowed)
    )


def _severities(policy: Policy) -> set[str]:
    """Names that a policy may say something of; of any other both say review."""
    said = (policy.verdicts, *(rule.verdicts for rule in policy.rules))
    return {*policy.severities.names, *(name for each in said for name, _ in each)}


__all__ = ["widening"]
