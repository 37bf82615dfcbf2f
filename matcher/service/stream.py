"""The contract of `MatchImages`: a window of unanswered items, answers as they are ready, drain.

The reader takes one place in the window before it reads an item; the place is given back once the
answer was handed to gRPC. So a client that does not read its answers stops being read from, and
what one stream holds in memory is bounded by its window: of each item there what its answer needs,
and never the message that it came in.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine
from typing import Any, TypeVar

from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.errors import InvalidRequestError, NotReadyError
from matcher.service.errors import status_of
from matcher.service.validation import check_request_id

#: Ids remembered of one stream, so that its memory is bounded: a repeat within the last so many
#: items is refused.
REMEMBERED_IDS = 10_000

Outcome = TypeVar("Outcome")
Request = TypeVar("Request")
Answer = Callable[[pb.MatchImagesRequest], Coroutine[Any, Any, pb.MatchImagesResponse]]


class Drain:
    """Tells every open stream that the server is about to end."""

    def __init__(self) -> None:
        self._event = asyncio.Event()

    def start(self) -> None:
        """From now on no stream reads another item."""
        self._event.set()

    @property
    def started(self) -> bool:
        """Whether the server is about to end."""
        return self._event.is_set()

    async def wait(self) -> None:
        """Returns once draining starts."""
        await self._event.wait()

    async def unless_started(self, requests: AsyncIterator[Request]) -> AsyncIterator[Request]:
        """The requests of a stream that come before draining starts.

        Raises:
            NotReadyError: it has started, and there might have been more.
        """
        waiting = asyncio.create_task(self.wait())
        try:
            while True:
                coming = await self._next(requests, waiting)
                if not coming:
                    return
                yield coming.pop()  # and hold on to nothing
        finally:
            waiting.cancel()

    async def _next(
        self, requests: AsyncIterator[Request], waiting: asyncio.Task[None]
    ) -> list[Request]:
        """The next request; none where there are no more."""
        coming = asyncio.ensure_future(anext(requests, None))
        try:
            await asyncio.wait((coming, waiting), return_when=asyncio.FIRST_COMPLETED)
            if not coming.done():
                raise self.error()
            request = coming.result()
            return [] if request is None else [request]
        finally:
            coming.cancel()

    def error(self) -> NotReadyError:
        """What a drained stream ends with."""
        return NotReadyError("the server is shutting down; send the unanswered items elsewhere")


class Window:
    """Reads one stream's items and gives their answers, in whatever order they are ready.

    Args:
        requests: the items.
        answer: given an item, takes what it needs, and then gives its answer; never raises.
        size: most unanswered items.
        drain: ends reading.
    """

    def __init__(
        self,
        requests: AsyncIterator[pb.MatchImagesRequest],
        answer: Answer,
        *,
        size: int,
        drain: Drain,
    ) -> None:
        self._requests = requests
        self._answer = answer
        self._places = asyncio.Semaphore(size)
        self._drain = drain
        self._ready: asyncio.Queue[pb.MatchImagesResponse | None] = asyncio.Queue()
        self._ids = _RecentIds(REMEMBERED_IDS)
        self._tasks: set[asyncio.Task[pb.MatchImagesResponse]] = set()
        self._reader: asyncio.Task[None] | None = None
        self._failure: BaseException | None = None
        self.drained = False

    async def answers(self) -> AsyncIterator[pb.MatchImagesResponse]:
        """Every answer; ends when the client's side is closed or the server drains."""
        self._reader = asyncio.create_task(self._read())
        while (response := await self._ready.get()) is not None:
            yield response
            self._places.release()
        if self._failure is not None:
            raise self._failure

    async def close(self) -> None:
        """Drops what is under way; for a stream whose client has gone."""
        running: list[asyncio.Task[Any]] = [*self._tasks]
        if self._reader is not None:
            running.append(self._reader)
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _read(self) -> None:
        draining = asyncio.create_task(self._drain.wait())
        try:
            while await self._read_one(draining):
                pass
            await asyncio.gather(*self._tasks)
        except Exception as error:  # noqa: BLE001 - raised again where the answers are read
            self._failure = error
        finally:
            draining.cancel()
            self._ready.put_nowait(None)

    async def _read_one(self, draining: asyncio.Task[None]) -> bool:
        """Reads an item and begins with it; False when no more are to be read."""
        request = await self._next(draining)
        if request is not None:
            self._start(request)
        return request is not None

    async def _next(self, draining: asyncio.Task[None]) -> pb.MatchImagesRequest | None:
        """The next item once there is a place for it; None when no more are to be read."""
        if not self._places.locked():
            await self._places.acquire()  # at once, without a task of its own
        elif await self._unless_drained(self._places.acquire, draining) is None:
            return None
        return await self._unless_drained(lambda: anext(self._requests, None), draining)

    async def _unless_drained(
        self, step: Callable[[], Awaitable[Outcome]], draining: asyncio.Task[None]
    ) -> Outcome | None:
        """The outcome of `step`, or None once draining has started."""
        if not self._drain.started:
            waiting = asyncio.ensure_future(step())
            await asyncio.wait((waiting, draining), return_when=asyncio.FIRST_COMPLETED)
            if waiting.done():
                return waiting.result()
            waiting.cancel()
        self.drained = True
        return None

    def _start(self, request: pb.MatchImagesRequest) -> None:
        request_id = request.request_id
        try:
            check_request_id(request_id)
        except InvalidRequestError as error:  # what is no id is not given back: it may be huge
            self._ready.put_nowait(pb.MatchImagesResponse(status=status_of(error)))
            return
        if not self._ids.add(request_id):
            twice = InvalidRequestError("occurs twice in the stream", field="request_id")
            response = pb.MatchImagesResponse(request_id=request_id, status=status_of(twice))
            self._ready.put_nowait(response)
            return
        task = asyncio.create_task(self._answer(request))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    def _answered(self, task: asyncio.Task[pb.MatchImagesResponse]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            self._ready.put_nowait(task.result())


class _RecentIds:
    """The last `size` ids of a stream."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._ids: dict[str, None] = {}

    def add(self, request_id: str) -> bool:
        """False where the id is known already."""
        if request_id in self._ids:
            return False
        self._ids[request_id] = None
        if len(self._ids) > self._size:
            del self._ids[next(iter(self._ids))]
        return True
