"""`hashwarden lists`: what is created, imported and shown is what was asked for."""

from __future__ import annotations

import getpass
import hashlib
import io
import json
import os
import sys
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.catalog import Catalog, MatchDay, StagedImport
from hashlists.catalog.match_days import today
from hashlists.model import Handling, Harm, HashKind, HashList
from matcher import cli
from matcher.cli import asking, importing, keeping, lists_import, output

KINDS = {kind.value for kind in HashKind}


def digest(number):
    return hashlib.md5(b"%d" % number).hexdigest()


def write_csv(path, rows, header="MD5,Category"):
    path.write_text("\n".join([header, *rows]) + "\n")
    return str(path)


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def records(run):
    def ran(*arguments, status=0):
        return [
            json.loads(line) for line in run(*arguments, "--json", status=status).out.splitlines()
        ]

    return ran


CREATE = ("lists", "create", "demo", "--harm", "test", "--source", "Us")
MD5_COLUMN = ("--column", "md5=MD5")
NEW_LIST = ("--list", "demo", "--harm", "test", "--source", "Us")


def test_create_and_show(records):
    described = ("--title", "Demo", "--legal-basis", "None needed", "--shadow")
    (created,) = records(*CREATE, *described)
    expected = {
        "name": "demo",
        "harm": "test",
        "source": "Us",
        "title": "Demo",
        "legal_basis": "None needed",
        "state": "shadow",
    }
    assert created.items() >= expected.items()
    coverage = created["coverage"]
    assert (coverage["entries"], coverage["near_matchable_share"]) == (0, 0.0)
    assert set(coverage["by_kind"]) == set(coverage["share_by_kind"]) == KINDS
    assert records("lists", "show", "demo") == [created]
    assert records("lists", "show") == [created]


def test_show_pages_through_all_lists(run, records, monkeypatch):
    monkeypatch.setattr(keeping, "PAGE", 2)
    names = [f"list-{n}" for n in range(5)]
    for name in names:
        run("lists", "create", name, "--harm", "test", "--source", "Us")
    assert [record["name"] for record in records("lists", "show")] == names
    assert len(records("lists", "revisions", "--limit", "3")) == 3
    assert [r["list"] for r in records("lists", "revisions")] == names[::-1]


def test_plain_output_is_tab_separated(run):
    run(*CREATE)
    header, row = run("lists", "show").out.splitlines()
    assert header.split("\t")[0] == "name"
    assert row.split("\t")[:3] == ["demo", "test", "live"]
    facts = dict(line.split("\t") for line in run("lists", "show", "demo").out.splitlines())
    assert facts["harm"] == "test"
    assert run("lists", "revisions", "demo").out.splitlines()[1].split("\t")[2] == "create_list"


def test_the_handling_of_a_list_is_shown(run, tmp_path):
    run(*CREATE)
    facts = dict(line.split("\t") for line in run("lists", "show", "demo").out.splitlines())
    assert (facts["originator"], facts["expires"]) == ("its source", "never")
    ends = {"old": datetime(2020, 1, 1, tzinfo=UTC), "new": datetime(2090, 1, 1, tzinfo=UTC)}
    with Catalog.open(f"sqlite:///{tmp_path / 'data' / 'catalog.sqlite3'}") as catalog:
        for name, end in ends.items():
            handling = Handling("unit-a", (), end)
            catalog.create_list(HashList(name, Harm.TEST, "us", handling=handling), author="us")
    told = {}
    for name in ends:
        facts = dict(line.split("\t") for line in run("lists", "show", name).out.splitlines())
        assert facts["originator"] == "unit-a"
        told[name] = facts["expires"]
    assert told["new"] == "2090-01-01 00:00 UTC"
    assert told["old"].startswith("2020-01-01 00:00 UTC (over")


def test_a_list_whose_time_is_over_is_not_made(run):
    told = run(*CREATE, "--expires", "2020-01-01", status=2).err
    assert "2020-01-01 00:00 UTC is over" in told
    run("lists", "show", "demo", status=2)


def test_revisions_are_legible_in_a_narrow_terminal(run, tmp_path, monkeypatch):
    run(*CREATE)
    file = tmp_path / "list.csv"
    file.write_text(f"md5\n{'0' * 31}1\n{'0' * 31}2\n")
    reason = "as the letter of the second of November, of which the issuer keeps a copy, says"
    imported = ("lists", "import", str(file), "--list", "demo", "--column", "md5=md5")
    run(*imported, "--reason", reason)
    run("lists", "retract", "demo", "1", "--reason", "a notice")
    run("lists", "purge", "demo", "1", "--reason", "an order", "--yes")
    monkeypatch.setenv("COLUMNS", "80")
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = [line.rstrip() for line in run("lists", "revisions").out.splitlines()]
    assert max(map(len, lines)) <= 80
    headings = [line.split() for line in lines if not line.startswith(" ")]
    assert [each[:2] for each in headings] == [["revision", str(n)] for n in (4, 3, 2, 1)]
    assert [each[5] for each in headings] == ["purge", "retract", "import", "create_list"]
    assert {each[6] for each in headings} == {"demo"}
    author = getpass.getuser()
    below = " ".join(" ".join(lines).split())
    assert f"2 added; by {author} {reason} revision 1" in below
    assert f"1 retracted; by {author} a notice" in below


@pytest.mark.parametrize(
    "arguments",
    [
        ("lists", "show", "missing"),
        ("lists", "revisions", "missing"),
        ("lists", "create", "Bad Name", "--harm", "test", "--source", "x"),
        ("lists", "create", "demo", "--harm", "odd", "--source", "x"),
        ("lists", "create", "demo", "--harm", "test"),
        ("lists", "import", "/nowhere.csv", "--list", "demo"),
    ],
)
def test_mistakes_are_told_without_a_traceback(run, arguments):
    captured = run(*arguments, status=2)
    assert captured.out == ""
    assert captured.err
    assert "Traceback" not in captured.err
    assert "this is a bug" not in captured.err


def test_a_list_cannot_be_created_twice(run):
    run(*CREATE)
    assert "demo" in run(*CREATE, status=2).err


def test_import_reports_everything(records, tmp_path):
    file = write_csv(tmp_path / "a.csv", [f"{digest(n)},1" for n in range(40)] + ["nohex,1"])
    (report,) = records("lists", "import", file, *NEW_LIST, *MD5_COLUMN)
    counts = {"read": 41, "added": 40, "updated": 0, "unchanged": 0, "rejected": 1}
    assert report.items() >= counts.items()
    assert report["revision"] > 0
    assert report["seconds"] >= 0
    (reject,) = report["rejections"]
    assert set(reject) >= {"place", "field", "reason"}
    assert "42" in str(reject["place"])
    assert "nohex" not in json.dumps(report)
    shown = records("lists", "show", "demo")[0]["coverage"]
    assert shown == report["coverage"]
    assert (shown["entries"], shown["near_matchable_share"]) == (40, 0.0)
    assert shown["share_by_kind"]["md5"] == 1.0
    newest = records("lists", "revisions", "demo")[0]
    assert newest.items() >= {"kind": "import", "added": 40, "revision": report["revision"]}.items()


def test_a_list_of_known_good_digests_is_as_it_should_be(run, tmp_path):
    """Nothing is to be found by likeness there, so nobody is warned that nothing is."""
    file = write_csv(tmp_path / "good.csv", [f"{digest(n)},1" for n in range(2)])
    good = ("--list", "good", "--harm", "known_good", "--source", "a publisher")
    for more in (("--plan",), ()):
        told = run("lists", "import", file, *good, *MD5_COLUMN, *more)
        assert "can match near\t0 (0.0%)" in told.out
        assert "byte for byte" not in told.err
    assert "byte for byte" not in run("lists", "show", "good").err
    one = write_csv(tmp_path / "one.csv", [f"{digest(1)},1"])
    told = run("lists", "import", one, *NEW_LIST, *MD5_COLUMN)
    assert "1 (100.0%) of the entries matches only files that are the same byte" in told.err


def test_import_for_a_person_tells_coverage_and_rejects(run, tmp_path):
    file = write_csv(tmp_path / "a.csv", [f"{digest(n)},1" for n in range(30)] + ["x,1"] * 30)
    captured = run("lists", "import", file, *NEW_LIST, *MD5_COLUMN, "--max-rejected-share", "0.9")
    facts = dict(line.split("\t") for line in captured.out.splitlines())
    assert facts["added"] == "30"
    assert facts["can match near"].startswith("0 ")
    assert (
        "30 (100.0%) of the entries match only files that are the same byte for byte"
        in captured.err
    )
    assert captured.err.count("rejected: line") == 20
    assert "and 10 more" in captured.err


def test_a_table_without_a_record_is_told(run, tmp_path):
    empty = write_csv(tmp_path / "a.csv", [])
    assert "No record was found" in run("lists", "import", empty, *NEW_LIST, *MD5_COLUMN).err
    one = write_csv(tmp_path / "b.csv", [f"{digest(1)},1"])
    assert "No record was found" not in run("lists", "import", one, *NEW_LIST, *MD5_COLUMN).err


def test_too_many_rejects_import_nothing(run, records, tmp_path):
    file = write_csv(tmp_path / "a.csv", [f"{digest(n)},1" for n in range(10)] + ["x,1"])
    limit = ("--max-rejected-share", "0")
    run("lists", "import", file, *NEW_LIST, *MD5_COLUMN, *limit, status=2)
    assert records("lists", "show") == []
    run(*CREATE)
    run("lists", "import", file, "--list", "demo", *MD5_COLUMN, *limit, status=2)
    assert records("lists", "show", "demo")[0]["coverage"]["entries"] == 0


@pytest.mark.parametrize("share", ["10%", "1.1", "-1", "some"])
def test_a_share_is_a_number_from_0_to_1(run, tmp_path, share):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    order = ("lists", "import", file, *NEW_LIST, *MD5_COLUMN, "--max-rejected-share", share)
    told = run(*order, status=2).err
    assert "--max-rejected-share" in told
    assert ("10% is written 0.1" in told) is (share == "10%")


def test_import_into_an_existing_list(run, records, tmp_path):
    run(*CREATE)
    first = write_csv(tmp_path / "a.csv", [f"{digest(n)},1" for n in range(5)])
    again = write_csv(tmp_path / "b.csv", [f"{digest(n)},1" for n in range(7)])
    run("lists", "import", first, "--list", "demo", *MD5_COLUMN, "--reason", "monthly")
    (report,) = records("lists", "import", again, "--list", "demo", *MD5_COLUMN)
    assert (report["added"], report["unchanged"]) == (2, 5)
    assert records("lists", "revisions", "demo")[1]["reason"] == "monthly"


def test_import_does_not_create_a_list_unasked(run, tmp_path):
    run("lists", "create", "other", "--harm", "test", "--source", "Us")
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    for given in ((), ("--harm", "test"), ("--source", "Us")):
        told = run("lists", "import", file, "--list", "demo", *MD5_COLUMN, *given, status=2).err
        assert "no list is named demo" in told
        assert "--harm and --source" in told


@pytest.mark.parametrize(
    ("option", "told"),
    [
        (("--harm", "csam"), "harm is test, not csam"),
        (("--source", "Them"), "source is Us, not Them"),
        (("--title", "New"), "title is empty, not New"),
        (("--shadow",), "state is live, not shadow"),
    ],
)
def test_import_into_a_list_that_is_another_than_described(run, records, tmp_path, option, told):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    run("lists", "import", file, *NEW_LIST, *MD5_COLUMN)
    before = records("lists", "show", "demo")
    more = write_csv(tmp_path / "b.csv", [f"{digest(2)},1"])
    assert (
        told in run("lists", "import", more, "--list", "demo", *option, *MD5_COLUMN, status=2).err
    )
    assert records("lists", "show", "demo") == before


@pytest.mark.parametrize(
    ("first", "then", "act"), [("shadow", "live", "promote"), ("live", "shadow", "demote")]
)
def test_an_import_that_would_change_the_state_says_what_does(run, tmp_path, first, then, act):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    run("lists", "import", file, *NEW_LIST, f"--{first}", *MD5_COLUMN)
    told = run("lists", "import", file, *NEW_LIST, f"--{then}", *MD5_COLUMN, status=2).err
    assert f"its state is {first}, not {then}" in told
    assert f"`lists {act} demo` does" in told
    run("lists", act, "demo", "--reason", "looked at")
    run("lists", "import", file, *NEW_LIST, f"--{then}", *MD5_COLUMN)


@pytest.mark.parametrize(
    ("form", "text", "columns"),
    [
        ("vics", '{"value": [', ()),
        ("csv", f"MD5\n{digest(1)}\n", ("--column", "md5=Other")),
        ("csv", f"MD5\n{digest(1)}\n", ()),
        ("csv", "MD5\nnone\n", MD5_COLUMN),
        ("csv", f'MD5\n{digest(1)}\n"{digest(2)}', MD5_COLUMN),
    ],
    ids=["cut off", "wrong column", "no column", "all rejected", "open quote"],
)
def test_a_failed_first_import_leaves_no_list(run, records, tmp_path, *, form, text, columns):
    file = tmp_path / "list"
    file.write_text(text)
    run("lists", "import", str(file), "--format", form, *NEW_LIST, *columns, status=2)
    assert records("lists", "show") == []
    assert records("lists", "revisions") == []


def test_a_list_that_never_held_an_entry_can_be_corrected(run, records, tmp_path):
    run(*CREATE)
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    right = ("--harm", "ncii", "--source", "Them", "--title", "New", "--shadow")
    told = run("lists", "import", file, "--list", "demo", *right, *MD5_COLUMN).err
    assert "corrected: its harm is ncii, source is Them, title is New, state is shadow" in told
    (shown,) = records("lists", "show", "demo")
    expected = {"harm": "ncii", "source": "Them", "title": "New", "state": "shadow"}
    assert shown.items() >= expected.items()
    assert shown["coverage"]["entries"] == 1
    kinds = [each["kind"] for each in records("lists", "revisions", "demo")]
    assert kinds == ["import", "update_list", "create_list"]


def interrupt(when):
    """An import that is interrupted before or after its commit."""
    real = StagedImport.commit

    def commit(self, document):
        if when == "after":
            real(self, document)
        raise KeyboardInterrupt

    return commit


@pytest.mark.parametrize("when", ["before", "after"])
def test_an_interrupted_import_says_what_it_leaves(run, records, tmp_path, monkeypatch, when):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    with monkeypatch.context() as patched:
        patched.setattr(StagedImport, "commit", interrupt(when))
        told = run("lists", "import", file, *NEW_LIST, *MD5_COLUMN, status=130).err
    assert ("Nothing was imported" in told) == (when == "before")
    assert ("made already" in told) == (when == "after")
    assert ("stays, empty" in told) == (when == "before")
    entries = records("lists", "show", "demo")[0]["coverage"]["entries"]
    assert entries == (0 if when == "before" else 1)


def test_a_pipe_is_imported_and_leaves_no_file(run, records, tmp_path, monkeypatch):
    text = f"MD5\n{digest(1)}\n".encode()
    source, sink = os.pipe()
    os.write(sink, text)
    os.close(sink)
    wanted = ("--format", "csv", *MD5_COLUMN)
    with os.fdopen(source):
        run("lists", "import", f"/dev/fd/{source}", *NEW_LIST, *wanted)
    assert records("lists", "show", "demo")[0]["coverage"]["entries"] == 1
    stdin = io.TextIOWrapper(io.BytesIO(text + digest(2).encode() + b"\n"))
    monkeypatch.setattr(sys, "stdin", stdin)
    assert "add --format" in run("lists", "import", "-", "--list", "demo", status=2).err
    run("lists", "import", "-", "--list", "demo", *wanted)
    assert records("lists", "show", "demo")[0]["coverage"]["entries"] == 2
    assert list((tmp_path / "data" / "spool").iterdir()) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ("lists", "show"),
        ("lists", "show", "demo"),
        ("lists", "revisions"),
        ("lists", "import", "FILE", "--list", "demo", *MD5_COLUMN),
        ("lookup", f"md5:{digest(1)}"),
        ("match", "FILE"),
    ],
)
def test_where_there_is_no_catalog_nothing_is_answered_and_nothing_made(run, tmp_path, arguments):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    told = run(*(file if each == "FILE" else each for each in arguments), status=2)
    assert told.out == ""
    assert f"no catalog in {tmp_path / 'data'}" in told.err
    assert "lists import" in told.err
    assert not (tmp_path / "data").exists()


def test_revisions_that_nobody_asked_for_are_told(run, records, tmp_path):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    imported = run("lists", "import", file, *NEW_LIST, *MD5_COLUMN)
    assert "The list demo was created: revision 1 of the catalog." in imported.err
    assert "revision 2 of the catalog" in imported.out
    told = run("lookup", f"md5:{digest(2)}").err
    assert "The built-in list hashwarden-test was added; the catalog is now at revision 4." in told
    assert "Searched revision 4 of the catalog" in told
    assert "built-in" not in run("lookup", f"md5:{digest(2)}").err
    assert records("lists", "revisions")[0]["revision"] == 4


def test_an_import_is_not_made_twice_under_its_key(run, records, tmp_path):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    key = ("--idempotency-key", "march")
    (first,) = records("lists", "import", file, *NEW_LIST, *MD5_COLUMN, *key)
    (again,) = records("lists", "import", file, "--list", "demo", *MD5_COLUMN, *key)
    assert (first["repeated"], again["repeated"]) == (False, True)
    assert again["revision"] == first["revision"] == 2
    other = write_csv(tmp_path / "b.csv", [f"{digest(2)},1"])
    told = run("lists", "import", other, "--list", "demo", *MD5_COLUMN, *key, status=2).err
    assert "this idempotency key was used before" in told


@pytest.mark.parametrize("key", ["", "x" * 201, "a\tb"])
def test_what_can_be_no_key_is_refused(run, tmp_path, key):
    file = write_csv(tmp_path / "a.csv", [f"{digest(1)},1"])
    given = ("--idempotency-key", key)
    told = run("lists", "import", file, *NEW_LIST, *MD5_COLUMN, *given, status=2).err
    assert "has 1 to 200 printable characters" in told


def test_an_empty_catalog_still_answers_with_a_warning(run):
    run(*CREATE)
    told = run("lookup", f"md5:{digest(1)}").err
    assert "no list but the built-in hashwarden-test holds an entry" in told


def test_an_empty_data_folder_name_is_an_error(capsys):
    assert cli.main(["--data", "", "lists", "show"]) == 2
    assert "--data" in capsys.readouterr().err


def test_the_format_is_told_by_the_name_or_asked_for(run, tmp_path):
    for name in ("a.csv", "b.TSV"):
        assert lists_import._format_by_suffix([tmp_path / name]) == "csv"
    assert lists_import._format_by_suffix([tmp_path / "c.csv.gz", tmp_path / "d.csv"]) == "csv"
    file = write_csv(tmp_path / "a.txt", [f"{digest(1)},1"])
    assert "add --format" in run("lists", "import", file, *NEW_LIST, status=2).err
    told = run("lists", "import", file, *NEW_LIST, "--format", "odd", status=2).err
    assert "csv" in told
    run("lists", "import", file, *NEW_LIST, "--format", "csv", *MD5_COLUMN)


@pytest.mark.parametrize(
    ("given", "told"),
    [
        (("--column", "md5"), "not of the form"),
        (("--column", "=x"), "not of the form"),
        (("--column", "md5=a", "--column", "md5=b"), "given twice"),
        (("--option", "delimiter"), "not of the form"),
    ],
)
def test_options_are_pairs(run, tmp_path, given, told):
    file = write_csv(tmp_path / "a.csv", [])
    assert told in run("lists", "import", file, *NEW_LIST, *given, status=2).err


def test_a_file_that_is_no_list_imports_nothing(run, tmp_path):
    (tmp_path / "a.json").write_text('{"value": [')
    vics = ("--format", "vics")
    told = run("lists", "import", str(tmp_path / "a.json"), *vics, *NEW_LIST, status=2).err
    assert "Traceback" not in told
    assert told.splitlines()[-1].startswith("error: ")


def test_outside_text_cannot_repaint_a_terminal(run):
    run("lists", "create", "demo", "--harm", "test", "--source", "\x1b[2J\tUs")
    assert "\x1b" not in run("lists", "show").out
    assert output.printable("\x1b[2J\tUs") in run("lists", "show").out


def test_promote_and_demote(records, run):
    records(*CREATE, "--shadow")
    why = ("--reason", "a week without a wrong match")
    (live,) = records("lists", "promote", "demo", "--if-revision", "1", *why)
    assert (live["state"], live["revision"]) == ("live", 2)
    (again,) = records("lists", "promote", "demo", *why)
    assert (live.pop("changed"), again.pop("changed")) == (True, False)
    assert again == live
    told = run("lists", "promote", "demo", *why).err
    assert "The list demo is live already: nothing was changed." in told
    assert (
        "is at revision 2, not 1"
        in run(*("lists", "promote", "demo", "--if-revision", "1"), *why, status=2).err
    )
    (shadow,) = records("lists", "demote", "demo", *why)
    assert (shadow["state"], shadow["revision"]) == ("shadow", 3)
    again = run("lists", "demote", "demo", *why)
    assert "shadow" in again.out
    assert "is in shadow already" in again.err
    newest, *_ = records("lists", "revisions", "demo")
    assert (newest["kind"], newest["reason"]) == ("demote", why[1])
    assert newest["author"] == getpass.getuser()
    assert "the reason is empty" in run("lists", "promote", "demo", "--reason", " ", status=2).err


def test_the_handling_of_a_list_is_changed(records, run, monkeypatch):
    records(*CREATE, "--releasable-to", "unit-a", "--originator", "unit-x")
    order, why = ("lists", "handling", "demo"), ("--reason", "agreement of 1 November")
    (changed,) = records(*order, "--releasable-to", "unit-b", "--releasable-to", "unit-c", *why)
    held = {"originator": "unit-x", "releasable_to": ["unit-b", "unit-c"], "expires_at": None}
    assert (changed["changed"], changed["handling"], changed["revision"]) == (True, held, 2)
    told = run(*order, "--releasable-to", "unit-b", "--releasable-to", "unit-c", *why)
    assert "The list demo says so already: nothing was changed." in told.err
    (ends,) = records(*order, "--expires", "2090-01-01", "--originator", "", *why)
    held |= {"originator": "", "expires_at": "2090-01-01T00:00:00+00:00"}
    assert ends["handling"] == held
    (closed,) = records(*order, "--releasable-to-nobody", "--never-expires", *why)
    assert closed["handling"] == {"originator": "", "releasable_to": [], "expires_at": None}
    facts = dict(
        line.split("\t") for line in run(*order, "--originator", "us", *why).out.splitlines()
    )
    assert (facts["originator"], facts["releasable to"]) == ("us", "nobody")
    newest, *_ = records("lists", "revisions", "demo")
    assert (newest["kind"], newest["reason"]) == ("handling", why[1])
    assert newest["handling"] == {**closed["handling"], "originator": "us"}
    monkeypatch.setenv("TERM", "dumb")
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True)
    lines = run("lists", "revisions", "demo").out.splitlines()
    told = [line.strip() for line in lines if "releasable to" in line]
    assert told[0] == "originator us, releasable to nobody, expires never"
    assert told[-1] == "originator unit-x, releasable to unit-a, expires never"


def test_it_is_told_for_how_many_entries_a_list_does_not_speak(records, run, tmp_path):
    records(*CREATE)
    path = tmp_path / "said.jsonl"
    path.write_text('{"m": "%s", "to": "unit-b"}\n' % ("ab" * 16), encoding="utf-8")
    columns = ("--option", "columns.md5=m", "--option", "columns.releasable_to=to")
    run("lists", "import", str(path), "--list", "demo", "--format", "jsonl", *columns)
    order, why = ("lists", "handling", "demo"), ("--reason", "why")
    told = "Not changed for 1 entry, whose own records say otherwise: recipients."
    assert "Not changed" not in run(*order, "--originator", "us", *why).err
    assert told in run(*order, "--releasable-to-nobody", *why).err
    (record,) = records(*order, "--releasable-to", "unit-b", *why)
    assert record["apart"] == {"originator": 0, "releasable_to": 0, "expires_at": 0}


def test_an_import_does_not_change_the_handling_of_its_list(run, tmp_path):
    run(*CREATE)
    file = tmp_path / "list.csv"
    file.write_text(f"md5\n{'0' * 31}1\n")
    order = ("lists", "import", str(file), "--list", "demo", "--column", "md5=md5")
    told = run(*order, "--releasable-to", "unit-a", status=2).err
    assert "releasable to is nobody, not unit-a" in told
    assert "`lists handling demo` changes that" in told


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ((), "nothing to change was named"),
        (("--releasable-to", "a", "--releasable-to-nobody"), "contradict each other"),
        (("--expires", "2090-01-01", "--never-expires"), "contradict each other"),
        (("--expires", "2020-01-01"), "is over"),
        (("--releasable-to", "a", "--reason", " "), "the reason is empty"),
        (("--releasable-to", ""), "has a name"),
    ],
)
def test_what_is_no_change_of_handling_is_refused(run, given, says):
    run(*CREATE)
    told = run("lists", "handling", "demo", "--reason", "why", *given, status=2).err
    assert says in told
    assert run("lists", "revisions", "demo").out.count("\n") == 2


def test_a_new_list_is_live_here_unless_it_is_told_otherwise(records):
    (here,) = records(*CREATE)
    assert here["state"] == "live"
    (named,) = records(*CREATE[:2], "other", *CREATE[3:], "--live")
    assert named["state"] == "live"


@pytest.fixture
def asked(monkeypatch):
    """Somebody watches, and answers as told; what was asked."""
    questions, answers = [], []
    monkeypatch.setattr(importing, "require_someone_to_ask", lambda **_: None)

    def confirm(text, **_):
        questions.append(text)
        return answers.pop()

    monkeypatch.setattr(asking.click, "confirm", confirm)
    return questions, answers


class TestWholeLists:
    @pytest.fixture
    def filled(self, run, tmp_path):
        first = write_csv(tmp_path / "first.csv", [f"{digest(n)},1" for n in range(10)])
        run("lists", "import", first, *NEW_LIST, *MD5_COLUMN)
        return write_csv(tmp_path / "next.csv", [f"{digest(n)},1" for n in range(2, 11)])

    def test_what_would_go_is_told_and_asked_about(self, records, run, filled, asked):
        questions, answers = asked
        answers += [True, False]
        order = ("lists", "import", filled, "--list", "demo", *MD5_COLUMN, "--full")
        assert "it was not agreed to; nothing was imported" in run(*order, status=2).err
        (held,) = records("lists", "show", "demo")
        assert (held["coverage"]["entries"], held["revision"]) == (10, 2)
        told = run(*order).out
        assert "retracted\t2 (2 not in the file)" in told
        question = "Retract 2 of the 10 entries (20.0%) of demo, which are not in the file?"
        assert questions == [question, question]
        (again,) = records(*order)  # nothing is left to ask about
        assert (again["revision"], again["absent"]) == (0, 0)

    def test_without_anybody_to_ask_it_takes_a_yes(self, records, run, filled):
        order = ("lists", "import", filled, "--list", "demo", *MD5_COLUMN, "--full")
        told = run(*order, status=2).err
        assert "nobody can be asked here: 2 of the 10 entries (20.0%) of demo are not in" in told
        assert "nothing was imported; add --yes to --full to retract them, or put --plan" in told
        (held,) = records("lists", "show", "demo")
        assert (held["coverage"]["entries"], held["revision"]) == (10, 2)
        (report,) = records(*order, "--yes")
        assert (report["added"], report["retracted"], report["absent"]) == (1, 2, 2)
        (again,) = records(*order)  # nothing is left to ask about
        assert again["revision"] == 0

    def test_more_takes_force(self, records, run, filled, tmp_path):
        few = write_csv(tmp_path / "few.csv", [f"{digest(1)},1"])
        order = ("lists", "import", few, "--list", "demo", *MD5_COLUMN, "--full", "--yes")
        assert "above the limit of 20.0%" in run(*order, status=2).err
        (report,) = records(*order, "--force")
        assert (report["retracted"], report["absent"]) == (9, 9)

    def test_yes_means_nothing_alone(self, run, filled):
        told = run("lists", "import", filled, "--list", "demo", *MD5_COLUMN, "--yes", status=2).err
        assert "--yes goes with --full" in told


def test_stats(records, run, tmp_path):
    records(*CREATE, "--shadow")
    told = run("lists", "stats", "demo", "--days", "1").err
    assert "No upload was judged by a server while demo counted, in the last 1 day;" in told
    assert "hand their numbers over every half minute" in told
    assert records("lists", "stats", "demo") == []
    now = today()
    days = [
        MatchDay("demo", now - timedelta(days=1), "default", 200, 1, 3),
        MatchDay("demo", now, "default", 200, 0, 0),
    ]
    with Catalog.open(f"sqlite:///{tmp_path}/data/catalog.sqlite3") as catalog:
        catalog.add_match_days(days)
    first, second = records("lists", "stats", "demo")
    expected = {"state": "shadow", "policy": "default", "uploads": 200, "exact": 1, "near": 3}
    assert first == expected | {"list": "demo", "day": str(days[0].day), "share": 0.02}
    assert second["day"] == str(now)
    shown = run("lists", "stats", "demo")
    assert f"{days[0].day}\tdefault\t200\t1\t3\t2.0000%" in shown.out
    assert "in shadow; by the numbers above it would have matched 4 of 400 uploads" in shown.err
    assert len(records("lists", "stats", "demo", "--days", "1")) == 1
    run("lists", "stats", "nosuch", status=2)
