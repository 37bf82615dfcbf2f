"""What the doctor says of TLS, clients and the audit."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from matcher.cli import checks
from matcher.cli.access_checks import check_access
from matcher.cli.context import Session
from tests.certificates import Authority

DAY = timedelta(days=1)


@pytest.fixture
def session(tmp_path):
    return Session(tmp_path)


def found(session):
    return {
        each.check: each.status.value
        for each in checks.run({"access": lambda: check_access(session)})
    }


def add(session):
    with session.access_database() as database:
        new = NewClient("uploads", frozenset({Role.MATCH}))
        database.add_client(new, actor="test", key=session.token_key())


def settle(tmp_path, **settings):
    lines = [f'{name} = "{value}"' for name, value in settings.items()]
    (tmp_path / "hashwarden.toml").write_text("\n".join(lines))


def test_where_nobody_has_to_be_known_nobody_need_be(session, tmp_path):
    assert found(session) == {"clients": "ok"}
    assert list(tmp_path.iterdir()) == []  # nothing is made


def test_where_callers_must_be_known_somebody_should_be(session, tmp_path):
    settle(tmp_path, authentication="required")
    assert found(session) == {"clients": "warn"}
    add(session)
    assert found(session) == {"clients": "ok", "token key": "ok", "audit": "ok"}
    with session.access_database() as database:
        database.revoke_client("uploads", actor="test")
    assert found(session)["clients"] == "warn"


def test_the_key_of_tokens_must_be_theirs(session, tmp_path):
    add(session)
    (tmp_path / "token.key").unlink()
    assert found(session)["token key"] == "fail"
    load_or_make_key(tmp_path / "token.key")
    assert found(session)["token key"] == "fail"


def test_a_broken_audit_fails(session, tmp_path):
    add(session)
    with closing(sqlite3.connect(tmp_path / "access.sqlite3")) as connection:
        connection.execute("UPDATE audit SET actor = 'x'")
        connection.commit()
    assert found(session)["audit"] == "fail"


def test_clients_without_tokens_need_no_key(session):
    with session.access_database() as database:
        new = NewClient("uploads", frozenset({Role.MATCH}), identity="dns:a.test")
        database.add_client(new, actor="test", key=None)
    assert found(session) == {"clients": "ok", "audit": "ok"}


def test_a_certificate_must_be_one(tmp_path):
    certificate, key = Authority(tmp_path).issue_for_this_machine("server", lasts=15 * DAY)
    settle(tmp_path, tls_certificate=certificate, tls_key=key)
    assert found(Session(tmp_path))["certificate"] == "ok"
    certificate.write_text("nonsense")
    assert found(Session(tmp_path)) == {"access": "fail"}


@pytest.mark.parametrize(("lasts", "status"), [(15, "ok"), (13, "warn"), (-1, "fail")])
def test_a_certificate_must_go_on_counting(tmp_path, lasts, status):
    certificate, key = Authority(tmp_path).issue_for_this_machine("server", lasts=lasts * DAY)
    settle(tmp_path, tls_certificate=certificate, tls_key=key)
    assert found(Session(tmp_path))["certificate"] == status


def test_it_ends_with_the_first_of_its_chain(tmp_path):
    authority = Authority(tmp_path, lasts=-DAY)
    certificate, key = authority.issue_for_this_machine("server", lasts=99 * DAY)
    certificate.write_bytes(certificate.read_bytes() + authority.file.read_bytes())
    settle(tmp_path, tls_certificate=certificate, tls_key=key)
    assert found(Session(tmp_path))["certificate"] == "fail"


def test_authorities_of_clients_end_with_the_last(tmp_path):
    certificate, key = Authority(tmp_path).issue_for_this_machine("server", lasts=99 * DAY)
    old, new = (Authority(tmp_path, name, lasts=n * DAY) for name, n in (("old", -1), ("new", 99)))
    settle(tmp_path, tls_certificate=certificate, tls_key=key, tls_client_ca=old.file)
    assert found(Session(tmp_path))["authority of clients"] == "fail"
    old.file.write_bytes(old.file.read_bytes() + new.file.read_bytes())
    assert found(Session(tmp_path))["authority of clients"] == "ok"


def test_clients_that_soon_expire_are_named(session):
    with session.access_database() as database:
        for name, days in (("soon", 13), ("later", 15), ("gone", 1)):
            until = datetime.now(UTC) + days * DAY
            new = NewClient(name, frozenset({Role.MATCH}), expires_at=until)
            database.add_client(new, actor="test", key=session.token_key())
        database.revoke_client("gone", actor="test")
    assert found(session) == {
        "clients": "ok",
        "client soon": "warn",
        "token key": "ok",
        "audit": "ok",
    }
