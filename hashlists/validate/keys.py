"""The identity of each entry within its list.

A key is one tag byte and a raw value: 0 and the UTF-8 text of the source's own key, or the tag of a
hash kind and its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from hashlists.model import HashKind
from hashlists.validate.fields import read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check

#: First byte of a key that is a hash. 0 is the tag of a source's own key.
KEY_TAGS: Mapping[HashKind, bytes] = {
    HashKind.SHA256: b"\x01",
    HashKind.SHA1: b"\x02",
    HashKind.MD5: b"\x03",
    HashKind.PDQ: b"\x04",
    HashKind.PHOTODNA: b"\x05",
    HashKind.PHASH: b"\x06",
    HashKind.DHASH: b"\x07",
    HashKind.AHASH: b"\x08",
    HashKind.WHASH: b"\x09",
}
TEXT_KEY_TAG: Final = b"\x00"


def find_keys(
    batch: RawBatch, hashes: Mapping[HashKind, Sequence[bytes | None]], check: Check
) -> Sequence[bytes]:
    """The key of each row; a row without any hash or without a key is rejected."""
    for row, present in enumerate(_any_present(hashes, check)):
        if not present:
            check.reject(row, "", "the record has no hash")
    if batch.key_texts is not None:
        return _text_keys(batch.key_texts, batch.names.key, check)
    keys: list[bytes | None] = [None] * check.rows
    for kind in batch.key_kinds:
        if kind not in hashes:
            continue
        tag = KEY_TAGS[kind]
        if not any(keys) and all(hashes[kind]):
            return [tag + value for value in hashes[kind] if value]
        keys = [
            key or (tag + value if value else None)
            for key, value in zip(keys, hashes[kind], strict=True)
        ]
    for row, key in enumerate(keys):
        if key is None:
            check.reject_key(row, batch.names.key, "the record has no key")
    return [key or b"" for key in keys]


def _any_present(
    hashes: Mapping[HashKind, Sequence[bytes | None]], check: Check
) -> Sequence[object]:
    """For each row something true if it has a hash; nothing at all if every row surely has."""
    if any(all(values) for values in hashes.values()):
        return ()
    if not hashes:
        return check.nones()
    return [any(values) for values in zip(*hashes.values(), strict=True)]


def _text_keys(texts: Sequence[str | None], name: str, check: Check) -> list[bytes]:
    checked = read_texts(texts, name, check.limits.max_id_chars, check)
    keys = []
    for row, text in enumerate(checked):
        if not text:
            check.reject_key(row, name, "the record has no key")
        keys.append(TEXT_KEY_TAG + (text or "").encode())
    return keys


__all__ = ["KEY_TAGS", "TEXT_KEY_TAG", "find_keys"]
