"""What following needs of a catalog."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from hashlists.catalog import CatalogReader


class Readable(Protocol):
    """A catalog as far as it is read: an open one, or one that opens when it first can."""

    def read(self) -> AbstractContextManager[CatalogReader]:
        """One read transaction; see `hashlists.catalog.Catalog.read`."""
        ...


__all__ = ["Readable"]
