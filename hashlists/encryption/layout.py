"""How an encrypted file is laid out, and how long it is: numbers only.

    8 bytes     HWENC, two zero bytes, and the version of the layout, 1
    8 bytes     the name of the key (`hashlists.encryption.keys`)
    32 bytes    salt, drawn at random for each file
    chunks      `CHUNK_BYTES` of text each, and 16 bytes by which each is authenticated

The last chunk may be shorter; it is empty where the text is, and only there.
"""

from __future__ import annotations

from typing import Final

from hashlists.encryption.keys import KEY_ID_BYTES

MAGIC: Final = b"HWENC\0\0\1"
SALT_BYTES: Final = 32
TAG_BYTES: Final = 16
HEADER_BYTES: Final = len(MAGIC) + KEY_ID_BYTES + SALT_BYTES
#: Of text in a chunk: small enough to stay in a core's cache while it is digested and decrypted.
CHUNK_BYTES: Final = 256 << 10


def encrypted_bytes(nbytes: int) -> int:
    """How long a text of that length is once it is encrypted."""
    chunks = max(1, -(-nbytes // CHUNK_BYTES))
    return HEADER_BYTES + nbytes + chunks * TAG_BYTES


__all__ = [
    "CHUNK_BYTES",
    "HEADER_BYTES",
    "MAGIC",
    "SALT_BYTES",
    "TAG_BYTES",
    "encrypted_bytes",
]
