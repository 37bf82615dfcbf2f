"""The identity of each entry within its list.

A key is one tag byte and a raw value: 0 and the UTF-8 text of the source's own key, or the tag of a
hash kind and its value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashlists.formats.base import TEXT_KEY_PREFIX, Encoding
from hashlists.formats.encodings import decode_hash
from hashlists.model import KEY_TAGS, TEXT_KEY_TAG, HashKind
from hashlists.validate.check import UNPRINTABLE
from hashlists.validate.fields import read_texts

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.validate.check import Check


def find_keys(
    batch: RawBatch, hashes: Mapping[HashKind, Sequence[bytes | None]], check: Check
) -> Sequence[bytes]:
    """The key of each row; a row without any hash or without a key is rejected."""
    for row, present in enumerate(_any_present(hashes, check)):
        if not present:
            check.reject(row, "", "the record has no hash")
    if batch.key_texts is not None:
        return _text_keys(batch.key_texts, batch.names.key, check)
    tagged = batch.tagged_keys
    if tagged is not None and any(tagged):
        keys = _tagged_keys(tagged, _hash_keys(batch, hashes, check), batch.names.key, check)
    else:
        keys = _hash_keys(batch, hashes, check)
    if not all(keys):
        for row, key in enumerate(keys):
            if key is None:
                check.reject_key(row, batch.names.key, "the record has no key")
        return [key or b"" for key in keys]
    return keys  # type: ignore[return-value]  # none of them is None


def _hash_keys(
    batch: RawBatch, hashes: Mapping[HashKind, Sequence[bytes | None]], check: Check
) -> list[bytes | None]:
    """For each row the first of the kinds that it has; None where it has none of them."""
    keys: list[bytes | None] = [None] * check.rows
    for kind in batch.key_kinds:
        values = hashes.get(kind)
        if values is None:
            continue
        if all(values) and not any(keys):
            return _with_tag(KEY_TAGS[kind], values, kind.nbytes)
        tag = KEY_TAGS[kind]
        keys = [
            key or (tag + value if value else None) for key, value in zip(keys, values, strict=True)
        ]
    return keys


def _with_tag(tag: bytes, values: Sequence[bytes | None], nbytes: int) -> list[bytes | None]:
    """The tag before each value; none of them may be None."""
    keys = np.empty((len(values), 1 + nbytes), np.uint8)
    keys[:, 0] = tag[0]
    joined = b"".join(values)  # type: ignore[arg-type]
    keys[:, 1:] = np.frombuffer(joined, np.uint8).reshape(len(values), nbytes)
    tagged: list[bytes | None] = keys.view(f"V{1 + nbytes}")[:, 0].tolist()
    return tagged


def _tagged_keys(
    texts: Sequence[str | None], keys: list[bytes | None], name: str, check: Check
) -> list[bytes | None]:
    """Keys as `formats.base.tagged_key` writes them; where there is no text, those of `keys`."""
    for row, text in enumerate(texts):
        if text:
            key = _tagged_key(text, check.limits.max_id_chars)
            if key is None:
                check.reject_key(row, name, "neither id: with a text nor a kind with its hash")
            keys[row] = key or b" "  # no second fault
    return keys


def _tagged_key(text: str, max_chars: int) -> bytes | None:
    kind, _, value = text.partition(":")
    if text.startswith(TEXT_KEY_PREFIX):
        allowed = 0 < len(value) <= max_chars and not UNPRINTABLE.search(value)
        return TEXT_KEY_TAG + value.encode() if allowed else None
    try:
        return KEY_TAGS[HashKind(kind)] + decode_hash(value, HashKind(kind), Encoding.HEX)
    except ValueError:
        return None


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
    """Keys as sources write them; blanks at the ends are padding, not part of an id."""
    checked = read_texts(texts, name, check.limits.max_id_chars, check)
    keys = []
    for row, said in enumerate(checked):
        text = (said or "").strip()
        if not text:
            check.reject_key(row, name, "the record has no key")
        keys.append(TEXT_KEY_TAG + text.encode())
    return keys


__all__ = ["KEY_TAGS", "TEXT_KEY_TAG", "find_keys"]
