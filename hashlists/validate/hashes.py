"""Hashes from text to raw bytes, and which well-formed values no list may hold."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import TYPE_CHECKING, Final

import numpy as np

from hashlists.formats.base import HashColumn, RawBatch, RawHash
from hashlists.formats.encodings import decode_column, decode_hash, kind_name, kind_with_article
from hashlists.limits import MAX_DERIVATION_CHARS
from hashlists.model import ExtraHash, HashKind
from hashlists.validate.check import UNPRINTABLE

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.validate.check import Check

#: Fewest and most bits set in a PDQ code. A bit means "above the lower median of 256 values", so a
#: true code has 128, and fewer only where many values are equal. Any two codes of fewer than 16
#: bits lie within 30 of each other whatever they show, inside the customary threshold of 31: only
#: pictures that vary in one direction have such codes. The same holds for more than 240 bits. In
#: between a code may be odd, but tells something: it is kept.
_PDQ_BITS: Final = (16, 240)
#: How a rejection of such a value ends.
WOULD_MATCH_ANYTHING: Final = "which would match what it must not"
_EMPTY_FILE: Mapping[HashKind, bytes] = {
    HashKind.MD5: hashlib.md5(b"", usedforsecurity=False).digest(),
    HashKind.SHA1: hashlib.sha1(b"", usedforsecurity=False).digest(),
    HashKind.SHA256: hashlib.sha256(b"").digest(),
}


def read_hashes(
    batch: RawBatch, check: Check
) -> tuple[Mapping[HashKind, Sequence[bytes | None]], list[ExtraHash]]:
    """All hashes of the batch: columns of first values, and what comes on top."""
    hashes: dict[HashKind, list[bytes | None]] = {}
    for column in batch.hashes:
        values = _read_column(column, check)
        if values is not None:
            hashes[column.kind] = values
    extra = _read_extra(batch.extra_hashes, hashes, check)
    return {kind: values for kind, values in hashes.items() if any(values)}, extra


def _read_column(column: HashColumn, check: Check) -> list[bytes | None] | None:
    """A column as raw bytes, or None when no row has a value."""
    texts = column.values
    present = texts if all(texts) else [text for text in texts if text]
    if not present:
        return None
    raw = decode_column(present, column.kind, column.encoding)  # type: ignore[arg-type]  # no None
    if raw is None or _may_be_degenerate(raw, column.kind):
        return _read_singly(column, check)
    values: list[bytes | None] = np.frombuffer(raw, f"V{column.kind.nbytes}").tolist()
    if present is texts:
        return values
    following = iter(values)
    return [next(following) if text else None for text in texts]


def _read_singly(column: HashColumn, check: Check) -> list[bytes | None]:
    values: list[bytes | None] = [None] * check.rows
    for row, text in enumerate(column.values):
        if text and not text.isspace():
            raw = RawHash(row, column.kind, text, column.encoding, column.field)
            values[row] = _read_hash(raw, check)
    return values


def _read_hash(raw: RawHash, check: Check) -> bytes | None:
    """One value, or None after its row was rejected."""
    try:
        value = decode_hash(raw.value, raw.kind, raw.encoding)
    except ValueError as error:
        check.reject(raw.row, raw.field, str(error))
        return None
    problem = why_degenerate(value, raw.kind)
    if problem:
        check.reject(raw.row, raw.field, f"{problem}, {WOULD_MATCH_ANYTHING}")
        return None
    return value


def _read_extra(
    raw_hashes: Sequence[RawHash],
    hashes: dict[HashKind, list[bytes | None]],
    check: Check,
) -> list[ExtraHash]:
    """Further values; one that repeats a value is dropped, one without a first becomes it."""
    extra: dict[tuple[int, HashKind, bytes], ExtraHash] = {}
    counts: Counter[int] = Counter()
    for raw in raw_hashes:
        value = _read_hash(raw, check)
        if value is None or not _is_derivation(raw, check):
            continue
        column = hashes.setdefault(raw.kind, [None] * check.rows)
        if column[raw.row] is None and raw.derivation is None:
            column[raw.row] = value
        elif column[raw.row] != value and (raw.row, raw.kind, value) not in extra:
            extra[raw.row, raw.kind, value] = ExtraHash(raw.row, raw.kind, value, raw.derivation)
            counts[raw.row] += 1
            if counts[raw.row] > check.limits.max_extra_hashes:
                limit = check.limits.max_extra_hashes
                check.reject(raw.row, raw.field, f"more than {limit} further hashes")
    return list(extra.values())


def _is_derivation(raw: RawHash, check: Check) -> bool:
    """Whether what says how a value was derived can be kept; else its row is rejected."""
    how = raw.derivation
    if how is None or (0 < len(how) <= MAX_DERIVATION_CHARS and not UNPRINTABLE.search(how)):
        return True
    reason = f"how it was derived is not told in 1 to {MAX_DERIVATION_CHARS} printable characters"
    check.reject(raw.row, raw.field, reason)
    return False


def _may_be_degenerate(raw: bytes, kind: HashKind) -> bool:
    """False only if none of the joined values is; quick, since the answer is nearly always no."""
    size = kind.nbytes
    if kind is HashKind.PDQ:
        bits = np.bitwise_count(np.frombuffer(raw, np.uint64)).reshape(-1, 4).sum(axis=1)
        return bool(bits.min() < _PDQ_BITS[0] or bits.max() > _PDQ_BITS[1])
    empty = _EMPTY_FILE.get(kind)
    return (
        raw.find(bytes(size)) >= 0
        or raw.find(b"\xff" * size) >= 0
        or (empty is not None and raw.find(empty) >= 0)
    )


def why_degenerate(value: bytes, kind: HashKind) -> str:
    """What is wrong with a well-formed value that stands for no picture; empty if nothing."""
    name = kind_name(kind)
    if value == _EMPTY_FILE.get(kind):
        return f"the {name} of the empty file"
    if value in (bytes(len(value)), b"\xff" * len(value)):
        return f"{kind_with_article(kind)} whose bits are all equal"
    if kind is HashKind.PDQ:
        bits = int.from_bytes(value, "big").bit_count()
        if not _PDQ_BITS[0] <= bits <= _PDQ_BITS[1]:
            return f"a degenerate {name} ({bits} of 256 bits set)"
    return ""


__all__ = ["WOULD_MATCH_ANYTHING", "read_hashes", "why_degenerate"]
