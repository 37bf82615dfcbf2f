"""TLS at a real server: certificates of clients, and files that change while it runs."""

from __future__ import annotations

import asyncio
import re
import shutil
import time
from datetime import timedelta
from functools import partial

import grpc
import httpx
import pytest
import pytest_asyncio
from cryptography import x509

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, Client, tls_credentials
from matcher.demo_data import published_test_image
from matcher.errors import CredentialsError
from matcher.service.server import running
from tests.certificates import Authority

pytestmark = pytest.mark.asyncio(loop_scope="module")
IMAGE = published_test_image().data


def load(data, **overrides):
    free = dict.fromkeys(("listen", "lists_listen", "admin_listen"), "127.0.0.1:0")
    return settings.load_settings(data, environ={}, overrides={**free, **overrides})


@pytest.fixture
def authority(tmp_path):
    return Authority(tmp_path)


@pytest_asyncio.fixture(loop_scope="module")
async def started(begun_data, authority):
    """Starts a server of the data folder once its clients are there."""
    certificate, key = authority.issue_for_this_machine("server")
    chosen = load(
        begun_data, tls_certificate=certificate, tls_key=key, tls_client_ca=authority.file
    )
    with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
        for kind, name in (("dns", "uploads.test"), ("uri", "spiffe://test/uploads")):
            new = NewClient(f"by-{kind}", frozenset({Role.MATCH}), identity=f"{kind}:{name}")
            database.add_client(new, actor="test", key=None)
        new = NewClient("by-subject", frozenset({Role.MATCH}), identity="subject:CN=subject")
        database.add_client(new, actor="test", key=None)
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        yield server, chosen


def tried(address, tls):
    """`MATCH`, or the code with which a call ends; it is tried once."""
    make = grpc.insecure_channel if tls is None else partial(grpc.secure_channel, credentials=tls)
    with make(address) as channel:
        stub = match_pb2_grpc.MatchServiceStub(channel)
        try:
            answer = stub.MatchImage(match_pb2.MatchImageRequest(image=IMAGE), timeout=60)
        except grpc.RpcError as error:
            return error.code().name
        return match_pb2.Decision.Name(answer.result.decision).removeprefix("DECISION_")


async def test_clients_are_told_by_names_in_their_certificates(started, authority, tmp_path):
    server, _ = started
    other = tmp_path / "other"
    other.mkdir()
    issued = {
        "known by DNS": authority.issue("a", x509.DNSName("uploads.test")),
        "known by URI": authority.issue(
            "b", x509.UniformResourceIdentifier("spiffe://test/uploads")
        ),
        "known by subject": authority.issue("subject"),
        "a name below": authority.issue("c", x509.DNSName("x.uploads.test")),
        "another case": authority.issue("d", x509.DNSName("Uploads.test")),
        "a common name only": authority.issue("uploads.test"),
        "a kind too many": authority.issue("dns:uploads.test"),
        "two clients": authority.issue("subject", x509.DNSName("uploads.test")),
        "of another authority": Authority(other, "other").issue("e", x509.DNSName("uploads.test")),
    }
    found = {
        what: await asyncio.to_thread(
            tried,
            server.address,
            tls_credentials(authority.file, certificate=files[0], key=files[1]),
        )
        for what, files in issued.items()
    }
    assert found == {
        "known by DNS": "MATCH",
        "known by URI": "MATCH",
        "known by subject": "MATCH",
        "a name below": "UNAUTHENTICATED",
        "another case": "UNAUTHENTICATED",
        "a common name only": "UNAUTHENTICATED",
        "a kind too many": "UNAUTHENTICATED",
        "two clients": "UNAUTHENTICATED",
        "of another authority": "UNAVAILABLE",
    }
    assert (
        await asyncio.to_thread(tried, server.address, tls_credentials(authority.file))
        == "UNAVAILABLE"
    )
    assert await asyncio.to_thread(tried, server.address, None) == "UNAVAILABLE"


async def days_told(server):
    """For how many days the server's certificate still counts, as its metrics tell it."""
    async with httpx.AsyncClient() as client:
        page = (await client.get(f"http://{server.admin}/metrics")).text
    name = "hashwarden_certificate_not_after_timestamp_seconds"
    (end,) = re.findall(rf'^{name}{{of="server"}} (\S+)$', page, re.MULTILINE)
    return round((float(end) - time.time()) / timedelta(days=1).total_seconds())


async def test_a_certificate_is_changed_under_a_running_server(begun_data, tmp_path, caplog):
    """The new one counts for new connections; what is half changed or wrong changes nothing."""
    folders = [tmp_path / "one", tmp_path / "two"]
    for folder in folders:
        folder.mkdir()
    one, two = (Authority(folder, folder.name) for folder in folders)
    certificate, key = tmp_path / "server.pem", tmp_path / "server-key.pem"

    def put(files, *, key_too=True):
        shutil.copyfile(files[0], certificate)
        if key_too:
            shutil.copyfile(files[1], key)

    put(one.issue_for_this_machine("server"))
    chosen = load(begun_data, tls_certificate=certificate, tls_key=key)
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        trust = {"one": tls_credentials(one.file), "two": tls_credentials(two.file)}

        async def trusted():
            return {
                name
                for name, tls in trust.items()
                if await asyncio.to_thread(tried, server.address, tls) == "MATCH"
            }

        async with AsyncClient(server.address, credentials=trust["one"]) as before:
            await before.match_image(IMAGE)
            assert await trusted() == {"one"}
            assert await days_told(server) == 1
            renewed = two.issue_for_this_machine("server", lasts=timedelta(days=9))
            put(renewed, key_too=False)
            assert await trusted() == {"one"}
            assert "stays as it was" in caplog.text
            assert await days_told(server) == 1
            put(renewed)
            assert await days_told(server) == 9
            assert await trusted() == {"two"}
            await before.match_image(IMAGE)  # its connection is from before
            key.write_text("nonsense")
            certificate.unlink()
            assert await trusted() == {"two"}


async def test_a_token_goes_nowhere_in_the_clear(tmp_path):
    for make in (Client, AsyncClient):
        with pytest.raises(CredentialsError, match="without TLS"):
            make("match.example.org:50051", token="secret")
    with pytest.raises(CredentialsError, match="none"):
        Client("127.0.0.1:1", token="two lines\n")
    with pytest.raises(CredentialsError):
        tls_credentials(tmp_path / "missing.pem")
