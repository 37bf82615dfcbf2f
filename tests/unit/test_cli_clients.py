"""`hashwarden clients` on this machine's own database."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.tokens import load_key, token_digest
from matcher import cli


@pytest.fixture
def run(tmp_path, capsys):
    def ran(*arguments, status=0):
        found = cli.main(["--data", str(tmp_path), "clients", *arguments])
        captured = capsys.readouterr()
        assert found == status, captured.err
        return captured

    return ran


@pytest.fixture
def show(run):
    def shown(*names):
        return [json.loads(line) for line in run("show", *names, "--json").out.splitlines()]

    return shown


def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'access.sqlite3'}"
    return AccessDatabase.open(url, HeadFile(tmp_path / "audit.head"))


@pytest.mark.parametrize("known", [False, True])
def test_an_identity_that_no_server_could_know_is_told(run, tmp_path, monkeypatch, known):
    if known:
        for name in ("CLIENT_CA", "CERTIFICATE", "KEY"):
            monkeypatch.setenv(f"HASHWARDEN_TLS_{name}", str(tmp_path / "its.pem"))
    told = run("add", "a", "--role", "match", "--identity", "dns:a.test").err
    assert ("tls_client_ca is not set" in told) is not known
    told = run("change", "a", "--identity", "dns:b.test").err
    assert ("tls_client_ca is not set" in told) is not known
    assert "tls_client_ca" not in run("change", "a", "--role", "import").err
    assert "tls_client_ca" not in run("add", "b", "--role", "match").err


def test_a_token_is_shown_once(run, show, tmp_path):
    token = run("add", "uploads", "--role", "match").out.strip()
    with database(tmp_path) as opened:
        (kept,) = opened.client("uploads").tokens
    assert kept.digest == token_digest(load_key(tmp_path / "token.key"), token)
    (shown,) = show()
    assert (
        shown.items()
        >= {
            "client": "uploads",
            "state": "active",
            "roles": ["match"],
            "policy": None,
            "identity": None,
            "expires_at": None,
            "revoked_at": None,
        }.items()
    )
    assert token not in run("show").out


def test_all_that_can_be_said(run, show):
    made = run(
        *("add", "feed", "--role", "import", "--role", "export", "--policy", "strict"),
        *("--identity", "dns:feed.test", "--expires", "2040-01-02", "--json"),
    )
    record = json.loads(made.out)
    assert record["token"] is None
    assert (record["identity"], record["policy"]) == ("dns:feed.test", "strict")
    assert record["expires_at"] == "2040-01-02T00:00:00+00:00"
    assert record["roles"] == ["export", "import"]
    run("change", "feed", "--role", "review", "--expires", "2041-01-02T03:04:05+0100")
    (shown,) = show("feed")
    assert shown["roles"] == ["review"]
    assert shown["expires_at"] == "2041-01-02T02:04:05+00:00"
    assert shown["policy"] == "strict"
    assert "dns:feed.test" in run("show", "feed").out


def test_a_table_for_people(run):
    run("add", "a", "--role", "match", "--identity", "uri:b")
    header, row = run("show").out.splitlines()
    assert header.split("\t") == [
        *("client", "state", "roles", "policy", "identity", "tokens", "expires")
    ]
    assert row.split("\t") == ["a", "active", "match", "(default)", "uri:b", "0", "-"]


@pytest.mark.parametrize(
    ("overlap", "left"),
    [("30m", timedelta(minutes=30)), ("2h", timedelta(hours=2)), ("7d", timedelta(days=7))],
)
def test_tokens_overlap(run, show, overlap, left):
    first = json.loads(run("add", "uploads", "--role", "match", "--json").out)["token"]
    second = run("rotate", "uploads", "--overlap", overlap).out.strip()
    assert first != second
    (shown,) = show()
    newer, older = shown["tokens"]
    assert newer["expires_at"] is None
    ends = datetime.fromisoformat(older["expires_at"]) - datetime.now(UTC)
    assert abs(ends - left) < timedelta(minutes=5)
    run("rotate", "uploads", "--overlap", "0")
    assert len(show()[0]["tokens"]) == 1


def test_a_revocation_is_asked_about_and_for_good(run, show):
    run("add", "uploads", "--role", "match")
    assert "--yes" in run("revoke", "uploads", status=2).err
    assert show()[0]["state"] == "active"
    run("revoke", "uploads", "--yes")
    (shown,) = show()
    assert (shown["state"], shown["tokens"]) == ("revoked", [])
    assert shown["revoked_at"]
    assert "for good" in run("rotate", "uploads", status=2).err
    assert "given once" in run("add", "uploads", "--role", "match", status=2).err


def test_who_says_no_changes_nothing(run, show, monkeypatch):
    from matcher.cli import clients

    run("add", "uploads", "--role", "match")
    monkeypatch.setattr(clients, "require_someone_to_ask", lambda **_: None)
    monkeypatch.setattr(clients, "agreed", lambda _: False)
    run("revoke", "uploads", status=2)
    assert show()[0]["state"] == "active"


def test_what_was_done_names_the_account(run, tmp_path):
    run("add", "uploads", "--role", "match")
    with database(tmp_path) as opened:
        (record,) = opened.records()
    assert record.event.actor.startswith("account:")
    assert (record.event.act, record.event.subject) == ("client.add", "uploads")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("add", "uploads"), "--role"),
        (("add", "Uploads", "--role", "match"), "lower-case"),
        (("add", "a", "--role", "match", "--identity", "a.test"), "dns:HOST"),
        (("add", "a", "--role", "match", "--expires", "soon"), "soon"),
        (("change", "a"), "what is to be changed"),
        (("change", "a", "--policy", "x"), "no client named 'a'"),
        (("rotate", "a", "--overlap", "1y"), "24h"),
        (("rotate", "a"), "no client named 'a'"),
        (("revoke", "a", "--yes"), "nobody was added"),
        (("show", "a"), "nobody was added"),
    ],
)
def test_what_is_wrong_is_told(run, arguments, told):
    assert told in run(*arguments, status=2).err


def test_a_person_is_told_what_the_token_is(run, monkeypatch):
    from matcher.cli import clients

    monkeypatch.setattr(clients, "is_terminal", lambda **_: True)
    assert "not shown again" in run("add", "uploads", "--role", "match").err


def test_a_client_that_has_expired_already_is_not_added(run):
    told = run("add", "uploads", "--role", "match", "--expires", "2020-01-01", status=2)
    assert (told.out, "is in the past" in told.err) == ("", True)
    assert "nobody was added" in run("show", status=2).err
