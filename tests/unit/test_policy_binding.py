"""Chance hits, and how policies fit lists."""

from __future__ import annotations

from dataclasses import replace
from fractions import Fraction
from math import comb

import numpy as np
import pytest

from hashlists.model import Harm, HashKind, ListState
from matcher.errors import PolicyError
from matcher.model import ALL_VIEWS, DEFAULT_VIEWS
from matcher.policy.binding import ListInfo, bind
from matcher.policy.chance import MAX_EXPECTED_CHANCE_HITS, ChanceTerm, chance_of_hit
from matcher.policy.policy import ListRule, Policy, Thresholds
from matcher.policy.rules import default_policy

MILLION = 1_000_000


def listed(name: str = "a", harm: Harm = Harm.CSAM, **counts: int) -> ListInfo:
    return ListInfo(name, harm, ListState.LIVE, {HashKind(k): n for k, n in counts.items()})


class TestChance:
    @pytest.mark.parametrize("bits", [64, 256])
    @pytest.mark.parametrize("share", [0.0, 0.05, 0.12, 0.3, 0.5, 1.0])
    def test_is_the_binomial_distribution(self, bits: int, share: float) -> None:
        threshold = int(bits * share)
        ways = sum(comb(bits, distance) for distance in range(threshold + 1))
        assert chance_of_hit(bits, threshold) == pytest.approx(ways / 2**bits, rel=1e-9)

    def test_is_exact_far_below_what_floats_subtract(self) -> None:
        assert chance_of_hit(256, 0) == 2.0**-256
        assert chance_of_hit(256, 1) == float(Fraction(1 + 256, 2**256))
        assert chance_of_hit(64, 64) == 1.0
        assert chance_of_hit(64, 100) == 1.0
        assert chance_of_hit(64, 32) == pytest.approx(0.5 + comb(64, 32) / 2**65)

    def test_agrees_with_random_codes(self, rng: np.random.Generator) -> None:
        codes = rng.integers(0, 2**64, size=200_000, dtype=np.uint64)
        distances = np.bitwise_count(codes ^ np.uint64(0))
        expected = 200_000 * chance_of_hit(64, 24)
        assert abs(np.count_nonzero(distances <= 24) - expected) < 5 * expected**0.5

    def test_photodna_has_no_model(self) -> None:
        term = ChanceTerm("a", HashKind.PHOTODNA, "upright", 10**6, MILLION, 3)
        assert term.expected_hits == 0.0

    def test_widest_allowed_is_the_last_that_passes(self) -> None:
        term = ChanceTerm("a", HashKind.PHASH, "upright", 20, MILLION, 3)
        widest = term.widest_allowed()
        assert widest is not None
        assert replace(term, threshold=widest).expected_hits <= MAX_EXPECTED_CHANCE_HITS
        assert replace(term, threshold=widest + 1).expected_hits > MAX_EXPECTED_CHANCE_HITS

    def test_no_threshold_passes_for_codes_without_number(self) -> None:
        assert ChanceTerm("a", HashKind.PHASH, "upright", 0, 10**19, 1).widest_allowed() is None


class TestBind:
    def test_sums_over_lists_kinds_and_views(self) -> None:
        policy = replace(
            default_policy(), thresholds=Thresholds.of({HashKind.PDQ: 70, HashKind.PHASH: 4})
        )
        bound = bind(policy, [listed("a", pdq=10, phash=20, md5=99), listed("b", pdq=5)])
        expected = 3 * (15 * chance_of_hit(256, 70) + 20 * chance_of_hit(64, 4))
        assert bound.expected_chance_hits == pytest.approx(expected)

    def test_more_views_mean_more_chance(self) -> None:
        lists = [listed(pdq=MILLION)]
        few = bind(default_policy(), lists).expected_chance_hits
        many = bind(default_policy().with_views(("all",)), lists).expected_chance_hits
        assert many == pytest.approx(few * 28 / 3)

    def test_thresholds_of_families_and_lists_count(self) -> None:
        narrow = ListRule(
            views=("stored", "composited"), thresholds=Thresholds.of({HashKind.PDQ: 0})
        )
        off = ListRule(lists=("b",), thresholds=Thresholds.of({HashKind.PDQ: None}))
        policy = replace(default_policy(), rules=(narrow, off))
        bound = bind(policy, [listed("a", pdq=1000), listed("b", pdq=10**9)])
        expected = 1000 * (chance_of_hit(256, 31) + 2 * chance_of_hit(256, 0))
        assert bound.expected_chance_hits == pytest.approx(expected)

    def test_default_passes_at_a_hundred_million_codes_and_all_views(self) -> None:
        policy = default_policy().with_views(("all",))
        assert bind(policy, [listed(pdq=10**8)]).expected_chance_hits < 1e-15

    def test_shadow_lists_and_lists_that_do_not_count_add_nothing(self) -> None:
        policy = replace(default_policy(), thresholds=Thresholds.of({HashKind.PHASH: 32}))
        shadow = replace(listed("new", phash=MILLION), state=ListState.SHADOW)
        good = listed("nsrl", Harm.KNOWN_GOOD, phash=MILLION)
        bound = bind(policy, [shadow, good])
        assert bound.expected_chance_hits == 0.0
        assert [each.name for each in bound.lists] == ["new"]

    def test_refuses_too_many_chance_hits_and_says_what_would_pass(self) -> None:
        policy = Policy("wide", thresholds=Thresholds.of({HashKind.PHASH: 12}))
        with pytest.raises(PolicyError) as caught:
            bind(policy, [listed("a", phash=10), listed("old", phash=MILLION)])
        message = str(caught.value)
        assert message.startswith("policy 'wide': an upload is expected to meet ")
        assert "phash within 12 in list 'old' (1,000,000 codes" in message
        widest = ChanceTerm("old", HashKind.PHASH, "upright", 12, MILLION, 1).widest_allowed()
        assert f"at most {widest} passes for it alone" in message
        assert "force = true" in message

    def test_force_accepts_and_only_reviews(self) -> None:
        lists = [listed(phash=MILLION)]
        policy = Policy("wide", thresholds=Thresholds.of({HashKind.PHASH: 12}), force=True)
        bound = bind(policy, lists)
        assert bound.near_means_review
        assert bound.problems == ()
        assert bound.expected_chance_hits > MAX_EXPECTED_CHANCE_HITS

    def test_force_changes_nothing_within_the_limit(self) -> None:
        policy = replace(default_policy(), force=True)
        assert not bind(policy, [listed(pdq=MILLION)]).near_means_review

    def test_a_running_service_goes_on(self) -> None:
        policy = Policy("wide", lists=("a", "gone"), thresholds=Thresholds.of({HashKind.PHASH: 12}))
        bound = bind(policy, [listed(phash=MILLION)], strict=False)
        assert bound.near_means_review
        assert len(bound.problems) == 2
        assert [each.name for each in bound.lists] == ["a"]

    @pytest.mark.parametrize(
        "policy",
        [
            Policy("p", lists=("gone",)),
            Policy("p", rules=(ListRule(lists=("gone",), thresholds=Thresholds.of({})),)),
        ],
    )
    def test_unknown_lists_are_refused(self, policy: Policy) -> None:
        with pytest.raises(PolicyError, match=r"no list is named 'gone' \(there are: a, b\)"):
            bind(policy, [listed("b"), listed("a")])
        with pytest.raises(PolicyError, match="there are: none"):
            bind(policy, [])

    def test_known_good_lists_cannot_be_named(self) -> None:
        with pytest.raises(PolicyError, match="'nsrl' holds known-good files"):
            bind(Policy("p", lists=("nsrl",)), [listed("nsrl", Harm.KNOWN_GOOD)])

    def test_an_empty_catalog_is_no_error(self) -> None:
        bound = bind(default_policy(), [])
        assert bound.lists == ()
        assert bound.expected_chance_hits == 0.0

    def test_64_bit_kinds_are_computed_only_where_a_counted_list_has_them(self) -> None:
        lists = [
            ListInfo("a", Harm.CSAM, ListState.LIVE, {HashKind.PDQ: 5, HashKind.DHASH: 0}),
            ListInfo("b", Harm.CSAM, ListState.SHADOW, {HashKind.PHASH: 1}),
            ListInfo("good", Harm.KNOWN_GOOD, ListState.LIVE, {HashKind.AHASH: 9}),
        ]
        assert bind(default_policy(), lists).request.kinds64 == {HashKind.PHASH}
        assert bind(default_policy(), lists[:1]).request.kinds64 == frozenset()

    def test_speaks_for_its_policy(self) -> None:
        policy = default_policy().with_views(("all",))
        bound = bind(policy, [])
        assert (bound.name, bound.version) == ("default", policy.version)
        assert bound.kinds == policy.kinds
        assert bound.request.views == ALL_VIEWS != DEFAULT_VIEWS
        for kind in HashKind:
            assert bound.max_threshold(kind) == policy.max_threshold(kind)
