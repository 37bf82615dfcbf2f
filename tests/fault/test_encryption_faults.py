"""Encrypted files when the disk is full or a process dies: whole or not there."""

from __future__ import annotations

import errno
import fcntl
import io
import os
import signal
import subprocess
import sys

import numpy as np
import pytest

from hashlists.catalog import Catalog, backup, clear_copies, on_sqlite
from hashlists.encryption.keys import KeySource
from hashlists.errors import BackupError
from hashlists.snapshot import SnapshotWriter, current_name, open_current, sweep
from hashlists.snapshot.vault import Vault
from tests.catalog_support import DEMO, bring, items

KEYS = KeySource("keys:" + "11" * 32)
CODES = np.random.default_rng(5).integers(0, 256, (30_000, 32), np.uint8)


@pytest.fixture
def catalog(tmp_path):
    path = tmp_path / "data" / "catalog.sqlite3"
    with Catalog.open(f"sqlite:///{path}") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items("a", "b"))
    return path


def hidden(folder):
    """What lies there under a name that begins with a dot, but for locks."""
    return [
        each.name
        for each in folder.iterdir()
        if each.name.startswith(".") and not each.name.endswith(".lock")
    ]


def full(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_leaves_no_backup(catalog, tmp_path, monkeypatch, call):
    monkeypatch.setattr(backup.os, call, full)
    with pytest.raises(BackupError, match="No space left"):
        backup.back_up(catalog, tmp_path / "backup", KEYS)
    monkeypatch.undo()
    assert not (tmp_path / "backup").exists()
    assert hidden(tmp_path) == hidden(catalog.parent) == []


@pytest.mark.parametrize("call", ["fsync", "link"])
def test_a_full_disk_restores_nothing(catalog, tmp_path, monkeypatch, call):
    backup.back_up(catalog, tmp_path / "backup", KEYS)
    content = io.BytesIO((tmp_path / "backup").read_bytes())
    other = tmp_path / "other" / "catalog.sqlite3"
    monkeypatch.setattr(backup.os, call, full)
    with pytest.raises(BackupError, match="No space left"):
        backup.restore(content, other, KEYS)
    monkeypatch.undo()
    assert not other.exists()
    assert hidden(other.parent) == []


def test_a_full_disk_leaves_the_encrypted_snapshot_before(tmp_path, monkeypatch):
    vault = Vault(KEYS)
    with SnapshotWriter(tmp_path, revision=1, vault=vault) as writer:
        writer.add_array("codes", CODES)
        path = writer.publish({})
    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError), SnapshotWriter(tmp_path, revision=2, vault=vault) as writer:
        writer.add_array("codes", CODES)
    monkeypatch.undo()
    sweep(tmp_path)
    assert current_name(tmp_path) == path.name
    assert (open_current(tmp_path, vault=vault).arrays["codes"] == CODES).all()


def test_killed_amid_a_backup_nothing_is_left_under_its_name(catalog, tmp_path):
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from hashlists.catalog import backup\n"
        "from hashlists.encryption.keys import KeySource\n"
        "backup.os.link = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
        "keys = KeySource('keys:' + '11' * 32)\n"
        "backup.back_up(Path(sys.argv[1]), Path(sys.argv[2]), keys)\n"
    )
    target = tmp_path / "backup"
    done = subprocess.run([sys.executable, "-c", program, str(catalog), str(target)], check=False)
    assert done.returncode == -signal.SIGKILL
    assert not target.exists()
    backup.back_up(catalog, target, KEYS)
    assert hidden(catalog.parent) == []


def test_what_a_killed_backup_left_goes_with_a_wipe(catalog, monkeypatch):
    left = catalog.parent / ".catalog-copy-0123456789abcdef"
    left.write_bytes(b"what was purged since")
    with Catalog.open(f"sqlite:///{catalog}") as opened:
        monkeypatch.setattr(on_sqlite, "_PAUSES_SECONDS", (0.0,))
        with clear_copies._lock(catalog.parent, fcntl.LOCK_EX):  # one that is being made now
            assert not opened.wipe_deleted()
        assert left.exists()
        assert opened.wipe_deleted()
    assert not left.exists()
