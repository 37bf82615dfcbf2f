"""Encrypts streams in authenticated chunks, and decrypts them chunk by chunk.

The construction is STREAM (Hoang, Reyhanitabar, Rogaway, Vizar: Online Authenticated-Encryption and
its Nonce-Reuse Misuse-Resistance, CRYPTO 2015) over AES-256-GCM, as age and Tink have it; the
layout is in `hashlists.encryption.layout`.

Invariants:

* Each file has a key of its own, derived from the key, the purpose and the file's whole header, so
  that no nonce comes twice under one key, and a header that was altered opens nothing.
* A chunk's nonce is its number from 0 (8 bytes, big-endian), three zero bytes, and 1 for the last
  chunk or 0. So a chunk in another's place, one too many, one too few, and a file that was cut off,
  at the end of a chunk too, are all refused.
* No byte is handed out that was not authenticated. What was handed out of a file that turns out to
  be cut off is whole only once the stream has ended well: who reads it must wait for that.
"""

from __future__ import annotations

import hmac
import secrets
from contextlib import suppress
from typing import TYPE_CHECKING, TypeAlias

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from hashlists.encryption.keys import KEY_ID_BYTES, shown
from hashlists.encryption.layout import (
    CHUNK_BYTES,
    HEADER_BYTES,
    MAGIC,
    SALT_BYTES,
    TAG_BYTES,
)
from hashlists.encryption.purposes import MEANINGS
from hashlists.errors import EncryptedFileError, EncryptionKeyError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from hashlists.encryption.keys import Key

    Find: TypeAlias = Callable[[bytes], Key | None]


def encrypt(pieces: Iterable[bytes | memoryview], key: Key, purpose: bytes) -> Iterator[bytes]:
    """The encrypted file of a text, piece by piece.

    Args:
        pieces: the text; each is copied before the next is asked for.
        key: what encrypts.
        purpose: what was encrypted for another does not decrypt.
    """
    header = MAGIC + key.name + secrets.token_bytes(SALT_BYTES)
    cipher = _cipher(key, purpose, header)
    yield header
    number, waiting = 0, b""
    for text in _chunks(pieces):
        if number:
            yield cipher.encrypt(_nonce(number - 1, last=False), waiting, None)
        waiting = text
        number += 1
    yield cipher.encrypt(_nonce(max(0, number - 1), last=True), waiting, None)


def decrypt(read: Callable[[int], bytes], find: Find, purpose: bytes) -> Iterator[bytes]:
    """The text of an encrypted file, chunk by chunk.

    Args:
        read: gives the next so many bytes of the file, fewer only at its end.
        find: the key of a name; None where it is not known.
        purpose: as it was encrypted for.

    Raises:
        EncryptionKeyError: the key is not here.
        EncryptedFileError: the file is none, was encrypted for another purpose, was altered or is
            cut off. The text so far is not all.
    """
    header = read(HEADER_BYTES)
    key = key_of(header, find)
    cipher = _cipher(key, purpose, header)

    def opened(number: int, chunk: bytes, *, last: bool) -> bytes:
        try:
            return _open(cipher, number, chunk, last=last)
        except EncryptedFileError:
            if not number and (meaning := _meaning(key, header, chunk, last=last)):
                raise EncryptedFileError(f"is {meaning}") from None
            raise

    number, waiting = 0, read(CHUNK_BYTES + TAG_BYTES)
    while following := read(CHUNK_BYTES + TAG_BYTES):
        yield opened(number, waiting, last=False)
        number, waiting = number + 1, following
    yield opened(number, waiting, last=True)


def key_of(header: bytes, find: Find) -> Key:
    """The key that a file begins with the name of.

    Raises:
        EncryptionKeyError: it is not here.
        EncryptedFileError: the file is none that this build encrypts.
    """
    if len(header) != HEADER_BYTES or not header.startswith(MAGIC):
        raise EncryptedFileError("is no encrypted file of Hashwarden, or is cut off")
    name = header[len(MAGIC) :][:KEY_ID_BYTES]
    key = find(name)
    if key is None:
        raise EncryptionKeyError(f"is encrypted with key {shown(name)}, which is not here")
    return key


def _cipher(key: Key, purpose: bytes, header: bytes) -> AESGCM:
    return AESGCM(hmac.digest(key.derived(b"encrypt " + purpose), header, "sha256"))


def _nonce(number: int, *, last: bool) -> bytes:
    return number.to_bytes(8, "big") + bytes((0, 0, 0, last))


def _open(cipher: AESGCM, number: int, chunk: bytes, *, last: bool) -> bytes:
    # An empty chunk behind others is none that `encrypt` makes: equal texts have equal lengths.
    if len(chunk) >= TAG_BYTES + (number > 0):
        try:
            return cipher.decrypt(_nonce(number, last=last), chunk, None)
        except InvalidTag:
            pass
    raise EncryptedFileError(
        f"was altered or is cut off: chunk {number + 1} does not open in its place"
    )


def _meaning(key: Key, header: bytes, chunk: bytes, *, last: bool) -> str:
    """What the file is whose first chunk this is, where it is one for a known purpose."""
    for purpose, meaning in MEANINGS.items():
        with suppress(EncryptedFileError):
            _open(_cipher(key, purpose, header), 0, chunk, last=last)
            return meaning
    return ""


def _chunks(pieces: Iterable[bytes | memoryview]) -> Iterator[bytes]:
    """The same bytes in chunks of `CHUNK_BYTES`, but for the last; none of no bytes."""
    kept = bytearray()
    for piece in pieces:
        rest = memoryview(piece)
        while len(kept) + len(rest) >= CHUNK_BYTES:
            lacking = CHUNK_BYTES - len(kept)
            yield b"".join((kept, rest[:lacking]))
            kept.clear()
            rest = rest[lacking:]
        kept += rest
    if kept:
        yield bytes(kept)


__all__ = ["decrypt", "encrypt", "key_of"]
