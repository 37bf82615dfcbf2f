"""Where objects come from: folders, buckets, inventories of buckets, and archives among objects."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from matcher.scan.sources.addresses import split
from matcher.scan.sources.folder import FolderSource
from matcher.scan.sources.inventory import InventorySource
from matcher.scan.sources.options import SourceOptions
from matcher.scan.sources.store import StoreSource

if TYPE_CHECKING:
    from matcher.scan.document import Place
    from matcher.scan.sources.base import Source


def open_source(place: Place, *, prefix: str = "", options: SourceOptions | None = None) -> Source:
    """Opens a place. A store is only asked once it is listed or read.

    Args:
        place: as `addresses.place_of` gives it.
        prefix: with which a key must begin; the place lists no more than that.
        options: patience and sizes.

    Raises:
        SourceError: the place is none, is missing, or may not be read.
    """
    address = split(place.url)
    options = options or SourceOptions()
    if address.scheme == "file":
        return FolderSource(Path(address.path), prefix=prefix, options=options)
    if place.inventory:
        return InventorySource(
            address, place.inventory, prefix=prefix, endpoint=place.endpoint, options=options
        )
    return StoreSource(address, prefix=prefix, endpoint=place.endpoint, options=options)


__all__ = ["SourceOptions", "open_source"]
