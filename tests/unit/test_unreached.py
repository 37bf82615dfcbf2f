"""A call that reaches no server says which setting is wrong, for each way in which TLS fails."""

from __future__ import annotations

import datetime as dt
from concurrent import futures
from contextlib import contextmanager

import grpc
import pytest
from cryptography import x509

from matcher.client import Client, tls_credentials
from matcher.client.unreached import why_unreached
from matcher.errors import ServerError
from tests.certificates import Authority


@pytest.fixture
def ours(tmp_path):
    return Authority(tmp_path, "ours")


@pytest.fixture
def others(tmp_path):
    return Authority(tmp_path, "others")


@contextmanager
def server(pair=None, clients=None):
    """The address of one that has no method; with TLS where there is a certificate."""
    made = grpc.server(futures.ThreadPoolExecutor(1))
    if pair is None:
        port = made.add_insecure_port("127.0.0.1:0")
    else:
        certificate, key = (each.read_bytes() for each in pair)
        roots = None if clients is None else clients.file.read_bytes()
        needed = grpc.ssl_server_credentials([(key, certificate)], roots, clients is not None)
        port = made.add_secure_port("127.0.0.1:0", needed)
    made.start()
    yield f"127.0.0.1:{port}"
    made.stop(None).wait()


def told(address, credentials):
    with Client(address, credentials=credentials) as client, pytest.raises(ServerError) as caught:
        list(client.records.list())
    if caught.value.reason != "UNIMPLEMENTED":
        assert (caught.value.reason, caught.value.retryable) == ("UNAVAILABLE", True)
    return str(caught.value)


def test_what_is_wrong_with_the_servers_certificate(ours, others):
    trusting = tls_credentials(ours.file)
    with server(ours.issue_for_this_machine("server")) as address:
        assert told(address, trusting).startswith("UNIMPLEMENTED")
        for roots in (others.file, None):
            said = told(address, tls_credentials(roots))
            assert f"{address} is from no authority that is trusted here: set server_ca" in said
    with server(ours.issue("server", x509.DNSName("other.test"))) as address:
        assert f"the server at {address} has other names than that" in told(address, trusting)
    expired = ours.issue_for_this_machine("server", lasts=dt.timedelta(hours=-1))
    with server(expired) as address:
        assert "has expired: renew it there (tls_certificate)" in told(address, trusting)


def test_one_of_the_two_speaks_no_tls(ours):
    with server() as address:
        assert "speaks no TLS: set server_ca to off" in told(address, tls_credentials(ours.file))
    with server(ours.issue_for_this_machine("server")) as address:
        assert "for one with TLS set server_ca" in told(address, None)


def test_a_client_whose_certificate_does_not_count(ours, others):
    expired = ours.issue("client", lasts=dt.timedelta(hours=-1))
    foreign = others.issue("client")
    with server(ours.issue_for_this_machine("server"), clients=ours) as address:
        for certificate, key in ((None, None), expired, foreign):
            shown = tls_credentials(ours.file, certificate=certificate, key=key)
            assert "also server_certificate and server_key" in told(address, shown)
        certificate, key = ours.issue("client")
        shown = tls_credentials(ours.file, certificate=certificate, key=key)
        assert told(address, shown).startswith("UNIMPLEMENTED")


@pytest.mark.parametrize(
    ("said", "part"),
    [
        ("SSL_ERROR_SSL: CERTIFICATE_VERIFY_FAILED: certificate is not yet valid", "clock"),
        ("Tls handshake failed (TSI_PROTOCOL_FAILURE): NO_SHARED_CIPHER", "TLS with the server"),
        ("Connection refused", "no server answers at a:1; start one with: hashwarden serve"),
        ("Socket closed", "no server answers at a:1"),
        ("", "no server answers at a:1"),
    ],
)
def test_what_grpc_says_otherwise(said, part):
    assert part in why_unreached(said, "a:1")
