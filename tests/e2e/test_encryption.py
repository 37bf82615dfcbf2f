"""Encrypted snapshots under real processes: decrypted once, shared, and never in clear on disk."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import psutil
import pytest

from hashlists.encryption.keys import KeySource
from hashlists.snapshot import current_name
from matcher import cli
from matcher.model import Decision
from tests.e2e.test_supervisor import served, until

ROWS = 3_000
CODES = np.random.default_rng(11).integers(0, 256, (ROWS, 32), np.uint8)


def import_rows(data, file, codes):
    rows = (f"{hashlib.md5(each).hexdigest()},{each.hex()}" for each in map(bytes, codes))
    file.write_text("\n".join(["md5,pdq", *rows]) + "\n")
    chosen = ("--list", "demo", "--harm", "test", "--source", "Us")
    columns = ("--column=md5=md5", "--column=pdq=pdq")
    assert cli.main(["--data", str(data), "lists", "import", str(file), *chosen, *columns]) == 0


def memories(pid):
    """Inodes of the decrypted arrays that a process maps."""
    lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
    return {line.split()[4] for line in lines if "memfd:hashwarden-snapshot" in line}


def in_clear(folder, code):
    return [each for each in folder.rglob("*") if each.is_file() and code in each.read_bytes()]


@pytest.fixture
def keys(tmp_path, monkeypatch):
    file = tmp_path / "encryption.keys"
    KeySource(f"file:{file}").make()
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"file:{file}")
    return file


@pytest.mark.slow
def test_processes_share_what_was_decrypted_once(tmp_path, keys):
    data = tmp_path / "data"
    import_rows(data, tmp_path / "list.csv", CODES)
    with served(data) as server:
        until(lambda: server.ready_ones() == (200, [True, True]))
        first, second = server.pids()
        shared = memories(first)
        assert len(shared) > 5
        assert memories(second) == shared
        assert server.match().decision is Decision.MATCH
        assert in_clear(data / "snapshots", CODES[7].tobytes()) == []

        psutil.Process(second).kill()
        until(lambda: server.ready_ones() == (200, [True, True]) and server.pids()[1] != second)
        assert memories(server.pids()[1]) == shared

        KeySource(f"file:{keys}").rotate()
        before = current_name(data / "snapshots")
        assert cli.main(["--data", str(data), "index", "build"]) == 0
        assert current_name(data / "snapshots") != before
        until(lambda: not any(memories(pid) & shared for pid in server.pids()))
        first, second = server.pids()
        until(lambda: memories(first) == memories(second) != set())
        assert server.match().decision is Decision.MATCH
        assert in_clear(data / "snapshots", CODES[7].tobytes()) == []
