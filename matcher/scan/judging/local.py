"""Judges here: decoders of a pool, and one generation of lists and policies.

A file goes from the thread that waits for its decoder straight into the next batch of hashing and
looking up, which has a thread of its own; the event loop is woken once for all answers of a batch.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Final

from matcher.batching import Batcher
from matcher.errors import DecodersAwayError
from matcher.gaps import Gaps
from matcher.model import QUALITY_FLOOR, DecodedImage
from matcher.pipeline import hash_items, match_items
from matcher.scan.model import Answer, FailureReason
from matcher.scan.records import digests_of

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence
    from concurrent.futures import Future

    from matcher.decode.pool import Decoded, DecodePool
    from matcher.model import DecodeRequest, Digests, ImageHashes
    from matcher.pipeline import Generation, MatchOptions

#: Before each further try to have a file decoded, where no decoder could be started.
_AWAY_SECONDS: Final = (1.0, 5.0, 20.0)
#: Nobody waits for a single answer: fuller batches cost less.
_GATHER_SECONDS: Final = 0.05
_BATCH: Final = 64


@dataclass(frozen=True, slots=True)
class _Decoded:
    """A file that was decoded, or could not be, and is to be hashed."""

    digests: Digests
    decoded: Decoded = field(repr=False)


@dataclass(frozen=True, slots=True)
class _Hashed:
    """A file whose hashes are known."""

    hashes: ImageHashes = field(repr=False)
    image_format: str
    gaps: tuple[str, ...]


class LocalJudge:
    """Judges by one generation.

    Args:
        generation: what is searched.
        pool: what decodes; it stays the caller's to close.
        options: what was asked for; checked here.
        max_bytes: of an encoded file; a larger one is looked up by its digests.
        sleep: waits for decoders to come back; replaced by tests.

    Raises:
        UnknownPolicyError, PolicyError: as `Generation.policy_for`.
    """

    def __init__(
        self,
        generation: Generation,
        pool: DecodePool,
        options: MatchOptions,
        *,
        max_bytes: int,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._generation = generation
        self._pool = pool
        self._options = options
        self._max_bytes = max_bytes
        self._sleep = sleep
        self._request: DecodeRequest = generation.policy_for(options).request
        self._decoding = 0
        self._batcher = Batcher[_Decoded | _Hashed, Answer](
            self._work,
            max_size=_BATCH,
            max_seconds=_GATHER_SECONDS,
            expects=self._expects,
        )

    @property
    def max_bytes(self) -> int:
        """As `Judge.max_bytes`."""
        return self._max_bytes

    @property
    def tells_hashes(self) -> bool:
        """As `Judge.tells_hashes`: they do."""
        return True

    async def judge(self, data: bytes, digests: Digests) -> Answer:
        """As `Judge.judge`; ends no scan."""
        for pause in _AWAY_SECONDS:
            try:
                return await self._judged(data, digests)
            except DecodersAwayError:
                await self._sleep(pause)
        try:
            return await self._judged(data, digests)
        except DecodersAwayError as error:
            return Answer(digests, None, failed=(FailureReason.DECODERS_AWAY, str(error)))

    async def look_up(
        self, hashes: ImageHashes, *, image_format: str = "", gaps: tuple[str, ...] = ()
    ) -> Answer:
        """As `Judge.look_up`; ends no scan."""
        return await self._batcher.submit(_Hashed(hashes, image_format, gaps))

    async def close(self) -> None:
        """As `Judge.close`."""
        await self._batcher.close()

    def _expects(self) -> bool:
        """Whether files are being decoded that have not come to the batch yet."""
        return self._decoding > self._batcher.waiting

    async def _judged(self, data: bytes, digests: Digests) -> Answer:
        """What is known of a file.

        Raises:
            DecodersAwayError: no decoder could be started.
        """
        answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        decoding = self._pool.submit(data, self._request)
        self._decoding += 1
        decoding.add_done_callback(partial(self._pass_on, digests, answer))
        try:
            return await answer
        finally:
            decoding.cancel()  # where the caller gave up; else it is done
            self._decoding -= 1

    def _pass_on(
        self, digests: Digests, answer: asyncio.Future[Answer], decoding: Future[Decoded]
    ) -> None:
        """Has a decoded file hashed; in the thread that waited for its decoder."""
        if decoding.cancelled():
            return
        error = decoding.exception()
        if error is None:
            self._batcher.put(_Decoded(digests, decoding.result()), answer)
        elif not (loop := answer.get_loop()).is_closed():
            loop.call_soon_threadsafe(_fail, answer, error)

    def _work(self, items: Sequence[_Decoded | _Hashed]) -> list[Answer]:
        """Hashes what was decoded, and looks all of it up together."""
        fresh = [each for each in items if isinstance(each, _Decoded)]
        hashed = iter(
            hash_items(
                [each.digests for each in fresh],
                [each.decoded for each in fresh],
                [self._request] * len(fresh),
            )
        )
        hashes = [each.hashes if isinstance(each, _Hashed) else next(hashed) for each in items]
        results = match_items(self._generation, hashes, [self._options] * len(items))
        answers = []
        for item, known, result in zip(items, hashes, results, strict=True):
            if isinstance(item, _Hashed):
                digests, seen, gaps = digests_of(known), item.image_format, item.gaps
            else:
                image = item.decoded if isinstance(item.decoded, DecodedImage) else None
                digests, seen = item.digests, image.format if image else ""
                gaps = gaps_of(image, known)
            answers.append(Answer(digests, result, known, format=seen, gaps=gaps))
        return answers


def gaps_of(image: DecodedImage | None, hashes: ImageHashes) -> tuple[str, ...]:
    """What of a file was not looked at, by the names that records have for it."""
    hashed = (view.view for view in hashes.views if view.quality >= QUALITY_FLOOR)
    return tuple(Gaps.of(image, hashed, hashes.views_left_out).record())


def _fail(answer: asyncio.Future[Answer], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


__all__ = ["LocalJudge", "gaps_of"]
