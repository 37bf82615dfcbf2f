"""Puts small batches together, so that one fills a staging transaction."""

from __future__ import annotations

from itertools import chain
from typing import TYPE_CHECKING, Any

from hashlists.model import EntryBatch, HashKind, Place

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashlists.model import SaidHandling


def merge(batches: Sequence[EntryBatch]) -> EntryBatch:
    """Batches of one file as one, in order."""
    if len(batches) == 1:
        return batches[0]
    starts = [0]
    for batch in batches:
        starts.append(starts[-1] + len(batch))
    kinds = dict.fromkeys(chain.from_iterable(batch.hashes for batch in batches))

    def joined(column: Callable[[EntryBatch], Sequence[Any]]) -> list[Any]:
        values: list[Any] = []
        for batch in batches:
            values += column(batch)  # a list as a whole, not value by value
        return values

    def place_at(row: int) -> Place:
        which = next(number for number, start in enumerate(starts[1:]) if row < start)
        return batches[which].place_at(row - starts[which])

    return EntryBatch(
        keys=joined(lambda batch: batch.keys),
        hashes={kind: joined(lambda batch, kind=kind: _of_kind(batch, kind)) for kind in kinds},  # type: ignore[misc]
        extra_hashes=[
            each._replace(row=start + each.row)
            for start, batch in zip(starts, batches, strict=False)
            for each in batch.extra_hashes
        ],
        sizes=joined(lambda batch: batch.sizes),
        classifications=joined(lambda batch: batch.classifications),
        handlings=joined(lambda batch: batch.handlings),
        flags=joined(lambda batch: batch.flags),
        flags_known=joined(lambda batch: batch.flags_known),
        verified_counts=joined(lambda batch: batch.verified_counts),
        media_types=joined(lambda batch: batch.media_types),
        source_ids=joined(lambda batch: batch.source_ids),
        source_updated_at=joined(lambda batch: batch.source_updated_at),
        content_digests=joined(lambda batch: batch.content_digests),
        place_at=place_at,
        said_handlings=_joined_sayings(batches),
        stamped=joined(lambda batch: batch.stamped or [False] * len(batch)),
    )


def _joined_sayings(batches: Sequence[EntryBatch]) -> list[SaidHandling] | None:
    """None unless all batches tell what their records say of handling."""
    told = [batch.said_handlings for batch in batches if batch.said_handlings is not None]
    return list(chain.from_iterable(told)) if len(told) == len(batches) else None


def _of_kind(batch: EntryBatch, kind: HashKind) -> Sequence[bytes | None]:
    return batch.hashes.get(kind) or [None] * len(batch)


__all__ = ["merge"]
