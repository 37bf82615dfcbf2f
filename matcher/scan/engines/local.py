"""Scans in this process: fetching, digesting, decoding, hashing and looking up overlap.

The objects of several batches are under way at a time. They share the pace of their source, the
room for what is held in memory, what is known of repeats, and the judge. What goes wrong with an
object is its record's to tell; what ends the scan is an `EngineError` of the judge.
"""

from __future__ import annotations

import asyncio
import logging
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

import msgspec

from hashlists.model import HashKind
from matcher.hashing.digests import digest_bytes
from matcher.model import ImageHashes, NotHashableReason, Undecodable
from matcher.scan.errors import ScanError, first_of
from matcher.scan.events import Event, unheard
from matcher.scan.fetching import Fetcher, NotFetched, Patience
from matcher.scan.model import Answer, BatchResult, FailureReason, KeptHashes, Record, Way
from matcher.scan.pace import FIRST, MOST, Gate, Pace, Room
from matcher.scan.records import failed_record, kept_hashes, record_of
from matcher.scan.repeats import MOST_BYTES, Repeats

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matcher.model import Digests
    from matcher.scan.fetching import Fetched
    from matcher.scan.judging.base import Judge
    from matcher.scan.model import Batch, Content, Listed
    from matcher.scan.sources.base import Source

_log = logging.getLogger(__name__)
#: Digesting fewer bytes takes less than waking a thread for it.
_FEW_BYTES: Final = 64 * 1024
#: What an object takes of which the listing tells no size, and of a large one the piece at hand.
_UNKNOWN_BYTES: Final = 1024 * 1024
_PIECE_BYTES: Final = 8 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class LocalOptions:
    """How a process scans.

    Attributes:
        batches: that are worked on at a time.
        first_fetches, most_fetches: objects of a source that are fetched at a time: at first, and
            at most.
        most_bytes: of objects in memory at a time.
        repeat_bytes: of memory for what is known of repeats.
        keep_hashes: results carry hashes.
        patience: with each object.
    """

    batches: int = 4
    first_fetches: int = FIRST
    most_fetches: int = MOST
    most_bytes: int = 256 * 1024 * 1024
    repeat_bytes: int = MOST_BYTES
    keep_hashes: bool = False
    patience: Patience = field(default_factory=Patience)


@dataclass(slots=True)
class _Done:
    """What became of an object."""

    records: list[Record] = field(default_factory=list)
    kept: list[KeptHashes] = field(default_factory=list)
    fetched_bytes: int = 0

    def take(self, record: Record, kept: KeptHashes | None) -> None:
        self.records.append(record)
        if kept is not None:
            self.kept.append(kept)


class LocalEngine:
    """An `Engine` in this process.

    Args:
        sources: in the order of the scan's places; they stay the caller's to close.
        judge: decides; it stays the caller's to close.
        options: how.
        events: told of tries in vain, and when a store asks for less.
        clock: seconds since 1970, UTC, for kept hashes.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        judge: Judge,
        options: LocalOptions | None = None,
        *,
        events: Callable[[Event], None] = unheard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        own = options or LocalOptions()
        self._options = own
        self._judge = judge
        self._clock = clock
        self._fetchers = [
            Fetcher(
                source,
                Gate(Pace(first=own.first_fetches, most=own.most_fetches)),
                own.patience,
                number=number,
                events=events,
            )
            for number, source in enumerate(sources)
        ]
        self._room = Room(own.most_bytes)
        self._repeats = Repeats(own.repeat_bytes)
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="digest")

    @property
    def capacity(self) -> int:
        """As `Engine.capacity`."""
        return self._options.batches

    async def scan(self, batch: Batch) -> BatchResult:
        """As `Engine.scan`."""
        begun = time.monotonic()
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._object(batch, row)) for row in range(len(batch.objects))
                ]
        except BaseExceptionGroup as errors:
            raise first_of(errors) from None
        done = [task.result() for task in tasks]
        return BatchResult(
            batch.number,
            records=tuple(record for each in done for record in each.records),
            kept=tuple(kept for each in done for kept in each.kept),
            fetched_bytes=sum(each.fetched_bytes for each in done),
            seconds=time.monotonic() - begun,
        )

    async def close(self) -> None:
        """As `Engine.close`."""
        self._threads.shutdown()

    # One object

    async def _object(self, batch: Batch, row: int) -> _Done:
        try:
            return await self._scanned(batch, row)
        except ScanError:
            raise
        except Exception as error:  # noqa: BLE001 - one object never fails its neighbours
            _log.error("scanning an object failed: this is a bug (%s)", type(error).__name__)
            detail = f"scanning it failed: this is a bug ({type(error).__name__}); please report it"
            record = failed_record(batch, row, FailureReason.STORE_ERROR, detail, attempts=1)
            return _Done([record])

    async def _scanned(self, batch: Batch, row: int) -> _Done:
        listed = batch.objects[row]
        nbytes = self._room_for(listed)
        await self._room.take(nbytes)
        try:
            fetched = await self._fetchers[batch.source].fetch(
                listed, max_bytes=self._judge.max_bytes
            )
            if isinstance(fetched, NotFetched):
                record = failed_record(
                    batch, row, fetched.reason, fetched.detail, attempts=fetched.attempts
                )
                return _Done([record])
            return await self._fetched(batch, row, fetched)
        finally:
            self._room.give(nbytes)

    async def _fetched(self, batch: Batch, row: int, fetched: Fetched) -> _Done:
        content = fetched.content
        digests = await self._digests(content)
        answer, way = await self._answer(content.data, digests)
        read = content.listed
        if read.size is None:
            read = msgspec.structs.replace(read, size=digests.size)
        done = _Done(fetched_bytes=digests.size)
        done.take(
            record_of(batch, row, answer, attempts=fetched.attempts, way=way, listed=read),
            kept_hashes(batch, row, answer, now=self._clock(), listed=read)
            if self._options.keep_hashes
            else None,
        )
        return done

    async def _answer(self, data: bytes | None, digests: Digests) -> tuple[Answer, Way]:
        """What is known of bytes, and how that came to be known."""
        if not self._judge.tells_hashes:
            return await self._judged(data, digests), Way.FETCHED
        known = await self._repeats.claim(digests.sha256)
        if known is not None:
            again = await self._judge.look_up(
                known.hashes, image_format=known.image_format, gaps=known.gaps
            )
            return again, Way.REPEAT
        answer = None
        try:
            answer = await self._judged(data, digests)
        finally:
            self._repeats.settle(digests.sha256, answer)
        return answer, Way.FETCHED

    async def _judged(self, data: bytes | None, digests: Digests) -> Answer:
        if data is not None:
            return await self._judge.judge(data, digests)
        return await self._judge.look_up(_by_digests(digests, self._judge.max_bytes))

    async def _digests(self, content: Content) -> Digests:
        if content.digests is not None:
            return content.digests
        assert content.data is not None
        if len(content.data) <= _FEW_BYTES:
            return digest_bytes(content.data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, digest_bytes, content.data)

    def _room_for(self, listed: Listed) -> int:
        """Bytes that an object takes in memory, as far as the listing tells."""
        if listed.size is None:
            return _UNKNOWN_BYTES
        return listed.size if listed.size <= self._judge.max_bytes else _PIECE_BYTES


def _by_digests(digests: Digests, max_bytes: int) -> ImageHashes:
    """What is looked up of a file that is too large to be decoded."""
    detail = f"{digests.size} bytes; the limit is {max_bytes}"
    return ImageHashes(
        digests={
            HashKind.MD5: digests.md5,
            HashKind.SHA1: digests.sha1,
            HashKind.SHA256: digests.sha256,
        },
        size=digests.size,
        undecodable=Undecodable(NotHashableReason.OVER_LIMIT, detail),
    )


__all__ = ["LocalEngine", "LocalOptions"]
