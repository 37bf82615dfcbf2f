"""Who is let in: by tokens and certificates, by roles, and not after too many failures."""

from __future__ import annotations

import contextvars
import logging
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from hashlists.errors import AccessDatabaseError, TokenKeyError
from matcher.errors import RoleMissingError, TooManyAttemptsError, UnauthenticatedError
from matcher.service import directory as directories
from matcher.service import uploads
from matcher.service.attempts import BURST, Attempts
from matcher.service.callers import note_place
from matcher.service.directory import Directory
from matcher.service.gate import UNASKED, Gate, current_caller, let_in
from matcher.service.roles import EVERYBODY
from tests.clocks import Clock

METHOD = "/a.Service/Match"
ROLES = {METHOD: frozenset({Role.MATCH}), "/a.Service/Open": EVERYBODY}


class Context:
    """A call as the gate sees it."""

    def __init__(self, *metadata, peer="ipv4:127.0.0.1:1", **shown):
        self._metadata = metadata
        self._peer = peer
        self._shown = shown

    def invocation_metadata(self):
        return self._metadata

    def peer(self):
        return self._peer

    def auth_context(self):
        return {name: [each.encode() for each in values] for name, values in self._shown.items()}


def bearer(token):
    return ("authorization", f"Bearer {token}")


@pytest.fixture
def clock():
    return Clock(datetime.now(UTC))


@pytest.fixture
def key(tmp_path):
    return load_or_make_key(tmp_path / "token.key")


@pytest.fixture
def database(tmp_path):
    url = f"sqlite:///{tmp_path / 'access.sqlite3'}"
    with AccessDatabase.open(url, HeadFile(tmp_path / "audit.head")) as opened:
        yield opened


@pytest.fixture
def directory(tmp_path, database, clock):
    url = f"sqlite:///{tmp_path / 'access.sqlite3'}"
    made = Directory(url, HeadFile(tmp_path / "audit.head"), tmp_path / "token.key", clock=clock)
    yield made
    made.close()


def gate(directory, *, required=True, certificates=False):
    return Gate(directory, Attempts(), required=required, certificates=certificates, roles_of=ROLES)


def client(name="uploads", *roles, **said):
    return NewClient(name, frozenset(roles or {Role.MATCH}), **said)


@pytest.fixture
def token(database, directory, key):
    made = database.add_client(client(policy="strict"), actor="test", key=key)
    directory.refresh()
    return made


def test_a_client_is_known_by_its_token(directory, token):
    caller = gate(directory).admit(METHOD, Context(bearer(token)))
    assert (caller.name, caller.policy, caller.roles) == ("uploads", "strict", {Role.MATCH})
    assert caller.is_client
    assert gate(directory).admit(METHOD, Context(("authorization", f"bearer  {token} ")))


@pytest.fixture
def looked_up(directory, monkeypatch):
    """Tokens that were looked up, in a call of its own."""
    tokens, by_token = [], directory.by_token

    def noted(token):
        tokens.append(token)
        return by_token(token)

    monkeypatch.setattr(directory, "by_token", noted)
    return tokens


def asked(judge, token):
    """What the gate says of a call on its way in, each time that it is asked."""
    shown = (bearer(token),)
    hopeless = judge.is_hopeless(METHOD, shown)
    share = None if hopeless else judge.share_shown(shown)
    try:
        return hopeless, share, judge.admit(METHOD, Context(*shown)).name
    except UnauthenticatedError:
        return hopeless, share, None


def test_a_token_is_looked_up_once_for_a_call(directory, token, looked_up):
    judge = gate(directory)
    for shown, told in ((token, (False, "client:uploads", "uploads")), ("no", (True, None, None))):
        for _ in range(2):
            assert contextvars.copy_context().run(asked, judge, shown) == told
    assert looked_up == [token, token, "no", "no"]


def test_it_is_looked_up_anew_where_that_may_differ(directory, database, clock, key, looked_up):
    """Between the head of a call and its message there may be a minute."""
    ends = clock.now + timedelta(minutes=1)
    token = database.add_client(client(expires_at=ends), actor="test", key=key)
    other = database.add_client(client("other"), actor="test", key=key)
    directory.refresh()
    judge = gate(directory)

    def call():
        assert not judge.is_hopeless(METHOD, (bearer(token),))
        assert judge.admit(METHOD, Context(bearer(other))).name == "other"
        assert not judge.is_hopeless(METHOD, (bearer(other),))
        database.revoke_client("other", actor="test")
        directory.refresh()
        with pytest.raises(UnauthenticatedError):
            judge.admit(METHOD, Context(bearer(other)))
        assert not judge.is_hopeless(METHOD, (bearer(token),))
        clock.now = ends
        with pytest.raises(UnauthenticatedError):
            judge.admit(METHOD, Context(bearer(token)))

    contextvars.copy_context().run(call)
    assert looked_up == [token, other, other, token, token]


@pytest.mark.parametrize(
    "shown",
    [
        (),
        (("authorization", ""),),
        (("authorization", "Basic abc"),),
        (("authorization", "Bearer"),),
        (("authorization", "Bearer é"),),
        (("x-token", "TOKEN"),),
        (("authorization", "TOKEN"),),
        (bearer("TOKEN"), bearer("TOKEN")),
        (bearer("TOKEN"[:-1]),),
    ],
)
def test_what_is_no_token_is_nothing(directory, token, shown):
    shown = [(key, value.replace("TOKEN", token)) for key, value in shown]
    with pytest.raises(UnauthenticatedError):
        gate(directory).admit(METHOD, Context(*shown))
    assert gate(directory).is_hopeless(METHOD, shown)


def test_where_nobody_is_asked_all_may_everything_but_with_wrong_credentials(directory, token):
    open_gate = gate(directory, required=False)
    assert open_gate.admit(METHOD, Context()) is UNASKED
    assert not UNASKED.is_client
    assert open_gate.admit(METHOD, Context(bearer(token))).policy == "strict"
    with pytest.raises(UnauthenticatedError):
        open_gate.admit(METHOD, Context(bearer("wrong")))


def test_a_method_that_nobody_wrote_into_the_table_is_nobodys(database, directory, key):
    token = database.add_client(client("all", *Role), actor="test", key=key)
    directory.refresh()
    for each in (gate(directory), gate(directory, required=False)):
        with pytest.raises(RoleMissingError, match="nobody"):
            each.admit("/a.Service/New", Context(bearer(token)))
        assert not each.is_open("/a.Service/New")
        assert each.is_open("/a.Service/Open")
    with pytest.raises(RoleMissingError):
        gate(directory, required=False).admit("/a.Service/New", Context())


def test_outside_of_calls_nobody_may_anything():
    assert current_caller().roles == frozenset()
    assert current_caller().policy == ""


def test_who_is_held_back_is_the_client_or_a_place(directory, token):
    def who(caller):
        note_place("ipv4:192.0.2.1:7")
        let_in(caller)
        return uploads.whose_share()

    known = gate(directory).admit(METHOD, Context(bearer(token)))
    found = [contextvars.copy_context().run(who, each) for each in (UNASKED, known)]
    assert found == ["192.0.2.1", "client:uploads"]


def test_the_roles_that_are_needed_are_told(database, directory, key):
    token = database.add_client(client("other", Role.EXPORT), actor="test", key=key)
    directory.refresh()
    with pytest.raises(RoleMissingError, match=r"'other' .* roles match$"):
        gate(directory).admit(METHOD, Context(bearer(token)))


def test_who_shows_what_is_right_is_let_in_whatever_others_showed_from_there(
    database, directory, key
):
    token = database.add_client(client("behind-the-same-address"), actor="test", key=key)
    directory.refresh()
    made = gate(directory)
    for _ in range(BURST):
        with pytest.raises(UnauthenticatedError):
            made.admit(METHOD, Context(bearer("wrong")))
    for shown in ("wrong", token[:-1]):
        with pytest.raises(TooManyAttemptsError) as caught:
            made.admit(METHOD, Context(bearer(shown)))
        assert 1 <= caught.value.retry_seconds <= 60
        assert made.admit(METHOD, Context(bearer(token))).name == "behind-the-same-address"


def told(gate, *shown, **names):
    """What the audit is to tell of a refusal."""
    with pytest.raises((UnauthenticatedError, RoleMissingError)) as caught:
        gate.admit(METHOD, Context(*shown, **names))
    return caught.value.why, caught.value.client


def test_the_audit_is_told_more_than_the_caller(database, directory, key, clock):
    end = clock.now + timedelta(hours=1)
    tokens = {
        name: database.add_client(client(name, **said), actor="test", key=key)
        for name, said in {"rotated": {}, "over": {"expires_at": end}, "gone": {}}.items()
    }
    database.rotate_token("rotated", actor="test", key=key, overlap=timedelta(hours=1))
    database.revoke_client("gone", actor="test")
    other = database.add_client(client("other", Role.EXPORT), actor="test", key=key)
    directory.refresh()
    clock.now = end + timedelta(seconds=1)
    made = gate(directory)
    assert told(made) == ("NO_CREDENTIALS", "")
    assert told(made, bearer("nonsense")) == ("TOKEN_UNKNOWN", "")
    # Who knows the public part of a token alone says nothing about its client.
    assert told(made, bearer(tokens["gone"][:-3] + "xxx")) == ("TOKEN_UNKNOWN", "")
    assert told(made, bearer(tokens["rotated"])) == ("TOKEN_EXPIRED", "rotated")
    assert told(made, bearer(tokens["over"])) == ("CLIENT_EXPIRED", "over")
    assert told(made, bearer(tokens["gone"])) == ("CLIENT_REVOKED", "gone")
    assert told(made, bearer(other)) == ("ROLE_MISSING", "other")


def test_whose_share_a_call_is_of(database, directory, token):
    made = gate(directory)
    assert made.share_shown([bearer(token)]) == "client:uploads"
    for places in ({"required": False}, {"certificates": True}):
        asked = gate(directory, **places)
        assert not asked.is_hopeless(METHOD, [])
        assert asked.share_shown([]) is None
        assert asked.share_shown([bearer(token)]) == "client:uploads"
        assert asked.share_of(Context(peer="ipv4:192.0.2.7:1")) == "192.0.2.7"
        assert asked.share_of(Context(peer="ipv6:[2001:db8::7]:1")) == "2001:db8::/64"
    local = Gate(
        directory, Attempts(), required=False, certificates=False, one_place=True, roles_of=ROLES
    )
    assert not local.is_hopeless(METHOD, [])
    assert local.share_shown([]) == ""
    database.add_client(client("named", identity="dns:a.test"), actor="test", key=None)
    directory.refresh()
    by_name = gate(directory, certificates=True)
    assert by_name.share_of(Context(peer_dns=["a.test"])) == "client:named"
    assert by_name.share_of(Context(peer_dns=["b.test"])) == "127.0.0.1"


def test_what_has_no_share_by_what_it_shows_is_hopeless(directory, database, token):
    """So nobody asks for its share, but where the clients change in between."""
    for more in ({}, {"required": False}, {"certificates": True}):
        assert gate(directory, **more).is_hopeless(METHOD, [bearer("wrong")])
    assert gate(directory).is_hopeless(METHOD, [])
    made = gate(directory)

    def call():
        assert not made.is_hopeless(METHOD, [bearer(token)])
        database.revoke_client("uploads", actor="test")
        directory.refresh()
        assert made.share_shown([bearer(token)]) is None
        with pytest.raises(UnauthenticatedError):
            made.admit(METHOD, Context(bearer(token)))

    contextvars.copy_context().run(call)


def test_shares_are_told_apart_by_place_while_the_clients_are_not_known(directory):
    made = gate(directory, certificates=True)
    assert made.is_hopeless(METHOD, [bearer("x")])
    assert made.share_of(Context(peer_dns=["a.test"])) == "127.0.0.1"


class TestCertificates:
    def test_why_one_is_refused_is_for_the_audit(self, known, database, directory):
        database.revoke_client("dns", actor="test")
        directory.refresh()
        assert told(known, peer_dns=["x.test"]) == ("CERTIFICATE_UNKNOWN", "")
        assert told(known, peer_dns=["a.test"]) == ("CLIENT_REVOKED", "dns")

    @pytest.fixture
    def known(self, database, directory):
        database.add_client(client("dns", identity="dns:a.test"), actor="test", key=None)
        new = client("subject", identity="subject:CN=a,O=b")
        database.add_client(new, actor="test", key=None)
        directory.refresh()
        return gate(directory, certificates=True)

    def test_a_name_of_the_right_kind_tells_the_client(self, known):
        assert known.admit(METHOD, Context(peer_dns=["x.test", "a.test"])).name == "dns"
        assert known.admit(METHOD, Context(x509_subject=["CN=a,O=b"])).name == "subject"
        assert not known.is_hopeless(METHOD, ())

    @pytest.mark.parametrize(
        "shown",
        [
            {"peer_uri": ["a.test"]},
            {"x509_common_name": ["a.test"]},
            {"peer_dns": ["A.test"]},
            {"peer_dns": ["a.test"], "x509_subject": ["CN=a,O=b"]},
            {},
        ],
    )
    def test_no_other_does(self, known, shown):
        with pytest.raises(UnauthenticatedError):
            known.admit(METHOD, Context(**shown))

    def test_a_token_goes_before_a_certificate(self, known, database, directory, key):
        token = database.add_client(client("by-token"), actor="test", key=key)
        directory.refresh()
        context = Context(bearer(token), peer_dns=["a.test"])
        assert known.admit(METHOD, context).name == "by-token"
        with pytest.raises(UnauthenticatedError):
            known.admit(METHOD, Context(bearer("wrong"), peer_dns=["a.test"]))

    def test_nobody_is_asked_for_one_where_clients_have_none(self, directory, known):
        with pytest.raises(UnauthenticatedError):
            gate(directory).admit(METHOD, Context(peer_dns=["a.test"]))

    def test_a_revoked_client_leaves_its_identity_to_another(self, known, database, directory):
        database.revoke_client("dns", actor="test")
        directory.refresh()
        with pytest.raises(UnauthenticatedError):
            known.admit(METHOD, Context(peer_dns=["a.test"]))
        database.add_client(client("a-new", identity="dns:a.test"), actor="test", key=None)
        directory.refresh()
        assert known.admit(METHOD, Context(peer_dns=["a.test"])).name == "a-new"


class TestCallsThatLast:
    def test_nothing_is_looked_up_while_nothing_changes(self, directory, token, monkeypatch):
        made = gate(directory)
        caller = made.admit(METHOD, Context(bearer(token)))
        monkeypatch.setattr(directory, "renewed", pytest.fail)
        made.check_again(METHOD, caller)
        made.check_again(METHOD, UNASKED)

    def test_a_change_that_does_not_concern_them(self, database, directory, token, key):
        made = gate(directory)
        caller = made.admit(METHOD, Context(bearer(token)))
        database.add_client(client("another"), actor="test", key=key)
        directory.refresh()
        made.check_again(METHOD, caller)

    def test_a_revocation_and_other_roles(self, database, directory, token):
        made = gate(directory)
        caller = made.admit(METHOD, Context(bearer(token)))
        database.change_client("uploads", actor="test", roles=frozenset({Role.EXPORT}))
        directory.refresh()
        with pytest.raises(RoleMissingError, match="any more"):
            made.check_again(METHOD, caller)
        database.revoke_client("uploads", actor="test")
        directory.refresh()
        with pytest.raises(UnauthenticatedError) as caught:
            made.check_again(METHOD, caller)
        assert (caught.value.why, caught.value.client) == ("CREDENTIALS_ENDED", "uploads")

    def test_a_token_that_another_follows(self, database, directory, token, key, clock):
        made = gate(directory)
        caller = made.admit(METHOD, Context(bearer(token)))
        overlap = timedelta(hours=1)
        new = database.rotate_token("uploads", actor="test", key=key, overlap=overlap)
        directory.refresh()
        made.check_again(METHOD, caller)
        clock.now += overlap + timedelta(seconds=1)
        with pytest.raises(UnauthenticatedError):
            made.check_again(METHOD, caller)
        with pytest.raises(UnauthenticatedError):
            made.admit(METHOD, Context(bearer(token)))
        assert made.admit(METHOD, Context(bearer(new)))

    def test_a_token_that_is_gone(self, database, directory, token, key):
        made = gate(directory)
        caller = made.admit(METHOD, Context(bearer(token)))
        for _ in range(2):  # the second clears away what the first has ended
            database.rotate_token("uploads", actor="test", key=key, overlap=timedelta())
        directory.refresh()
        with pytest.raises(UnauthenticatedError):
            made.check_again(METHOD, caller)

    def test_an_end_that_comes(self, database, directory, key, clock):
        end = clock.now + timedelta(hours=1)
        token = database.add_client(client("short", expires_at=end), actor="test", key=key)
        named = client("named", expires_at=end, identity="dns:n.test")
        database.add_client(named, actor="test", key=None)
        directory.refresh()
        made = gate(directory, certificates=True)
        callers = [
            made.admit(METHOD, Context(bearer(token))),
            made.admit(METHOD, Context(peer_dns=["n.test"])),
        ]
        for caller in callers:
            made.check_again(METHOD, caller)
        clock.now = end
        for caller in callers:
            with pytest.raises(UnauthenticatedError):
                made.check_again(METHOD, caller)

    def test_a_certificate_whose_client_is_revoked(self, database, directory):
        database.add_client(client("named", identity="dns:n.test"), actor="test", key=None)
        directory.refresh()
        made = gate(directory, certificates=True)
        caller = made.admit(METHOD, Context(peer_dns=["n.test"]))
        database.add_client(client("other", identity="dns:o.test"), actor="test", key=None)
        directory.refresh()
        made.check_again(METHOD, caller)
        database.revoke_client("named", actor="test")
        directory.refresh()
        with pytest.raises(UnauthenticatedError):
            made.check_again(METHOD, caller)


class TestDirectory:
    def test_before_the_clients_were_read_nobody_is_refused_for_good(self, directory):
        made = gate(directory)
        assert directory.is_empty
        with pytest.raises(AccessDatabaseError, match="try again"):
            made.admit(METHOD, Context(bearer("x")))
        assert made.is_hopeless(METHOD, [bearer("x")])  # it is not read, and told that

    def test_while_their_database_is_away_clients_stay_known(
        self, directory, token, monkeypatch, caplog
    ):
        caplog.set_level(logging.INFO)

        def away():
            raise AccessDatabaseError("the access database is away")

        with monkeypatch.context() as patch:
            patch.setattr(directory, "database", away)
            for _ in range(3):
                with pytest.raises(AccessDatabaseError):
                    directory.refresh()
            assert gate(directory).admit(METHOD, Context(bearer(token)))
        directory.refresh()
        told = [each for each in caplog.messages if "clients" in each]
        assert len(told) == 2
        assert told[1].endswith("can be read again")

    def test_they_are_read_again_only_once_they_changed(self, directory, token, monkeypatch):
        before = directory.state
        monkeypatch.setattr(directory.database(), "known_clients", pytest.fail)
        directory.refresh()
        assert directory.state is before

    def test_without_the_key_no_token_counts_and_the_rest_does(
        self, directory, database, token, tmp_path
    ):
        database.add_client(client("named", identity="dns:n.test"), actor="test", key=None)
        kept = (tmp_path / "token.key").rename(tmp_path / "aside")
        for _ in range(2):
            with pytest.raises(TokenKeyError, match="No such file"):
                directory.refresh()
        made = gate(directory, certificates=True)
        assert made.admit(METHOD, Context(peer_dns=["n.test"]))
        with pytest.raises(UnauthenticatedError):
            made.admit(METHOD, Context(bearer(token)))
        load_or_make_key(tmp_path / "token.key")
        with pytest.raises(TokenKeyError, match="not the key"):
            directory.refresh()
        kept.replace(tmp_path / "token.key")
        directory.refresh()
        assert made.admit(METHOD, Context(bearer(token)))

    def test_once_it_is_closed_it_stays_so(self, directory, token):
        directory.close()
        with pytest.raises(AccessDatabaseError, match="ends"):
            directory.refresh()
        assert gate(directory).admit(METHOD, Context(bearer(token)))

    def test_as_long_is_taken_whether_a_token_exists_or_not(self, directory, token, monkeypatch):
        compared = []

        def compare(one, other):
            compared.append((len(one), len(other)))
            return False

        monkeypatch.setattr(directories.hmac, "compare_digest", compare)
        for shown in (token, "hw_000000000000_" + "x" * 43, "nonsense"):
            assert directory.by_token(shown) is None
        assert compared == [(32, 32)] * 3
