"""The way out to exchanges, and the credentials that open them."""

from __future__ import annotations

import errno
import logging
import os
import socket

import pytest

from hashlists.errors import (
    ExchangeAwayError,
    ExchangeCredentialsError,
    ExchangePageError,
    ExchangeRefusedError,
    ExchangeSettingsError,
)
from hashlists.exchanges.base import next_query
from hashlists.exchanges.credentials import find_credentials
from hashlists.exchanges.http import Http, require_url
from hashlists.exchanges.registry import ExchangeSettings, check_settings, make_client
from hashlists.moments import read_moment, utc_text
from tests.certificates import make_certificate
from tests.exchange_servers import SECRETS, Feed, serve
from tests.proxy_server import PASSWORD, USER, serve_proxy

PATH = "77/threat_updates/"
HEADERS = {"Authorization": f"Bearer {SECRETS['threatexchange']['access_token']}"}


@pytest.fixture(scope="module")
def certificate(tmp_path_factory):
    """Files of a certificate for localhost, and of its key."""
    return make_certificate(tmp_path_factory.mktemp("tls"))


def test_certificates_are_verified(certificate):
    feed = Feed("threatexchange")
    with serve(feed, certificate=certificate) as server:
        with (
            Http(server.url) as http,
            pytest.raises(ExchangeAwayError, match="not trusted"),
            http.ask(PATH, headers=HEADERS),
        ):
            pass
        assert server.asked == []
        with (
            Http(server.url, ca_file=certificate[0]) as http,
            http.ask(PATH, [("start_time", "0")], headers=HEADERS, types=["json"]) as answer,
        ):
            assert answer.stream.read().startswith(b'{"data"')
            assert answer.server_time == feed.time.now


@pytest.mark.parametrize(
    ("url", "error", "told"),
    [
        ("https://a.invalid", socket.gaierror(-2, "a.invalid"), "no such name is known here"),
        ("http://127.0.0.1:1", ConnectionRefusedError(errno.ECONNREFUSED, "x"), "Connection ref"),
        ("http://127.0.0.1:1", OSError(errno.ENETUNREACH, "hidden"), "Network is unreachable"),
        ("http://127.0.0.1:1", TimeoutError(), "no connection within 15 seconds"),
        ("http://127.0.0.1:1", OSError("hidden"), "cannot be reached; look at"),
    ],
    ids=str,
)
def test_what_cannot_be_reached_is_named_with_the_cause(monkeypatch, url, error, told):
    def fail(*_arguments, **_options):
        raise error

    monkeypatch.setattr(socket, "create_connection", fail)
    with (
        Http(f"{url}/a-secret-path") as http,
        pytest.raises(ExchangeAwayError, match=told) as raised,
        http.ask(PATH, [("token", "a-secret")], headers=HEADERS),
    ):
        pass
    assert url.split("/")[2].split(":")[0] + " cannot be reached" in str(raised.value)
    assert "secret" not in str(raised.value)
    assert "hidden" not in str(raised.value)
    assert "look at the address" in str(raised.value)


def test_missing_credentials_are_named_as_the_environment_has_them():
    with pytest.raises(ExchangeCredentialsError) as raised:
        find_credentials(("a", "b", "c"), {"b": "x"}, None, variable_of=str.upper)
    assert "set A and C in the environment" in str(raised.value)
    assert "missing: a, c;" in str(raised.value)


def test_plain_http_is_for_this_machine_and_that_is_said():
    assert require_url("http://127.0.0.1:8080/") == "http://127.0.0.1:8080"
    with pytest.raises(ExchangeSettingsError, match="with this machine alone"):
        require_url("http://example.org")


@pytest.fixture
def far_server(certificate):
    """A server that is spoken to over TLS, and so by way of a proxy."""
    with serve(Feed("threatexchange"), certificate=certificate) as server:
        yield server


def test_a_proxy_carries_what_it_cannot_read(far_server, certificate, caplog):
    with (
        caplog.at_level(logging.DEBUG),
        serve_proxy() as proxy,
        Http(far_server.url, ca_file=certificate[0], proxy=proxy.url) as http,
        http.ask(PATH, [("start_time", "0")], headers=HEADERS) as answer,
    ):
        assert answer.stream.read().startswith(b'{"data"')
    assert proxy.asked == [far_server.url.removeprefix("https://")]
    assert len(far_server.pages) == 1
    heard = "".join(proxy.heard)
    assert SECRETS["threatexchange"]["access_token"] not in heard
    assert "start_time" not in heard
    assert PASSWORD not in caplog.text
    assert "start_time" not in caplog.text


def test_certificates_are_verified_behind_a_proxy_too(far_server):
    with (
        serve_proxy() as proxy,
        Http(far_server.url, proxy=proxy.url) as http,
        pytest.raises(ExchangeAwayError, match="not trusted"),
        http.ask(PATH, headers=HEADERS),
    ):
        pass
    assert far_server.asked == []


@pytest.mark.parametrize(
    ("answer", "error", "told"),
    [
        (407, ExchangeRefusedError, "the proxy 127.0.0.1 does not lead to it: it answers 407"),
        (403, ExchangeRefusedError, "it answers 403"),
        (429, ExchangeAwayError, "it answers 429"),
        (502, ExchangeAwayError, "it answers 502"),
    ],
)
def test_a_proxy_that_refuses(far_server, certificate, answer, error, told):
    with serve_proxy() as proxy:
        proxy.answer = answer
        with (
            Http(far_server.url, ca_file=certificate[0], proxy=proxy.url) as http,
            pytest.raises(error, match=told) as raised,
            http.ask(PATH, headers=HEADERS),
        ):
            pass
    assert PASSWORD not in str(raised.value)
    assert far_server.asked == []


def test_a_proxy_that_is_away(far_server, certificate):
    with serve_proxy() as proxy:
        gone = proxy.url
    with (
        Http(far_server.url, ca_file=certificate[0], proxy=gone) as http,
        pytest.raises(ExchangeAwayError, match=r"its proxy .* cannot be reached") as raised,
        http.ask(PATH, headers=HEADERS),
    ):
        pass
    assert USER not in str(raised.value)


def test_this_machine_is_reached_without_a_proxy():
    with (
        serve(Feed("threatexchange")) as server,
        serve_proxy() as proxy,
        Http(server.url, proxy=proxy.url) as http,
        http.ask(PATH, [("start_time", "0")], headers=HEADERS),
    ):
        pass
    assert (proxy.asked, len(server.pages)) == ([], 1)


@pytest.mark.parametrize("url", ["", "socks5://x", "http://", "https://:80", "ftp://hidden@x"])
def test_what_is_no_proxy(url):
    with pytest.raises(ExchangeSettingsError, match="the proxy's address") as raised:
        Http("https://x.invalid", proxy=url)
    assert "hidden" not in str(raised.value)


def test_a_file_of_certificates_must_be_one(tmp_path):
    (tmp_path / "x.pem").write_text("nothing")
    for name in ("x.pem", "y.pem"):
        with pytest.raises(ExchangeSettingsError, match="file of certificates"):
            Http("https://x.invalid", ca_file=tmp_path / name)


def test_nothing_of_a_request_is_logged(caplog):
    with caplog.at_level(logging.DEBUG), serve(Feed("threatexchange")) as server:
        logging.getLogger("httpx").setLevel(logging.WARNING)
        with Http(server.url) as http, http.ask(PATH, [("start_time", "0")], headers=HEADERS):
            pass
    assert "start_time" not in caplog.text
    assert "hidden" not in caplog.text


@pytest.mark.parametrize(
    "url",
    [
        "http://example.org",
        "ftp://example.org",
        "https://user:word@example.org",
        "https://example.org/?token=x",
        "https://",
        "example.org",
        "https://exa mple.org",
        "https://[::1",
        "https://example.org:0/",
        "http://127.0.0.1.example.org",
    ],
)
def test_addresses_that_are_refused(url):
    with pytest.raises(ExchangeSettingsError) as raised:
        require_url(url)
    assert "word" not in str(raised.value).replace("password", "")


@pytest.mark.parametrize(
    "url",
    ["https://example.org/v1/", "http://127.0.0.1:8080", "http://localhost", "http://[::1]:1"],
)
def test_addresses_that_are_taken(url):
    assert require_url(url) == url.rstrip("/")


def test_credentials_come_from_variables_before_the_file(tmp_path):
    file = tmp_path / "secrets"
    file.write_text("# mine\nusername = from-file\n\npassword= of file = x\n")
    file.chmod(0o600)
    found = find_credentials(("username", "password"), {"username": "given"}, file)
    assert found.origin == f"the environment and the file {file}"
    assert (found["username"], found["password"]) == ("given", "of file = x")
    assert "given" not in repr(found)


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o620, 0o604, 0o660])
def test_a_file_that_others_may_touch_is_refused(tmp_path, mode):
    file = tmp_path / "secrets"
    file.write_text("password = hidden")
    file.chmod(mode)
    with pytest.raises(ExchangeCredentialsError, match=f"mode {mode:04o}") as raised:
        find_credentials(("password",), {}, file)
    assert "hidden" not in str(raised.value)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"hidden", "line 1"),
        (b"\xff", "UTF-8"),
        (b"password = ", "missing: password"),
        (b"password = hidd\xc3\xa9n", "printable"),
        (b"x" * 70_000, "too large"),
    ],
)
def test_odd_files_of_credentials(tmp_path, content, told):
    file = tmp_path / "secrets"
    file.write_bytes(content)
    file.chmod(0o600)
    with pytest.raises(ExchangeCredentialsError, match=told) as raised:
        find_credentials(("password",), {}, file)
    assert "hidd" not in str(raised.value)


def test_a_name_that_is_nearly_right_is_told_by_the_right_one(tmp_path):
    file = tmp_path / "secrets"
    file.write_text("access_tokn = hidden\n")
    file.chmod(0o600)
    told = r"secrets has them not, but a name that is nearly access_token\);"
    with pytest.raises(ExchangeCredentialsError, match=told) as raised:
        find_credentials(("access_token",), {}, file)
    assert "tokn" not in str(raised.value)


def test_credentials_that_cannot_be_read(tmp_path):
    with pytest.raises(ExchangeCredentialsError, match="No such file"):
        find_credentials(("password",), {}, tmp_path / "none")
    os.mkfifo(tmp_path / "pipe", 0o600)
    with pytest.raises(ExchangeCredentialsError, match="no plain file"):
        find_credentials(("password",), {}, tmp_path / "pipe")
    with pytest.raises(ExchangeCredentialsError, match="missing: password"):
        find_credentials(("password",), {}, None)


@pytest.mark.parametrize(
    ("kind", "options", "told"),
    [
        ("nobody", {}, "unknown kind"),
        ("ncmec", {"start": "soon"}, "start"),
        ("ncmec", {"page_size": "1"}, "unknown option of ncmec: page_size; known options: "),
        ("tat", {"pagesize": "1"}, r"option of tat: pagesize; did you mean page_size\? known"),
        ("stopncii", {"page_size": "0"}, "page_size"),
        ("threatexchange", {}, "privacy_group"),
        ("threatexchange", {"privacy_group": "x/y"}, "privacy_group"),
        ("threatexchange", {"privacy_group": "1", "types": "pdq&x"}, "types"),
        ("threatexchange", {"privacy_group": "1", "token_in": "x"}, "token_in"),
        ("tat", {"ideology": "x"}, "ideology"),
    ],
)
def test_wrong_options_are_told_when_an_exchange_is_added(kind, options, told):
    with pytest.raises(ExchangeSettingsError, match=told):
        check_settings(kind, ExchangeSettings("https://x.invalid", options))


def test_the_token_goes_where_it_is_asked_for():
    client = make_client("threatexchange", {"privacy_group": "1", "token_in": "query"})
    key = client.log_in(None, find_credentials(("access_token",), {"access_token": "x"}, None))
    assert (dict(key.headers), list(key.query)) == ({}, [("access_token", "x")])


def test_a_link_that_leads_elsewhere_is_refused():
    assert next_query("/base/v2/entries?a=1", "v2/entries") == "a=1"
    for target in ("/v2/members?a=1", "/v2/entries", "/xv2/entries?a=1"):
        with pytest.raises(ExchangePageError):
            next_query(target, "v2/entries")


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("2017-10-24T15:00:00Z", "2017-10-24T15:00:00Z"),
        ("2017-10-24T17:00:00+02:00", "2017-10-24T15:00:00Z"),
        ("2017-10-24T15:00:00.999", "2017-10-24T15:00:00Z"),
        (1508857200, "2017-10-24T15:00:00Z"),
        ("1508857200.5", "2017-10-24T15:00:00Z"),
    ],
)
def test_times_are_utc_whatever_the_machine_says(text, told, monkeypatch):
    monkeypatch.setenv("TZ", "Asia/Tokyo")
    assert utc_text(read_moment(text)) == told


@pytest.mark.parametrize("text", [None, True, "", "soon", "nan", "-1", 1e30, "9" * 400, 10**400])
def test_what_is_no_time(text):
    assert read_moment(text) is None
