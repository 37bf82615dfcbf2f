"""Picks the records of a chunk that a reader takes over; their places stay right."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from hashlists.formats.chunk import Chunk
    from hashlists.model import Place, PlaceAt

RecordT = TypeVar("RecordT")


def pick(
    chunk: Chunk[RecordT], is_wanted: Callable[[RecordT], bool]
) -> tuple[Sequence[RecordT], PlaceAt]:
    """The wanted records in file order, and where each stands."""
    rows = [row for row, record in enumerate(chunk.records) if is_wanted(record)]
    if len(rows) == len(chunk.records):
        return chunk.records, chunk.place_at
    return [chunk.records[row] for row in rows], _PickedPlaces(chunk.place_at, rows)


class _PickedPlaces:
    """Places of the picked rows by way of the chunk's own places."""

    __slots__ = ("_place_at", "_rows")

    def __init__(self, place_at: PlaceAt, rows: Sequence[int]) -> None:
        self._place_at = place_at
        self._rows = rows

    def __call__(self, row: int, /) -> Place:
        return self._place_at(self._rows[row])
