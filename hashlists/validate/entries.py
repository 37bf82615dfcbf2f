"""Checked rows as entries, with a digest of what each says."""

from __future__ import annotations

import hashlib
from functools import partial
from itertools import repeat
from operator import methodcaller
from typing import TYPE_CHECKING, Final, TypeVar

import msgspec

from hashlists.model import EntryBatch, HashKind

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from hashlists.model import Classification, ExtraHash, Handling
    from hashlists.validate.rows import GoodPlaces, Rows

T = TypeVar("T")
_DIGEST_BYTES: Final = 16


def to_entries(rows: Rows, places: GoodPlaces) -> EntryBatch:
    """The rows as a batch of entries; none of them may be at fault."""
    return EntryBatch(
        keys=rows.keys,
        hashes=rows.hashes,
        extra_hashes=rows.extra,
        sizes=rows.sizes,
        classifications=rows.classifications,
        handlings=rows.handlings,
        flags=rows.flags,
        flags_known=rows.flags_known,
        verified_counts=rows.verified_counts,
        media_types=rows.media_types,
        source_ids=rows.source_ids,
        source_updated_at=rows.updated_at,
        content_digests=_content_digests(rows),
        place_at=places,
        said_handlings=rows.said_handlings,
        stamped=rows.stamped,
    )


_encode = msgspec.msgpack.Encoder().encode
_hasher = partial(hashlib.blake2b, digest_size=_DIGEST_BYTES)
_digest_of = methodcaller("digest")


def _content_digests(rows: Rows) -> list[bytes]:
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
        _encoded(rows.classifications, _encode_class),
        _encoded(rows.handlings, _encode_handling),
        rows.flags,
        rows.flags_known,
        rows.verified_counts,
        rows.media_types,
        rows.source_ids,
        rows.updated_at,
    ]
    texts = map(_encode, zip(*columns, strict=False))  # columns of `repeat` have no end
    return list(map(_digest_of, map(_hasher, texts)))


def _extra_column(extra: Sequence[ExtraHash], count: int) -> Iterable[object]:
    if not extra:
        return repeat(None)
    column: list[list[tuple[object, ...]] | None] = [None] * count
    for each in sorted(extra, key=lambda each: each[:3]):
        derivation = () if each.derivation is None else (each.derivation,)
        column[each.row] = [*(column[each.row] or ()), (str(each.kind), each.value, *derivation)]
    return column


def _encoded(items: Sequence[T], encode: Callable[[T], bytes | None]) -> Iterable[bytes | None]:
    """Told apart by identity: they are interned, and hashing each would cost more than all else."""
    different = dict(zip(map(id, items), items, strict=True))
    texts = {key: encode(item) for key, item in different.items()}
    if len(texts) == 1:
        return repeat(*texts.values())
    return list(map(texts.__getitem__, map(id, items)))


def _encode_class(item: Classification | None) -> bytes | None:
    return None if item is None else _encode((item.scheme, item.profile, item.code))


def _encode_handling(handling: Handling) -> bytes:
    expires_at = handling.expires_at and handling.expires_at.isoformat()
    return _encode((handling.originator, sorted(handling.releasable_to), expires_at))


__all__ = ["to_entries"]
