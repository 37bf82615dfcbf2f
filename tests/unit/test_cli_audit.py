"""What is done on this machine stands in the audit, and is not done where it cannot."""

from __future__ import annotations

import json
import re
import sqlite3
from contextlib import closing

import pytest

from matcher import cli

WHY = ("--reason", "a test")


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        found = cli.main(["--data", str(tmp_path / "data"), *map(str, arguments)])
        captured = capsys.readouterr()
        assert found == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


@pytest.fixture
def show(run):
    """Pairs of act and outcome, and the records."""

    def shown(*options):
        return [
            json.loads(each)
            for each in run("audit", "show", "--json", *options).out.split("\n")[:-1]
        ]

    return shown


@pytest.fixture
def file(tmp_path):
    path = tmp_path / "list.csv"
    path.write_text("md5,id\n" + "".join(f"{number:032x},M-{number}\n" for number in range(1, 4)))
    return path


@pytest.fixture
def filled(run, file):
    columns = ("--column", "md5=md5", "--column", "source_id=id")
    run("lists", "import", file, "--list", "demo", "--harm", "test", "--source", "s", *columns)


def test_each_act_on_lists_is_recorded_before_and_after(run, show, filled, tmp_path):
    acts = {
        "list.create": ("lists", "create", "other", "--harm", "test", "--source", "s"),
        "list.demote": ("lists", "demote", "demo", *WHY),
        "list.promote": ("lists", "promote", "demo", *WHY),
        "list.handling": ("lists", "handling", "demo", "--releasable-to", "us", *WHY),
        "list.retract": ("lists", "retract", "demo", "--source-id", "M-1", *WHY),
        "list.restore": ("lists", "restore", "demo", "--source-id", "M-1", *WHY),
        "list.rollback": ("lists", "rollback", "demo", "--to", "1", "--yes", *WHY),
        "list.purge": ("lists", "purge", "demo", "--source-id", "M-2", "--yes", *WHY),
        "catalog.wipe": ("lists", "wipe"),
        "list.export": (
            *("lists", "export", "--list", "demo", "--format", "csv", "--recipient", "us"),
            *("--to", tmp_path / "out.csv"),
        ),
    }
    for arguments in acts.values():
        run(*arguments)
    found = show()
    expected = ["list.import", *acts]
    told = [(each["act"], each["outcome"]) for each in found]
    assert told == [(act, how) for act in expected for how in ("begun", "done")]
    assert {each["who"].partition(":")[0] for each in found} == {"account"}
    ends = {each["act"]: each["details"] for each in found if each["outcome"] == "done"}
    assert ends["list.import"].items() >= {"added": 3, "format": "csv"}.items()
    assert ends["list.purge"]["reason"] == "a test"
    assert ends["list.export"]["recipients"] == ["us"]
    assert ends["catalog.wipe"]["traces_wiped"] is True
    without = {"list.export", "catalog.wipe"}
    assert all(ends[act]["revision"] for act in expected if act not in without)
    assert run("audit", "verify").err.startswith("The audit is whole")


def test_what_only_looks_is_not_recorded(run, show, filled):
    before = show()
    run("lists", "retract", "demo", "--source-id", "M-1", "--dry-run", *WHY)
    run("lists", "show")
    run("lists", "revisions")
    assert show() == before


def test_what_failed_is_recorded_so(run, show, filled):
    run("lists", "retract", "demo", "--source-id", "nothing", *WHY, status=2)
    last = show()[-1]
    assert (last["act"], last["outcome"]) == ("list.retract", "failed")
    assert last["details"]["reason_code"] == "ENTRY_NOT_FOUND"


def test_what_cannot_be_recorded_is_not_done(run, filled, tmp_path):
    (tmp_path / "data" / "audit.head").unlink()
    (tmp_path / "data" / "audit.head").mkdir()
    told = run("lists", "demote", "demo", *WHY, status=2).err
    assert "the end of the audit cannot be kept" in told
    assert "live" in run("lists", "show", "demo").out


def test_no_hash_stands_there(run, filled, tmp_path):
    digest, file = f"{1:032x}", tmp_path / "digests"
    file.write_text(digest)
    run("lists", "retract", "demo", "--digests", file, *WHY)
    with closing(sqlite3.connect(tmp_path / "data" / "access.sqlite3")) as connection:
        text = "\n".join(connection.iterdump())
    assert digest not in text


def test_records_are_shown_newest_or_from_a_number(run, show, filled):
    for _ in range(3):
        run("lists", "demote", "demo", *WHY)
    numbers = [each["number"] for each in show()]
    assert numbers == list(range(1, 9))
    assert [each["number"] for each in show("--limit", "2")] == [7, 8]
    assert [each["number"] for each in show("--after", "3", "--limit", "2")] == [4, 5]
    header, first, *_ = run("audit", "show").out.splitlines()
    assert header.split("\t")[:3] == ["number", "at", "who"]
    assert first.split("\t")[0] == "1"


@pytest.mark.parametrize("columns", [60, 80])
def test_a_person_reads_records_in_a_narrow_terminal(run, filled, monkeypatch, columns):
    """No word is broken, and nothing is left out."""
    reason = "a reason of many words that no narrow terminal has room for beside all else"
    run("lists", "demote", "demo", "--reason", reason)
    monkeypatch.setattr("matcher.cli.audit.is_terminal", lambda: True)
    monkeypatch.setenv("COLUMNS", str(columns))
    lines = [line.rstrip() for line in run("audit", "show").out.splitlines()]
    assert max(map(len, lines)) <= columns
    heads = [line for line in lines if not line.startswith("  ")]
    assert re.fullmatch(r"3  [-\d]{10} [:\d]{8} UTC  list.demote demo: begun", heads[-2])
    assert heads[-1].endswith("list.demote demo: done")
    told = " ".join(" ".join(lines[lines.index(heads[-2]) : lines.index(heads[-1])]).split())
    assert f"reason: {reason}" in told
    assert " by account:" in told


def test_a_broken_record_is_named(run, filled, tmp_path):
    head = run("audit", "verify").out.strip()
    assert run("audit", "verify", "--head", head).out.strip() == head
    told = json.loads(run("audit", "verify", "--json").out)
    assert told == {"whole": True, "broken": None, "problem": None, "head": head}
    with closing(sqlite3.connect(tmp_path / "data" / "access.sqlite3")) as connection:
        connection.execute("UPDATE audit SET actor = 'x' WHERE number = 1")
        connection.commit()
    assert "record 1 says something else" in run("audit", "verify", status=1).err
    told = json.loads(run("audit", "verify", "--json", status=1).out)
    assert (told["whole"], told["broken"]) == (False, 1)


def test_a_head_from_elsewhere_tells_what_was_replaced_whole(run, filled):
    head = run("audit", "verify").out.strip()
    number = int(head.partition(":")[0])
    later = f"{number + 5}:{'ab' * 32}"
    assert "is missing" in run("audit", "verify", "--head", later, status=1).err
    other = f"{number}:{'ab' * 32}"
    assert "is not the one" in run("audit", "verify", "--head", other, status=1).err
    assert "NUMBER:SHA256" in run("audit", "verify", "--head", "nonsense", status=2).err


@pytest.mark.parametrize("command", ["show", "verify"])
def test_where_nothing_was_recorded_nothing_is_made(run, command, tmp_path):
    assert "nothing recorded" in run("audit", command, status=2).err
    assert not (tmp_path / "data").exists()
