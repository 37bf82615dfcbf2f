"""One upload's way through the service: admission -> digests + decoding -> batched matching."""

from __future__ import annotations

import asyncio
import threading
import time
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
from matcher.service.threads import Threads, on_loop
from matcher.stages import Spell, Stage, StageClock

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from concurrent.futures import Future

    from hashlists.model import HashKind
    from matcher.admission import Admission, Place, Throttle, Turn
    from matcher.decode.pool import DecodePool
    from matcher.index.holder import Holder

Decoded = DecodedImage | Undecodable
_THREADS = 4
_BYTES_A_QUERY = 4096
#: Lookups waiting; admission bounds them long before.
_MOST_PENDING = 100_000


@dataclass(slots=True)
class _Upload:
    """One upload under way: on the loop, then in the thread of a decoder, then in a batch."""

    image: bytes
    request: DecodeRequest
    options: MatchOptions | None
    answer: asyncio.Future[_Answer]
    asked: int
    clock: StageClock
    began: int = 0
    ended: int = 0
    digests: Digests | None = None
    decoded: Decoded | None = None

    def begin(self) -> None:
        """A decoder's turn has come."""
        self.began = _now()

    def digest(self) -> None:
        """Makes the digests, while the decoder is at work."""
        with self.clock.stage(Stage.DIGEST):
            self.digests = digest_bytes(self.image)


@dataclass(frozen=True, slots=True)
class _Answer:
    hashes: ImageHashes
    result: MatchResult | None
    began: int
    spells: Mapping[Stage, Spell]


class Uploads:
    """Matches and hashes uploads; refuses what passes the bounds on work in flight.

    Args:
        holder: what is searched.
        pool: what decodes.
        admission: the bound on work in flight.
        throttle: holds back clients whose images take decoders down.
        max_batch: most uploads that are hashed and looked up together.
        batch_seconds: how long one may wait for others, while more wait for a decoder than there
            are.
        decoders: at work at once.
        observe_batch: told how many those were; on the loop.
        observe_stages: told how long an upload, or a call with hashes, was in each stage; on the
            loop, and in the context of the call.
    """

    def __init__(
        self,
        holder: Holder[Generation],
        pool: DecodePool,
        admission: Admission,
        throttle: Throttle,
        *,
        max_batch: int = 64,
        batch_seconds: float = 0.0,
        decoders: int = 1,
        observe_batch: Callable[[int], None] | None = None,
        observe_stages: Callable[[Mapping[Stage, Spell]], None] | None = None,
    ) -> None:
        self._holder = holder
        self._pool = pool
        self._admission = admission
        self._throttle = throttle
        self._threads = Threads("hashing", workers=_THREADS, max_pending=_MOST_PENDING)
        self._batcher: Batcher[_Upload, _Answer] = Batcher(
            self._work,
            max_size=max_batch,
            max_seconds=batch_seconds,
            expects=lambda: self._undecoded > decoders,
            observe=observe_batch,
        )
        self._observe_stages = observe_stages or (lambda _: None)
        self._counting = threading.Lock()
        self._undecoded = 0

    @property
    def undecoded(self) -> int:
        """Uploads that wait for a decoder or are with one; from any thread."""
        return self._undecoded

    @property
    def unbatched(self) -> int:
        """Uploads that wait to be hashed and looked up; from any thread."""
        return self._batcher.waiting

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
        with self._admission.admit(_BYTES_A_QUERY * len(items), whose_share()):
            clock = StageClock()
            work = partial(match_items, generation, items, [options] * len(items), clock=clock)
            results = await self._threads.run(work)
        self._observe_stages(clock.spells)
        return results

    async def close(self) -> None:
        """Answers what is under way."""
        await self._batcher.close()
        self._threads.close()

    async def _run(
        self, image: bytes, request: DecodeRequest, options: MatchOptions | None
    ) -> tuple[_Answer, Decoded]:
        stay = self._enter(len(image))
        decoding: Future[Decoded] | None = None
        future: asyncio.Future[_Answer] = asyncio.get_running_loop().create_future()
        upload = _Upload(image, request, options, future, _now(), StageClock())
        try:
            decoding = self._pool.submit(
                image, request, started=upload.begin, meanwhile=upload.digest
            )
            self._count(1)
            decoding.add_done_callback(partial(self._decoded, upload))
            answer = await future
            self._observe_stages(_all_spells(upload, answer))
            assert upload.decoded is not None
            return answer, upload.decoded
        finally:
            _end_after(decoding, stay)

    def _decoded(self, upload: _Upload, decoding: Future[Decoded]) -> None:
        """Hands an upload on to its batch; in the thread of its decoder."""
        self._count(-1)
        upload.ended = _now()
        if decoding.cancelled():
            self._batcher.look_again()
            return
        error = decoding.exception()
        if error is None:
            upload.decoded = decoding.result()
            self._batcher.put(upload, upload.answer)
            return
        self._batcher.look_again()
        on_loop(upload.answer.get_loop(), partial(_fail, upload.answer, error))

    def _count(self, change: int) -> None:
        with self._counting:
            self._undecoded += change

    def _enter(self, nbytes: int) -> _Stay:
        who = whose_share()
        turn = self._throttle.take(who)
        try:
            return _Stay(turn, self._admission.take(nbytes, who))
        except OverloadedError:
            turn.end()
            raise

    def _work(self, uploads: Sequence[_Upload]) -> list[_Answer]:
        clock, began = StageClock(), _now()
        with clock.stage(Stage.HASH):
            hashed = hash_items(
                [each.digests for each in uploads if each.digests is not None],
                [each.decoded for each in uploads if each.decoded is not None],
                [each.request for each in uploads],
            )
        rows = [i for i, each in enumerate(uploads) if each.options is not None]
        results = self._match([hashed[i] for i in rows], [uploads[i].options for i in rows], clock)
        by_row = dict(zip(rows, results, strict=True))
        return [
            _Answer(hashes, by_row.get(i), began, clock.spells) for i, hashes in enumerate(hashed)
        ]

    def _match(
        self,
        hashed: Sequence[ImageHashes],
        options: Sequence[MatchOptions | None],
        clock: StageClock,
    ) -> list[MatchResult]:
        chosen = [each for each in options if each is not None]
        return match_items(self._holder.current, hashed, chosen, clock=clock) if chosen else []


def _now() -> int:
    return time.perf_counter_ns()


def _fail(answer: asyncio.Future[_Answer], error: BaseException) -> None:
    if not answer.done():
        answer.set_exception(error)


def _all_spells(upload: _Upload, answer: _Answer) -> Mapping[Stage, Spell]:
    """How long an upload was in each stage; those of its batch are as long for all of that.

    One that is only hashed has no share in what its batch had looked up.
    """
    began = upload.began or upload.asked
    shared = answer.spells
    if upload.options is None:
        shared = {Stage.HASH: answer.spells[Stage.HASH]}
    return {
        Stage.DECODE_QUEUE: Spell.between(upload.asked, began),
        Stage.DECODE: Spell.between(began, upload.ended),
        **upload.clock.spells,
        Stage.BATCH_QUEUE: Spell.between(upload.ended, answer.began),
        **shared,
    }


def whose_share() -> str:
    """Whose share an upload is of: the client's, or that of the place of one whom nobody knows."""
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
