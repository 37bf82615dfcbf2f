"""Whatever is done to an encrypted file, its text comes back whole or not at all."""

from __future__ import annotations

import io
from unittest import mock

from hypothesis import given
from hypothesis import strategies as st

from hashlists.encryption import layout, stream
from hashlists.encryption.keys import KeySource
from hashlists.errors import EncryptedFileError, EncryptionKeyError

KEYS = KeySource("keys:" + "ab" * 32)
SMALL = 16
PURPOSE = b"a test"


def encrypted(pieces):
    return b"".join(stream.encrypt(pieces, KEYS.newest(), PURPOSE))


def decrypted(file):
    return b"".join(stream.decrypt(io.BytesIO(file).read, KEYS.find, PURPOSE))


def small_chunks():
    """So that a few bytes are several chunks."""
    return mock.patch.object(stream, "CHUNK_BYTES", SMALL)


@given(st.lists(st.binary(max_size=3 * SMALL), max_size=8))
def test_however_it_is_cut_into_pieces_it_comes_back(pieces):
    with small_chunks():
        assert decrypted(encrypted(pieces)) == b"".join(pieces)


EDITS = st.one_of(
    st.tuples(st.just("flip"), st.integers(0, 10_000), st.integers(1, 255)),
    st.tuples(st.just("cut"), st.integers(0, 10_000), st.just(0)),
    st.tuples(st.just("add"), st.integers(0, 10_000), st.integers(1, 40)),
    st.tuples(st.just("drop"), st.integers(0, 30), st.integers(1, 4)),
    st.tuples(st.just("swap"), st.integers(0, 30), st.integers(0, 30)),
    st.tuples(st.just("copy"), st.integers(0, 30), st.integers(0, 30)),
)


def edited(file: bytes, edit: tuple[str, int, int]) -> bytes:
    what, one, other = edit
    if what == "flip":
        at = one % len(file)
        return file[:at] + bytes([file[at] ^ other]) + file[at + 1 :]
    if what == "cut":
        return file[: one % len(file)]
    if what == "add":
        at = one % (len(file) + 1)
        return file[:at] + b"\0" * other + file[at:]
    head, body = file[: layout.HEADER_BYTES], file[layout.HEADER_BYTES :]
    size = SMALL + layout.TAG_BYTES
    chunks = [body[at : at + size] for at in range(0, len(body), size)]
    if not chunks:
        return file
    one, other_place = one % len(chunks), other % len(chunks)
    if what == "drop":
        del chunks[one : one + other]
    elif what == "swap":
        chunks[one], chunks[other_place] = chunks[other_place], chunks[one]
    else:
        chunks.insert(other_place, chunks[one])
    return head + b"".join(chunks)


@given(st.binary(max_size=8 * SMALL), st.lists(EDITS, min_size=1, max_size=3))
def test_whatever_was_changed_is_refused(text, edits):
    with small_chunks():
        file = encrypted([text])
        changed = file
        for edit in edits:
            changed = edited(changed, edit) if changed else changed
        try:
            found = decrypted(changed)
        except (EncryptedFileError, EncryptionKeyError):
            assert changed != file
        else:
            assert changed == file
            assert found == text
