"""A request asks for no more than the policy of its client."""

from __future__ import annotations

from dataclasses import replace

import pytest

from hashlists.model import Harm, HashKind, ListState
from matcher.errors import PolicyWidenedError, UnknownPolicyError
from matcher.pipeline import Generation, MatchOptions
from matcher.policy.binding import ListInfo, bind
from matcher.policy.narrowing import widening
from matcher.policy.policy import ListRule, Policy, Thresholds, Verdicts
from matcher.policy.severity import Verdict
from matcher.policy.views import view_selection

LISTS = [
    ListInfo("a", Harm.CSAM, ListState.LIVE, {HashKind.PDQ: 10}),
    ListInfo("b", Harm.CSAM, ListState.SHADOW, {HashKind.PDQ: 10}),
    ListInfo("c", Harm.TERRORISM, ListState.LIVE, {HashKind.PDQ: 10}),
]
BASE = Policy("base", lists=("a", "b"))


def pdq(distance):
    return Thresholds.of({HashKind.PDQ: distance})


def beyond(asked, allowed=BASE):
    return widening(bind(asked, LISTS), bind(allowed, LISTS))


@pytest.mark.parametrize(
    "narrower",
    [
        BASE,
        replace(BASE, name="other"),
        replace(BASE, lists=("a",)),
        replace(BASE, views=view_selection(["upright"])),
        replace(BASE, thresholds=pdq(20)),
        replace(BASE, thresholds=pdq(None)),
        replace(BASE, thresholds=Thresholds()),
        replace(BASE, rules=(ListRule(lists=("a",), thresholds=pdq(10)),)),
        replace(BASE, rules=(ListRule(views=("upright",), thresholds=pdq(10)),)),
        replace(BASE, verdicts=Verdicts.of({"severe": Verdict.REVIEW}).over(BASE.verdicts)),
        # What is wider is of a list, or a view, that does not count.
        replace(BASE, rules=(ListRule(lists=("c",), thresholds=pdq(60)),)),
        replace(BASE, rules=(ListRule(views=("mirrored",), thresholds=pdq(60)),)),
    ],
)
def test_what_is_no_more(narrower):
    assert beyond(narrower) == ""


@pytest.mark.parametrize(
    ("wider", "in_what"),
    [
        (replace(BASE, lists=("a", "b", "c")), "lists"),
        (replace(BASE, lists=("*",)), "lists"),
        (replace(BASE, views=view_selection(["all"])), "views"),
        (replace(BASE, views=view_selection(["mirrored"])), "views"),
        (replace(BASE, thresholds=pdq(32)), "thresholds"),
        (replace(BASE, rules=(ListRule(lists=("b",), thresholds=pdq(32)),)), "thresholds"),
        (replace(BASE, rules=(ListRule(views=("stored",), thresholds=pdq(32)),)), "thresholds"),
        (replace(BASE, rules=(ListRule(near_match_up_to=pdq(0)),)), "thresholds"),
        (replace(BASE, verdicts=Verdicts.of({"jurisdiction": Verdict.MATCH})), "severities"),
        (
            replace(BASE, rules=(ListRule(verdicts=Verdicts.of({"new": Verdict.MATCH})),)),
            "severities",
        ),
    ],
)
def test_what_is_more(wider, in_what):
    assert beyond(wider) == in_what


def test_a_verdict_that_only_the_clients_policy_speaks_of():
    """Of what nothing speaks of a policy says review."""
    allowed = replace(BASE, rules=(ListRule(verdicts=Verdicts.of({"mine": Verdict.IGNORE})),))
    assert beyond(BASE, allowed) == "severities"
    assert beyond(allowed, BASE) == ""


def test_a_match_by_nearness_where_the_client_has_none():
    crowded = [replace(LISTS[0], counts={HashKind.PDQ: 10**7})]
    wide = replace(BASE, lists=("a",), thresholds=pdq(80))
    allowed = bind(replace(wide, force=True), crowded)
    asked = bind(replace(wide, thresholds=pdq(10)), crowded)
    assert allowed.near_means_review
    assert widening(asked, allowed) == "near matches"


class _Index:
    def __init__(self):
        self.lists = LISTS


@pytest.fixture
def generation():
    policies = {
        "base": BASE,
        "narrow": replace(BASE, name="narrow", lists=("a",)),
        "wide": Policy("wide"),
    }
    return Generation(_Index(), policies, default_policy="base")


def chosen(generation, policy="", views=(), within="base"):
    return generation.policy_for(MatchOptions(policy=policy, views=views, within=within)).name


def test_a_client_is_bound_by_its_policy(generation):
    assert chosen(generation) == "base"
    assert chosen(generation, within="") == "base"  # the default binds as well
    assert chosen(generation, within="narrow") == "narrow"
    assert chosen(generation, "narrow") == "narrow"
    assert chosen(generation, "base", within="wide") == "base"
    assert chosen(generation, views=("upright",)) == "base"


@pytest.mark.parametrize(
    "asked",
    [
        {"policy": "wide"},
        {"policy": "wide", "within": ""},
        {"policy": "base", "within": "narrow"},
        {"views": ("all",)},
        {"policy": "narrow", "views": ("all",)},
        {"policy": "unheard-of"},
    ],
)
def test_and_never_gets_more(generation, asked):
    for _ in range(2):  # the second time from memory
        with pytest.raises(PolicyWidenedError) as caught:
            chosen(generation, **asked)
    assert "wide" not in str(caught.value)


def test_whom_no_policy_binds_may_name_any(generation):
    assert chosen(generation, "wide", ("all",), within=None) == "wide"
    with pytest.raises(UnknownPolicyError):
        chosen(generation, "unheard-of", within=None)


def test_a_clients_policy_that_is_gone_is_told(generation):
    with pytest.raises(UnknownPolicyError, match="gone"):
        chosen(generation, within="gone")
