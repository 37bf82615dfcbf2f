"""Digests of bytes, streams and files."""

from __future__ import annotations

import hashlib
import io

import pytest

from matcher.hashing import digests
from matcher.hashing.digests import Digester, digest_bytes, digest_file, digest_stream

BLOCK = digests._BLOCK_BYTES
SIZES = [0, 1, 63, 64, BLOCK - 1, BLOCK, BLOCK + 1, 3 * BLOCK + 17]


def expected(data: bytes) -> tuple[bytes, bytes, bytes, int]:
    return (
        hashlib.md5(data).digest(),
        hashlib.sha1(data).digest(),
        hashlib.sha256(data).digest(),
        len(data),
    )


def found(result) -> tuple[bytes, bytes, bytes, int]:
    return result.md5, result.sha1, result.sha256, result.size


@pytest.mark.parametrize("size", SIZES)
def test_bytes_streams_and_files_agree_with_hashlib(size, rng, tmp_path):
    data = rng.bytes(size)
    path = tmp_path / "file"
    path.write_bytes(data)
    assert found(digest_bytes(data)) == expected(data)
    assert found(digest_stream(io.BytesIO(data))) == expected(data)
    assert found(digest_file(path)) == expected(data)
    assert found(digest_file(str(path))) == expected(data)


@pytest.mark.parametrize("wrap", [bytes, bytearray, memoryview])
def test_any_bytes_like_object_will_do(wrap, rng):
    data = rng.bytes(1000)
    assert found(digest_bytes(wrap(data))) == expected(data)


def test_wide_items_count_as_bytes(rng):
    data = rng.bytes(800)
    assert found(digest_bytes(memoryview(data).cast("d"))) == expected(data)


def test_pieces_make_the_whole(rng):
    data = rng.bytes(10_000)
    digester = Digester()
    for start in range(0, len(data), 333):
        digester.update(data[start : start + 333])
        assert digester.digests().size == min(start + 333, len(data))
    assert found(digester.digests()) == expected(data)


def test_streams_are_read_from_where_they_are(rng):
    data = rng.bytes(100)
    stream = io.BytesIO(data)
    stream.seek(40)
    assert found(digest_stream(stream)) == expected(data[40:])


def test_scattered_bytes_are_refused():
    with pytest.raises(BufferError, match="contiguous"):
        digest_bytes(memoryview(bytes(100))[::2])


def test_text_is_refused():
    with pytest.raises(TypeError):
        digest_bytes("text")


def test_a_missing_file_is_an_os_error(tmp_path):
    with pytest.raises(FileNotFoundError):
        digest_file(tmp_path / "absent")
    with pytest.raises(IsADirectoryError):
        digest_file(tmp_path)


def test_digests_are_not_in_their_own_representation():
    result = digest_bytes(b"abc")
    for value in (result.md5, result.sha1, result.sha256):
        assert value.hex() not in repr(result)
        assert repr(value) not in repr(result)
