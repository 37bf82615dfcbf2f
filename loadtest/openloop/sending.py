"""Sends the requests of a plan and notes when each was sent and ended.

Of an open plan, a request starts when its time has come, whatever became of those before it: each
is a task of its own, or an item in the queue of a stream, and none is waited for. Responses are
kept as bytes and judged once all is over, so that judging delays nobody.
"""

from __future__ import annotations

import asyncio
import itertools
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self, TypeAlias

import grpc
from google.rpc import error_details_pb2, status_pb2

from loadtest.openloop.outcomes import Outcome
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from loadtest.openloop.plan import Plan

_SERVICE: Final = "/hashwarden.match.v1.MatchService"
_LARGEST: Final = 32 << 20
#: A refusal has to be seen as one, so nothing is tried again.
_OPTIONS: Final = (
    ("grpc.max_send_message_length", _LARGEST),
    ("grpc.max_receive_message_length", _LARGEST),
    ("grpc.enable_retries", 0),
    ("grpc.use_local_subchannel_pool", 1),
)
_OVERLOADED: Final = "OVERLOADED"
_BOX: Final = b"\x00\x00\x00\x10free"
_NUMBER_BYTES: Final = 8
#: Serialized, by row of the file: with the file as it is, and with a box behind it.
_Messages: TypeAlias = "tuple[list[bytes], list[bytes]]"
#: How long before the first request of a plan.
_AHEAD_SECONDS: Final = 0.1
#: Before a stream that ended is opened again.
_PAUSE_SECONDS: Final = 0.05


@dataclass(slots=True)
class Asked:
    """One request: when, and what became of it. Seconds are those of the monotonic clock."""

    file: int
    streamed: bool
    intended: float
    sent: float = math.nan
    done: float = math.nan
    outcome: Outcome = Outcome.LOST
    code: int = 0
    words: str = ""
    response: bytes = field(default=b"", repr=False)

    def end(self, outcome: Outcome, code: int = 0, words: str = "") -> None:
        """Notes what became of it, now; of an error its code and words."""
        self.done = time.monotonic()
        self.outcome, self.code, self.words = outcome, code, words


@dataclass(frozen=True, slots=True)
class Sent:
    """All requests of a plan, and when it began and was over."""

    asked: list[Asked]
    begin: float
    end: float


class Images:
    """The messages that carry files; what is the same in each is made once, before any is sent.

    A file that is to be fresh is followed by bytes that no other has and no decoder shows: a
    free-space box (ISO/IEC 14496-12, 8.1.2), which HEIC and AVIF pass over; other formats have
    ended by then.

    Args:
        contents: files, by row.
        fresh_from: number of the first file that is sent with bytes of its own.
    """

    def __init__(self, contents: Sequence[bytes], fresh_from: int) -> None:
        unary, item = pb.MatchImageRequest, pb.MatchImagesRequest
        boxed = [content + _BOX + bytes(_NUMBER_BYTES) for content in contents]
        self._unary = _messages(unary, contents), _messages(unary, boxed)
        self._items = _messages(item, contents), _messages(item, boxed)
        self._numbers = itertools.count(fresh_from)

    def request(self, file: int, *, fresh: bool) -> bytes:
        """A `MatchImageRequest` with a file."""
        return b"".join(self._ending(self._unary, file, fresh=fresh))

    def item(self, request_id: str, file: int, *, fresh: bool) -> bytes:
        """A `MatchImagesRequest` with a file: two messages one behind the other are one."""
        named = pb.MatchImagesRequest(request_id=request_id).SerializeToString()
        return b"".join((named, *self._ending(self._items, file, fresh=fresh)))

    def _ending(
        self, messages: _Messages, file: int, *, fresh: bool
    ) -> tuple[bytes | memoryview, ...]:
        """A message with a file, which ends with that, as it is or with a number of its own."""
        as_it_is, boxed = messages
        if not fresh:
            return (as_it_is[file],)
        number = next(self._numbers).to_bytes(_NUMBER_BYTES)
        return memoryview(boxed[file])[:-_NUMBER_BYTES], number


def _messages(
    kind: type[pb.MatchImageRequest | pb.MatchImagesRequest], contents: Sequence[bytes]
) -> list[bytes]:
    return [kind(image=content).SerializeToString() for content in contents]


async def send(
    target: str,
    plan: Plan,
    images: Images,
    *,
    connections: int,
    timeout_seconds: float,
    echo: bool = False,
) -> Sent:
    """Sends a plan and waits until all of it is answered or given up.

    Args:
        target: `host:port`.
        plan: what to send.
        images: the bytes.
        connections: over which requests are spread.
        timeout_seconds: after which an answer is no longer waited for.
        echo: the server gives back what it gets.
    """
    async with _Channels(target, connections) as channels:
        await channels.ready()
        sender = _Sender(channels, images, timeout_seconds, echo=echo)
        return await (sender.closed(plan) if plan.in_flight else sender.opened(plan))


class _Channels:
    """Connections that requests are spread over in turn."""

    def __init__(self, target: str, count: int) -> None:
        self.all = [grpc.aio.insecure_channel(target, options=_OPTIONS) for _ in range(count)]
        calls: list[Any] = [each.unary_unary(f"{_SERVICE}/MatchImage") for each in self.all]
        self._unary = itertools.cycle(calls)

    def unary(self) -> Any:
        """The unary call of the next connection."""
        return next(self._unary)

    async def ready(self) -> None:
        """Returns once all are connected."""
        await asyncio.gather(*(each.channel_ready() for each in self.all))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await asyncio.gather(*(each.close() for each in self.all))


class _Sender:
    def __init__(
        self, channels: _Channels, images: Images, timeout_seconds: float, *, echo: bool
    ) -> None:
        self._channels = channels
        self._echo = echo
        self._images = images
        self._timeout = timeout_seconds

    async def opened(self, plan: Plan) -> Sent:
        """Starts each request at its time."""
        begin = time.monotonic() + _AHEAD_SECONDS
        asked = [
            Asked(int(file), bool(streamed), begin + float(start))
            for file, streamed, start in zip(plan.files, plan.streamed, plan.starts, strict=True)
        ]
        channels = self._channels.all if plan.streamed.any() else []
        streams = [_Stream(each, self._images, echo=self._echo) for each in channels]
        turns = itertools.cycle(streams)
        async with asyncio.TaskGroup() as tasks:
            running = [tasks.create_task(each.run()) for each in streams]
            calls = []
            for each, fresh in zip(asked, plan.fresh.tolist(), strict=True):
                await asyncio.sleep(max(0.0, each.intended - time.monotonic()))
                if each.streamed:
                    next(turns).put(each, fresh=fresh)
                else:
                    calls.append(tasks.create_task(self._call(each, fresh=fresh)))
            await asyncio.sleep(max(0.0, begin + plan.seconds - time.monotonic()))
            over = time.monotonic()
            for stream in streams:
                stream.close()
            if calls:
                await asyncio.wait(calls)
            if running:
                left = over + self._timeout - time.monotonic()
                await asyncio.wait(running, timeout=max(0.1, left))
            for task in running:
                task.cancel()
        return Sent(asked, begin, time.monotonic())

    async def closed(self, plan: Plan) -> Sent:
        """Keeps so many requests under way; those that are streamed over a stream each."""
        begin = time.monotonic()
        end = begin + plan.seconds
        rows = itertools.cycle(range(len(plan.files)))
        asked: list[Asked] = []

        def due() -> Iterator[tuple[Asked, bool]]:
            while time.monotonic() < end:
                row = next(rows)
                new = Asked(int(plan.files[row]), bool(plan.streamed[row]), time.monotonic())
                asked.append(new)
                yield new, bool(plan.fresh[row])

        async def one_after_the_other(channel: grpc.aio.Channel) -> None:
            stream = _Stream(channel, self._images, echo=self._echo)
            running = tasks.create_task(stream.run()) if plan.streamed.any() else None
            for each, fresh in due():
                if each.streamed:
                    await asyncio.wait([stream.put(each, fresh=fresh)], timeout=self._timeout)
                else:
                    await self._call(each, fresh=fresh)
            if running is not None:
                stream.close()
                await asyncio.wait([running], timeout=self._timeout)
                running.cancel()

        channels = itertools.islice(itertools.cycle(self._channels.all), plan.in_flight)
        async with asyncio.TaskGroup() as tasks:
            for channel in channels:
                tasks.create_task(one_after_the_other(channel))
        return Sent(asked, begin, time.monotonic())

    async def _call(self, asked: Asked, *, fresh: bool) -> None:
        request = self._images.request(asked.file, fresh=fresh)
        asked.sent = time.monotonic()
        try:
            asked.response = await self._channels.unary()(request, timeout=self._timeout)
        except grpc.aio.AioRpcError as error:
            words = error.details() or ""
            asked.end(outcome_of(_status(error)), error.code().value[0], words)
        else:
            asked.end(Outcome.ANSWERED)


class _Stream:
    """Streams of images, one at a time; a new one is opened where one ends before all was sent."""

    def __init__(self, channel: grpc.aio.Channel, images: Images, *, echo: bool) -> None:
        self._echo = echo
        self._open: Any = channel.stream_stream(f"{_SERVICE}/MatchImages")
        self._images = images
        self._queue: asyncio.Queue[_Item | None] = asyncio.Queue()
        self._ids = itertools.count(1)
        self._unanswered: dict[str, _Item] = {}
        self._all_sent = False

    def put(self, asked: Asked, *, fresh: bool) -> asyncio.Future[None]:
        """Has an item sent once the stream takes it, unsent until then; done when it ended."""
        asked.outcome = Outcome.UNSENT
        item = _Item(asked, fresh, asyncio.get_running_loop().create_future())
        self._queue.put_nowait(item)
        return item.ended

    def close(self) -> None:
        """Nothing more will be put."""
        self._queue.put_nowait(None)

    async def run(self) -> None:
        """Sends what is put and takes answers, until it is closed and all is answered."""
        while not self._all_sent:
            call = self._open()
            writer = asyncio.create_task(self._write(call))
            try:
                async for response in call:
                    self._take(response)
            except grpc.aio.AioRpcError as error:
                self._fail(error.code(), error.details() or "", [*self._unanswered.values()])
            except asyncio.CancelledError:
                taken = [e for e in self._unanswered.values() if e.asked.outcome is Outcome.LOST]
                self._fail(grpc.StatusCode.DEADLINE_EXCEEDED, "no answer in time", taken)
                raise
            finally:
                call.cancel()
                writer.cancel()
                self._unanswered.clear()  # what a stream that ended well left unanswered is lost
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _write(self, call: Any) -> None:
        while (item := await self._queue.get()) is not None:
            request_id = str(next(self._ids))
            request = self._images.item(request_id, item.asked.file, fresh=item.fresh)
            self._unanswered[request_id] = item
            try:
                item.asked.sent = time.monotonic()
                await call.write(request)
            except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
                return  # the call has ended, and this item with it
            if item.asked.outcome is Outcome.UNSENT:
                item.asked.outcome = Outcome.LOST
        self._all_sent = True
        await call.done_writing()

    def _take(self, response: bytes) -> None:
        if self._echo:
            echoed = pb.MatchImagesRequest.FromString(response)
            item, status = self._unanswered.pop(echoed.request_id), status_pb2.Status()
        else:
            answer = pb.MatchImagesResponse.FromString(response)
            item, status = self._unanswered.pop(answer.request_id), answer.status
            item.asked.response = response
        if status.code:
            item.asked.end(outcome_of(status), status.code, status.message)
        else:
            item.asked.end(Outcome.ANSWERED)
        item.note_end()

    def _fail(self, code: grpc.StatusCode, words: str, items: Sequence[_Item]) -> None:
        for item in items:
            item.asked.end(Outcome.FAILED, code.value[0], words)
            item.note_end()


@dataclass(frozen=True, slots=True)
class _Item:
    """What is to go over a stream."""

    asked: Asked
    fresh: bool
    ended: asyncio.Future[None]

    def note_end(self) -> None:
        """Wakes whoever waits for its end."""
        if not self.ended.done():
            self.ended.set_result(None)


def outcome_of(status: status_pb2.Status) -> Outcome:
    """Whether an error is a refusal for having too much to do, by the server or by gRPC in it."""
    if status.code == grpc.StatusCode.RESOURCE_EXHAUSTED.value[0]:
        return Outcome.REFUSED
    info = error_details_pb2.ErrorInfo()
    reasons = {info.reason for each in status.details if each.Unpack(info)}
    return Outcome.REFUSED if _OVERLOADED in reasons else Outcome.FAILED


def _status(error: grpc.aio.AioRpcError) -> status_pb2.Status:
    for key, value in error.trailing_metadata() or ():
        if key == "grpc-status-details-bin":
            return status_pb2.Status.FromString(value)
    return status_pb2.Status(code=error.code().value[0])
