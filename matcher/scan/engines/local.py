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
from typing import TYPE_CHECKING, Any, Final

import msgspec

from hashlists.model import HashKind
from matcher.hashing.digests import digest_bytes
from matcher.model import Decision, ImageHashes, NotHashableReason, Undecodable
from matcher.scan.engines.archived import Opener
from matcher.scan.engines.done import Done
from matcher.scan.errors import ScanError, first_of
from matcher.scan.events import Event, unheard
from matcher.scan.fetching import Fetcher, NotFetched, Patience
from matcher.scan.model import Answer, BatchResult, FailureReason, KeptHashes, Way
from matcher.scan.pace import FIRST, MOST, Gate, Pace, Room
from matcher.scan.records import (
    failed_record,
    kept_again,
    kept_hashes,
    opened_hashes,
    record_of,
    record_of_kept,
)
from matcher.scan.repeats import MOST_BYTES, Repeats
from matcher.scan.sources.archives import is_archive, is_packed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from matcher.model import Digests
    from matcher.scan.engines.archived import Place
    from matcher.scan.fetching import Fetched
    from matcher.scan.judging.base import Judge
    from matcher.scan.model import Batch, KeptHashes, Listed
    from matcher.scan.sources.archives import ArchiveLimits, Member
    from matcher.scan.sources.base import Source
    from matcher.scan.unchanged import Earlier

_log = logging.getLogger(__name__)
#: Digesting fewer bytes takes less than waking a thread for it.
_FEW_BYTES: Final = 64 * 1024
#: What an object takes of which the listing tells no size, and of a large one the piece at hand.
_UNKNOWN_BYTES: Final = 4 * 1024 * 1024
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


class LocalEngine:
    """An `Engine` in this process.

    Args:
        sources: in the order of the scan's places; they stay the caller's to close.
        judge: decides; it stays the caller's to close.
        options: how.
        archives: members of archives are scanned, within these limits; None: they are not.
        earlier: of an earlier scan, whose hashes stand for unchanged objects.
        events: told of tries in vain, and when a store asks for less.
        clock: seconds since 1970, UTC, for kept hashes.

    Raises:
        ValueError: hashes of an earlier scan cannot be looked up by this judge.
    """

    def __init__(
        self,
        sources: Sequence[Source],
        judge: Judge,
        options: LocalOptions | None = None,
        *,
        archives: ArchiveLimits | None = None,
        earlier: Earlier | None = None,
        events: Callable[[Event], None] = unheard,
        clock: Callable[[], float] = time.time,
    ) -> None:
        own = options or LocalOptions()
        if earlier is not None and not judge.tells_hashes:
            raise ValueError("this judge does not look hashes up that were kept")
        self._earlier = earlier
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
        self._threads = ThreadPoolExecutor(2, thread_name_prefix="scan")
        self._opener = Opener(archives, self._threads, self._member) if archives else None

    @property
    def capacity(self) -> int:
        """As `Engine.capacity`."""
        return self._options.batches

    async def scan(self, batch: Batch) -> BatchResult:
        """As `Engine.scan`."""
        begun = time.monotonic()
        stands = self._unchanged(batch)
        try:
            async with asyncio.TaskGroup() as group:
                tasks = [
                    group.create_task(self._object(batch, row, stands[row]))
                    for row in range(len(batch.objects))
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

    def _unchanged(self, batch: Batch) -> list[tuple[KeptHashes, ...]]:
        """What stands of an earlier scan; looked for in the order of the listing."""
        if self._earlier is None:
            return [()] * len(batch.objects)
        return [self._earlier.find(batch.source, each) for each in batch.objects]

    async def _object(self, batch: Batch, row: int, stands: tuple[KeptHashes, ...]) -> Done:
        try:
            if stands:
                return await self._again(batch, row, stands)
            return await self._scanned(batch, row)
        except Exception as error:  # noqa: BLE001 - one object never fails its neighbours
            first = first_of(error)
            if isinstance(first, ScanError):
                raise first from None
            name = type(first).__name__
            _log.error("scanning an object failed: this is a bug (%s)", name)
            detail = f"scanning it failed: this is a bug ({name}); please report it"
            record = failed_record(batch, row, FailureReason.STORE_ERROR, detail, attempts=1)
            return Done([record])

    async def _scanned(self, batch: Batch, row: int) -> Done:
        """Fetches and judges an object; twice where it is larger than the listing tells."""
        listed = batch.objects[row]
        done = await self._within(batch, row, self._room_for(listed))
        if done is None:
            done = await self._within(batch, row, self._max_bytes(listed), again=True)
            assert done is not None  # there is room for all that is held
        return done

    async def _within(
        self, batch: Batch, row: int, nbytes: int, *, again: bool = False
    ) -> Done | None:
        """What becomes of an object that takes so much memory; None where it takes more."""
        listed = batch.objects[row]
        most = self._max_bytes(listed)
        await self._room.take(nbytes)
        try:
            fetched = await self._fetchers[batch.source].fetch(listed, max_bytes=min(nbytes, most))
            if isinstance(fetched, NotFetched):
                record = failed_record(
                    batch, row, fetched.reason, fetched.detail, attempts=fetched.attempts
                )
                return Done([record])
            digests = fetched.content.digests
            if not again and digests is not None and digests.size <= most:
                return None
            return await self._fetched(batch, row, fetched)
        finally:
            self._room.give(nbytes)

    async def _again(self, batch: Batch, row: int, stands: tuple[KeptHashes, ...]) -> Done:
        """Looks an unchanged object up, and its members, by the hashes that were kept of it."""
        done = Done()
        for each in stands:
            kept = kept_again(each, batch, row)
            _, hashes = opened_hashes(kept)
            answer = await self._judge.look_up(hashes, image_format=kept.format, gaps=kept.gaps)
            assert answer.result is not None  # by a judge that tells hashes
            record = record_of_kept(kept, hashes, answer.result)
            done.take(record, kept if self._options.keep_hashes else None)
        return done

    async def _fetched(self, batch: Batch, row: int, fetched: Fetched) -> Done:
        content, read = fetched.content, fetched.content.listed
        data = content.data
        digests = content.digests or await self._digests(data or b"")
        if read.size is None:
            read = msgspec.structs.replace(read, size=digests.size)
        named = self._opener is not None and is_archive(read.key)
        opened = named and is_packed(data)
        if opened:
            answer, way = await self._judge.look_up(_by_digests(digests)), Way.FETCHED
        else:  # a picture is one by its bytes, whatever it is called
            answer, way = await self._answer(data, digests)
            opened = named and _is_not_hashable(answer)
        done = self._done(batch, row, answer, way, attempts=fetched.attempts, listed=read)
        done.fetched_bytes = digests.size
        if self._opener is not None and opened:
            await self._opener.open(batch, row, content, done)
        return done

    async def _member(self, member: Member, place: Place) -> Done:
        """What becomes of a member of an archive."""
        digests = member.digests or await self._digests(member.data or b"")
        answer, way = await self._answer(member.data, digests)
        return self._done(
            *(place.batch, place.row, answer, way),
            attempts=1,
            member=place.path,
            member_number=place.number,
        )

    def _done(self, batch: Batch, row: int, answer: Answer, way: Way, **its: Any) -> Done:
        """What was judged, with its hashes where they are kept; `its` as of `record_of`."""
        done = Done([record_of(batch, row, answer, way=way, **its)])
        if self._options.keep_hashes:
            del its["attempts"]
            kept = kept_hashes(batch, row, answer, now=self._clock(), **its)
            done.kept += [] if kept is None else [kept]
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
        most = self._judge.max_bytes
        if data is not None and len(data) <= most:
            return await self._judge.judge(data, digests)
        detail = f"{digests.size} bytes; the limit is {most}"
        over = Undecodable(NotHashableReason.OVER_LIMIT, detail)
        return await self._judge.look_up(_by_digests(digests, over))

    async def _digests(self, data: bytes) -> Digests:
        if len(data) <= _FEW_BYTES:
            return digest_bytes(data)
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._threads, digest_bytes, data)

    def _max_bytes(self, listed: Listed) -> int:
        """Of an object that is held in memory."""
        if self._opener is not None and is_archive(listed.key):
            return max(self._opener.limits.archive_bytes, self._judge.max_bytes)
        return self._judge.max_bytes

    def _room_for(self, listed: Listed) -> int:
        """Bytes that an object takes in memory, as far as the listing tells."""
        if listed.size is None:
            return _UNKNOWN_BYTES
        return listed.size if listed.size <= self._max_bytes(listed) else _PIECE_BYTES


def _is_not_hashable(answer: Answer) -> bool:
    return answer.result is not None and answer.result.decision is Decision.NOT_HASHABLE


def _by_digests(digests: Digests, missing: Undecodable | None = None) -> ImageHashes:
    """What is looked up of a file that is not decoded."""
    known = {
        HashKind.MD5: digests.md5,
        HashKind.SHA1: digests.sha1,
        HashKind.SHA256: digests.sha256,
    }
    return ImageHashes(known, digests.size, undecodable=missing)


__all__ = ["LocalEngine", "LocalOptions"]
