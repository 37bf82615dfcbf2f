"""One upload's way through the service: admission -> digests + decoding -> batched matching."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from matcher.batching import Batcher
from matcher.errors import OverloadedError
from matcher.hashing.digests import digest_bytes
from matcher.model import (
    DecodedImage,
    DecodeRequest,
    Digests,
    ImageHashes,
    MatchResult,
    Undecodable,
    ViewSelection,
)
from matcher.pipeline import Generation, MatchOptions, hash_items, match_items
from matcher.service.callers import current_place
from matcher.service.gate import current_caller
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Sequence
    from concurrent.futures import Future

    from hashlists.model import HashKind
    from matcher.admission import Admission, Place, Throttle, Turn
    from matcher.decode.pool import DecodePool
    from matcher.index.holder import Holder

Decoded = DecodedImage | Undecodable
_THREADS = 4
_BYTES_A_QUERY = 4096
#: Digests and lookups waiting; admission bounds uploads long before.
_MOST_PENDING = 100_000


@dataclass(frozen=True, slots=True)
class _Upload:
    digests: Digests
    decoded: Decoded
    request: DecodeRequest
    options: MatchOptions | None


@dataclass(frozen=True, slots=True)
class _Answer:
    hashes: ImageHashes
    result: MatchResult | None


class Uploads:
    """Matches and hashes uploads; refuses what passes the bounds on work in flight.

    Args:
        holder: what is searched.
        pool: what decodes.
        admission: the bound on work in flight.
        throttle: holds back clients whose images take decoders down.
        max_batch: most uploads that are hashed and looked up together.
    """

    def __init__(
        self,
        holder: Holder[Generation],
        pool: DecodePool,
        admission: Admission,
        throttle: Throttle,
        *,
        max_batch: int = 64,
    ) -> None:
        self._holder = holder
        self._pool = pool
        self._admission = admission
        self._throttle = throttle
        self._threads = Threads("hashing", workers=_THREADS, max_pending=_MOST_PENDING)
        self._batcher: Batcher[_Upload, _Answer] = Batcher(self._work, max_size=max_batch)

    async def match(
        self, image: bytes, options: MatchOptions
    ) -> tuple[MatchResult, Decoded, ImageHashes]:
        """The decision for one image, what the decoder saw, and its hashes.

        Raises:
            NotReadyError: nothing is loaded yet.
            PolicyError: the policy that `options` name does not exist or does not fit.
            OverloadedError: too much work is in flight.
            ThrottledError: images of this client took too many decoders down.
            DecodersAwayError: no decoder can be started now.
        """
        request = self._holder.current.policy_for(options).request
        answer, decoded = await self._run(image, request, options)
        assert answer.result is not None
        return answer.result, decoded, answer.hashes

    async def hash(
        self, image: bytes, views: ViewSelection, kinds64: frozenset[HashKind]
    ) -> tuple[ImageHashes, Decoded]:
        """The hashes of one image.

        Raises:
            OverloadedError, ThrottledError, DecodersAwayError: as `match`.
        """
        answer, decoded = await self._run(image, DecodeRequest(views, kinds64), None)
        return answer.hashes, decoded

    async def lookup(
        self, items: Sequence[ImageHashes], options: MatchOptions
    ) -> list[MatchResult]:
        """The decisions for hashes that a caller computed, in their order.

        Raises:
            NotReadyError, PolicyError, OverloadedError: as `match`.
        """
        generation = self._holder.current
        generation.policy_for(options)
        with self._admission.admit(_BYTES_A_QUERY * len(items)):
            return await self._threads.run(match_items, generation, items, [options] * len(items))

    async def close(self) -> None:
        """Answers what is under way."""
        await self._batcher.close()
        self._threads.close()

    async def _run(
        self, image: bytes, request: DecodeRequest, options: MatchOptions | None
    ) -> tuple[_Answer, Decoded]:
        stay = self._enter(len(image))
        decoding: Future[Decoded] | None = None
        try:
            decoding = self._pool.submit(image, request)
            digests = await self._threads.run(digest_bytes, image)
            decoded = await asyncio.wrap_future(decoding)
            answer = await self._batcher.submit(_Upload(digests, decoded, request, options))
            return answer, decoded
        finally:
            _end_after(decoding, stay)

    def _enter(self, nbytes: int) -> _Stay:
        turn = self._throttle.take(_who())
        try:
            return _Stay(turn, self._admission.take(nbytes))
        except OverloadedError:
            turn.end()
            raise

    def _work(self, uploads: Sequence[_Upload]) -> list[_Answer]:
        hashed = hash_items(
            [each.digests for each in uploads],
            [each.decoded for each in uploads],
            [each.request for each in uploads],
        )
        rows = [i for i, each in enumerate(uploads) if each.options is not None]
        results = self._match([hashed[i] for i in rows], [uploads[i].options for i in rows])
        by_row = dict(zip(rows, results, strict=True))
        return [_Answer(hashes, by_row.get(i)) for i, hashes in enumerate(hashed)]

    def _match(
        self, hashed: Sequence[ImageHashes], options: Sequence[MatchOptions | None]
    ) -> list[MatchResult]:
        chosen = [each for each in options if each is not None]
        return match_items(self._holder.current, hashed, chosen) if chosen else []


def _who() -> str:
    """Who is held back for what it sends: the client, or the place of one whom nobody knows."""
    caller = current_caller()
    return f"client:{caller.name}" if caller.is_client else current_place()


@dataclass(frozen=True, slots=True)
class _Stay:
    """What an upload holds until it is answered, and nobody works on it any more."""

    turn: Turn
    place: Place

    def end(self, *, fatal: bool = False) -> None:
        self.turn.end(fatal=fatal)
        self.place.release()


def _end_after(decoding: Future[Decoded] | None, stay: _Stay) -> None:
    """Ends the stay once the decoder has ended, also where the caller has given up."""
    if decoding is None or decoding.cancel():
        stay.end()
        return
    if decoding.done():
        stay.end(fatal=_is_fatal(decoding))
        return
    loop = asyncio.get_running_loop()

    def ended(decoded: Future[Decoded]) -> None:
        if not loop.is_closed():
            loop.call_soon_threadsafe(partial(stay.end, fatal=_is_fatal(decoded)))

    decoding.add_done_callback(ended)


def _is_fatal(decoded: Future[Decoded]) -> bool:
    result = None if decoded.exception() else decoded.result()
    return isinstance(result, Undecodable) and result.fatal
