"""A snapshot is on a node once, whoever comes first, and is gone with the last one who used it."""

from __future__ import annotations

import multiprocessing
import os
import signal
import stat
import threading
import time

import pytest

from matcher.scan.engines.placing import PackedFile, PackedSnapshot, pack, placed
from matcher.scan.errors import EngineError

NAME = "snapshot-7-abcdef"
FILES = {"current": b"{}\n", f"{NAME}/manifest.json": b"{}", f"{NAME}/codes.bin": bytes(range(250))}
SECONDS = 60.0


@pytest.fixture
def root(tmp_path):
    """A root of snapshots with more in it than the published one."""
    made = tmp_path / "snapshots"
    for path, content in {**FILES, "snapshot-6-x/old.bin": b"old", ".build.lock": b""}.items():
        file = made / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    return made


@pytest.fixture
def packed(root):
    return pack(root, NAME, bytes, piece_bytes=100)


def content_of(folder):
    return {
        each.relative_to(folder).as_posix(): each.read_bytes()
        for each in folder.rglob("*")
        if each.is_file()
    }


def test_the_published_snapshot_and_nothing_else_is_carried(packed, tmp_path):
    assert max(len(each.pieces) for each in packed.files) == 3  # 250 bytes, a hundred at a time
    with placed(packed, tmp_path / "node", bytes) as placed_root:
        assert content_of(placed_root) == FILES


def test_copies_are_closed_to_others(packed, tmp_path):
    with placed(packed, tmp_path / "node", bytes) as placed_root:
        for each in [tmp_path / "node", *(tmp_path / "node").rglob("*")]:
            assert not stat.S_IMODE(each.stat().st_mode) & 0o077
        assert placed_root.is_dir()


def test_it_is_written_once_and_shared(packed, tmp_path):
    """All begin at once, and the first one takes its time: the others want to write as well."""
    fetched = []

    def fetch(piece):
        fetched.append(piece)
        time.sleep(0.05)
        return piece

    everybody_is_there = threading.Barrier(8)

    def work():
        everybody_is_there.wait(SECONDS)
        with placed(packed, tmp_path / "node", fetch) as placed_root:
            everybody_is_there.wait(SECONDS)
            assert content_of(placed_root) == FILES

    threads = [threading.Thread(target=work, daemon=True) for _ in range(8)]
    for each in threads:
        each.start()
    for each in threads:
        each.join(SECONDS)
    assert not any(each.is_alive() for each in threads)
    assert len(fetched) == sum(len(each.pieces) for each in packed.files)
    assert list((tmp_path / "node").iterdir()) == []


def test_it_stays_for_who_still_uses_it(packed, tmp_path):
    node = tmp_path / "node"
    with placed(packed, node, bytes) as first:
        with placed(packed, node, bytes) as second:
            assert second == first
        assert content_of(first) == FILES
    assert list(node.iterdir()) == []


def hold(packed, node, ready):
    with placed(packed, node, bytes):
        ready.set()
        signal.pause()


def test_what_killed_workers_left_is_removed_by_the_next_one(packed, tmp_path):
    node = tmp_path / "node"
    context = multiprocessing.get_context("spawn")
    ready = context.Event()
    worker = context.Process(target=hold, args=(packed, node, ready))
    worker.start()
    assert ready.wait(SECONDS)
    other = PackedSnapshot("snapshot-8-x", (PackedFile("current", (b"",)),))
    with placed(other, node, bytes):
        assert (node / NAME).is_dir()  # it is in use
    os.kill(worker.pid, signal.SIGKILL)
    worker.join(SECONDS)
    with placed(other, node, bytes):
        assert {each.name for each in node.iterdir()} == {
            "snapshot-8-x",
            "snapshot-8-x.lock",
            "snapshot-8-x.writing",
        }


def test_a_copy_that_could_not_be_written_leaves_nothing(packed, tmp_path):
    def fetch(piece):
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"), placed(packed, tmp_path / "node", fetch):
        pass
    assert list((tmp_path / "node").iterdir()) == []


def test_somebody_elses_folder_is_not_trusted(packed, tmp_path):
    (tmp_path / "open").mkdir(mode=0o755)
    (tmp_path / "open").chmod(0o755)
    (tmp_path / "own").mkdir(mode=0o700)
    (tmp_path / "link").symlink_to(tmp_path / "own")
    for name in ("open", "link"):
        refused = pytest.raises(EngineError, match="no folder of this account alone")
        with refused, placed(packed, tmp_path / name, bytes):
            pass


@pytest.mark.parametrize("path", ["../current", "/etc/passwd", f"{NAME}/../../x", ".hidden"])
def test_names_lead_nowhere_else(path, tmp_path):
    hostile = PackedSnapshot(NAME, (PackedFile(path, (b"",)),))
    with pytest.raises(EngineError, match="names"), placed(hostile, tmp_path / "node", bytes):
        pass
    assert not (tmp_path / "node").exists()
