"""What a scan needs of a place that holds objects."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from matcher.scan.model import Content, Listed, Page


class Source(Protocol):
    """A place whose objects are scanned.

    A listing is in one order, the same each time, and goes on behind any cursor that it has given;
    memory does not grow with it. Errors of libraries and of the system never pass through: what is
    wrong with an object is a `FetchError`, what is wrong with the place a `SourceError`.

    Attributes:
        url: what it was opened by, without a credential; for people.
    """

    @property
    def url(self) -> str:
        """What it was opened by, without a credential."""
        ...

    def list(self, after: str = "") -> AsyncIterator[Page]:
        """The objects behind a cursor, a page at a time; empty: from the first.

        Raises:
            SourceError: the place cannot be listed, or not any further.
        """
        ...

    async def fetch(self, listed: Listed, *, max_bytes: int) -> Content:
        """Reads an object, once: another try is the caller's to make.

        Args:
            listed: which.
            max_bytes: a larger object is digested as it streams by, and not kept.

        Raises:
            FetchError: it could not be read this time.
        """
        ...

    def order(self, key: str) -> object:
        """By what the listing is ordered: of two keys the earlier listed has the lesser."""
        ...

    async def close(self) -> None:
        """Gives back what it holds. May be called twice."""
        ...
