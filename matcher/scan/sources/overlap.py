"""Whether places lie within each other: then objects of one would be met, and counted, twice."""

from __future__ import annotations

import os
from dataclasses import dataclass
from itertools import permutations
from typing import TYPE_CHECKING

from matcher.scan.sources.addresses import split

if TYPE_CHECKING:
    from collections.abc import Sequence

    from matcher.scan.document import Place


def overlapping(places: Sequence[Place], *, prefix: str = "") -> tuple[Place, Place] | None:
    """Two places of which the first lies in the second, or is the same; None where all lie apart.

    Folders are compared without links in their paths. Of a place with an inventory it is compared
    which objects that may name.

    Args:
        places: as `addresses.place_of` gives them.
        prefix: with which a key must begin, in each place.
    """
    held = [(each, _Held.by(each, prefix)) for each in places]
    for (inner, low), (outer, high) in permutations(held, 2):
        if low.lies_in(high):
            return inner, outer
    return None


@dataclass(frozen=True, slots=True)
class _Held:
    """Where objects lie, and what the names of all begin with there, or what the only one is."""

    store: tuple[str, str, str]
    names: str
    is_one: bool = False

    @classmethod
    def by(cls, place: Place, prefix: str) -> _Held:
        address = split(place.url)
        if address.scheme != "file":
            store = (address.scheme, address.bucket, place.endpoint)
            return cls(store, address.path + prefix)
        path = os.path.realpath(address.path)
        if os.path.isfile(path):  # noqa: PTH113  no Path is made for a text
            return cls(("file", "", ""), path, is_one=True)
        return cls(("file", "", ""), f"{path.rstrip('/')}/{prefix}")

    def lies_in(self, other: _Held) -> bool:
        if self.store != other.store:
            return False
        if other.is_one:
            return self.names == other.names
        return self.names.startswith(other.names)


__all__ = ["overlapping"]
