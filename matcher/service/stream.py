"""The contract of `MatchImages`: a window of unanswered items, answers as they are ready, drain.

The reader takes one place in the window before it reads an item; the place is given back once the
answer was handed to gRPC. So a client that does not read its answers stops being read from, and
what one stream holds in memory is bounded by its window.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.errors import InvalidRequestError, NotReadyError
from matcher.service.errors import status_of
from matcher.service.validation import check_request_id

if TYPE_CHECKING:
    from google.rpc import status_pb2

#: Ids remembered of one stream, so that its memory is bounded: a repeat within the last so many
#: items is refused.
REMEMBERED_IDS = 100_000

Outcome = TypeVar("Outcome")
Answer = Callable[[pb.MatchImagesRequest], Awaitable[pb.MatchImagesResponse]]


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

    def error(self) -> NotReadyError:
        """What a drained stream ends with."""
        return NotReadyError("the server is shutting down; send the unanswered items elsewhere")


class Window:
    """Reads one stream's items and gives their answers, in whatever order they are ready.

    Args:
        requests: the items.
        answer: gives an item's answer and never raises.
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
        self._tasks: set[asyncio.Task[None]] = set()
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
        running = [each for each in (self._reader, *self._tasks) if each is not None]
        for task in running:
            task.cancel()
        await asyncio.gather(*running, return_exceptions=True)

    async def _read(self) -> None:
        draining = asyncio.create_task(self._drain.wait())
        try:
            while (request := await self._next(draining)) is not None:
                self._start(request)
            await asyncio.gather(*self._tasks)
        except Exception as error:  # noqa: BLE001 - raised again where the answers are read
            self._failure = error
        finally:
            draining.cancel()
            self._ready.put_nowait(None)

    async def _next(self, draining: asyncio.Task[None]) -> pb.MatchImagesRequest | None:
        """The next item once there is a place for it; None when no more are to be read."""
        if await self._unless_drained(self._places.acquire, draining) is None:
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
        problem = self._check_id(request.request_id)
        if problem is not None:
            response = pb.MatchImagesResponse(request_id=request.request_id, status=problem)
            self._ready.put_nowait(response)
            return
        task = asyncio.create_task(self._work(request))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _work(self, request: pb.MatchImagesRequest) -> None:
        self._ready.put_nowait(await self._answer(request))

    def _check_id(self, request_id: str) -> status_pb2.Status | None:
        try:
            check_request_id(request_id)
        except InvalidRequestError as error:
            return status_of(error)
        if self._ids.add(request_id):
            return None
        return status_of(InvalidRequestError("occurs twice in the stream", field="request_id"))


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
