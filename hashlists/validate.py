"""Turns batches of raw columns into entries and rejections. Pure: no file, no clock, no state.

A column is decoded as a whole; only where that fails is it taken value by value, to name the rows
at fault. The result is the same either way.

One bad field rejects its record as a whole, with one `Rejection` that names the field. The good
hashes of such a record are not imported on their own: a record that breaks its own format cannot
be trusted to join the right hash with the right class, and half a record would look complete ever
after. What is rejected is always reported, never lost silently.

Rejected: values of wrong length or alphabet, digests of the empty file, digests and codes with all
bits equal, PDQ codes that tell nothing (see `_PDQ_BITS`), records without any hash or key, ids and
codes that are too long or hold control characters, sizes that are no number or negative.

The key of an entry is one tag byte and a raw value: 0 and the UTF-8 text of the source's own key,
or the tag of a hash kind (`KEY_TAGS`) and its value.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import compress, repeat
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec
import numpy as np

from hashlists.errors import FormatError
from hashlists.formats.base import FlagColumn, HashColumn, RawBatch, RawHash
from hashlists.formats.encodings import decode_column, decode_hash, kind_name, kind_with_article
from hashlists.limits import DEFAULT_LIMITS, ImportLimits
from hashlists.model import (
    Classification,
    EntryBatch,
    Handling,
    HashKind,
    Place,
    Rejection,
    Retraction,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

T = TypeVar("T")
_ExtraHashes = list[tuple[int, HashKind, bytes]]

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

#: Fewest and most bits set in a PDQ code. A bit means "above the lower median of 256 values", so a
#: true code has 128, and fewer only where many values are equal. Any two codes of fewer than 16
#: bits lie within 30 of each other whatever they show, inside the customary threshold of 31: only
#: pictures that vary in one direction have such codes. The same holds for more than 240 bits. In
#: between a code may be odd, but tells something: it is kept.
_PDQ_BITS: Final = (16, 240)
_EMPTY_FILE: Mapping[HashKind, bytes] = {
    HashKind.MD5: hashlib.md5(b"", usedforsecurity=False).digest(),
    HashKind.SHA1: hashlib.sha1(b"", usedforsecurity=False).digest(),
    HashKind.SHA256: hashlib.sha256(b"").digest(),
}
_MEDIA_TYPE = re.compile(r"[A-Za-z0-9][\w.+\-]*/[A-Za-z0-9][\w.+\-]*", re.ASCII)
_NUMBER = re.compile(r"[+-]?[0-9]{1,20}", re.ASCII)
#: Control characters and halves of surrogate pairs: neither database nor UTF-8 takes all of them.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f\ud800-\udfff]")
_YES: Final = frozenset({"true", "t", "yes", "y", "1"})
_NO: Final = frozenset({"false", "f", "no", "n", "0"})
_DIGEST_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class Validated:
    """What became of one batch: each of its records stands in exactly one of the three.

    Attributes:
        entries: good records.
        retractions: the source's own word that entries are gone; empty for formats that have no
            such word, as VICS and CSV.
        rejections: one for each record that is not imported, in file order, those that the reader
            found included.
    """

    entries: EntryBatch
    retractions: Sequence[Retraction] = field(repr=False)
    rejections: Sequence[Rejection]


def validate(
    batch: RawBatch, *, default_handling: Handling, limits: ImportLimits = DEFAULT_LIMITS
) -> Validated:
    """Checks a batch and decodes its hashes.

    Args:
        batch: raw columns from a reader.
        default_handling: handling of entries whose source names none.
        limits: ceilings of the import.

    Returns:
        Entries, retractions and rejections; together as many as the batch has records.

    Raises:
        FormatError: the last record is at fault and may be cut off, as `open_ended` says.
    """
    check = _Check(batch.rows, limits)
    names = batch.names
    hashes, extra = _read_hashes(batch, check)
    flags, flags_known = _read_flags(batch.flags, check)
    good = _Rows(
        keys=_find_keys(batch, hashes, check),
        hashes=hashes,
        extra=extra,
        sizes=_read_sizes(batch, check),
        classifications=_classify(batch, check),
        flags=flags,
        flags_known=flags_known,
        verified_counts=_read_numbers(batch.verified_counts, names.verified_count, check),
        media_types=_read_media_types(batch.media_types, check),
        source_ids=_read_source_ids(batch, check),
        updated_at=_read_texts(batch.updated_at, names.updated_at, limits.max_text_chars, check),
    ).without(check.faults)
    _refuse_cut_off(batch, check)
    places = _GoodPlaces(batch, check.faults)
    rejections = [
        Rejection(batch.place_at(row), name, reason) for row, (name, reason) in check.faults.items()
    ]
    rejections.extend(batch.rejections)
    rejections.sort(key=lambda rejection: rejection.place.number)
    return Validated(_to_entries(good, default_handling, places), (), rejections)


def _refuse_cut_off(batch: RawBatch, check: _Check) -> None:
    """Refuses the file when its last record is at fault and has no end."""
    last = batch.rows - 1
    if batch.open_ended and last in check.faults:
        name, reason = check.faults[last]
        raise FormatError(
            "the file ends inside a record: it was cut off, for its last line has no line end and "
            f"does not hold a whole record ({name + ': ' if name else ''}{reason})",
            place=batch.place_at(last),
        )


class _Check:
    """What the checks of all columns share: the limits, and the first fault of each row."""

    def __init__(self, rows: int, limits: ImportLimits) -> None:
        self.rows = rows
        self.limits = limits
        self.faults: dict[int, tuple[str, str]] = {}

    def reject(self, row: int, name: str, reason: str) -> None:
        self.faults.setdefault(row, (name, reason))

    def nones(self) -> list[None]:
        """A column that the file does not have."""
        return [None] * self.rows


@dataclass(frozen=True, slots=True)
class _Rows:
    """Checked columns of equal length; rows at fault hold anything of the right type."""

    keys: Sequence[bytes]
    hashes: Mapping[HashKind, Sequence[bytes | None]]
    extra: _ExtraHashes
    sizes: Sequence[int | None]
    classifications: Sequence[Classification | None]
    flags: Sequence[int]
    flags_known: Sequence[int]
    verified_counts: Sequence[int | None]
    media_types: Sequence[str | None]
    source_ids: Sequence[str | None]
    updated_at: Sequence[str | None]

    def without(self, rows: Mapping[int, object]) -> _Rows:
        """These rows but for the given ones."""
        if not rows:
            return self
        good = [True] * len(self.keys)
        for row in rows:
            good[row] = False
        renumbered = {old: new for new, old in enumerate(compress(range(len(good)), good))}
        return _Rows(
            keys=_kept(self.keys, good),
            hashes={
                kind: kept
                for kind, values in self.hashes.items()
                if any(kept := _kept(values, good))
            },
            extra=[(renumbered[row], kind, v) for row, kind, v in self.extra if good[row]],
            sizes=_kept(self.sizes, good),
            classifications=_kept(self.classifications, good),
            flags=_kept(self.flags, good),
            flags_known=_kept(self.flags_known, good),
            verified_counts=_kept(self.verified_counts, good),
            media_types=_kept(self.media_types, good),
            source_ids=_kept(self.source_ids, good),
            updated_at=_kept(self.updated_at, good),
        )


def _kept(values: Sequence[T], good: Iterable[bool]) -> list[T]:
    return list(compress(values, good))


class _GoodPlaces:
    """Places of the rows that are left, by way of the batch's own places."""

    __slots__ = ("_place_at", "_rows")

    def __init__(self, batch: RawBatch, faults: Mapping[int, object]) -> None:
        self._place_at = batch.place_at
        rows = range(batch.rows)
        self._rows = [row for row in rows if row not in faults] if faults else rows

    def __call__(self, row: int, /) -> Place:
        return self._place_at(self._rows[row])


# Hashes


def _read_hashes(
    batch: RawBatch, check: _Check
) -> tuple[Mapping[HashKind, Sequence[bytes | None]], _ExtraHashes]:
    """All hashes of the batch: columns of first values, and what comes on top."""
    hashes: dict[HashKind, list[bytes | None]] = {}
    for column in batch.hashes:
        values = _read_column(column, check)
        if values is not None:
            hashes[column.kind] = values
    extra = _read_extra(batch.extra_hashes, hashes, check)
    return {kind: values for kind, values in hashes.items() if any(values)}, extra


def _read_column(column: HashColumn, check: _Check) -> list[bytes | None] | None:
    """A column as raw bytes, or None when no row has a value."""
    present = [text for text in column.values if text]
    if not present:
        return None
    raw = decode_column(present, column.kind, column.encoding)
    if raw is None or _may_be_degenerate(raw, column.kind):
        return _read_singly(column, check)
    size = column.kind.nbytes
    values: list[bytes | None] = [raw[at : at + size] for at in range(0, len(raw), size)]
    if len(values) == check.rows:
        return values
    following = iter(values)
    return [next(following) if text else None for text in column.values]


def _read_singly(column: HashColumn, check: _Check) -> list[bytes | None]:
    values: list[bytes | None] = [None] * check.rows
    for row, text in enumerate(column.values):
        if text and not text.isspace():
            raw = RawHash(row, column.kind, text, column.encoding, column.field)
            values[row] = _read_hash(raw, check)
    return values


def _read_hash(raw: RawHash, check: _Check) -> bytes | None:
    """One value, or None after its row was rejected."""
    try:
        value = decode_hash(raw.value, raw.kind, raw.encoding)
    except ValueError as error:
        check.reject(raw.row, raw.field, str(error))
        return None
    problem = _degenerate(value, raw.kind)
    if problem:
        check.reject(raw.row, raw.field, f"{problem}, which would match what it must not")
        return None
    return value


def _read_extra(
    raw_hashes: Sequence[RawHash],
    hashes: dict[HashKind, list[bytes | None]],
    check: _Check,
) -> _ExtraHashes:
    """Further values; one that repeats a value is dropped, one without a first becomes it."""
    extra: dict[tuple[int, HashKind, bytes], None] = {}
    counts: dict[int, int] = {}
    for raw in raw_hashes:
        value = _read_hash(raw, check)
        if value is None:
            continue
        column = hashes.setdefault(raw.kind, [None] * check.rows)
        if column[raw.row] is None:
            column[raw.row] = value
        elif column[raw.row] != value and (raw.row, raw.kind, value) not in extra:
            extra[raw.row, raw.kind, value] = None
            counts[raw.row] = counts.get(raw.row, 0) + 1
            if counts[raw.row] > check.limits.max_extra_hashes:
                limit = check.limits.max_extra_hashes
                check.reject(raw.row, raw.field, f"more than {limit} further hashes")
    return list(extra)


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


def _degenerate(value: bytes, kind: HashKind) -> str:
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


# Keys


def _find_keys(
    batch: RawBatch, hashes: Mapping[HashKind, Sequence[bytes | None]], check: _Check
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
            check.reject(row, batch.names.key, "the record has no key")
    return [key or b"" for key in keys]


def _any_present(
    hashes: Mapping[HashKind, Sequence[bytes | None]], check: _Check
) -> Sequence[object]:
    """For each row something true if it has a hash; nothing at all if every row surely has."""
    if any(all(values) for values in hashes.values()):
        return ()
    if not hashes:
        return check.nones()
    return [any(values) for values in zip(*hashes.values(), strict=True)]


def _text_keys(texts: Sequence[str | None], name: str, check: _Check) -> list[bytes]:
    checked = _read_texts(texts, name, check.limits.max_id_chars, check)
    keys = []
    for row, text in enumerate(checked):
        if not text:
            check.reject(row, name, "the record has no key")
        keys.append(TEXT_KEY_TAG + (text or "").encode())
    return keys


# Plain columns


def _read_texts(
    values: Sequence[str | None] | None, name: str, limit: int, check: _Check
) -> Sequence[str | None]:
    """Texts verbatim; empty ones are None."""
    if values is None or not any(values):
        return check.nones()
    present = [text for text in values if text]
    if max(map(len, present)) <= limit and not _UNPRINTABLE.search("".join(present)):
        return values if len(present) == len(values) else [text or None for text in values]
    return [_read_text(row, text, name, limit, check) for row, text in enumerate(values)]


def _read_text(row: int, text: str | None, name: str, limit: int, check: _Check) -> str | None:
    if text and len(text) > limit:
        check.reject(
            row, name, f"the value has {len(text)} characters; at most {limit} are allowed"
        )
        return None
    if text and _UNPRINTABLE.search(text):
        check.reject(row, name, "the value has control characters or is not valid Unicode")
        return None
    return text or None


def _read_source_ids(batch: RawBatch, check: _Check) -> Sequence[str | None]:
    if batch.source_ids is None:
        return check.nones()
    texts = [None if value is None else str(value) for value in batch.source_ids]
    return _read_texts(texts, batch.names.source_id, check.limits.max_id_chars, check)


def _read_media_types(values: Sequence[str | None] | None, check: _Check) -> Sequence[str | None]:
    """Media types; a text that is none is left aside, for nothing depends on it."""
    if values is None:
        return check.nones()
    limit = check.limits.max_text_chars
    known = {
        text: text if text and len(text) <= limit and _MEDIA_TYPE.fullmatch(text) else None
        for text in set(values)
    }
    return [known[text] for text in values]


def _read_sizes(batch: RawBatch, check: _Check) -> Sequence[int | None]:
    """Sizes; 0 means that none was given, for no record is of the empty file."""
    sizes = _read_numbers(batch.sizes, batch.names.size, check)
    return sizes if all(sizes) else [size or None for size in sizes]


def _read_numbers(
    values: Sequence[float | str | None] | None, name: str, check: _Check
) -> Sequence[int | None]:
    """Counts and sizes of 0 or more, written as whole numbers or as their decimal text."""
    if values is None:
        return check.nones()
    if set(map(type, values)) == {int}:
        numbers: Sequence[int] = values  # type: ignore[assignment]
        if min(numbers) >= 0 and max(numbers) <= check.limits.max_size_bytes:
            return numbers
    return [_read_number(row, value, name, check) for row, value in enumerate(values)]


def _read_number(row: int, value: float | str | None, name: str, check: _Check) -> int | None:
    if isinstance(value, str):
        value = value.strip()
        if not value:
            return None
        if not _NUMBER.fullmatch(value):
            check.reject(row, name, "not a whole number in decimal digits")
            return None
        value = int(value)
    if isinstance(value, float):
        if not value.is_integer():
            check.reject(row, name, "not a whole number")
            return None
        value = int(value)
    if value is not None and not 0 <= value <= check.limits.max_size_bytes:
        check.reject(row, name, f"the number is not in 0 to {check.limits.max_size_bytes}")
        return None
    return value


@lru_cache(maxsize=4096)
def _classification(scheme: str, profile: str, code: str) -> Classification:
    return Classification(scheme, profile, code)


def _classify(batch: RawBatch, check: _Check) -> Sequence[Classification | None]:
    """Classifications with the code verbatim: 0 is a code, None and "" are none."""
    if batch.codes is None:
        return check.nones()
    scheme, profile = batch.header.scheme, batch.header.profile
    limit = check.limits.max_code_chars
    known: dict[int | str | None, Classification | None] = {None: None, "": None}
    for code in set(batch.codes) - known.keys():
        text = str(code)
        if len(text) <= limit and not _UNPRINTABLE.search(text):
            known[code] = _classification(scheme, profile, text)
    classes = [known.get(code) for code in batch.codes]
    if len(known) < len(set(batch.codes) | known.keys()):
        for row, code in enumerate(batch.codes):
            if code not in known:
                reason = f"longer than {limit} characters, or with control characters"
                check.reject(row, batch.names.category, reason)
    return classes


class _FlagMemo(dict[tuple[object, ...], tuple[int, int]]):
    """From the values of one row to the bits set and known; values that are no flags raise."""

    def __init__(self, columns: Sequence[FlagColumn]) -> None:
        super().__init__()
        self._bits = [int(column.flag) for column in columns]

    def __missing__(self, values: tuple[object, ...]) -> tuple[int, int]:
        flags = known = 0
        for bit, value in zip(self._bits, values, strict=True):
            says = _flag_value(value)
            if says is not None:
                known |= bit
                flags |= bit if says else 0
        self[values] = flags, known
        return flags, known


def _flag_value(value: object) -> bool | None:
    """What a flag says.

    Raises:
        ValueError: it says neither yes nor no.
    """
    word = str(value).strip().lower() if value is not None else ""
    if not word:
        return None
    if word in _YES:
        return True
    if word in _NO:
        return False
    raise ValueError


def _read_flags(
    columns: Sequence[FlagColumn], check: _Check
) -> tuple[Sequence[int], Sequence[int]]:
    """Bits set and bits known of each row."""
    if not columns or not check.rows:
        return [0] * check.rows, [0] * check.rows
    memo = _FlagMemo(columns)
    columns_values = [column.values for column in columns]
    try:
        pairs = list(map(memo.__getitem__, zip(*columns_values, strict=True)))
    except ValueError:
        pairs = [
            _read_row_flags(row, values, columns, memo, check)
            for row, values in enumerate(zip(*columns_values, strict=True))
        ]
    return [flags for flags, _ in pairs], [known for _, known in pairs]


def _read_row_flags(
    row: int,
    values: tuple[object, ...],
    columns: Sequence[FlagColumn],
    memo: _FlagMemo,
    check: _Check,
) -> tuple[int, int]:
    try:
        return memo[values]
    except ValueError:
        culprit = next(c for c, v in zip(columns, values, strict=True) if not _is_flag(v))
        check.reject(row, culprit.field, "neither yes nor no; expected true or false")
        return 0, 0


def _is_flag(value: object) -> bool:
    try:
        _flag_value(value)
    except ValueError:
        return False
    return True


# Entries


def _to_entries(rows: _Rows, handling: Handling, places: _GoodPlaces) -> EntryBatch:
    return EntryBatch(
        keys=rows.keys,
        hashes=rows.hashes,
        extra_hashes=rows.extra,
        sizes=rows.sizes,
        classifications=rows.classifications,
        handlings=[handling] * len(rows.keys),
        flags=rows.flags,
        flags_known=rows.flags_known,
        verified_counts=rows.verified_counts,
        media_types=rows.media_types,
        source_ids=rows.source_ids,
        source_updated_at=rows.updated_at,
        content_digests=_content_digests(rows, handling),
        place_at=places,
    )


_encode = msgspec.msgpack.Encoder().encode


def _content_digests(rows: _Rows, handling: Handling) -> list[bytes]:
    """16 bytes of BLAKE2b over the MessagePack array of all fields of a row but its key.

    MessagePack writes type and length before each value, so different rows have different texts;
    fields stand in fixed places, so a row's text does not depend on its batch. Values beyond the
    first of a kind are sorted.
    """
    count = len(rows.keys)
    columns: list[Iterable[object]] = [rows.hashes.get(kind, repeat(None)) for kind in HashKind]
    columns += [
        _extra_column(rows.extra, count),
        rows.sizes,
        _class_column(rows.classifications),
        repeat(_encode_handling(handling)),
        rows.flags,
        rows.flags_known,
        rows.verified_counts,
        rows.media_types,
        rows.source_ids,
        rows.updated_at,
    ]
    blake2b = hashlib.blake2b
    texts = map(_encode, zip(*columns, strict=False))  # columns of `repeat` have no end
    return [blake2b(text, digest_size=_DIGEST_BYTES).digest() for text in texts]


def _extra_column(extra: _ExtraHashes, count: int) -> Iterable[object]:
    if not extra:
        return repeat(None)
    column: list[list[tuple[str, bytes]] | None] = [None] * count
    for row, kind, value in sorted(extra):
        column[row] = [*(column[row] or ()), (str(kind), value)]
    return column


def _class_column(classifications: Sequence[Classification | None]) -> list[bytes | None]:
    """Told apart by identity: they are interned, and hashing each would cost more than all else."""
    texts: dict[int, bytes | None] = {
        key: None if item is None else _encode((item.scheme, item.profile, item.code))
        for key, item in {id(item): item for item in classifications}.items()
    }
    return [texts[key] for key in map(id, classifications)]


def _encode_handling(handling: Handling) -> bytes:
    expires_at = handling.expires_at and handling.expires_at.isoformat()
    return _encode((handling.originator, sorted(handling.releasable_to), expires_at))
