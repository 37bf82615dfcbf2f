"""Records of a file that its format's reader takes together, in whatever notation they stand."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, TypeVar

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.model import PlaceAt, Rejection

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


__all__ = ["Chunk", "RecordT"]
