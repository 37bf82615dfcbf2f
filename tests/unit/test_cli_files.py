"""Files are read and hashed in order, in bounded memory, and one bad file never stops the rest."""

from __future__ import annotations

import hashlib
import io
import os
import sys
from concurrent.futures import Future
from types import SimpleNamespace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.cli import files
from matcher.cli.files import HashedFile, LoadedFile, UnreadableFile
from matcher.model import DecodeRequest, NotHashableReason, Undecodable

REQUEST = DecodeRequest()


class CountingPool:
    """A pool whose answers name the bytes they are for, and which counts what is under way."""

    def __init__(self):
        self.under_way = 0
        self.most_under_way = 0

    def submit(self, data, request):
        assert request is REQUEST
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        return _CountedFuture(self, Undecodable(NotHashableReason.MALFORMED, f"size {len(data)}"))

    def close(self):
        pass


class _CountedFuture(Future):
    def __init__(self, pool, result):
        super().__init__()
        self._pool = pool
        self.set_result(result)

    def result(self, timeout=None):
        self._pool.under_way -= 1
        return super().result(timeout)


@pytest.fixture
def pool():
    return CountingPool()


def write(folder, name, data):
    (folder / name).write_bytes(data)
    return str(folder / name)


@pytest.mark.parametrize("size", [0, 1, 9, 10, 11, 25])
def test_a_file_past_the_limit_is_digested_and_not_kept(tmp_path, size, monkeypatch):
    monkeypatch.setattr(files, "_CHUNK", 4)
    data = bytes(range(size))
    loaded = files.load_file(write(tmp_path, "f", data), max_bytes=10)
    assert isinstance(loaded, LoadedFile)
    assert loaded.data == (data if size <= 10 else None)
    assert loaded.digests.md5 == hashlib.md5(data).digest()
    assert loaded.digests.sha1 == hashlib.sha1(data).digest()
    assert loaded.digests.sha256 == hashlib.sha256(data).digest()
    assert loaded.digests.size == size


def test_standard_input_is_read_for_a_dash(monkeypatch):
    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=io.BytesIO(b"abc")))
    loaded = files.load_file("-", max_bytes=10)
    assert isinstance(loaded, LoadedFile)
    assert loaded.data == b"abc"


@pytest.mark.parametrize("name", ["missing", ".", "a\0b"])
def test_what_cannot_be_read_has_a_reason(tmp_path, name):
    unread = files.load_file(f"{tmp_path}/{name}", max_bytes=10)
    assert isinstance(unread, UnreadableFile)
    assert unread.detail
    assert str(tmp_path) not in unread.detail


def test_order_holds_and_bad_files_stop_nothing(tmp_path, pool):
    paths = [write(tmp_path, f"{n}", b"x" * n) for n in range(150)]
    paths[17] = str(tmp_path / "missing")
    found = [
        file for batch in files.hash_files(paths, pool, REQUEST, max_bytes=100) for file in batch
    ]
    assert [file.path for file in found] == paths
    assert isinstance(found[17], UnreadableFile)
    for size, file in enumerate(found):
        if size == 17:
            continue
        assert isinstance(file, HashedFile)
        assert file.hashes.size == size
        assert file.hashes.undecodable == file.decoded
        assert file.decoded.detail.startswith("size" if size <= 100 else f"{size} bytes; the limit")
        assert (file.decoded.reason is NotHashableReason.OVER_LIMIT) == (size > 100)


def test_only_a_window_of_files_is_held(tmp_path, pool):
    paths = [write(tmp_path, f"{n}", b"x") for n in range(300)]
    for _ in files.hash_files(paths, pool, REQUEST, max_bytes=10):
        pass
    assert 32 <= pool.most_under_way <= 64
    assert pool.under_way == 0


def test_only_a_window_of_bytes_is_held(tmp_path, pool, monkeypatch):
    monkeypatch.setattr(files, "_WINDOW_BYTES", 30)
    paths = [write(tmp_path, f"{n}", b"x" * 10) for n in range(40)]
    batches = list(files.hash_files(paths, pool, REQUEST, max_bytes=10))
    assert pool.most_under_way == 3
    assert sum(map(len, batches)) == 40


def test_no_files_give_no_batches(pool):
    assert list(files.hash_files([], pool, REQUEST, max_bytes=10)) == []


@given(st.binary(min_size=1).filter(lambda name: b"\0" not in name))
def test_any_name_becomes_text_that_can_be_encoded(name):
    text = files.as_text(os.fsdecode(name))
    text.encode()
    try:
        assert text == name.decode()
    except UnicodeDecodeError:
        assert "\\x" in text


@pytest.mark.parametrize("name", ["ab" * 16, "AB" * 20, "cd" * 32, "0f" * 8])
def test_a_hash_in_a_files_place_is_said_to_be_one(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    missing = files.load_file(name, max_bytes=1)
    assert missing.detail == (
        "no such file: it looks like a hash; look that up with: hashwarden lookup"
    )
    (tmp_path / name).write_bytes(b"x")
    assert isinstance(files.load_file(name, max_bytes=1), LoadedFile)
    assert files.load_file(f"{name}.jpg", max_bytes=1).detail == "No such file or directory"
