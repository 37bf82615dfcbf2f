"""What a client asks about past matches, and what comes back; sync and async.

for each in client.records.undone():
    if each.nothing_left: reinstate(each.record.reference)
"""

from __future__ import annotations

from datetime import UTC
from typing import TYPE_CHECKING, Any

from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2, match_records_pb2
from matcher.client.messages import match_of, stream_answer
from matcher.client.streams import responses
from matcher.client.types import (
    RecordAnswer,
    ReplayAnswer,
    ReplayedMatch,
    ReportedOutcome,
    TokenAnswers,
    UndoneMatch,
)
from matcher.model import Decision, EntryStanding, Outcome

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Iterable, Iterator, Sequence
    from datetime import datetime

    from matcher.client.channels import OwnErrors
    from matcher.client.types import TokenQuery

#: Tokens of one message.
MOST_TOKENS = 1_000


class RecordCalls:
    """The calls of `MatchRecordService`; a `Client` has one.

    Args:
        stub: of the service.
        own_errors: makes gRPC's errors ours.
        timeout: seconds for one call; streams have none.
    """

    def __init__(self, stub: Any, own_errors: OwnErrors, timeout: float) -> None:
        self._stub = stub
        self._own_errors = own_errors
        self._timeout = timeout

    def get(self, match_id: str) -> RecordAnswer:
        """One record.

        Raises:
            ServerError: `MATCH_NOT_FOUND`, or the server refuses or cannot be reached.
        """
        request = match_records_pb2.GetMatchRecordRequest(match_id=match_id)
        with self._own_errors:
            response = self._stub.GetMatchRecord(request, timeout=self._timeout)
        return record_answer(response.record)

    def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        entries: Sequence[int] = (),
        client: str = "",
        reference: str = "",
    ) -> Iterator[RecordAnswer]:
        """Records, the newest first.

        Args:
            since: those of matches of then and later; None for all.
            until: those of matches before then; None for all.
            entries: only those that rest on one of these; empty for all.
            client: only those of this client, where the caller sees all.
            reference: only those of uploads of this name, as their caller gave it; empty for all.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = list_request(since, until, entries, client, reference)
        with self._own_errors:
            for page in self._stub.ListMatchRecords(request):
                yield from map(record_answer, page.records)

    def replay(self, match_id: str) -> ReplayedMatch:
        """Judges a recorded match anew.

        Raises:
            ServerError: as `get`.
        """
        request = match_records_pb2.ReplayMatchRequest(match_id=match_id)
        with self._own_errors:
            response = self._stub.ReplayMatch(request, timeout=self._timeout)
        return replay_answer(response)

    def report(self, match_id: str, outcome: Outcome, *, reason: str = "") -> ReportedOutcome:
        """Says whether a match was right; the last word counts.

        Raises:
            ServerError: as `get`.
        """
        request = report_request(match_id, outcome, reason)
        with self._own_errors:
            response = self._stub.ReportOutcome(request, timeout=self._timeout)
        return reported_answer(response.outcome)

    def undone(self, *, since: datetime | None = None) -> Iterator[UndoneMatch]:
        """Matches that rest on entries which are no longer what they were.

        Args:
            since: those of matches of then and later; None for all.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        with self._own_errors:
            for page in self._stub.ListUndoneMatches(undone_request(since)):
                yield from map(undone_answer, page.matches)


class AsyncRecordCalls:
    """As `RecordCalls`, for asyncio; an `AsyncClient` has one."""

    def __init__(self, stub: Any, own_errors: OwnErrors, timeout: float) -> None:
        self._stub = stub
        self._own_errors = own_errors
        self._timeout = timeout

    async def get(self, match_id: str) -> RecordAnswer:
        """As `RecordCalls.get`."""
        request = match_records_pb2.GetMatchRecordRequest(match_id=match_id)
        with self._own_errors:
            response = await self._stub.GetMatchRecord(request, timeout=self._timeout)
        return record_answer(response.record)

    async def list(
        self,
        *,
        since: datetime | None = None,
        until: datetime | None = None,
        entries: Sequence[int] = (),
        client: str = "",
        reference: str = "",
    ) -> AsyncIterator[RecordAnswer]:
        """As `RecordCalls.list`."""
        request = list_request(since, until, entries, client, reference)
        with self._own_errors:
            async for page in responses(self._stub.ListMatchRecords(request)):
                for each in page.records:
                    yield record_answer(each)

    async def replay(self, match_id: str) -> ReplayedMatch:
        """As `RecordCalls.replay`."""
        request = match_records_pb2.ReplayMatchRequest(match_id=match_id)
        with self._own_errors:
            response = await self._stub.ReplayMatch(request, timeout=self._timeout)
        return replay_answer(response)

    async def report(self, match_id: str, outcome: Outcome, *, reason: str = "") -> ReportedOutcome:
        """As `RecordCalls.report`."""
        request = report_request(match_id, outcome, reason)
        with self._own_errors:
            response = await self._stub.ReportOutcome(request, timeout=self._timeout)
        return reported_answer(response.outcome)

    async def undone(self, *, since: datetime | None = None) -> AsyncIterator[UndoneMatch]:
        """As `RecordCalls.undone`."""
        with self._own_errors:
            async for page in responses(self._stub.ListUndoneMatches(undone_request(since))):
                for each in page.matches:
                    yield undone_answer(each)


class TokenBatches:
    """Gathers tokens into the messages of a lookup.

    Args:
        since_revision: up to which they were checked.
        options: for all of them.
    """

    def __init__(self, since_revision: int, options: match_pb2.MatchOptions) -> None:
        self._request = match_pb2.LookupTokensRequest(
            since_revision=since_revision, options=options
        )

    def add(self, query: TokenQuery) -> match_pb2.LookupTokensRequest | None:
        """Adds a token; gives a message once it is full."""
        self._request.queries.add(
            request_id=query.request_id, token=query.token, reference=query.reference
        )
        return self.rest() if len(self._request.queries) == MOST_TOKENS else None

    def rest(self) -> match_pb2.LookupTokensRequest | None:
        """The message that is not full; None where nothing is in it."""
        request, self._request = self._request, match_pb2.LookupTokensRequest()
        return request if request.queries else None


def token_requests(
    queries: Iterable[TokenQuery],
    since_revision: int,
    options: match_pb2.MatchOptions,
    failed: list[Exception],
) -> Iterator[match_pb2.LookupTokensRequest]:
    """The messages of a lookup of tokens. gRPC hides what goes wrong in here: `failed` takes it."""
    batches = TokenBatches(since_revision, options)
    try:
        for each in queries:
            if (full := batches.add(each)) is not None:
                yield full
    except Exception as error:
        failed.append(error)
        raise
    if (rest := batches.rest()) is not None:
        yield rest


def token_answers(message: match_pb2.LookupTokensResponse) -> TokenAnswers:
    """What came of the tokens of one message."""
    found = tuple(map(stream_answer, message.results))
    return TokenAnswers(found, message.checked_tokens, message.revision)


def list_request(
    since: datetime | None,
    until: datetime | None,
    entries: Sequence[int],
    client: str,
    reference: str,
) -> match_records_pb2.ListMatchRecordsRequest:
    """Which records are wanted."""
    request = match_records_pb2.ListMatchRecordsRequest(
        entries=[str(each) for each in entries], client=client, reference=reference
    )
    if since is not None:
        request.start_time.FromDatetime(since.astimezone(UTC))
    if until is not None:
        request.end_time.FromDatetime(until.astimezone(UTC))
    return request


def undone_request(since: datetime | None) -> match_records_pb2.ListUndoneMatchesRequest:
    """Which undone matches are wanted."""
    request = match_records_pb2.ListUndoneMatchesRequest()
    if since is not None:
        request.start_time.FromDatetime(since.astimezone(UTC))
    return request


def report_request(
    match_id: str, outcome: Outcome, reason: str
) -> match_records_pb2.ReportOutcomeRequest:
    """Whether a match was right."""
    return match_records_pb2.ReportOutcomeRequest(
        match_id=match_id, outcome=wire.OUTCOMES[outcome], reason=reason
    )


def record_answer(message: match_records_pb2.MatchRecord) -> RecordAnswer:
    """A record as the server shows it."""
    provenance = message.provenance
    return RecordAnswer(
        match_id=message.match_id,
        created_at=message.create_time.ToDatetime(UTC),
        expires_at=message.expire_time.ToDatetime(UTC),
        client=message.client,
        reference=message.reference,
        sha256=message.sha256,
        decision=wire.DECISION_OF.get(message.decision, Decision.REVIEW),
        revision=provenance.revision,
        policy=provenance.policy,
        policy_version=provenance.policy_version,
        hasher_version=provenance.hasher_version,
        decoder_version=provenance.decoder_version,
        matches=tuple(map(match_of, message.matches)),
        total_matches=message.total_matches,
        flagged=message.flagged,
        outcome=reported_answer(message.outcome) if message.HasField("outcome") else None,
    )


def replay_answer(message: match_records_pb2.ReplayMatchResponse) -> ReplayedMatch:
    """A match judged anew."""
    return ReplayedMatch(
        record=record_answer(message.record),
        then=_replay(message.by_policy_then) if message.HasField("by_policy_then") else None,
        now=_replay(message.by_policy_now) if message.HasField("by_policy_now") else None,
        standings=_standings(message.standings),
        differences=tuple(message.differences),
        revision=message.revision,
    )


def undone_answer(message: match_records_pb2.UndoneMatch) -> UndoneMatch:
    """A match that rests on what is no longer what it was."""
    record, standings = record_answer(message.record), _standings(message.standings)
    return UndoneMatch(record, standings, nothing_left=message.nothing_left)


def _replay(message: match_records_pb2.Replay) -> ReplayAnswer:
    decision = wire.DECISION_OF.get(message.decision, Decision.REVIEW)
    return ReplayAnswer(decision, message.policy_version, message.explanation)


def reported_answer(message: match_records_pb2.ReportedOutcome) -> ReportedOutcome:
    """What was reported of a match."""
    return ReportedOutcome(
        outcome=wire.number_or_later(wire.OUTCOME_OF, Outcome, message.outcome),
        reason=message.reason,
        reported_at=message.report_time.ToDatetime(UTC),
        reporter=message.reporter,
    )


def _standings(numbers: Iterable[int]) -> tuple[EntryStanding, ...]:
    return tuple(
        wire.number_or_later(wire.STANDING_OF, EntryStanding, number) for number in numbers
    )


__all__ = ["AsyncRecordCalls", "RecordCalls", "TokenBatches", "token_answers", "token_requests"]
