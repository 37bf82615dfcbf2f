"""What a policy makes of single hits: evidence, severities, allow-lists, what was not hashed."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.model import (
    TEST_LIST_NAME,
    Classification,
    EntryFlag,
    Harm,
    HashKind,
    ListState,
)
from matcher.errors import InvalidRequestError
from matcher.model import (
    Basis,
    Closeness,
    Decision,
    ImageHashes,
    NotHashableReason,
    Undecodable,
    ViewHashes,
)
from matcher.policy.allow import AllowFile, AllowPair
from matcher.policy.binding import BoundPolicy, ListInfo, bind
from matcher.policy.columns import decide_columns
from matcher.policy.decide import Candidate, Judgement, decide
from matcher.policy.policy import ListRule, Policy, Thresholds, Verdicts
from matcher.policy.rules import default_policy
from matcher.policy.severity import Verdict
from tests.hits import to_columns

NOW = datetime(2026, 11, 21, tzinfo=UTC)
SHA256, CODE = b"\x01" * 32, b"\x5a" * 32
VICS_1 = Classification("vics", "US", "1")
UPRIGHT = ViewHashes("upright", 80, {HashKind.PDQ: CODE})
HASHES = ImageHashes(
    digests={HashKind.SHA256: SHA256, HashKind.MD5: b"\x02" * 16}, size=1000, views=(UPRIGHT,)
)
LIST = ListInfo("industry", Harm.CSAM, ListState.LIVE, {HashKind.PDQ: 1000})
SHADOW = ListInfo("new", Harm.CSAM, ListState.SHADOW, {})
GOOD = ListInfo("nsrl", Harm.KNOWN_GOOD, ListState.LIVE, {})
TEST = ListInfo("selftest", Harm.TEST, ListState.LIVE, {})
LISTS = (LIST, SHADOW, GOOD, TEST)


def exact(kind: HashKind = HashKind.SHA256, **changes: object) -> Candidate:
    base = Candidate("industry", Harm.CSAM, ListState.LIVE, 7, kind, "", 100, 0, VICS_1)
    return replace(base, **changes)


def near(distance: int = 12, **changes: object) -> Candidate:
    base = Candidate(
        "industry", Harm.CSAM, ListState.LIVE, 7, HashKind.PDQ, "upright", 80, distance, VICS_1
    )
    return replace(base, **changes)


def bound(policy: Policy | None = None) -> BoundPolicy:
    return bind(policy or default_policy(), LISTS)


def judge(
    *candidates: Candidate,
    policy: Policy | None = None,
    hashes: ImageHashes = HASHES,
    max_matches: int = 10,
    now: datetime = NOW,
) -> Judgement:
    """Judged both as objects and as columns, which must give the same."""
    options = {"max_matches": max_matches, "now": now}
    judgement = decide(bound(policy), hashes, candidates, **options)
    assert decide_columns(bound(policy), hashes, to_columns(candidates), **options) == judgement
    return judgement


class TestEvidence:
    @pytest.mark.parametrize("kind", [HashKind.SHA256, HashKind.SHA1])
    def test_equal_strong_digest_of_an_abuse_class_matches(self, kind: HashKind) -> None:
        judgement = judge(exact(kind))
        assert judgement.decision is Decision.MATCH
        (match,) = judgement.matches
        assert (match.basis, match.view, match.distance) == (Basis.EXACT, "", 0)
        assert (match.severity, match.closeness) == ("abuse", Closeness.EQUAL)
        assert judgement.detail == f"list industry: equal {kind.value}"

    @pytest.mark.parametrize(
        ("size", "entry_size", "decision", "says"),
        [
            (1000, 1000, Decision.MATCH, "equal md5 and size"),
            (0, 0, Decision.MATCH, "equal md5 and size"),
            (1000, 1001, Decision.REVIEW, "another size"),
            (1000, None, Decision.REVIEW, "not known"),
            (None, 1000, Decision.REVIEW, "not known"),
            (None, None, Decision.REVIEW, "not known"),
        ],
    )
    def test_md5_needs_equal_sizes(
        self, size: int | None, entry_size: int | None, decision: Decision, says: str
    ) -> None:
        judgement = judge(
            exact(HashKind.MD5, entry_size=entry_size), hashes=replace(HASHES, size=size)
        )
        assert judgement.decision is decision
        assert says in judgement.detail_for_operator

    @pytest.mark.parametrize("distance", [0, 31])
    def test_near_means_review(self, distance: int) -> None:
        judgement = judge(near(distance))
        assert judgement.decision is Decision.REVIEW
        assert judgement.matches[0].basis is Basis.NEAR
        assert judgement.matches[0].view == "upright"

    def test_nothing_beyond_the_threshold(self) -> None:
        judgement = judge(near(32), exact(distance=1))
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert judgement.matches == ()
        assert judgement.total_matches == 0
        assert judgement.detail == ""

    def test_equal_photodna_is_near_and_needs_no_pdq_quality(self) -> None:
        hit = near(0, kind=HashKind.PHOTODNA, quality=0)
        assert judge(hit).decision is Decision.REVIEW
        assert judge(hit).matches[0].basis is Basis.NEAR
        assert judge(replace(hit, distance=1)).decision is Decision.NO_KNOWN_MATCH

    def test_a_kind_without_threshold_does_not_count(self) -> None:
        policy = replace(default_policy(), thresholds=Thresholds.of({HashKind.PDQ: 31}))
        hit = near(0, kind=HashKind.PHASH)
        assert judge(hit, policy=policy).decision is Decision.NO_KNOWN_MATCH
        assert judge(hit).decision is Decision.REVIEW

    @pytest.mark.parametrize("kind", [HashKind.PDQ, HashKind.PHASH])
    def test_quality_floor_gates_every_code_of_a_view(self, kind: HashKind) -> None:
        policy = replace(default_policy(), thresholds=Thresholds.of({kind: 6}))
        assert judge(near(0, kind=kind, quality=49), policy=policy).total_matches == 0
        assert judge(near(0, kind=kind, quality=50), policy=policy).total_matches == 1

    def test_measured_distance_lets_near_decide_there_only(self) -> None:
        rule = ListRule(lists=("industry",), near_match_up_to=Thresholds.of({HashKind.PDQ: 10}))
        policy = replace(default_policy(), rules=(rule,))
        assert judge(near(10), policy=policy).decision is Decision.MATCH
        assert judge(near(11), policy=policy).decision is Decision.REVIEW
        other = near(10, list_name="another")
        assert judge(other, policy=policy).decision is Decision.REVIEW

    def test_forced_policy_never_decides_from_near_hits(self) -> None:
        rule = ListRule(lists=("industry",), near_match_up_to=Thresholds.of({HashKind.PDQ: 128}))
        forced = Policy(
            "wide", thresholds=Thresholds.of({HashKind.PDQ: 128}), rules=(rule,), force=True
        )
        judgement = judge(near(1), near(1, list_name="selftest", harm=Harm.TEST), policy=forced)
        assert judgement.decision is Decision.REVIEW
        assert "too many chance hits" in judgement.detail_for_operator
        assert judge(exact(), policy=forced).decision is Decision.MATCH


class TestSeverity:
    @pytest.mark.parametrize(
        ("classification", "decision", "severity"),
        [
            (Classification("vics", "US", "1"), Decision.MATCH, "abuse"),
            (Classification("vics", "US", "2"), Decision.REVIEW, "jurisdiction"),
            (Classification("vics", "US", "5"), Decision.REVIEW, "unmapped"),
            (Classification("vics", "UK", "1"), Decision.REVIEW, "unmapped"),
            (Classification("uk", "", "A"), Decision.MATCH, "severe"),
            (None, Decision.REVIEW, "unmapped"),
        ],
    )
    def test_class_caps_an_exact_match(
        self, classification: Classification | None, decision: Decision, severity: str
    ) -> None:
        judgement = judge(exact(classification=classification))
        assert judgement.decision is decision
        assert judgement.matches[0].severity == severity
        assert judgement.matches[0].classification == classification

    @pytest.mark.parametrize("code", ["0", "4"])
    def test_harmless_classes_do_not_count_and_are_told(self, code: str) -> None:
        judgement = judge(exact(classification=Classification("vics", "US", code)))
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert (judgement.total_matches, judgement.ignored_matches) == (0, 1)
        told = "1 match of a class that decides nothing (in industry)"
        assert told in judgement.detail_for_operator
        assert judgement.detail == ""

    def test_harmless_class_cancels_nothing(self) -> None:
        harmless = exact(classification=Classification("vics", "US", "0"), list_name="other")
        judgement = judge(harmless, exact())
        assert judgement.decision is Decision.MATCH
        assert "decides nothing (in other)" in judgement.detail_for_operator

    def test_lists_that_disagree_are_shown_beside_the_match(self) -> None:
        code_0 = Classification("vics", "US", "0")
        against = [exact(classification=code_0, list_name=name, entry_id=9) for name in "ba"]
        near_too = near(classification=code_0, list_name="a", entry_id=8)
        judgement = judge(exact(), *against, near_too)
        assert [(each.list_name, each.entry_id) for each in judgement.matches] == [("industry", 7)]
        assert judgement.total_matches == 1
        assert [(each.list_name, each.entry_id, each.severity) for each in judgement.ignored] == [
            ("a", 9, "not_abuse"),
            ("b", 9, "not_abuse"),
            ("a", 8, "not_abuse"),
        ]
        assert judgement.detail == (
            "list industry: equal sha256; held under a class that decides nothing, too (in a, b)"
        )
        few = judge(exact(), *against, near_too, max_matches=1)
        assert (len(few.ignored), few.ignored_matches) == (1, 3)

    def test_nobody_is_told_of_them_where_nothing_matches_or_their_list_is_in_shadow(self) -> None:
        code_0 = Classification("vics", "US", "0")
        alone = judge(exact(classification=code_0, list_name="other"))
        assert (alone.ignored, alone.detail) == ((), "")
        shadow = exact(classification=code_0, list_name="new", list_state=ListState.SHADOW)
        beside = judge(exact(), shadow)
        assert (beside.ignored, beside.ignored_matches) == ((), 1)
        assert beside.detail == "list industry: equal sha256"
        only_shadow = judge(replace(shadow, classification=VICS_1), replace(shadow, list_name="b"))
        assert only_shadow.ignored == ()

    def test_suspected_entries_are_for_review(self) -> None:
        judgement = judge(exact(flags=EntryFlag.SUSPECTED))
        assert judgement.decision is Decision.REVIEW
        assert "only suspects" in judgement.detail_for_operator

    @pytest.mark.parametrize("hit", [exact(), exact(HashKind.MD5), near(), exact(harm=Harm.TEST)])
    def test_no_flag_shows_in_what_any_caller_is_told(self, hit: Candidate) -> None:
        every = [EntryFlag(bits) for bits in range(sum(EntryFlag) + 1)]
        told = {judge(replace(hit, flags=flags)).detail for flags in every}
        how = "equal" if hit.kind.is_digest else "near by"
        assert told == {f"list industry: {how} {hit.kind.value}"}

    def test_baseline_flag_stands_in_for_a_missing_class(self) -> None:
        judgement = judge(exact(classification=None, flags=EntryFlag.BASELINE))
        assert judgement.decision is Decision.MATCH
        assert judgement.matches[0].severity == "severe"

    def test_rule_raises_unmapped_for_one_list(self) -> None:
        rule = ListRule(lists=("industry",), verdicts=Verdicts.of({"unmapped": Verdict.MATCH}))
        policy = replace(default_policy(), rules=(rule,))
        assert judge(exact(classification=None), policy=policy).decision is Decision.MATCH
        elsewhere = exact(classification=None, list_name="another")
        assert judge(elsewhere, policy=policy).decision is Decision.REVIEW

    def test_rule_with_views_says_nothing_of_exact_matches(self) -> None:
        rule = ListRule(views=("upright",), verdicts=Verdicts.of({"abuse": Verdict.IGNORE}))
        policy = replace(default_policy(), rules=(rule,))
        assert judge(exact(), policy=policy).decision is Decision.MATCH
        assert judge(near(), policy=policy).ignored_matches == 1
        both = judge(exact(), near(), policy=policy)
        assert (both.ignored_matches, both.ignored) == (1, ())  # no list disagrees with itself


class TestLists:
    def test_shadow_lists_count_and_decide_nothing(self) -> None:
        hit = exact(list_name="new", list_state=ListState.SHADOW)
        judgement = judge(hit, near(list_name="new", list_state=ListState.SHADOW))
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert (judgement.shadow_matches, judgement.total_matches) == (2, 0)

    def test_it_is_told_which_lists_hold_what_matches(self) -> None:
        shadow = near(list_name="new", list_state=ListState.SHADOW)
        assert judge(exact(list_name="a"), near(list_name="a"), shadow).hit_lists == {
            ("a", True),
            ("a", False),
            ("new", False),
        }
        assert judge().hit_lists == frozenset()

    def test_known_good_never_counts_nor_cancels(self) -> None:
        good = exact(list_name="nsrl", harm=Harm.KNOWN_GOOD)
        assert judge(good).decision is Decision.NO_KNOWN_MATCH
        assert judge(good, exact()) == judge(exact())

    def test_a_list_outside_the_policy_does_not_count(self) -> None:
        policy = replace(default_policy(), lists=("selftest",))
        assert judge(exact(), policy=policy).total_matches == 0

    def test_harms_narrow_the_star(self) -> None:
        policy = replace(default_policy(), harms=frozenset({Harm.NCII}))
        assert judge(exact(), policy=policy).total_matches == 0
        assert judge(exact(harm=Harm.NCII), policy=policy).total_matches == 1

    def test_the_built_in_test_list_counts_under_every_policy(self) -> None:
        policy = replace(default_policy(), lists=("industry",), harms=frozenset({Harm.NCII}))
        hit = exact(list_name=TEST_LIST_NAME, harm=Harm.TEST, classification=None)
        assert judge(hit, policy=policy).decision is Decision.MATCH
        assert judge(replace(hit, harm=Harm.CSAM), policy=policy).total_matches == 0

    @pytest.mark.parametrize("hit", [exact(HashKind.MD5), near(31)])
    def test_test_lists_decide_whatever_the_class(self, hit: Candidate) -> None:
        hit = replace(
            hit,
            list_name="selftest",
            harm=Harm.TEST,
            classification=None,
            flags=EntryFlag.SUSPECTED,
        )
        assert judge(hit).decision is Decision.MATCH


class TestAllowList:
    END = NOW + timedelta(days=1)

    def test_file_rule_takes_out_every_match_of_that_file(self) -> None:
        policy = replace(default_policy(), allow=(AllowFile(SHA256, "logo", self.END),))
        judgement = judge(exact(), near(), policy=policy)
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert judgement.suppressed_matches == 2
        assert "2 matches suppressed by the allow-list" in judgement.detail_for_operator
        assert judgement.detail == ""

    def test_file_rule_leaves_other_files_alone(self) -> None:
        policy = replace(default_policy(), allow=(AllowFile(b"\x09" * 32, "logo", self.END),))
        assert judge(exact(), policy=policy).decision is Decision.MATCH
        no_digest = replace(HASHES, digests={})
        assert judge(near(), policy=policy, hashes=no_digest).decision is Decision.REVIEW

    def test_pair_rule_takes_out_that_entry_by_that_code(self) -> None:
        rule = AllowPair(HashKind.PDQ, CODE, 7, "chance", self.END)
        policy = replace(default_policy(), allow=(rule,))
        assert judge(near(), policy=policy).suppressed_matches == 1
        assert judge(near(entry_id=8), policy=policy).decision is Decision.REVIEW
        assert judge(exact(), near(), policy=policy).decision is Decision.MATCH
        one_bit_away = replace(UPRIGHT, codes={HashKind.PDQ: b"\x5b" + CODE[1:]})
        other = replace(HASHES, views=(one_bit_away,))
        assert judge(near(), policy=policy, hashes=other).decision is Decision.REVIEW

    def test_pair_rule_looks_at_the_view_that_hit(self) -> None:
        stored = ViewHashes("stored", 80, {HashKind.PDQ: b"\x11" * 32})
        hashes = replace(HASHES, views=(UPRIGHT, stored))
        rule = AllowPair(HashKind.PDQ, CODE, 7, "chance", self.END)
        policy = replace(default_policy(), allow=(rule,))
        judgement = judge(near(), near(view="stored"), policy=policy, hashes=hashes)
        assert judgement.decision is Decision.REVIEW
        assert judgement.matches[0].view == "stored"
        assert judgement.suppressed_matches == 1

    def test_pair_rule_for_photodna(self) -> None:
        value = b"\x07" * 144
        rule = AllowPair(HashKind.PHOTODNA, value, 7, "chance", self.END)
        policy = replace(default_policy(), allow=(rule,))
        hit = near(0, kind=HashKind.PHOTODNA)
        hashes = replace(HASHES, photodna=value)
        assert judge(hit, policy=policy, hashes=hashes).suppressed_matches == 1
        assert judge(hit, policy=policy).decision is Decision.REVIEW

    def test_rules_end(self) -> None:
        rule = AllowFile(SHA256, "logo", self.END)
        renewed = replace(rule, expires_at=self.END + timedelta(days=1))
        policy = replace(default_policy(), allow=(rule,))
        before = self.END - timedelta(microseconds=1)
        assert judge(exact(), policy=policy, now=before).suppressed_matches == 1
        assert judge(exact(), policy=policy, now=self.END).decision is Decision.MATCH
        both = replace(policy, allow=(renewed, rule))
        assert judge(exact(), policy=both, now=self.END).suppressed_matches == 1

    def test_rules_hide_codes_from_repr(self) -> None:
        shown = repr(AllowFile(SHA256, "logo", NOW)) + repr(
            AllowPair(HashKind.PDQ, CODE, 7, "chance", NOW)
        )
        assert "\\x01" not in shown
        assert "ZZ" not in shown


class TestNotHashable:
    UNDECODABLE = ImageHashes(
        digests=HASHES.digests,
        size=1000,
        undecodable=Undecodable(NotHashableReason.ENCRYPTED, "the PDF is encrypted"),
    )

    def test_undecodable_without_match(self) -> None:
        judgement = judge(hashes=self.UNDECODABLE)
        assert judgement.decision is Decision.NOT_HASHABLE
        assert judgement.reason is NotHashableReason.ENCRYPTED
        assert "the PDF is encrypted" in judgement.detail

    def test_digests_decide_and_the_reason_is_still_told(self) -> None:
        judgement = judge(exact(), hashes=self.UNDECODABLE)
        assert judgement.decision is Decision.MATCH
        assert judgement.reason is NotHashableReason.ENCRYPTED
        assert judgement.detail.startswith("list industry: equal sha256; pixels not hashed")

    def test_what_does_not_count_does_not_make_it_hashable(self) -> None:
        shadow = exact(list_name="new", list_state=ListState.SHADOW)
        assert judge(shadow, hashes=self.UNDECODABLE).decision is Decision.NOT_HASHABLE

    def test_featureless_in_every_view(self) -> None:
        low = replace(UPRIGHT, quality=49)
        judgement = judge(hashes=replace(HASHES, views=(low, replace(low, view="stored"))))
        assert judgement.decision is Decision.NOT_HASHABLE
        assert judgement.reason is NotHashableReason.FEATURELESS

    def test_one_good_view_is_enough(self) -> None:
        low = replace(UPRIGHT, view="stored", quality=0)
        judgement = judge(hashes=replace(HASHES, views=(low, UPRIGHT)))
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert judgement.reason is None

    def test_lookup_of_digests_alone_is_answered(self) -> None:
        judgement = judge(hashes=replace(HASHES, views=()))
        assert judgement.decision is Decision.NO_KNOWN_MATCH
        assert judgement.reason is None


class TestOrderAndLimits:
    def test_deciding_then_grave_then_exact_then_near_first(self) -> None:
        uk_a = Classification("uk", "", "A")
        candidates = [
            near(20, entry_id=1),
            near(4, entry_id=2),
            near(4, entry_id=3, classification=uk_a),
            exact(entry_id=4, classification=None),
            exact(HashKind.SHA1, entry_id=5),
            exact(entry_id=6),
            exact(entry_id=7, classification=uk_a),
        ]
        matches = judge(*candidates).matches
        assert [m.entry_id for m in matches] == [7, 6, 5, 3, 2, 1, 4]

    def test_real_harm_goes_before_a_trial_of_equal_verdict(self) -> None:
        trial = exact(list_name="a-trial", harm=Harm.TEST, entry_id=1)
        real = exact(HashKind.SHA1, entry_id=2)
        doubtful = near(0, entry_id=3)
        judgement = judge(trial, real, doubtful)
        assert [m.entry_id for m in judgement.matches] == [2, 1, 3]
        assert judgement.detail == "list industry: equal sha1"

    def test_exact_goes_before_near_where_neither_may_decide(self) -> None:
        matches = judge(near(0, entry_id=1), exact(HashKind.MD5, entry_id=2)).matches
        assert [m.entry_id for m in matches] == [2, 1]

    def test_distance_counts_relative_to_its_threshold(self) -> None:
        policy = replace(
            default_policy(), thresholds=Thresholds.of({HashKind.PDQ: 31, HashKind.PHASH: 4})
        )
        phash = near(3, kind=HashKind.PHASH, entry_id=1)
        matches = judge(phash, near(15, entry_id=2), policy=policy).matches
        assert [m.entry_id for m in matches] == [2, 1]
        assert [m.closeness for m in matches] == [Closeness.CLOSE, Closeness.LOOSE]

    def test_an_entry_is_listed_by_its_strongest_exact_and_near_hit(self) -> None:
        judgement = judge(
            exact(HashKind.MD5), exact(), exact(HashKind.SHA1), near(9), near(3, view="stored")
        )
        assert [(m.kind, m.view) for m in judgement.matches] == [
            (HashKind.SHA256, ""),
            (HashKind.PDQ, "stored"),
        ]
        assert judgement.total_matches == 2

    def test_lists_no_more_than_asked_and_counts_all(self) -> None:
        judgement = judge(*(exact(entry_id=i) for i in range(1, 31)), max_matches=3)
        assert [m.entry_id for m in judgement.matches] == [1, 2, 3]
        assert judgement.total_matches == 30

    @pytest.mark.parametrize("wrong", [0, 101, -1])
    def test_max_matches_is_bounded(self, wrong: int) -> None:
        for judged, hits in ((decide, ()), (decide_columns, to_columns(()))):
            with pytest.raises(InvalidRequestError, match="max_matches: must be from 1 to 100"):
                judged(bound(), HASHES, hits, max_matches=wrong, now=NOW)

    def test_view_families_have_thresholds_of_their_own(self) -> None:
        rule = ListRule(views=("mirrored",), thresholds=Thresholds.of({HashKind.PDQ: 24}))
        policy = replace(default_policy(), rules=(rule,))
        assert judge(near(25, view="mirrored:flipx"), policy=policy).total_matches == 0
        assert judge(near(24, view="mirrored:flipx"), policy=policy).total_matches == 1
        assert judge(near(25), policy=policy).total_matches == 1

    def test_later_rules_go_before_earlier_ones_and_off_is_off(self) -> None:
        wide = ListRule(lists=("industry",), thresholds=Thresholds.of({HashKind.PDQ: 40}))
        off = ListRule(lists=("industry",), thresholds=Thresholds.of({HashKind.PDQ: None}))
        policy = replace(default_policy(), rules=(wide, off))
        assert judge(near(0), policy=policy).total_matches == 0
        assert judge(near(40), policy=replace(policy, rules=(off, wide))).total_matches == 1
