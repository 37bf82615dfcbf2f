"""A bucket of S3 whose listing is an inventory: a billion objects are listed by reading files.

The order is that of the files and of the rows in them; the cursor tells of both, and of which
inventory they are: behind a place in one no other goes on. Objects are read
from the bucket itself: an inventory may be days old, so some will have vanished.
"""

from __future__ import annotations

import asyncio
import re
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import islice
from typing import TYPE_CHECKING, Final

from matcher.scan.errors import SourceError
from matcher.scan.model import Listed, Page
from matcher.scan.sources.inventory_files import InventoryFiles
from matcher.scan.sources.inventory_rows import rows_of
from matcher.scan.sources.keys import FOLDER_MARKER
from matcher.scan.sources.options import SourceOptions
from matcher.scan.sources.store import StoreSource

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Generator, Sequence

    from matcher.scan.model import Content
    from matcher.scan.sources.addresses import Address
    from matcher.scan.sources.inventory_rows import Row

DELETE_MARKER: Final = "delete_marker"
OLDER_VERSION: Final = "older_version"
_CURSOR: Final = re.compile(r"(\d{1,9}):(\d{1,18}):([0-9a-f]{16})", re.ASCII)


class InventorySource:
    """The objects of a bucket that an inventory lists.

    Args:
        address: the bucket, and what is cut off the keys.
        inventory: path or URL of the inventory.
        prefix: with which a key must begin, behind what is cut off.
        endpoint: of a store that is none of the cloud's own; empty otherwise.
        options: patience and sizes.
    """

    def __init__(
        self,
        address: Address,
        inventory: str,
        *,
        prefix: str = "",
        endpoint: str = "",
        options: SourceOptions | None = None,
    ) -> None:
        self._address = address
        self._inventory = inventory
        self._prefix = address.path + prefix
        self._endpoint = endpoint
        self._options = options or SourceOptions()
        self._objects = StoreSource(address, endpoint=endpoint, options=options)
        self._reader = ThreadPoolExecutor(1, "scan-inventory")
        self._files: InventoryFiles | None = None

    @property
    def url(self) -> str:
        """Of the bucket."""
        return self._objects.url

    def order(self, key: str) -> object:  # noqa: ARG002  # of any key
        """An inventory is in no order of keys.

        Raises:
            SourceError: always.
        """
        raise SourceError(
            f"{self.url}: an inventory is in no order of keys, so that it cannot be held against an"
            " earlier scan; list the bucket instead"
        )

    async def list(self, after: str = "") -> AsyncIterator[Page]:
        """The objects behind a cursor, a page at a time.

        Raises:
            SourceError: the inventory is missing, damaged, or one of another bucket.
        """
        loop = asyncio.get_running_loop()
        pages = self._pages(*_place(after))
        try:
            while (page := await loop.run_in_executor(self._reader, next, pages, None)) is not None:
                yield page
        finally:
            with suppress(ValueError):  # a thread is still in it, and then it ends by itself
                pages.close()

    def _pages(self, first: int, skip: int, begun: str) -> Generator[Page, None, None]:
        files = self._opened()
        for number in range(first, len(files.names)):
            done = skip if number == first else 0
            with files.opened(number) as file:
                if begun and begun != files.mark:
                    raise SourceError(
                        f"{self._inventory}: is another inventory than the one that the scan has"
                        " begun with; put that one back to go on, or begin a new scan"
                    )
                rows = rows_of(file, files.names[number], files.columns, done)
                while taken := list(islice(rows, self._options.page_objects)):
                    done += len(taken)
                    yield self._page(taken, f"{number}:{done}:{files.mark}")

    def _opened(self) -> InventoryFiles:
        if self._files is None:
            self._files = InventoryFiles(self._inventory, self._endpoint, self._options)
        self._require_bucket(self._files.source_bucket or self._address.bucket)
        return self._files

    def _require_bucket(self, bucket: str) -> None:
        if bucket != self._address.bucket:
            raise SourceError(
                f"{self._inventory}: lists another bucket than {self._address.bucket}; give the"
                " inventory of this one"
            )

    def _page(self, rows: Sequence[Row], cursor: str) -> Page:
        objects: list[Listed] = []
        skipped: dict[str, int] = {}
        for row in rows:
            self._require_bucket(row.bucket)
            if not row.key.startswith(self._prefix):
                continue
            if reason := _passed_over(row):
                skipped[reason] = skipped.get(reason, 0) + 1
                continue
            key = row.key.removeprefix(self._address.path)
            objects.append(Listed(key, row.size, row.modified, row.etag))
        return Page(tuple(objects), cursor, skipped)

    async def fetch(self, listed: Listed, *, max_bytes: int) -> Content:
        """Reads an object from the bucket, as it is there now.

        Raises:
            FetchError: it could not be read this time.
        """
        return await self._objects.fetch(listed, max_bytes=max_bytes)

    async def close(self) -> None:
        """Closes the connections."""
        await asyncio.to_thread(self._reader.shutdown, wait=True, cancel_futures=True)
        if self._files is not None:
            self._files.close()
        await self._objects.close()


def _place(cursor: str) -> tuple[int, int, str]:
    """File, rows of it that are done, and the inventory's mark."""
    if not cursor:
        return 0, 0, ""
    found = _CURSOR.fullmatch(cursor)
    if found is None:
        raise SourceError("the place that the listing had reached is none of an inventory")
    return int(found[1]), int(found[2]), found[3]


def _passed_over(row: Row) -> str:
    if row.is_delete_marker:
        return DELETE_MARKER
    if not row.is_latest:
        return OLDER_VERSION
    return FOLDER_MARKER if row.key.endswith("/") and row.size == 0 else ""


__all__ = ["DELETE_MARKER", "OLDER_VERSION", "InventorySource"]
