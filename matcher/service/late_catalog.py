"""A catalog that may be away when its server starts.

Matching does not need the catalog: a verified snapshot on this host is enough. So the follower
opens the catalog by its first look that succeeds, as it reads an open one by every look, and those
who change lists get an error until then.
"""

from __future__ import annotations

import contextlib
import math
import time
from contextlib import contextmanager
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog
from hashlists.errors import CatalogAwayError, CatalogError, OtherCatalogError
from matcher.builtin_list import ensure_test_list

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from hashlists.catalog import CatalogReader

_PAUSE_SECONDS = 1.0
_KINDS = (CatalogAwayError, OtherCatalogError)


class LateCatalog:
    """The catalog at a URL, from the moment it can be opened.

    `open` and `read` are called by one thread at a time; `opened` by any.

    After a failure nothing is tried for a second, so that a look which follows at once does not
    wait for an absent network again.

    Args:
        url: of the catalog.
        make: make a catalog that is missing; not where lists of it are published, as an empty one
            would take their place.
        catalog_id: the identity that it must have, likewise; empty: any.
        clock: seconds that never go back.
    """

    def __init__(
        self,
        url: str,
        *,
        make: bool = True,
        catalog_id: str = "",
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._url = url
        self._make = make
        self._catalog_id = catalog_id
        self._clock = clock
        self._next_try = -math.inf
        self._catalog: Catalog | None = None
        self._why = "it was not tried yet"
        self._failure: type[CatalogError] = CatalogError

    def open(self) -> Catalog:
        """The catalog: brought up to date, rid of what a crash left, with the built-in list.

        Raises:
            HashlistsError: it cannot be opened, now or with this build.
        """
        if self._catalog is not None:
            return self._catalog
        if self._clock() < self._next_try:
            raise self._failure(self._why)  # in the same words, so that a log tells it once
        try:
            self._catalog = _open(self._url, make=self._make, catalog_id=self._catalog_id)
        except Exception as error:
            self._why = str(error)
            kinds = (each for each in _KINDS if isinstance(error, each))
            self._failure = next(kinds, CatalogError)
            self._next_try = self._clock() + _PAUSE_SECONDS
            raise
        return self._catalog

    def opened(self) -> Catalog:
        """The catalog, for those who would rather fail at once than wait for a network.

        Raises:
            CatalogError: it could not be opened yet.
        """
        if self._catalog is None:
            raise CatalogError(f"the catalog could not be opened yet: {self._why}")
        return self._catalog

    @contextmanager
    def read(self) -> Iterator[CatalogReader]:
        """One read transaction, as of an open catalog.

        Raises:
            HashlistsError: the catalog cannot be opened, or the database failed.
        """
        with self.open().read() as reader:
            yield reader

    def close(self) -> None:
        """Closes what was opened; nothing may be called any more."""
        if self._catalog is not None:
            self._catalog.close()


def _open(url: str, *, make: bool, catalog_id: str) -> Catalog:
    with contextlib.ExitStack() as undo:
        catalog = undo.enter_context(Catalog.open(url, make=make, catalog_id=catalog_id))
        catalog.sweep()
        ensure_test_list(catalog)
        undo.pop_all()
    return catalog
