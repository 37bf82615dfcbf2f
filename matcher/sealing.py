"""Seals what is kept of uploads, and opens it again.

Nothing is sealed with a key itself but with one derived from it for each purpose, so that what was
sealed for one is never taken for another (`hashlists.encryption.keys`).

AES-256-GCM-SIV (RFC 8452) with nonces drawn at random: however many are sealed under one key, and
were a nonce ever to come twice, nothing but the equality of two equal texts would be told.

No error repeats a key or anything that was sealed.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCMSIV

from hashlists.encryption import keys as encryption
from hashlists.encryption.keys import COMMAND, FILE, GIVEN, KEY_ID_BYTES
from matcher.errors import BrokenSealError, SealingKeyError

if TYPE_CHECKING:
    from hashlists.encryption.keys import Key

MARK_BYTES = 16
_NONCE_BYTES = 12
_TAG_BYTES = 16
#: What sealing adds to a text.
OVERHEAD_BYTES = KEY_ID_BYTES + _NONCE_BYTES + _TAG_BYTES


class KeySource(encryption.KeySource):
    """The keys that seal what is kept of uploads, as the setting `match_keys` says."""

    error: ClassVar[type[Exception]] = SealingKeyError
    setting: ClassVar[str] = "match_keys"


@dataclass(frozen=True, slots=True)
class Sealer:
    """Seals for one purpose.

    Attributes:
        keys: where the keys are.
        purpose: what was sealed for another does not open.
    """

    keys: KeySource
    purpose: bytes

    def seal(self, text: bytes, about: bytes = b"") -> bytes:
        """The text, sealed: it opens with the same `about` only.

        Raises:
            SealingKeyError: there is no key.
        """
        key, nonce = self.keys.newest(), secrets.token_bytes(_NONCE_BYTES)
        return key.name + nonce + _cipher(key, self.purpose).encrypt(nonce, text, about)

    def open(self, sealed: bytes, about: bytes = b"") -> bytes:
        """The text again.

        Raises:
            BrokenSealError: it was altered, sealed for something else, or with another key.
            SealingKeyError: no key can be read.
        """
        if len(sealed) < OVERHEAD_BYTES:
            raise BrokenSealError("is too short to have been sealed here")
        name, nonce = sealed[:KEY_ID_BYTES], sealed[KEY_ID_BYTES:][:_NONCE_BYTES]
        key = self.keys.find(name)
        if key is None:
            raise BrokenSealError("was sealed with a key that is not here")
        try:
            body = sealed[KEY_ID_BYTES + _NONCE_BYTES :]
            return _cipher(key, self.purpose).decrypt(nonce, body, about)
        except InvalidTag:
            raise BrokenSealError("was altered, or was not sealed for this") from None

    def mark(self, text: bytes) -> bytes:
        """What stands for a text that must be found again and not be read, 16 bytes."""
        return _mark(self.keys.newest(), self.purpose, text)

    def marks(self, text: bytes) -> list[bytes]:
        """All that may stand for it: one for each key."""
        return [_mark(each, self.purpose, text) for each in self.keys.all()]

    def knows(self, name: bytes) -> bool:
        """Whether there is a key of that name."""
        self.keys.newest()  # of a file that has changed, what is in it now
        return self.keys.find(name) is not None

    @property
    def key_name(self) -> bytes:
        """Of the key that seals."""
        return self.keys.newest().name


_ciphers: dict[tuple[bytes, bytes], AESGCMSIV] = {}


def _cipher(key: Key, purpose: bytes) -> AESGCMSIV:
    """Kept, since setting one up costs more than sealing with it."""
    known = _ciphers.get((key.name, purpose))
    if known is None:
        known = _ciphers[key.name, purpose] = AESGCMSIV(key.derived(b"seal " + purpose))
    return known


def _mark(key: Key, purpose: bytes, text: bytes) -> bytes:
    return hashlib.blake2b(
        text, digest_size=MARK_BYTES, key=key.derived(b"mark " + purpose)
    ).digest()


__all__ = ["COMMAND", "FILE", "GIVEN", "OVERHEAD_BYTES", "KeySource", "Sealer"]
