"""Decisions as they are printed, and the exit status that they add up to."""

from __future__ import annotations

import itertools
import json
import sys
from dataclasses import replace

import pytest

from hashlists.model import Classification, HashKind
from matcher.cli.results import Failure, Report, to_record
from matcher.gaps import Gaps
from matcher.model import Basis, Closeness, Decision, Match, MatchResult, NotHashableReason

MATCH = Match(
    list_name="demo",
    harm="test",
    entry_id=7,
    kind=HashKind.PDQ,
    basis=Basis.NEAR,
    view="upright",
    distance=4,
    closeness=Closeness.CLOSE,
    classification=Classification("vics", "Default", "0"),
    severity="unmapped",
)
WAYS = ("crop:0.02", "", None)
EXACT = replace(MATCH, kind=HashKind.SHA1, basis=Basis.EXACT, view="", distance=0)
UNKNOWN = MatchResult(
    decision=Decision.NO_KNOWN_MATCH,
    reason=None,
    detail="",
    match_id="",
    matches=(),
    total_matches=0,
    shadow_matches=0,
    kinds_tried=(HashKind.PDQ, HashKind.MD5),
    views_tried=("upright",),
    views_left_out=(),
    revision=3,
    policy="default",
    policy_version="abcd",
)
REVIEW = replace(
    UNKNOWN, decision=Decision.REVIEW, match_id="m-1", matches=(MATCH,), total_matches=1
)
FOUND = replace(REVIEW, decision=Decision.MATCH, matches=(EXACT, MATCH), total_matches=2)
UNHASHABLE = replace(
    UNKNOWN,
    decision=Decision.NOT_HASHABLE,
    reason=NotHashableReason.MALFORMED,
    detail="cut off",
)
UNREADABLE = Failure("unreadable", "No such file or directory")
KEYS = ["path", "decision", "reason", "match_id", "matches"]
MATCH_KEYS = [
    *("list", "entry", "kind", "basis", "view"),
    *("distance", "classification", "severity", "derivation"),
]


def report(outcomes, **options):
    made = Report("path", **{"as_json": True, **options})
    for number, outcome in enumerate(outcomes):
        made.add(f"{number}.jpg", outcome)
    return made


def test_record_has_the_promised_shape():
    record = to_record("path", "a.jpg", REVIEW)
    assert list(record) == KEYS
    assert [list(match) for match in record["matches"]] == [MATCH_KEYS]
    assert record["matches"][0] == {
        "list": "demo",
        "entry": 7,
        "kind": "pdq",
        "basis": "near",
        "view": "upright",
        "distance": 4,
        "classification": {"scheme": "vics", "profile": "Default", "code": "0"},
        "severity": "unmapped",
        "derivation": None,
    }


def test_record_says_null_where_there_is_nothing_to_say():
    record = to_record("query", 0, UNKNOWN)
    assert record == {
        "query": 0,
        "decision": "NO_KNOWN_MATCH",
        "reason": None,
        "match_id": None,
        "matches": [],
    }
    hidden = replace(EXACT, distance=None, classification=None)
    (match,) = to_record("path", "a", replace(REVIEW, matches=(hidden,)))["matches"]
    assert (match["view"], match["distance"], match["classification"]) == (None, None, None)


def test_a_derived_code_is_told(seen):
    """Text says so of derived ones alone; for programs "" is the source's own, null not known."""
    tables, _ = seen
    made = [replace(REVIEW, matches=(replace(MATCH, derivation=each),)) for each in WAYS]
    assert [to_record("path", "a", each)["matches"][0]["derivation"] for each in made] == [*WAYS]
    report(made, as_json=False).finish()
    ((_, rows),) = tables
    assert [row[3] for row in rows] == [
        "near pdq: 4 bits, upright, by a derived code (crop:0.02)",
        "near pdq: 4 bits, upright",
        "near pdq: 4 bits, upright",
    ]


def test_plain_lines_tell_a_derived_code(capsys):
    made = [replace(REVIEW, matches=(replace(MATCH, derivation=each),)) for each in WAYS]
    report(made, as_json=False).finish()
    header, *lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert header[-2:] == ["derivation", "ignored_in"]
    assert [line[-2] for line in lines] == ["crop:0.02", "", "?"]


def test_record_tells_how_many_matched_where_not_all_are_listed():
    assert to_record("path", "a", replace(FOUND, total_matches=12))["total_matches"] == 12
    assert "total_matches" not in to_record("path", "a", FOUND)


def test_details_tell_what_the_decision_rests_on():
    record = to_record("path", "a", UNHASHABLE, details=True)
    assert record["reason"] == "malformed"
    assert record["detail"] == "cut off"
    assert record["kinds_tried"] == ["pdq", "md5"]
    assert record["revision"] == 3
    assert record["policy_version"] == "abcd"


def test_failure_is_a_record_with_an_error():
    record = to_record("path", "a", UNREADABLE)
    assert list(record) == [*KEYS, "error"]
    assert record["decision"] is None
    assert record["error"] == {"reason": "unreadable", "detail": "No such file or directory"}


OUTCOMES = {"found": FOUND, "review": REVIEW, "no": UNKNOWN, "bad": UNHASHABLE, "lost": UNREADABLE}


@pytest.mark.parametrize(
    "names", [n for size in (1, 2, 3) for n in itertools.combinations(OUTCOMES, size)]
)
def test_exit_status(names, capsys):
    expected = 1 if {"found", "review"} & {*names} else 2 if {"bad", "lost"} & {*names} else 0
    assert report([OUTCOMES[name] for name in names]).finish() == expected
    assert len(capsys.readouterr().out.splitlines()) == len(names)


def test_nothing_at_all_is_status_0():
    assert report([]).finish() == 0


def test_json_lines_keep_the_order_and_standard_error_stays_quiet(capsys):
    report([FOUND, UNKNOWN, UNREADABLE]).finish()
    captured = capsys.readouterr()
    paths = [json.loads(line)["path"] for line in captured.out.splitlines()]
    assert paths == ["0.jpg", "1.jpg", "2.jpg"]
    assert captured.err == ""


def test_plain_lines_have_one_header_and_as_many_cells(capsys):
    report([*OUTCOMES.values()], as_json=False).finish()
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    assert lines[0][:2] == ["path", "decision"]
    assert [line[1] for line in lines[1:]] == [
        "MATCH",
        "REVIEW",
        "NO_KNOWN_MATCH",
        "NOT_HASHABLE",
        "ERROR",
    ]
    assert {len(line) for line in lines} == {len(lines[0])}


@pytest.fixture
def seen(monkeypatch):
    """Tables and notes as a person gets them."""
    tables, notes = [], []
    module = sys.modules[Report.__module__]
    monkeypatch.setattr(module, "is_terminal", lambda: True)
    monkeypatch.setattr(module, "print_table", lambda columns, rows: tables.append((columns, rows)))
    monkeypatch.setattr(module, "note", notes.append)
    return tables, notes


def test_person_sees_one_table_and_what_was_searched(seen):
    tables, notes = seen
    more = replace(REVIEW, total_matches=4)
    hidden = replace(REVIEW, matches=(replace(MATCH, distance=None),))
    photodna = replace(REVIEW, matches=(replace(MATCH, kind=HashKind.PHOTODNA),))
    outcomes = [FOUND, more, hidden, photodna, UNKNOWN, UNHASHABLE, UNREADABLE]
    report(outcomes, as_json=False).finish()
    ((columns, rows),) = tables
    assert {len(row) for row in rows} == {len(columns)}
    assert [row[3] for row in rows] == [
        "exact sha1, and 1 more",
        "near pdq: 4 bits, upright, and 3 more",
        "near pdq: close, upright",
        "near photodna: 4 squared L2, upright",
        "",
        "cut off",
        "No such file or directory",
    ]
    assert rows[0][2] == "demo #7 (test)"
    told = "\n".join(notes)
    assert sum("1 MATCH" in each for each in notes) == 1
    assert "revision 3 of the catalog under the policy 'default', by pdq, md5." in told
    assert "a lead, not proof" in told


def test_person_sees_every_list_and_that_a_trial_is_one(seen):
    tables, _ = seen
    real = replace(MATCH, list_name="industry", harm="csam")
    many = replace(FOUND, matches=(EXACT, MATCH, real, real), total_matches=5)
    turned = replace(FOUND, matches=(real, MATCH))
    report([many, turned], as_json=False).finish()
    ((_, rows),) = tables
    assert rows[0][2:4] == ("demo #7 (test)", "exact sha1, and 4 more (also in industry)")
    assert rows[1][2] == "industry #7"


AGAINST = replace(
    EXACT, list_name="db", severity="not_abuse", classification=Classification("vics", "US", "0")
)


def test_a_list_that_disagrees_is_told_beside_the_match(seen, capsys, monkeypatch):
    """In each form: the issue of two lists that disagree is a person's to settle."""
    tables, notes = seen
    disputed = replace(FOUND, ignored=(AGAINST, replace(AGAINST, classification=None)))
    record = to_record("path", "a", disputed)
    assert list(record) == [*KEYS, "ignored_matches"]
    assert [each["list"] for each in record["ignored_matches"]] == ["db", "db"]
    assert record["ignored_matches"][0]["classification"]["code"] == "0"
    report([disputed], as_json=False).finish()
    ((_, rows),) = tables
    assert rows[0][3].endswith("; but db holds it as not_abuse (vics US 0), which decides nothing")
    assert "1 found, though another entry has a class that decides nothing (in db)" in notes
    assert sum("1 MATCH" in each for each in notes) == 1
    monkeypatch.setattr("matcher.cli.results.is_terminal", lambda: False)
    report([disputed, FOUND], as_json=False)
    header, first, second = (line.split("\t") for line in capsys.readouterr().out.splitlines())
    at = header.index("ignored_in")
    assert (first[at], second[at]) == ("db", "")


def test_another_severity_of_another_list_is_told(seen):
    tables, _ = seen
    lesser = replace(MATCH, list_name="db", severity="jurisdiction")
    worse = replace(MATCH, severity="abuse")
    report([replace(FOUND, matches=(worse, lesser))], as_json=False).finish()
    assert tables[0][1][0][3].endswith(", and 1 more (also in db: jurisdiction)")


def test_why_an_item_has_no_answer_is_told_beside_its_line(seen, capsys, monkeypatch):
    _, notes = seen
    monkeypatch.setattr("matcher.cli.results.is_terminal", lambda: False)
    made = Report("query", as_json=False)
    made.add(0, Failure("malformed", "query 0: the value of md5 is no hex"))
    assert notes == ["query 0: the value of md5 is no hex"]
    for number in range(1, 100):
        made.add(number, UNREADABLE)
    assert notes[1] == "1: No such file or directory"
    assert len(notes) == 20
    assert capsys.readouterr().out.count("malformed") == 1


SUPPRESSED = replace(UNKNOWN, detail_for_operator="1 match suppressed by the allow-list")
CUT = Gaps(truncated=True, frames=12, views_left_out=("trimmed",))


def test_what_was_not_looked_at_is_told():
    assert list(to_record("path", "a", UNKNOWN, Gaps())) == KEYS
    record = to_record("path", "a", UNKNOWN, CUT)
    told = {"truncated": True, "frames": 12, "views_left_out": ["trimmed"]}
    assert {key: record[key] for key in record if key not in KEYS} == told
    assert to_record("path", "a", UNKNOWN, CUT, details=True)["frames"] == 12


def test_person_is_told_what_was_not_looked_at(seen):
    tables, notes = seen
    made = report([], as_json=False)
    made.add("a", UNKNOWN, CUT)
    made.add("b", REVIEW, Gaps(frames=12, frames_hashed=5))
    made.add("c", UNREADABLE)
    made.finish()
    ((_, rows),) = tables
    cut = "cut off: what still renders was hashed; first of 12 frames; left out: trimmed"
    assert rows[0][3] == cut
    assert rows[1][3] == "near pdq: 4 bits, upright; 5 of 12 frames"
    assert "1 cut off: what still renders was hashed" in notes
    assert "2 with frames or pages that were not hashed; see --views all" in notes
    assert "1 with views that limits left out" in notes


def test_a_suppressed_match_is_told(seen):
    tables, notes = seen
    record = to_record("path", "a", SUPPRESSED)
    assert record.pop("detail") == "1 match suppressed by the allow-list"
    assert list(record) == KEYS
    report([*[UNKNOWN] * 300, SUPPRESSED], as_json=False).finish()
    assert tables[0][1][-1][3] == "1 match suppressed by the allow-list"
    assert "1 without a known match: 1 match suppressed by the allow-list" in notes


def test_person_is_spared_thousands_of_quiet_rows(seen):
    tables, notes = seen
    report([*[UNKNOWN] * 500, REVIEW], as_json=False).finish()
    ((_, rows),) = tables
    assert len(rows) == 201
    assert rows[-1][1] == "REVIEW"
    assert notes[0].startswith("300 more")


def test_person_is_not_told_of_leads_where_there_are_none(seen):
    _, notes = seen
    report([UNKNOWN], as_json=False).finish()
    assert not any("lead" in each for each in notes)
