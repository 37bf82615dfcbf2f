"""Since when each list that decides is as it is: read from the catalog now and then, for metrics.

A catalog that is away changes nothing about the times that are known; ages go on growing.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from typing import TYPE_CHECKING

from hashlists.errors import HashlistsError
from hashlists.model import Harm, ListState
from matcher.errors import MatcherError
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from matcher.index.holder import Holder
    from matcher.pipeline import Generation
    from matcher.service.late_catalog import LateCatalog

LOOK_SECONDS = 30.0


class ListAges:
    """Keeps the times of the lists of one server process.

    Args:
        catalog: may be away.
        holder: what is served, which names the lists.
        now: seconds since 1970 UTC.
    """

    def __init__(
        self,
        catalog: LateCatalog,
        holder: Holder[Generation],
        *,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._catalog = catalog
        self._holder = holder
        self._now = now
        self._threads = Threads("list ages", workers=1, max_pending=1)
        self._changed: Mapping[str, float] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def seconds(self) -> Mapping[str, float]:
        """Ages by list; from any thread."""
        now = self._now()
        return {name: max(0.0, now - at) for name, at in self._changed.items()}

    def start(self) -> None:
        """Begins to look."""
        self._task = asyncio.create_task(self._run())

    def close(self) -> None:
        """Looks no more."""
        if self._task is not None:
            self._task.cancel()
        self._threads.close()

    async def look(self) -> None:
        """Reads the times.

        Raises:
            HashlistsError: the catalog is away.
            MatcherError: nothing is served yet.
        """
        lists = self._holder.current.index.lists
        names = [
            each.name
            for each in lists
            if each.state is ListState.LIVE and each.harm is not Harm.TEST
        ]
        self._changed = await self._threads.run(self._read, names)

    async def _run(self) -> None:
        while True:
            with suppress(HashlistsError, MatcherError):  # following says so in the log
                await self.look()
            await asyncio.sleep(LOOK_SECONDS)

    def _read(self, names: Sequence[str]) -> Mapping[str, float]:
        catalog = self._catalog.opened()
        found = {}
        for name in names:
            for newest in catalog.list_revisions(name, limit=1):
                found[name] = newest.committed_at.timestamp()
        return found


__all__ = ["ListAges"]
