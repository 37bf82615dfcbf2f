"""What a server logs: the id of each call, and nothing by which an upload or a caller is known."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hashlib
import io
import json
import logging
import os
import socket
import subprocess
import sys
from pathlib import Path

import grpc
import pytest
from google.rpc import code_pb2

import matcher
from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key, new_token
from hashlists.model import HashKind
from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.client import AsyncClient, HashQuery, TokenQuery
from matcher.demo_data import published_test_image
from matcher.errors import ServerError
from matcher.service.server import running
from matcher.telemetry import JsonFormatter
from tests.certificates import Authority

IMAGE = published_test_image().data
SHA256 = hashlib.sha256(IMAGE)
ID = "x-request-id"


SOURCE = Path(matcher.__file__).parents[1]
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 100


class Log:
    """All that is logged, down to debugging: as it is written, and as it was before redaction."""

    def __init__(self):
        self.written, self.raw = io.StringIO(), io.StringIO()
        self._handlers = []
        for stream, formatter in (
            (self.written, JsonFormatter()),
            (self.raw, logging.Formatter("%(message)s %(args)s")),
        ):
            handler = logging.StreamHandler(stream)
            handler.setFormatter(formatter)
            self._handlers.append(handler)

    def __enter__(self):
        root = logging.getLogger()
        self._level = root.level
        root.setLevel(logging.DEBUG)
        for each in self._handlers:
            root.addHandler(each)
        return self

    def __exit__(self, *_):
        root = logging.getLogger()
        root.setLevel(self._level)
        for each in self._handlers:
            root.removeHandler(each)

    def lines(self):
        return [json.loads(line) for line in self.written.getvalue().splitlines()]


@pytest.fixture
def log():
    with Log() as log:
        yield log


def load(data):
    free = dict.fromkeys(("listen", "admin_listen"), "127.0.0.1:0")
    overrides = {**free, "lists_listen": "same", "authentication": "required"}
    return settings.load_settings(data, environ={}, overrides=overrides)


def add_client(chosen):
    key = load_or_make_key(chosen.token_key_file)
    with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
        return database.add_client(
            NewClient("platform", frozenset({Role.MATCH})), actor="test", key=key
        )


def forms(*secrets):
    """Each secret as it might be written."""
    for each in secrets:
        yield each.hex()
        yield base64.b64encode(each).decode().rstrip("=").lower()
        yield base64.urlsafe_b64encode(each).decode().rstrip("=").lower()
        yield repr(each)[2:-1].lower()


async def ask_in_every_way(address, token, wrong):
    """Calls of all kinds, good and bad; gives what must stand in no log."""
    async with AsyncClient(address, token=token) as client:
        first = await client.match_image(IMAGE, reference="post-7", seal_token=True)
        hashes = (await client.hash_image(IMAGE)).hashes
        codes = [code for view in hashes.views for code in view.codes.values()]
        await client.lookup_hashes(
            [HashQuery({HashKind.PDQ: hashes.views[0].codes[HashKind.PDQ]}, quality=100)]
        )
        await client.match_image(b"no image")
        with pytest.raises(ServerError):
            await client.match_image(IMAGE, policy=SHA256.hexdigest())

        async def tokens():
            yield TokenQuery("1", first.token)
            yield TokenQuery("2", b"no token of ours")

        assert [each async for each in client.lookup_tokens(tokens(), since_revision=0)]

        async def images():
            yield "a", IMAGE
            yield "b", b""

        assert len([each async for each in client.match_images(images())]) == 2
    async with AsyncClient(address, token=wrong) as client:
        with pytest.raises(ServerError):
            await client.match_image(IMAGE)
    digests = [hashlib.new(name, IMAGE).digest() for name in ("md5", "sha1", "sha256")]
    return [*digests, *codes, IMAGE[:24], first.token[:24], token.encode(), wrong.encode()]


async def test_no_secret_is_logged_and_every_call_is_named(begun_data, log):
    chosen = load(begun_data)
    token, wrong = add_client(chosen), new_token()[1]
    async with running(chosen) as server:
        await asyncio.wait_for(server.ready, 60)
        secrets = await ask_in_every_way(server.address, token, wrong)
        async with grpc.aio.insecure_channel(server.address) as channel:
            stub = match_pb2_grpc.MatchServiceStub(channel)
            bearer = ("authorization", f"Bearer {token}")
            for called, sent in (("call-4711", b""), (SHA256.hexdigest(), IMAGE)):
                call = stub.MatchImage(
                    match_pb2.MatchImageRequest(image=sent), metadata=(bearer, (ID, called))
                )
                assert (await call.code()).value[0] == (code_pb2.OK if sent else 3)
                assert dict(await call.trailing_metadata())[ID] == called
    secrets += [each.encode() for each in (token.split(".")[-1], wrong.split(".")[-1])]
    written, raw = log.written.getvalue().lower(), log.raw.getvalue().lower()
    for form in [*forms(*secrets), token.lower(), wrong.lower()]:
        assert form not in raw
        assert form not in written
    ended = [each for each in log.lines() if each["logger"] == "matcher.service.interceptors"]
    assert len(ended) >= 9
    assert all(each["request_id"] for each in ended)
    assert len({each["request_id"] for each in ended}) == len(ended)
    assert "call-4711" in {each["request_id"] for each in ended}
    (refused,) = [each for each in log.lines() if "is refused" in each["message"]]
    assert len(refused["request_id"]) == 36


@pytest.mark.parametrize("told", [{}, {"GRPC_VERBOSITY": "INFO"}])
def test_nothing_but_json_is_among_json_unless_it_was_asked_for(begun_data, tmp_path, told):
    """Though a handshake fails, of which gRPC's core would write a line of its own."""
    certificate, key = Authority(tmp_path).issue_for_this_machine("server")
    chosen = {
        "PROCESSES": 1,
        "DECODE_SANDBOX": "off",
        "LISTEN": "127.0.0.1:0",
        "LISTS_LISTEN": "same",
        "ADMIN_LISTEN": "off",
        "LOG_FORMAT": "json",
        "TLS_CERTIFICATE": certificate,
        "TLS_KEY": key,
    }
    named = {f"HASHWARDEN_{name}": str(value) for name, value in chosen.items()}
    with subprocess.Popen(
        [sys.executable, "-m", "matcher.cli", "--data", str(begun_data), "serve"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=SOURCE,
        env={"PATH": os.environ["PATH"]} | named | told,
    ) as process:
        _, _, port = process.stdout.readline().strip().rpartition(":")
        with socket.create_connection(("127.0.0.1", int(port)), timeout=PATIENCE) as plain:
            plain.sendall(b"GET / HTTP/1.1\r\n\r\n")
            with contextlib.suppress(ConnectionResetError):
                while plain.recv(4096):
                    pass
        process.terminate()
        _, logged = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0
    others = [line for line in logged.splitlines() if not line.startswith("{")]
    assert any("Handshake failed" in line for line in others) is bool(told)
    assert bool(others) is bool(told)
