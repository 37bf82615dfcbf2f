"""Judges at a server, over one stream that is opened again whenever it ends.

A server answers images as they are ready, may refuse one for the moment, and may end the stream to
restart; whatever stays without an answer is sent again, a few times. What a server takes no image
of (empty, or too large) is looked up there by its digests. What it says of every image alike, e.g.
that there is no such policy, ends the scan in its words.
"""

from __future__ import annotations

import asyncio
from collections import deque
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Final

from hashlists.model import HashKind
from matcher.client.types import HashQuery
from matcher.errors import (
    PolicyError,
    PolicyWidenedError,
    ServerError,
    TooLargeError,
    UnknownPolicyError,
    UnknownViewError,
)
from matcher.gaps import Gaps
from matcher.model import Decision, ImageHashes, NotHashableReason, Undecodable
from matcher.scan.errors import EngineError
from matcher.scan.model import Answer, FailureReason
from matcher.scan.records import digests_of

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from matcher.client.aio import AsyncClient
    from matcher.client.types import MatchAnswer, StreamAnswer
    from matcher.model import Digests
    from matcher.pipeline import MatchOptions

#: Before an image is sent again, or a stream opened again, by how often that was in vain.
_PAUSES_SECONDS: Final = (0.5, 1.0, 2.0, 4.0, 8.0)
#: A stream on which nothing is sent for so long is ended, and opened again for the next image.
_IDLE_SECONDS: Final = 1.0
#: After which a stream whose images nobody answers is given up; longer than any image takes.
_SILENCE_SECONDS: Final = 120.0
#: Errors of an item that hold for every other item too.
_OF_ALL_ITEMS: Final = frozenset(
    {
        PolicyError.reason,
        PolicyWidenedError.reason,
        UnknownPolicyError.reason,
        UnknownViewError.reason,
    }
)
_EMPTY: Final = Undecodable(NotHashableReason.MALFORMED, "the file is empty")


@dataclass(slots=True)
class _Item:
    """An image that waits for its answer."""

    data: bytes = field(repr=False)
    digests: Digests
    answer: asyncio.Future[Answer]
    in_vain: int = 0


_SILENT: Final = ServerError(
    f"it takes images, and has answered none for {_SILENCE_SECONDS:.0f} seconds",
    reason="SILENT",
    retryable=True,
)


class ServerJudge:
    """Judges at the server of a client.

    Args:
        client: it stays the caller's to close.
        options: what was asked for.
        max_bytes: of an encoded file; a larger one is looked up by its digests.
        sleep: waits before something is tried again; replaced by tests.

    Attributes:
        stale: the server has said that its lists are not the newest.
    """

    def __init__(
        self,
        client: AsyncClient,
        options: MatchOptions,
        *,
        max_bytes: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._client = client
        self._options = options
        self._max_bytes = max_bytes
        self._sleep = sleep
        self._open: dict[str, _Item] = {}  # all without an answer
        self._ready: deque[str] = deque()  # those to be sent
        self._sent: set[str] = set()  # those on the stream
        self._more = asyncio.Event()
        self._number = 0
        self._ended: EngineError | None = None
        self._pump: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self.stale = False

    @property
    def max_bytes(self) -> int:
        """As `Judge.max_bytes`."""
        return self._max_bytes

    @property
    def tells_hashes(self) -> bool:
        """As `Judge.tells_hashes`: they stay at the server."""
        return False

    async def judge(self, data: bytes, digests: Digests) -> Answer:
        """As `Judge.judge`."""
        if not data:
            return await self._by_digests(digests, _EMPTY)
        if self._ended is not None:
            raise self._ended
        if self._pump is None:
            self._pump = asyncio.create_task(self._served())
        self._number += 1
        name = str(self._number)
        item = _Item(data, digests, asyncio.get_running_loop().create_future())
        self._open[name] = item
        self._send(name)
        try:
            return await item.answer
        finally:
            self._open.pop(name, None)

    async def look_up(
        self, hashes: ImageHashes, *, image_format: str = "", gaps: tuple[str, ...] = ()
    ) -> Answer:
        """As `Judge.look_up`, by the digests alone.

        Raises:
            EngineError: as `Judge.look_up`.
            ValueError: there is more than digests, and that would not be looked up.
        """
        if hashes.views:
            raise ValueError("a server looks files up by their digests, or by their bytes")
        digests = digests_of(hashes)
        answer = await self._by_digests(digests, hashes.undecodable)
        return replace(answer, format=image_format, gaps=gaps)

    async def close(self) -> None:
        """As `Judge.close`."""
        tasks = [*self._tasks, *([] if self._pump is None else [self._pump])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    # The stream

    def _send(self, name: str) -> None:
        self._ready.append(name)
        self._more.set()

    async def _served(self) -> None:
        """As `_serve`; should that end by a bug, nobody waits for ever for what it would bring."""
        try:
            await self._serve()
        except Exception as error:  # noqa: BLE001 - whatever it is
            self._end_with(EngineError(_bug(error)))

    async def _serve(self) -> None:
        """Has a stream open whenever there is something to send."""
        in_vain = 0
        while self._ended is None:
            await self._wait_for_more()
            answered, problem = await self._stream()
            in_vain = 0 if answered else in_vain + 1
            if problem is not None and (not problem.retryable or in_vain > len(_PAUSES_SECONDS)):
                self._end(problem)
            elif unanswered := [name for name in self._sent if name in self._open]:
                for name in sorted(unanswered, key=int):
                    self._again(name, problem)
                await self._sleep(_PAUSES_SECONDS[max(0, in_vain - 1)])
            self._sent.clear()

    async def _stream(self) -> tuple[bool, ServerError | None]:
        """One stream, to its end; whether anything was answered, and why it ended early."""
        answered = False
        try:
            answers = self._client.match_images(
                self._drawn(),
                policy=self._options.policy,
                views=self._options.views,
                max_matches=self._options.max_matches,
            )
            async with aclosing(answers):  # type: ignore[type-var]  # it is a generator
                while True:
                    async with asyncio.timeout(_SILENCE_SECONDS):
                        each = await anext(answers)
                    answered = True
                    self._take(each)
        except StopAsyncIteration:
            pass
        except TimeoutError:
            return answered, _SILENT
        except ServerError as error:
            return answered, error
        return answered, None

    async def _drawn(self) -> AsyncIterator[tuple[str, bytes]]:
        """What is to be sent, until nothing comes for a while."""
        while self._ended is None:
            while self._ready:
                name = self._ready.popleft()
                if (item := self._open.get(name)) is not None:  # else its caller gave up
                    self._sent.add(name)
                    yield name, item.data
            try:
                async with asyncio.timeout(_IDLE_SECONDS):
                    await self._wait_for_more()
            except TimeoutError:
                return

    async def _wait_for_more(self) -> None:
        while not self._ready:
            self._more.clear()
            await self._more.wait()

    def _take(self, told: StreamAnswer) -> None:
        """Takes what the server says of an image."""
        name = told.request_id
        self._sent.discard(name)
        item = self._open.get(name)
        if item is None or item.answer.done():
            return
        if told.answer is not None:
            item.answer.set_result(self._answer(item.digests, told.answer))
            return
        error = told.error
        assert error is not None
        if error.reason in _OF_ALL_ITEMS:
            self._end(error)
        elif error.reason == TooLargeError.reason:
            self._begin(self._settle(item))
        elif error.retryable:
            self._again(name, error)
        else:
            item.answer.set_result(_failed(item.digests, error))

    def _again(self, name: str, problem: ServerError | None) -> None:
        """Sends an image again after a while, unless that was in vain often enough."""
        item = self._open[name]
        if item.in_vain == len(_PAUSES_SECONDS):
            item.answer.set_result(_failed(item.digests, problem))
            return
        pause = _PAUSES_SECONDS[item.in_vain]
        item.in_vain += 1
        self._begin(self._later(name, pause))

    async def _later(self, name: str, pause: float) -> None:
        await self._sleep(pause)
        self._send(name)

    def _begin(self, work: Awaitable[None]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _end(self, error: ServerError) -> None:
        """Ends the scan: what the server says holds for all."""
        self._end_with(EngineError(f"asking the server failed: {error}"))

    def _end_with(self, error: EngineError) -> None:
        self._ended = error
        for item in self._open.values():
            if not item.answer.done():
                item.answer.set_exception(self._ended)
        self._more.set()

    # Digests

    async def _settle(self, item: _Item) -> None:
        """Answers for an image that is larger than the server takes."""
        size = item.digests.size
        over = Undecodable(NotHashableReason.OVER_LIMIT, f"{size} bytes are more than it takes")
        try:
            answer = await self._by_digests(item.digests, over)
        except Exception as error:  # noqa: BLE001 - else its caller would wait for ever
            if not item.answer.done():
                item.answer.set_exception(error)
        else:
            if not item.answer.done():
                item.answer.set_result(answer)

    async def _by_digests(self, digests: Digests, missing: Undecodable | None) -> Answer:
        """What is known of a file by its digests alone.

        Raises:
            EngineError: the server refuses the call, or is not there.
        """
        known = {
            HashKind.MD5: digests.md5,
            HashKind.SHA1: digests.sha1,
            HashKind.SHA256: digests.sha256,
        }
        told = await self._asked(HashQuery(known, size=digests.size))
        if isinstance(told, ServerError):
            return _failed(digests, told)
        answer = self._answer(digests, told)
        if missing is None or answer.result is None:
            return answer
        unknown = answer.result.decision is Decision.NO_KNOWN_MATCH
        result = replace(
            answer.result,
            decision=Decision.NOT_HASHABLE if unknown else answer.result.decision,
            reason=missing.reason,
            detail=missing.detail,
        )
        return replace(answer, result=result)

    async def _asked(self, query: HashQuery) -> MatchAnswer | ServerError:
        """What the server says of hashes, at last; of this query alone where it is an error.

        Raises:
            EngineError: the call as a whole is refused, or the server is not there.
        """
        for pause in (*_PAUSES_SECONDS, None):
            try:
                (told,) = await self._client.lookup_hashes(
                    [query],
                    policy=self._options.policy,
                    max_matches=self._options.max_matches,
                )
            except ServerError as error:
                if pause is None or not error.retryable:
                    raise EngineError(f"asking the server failed: {error}") from None
            else:
                if pause is None or not isinstance(told, ServerError) or not told.retryable:
                    return told
            await self._sleep(pause)
        raise AssertionError("the last try returns or raises")

    def _answer(self, digests: Digests, told: MatchAnswer) -> Answer:
        self.stale = self.stale or told.stale
        result, image = told.result, told.image
        gaps = Gaps.of(image, result.views_tried, result.views_left_out)
        return Answer(
            digests, result, format=image.format if image else "", gaps=tuple(gaps.record())
        )


def _bug(error: Exception) -> str:
    return f"asking the server failed: this is a bug ({type(error).__name__}); please report it"


def _failed(digests: Digests, problem: ServerError | None) -> Answer:
    why = "the server gave no answer" if problem is None else str(problem)
    return Answer(digests, None, failed=(FailureReason.SERVER, why))


__all__ = ["ServerJudge"]
