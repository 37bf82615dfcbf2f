"""Records of a file that its format's reader takes together, in whatever notation they stand."""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, field
from itertools import accumulate, chain
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.model import Place, PlaceAt, Rejection

RecordT = TypeVar("RecordT")


@dataclass(frozen=True, slots=True)
class Chunk(Generic[RecordT]):
    """Consecutive records, decoded.

    Attributes:
        records: in file order.
        place_at: where record `i` of `records` stands.
        rejections: records between them that can be told apart, but are not what they should be.
        odd_names: of records by their row, those of members that are not read, as far as the
            reader looked for any.
    """

    records: Sequence[RecordT] = field(repr=False)
    place_at: PlaceAt = field(repr=False)
    rejections: Sequence[Rejection] = ()
    odd_names: Mapping[int, Sequence[str]] = field(default_factory=dict, repr=False)


def join(chunks: Sequence[Chunk[RecordT]]) -> Chunk[RecordT]:
    """Chunks as one, in order; of one at least, and without odd names."""
    if len(chunks) == 1:
        return chunks[0]
    starts = [0, *accumulate(len(each.records) for each in chunks)]
    places = [each.place_at for each in chunks]

    def place_at(row: int, /) -> Place:
        which = bisect_right(starts, row) - 1  # the last to begin there, as others are empty
        return places[which](row - starts[which])

    return Chunk(
        list(chain.from_iterable(each.records for each in chunks)),
        place_at,
        list(chain.from_iterable(each.rejections for each in chunks)),
    )


__all__ = ["Chunk", "RecordT", "join"]
