"""Each command of docs/clients against a real server, where that language's tools are installed.

They come from Debian and npm (`npm install` is left to whoever reads the page): a language whose
tools are not there is skipped.
"""

from __future__ import annotations

import asyncio
import os
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from threading import Event, Thread

import grpc
import pytest
from grpc_status import rpc_status

from hashlists.access.audit_head import HeadFile
from hashlists.access.database import AccessDatabase
from hashlists.access.model import NewClient, Role
from hashlists.access.tokens import load_or_make_key
from matcher import settings
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher.demo_data import published_test_image
from matcher.errors import OverloadedError
from matcher.service.errors import status_of
from matcher.service.server import running
from tests.certificates import Authority
from tests.deployment import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
PAGE = ROOT / "docs" / "clients" / "README.md"
JAVA = Path("/usr/share/java")
GO = Path("/usr/share/gocode/src/google.golang.org/grpc")
#: Whether there is what a section of the page needs.
NEEDS = {
    "Generic clients": lambda: shutil.which("buf", path=str(Path(sys.executable).parent)),
    "Node": lambda: (
        shutil.which("node") and (ROOT / "build/clients/node/node_modules/@grpc/grpc-js").is_dir()
    ),
    "Go": lambda: shutil.which("go") and shutil.which("protoc-gen-go-grpc") and GO.is_dir(),
    "Java": lambda: (
        shutil.which("javac")
        and shutil.which("grpc_java_plugin")
        and all((JAVA / f"{name}.jar").is_file() for name in ("grpc-netty", "netty-tcnative"))
    ),
    "PHP": lambda: (
        shutil.which("php")
        and shutil.which("protoc")
        and Path("/usr/share/php/Google/Protobuf").is_dir()
    ),
}
#: Whoever reads the page installs; no test does.
LEFT_OUT = ("npm install ",)
#: How many commands at the end of a section are the call; those before make the program.
CALL = {"Generic clients": 2}


def commands(language):
    """The commands of a section, but for those that fetch packages."""
    section = PAGE.read_text(encoding="utf-8").split(f"## {language}\n")[1].split("\n## ")[0]
    text = "".join(re.findall(r"```sh\n(.*?)```", section, re.DOTALL))
    found = text.replace("\\\n", " ").splitlines()
    return [each for each in found if not each.startswith(LEFT_OUT)]


@contextmanager
def in_background(chosen):
    """A server of a thread of its own; gives its address."""
    ended, told = Event(), []
    begun = Event()

    async def serve():
        async with running(chosen) as server:
            await server.ready
            told.append(server.address)
            begun.set()
            await asyncio.to_thread(ended.wait)

    thread = Thread(target=asyncio.run, args=(serve(),))
    thread.start()
    try:
        assert begun.wait(100)
        yield told[0]
    finally:
        ended.set()
        thread.join()


@pytest.fixture
def place(begun_data, tmp_path):
    """What the page's variables stand for: a server with TLS that knows one client."""
    authority = Authority(tmp_path)
    certificate, key = authority.issue_for_this_machine("server")
    free = dict.fromkeys(("listen", "lists_listen", "admin_listen"), "127.0.0.1:0")
    said = {"tls_certificate": certificate, "tls_key": key, "authentication": "required"}
    chosen = settings.load_settings(begun_data, environ={}, overrides=free | said)
    with AccessDatabase.open(chosen.access_url, HeadFile(chosen.audit_head_file)) as database:
        token_key = load_or_make_key(chosen.token_key_file)
        new = NewClient("uploads", frozenset({Role.MATCH}))
        token = database.add_client(new, actor="test", key=token_key)
    (tmp_path / "token").write_text(f"{token}\n")
    (tmp_path / "wrong").write_text("wrong\n")
    (tmp_path / "picture.png").write_bytes(published_test_image().data)
    with in_background(chosen) as address:
        yield {
            "SERVER": address.replace("127.0.0.1", "localhost"),
            "CA": str(authority.file),
            "TOKEN": str(tmp_path / "token"),
            "PICTURE": str(tmp_path / "picture.png"),
            "CERTIFICATE": str(certificate),
            "KEY": str(key),
        }


class Refusing(grpc.GenericRpcHandler):
    """Refuses every other call as an overloaded server does, and else answers with a match."""

    calls = 0

    def service(self, details):
        assert details.method == "/hashwarden.match.v1.MatchService/MatchImage"
        return grpc.unary_unary_rpc_method_handler(self.answer)

    def answer(self, request, context):
        self.calls += 1
        if self.calls % 2:
            context.abort_with_status(rpc_status.to_status(status_of(OverloadedError("full"))))
        result = match_pb2.MatchResult(decision="DECISION_MATCH", match_id="found-again")
        return match_pb2.MatchImageResponse(result=result).SerializeToString()


@pytest.fixture
def refusing(place, tmp_path):
    """A server that refuses at first; gives its address and what it counts."""
    certificate, key = Path(place["CERTIFICATE"]), Path(place["KEY"])
    server, handler = grpc.server(ThreadPoolExecutor(1)), Refusing()
    server.add_generic_rpc_handlers([handler])
    pair = (key.read_bytes(), certificate.read_bytes())
    port = server.add_secure_port("localhost:0", grpc.ssl_server_credentials([pair]))
    server.start()
    yield f"localhost:{port}", handler
    server.stop(None).wait()


def run(language, place, *cases):
    """Makes the program, then calls once for each case; gives each one's exit code and output."""
    of_call = CALL.get(language, 1)
    make, call = commands(language)[:-of_call], commands(language)[-of_call:]
    lines = ["set -eu", *make, "set +e", "call() {", *call, "}"]
    for each in cases:
        said = [f"{name}={shlex.quote(value)}" for name, value in each.items()]
        lines += [" ".join([*said, "call"]), 'echo "exit $?" | tee /dev/stderr']
    done = subprocess.run(
        ["bash", "-c", "\n".join(lines)],
        cwd=ROOT,
        env=os.environ
        | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}", "GRPC_GO_RETRY": "on"}
        | place,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    ended = re.compile(r"^exit (\d+)\n", re.MULTILINE)
    printed, warned = (ended.split(text) for text in (done.stdout, done.stderr))
    return list(zip(map(int, printed[1::2]), printed[::2], warned[::2], strict=False))


@pytest.fixture(scope="module")
def _protos():
    if not (ROOT / "build/protodeps/google/rpc/error_details.proto").is_file():
        pytest.skip("the protos of others are not laid: make protodeps")


@pytest.mark.parametrize("language", NEEDS)
@pytest.mark.usefixtures("_protos")
def test_the_commands_of_the_page(language, place, refusing, tmp_path):
    if not NEEDS[language]():
        pytest.skip(f"not installed: what the section {language} needs")
    address, server = refusing
    matched, unknown, text, again, nobody = run(
        language,
        place,
        {},
        {"TOKEN": str(tmp_path / "wrong")},
        {"PICTURE": str(PAGE)},
        {"SERVER": address},
        {"SERVER": "localhost:1"},
    )
    assert matched[0] == text[0] == 0, (matched, text)
    assert "DECISION_MATCH" in matched[1]
    assert "NOT_HASHABLE_REASON_UNSUPPORTED" in text[1]
    assert unknown[0] != 0 != nobody[0]
    if language == "Generic clients":  # which tries nothing again
        assert "unauthenticated" in unknown[2]
        assert "unavailable" in nobody[2]
        return
    assert text[1].startswith("DECISION_NOT_HASHABLE NOT_HASHABLE_REASON_UNSUPPORTED ")
    assert unknown[1].startswith("UNAUTHENTICATED UNAUTHENTICATED ")
    assert again[:2] == (0, "DECISION_MATCH found-again \n")
    assert server.calls == 2
    assert nobody[1].startswith("UNAVAILABLE ")
