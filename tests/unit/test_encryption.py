"""Streams of authenticated chunks: what is encrypted comes back, and nothing else does."""

from __future__ import annotations

import io

import pytest

from hashlists.encryption import layout
from hashlists.encryption.keys import KeySource, shown
from hashlists.encryption.stream import decrypt, encrypt
from hashlists.errors import EncryptedFileError, EncryptionKeyError

ONE, TWO = "11" * 32, "22" * 32
PURPOSE = b"a test"
CHUNK = layout.CHUNK_BYTES
SIZES = [0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK + 5]


def source(*keys: str) -> KeySource:
    return KeySource("keys:" + ",".join(keys))


def text_of(nbytes: int) -> bytes:
    return bytes(number % 251 for number in range(256)) * (nbytes // 256) + b"z" * (nbytes % 256)


def encrypted(text: bytes, *keys: str, purpose: bytes = PURPOSE, pieces: int = 1000) -> bytes:
    cut = [text[at : at + pieces] for at in range(0, len(text), pieces)]
    return b"".join(encrypt(cut, source(*keys or (ONE,)).newest(), purpose))


def decrypted(file: bytes, *keys: str, purpose: bytes = PURPOSE) -> bytes:
    return b"".join(decrypt(io.BytesIO(file).read, source(*keys or (ONE,)).find, purpose))


@pytest.mark.parametrize("nbytes", SIZES)
@pytest.mark.parametrize("pieces", [700, CHUNK, 5 * CHUNK])
def test_what_is_encrypted_comes_back(nbytes, pieces):
    text = text_of(nbytes)
    file = encrypted(text, pieces=pieces)
    assert len(file) == layout.encrypted_bytes(nbytes)
    assert decrypted(file) == text


def test_equal_texts_are_not_seen_to_be_equal():
    one, other = encrypted(b"text" * 99), encrypted(b"text" * 99)
    assert one[layout.HEADER_BYTES :] != other[layout.HEADER_BYTES :]
    assert b"text" not in one


def test_a_piece_may_be_written_over_once_the_next_is_asked_for():
    scratch = bytearray(CHUNK)

    def pieces():
        for number in range(3):
            scratch[:] = bytes([number]) * CHUNK
            yield memoryview(scratch)

    file = b"".join(encrypt(pieces(), source(ONE).newest(), PURPOSE))
    assert decrypted(file) == b"".join(bytes([number]) * CHUNK for number in range(3))


@pytest.mark.parametrize("nbytes", SIZES)
def test_a_file_that_is_cut_off_anywhere_is_refused(nbytes):
    file = encrypted(text_of(nbytes))
    chunk = CHUNK + layout.TAG_BYTES
    ends = {0, 1, layout.HEADER_BYTES, layout.HEADER_BYTES + 1, len(file) - 1, len(file) - 17}
    ends |= set(range(layout.HEADER_BYTES, len(file), chunk))
    for end in ends:
        with pytest.raises(EncryptedFileError):
            decrypted(file[: max(0, end)])


def chunks_of(file: bytes) -> list[bytes]:
    size = CHUNK + layout.TAG_BYTES
    return [file[at : at + size] for at in range(layout.HEADER_BYTES, len(file), size)]


@pytest.mark.parametrize(
    "change",
    [
        lambda chunks: [chunks[1], chunks[0], *chunks[2:]],
        lambda chunks: [*chunks[:1], *chunks],
        lambda chunks: [chunks[0], *chunks[2:]],
        lambda chunks: chunks[:-1],
        lambda chunks: [*chunks, chunks[-1]],
        lambda chunks: [*chunks, b"\0" * layout.TAG_BYTES],
        lambda chunks: [],
    ],
)
def test_chunks_that_were_moved_are_refused(change):
    file = encrypted(text_of(3 * CHUNK))
    with pytest.raises(EncryptedFileError, match=r"chunk \d does not open"):
        decrypted(file[: layout.HEADER_BYTES] + b"".join(change(chunks_of(file))))


def test_a_chunk_of_another_file_is_refused():
    one, other = encrypted(text_of(CHUNK)), encrypted(text_of(CHUNK))
    with pytest.raises(EncryptedFileError, match="chunk 1"):
        decrypted(one[: layout.HEADER_BYTES] + other[layout.HEADER_BYTES :])


def test_nothing_is_handed_out_before_what_was_altered():
    file = bytearray(encrypted(text_of(3 * CHUNK)))
    file[layout.HEADER_BYTES + CHUNK + layout.TAG_BYTES + 5] ^= 1
    opening = decrypt(io.BytesIO(bytes(file)).read, source(ONE).find, PURPOSE)
    assert next(opening) == text_of(3 * CHUNK)[:CHUNK]
    with pytest.raises(EncryptedFileError, match="chunk 2"):
        next(opening)


def test_any_of_the_keys_decrypts():
    file = encrypted(b"old", ONE)
    assert decrypted(file, TWO, ONE) == b"old"
    assert decrypted(encrypted(b"new", TWO, ONE), TWO) == b"new"


def test_without_its_key_it_says_which_key_that_is():
    name = shown(source(ONE).newest().name)
    with pytest.raises(EncryptionKeyError, match=f"key {name}, which is not here") as caught:
        decrypted(encrypted(b"text"), TWO)
    assert ONE not in str(caught.value)


def test_what_was_encrypted_for_another_purpose_is_refused():
    with pytest.raises(EncryptedFileError):
        decrypted(encrypted(b"text"), purpose=b"another")


@pytest.mark.parametrize("file", [b"", b"HWENC", b"PK\3\4" * 40, b"HWENC\0\0\2" + b"\0" * 99])
def test_what_is_no_encrypted_file_is_told(file):
    with pytest.raises(EncryptedFileError, match="no encrypted file"):
        decrypted(file)


def test_a_first_key_is_made_only_where_it_is_asked_for(tmp_path):
    path = tmp_path / "encryption.keys"
    keys = KeySource(f"file:{path}")
    keys.fetch()
    with pytest.raises(EncryptionKeyError, match="cannot be read"):
        keys.newest()
    assert keys.make()
    assert path.stat().st_mode & 0o777 == 0o600
    first = keys.newest()
    assert not keys.make()
    assert keys.newest() == first
    with pytest.raises(EncryptionKeyError, match="encryption_keys names no file"):
        source(ONE).make()
