"""Clients and the audit: what is kept, what is refused, and how a damaged record is found."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from datetime import UTC, datetime, timedelta
from threading import Thread

import pytest

from hashlists.access.audit import Event, Fault, Outcome
from hashlists.access.audit_head import AuditHead, HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import ClientState, NewClient, Role
from hashlists.access.tokens import key_mark, load_key, load_or_make_key, token_digest, token_id_of
from hashlists.errors import (
    AccessDatabaseError,
    AuditError,
    ClientExistsError,
    ClientInvalidError,
    ClientNotFoundError,
    TokenKeyError,
)

ME = {"actor": "account:me"}
KEY = bytes(range(32))


@pytest.fixture
def file(tmp_path):
    return tmp_path / "access.sqlite3"


@pytest.fixture
def head_file(tmp_path):
    return HeadFile(tmp_path / "audit.head")


@pytest.fixture
def database(file, head_file):
    with AccessDatabase.open(f"sqlite:///{file}", head_file) as opened:
        yield opened


def new(name="uploads", *roles, **said):
    return NewClient(name, frozenset(roles or {Role.MATCH}), **said)


def execute(file, *statements):
    with closing(sqlite3.connect(file)) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


class TestClients:
    def test_a_client_is_kept_as_it_was_said(self, database):
        end = datetime(2040, 1, 2, tzinfo=UTC)
        said = new("a-1", Role.IMPORT, Role.EXPORT, policy="strict", expires_at=end)
        token = database.add_client(said, **ME, key=KEY)
        client = database.client("a-1")
        assert (client.name, client.roles, client.policy) == ("a-1", said.roles, "strict")
        assert (client.expires_at, client.identity, client.revoked_at) == (end, None, None)
        (kept,) = client.tokens
        assert kept.token_id == token_id_of(token)
        assert kept.digest == token_digest(KEY, token)
        assert database.known_clients().key_mark == key_mark(KEY)

    def test_no_token_stands_in_the_database(self, database, file, tmp_path):
        token = database.add_client(new(), **ME, key=KEY)
        secret = token.split("_", 2)[2].encode()  # which may hold the sign itself
        assert len(secret) == 43
        assert not any(secret in each.read_bytes() for each in tmp_path.iterdir())
        assert secret.decode() not in repr(database.known_clients())
        assert file.stat().st_mode & 0o777 == 0o600

    def test_one_with_a_certificate_has_no_token_unless_it_is_given_one(self, database):
        assert database.add_client(new(identity="dns:a.test"), **ME, key=None) == ""
        assert database.client("uploads").tokens == ()
        assert database.known_clients().key_mark is None
        database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta())
        assert len(database.client("uploads").tokens) == 1

    def test_how_a_client_stands(self, database):
        now = datetime.now(UTC)
        database.add_client(new("a", expires_at=now), **ME, key=KEY)
        assert database.client("a").state(now - timedelta(seconds=1)) is ClientState.ACTIVE
        assert database.client("a").state(now) is ClientState.EXPIRED
        revoked = database.revoke_client("a", **ME)
        assert revoked.state(now) is ClientState.REVOKED
        assert database.revoke_client("a", **ME) == revoked  # it may be repeated

    def test_tokens_overlap_for_a_while(self, database):
        database.add_client(new(), **ME, key=KEY)
        for hours in (5, 3, 4):
            database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta(hours=hours))
        now = datetime.now(UTC)
        ends = [each.expires_at for each in database.client("uploads").tokens]
        assert ends[0] is None
        left = [round((each - now) / timedelta(hours=1)) for each in ends[1:]]
        assert left == [4, 3, 3]  # none of them is given more time than it had
        database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta())
        _, *ended = database.client("uploads").tokens
        assert len(ended) == 4  # it can still be told whose they were
        assert not any(each.counts(each.created_at) for each in ended)  # by whatever clock

    def test_what_ended_long_ago_is_cleared_away(self, database, monkeypatch):
        database.add_client(new(), **ME, key=KEY)
        for day in (0, 89, 100, 180):
            now = round((datetime.now(UTC) + timedelta(days=day)).timestamp() * 1_000_000)
            monkeypatch.setattr("hashlists.access.database._now", lambda now=now: now)
            database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta(hours=1))
        assert len(database.client("uploads").tokens) == 3

    def test_what_is_changed_and_what_stays(self, database):
        database.add_client(new(policy="strict"), **ME, key=KEY)
        database.change_client("uploads", **ME, roles=frozenset({Role.REVIEW}), policy=None)
        client = database.client("uploads")
        assert (client.roles, client.policy) == ({Role.REVIEW}, "strict")
        assert len(client.tokens) == 1
        database.change_client("uploads", **ME, identity="uri:a")
        assert database.client("uploads").identity == "uri:a"

    def test_a_name_is_given_once_and_an_identity_to_one(self, database):
        database.add_client(new("a", identity="dns:a.test"), **ME, key=None)
        database.add_client(new("b"), **ME, key=KEY)
        with pytest.raises(ClientExistsError, match="given once"):
            database.add_client(new("a"), **ME, key=KEY)
        with pytest.raises(ClientExistsError, match="'a' has that identity"):
            database.add_client(new("c", identity="dns:a.test"), **ME, key=None)
        with pytest.raises(ClientExistsError, match="'a' has that identity"):
            database.change_client("b", **ME, identity="dns:a.test")
        database.revoke_client("a", **ME)
        with pytest.raises(ClientExistsError, match="given once"):
            database.add_client(new("a"), **ME, key=KEY)
        database.change_client("b", **ME, identity="dns:a.test")

    def test_what_was_revoked_stays_so(self, database):
        database.add_client(new(), **ME, key=KEY)
        database.revoke_client("uploads", **ME)
        with pytest.raises(ClientInvalidError, match="for good"):
            database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta())
        with pytest.raises(ClientInvalidError, match="for good"):
            database.change_client("uploads", **ME, policy="x")

    def test_nobody_of_that_name(self, database):
        for act in (
            lambda: database.client("x"),
            lambda: database.revoke_client("x", **ME),
            lambda: database.change_client("x", **ME, policy="y"),
            lambda: database.rotate_token("x", **ME, key=KEY, overlap=timedelta()),
        ):
            with pytest.raises(ClientNotFoundError, match="'x'"):
                act()

    def test_one_key_for_all_tokens(self, database):
        database.add_client(new("a"), **ME, key=KEY)
        with pytest.raises(TokenKeyError, match="token_key_file"):
            database.add_client(new("b"), **ME, key=bytes(32))
        with pytest.raises(ClientNotFoundError):
            database.client("b")  # nothing was half done

    @pytest.mark.parametrize(
        "said",
        [
            {"name": "Uploads"},
            {"name": "a" * 64},
            {"name": "a-"},
            {"roles": frozenset()},
            {"policy": "No Policy"},
            {"identity": "uploads.test"},
            {"identity": "cn:uploads.test"},
            {"identity": "dns:"},
            {"identity": "dns: a"},
            {"identity": "subject:CN=\n"},
        ],
    )
    def test_what_cannot_be(self, said):
        with pytest.raises(ClientInvalidError):
            NewClient(**{"name": "a", "roles": frozenset({Role.MATCH}), **said})

    def test_changes_are_counted(self, database):
        before = database.revision()
        database.add_client(new(), **ME, key=None)
        assert database.revision() > before
        before = database.revision()
        database.record(Event("me", "list.import", "demo"))
        assert database.revision() == before == database.known_clients().revision


class TestKeyFile:
    def test_it_is_made_once_for_its_owner_alone(self, tmp_path):
        path = tmp_path / "token.key"
        key = load_or_make_key(path)
        assert load_or_make_key(path) == load_key(path) == key
        assert path.stat().st_mode & 0o777 == 0o600
        assert [each.name for each in tmp_path.iterdir()] == ["token.key"]

    @pytest.mark.parametrize("text", ["", "nonsense", "ab" * 31, "é"])
    def test_what_is_no_key(self, tmp_path, text):
        path = tmp_path / "token.key"
        path.write_text(text, encoding="utf-8")
        path.chmod(0o600)
        with pytest.raises(TokenKeyError, match="no key of tokens"):
            load_key(path)

    def test_nobody_else_may_read_it(self, tmp_path):
        path = tmp_path / "token.key"
        load_or_make_key(path)
        path.chmod(0o640)
        load_key(path)
        path.chmod(0o644)
        with pytest.raises(TokenKeyError, match="0644"):
            load_key(path)

    def test_where_none_can_be_made(self, tmp_path):
        with pytest.raises(TokenKeyError, match="cannot be made"):
            load_or_make_key(tmp_path / "missing" / "token.key")


class TestAudit:
    @pytest.fixture
    def recorded(self, database):
        for number in range(5):
            database.record(Event("me", "list.import", f"list-{number}", details={"n": number}))
        return database

    def test_what_is_recorded_can_be_read(self, database):
        event = Event("me", "list.purge", "demo", Outcome.FAILED, {"why": "é\n", "n": [1, None]})
        database.record(event)
        (record,) = database.records()
        assert (record.number, record.event) == (1, event)
        assert abs(datetime.now(UTC) - record.at) < timedelta(minutes=1)
        assert database.newest_record("list.purge") == record
        assert database.newest_record("list.import") is None
        assert database.records(after=1) == []

    def test_changes_of_clients_are_recorded(self, database):
        database.add_client(new(identity="dns:a"), **ME, key=None)
        database.change_client("uploads", **ME, policy="strict")
        database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta(hours=1))
        database.revoke_client("uploads", **ME)
        found = [(each.event.act, each.event.subject) for each in database.records()]
        acts = ("add", "change", "rotate", "revoke")
        assert found == [(f"client.{act}", "uploads") for act in acts]
        assert {each.event.actor for each in database.records()} == {"account:me"}
        assert database.records()[1].event.details["policy"] == "strict"
        assert database.verify_audit() is None

    def test_what_failed_is_not_recorded_as_done(self, database):
        with pytest.raises(ClientNotFoundError):
            database.revoke_client("x", **ME)
        assert database.records() == []
        assert database.verify_audit() is None

    def test_a_whole_chain_is_well(self, recorded, head_file):
        assert recorded.verify_audit() is None
        assert head_file.read() == recorded.audit_head()
        assert recorded.verify_audit(AuditHead.parse(str(recorded.audit_head()))) is None

    @pytest.mark.parametrize(
        ("statement", "number", "problem"),
        [
            ("UPDATE audit SET subject = 'x' WHERE number = 3", 3, "something else"),
            ("UPDATE audit SET at = at + 1 WHERE number = 1", 1, "something else"),
            ("UPDATE audit SET details = '{}' WHERE number = 5", 5, "something else"),
            ("DELETE FROM audit WHERE number = 3", 3, "missing"),
            ("DELETE FROM audit WHERE number = 1", 1, "missing"),
            ("DELETE FROM audit WHERE number > 3", 4, "missing, and all up to 5"),
            ("DELETE FROM audit", 1, "missing, and all up to 5"),
            ("UPDATE audit SET number = 9 WHERE number = 5", 5, "missing"),
        ],
    )
    def test_the_first_broken_record_is_named(self, recorded, file, statement, number, problem):
        execute(file, statement)
        fault = recorded.verify_audit()
        assert fault is not None
        assert fault.number == number
        assert problem in fault.problem

    def test_an_end_that_was_cut_off_carefully_is_missed(self, recorded, file, head_file):
        execute(
            file,
            "DELETE FROM audit WHERE number > 3",
            "UPDATE head SET audit_number = 3,"
            " audit_digest = (SELECT digest FROM audit WHERE number = 3)",
        )
        told = "is missing, and all up to 5, at which the chain was kept apart"
        assert recorded.verify_audit() == Fault(4, told)
        # What is appended after that does not hide it.
        for _ in range(4):
            recorded.record(Event("me", "list.import", "x"))
        fault = recorded.verify_audit()
        assert fault is not None
        assert (fault.number, fault.problem) == (
            5,
            "is not the one at which the chain was kept apart",
        )
        assert head_file.read().number == 5

    def test_a_head_of_the_database_that_is_another(self, recorded, file):
        execute(file, "UPDATE head SET audit_digest = x'00'")
        fault = recorded.verify_audit()
        assert fault is not None
        assert fault.number == 5

    def test_records_beyond_one_page(self, database, monkeypatch):
        from hashlists.access import audit

        monkeypatch.setattr(audit, "_PAGE", 2)
        for number in range(5):
            database.record(Event("me", "act", str(number)))
        assert database.verify_audit() is None

    def test_many_at_once_make_one_chain(self, database, file, tmp_path):
        def work():
            with AccessDatabase.open(f"sqlite:///{file}", HeadFile(tmp_path / "audit.head")) as own:
                for number in range(5):
                    own.record(Event("me", "act", str(number)))

        threads = [Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert database.audit_head().number == 20
        assert database.verify_audit() is None

    def test_where_it_cannot_be_written_nothing_is_done(self, database, file, monkeypatch):
        execute(
            file, "CREATE TRIGGER full BEFORE INSERT ON audit BEGIN SELECT raise(FAIL, 'x'); END"
        )
        with pytest.raises(AuditError, match="cannot be written"):
            database.record(Event("me", "act", "x"))
        with pytest.raises(AccessDatabaseError):
            database.add_client(new(), **ME, key=None)
        assert database.known_clients().clients == ()

    def test_where_its_end_cannot_be_kept_nothing_is_done(self, database, tmp_path):
        (tmp_path / "audit.head").mkdir()
        with pytest.raises(AuditError, match="cannot be kept"):
            database.record(Event("me", "act", "x"))
        assert database.records() == []

    @pytest.mark.parametrize("text", ["nonsense", "1", "-1 " + "ab" * 32, "1 abcd"])
    def test_a_file_of_something_else(self, database, tmp_path, text):
        (tmp_path / "audit.head").write_text(text)
        for act in (lambda: database.record(Event("me", "a", "x")), database.verify_audit):
            with pytest.raises(AuditError, match="does not say"):
                act()


class TestOpening:
    def test_two_at_once_make_it_once(self, file, head_file):
        failed = []

        def work():
            try:
                AccessDatabase.open(f"sqlite:///{file}", head_file).close()
            except AccessDatabaseError as error:
                failed.append(error)

        threads = [Thread(target=work) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert failed == []

    def test_another_database_is_refused(self, file, head_file):
        execute(file, "CREATE TABLE other (a)")
        with pytest.raises(AccessDatabaseError, match="access_url"):
            AccessDatabase.open(f"sqlite:///{file}", head_file)

    def test_one_of_a_newer_build_is_refused(self, database, file, head_file):
        execute(file, "UPDATE meta SET value = x'32' WHERE name = 'schema_version'")
        with pytest.raises(AccessDatabaseError, match="newer build"):
            AccessDatabase.open(f"sqlite:///{file}", head_file)

    @pytest.mark.parametrize("url", ["nonsense", "mysql://a/b", "sqlite://"])
    def test_an_url_that_is_none(self, url, head_file):
        with pytest.raises(AccessDatabaseError, match="access database"):
            AccessDatabase.open(url, head_file)

    @pytest.mark.skipif(os.geteuid() == 0, reason="root writes everywhere")
    def test_a_folder_that_cannot_be_written(self, tmp_path, head_file):
        tmp_path.chmod(0o500)
        with pytest.raises(AccessDatabaseError):
            AccessDatabase.open(f"sqlite:///{tmp_path / 'x' / 'y'}", head_file)


def test_the_same_in_postgresql(postgresql_server, tmp_path):
    url = postgresql_server.url(postgresql_server.make_database())
    with AccessDatabase.open(url, HeadFile(tmp_path / "audit.head")) as database:
        database.add_client(new(), **ME, key=KEY)
        database.rotate_token("uploads", **ME, key=KEY, overlap=timedelta(hours=1))
        database.record(Event("me", "list.import", "demo", Outcome.BEGUN))
        assert len(database.client("uploads").tokens) == 2
        assert database.verify_audit() is None
        assert [each.number for each in database.records()] == [1, 2, 3]
    with AccessDatabase.open(url, HeadFile(tmp_path / "audit.head")) as again:
        assert again.client("uploads").name == "uploads"
