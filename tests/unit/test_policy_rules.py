"""Reading and writing policy documents, and what their errors say."""

from __future__ import annotations

import re
import tomllib
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

import pytest

from hashlists.model import CODE64_KINDS, Classification, Harm, HashKind
from matcher.errors import PolicyError
from matcher.model import ALL_VIEWS, DEFAULT_VIEWS, ViewSelection
from matcher.policy.allow import AllowFile, AllowPair
from matcher.policy.rules import (
    Policy,
    default_policy,
    policies_from_dict,
    policies_to_dict,
    view_selection,
)
from matcher.policy.severity import Verdict
from matcher.policy.views import VIEW_NAMES, view_names, views_by_family

DOCS = Path(__file__).parents[2] / "docs" / "policy.md"


def read(text: str) -> dict[str, Policy]:
    return dict(policies_from_dict(tomllib.loads(text), origin="policies.toml"))


def error_of(text: str) -> str:
    with pytest.raises(PolicyError) as caught:
        read(text)
    return str(caught.value)


@pytest.fixture(scope="module")
def example() -> dict[str, Policy]:
    return read(re.search(r"```toml\n(.*?)```", DOCS.read_text(encoding="utf-8"), re.DOTALL)[1])


class TestDocumentedExample:
    def test_names(self, example: dict[str, Policy]) -> None:
        assert sorted(example) == ["default", "police", "thorough"]
        assert len({policy.version for policy in example.values()}) == 3

    def test_default_keeps_what_it_does_not_say(self, example: dict[str, Policy]) -> None:
        policy = example["default"]
        assert policy.views == ViewSelection(trimmed=True)
        assert policy.max_threshold(HashKind.PDQ) == 31
        assert policy.lists == ("*",)

    def test_thorough(self, example: dict[str, Policy]) -> None:
        policy = example["thorough"]
        assert policy.request.views == ALL_VIEWS
        assert policy.limits(HashKind.PDQ, "x", "mirrored").threshold == 24
        assert policy.limits(HashKind.PDQ, "x", "upright").threshold == 31
        measured = policy.limits(HashKind.PDQ, "industry-a", "upright")
        assert (measured.threshold, measured.match_up_to) == (35, 10)
        assert policy.max_threshold(HashKind.PDQ) == 35
        assert policy.verdict("unmapped", "hotline-b", "") is Verdict.MATCH
        assert policy.verdict("unmapped", "industry-a", "") is Verdict.REVIEW

    def test_police(self, example: dict[str, Policy]) -> None:
        policy = example["police"]
        assert policy.lists == ("exchange", "national")
        assert policy.request.kinds64 == set(CODE64_KINDS)
        assert HashKind.PHOTODNA not in policy.kinds
        assert policy.verdict("jurisdiction", "national", "") is Verdict.MATCH
        assert policy.verdict("not_abuse", "national", "") is Verdict.REVIEW

    def test_shared_tables(self, example: dict[str, Policy]) -> None:
        table = example["police"].severities
        assert table.severity_of(Classification("vics", "Canada", "1")) == "abuse"
        assert table.severity_of(Classification("hotline-b", "", "SG")) == "self-generated"
        assert table.names[2] == "self-generated"
        pair, file = sorted(example["default"].allow, key=lambda rule: type(rule).__name__)[::-1]
        assert isinstance(file, AllowFile)
        assert isinstance(pair, AllowPair)
        assert file.expires_at == datetime(2027, 7, 1, tzinfo=UTC)
        assert pair.expires_at == datetime(2027, 1, 31, 12, tzinfo=UTC)

    def test_reference_names_every_view_and_severity(self) -> None:
        text = DOCS.read_text(encoding="utf-8")
        for name in (*VIEW_NAMES, *default_policy().severities.names):
            assert f"`{name}`" in text


class TestDefault:
    def test_built_in(self) -> None:
        policy = default_policy()
        assert policy.kinds == set(HashKind)
        assert policy.max_threshold(HashKind.PDQ) == 31
        assert policy.max_threshold(HashKind.PHOTODNA) == 0
        assert policy.max_threshold(HashKind.MD5) == 0
        assert policy.max_threshold(HashKind.DHASH) == 6
        assert policy.max_threshold(HashKind.AHASH) == 2
        assert policy.request.views == DEFAULT_VIEWS
        assert policy.request.kinds64 == set(CODE64_KINDS)
        assert not policy.counts("nsrl", Harm.KNOWN_GOOD)
        assert policy.counts("any", Harm.TEST)

    def test_empty_document_gives_the_default(self) -> None:
        assert read("") == {"default": default_policy()}

    def test_what_is_left_out_is_looked_up_as_built_in(self) -> None:
        policy = read('[policies.x]\nlists = ["a"]')["x"]
        assert policy.max_threshold(HashKind.PDQ) == 31
        assert policy.views == DEFAULT_VIEWS

    def test_naming_a_known_good_list_does_not_make_it_count(self) -> None:
        policy = read('[policies.x]\nlists = ["nsrl"]')["x"]
        assert not policy.counts("nsrl", Harm.KNOWN_GOOD)


class TestExtends:
    def test_chain_in_any_order(self) -> None:
        policies = read(
            """
            [policies.c]
            extends = "b"
            thresholds = { phash = 4 }
            rules = [{ thresholds = { pdq = 3 } }]
            [policies.b]
            extends = "a"
            thresholds = { pdq = "off" }
            severities = { jurisdiction = "ignore" }
            [policies.a]
            lists = ["one"]
            thresholds = { pdq = 20, dhash = 5 }
            rules = [{ views = ["stored"], thresholds = { dhash = 2 } }]
            """
        )
        c = policies["c"]
        assert c.lists == ("one",)
        assert dict(c.thresholds) == {
            HashKind.PHASH: 4,
            HashKind.DHASH: 5,
            HashKind.AHASH: 2,
            HashKind.WHASH: 2,
            HashKind.PHOTODNA: 0,
        }
        assert [len(policies[name].rules) for name in "abc"] == [1, 1, 2]
        assert c.verdict("jurisdiction", "one", "") is Verdict.IGNORE
        assert c.max_threshold(HashKind.PDQ) == 3

    def test_own_rules_go_before_those_of_the_extended_policy(self) -> None:
        policies = read(
            """
            [policies.a]
            rules = [{ lists = ["l"], thresholds = { pdq = 10 } }]
            [policies.b]
            extends = "a"
            rules = [{ thresholds = { pdq = 20 } }]
            """
        )
        assert policies["a"].limits(HashKind.PDQ, "l", "upright").threshold == 10
        assert policies["b"].limits(HashKind.PDQ, "l", "upright").threshold == 20

    def test_default_of_the_document_and_of_the_build(self) -> None:
        policies = read(
            """
            [policies.default]
            thresholds = { pdq = 5 }
            [policies.silent]
            lists = ["a"]
            [policies.child]
            extends = "default"
            """
        )
        assert policies["silent"].max_threshold(HashKind.PDQ) == 31
        assert policies["child"].max_threshold(HashKind.PDQ) == 5

    def test_default_may_say_that_it_extends_the_built_in(self) -> None:
        policy = read('[policies.default]\nextends = "default"\nviews = ["all"]')["default"]
        assert policy.views == ALL_VIEWS

    def test_circle(self) -> None:
        message = error_of('[policies.a]\nextends = "b"\n[policies.b]\nextends = "a"')
        assert "policies.b.extends: goes round in a circle: a -> b -> a" in message

    def test_unknown_parent(self) -> None:
        message = error_of('[policies.a]\nextends = "defualt"')
        assert "policies.a.extends: unknown policy, did you mean 'default'?" in message


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("polices = {}", "polices: unknown key, did you mean 'policies'?"),
        ("policies = 3", "policies: must be a table"),
        ("[policies]\nx = 3", "policies.x: must be a table"),
        ("[policies.Big]", "policies.Big: a policy's name is lower-case"),
        ("[policies.x]\nlists = []", "policies.x.lists: must be an array of one or more names"),
        ('[policies.x]\nlists = "a"', "policies.x.lists: must be an array"),
        ("[policies.x]\nharms = []", "policies.x.harms: must be an array of one or more names"),
        ('[policies.x]\nharms = ["known_good"]', "policies.x.harms: unknown harm"),
        ('[policies.x]\nviews = ["upside"]', "policies.x.views: unknown view"),
        ('[policies.x]\nforce = "yes"', "policies.x.force: must be true or false"),
        ("[policies.x]\nextends = 1", "policies.x.extends: must be text"),
        (
            "[policies.x.thresholds]\npdq = 129",
            "thresholds.pdq: must be a whole number from 0 to 128",
        ),
        ("[policies.x.thresholds]\npdq = true", 'from 0 to 128, or "off"'),
        (
            "[policies.x.thresholds]\nphash = 33",
            "thresholds.phash: must be a whole number from 0 to 32",
        ),
        ("[policies.x.thresholds]\nmd5 = 1", "thresholds.md5: digests are always looked up"),
        ("[policies.x.thresholds]\npqd = 1", "unknown kind, did you mean 'pdq'?"),
        ('[policies.x.severities]\nabuze = "match"', "unknown severity, did you mean 'abuse'?"),
        ('[policies.x.severities]\nabuse = "no"', 'must be "match" or "review" or "ignore"'),
        ('[policies.x.severities]\nunmapped = "ignore"', 'unmapped: must be "match" or "review"'),
        ('[policies.x.severities]\nnot_abuse = "match"', 'not_abuse: must be "review" or "ignore"'),
        ("[policies.x]\nrules = 1", "policies.x.rules: must be an array of tables"),
        ("[[policies.x.rules]]", "policies.x.rules[1]: says nothing"),
        ("[[policies.x.rules]]\nthreshold = 1", "rules[1].threshold: unknown key"),
        (
            "[[policies.x.rules]]\nnear_match_up_to = { pdq = 3 }",
            "policies.x.rules[1]: near_match_up_to needs 'lists'",
        ),
        (
            '[[policies.x.rules]]\nlists = ["*"]\nnear_match_up_to = { pdq = 3 }',
            "rules[1].lists: names lists one by one",
        ),
        (
            '[[policies.x.rules]]\nlists = ["a"]\nnear_match_up_to = { pdq = 32 }',
            "near_match_up_to.pdq: is beyond the widest threshold of pdq, 31",
        ),
        (
            (
                '[policies.x.thresholds]\nphash = "off"\n'
                '[[policies.x.rules]]\nlists = ["a"]\nnear_match_up_to = { phash = 1 }'
            ),
            "near_match_up_to.phash: phash is not looked up",
        ),
        (
            '[[policies.x.rules]]\nviews = ["mirror"]',
            "unknown family of views, did you mean 'mirrored'?",
        ),
        ("[[severity]]", "severity[1]: needs the key 'scheme'"),
        (
            '[[severity]]\nscheme = "VICS"\nprofile = "*"\ncode = "1"\nseverity = "abuse"',
            "severity[1].profile: a VICS category means something else",
        ),
        (
            '[[severity]]\nscheme = "x"\nprofile = ""\ncode = "1"\nseverity = "Bad one"',
            "severity[1].severity: must be one of",
        ),
        (
            '[[severity]]\nscheme = "x"\nprofile = 2\ncode = "1"\nseverity = "abuse"',
            "severity[1].profile: must be text",
        ),
        (
            2 * '[[severity]]\nscheme = "x"\nprofile = ""\ncode = "1"\nseverity = "abuse"\n',
            "severity[2]: this scheme, profile and code has a row already",
        ),
        ('severity_order = ["abuse", "awful"]', "severity_order: unknown severity"),
        ("[[allow]]", "allow[1]: needs the key 'reason'"),
        ('[[allow]]\nreason = "r"\nexpires = 2027-01-01', "needs 'sha256', or 'kind', 'code'"),
        ('[[allow]]\nsha256 = "ab"', "allow[1].sha256: must be 64 hex digits"),
        (f'[[allow]]\nsha256 = "{"g" * 64}"', "allow[1].sha256: must be 64 hex digits"),
        (f'[[allow]]\nsha256 = "{"a " * 32}"', "allow[1].sha256: must be 64 hex digits"),
        (f'[[allow]]\nsha256 = "{"a" * 64}"\nradius = 2', "allow[1].radius: unknown key"),
        ('[[allow]]\nreason = " "', "allow[1].reason: must be text that is not blank"),
        ('[[allow]]\nexpires = "2027-01-01"', "allow[1].expires: must be a date"),
        ("[[allow]]\nexpires = 2027-01-01T10:00:00", "a time with its offset"),
        ('[[allow]]\nkind = "sha256"', "allow[1].kind: must be one of pdq"),
        ('[[allow]]\nkind = "phash"\ncode = "ab"', "allow[1].code: must be 16 hex digits"),
        ('[[allow]]\ncode = "ab"\nentry = 1', "allow[1]: needs the key 'kind'"),
        (f'[[allow]]\nsha256 = "{"ab" * 31}  "', "allow[1].sha256: must be 64 hex digits"),
        ('[[allow]]\nkind = "phash"\nentry = 0', "allow[1].entry: must be a whole number from 1"),
    ],
)
def test_errors_name_the_place_and_what_is_allowed(text: str, says: str) -> None:
    message = error_of(text)
    assert message.startswith("policies.toml: ")
    assert says in message


def test_all_mistakes_are_told_at_once() -> None:
    message = error_of('[policies.x]\nlists = []\nforce = 1\n[policies.y]\nviews = ["z"]')
    assert message.count("policies.") == 4  # the file's own name is the fourth


def test_many_mistakes_are_counted() -> None:
    keys = "\n".join(f"key{i} = 1" for i in range(30))
    assert error_of(f"[policies.x]\n{keys}").endswith("and 10 more problems")


def test_errors_never_repeat_a_value() -> None:
    message = error_of(f'[[allow]]\nsha256 = "{"deadbeef" * 9}"\nkind = "{"deadbeef"}"')
    assert "deadbeef" not in message


def test_origin_and_document_of_the_wrong_type() -> None:
    with pytest.raises(PolicyError, match=r"^somewhere: must be a table"):
        policies_from_dict([], origin="somewhere")  # type: ignore[arg-type]


def test_expiry_at_the_end_of_time() -> None:
    doc: dict[str, Any] = {
        "allow": [{"sha256": "ab" * 32, "reason": "r", "expires": date.max}],
    }
    (rule,) = policies_from_dict(doc, origin="x")["default"].allow
    assert rule.expires_at == datetime.max.replace(tzinfo=UTC)


def test_entry_may_be_written_as_in_answers() -> None:
    text = '[[allow]]\nkind = "phash"\ncode = "00112233445566FF"\nentry = "12"\nreason = "r"\n'
    (rule,) = read(text + "expires = 2027-01-01")["default"].allow
    assert isinstance(rule, AllowPair)
    assert rule.entry_id == 12
    assert rule.code == bytes.fromhex("00112233445566ff")


def test_documented_example_survives_a_round_trip(example: dict[str, Policy]) -> None:
    written = policies_to_dict(example)
    assert dict(policies_from_dict(written, origin="x")) == example
    assert policies_to_dict({}) == {"policies": {}}


class TestViews:
    @pytest.mark.parametrize(
        ("names", "selection"),
        [
            ((), DEFAULT_VIEWS),
            (("default",), DEFAULT_VIEWS),
            (("all",), ALL_VIEWS),
            (("upright",), ViewSelection(stored=False, composited=False)),
            (("mirrored",), ViewSelection(stored=False, composited=False, mirrored=True)),
            (("default", "trimmed"), ViewSelection(trimmed=True)),
            (
                ("composited:black",),
                ViewSelection(stored=False, composited=False, composited_black=True),
            ),
            (("frame", "stored"), ViewSelection(composited=False, frames=16)),
        ],
    )
    def test_selection(self, names: tuple[str, ...], selection: ViewSelection) -> None:
        assert view_selection(names) == selection

    def test_unknown(self) -> None:
        with pytest.raises(PolicyError, match="unknown view 'sideways'; there are: default, all"):
            default_policy().with_views(("stored", "sideways"))

    def test_with_views_changes_views_alone(self) -> None:
        policy = default_policy().with_views(("all",))
        assert policy.request.views == ALL_VIEWS
        assert policy.with_views(("default",)) == default_policy()
        assert policy.with_views(()) is policy
        assert policy.version != default_policy().version

    def test_names_of_selections(self) -> None:
        assert view_names(DEFAULT_VIEWS) == ("default",)
        assert view_names(ALL_VIEWS) == ("all",)
        assert view_selection(view_names(ViewSelection(trimmed=True))) == ViewSelection(
            trimmed=True
        )
        assert view_names(ViewSelection(stored=False, composited=False)) == ("upright",)

    def test_counts_by_family(self) -> None:
        assert views_by_family(DEFAULT_VIEWS) == {"upright": 1, "stored": 1, "composited": 1}
        assert views_by_family(ALL_VIEWS) == {
            "upright": 1,
            "stored": 1,
            "composited": 2,
            "frame": 16,
            "trimmed": 1,
            "mirrored": 7,
        }
