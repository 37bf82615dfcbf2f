"""Checked columns, and where the rows that are left stood."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping, Sequence

    from hashlists.formats.base import RawBatch
    from hashlists.model import (
        Classification,
        ExtraHash,
        Handling,
        HashKind,
        Place,
        SaidHandling,
    )

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Rows:
    """Checked columns of equal length; rows at fault hold anything of the right type."""

    keys: Sequence[bytes]
    hashes: Mapping[HashKind, Sequence[bytes | None]]
    extra: Sequence[ExtraHash]
    sizes: Sequence[int | None]
    classifications: Sequence[Classification | None]
    handlings: Sequence[Handling]
    said_handlings: Sequence[SaidHandling]
    flags: Sequence[int]
    flags_known: Sequence[int]
    verified_counts: Sequence[int | None]
    media_types: Sequence[str | None]
    source_ids: Sequence[str | None]
    updated_at: Sequence[str | None]
    stamped: Sequence[bool]

    def without(self, rows: Collection[int]) -> Rows:
        """These rows but for the given ones."""
        if not rows:
            return self
        good = [True] * len(self.keys)
        for row in rows:
            good[row] = False
        renumbered = {old: new for new, old in enumerate(compress(range(len(good)), good))}
        return Rows(
            keys=_kept(self.keys, good),
            hashes={
                kind: kept
                for kind, values in self.hashes.items()
                if any(kept := _kept(values, good))
            },
            extra=[
                each._replace(row=renumbered[each.row]) for each in self.extra if good[each.row]
            ],
            sizes=_kept(self.sizes, good),
            classifications=_kept(self.classifications, good),
            handlings=_kept(self.handlings, good),
            said_handlings=_kept(self.said_handlings, good),
            flags=_kept(self.flags, good),
            flags_known=_kept(self.flags_known, good),
            verified_counts=_kept(self.verified_counts, good),
            media_types=_kept(self.media_types, good),
            source_ids=_kept(self.source_ids, good),
            updated_at=_kept(self.updated_at, good),
            stamped=_kept(self.stamped, good),
        )


def _kept(values: Sequence[T], good: Iterable[bool]) -> list[T]:
    return list(compress(values, good))


class GoodPlaces:
    """Places of the rows that are left, by way of the batch's own places."""

    __slots__ = ("_place_at", "_rows")

    def __init__(self, batch: RawBatch, dropped: Collection[int]) -> None:
        self._place_at = batch.place_at
        rows = range(batch.rows)
        self._rows = [row for row in rows if row not in dropped] if dropped else rows

    def __call__(self, row: int, /) -> Place:
        """The place of row `row` of those that are left."""
        return self._place_at(self._rows[row])


__all__ = ["GoodPlaces", "Rows"]
