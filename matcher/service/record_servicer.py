"""`hashwarden.match.v1.MatchRecordService`: check the request, read the store, convert the answer.

Whose records a caller sees is settled here: with the role `review` those of all, else their own.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

from hashlists.access.model import Role
from matcher._proto.hashwarden.match.v1 import match_records_pb2 as pb
from matcher._proto.hashwarden.match.v1 import match_records_pb2_grpc
from matcher.records import RecordFilter, Reported
from matcher.records.model import micros_of
from matcher.records.standing import replay, undone
from matcher.service import convert_records, validation
from matcher.service.errors import abort
from matcher.service.gate import current_caller
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator, Sequence

    from matcher.index.holder import Holder
    from matcher.pipeline import Generation
    from matcher.records import RecordStore, StoredRecord
    from matcher.service.record_keeping import RecordKeeping

Context = Any  # grpc.aio.ServicerContext is generic over what mypy cannot see here
Read = TypeVar("Read")
_MOST_PENDING = 64
#: Records that are converted between two looks at who else waits for the loop.
_SENT = 50


class RecordServicer(match_records_pb2_grpc.MatchRecordServiceServicer):
    """Answers questions about past matches.

    Args:
        keeping: gives the store, and hands over what waits.
        holder: what is served.
        exact_distances: tells whether the caller may see distances.
    """

    def __init__(
        self,
        keeping: RecordKeeping,
        holder: Holder[Generation],
        exact_distances: Callable[[], bool],
    ) -> None:
        self._keeping = keeping
        self._holder = holder
        self._exact_distances = exact_distances
        self._threads = Threads("reading of match records", workers=2, max_pending=_MOST_PENDING)

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()

    async def GetMatchRecord(  # noqa: N802 - named by the proto
        self, request: pb.GetMatchRecordRequest, context: Context
    ) -> pb.GetMatchRecordResponse:
        """One record."""
        try:
            store, stored = await self._find(request.match_id)
            return pb.GetMatchRecordResponse(record=self._shown(store, stored))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ListMatchRecords(  # noqa: N802 - named by the proto
        self, request: pb.ListMatchRecordsRequest, context: Context
    ) -> AsyncIterator[pb.ListMatchRecordsResponse]:
        """Records, the newest first."""
        try:
            wanted = _filter(request)
            named = validation.check_reference(request.reference)
            del request  # while answers are taken it would be held
            store = await self._store()
            async for page in self._drawn(store.pages(wanted)):
                # References are sealed, so that no query finds them.
                found = [each for each in page if named in {"", each.record.reference}]
                for some in _cut(found):
                    records = [self._shown(store, each) for each in some]
                    yield pb.ListMatchRecordsResponse(records=records)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ReplayMatch(  # noqa: N802 - named by the proto
        self, request: pb.ReplayMatchRequest, context: Context
    ) -> pb.ReplayMatchResponse:
        """Judges a recorded match anew."""
        try:
            store, stored = await self._find(request.match_id)
            record = stored.record
            document = await self._threads.run(store.policy, record.policy_version)
            generation, now = self._holder.current, datetime.now(UTC)
            anew = await self._threads.run(replay, record, generation, document, now=now)
            return convert_records.replayed_to_proto(anew, self._shown(store, stored))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ReportOutcome(  # noqa: N802 - named by the proto
        self, request: pb.ReportOutcomeRequest, context: Context
    ) -> pb.ReportOutcomeResponse:
        """Keeps whether a match was right."""
        try:
            match_id = validation.check_match_id(request.match_id)
            reported = Reported(
                outcome=validation.check_outcome(request.outcome),
                reason=validation.check_text(request.reason, field="reason"),
                at=micros_of(datetime.now(UTC)),
                reporter=current_caller().name,
            )
            store = await self._store()
            kept = await self._threads.run(store.report, match_id, reported, client=_whose())
            return pb.ReportOutcomeResponse(outcome=convert_records.reported_to_proto(kept))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ListUndoneMatches(  # noqa: N802 - named by the proto
        self, request: pb.ListUndoneMatchesRequest, context: Context
    ) -> AsyncIterator[pb.ListUndoneMatchesResponse]:
        """Matches that rest on entries which are no longer what they were."""
        try:
            wanted = RecordFilter(client=_whose(), since=_moment(request, "start_time"))
            del request
            store, generation = await self._store(), self._holder.current
            async for page in self._drawn(undone(store, generation.index, wanted)):
                for some in _cut(page):
                    yield pb.ListUndoneMatchesResponse(
                        matches=[
                            convert_records.undone_to_proto(each, self._shown(store, each.stored))
                            for each in some
                        ],
                        revision=generation.revision,
                    )
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def _store(self) -> RecordStore:
        """The store, with all that was matched up to now in this process."""
        store = await self._keeping.store()
        await self._keeping.flushed()
        return store

    async def _find(self, match_id: str) -> tuple[RecordStore, StoredRecord]:
        checked = validation.check_match_id(match_id)
        store = await self._store()
        return store, await self._threads.run(store.get, checked, client=_whose())

    async def _drawn(self, pages: Iterator[list[Read]]) -> AsyncIterator[list[Read]]:
        """The pages of a store, each read in a thread when it is asked for."""
        while page := await self._threads.run(_next, pages):
            yield page

    def _shown(self, store: RecordStore, stored: StoredRecord) -> pb.MatchRecord:
        return convert_records.record_to_proto(
            stored, expires=store.expires(stored), exact_distances=self._exact_distances()
        )


def _whose() -> str | None:
    """Whose records the caller may see; None for those of all."""
    caller = current_caller()
    return None if Role.REVIEW in caller.roles else caller.name


def _filter(request: pb.ListMatchRecordsRequest) -> RecordFilter:
    wanted = RecordFilter(
        client=_whose(),
        since=_moment(request, "start_time"),
        until=_moment(request, "end_time"),
        entries=validation.check_entries(request.entries),
    )
    asked = validation.check_line(request.client, field="client")
    return replace(wanted, client=asked) if asked and wanted.client is None else wanted


def _moment(request: Any, field: str) -> datetime | None:
    if not request.HasField(field):
        return None
    return validation.check_moment(getattr(request, field), field=field)


def _next(pages: Iterator[list[Read]]) -> list[Read]:
    return next(pages, [])


def _cut(page: Sequence[Read]) -> Iterator[Sequence[Read]]:
    for start in range(0, len(page), _SENT):
        yield page[start : start + _SENT]


__all__ = ["RecordServicer"]
