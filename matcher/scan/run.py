"""One run of a scan: plans what is listed, has it scanned, and writes down what came of it.

What an earlier run planned and did not finish comes first. Pages are listed only while few batches
wait, so memory does not grow with the listing. Whenever a run ends, each object that was listed is
either planned or finished: a later run goes on from there.
"""

from __future__ import annotations

import asyncio
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol, TypeVar

from matcher.scan.errors import first_of
from matcher.scan.events import Ended, Event, Finished, Planned, unheard
from matcher.scan.model import Batch
from matcher.scan.sources.archives import is_archive
from matcher.scan.tally import Tally

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterable, Mapping, Sequence

    from matcher.scan.document import ScanDocument
    from matcher.scan.engines.base import Engine
    from matcher.scan.model import BatchResult, Listed, Page
    from matcher.scan.sources.base import Source
    from matcher.sealing import Sealer

    _Result = TypeVar("_Result")

#: A batch is done again as a whole where it was not finished.
BATCH_OBJECTS: Final = 64
_BATCH_BYTES: Final = 128 * 1024 * 1024
#: An archive that is opened may have ten thousand members, each with a record in memory until the
#: batch is done; it counts as so many objects.
_ARCHIVE_OBJECTS: Final = 32
#: Batches that wait, for each that the engine takes at a time.
_AHEAD: Final = 2
#: Pages from which too little was selected are written down together, up to so many.
_MOST_PAGES: Final = 100
GRACE_SECONDS: Final = 10.0


class Position(Protocol):
    """How far a source is listed."""

    @property
    def cursor(self) -> str:
        """Behind which the listing goes on; empty: at its beginning."""
        ...

    @property
    def done(self) -> bool:
        """Nothing more of it will be listed."""
        ...


class Summary(Protocol):
    """What a run needs of what a scan has come to."""

    @property
    def listed(self) -> int:
        """Objects that were planned so far, the finished ones included."""
        ...


class State(Protocol):
    """What a run needs of a scan's state; it is called in one thread."""

    @property
    def document(self) -> ScanDocument:
        """What was asked for."""
        ...

    @property
    def next_number(self) -> int:
        """Of the next batch."""
        ...

    def position(self, source: int) -> Position:
        """How far a source is listed."""
        ...

    def planned(self) -> Iterable[Batch]:
        """What is planned and not finished, in order."""
        ...

    def plan(
        self,
        source: int,
        cursor: str,
        batches: Sequence[Batch],
        *,
        done: bool,
        not_selected: int,
        skipped: Mapping[str, int],
    ) -> None:
        """Writes down a part of the listing, and what is to be scanned of it."""
        ...

    def finish(self, result: BatchResult, *, sealer: Sealer | None = None) -> bool:
        """Writes down what became of a batch; False where it is not planned."""
        ...

    def summary(self) -> Summary:
        """What it has come to."""
        ...


class Chooser(Protocol):
    """Chooses among what is listed."""

    def passes(self, listed: Listed) -> bool:
        """Whether an object is to be scanned."""
        ...


async def run_scan(
    state: State,
    sources: Sequence[Source],
    selector: Chooser,
    engine: Engine,
    *,
    sealer: Sealer | None = None,
    events: Callable[[Event], None] = unheard,
    stop: asyncio.Event | None = None,
    grace_seconds: float = GRACE_SECONDS,
) -> bool:
    """Goes on with a scan until it is complete, or is to stop.

    Args:
        state: of the scan; nobody else may use it meanwhile.
        sources: in the order of the scan's places; they stay the caller's to close.
        selector: which objects are scanned.
        engine: scans them; it stays the caller's to close.
        sealer: of kept hashes; None where none are kept.
        events: told what goes on, on the loop.
        stop: once it is set nothing new is begun. To stop at once, cancel the task that runs this.
        grace_seconds: how long what is under way may then take; the rest stays planned.

    Returns:
        Whether the scan is complete: every object of the listing has its record.

    Raises:
        SourceError: a place cannot be listed any further.
        EngineError: nothing can be scanned any more.
        StateError: what came of it cannot be written down.
    """
    run = _Run(
        state,
        sources,
        selector,
        engine,
        sealer=sealer,
        events=events,
        stop=stop or asyncio.Event(),
    )
    try:
        return await run.go(grace_seconds)
    finally:
        await run.close()


class _Run:
    """One run. Of one event loop; the state has one thread of its own."""

    def __init__(
        self,
        state: State,
        sources: Sequence[Source],
        selector: Chooser,
        engine: Engine,
        *,
        sealer: Sealer | None,
        events: Callable[[Event], None],
        stop: asyncio.Event,
    ) -> None:
        self._state = state
        self._sources = sources
        self._selector = selector
        self._engine = engine
        self._sealer = sealer
        self._events = events
        self._stop = stop
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="scan-state")
        self._waiting: deque[Batch] = deque()
        self._changed = asyncio.Condition()
        self._listing_over = False
        self._planning: asyncio.Task[None] | None = None

    async def go(self, grace_seconds: float) -> bool:
        """As `run_scan`."""
        self._waiting.extend(await self._ask(self._planned))
        work = asyncio.create_task(self._work())
        stopping = asyncio.create_task(self._stop.wait())
        try:
            await asyncio.wait({work, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not work.done():
                if self._planning is not None:
                    self._planning.cancel()  # a page may be long in coming
                await self._notify()
                await asyncio.wait({work}, timeout=grace_seconds)
            if work.done():
                work.result()
        finally:
            for task in (work, stopping):
                task.cancel()
            await asyncio.gather(work, stopping, return_exceptions=True)
        left = len(await self._ask(self._planned))
        complete = self._listing_over and not left
        self._events(Ended(complete, left))
        return complete

    async def close(self) -> None:
        """Waits until what was begun to be written down is."""
        await asyncio.to_thread(self._thread.shutdown)

    async def _work(self) -> None:
        """Plans and scans until there is no more, or it is to stop.

        Raises:
            ScanError: as `run_scan`.
        """
        try:
            async with asyncio.TaskGroup() as group:
                self._planning = group.create_task(self._plan())
                for _ in range(self._engine.capacity):
                    group.create_task(self._scan())
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None

    # Planning

    async def _plan(self) -> None:
        """Lists all sources, one after the other, as fast as batches are taken."""
        for number, source in enumerate(self._sources):
            position = await self._ask(partial(self._state.position, number))
            if position.done:
                continue
            plan = _Plan(number, position.cursor, await self._left())
            async for page in _pages(source, position.cursor, plan):
                plan.take(page, self._selector)
                if plan.is_worth_writing:
                    await self._write(plan)
                if not await self._room_for_more():
                    return
                if plan.is_full:
                    break
            plan.complete = True
            await self._write(plan)
        self._listing_over = True
        await self._notify()

    async def _left(self) -> int | None:
        """How many objects may still be planned; None: any number."""
        limit = self._state.document.selection.limit
        if limit is None:
            return None
        return max(0, limit - await self._ask(lambda: self._state.summary().listed))

    async def _room_for_more(self) -> bool:
        """Waits until more is to be listed; False where it never is."""
        most = _AHEAD * self._engine.capacity
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._stop.is_set() or len(self._waiting) < most,
            )
        return not self._stop.is_set()

    async def _write(self, plan: _Plan) -> None:
        """Writes down what was listed, and lets it be scanned."""
        batches = await self._ask(partial(self._planned_now, plan))
        self._events(
            Planned(
                plan.source,
                objects=len(plan.chosen),
                nbytes=sum(each.size or 0 for each in plan.chosen),
                not_selected=plan.not_selected,
                skipped=plan.skipped,
                complete=plan.complete,
            )
        )
        plan.begin_anew()
        self._waiting.extend(batches)
        await self._notify()

    # Scanning

    async def _scan(self) -> None:
        """Scans one batch after the other, until there are no more."""
        while (batch := await self._next()) is not None:
            result = await self._engine.scan(batch)
            counts = await self._ask(partial(self._state.finish, result, sealer=self._sealer))
            if counts:
                folder = batch.objects[-1].key.rpartition("/")[0]
                self._events(Finished(batch.source, Tally.of(result), result.seconds, folder))

    async def _next(self) -> Batch | None:
        """The next batch; None where nothing new is to be begun."""
        async with self._changed:
            await self._changed.wait_for(
                lambda: self._waiting or self._listing_over or self._stop.is_set()
            )
            if self._stop.is_set() or not self._waiting:
                return None
            batch = self._waiting.popleft()
            self._changed.notify_all()
        return batch

    # The state's thread

    def _planned(self) -> list[Batch]:
        return list(self._state.planned())

    def _planned_now(self, plan: _Plan) -> list[Batch]:
        archives = self._state.document.archives
        batches = list(cut(plan.chosen, plan.source, self._state.next_number, archives=archives))
        self._state.plan(
            plan.source,
            plan.cursor,
            batches,
            done=plan.complete,
            not_selected=plan.not_selected,
            skipped=plan.skipped,
        )
        return batches

    async def _ask(self, work: Callable[[], _Result]) -> _Result:
        """Has something done in the state's thread; what was begun there is waited for."""
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._thread, work)

    async def _notify(self) -> None:
        async with self._changed:
            self._changed.notify_all()


@dataclass(slots=True)
class _Plan:
    """What was listed of a source and is not written down.

    Attributes:
        source: which.
        cursor: behind what was listed.
        left: how many objects may still be planned; None: any number.
    """

    source: int
    cursor: str
    left: int | None
    chosen: list[Listed] = field(default_factory=list)
    pages: int = 0
    not_selected: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    complete: bool = False

    @property
    def is_full(self) -> bool:
        """No more objects may be planned."""
        return self.left == 0

    @property
    def is_worth_writing(self) -> bool:
        """It gives a whole batch, or would be much to list again."""
        return len(self.chosen) >= BATCH_OBJECTS or self.pages >= _MOST_PAGES

    def take(self, page: Page, selector: Chooser) -> None:
        """Chooses among the objects of a page; what lies behind the last allowed is not listed."""
        for listed in page.objects:
            if self.is_full:
                break
            if not selector.passes(listed):
                self.not_selected += 1
                continue
            self.chosen.append(listed)
            if self.left is not None:
                self.left -= 1
        for reason, number in page.skipped.items():
            self.skipped[reason] = self.skipped.get(reason, 0) + number
        self.cursor = page.cursor
        self.pages += 1

    def begin_anew(self) -> None:
        """What was taken is written down."""
        self.chosen, self.pages, self.not_selected, self.skipped = [], 0, 0, {}


async def _pages(source: Source, cursor: str, plan: _Plan) -> AsyncIterator[Page]:
    """The pages behind a cursor; none where nothing may be planned."""
    if plan.is_full:
        return
    async for page in source.list(cursor):
        yield page


def cut(
    objects: Sequence[Listed], source: int, number: int, *, archives: bool = False
) -> Iterable[Batch]:
    """Cuts what was listed into batches of about equal work.

    Args:
        objects: in the order of the listing.
        source: which.
        number: of the first batch.
        archives: they are opened.
    """
    part: list[Listed] = []
    count = nbytes = 0
    for listed in objects:
        weighs = _ARCHIVE_OBJECTS if archives and is_archive(listed.key) else 1
        size = listed.size or 0
        if part and (count + weighs > BATCH_OBJECTS or nbytes + size > _BATCH_BYTES):
            yield Batch(number, source, tuple(part))
            part, count, nbytes, number = [], 0, 0, number + 1
        part.append(listed)
        count += weighs
        nbytes += size
    if part:
        yield Batch(number, source, tuple(part))


__all__ = ["BATCH_OBJECTS", "GRACE_SECONDS", "Chooser", "State", "cut", "run_scan"]
