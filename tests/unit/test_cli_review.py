"""`hashwarden review`: what waits, and how it stops waiting."""

from __future__ import annotations

import json

import pytest

from hashlists.access.audit import Event
from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.noticed import CLIENT_CLIMBING, ENTRY_HOT
from matcher import cli


@pytest.fixture
def data(tmp_path):
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
def run(data, capsys):
    def ran(*arguments, status=0):
        found = cli.main(["--data", str(data), "review", *arguments])
        captured = capsys.readouterr()
        assert found == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    return ran


@pytest.fixture
def noticed(data):
    url = f"sqlite:///{data / 'access.sqlite3'}"
    with AccessDatabase.open(url, HeadFile(data / "audit.head")) as database:
        database.record(Event("server:a", ENTRY_HOT, "entry:7", details={"hits": 50}))
        database.record(Event("server:a", CLIENT_CLIMBING, "client:b", details={"queries": 20}))


def shown(run):
    return [json.loads(line) for line in run("list", "--json").out.splitlines()]


def test_what_waits_is_shown(run, noticed):
    first, second = shown(run)
    assert (first["subject"], first["noticed"], first["times"]) == ("entry:7", ENTRY_HOT, 1)
    assert first["details"] == {"hits": 50}
    assert second["subject"] == "client:b"
    header, row, _ = run("list").out.splitlines()
    assert header.split("\t") == ["subject", "noticed", "first", "last", "times", "details"]
    assert row.startswith("entry:7\tentry.hot\t")


def test_what_somebody_looked_at_waits_no_longer(run, noticed):
    assert "entry:7 no longer waits" in run("done", "entry:7", "--reason", "a meme").err
    assert [each["subject"] for each in shown(run)] == ["client:b"]
    run("done", "client:b", "--reason", "a test of ours")
    assert "Nothing waits" in run("list").err
    assert "nothing of that name waits" in run("done", "entry:7", "--reason", "x", status=2).err


def test_where_nothing_was_recorded_that_is_said(run):
    assert "no database of clients and audit" in run("list", status=2).err
