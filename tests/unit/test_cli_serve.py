"""`serve` says where it listens once, and why it cannot, without a word of gRPC's own."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

import matcher
from matcher.cli import serve
from matcher.errors import SettingsError
from matcher.service import listening

SOURCE = Path(matcher.__file__).parents[1]


def started(data, *arguments, **environment):
    return subprocess.Popen(
        [sys.executable, "-m", "matcher.cli", "--data", str(data), "serve", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONPATH": str(SOURCE), **environment},
    )


def test_a_taken_port_is_one_line(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with started(tmp_path, "--listen", address) as process:
            out, told = process.communicate(timeout=170)
    assert (process.returncode, out) == (2, "")
    assert told == (
        f"error: listen: cannot listen on {address}: Address already in use; choose another with "
        "--listen\n"
    )


@pytest.mark.parametrize("listen", ["127.0.0.1:0", "localhost:0", "0.0.0.0:0"])
def test_a_free_port_is_free(listen):
    listening.check_free(listen)


def test_an_address_of_another_machine_is_refused():
    with pytest.raises(SettingsError, match=r"192\.0\.2\.1:50051: .*; choose another"):
        listening.check_free("192.0.2.1:50051")


def test_a_name_that_is_unknown_is_refused(monkeypatch):
    def unknown(*_, **__):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(SettingsError, match="nowhere:1: Name or service not known"):
        listening.check_free("nowhere:1")


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0"])
def test_the_address_is_told_once_and_open_doors_loudly(tmp_path, host):
    doors = ("LISTEN", "EXPORT")
    insist = {f"HASHWARDEN_DANGER_{door}_WITHOUT_TLS": "true" for door in doors}
    insist["HASHWARDEN_LISTS_LISTEN"] = "same"
    with started(tmp_path, "--listen", f"{host}:0", **insist) as process:
        ready = process.stdout.readline().strip()
        process.send_signal(signal.SIGTERM)
        out, told = process.communicate(timeout=170)
    assert ready.startswith(f"serving on {host}:")
    assert out == ""
    assert ready.split()[-1] not in told
    assert ("WARNING: " in told) == (host == "0.0.0.0")
    assert ("can have every entry" in told) == (host == "0.0.0.0")


def test_a_person_is_given_a_command_that_works(monkeypatch, capsys):
    monkeypatch.setattr(serve, "is_terminal", lambda **_: True)
    serve._tell_ready("127.0.0.1:5", "127.0.0.1:6")
    captured = capsys.readouterr()
    assert captured == (
        "serving on 127.0.0.1:5\nhash lists on 127.0.0.1:6\n",
        "Try: hashwarden doctor --server 127.0.0.1:5\n",
    )
