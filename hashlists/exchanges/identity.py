"""What a record that was set aside is known by when it comes again, or comes mended.

That is its entry's key where it names one; else all that it says; and where nothing of it could be
read, its place on a page of just that content. The catalog keeps none of this but under its key.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

from hashlists.model import TEXT_KEY_TAG

if TYPE_CHECKING:
    from hashlists.formats.base import RawBatch
    from hashlists.model import Rejection


def of_entry(key: bytes) -> bytes:
    """Of whatever record names the entry of that key."""
    return hashlib.sha256(b"entry\0" + key).digest()


def of_record(raw: RawBatch, row: int) -> bytes:
    """Of a record whose columns could be read, wherever it stands."""
    text = raw.key_texts[row] if raw.key_texts is not None else None
    if text:
        return of_entry(TEXT_KEY_TAG + text.encode(errors="replace"))
    columns = (raw.source_ids, raw.codes, raw.updated_at, raw.retracted)
    values = [column[row] if column is not None else None for column in columns]
    hashes = [(column.kind.value, column.values[row]) for column in raw.hashes]
    return hashlib.sha256(b"record\0" + repr((values, hashes)).encode()).digest()


def of_place(page_sha256: bytes, rejection: Rejection) -> bytes:
    """Of a record of which nothing could be read."""
    known = (page_sha256, str(rejection.place), rejection.field, rejection.reason)
    return hashlib.sha256(b"place\0" + repr(known).encode()).digest()


__all__ = ["of_entry", "of_place", "of_record"]
