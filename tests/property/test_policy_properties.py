"""What must hold for every policy and every set of hits."""

from __future__ import annotations

import random
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hashlists.model import (
    CODE_KINDS,
    Classification,
    EntryFlag,
    Harm,
    HashKind,
    ListState,
)
from matcher.model import (
    QUALITY_FLOOR,
    Basis,
    Decision,
    ImageHashes,
    NotHashableReason,
    Undecodable,
    ViewHashes,
)
from matcher.policy.allow import AllowFile, AllowPair
from matcher.policy.binding import BoundPolicy, bind
from matcher.policy.columns import decide_columns
from matcher.policy.decide import Candidate, Judgement, decide
from matcher.policy.policy import (
    COUNTABLE_HARMS,
    NEAR_KINDS,
    ListRule,
    Policy,
    Thresholds,
    Verdicts,
)
from matcher.policy.rules import policies_from_dict, policies_to_dict
from matcher.policy.severity import BUILT_IN_ROWS, NOT_ABUSE, UNMAPPED, SeverityTable, Verdict
from matcher.policy.views import VIEW_FAMILIES, VIEW_NAMES, view_selection
from tests.hits import to_columns

NOW = datetime(2026, 11, 21, tzinfo=UTC)
STRENGTH = {
    Decision.NOT_HASHABLE: 0,
    Decision.NO_KNOWN_MATCH: 0,
    Decision.REVIEW: 1,
    Decision.MATCH: 2,
}
LISTS = {
    "alpha": (Harm.CSAM, ListState.LIVE),
    "beta": (Harm.NCII, ListState.LIVE),
    "gamma": (Harm.CSAM, ListState.SHADOW),
    "good": (Harm.KNOWN_GOOD, ListState.LIVE),
    "trial": (Harm.TEST, ListState.LIVE),
}
COUNTABLE = ("alpha", "beta", "gamma", "trial")
VIEWS = ("upright", "stored", "mirrored:flipx", "frame:3")
DERIVATIONS = ("", None, "crop:0.02", "file")
CLASSES = (None, Classification("x", "", "9"), *BUILT_IN_ROWS)
SEVERITIES = SeverityTable().names
SHA256 = b"\x01" * 32

thresholds = st.dictionaries(
    st.sampled_from(NEAR_KINDS), st.none() | st.integers(0, 32), max_size=4
).map(Thresholds.of)
base_thresholds = st.dictionaries(st.sampled_from(NEAR_KINDS), st.integers(0, 32), max_size=4).map(
    Thresholds.of
)


def _verdict(severity: str) -> st.SearchStrategy[tuple[str, Verdict]]:
    low = Verdict.REVIEW if severity == UNMAPPED else Verdict.IGNORE
    high = Verdict.REVIEW if severity == NOT_ABUSE else Verdict.MATCH
    return st.tuples(st.just(severity), st.sampled_from([v for v in Verdict if low <= v <= high]))


some_verdicts = st.lists(st.sampled_from(SEVERITIES).flatmap(_verdict), max_size=3).map(
    lambda pairs: Verdicts.of(dict(pairs))
)
sorted_subset = lambda names: st.sets(st.sampled_from(names), max_size=3).map(  # noqa: E731
    lambda chosen: tuple(sorted(chosen))
)
rules = st.builds(
    ListRule,
    lists=sorted_subset(COUNTABLE),
    views=sorted_subset(VIEW_FAMILIES),
    thresholds=thresholds,
    near_match_up_to=st.just(Thresholds()),
    verdicts=some_verdicts,
)
moments = st.integers(-3, 3).map(lambda days: NOW + timedelta(days=days))
allow_rules = st.one_of(
    st.builds(AllowFile, sha256=st.just(SHA256), reason=st.just("r"), expires_at=moments),
    st.builds(
        AllowPair,
        kind=st.just(HashKind.PDQ),
        code=st.sampled_from([b"\x00" * 32, b"\x01" * 32]),
        entry_id=st.integers(1, 4),
        reason=st.just("r"),
        expires_at=moments,
    ),
)
policies = st.builds(
    Policy,
    name=st.just("p"),
    lists=st.sampled_from([("*",), ("alpha",), ("*", "beta")]),
    harms=st.sets(st.sampled_from(COUNTABLE_HARMS), min_size=1).map(frozenset),
    views=st.lists(st.sampled_from(VIEW_NAMES), min_size=1, max_size=3).map(view_selection),
    thresholds=base_thresholds,
    verdicts=some_verdicts.map(lambda said: said.over(Policy("p").verdicts)),
    rules=st.lists(rules, max_size=3).map(
        lambda made: tuple(r for r in made if r.thresholds.values or r.verdicts.values)
    ),
    force=st.just(True),
)


@st.composite
def candidates(draw: st.DrawFn) -> Candidate:
    """A hit. What belongs to the entry follows from its list and id, as it does in an index."""
    name = draw(st.sampled_from(sorted(LISTS)))
    harm, state = LISTS[name]
    entry = draw(st.integers(1, 4))
    seed = entry + 7 * sorted(LISTS).index(name)
    kind = draw(st.sampled_from(list(HashKind)))
    view = "" if kind.is_digest else draw(st.sampled_from(VIEWS))
    distance = 0 if kind.is_digest else draw(st.integers(0, 40))
    return Candidate(
        list_name=name,
        harm=harm,
        list_state=state,
        entry_id=entry,
        kind=kind,
        view=view,
        quality=QUALITIES[view] if view else 0,
        distance=distance,
        classification=CLASSES[seed % len(CLASSES)],
        flags=EntryFlag.SUSPECTED if seed % 5 == 0 else EntryFlag(0),
        entry_size=(None, 1000, 999)[seed % 3],
        derivation=DERIVATIONS[(seed + distance) % 4],
    )


QUALITIES = {"upright": 100, "stored": 50, "mirrored:flipx": 49, "frame:3": 70}
HASHES = ImageHashes(
    digests={HashKind.SHA256: SHA256},
    size=1000,
    views=tuple(
        ViewHashes(view, QUALITIES[view], {HashKind.PDQ: bytes([i % 2]) * 32})
        for i, view in enumerate(VIEWS)
    ),
)
hit_lists = st.lists(candidates(), max_size=12)


def judge(policy: Policy, hits: list[Candidate], max_matches: int = 100) -> Judgement:
    return decide(bind(policy, [], strict=False), HASHES, hits, max_matches=max_matches, now=NOW)


@given(policies, hit_lists, candidates())
def test_one_more_hit_never_lowers_the_decision(
    policy: Policy, hits: list[Candidate], more: Candidate
) -> None:
    before, after = judge(policy, hits), judge(policy, [*hits, more])
    assert STRENGTH[after.decision] >= STRENGTH[before.decision]
    assert after.total_matches >= before.total_matches


@given(policies, hit_lists, st.lists(allow_rules, max_size=3), st.randoms(use_true_random=False))
def test_order_of_hits_changes_nothing(
    policy: Policy, hits: list[Candidate], allow: list[Any], shuffle: Any
) -> None:
    policy = replace(policy, allow=tuple(allow))
    shuffled = list(hits)
    shuffle.shuffle(shuffled)
    assert judge(policy, shuffled) == judge(policy, hits)


measured = st.dictionaries(st.sampled_from(NEAR_KINDS), st.none() | st.integers(0, 32), max_size=2)


@st.composite
def bound_policies(draw: st.DrawFn) -> BoundPolicy:
    rule = ListRule(lists=("alpha", "trial"), near_match_up_to=draw(measured.map(Thresholds.of)))
    policy = draw(policies)
    allow = tuple(draw(st.lists(allow_rules, max_size=3)))
    bound = bind(replace(policy, allow=allow, rules=(*policy.rules, rule)), [], strict=False)
    return replace(bound, near_means_review=draw(st.booleans()))


@given(
    bound_policies(),
    st.lists(candidates(), max_size=60),
    st.integers(1, 100),
    st.sampled_from([None, 999, 1000]),
    st.integers(0, 2**50),
)
def test_hits_as_columns_are_judged_as_objects_are(
    bound: BoundPolicy, hits: list[Candidate], at_most: int, size: int | None, offset: int
) -> None:
    hashes = replace(HASHES, size=size)
    hits = [replace(h, entry_id=h.entry_id + offset * (h.entry_id % 2)) for h in hits]
    expected = decide(bound, hashes, hits, max_matches=at_most, now=NOW)
    found = decide_columns(bound, hashes, to_columns(hits), max_matches=at_most, now=NOW)
    assert found == expected


@given(policies, st.integers(0, 2**32), st.integers(1, 100))
def test_many_hits_as_columns_are_judged_as_objects_are(
    policy: Policy, seed: int, at_most: int
) -> None:
    draw = random.Random(seed)
    seeds = [draw.randrange(10**9) for _ in range(400)]
    hits = [
        Candidate(
            *("alpha", Harm.CSAM, ListState.LIVE) if one % 3 else ("gamma", *LISTS["gamma"]),
            entry_id=one % 211 + 1,
            kind=HashKind.PDQ,
            view=VIEWS[one % 2],
            quality=90,
            distance=one % 37,
            classification=CLASSES[one % 211 % len(CLASSES)],
            derivation=DERIVATIONS[(one % 211 + one % 37) % 4],
        )
        for one in seeds
    ]
    bound = bind(policy, [], strict=False)
    expected = decide(bound, HASHES, hits, max_matches=at_most, now=NOW)
    assert decide_columns(bound, HASHES, to_columns(hits), max_matches=at_most, now=NOW) == expected


@given(policies, hit_lists)
def test_shadow_and_known_good_lists_never_bear_on_the_answer(
    policy: Policy, hits: list[Candidate]
) -> None:
    deciding = [each for each in hits if each.list_name not in {"gamma", "good"}]
    with_all, without = judge(policy, hits), judge(policy, deciding)
    assert with_all.decision is without.decision
    assert with_all.matches == without.matches
    assert without.shadow_matches == 0
    assert not {"gamma", "good"} & {match.list_name for match in with_all.matches}


@given(policies, hit_lists)
def test_nothing_counts_beyond_threshold_or_below_quality(
    policy: Policy, hits: list[Candidate]
) -> None:
    for match in judge(policy, hits).matches:
        family = match.view.partition(":")[0]
        threshold = policy.limits(match.kind, match.list_name, family).threshold
        assert threshold is not None
        assert match.distance is not None
        assert match.distance <= threshold <= policy.max_threshold(match.kind)
        if match.kind in CODE_KINDS:
            assert QUALITIES[match.view] >= QUALITY_FLOOR
        assert (match.basis is Basis.EXACT) == match.kind.is_digest


@given(policies, hit_lists)
def test_near_hits_alone_only_ask_for_review_unless_in_test_lists(
    policy: Policy, hits: list[Candidate]
) -> None:
    near = [each for each in hits if not each.kind.is_digest and each.harm is not Harm.TEST]
    assert judge(policy, near).decision is not Decision.MATCH


@given(policies, hit_lists, st.integers(1, 100))
def test_listing_fewer_changes_the_list_alone(
    policy: Policy, hits: list[Candidate], at_most: int
) -> None:
    full, short = judge(policy, hits), judge(policy, hits, at_most)
    assert short.matches == full.matches[:at_most]
    assert replace(short, matches=()) == replace(full, matches=())
    assert full.total_matches == len(full.matches)


@given(policies, hit_lists, st.lists(allow_rules, min_size=1, max_size=3))
def test_the_allow_list_only_takes_away_and_spares_other_files(
    policy: Policy, hits: list[Candidate], allow: list[Any]
) -> None:
    pairs = tuple(each for each in allow if isinstance(each, AllowPair))
    plain = judge(policy, hits)
    allowed = judge(replace(policy, allow=tuple(allow)), hits)
    assert STRENGTH[allowed.decision] <= STRENGTH[plain.decision]
    assert allowed.total_matches <= plain.total_matches
    exact = [match for match in plain.matches if match.basis is Basis.EXACT]
    with_pairs = judge(replace(policy, allow=pairs), hits)
    assert [match for match in with_pairs.matches if match.basis is Basis.EXACT] == exact
    expired = tuple(replace(each, expires_at=NOW) for each in allow)
    assert judge(replace(policy, allow=expired), hits) == plain


@given(policies, hit_lists, st.sampled_from(NotHashableReason))
def test_what_could_not_be_hashed_is_never_no_match(
    policy: Policy, hits: list[Candidate], reason: NotHashableReason
) -> None:
    broken = ImageHashes(HASHES.digests, 1000, undecodable=Undecodable(reason, "why"))
    bound = bind(policy, [], strict=False)
    judgement = decide(bound, broken, hits, max_matches=10, now=NOW)
    assert judgement.decision is not Decision.NO_KNOWN_MATCH
    assert judgement.reason is reason


@given(policies, st.lists(allow_rules, max_size=3))
def test_documents_read_as_they_were_written(policy: Policy, allow: list[Any]) -> None:
    built_in = policies_from_dict({}, origin="x")["default"]
    normal = policies_from_dict(
        policies_to_dict({"p": replace(policy, allow=tuple(allow))}), origin="x"
    )
    again = policies_from_dict(policies_to_dict(normal), origin="x")
    assert dict(again) == dict(normal)
    assert normal["p"].version == replace(policy, allow=tuple(allow)).version
    assert replace(normal["p"], allow=()) == replace(policy, lists=tuple(sorted(policy.lists)))
    assert normal["default"].rules == built_in.rules


@given(policies, policies)
def test_version_differs_exactly_where_content_does(one: Policy, other: Policy) -> None:
    one = replace(one, lists=tuple(sorted(one.lists)))
    other = replace(other, lists=tuple(sorted(other.lists)))
    assert (one.version == other.version) == (one == other)
    assert replace(one, name="another").version == one.version
    assert replace(one, force=not one.force).version != one.version
