"""Sets whose files are pages of one another: together they must be the whole.

Each page but the last links to the next, and may say how many records there are on all pages. A
link names an address, not a file, so which page follows which cannot be checked. What can: no two
pages lead to the same next one, some page is the last, and the numbers add up. A page missing in
the middle therefore shows only where the pages tell the number of records.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field
from typing import Protocol, runtime_checkable

from hashlists.errors import FormatError
from hashlists.words import counted

_UNFINISHED = (
    "the files are pages of a set, and the last page is not among them; fetch all pages and import "
    "them together"
)


@dataclass(slots=True)
class PagedSet:
    """What the pages read so far say of the set."""

    _links: set[bytes] = field(default_factory=set)
    _last_pages: int = 0
    _counts: list[tuple[int, int]] = field(default_factory=list)
    _records: int = 0

    def add(self, *, next_page: str | None, said: int | None, found: int) -> None:
        """Adds a page that was read to its end.

        Args:
            next_page: the link to the next one.
            said: how many records there are, on this page or on all; None where it does not say.
            found: how many this page holds.

        Raises:
            FormatError: another page leads to the same next one.
        """
        if next_page is None:
            self._last_pages += 1
        else:
            link = hashlib.sha256(next_page.encode("utf-8", "surrogatepass")).digest()
            if link in self._links:
                raise FormatError("two pages lead to the same next page; name each page once")
            self._links.add(link)
        self._records += found
        if said is not None:
            self._counts.append((said, found))

    def require_whole(self) -> None:
        """Judges the set, once all pages were added.

        Raises:
            FormatError: pages are missing.
        """
        if self._links and not self._last_pages:
            raise FormatError(_UNFINISHED)
        for said, found in self._counts:
            if said not in (found, self._records if self._links else found):
                raise FormatError(
                    f"a page says {counted(said, 'record')}, but it holds {found:,} and all pages "
                    f"{self._records:,}; one may be missing: fetch all pages and import them "
                    "together"
                )


@runtime_checkable
class PagedReader(Protocol):
    """A reader whose file may be one page of several; alone it refuses one that is."""

    def join(self, pages: PagedSet) -> None:
        """Says that the file comes with the others of its set; before the first batch."""
        ...


__all__ = ["PagedReader", "PagedSet"]
