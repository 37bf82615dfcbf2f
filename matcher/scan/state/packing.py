"""Records, lists of objects and kept hashes as they lie in a state: packed, and sealed where asked.

A packed content carries a checksum, and a sealed one proves itself: damage is told, never guessed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import zstandard

from hashlists.errors import DecryptionKeyError, FormatError
from hashlists.exporting.age import encrypted, parse_recipients
from hashlists.formats.unpacking.age_files import decrypted_bytes, is_age
from matcher.errors import BrokenSealError
from matcher.scan.errors import ReportError, StateError
from matcher.scan.model import KeptHashes, Listed, Record
from matcher.scan.state.database import DAMAGED

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashlists.formats.unpacking.age_files import Identity
    from matcher.sealing import Sealer

Content = TypeVar("Content")
_LEVEL: Final = 3
#: No batch comes near it, however long its names are; what is longer was not packed here.
_MOST_BYTES: Final = 1 << 30
_encode_record = msgspec.json.Encoder().encode_lines
_decode_records = msgspec.json.Decoder(Record).decode_lines
_encode = msgspec.msgpack.Encoder().encode
_decode_objects = msgspec.msgpack.Decoder(tuple[Listed, ...]).decode


class KeptContent(msgspec.Struct, frozen=True, array_like=True):
    """The hashes of a batch.

    Attributes:
        hashes: in the order of the batch's records.
        partly: ids of objects of which something has none: a member of the archive that they are.
    """

    hashes: tuple[KeptHashes, ...]
    partly: frozenset[str] = frozenset()


_decode_kept = msgspec.msgpack.Decoder(KeptContent).decode


def pack_objects(objects: Sequence[Listed]) -> bytes:
    """A batch's objects."""
    return _pack(_encode(tuple(objects)))


def unpack_objects(content: bytes) -> tuple[Listed, ...]:
    """The objects again.

    Raises:
        StateError: the content is damaged.
    """
    return _read(_decode_objects, content)


def pack_records(records: Sequence[Record], recipients: Sequence[str]) -> bytes:
    """A batch's records, as JSON Lines; with recipients encrypted with age to all of them.

    Raises:
        EncryptionRecipientError: a recipient is none.
    """
    packed = _pack(_encode_record(records))
    return encrypted(packed, parse_recipients(recipients)) if recipients else packed


def unpack_records(content: bytes, identities: Sequence[Identity]) -> list[Record]:
    """The records again.

    Raises:
        ReportError: they are encrypted, and no key that was given opens them.
        StateError: the content is damaged.
    """
    if is_age(content):
        content = _decrypted(content, identities)
    return _read(_decode_records, content)


def seal_kept(kept: KeptContent, sealer: Sealer, about: bytes) -> bytes:
    """The hashes of a batch, sealed.

    Raises:
        SealingKeyError: there is no key.
    """
    return sealer.seal(_pack(_encode(kept)), about)


def open_kept(sealed: bytes, sealer: Sealer, about: bytes) -> KeptContent:
    """The hashes again.

    Raises:
        StateError: they were sealed with a key that is not here, or are damaged.
        SealingKeyError: no key can be read.
    """
    try:
        content = sealer.open(sealed, about)
    except BrokenSealError as error:
        raise StateError(
            f"what was kept of the hashes {error}; have match_keys name the keys of that time"
        ) from None
    return _read(_decode_kept, content)


def _decrypted(content: bytes, identities: Sequence[Identity]) -> bytes:
    if not identities:
        raise ReportError(
            "the records of this scan are encrypted to its recipients; whoever has a private key "
            "of theirs names it with --identity KEY_FILE"
        )
    try:
        return decrypted_bytes(content, identities)
    except DecryptionKeyError:
        raise ReportError(
            "no key that was given opens the records of this scan: they were encrypted to others; "
            "name the private key of one of its recipients with --identity KEY_FILE"
        ) from None
    except FormatError:
        raise StateError(DAMAGED) from None


def _pack(content: bytes) -> bytes:
    return zstandard.ZstdCompressor(level=_LEVEL, write_checksum=True).compress(content)


def _read(decode: Callable[[bytes], Content], packed: bytes) -> Content:
    try:
        if zstandard.frame_content_size(packed) > _MOST_BYTES:
            raise StateError(DAMAGED)
        return decode(zstandard.ZstdDecompressor().decompress(packed))
    except (zstandard.ZstdError, msgspec.MsgspecError, UnicodeDecodeError):
        raise StateError(DAMAGED) from None


__all__ = [
    "KeptContent",
    "open_kept",
    "pack_objects",
    "pack_records",
    "seal_kept",
    "unpack_objects",
    "unpack_records",
]
