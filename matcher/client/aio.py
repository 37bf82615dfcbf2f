"""The client for asyncio."""

from __future__ import annotations

import asyncio
from contextlib import aclosing
from dataclasses import replace
from typing import TYPE_CHECKING, Any, BinaryIO, Self

import grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc

from hashlists.exporting.request import compression_for
from hashlists.exporting.whole_file import whole_file
from matcher import wire
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import (
    match_pb2,
    match_pb2_grpc,
    match_records_pb2_grpc,
)
from matcher.client import exports, messages, records
from matcher.client.channels import (
    DEFAULT_STATS_DAYS,
    DEFAULT_TIMEOUT_SECONDS,
    OPTIONS,
    OwnErrors,
)
from matcher.client.credentials import bearing
from matcher.client.streams import responses
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import AsyncIterable, AsyncIterator, Callable, Mapping, Sequence
    from pathlib import Path
    from types import TracebackType

    from hashlists.exporting.report import ExportReport
    from hashlists.exporting.request import ExportRequest
    from hashlists.model import (
        EntryActReport,
        EntrySelection,
        HashKind,
        HashList,
        MatchDay,
        PurgeReport,
        Revision,
        RollbackReport,
        SaidHandling,
    )
    from matcher.client.types import (
        HashAnswer,
        HashQuery,
        ImportProgress,
        ImportResult,
        MatchAnswer,
        RemoteList,
        StreamAnswer,
        TokenAnswers,
        TokenQuery,
        WholeList,
    )
    from matcher.model import Outcome


class AsyncClient:
    """As `Client`, for asyncio.

    Args:
        target, credentials, token, timeout: as for `Client`.
    """

    def __init__(
        self,
        target: str,
        *,
        credentials: grpc.ChannelCredentials | None = None,
        token: str | None = None,
        timeout: float = DEFAULT_TIMEOUT_SECONDS,
    ) -> None:
        self._channel = (
            grpc.aio.insecure_channel(target, options=OPTIONS)
            if credentials is None
            else grpc.aio.secure_channel(target, credentials, options=OPTIONS)
        )
        stubs = bearing(self._channel, token, target=target, credentials=credentials)
        self._timeout = timeout
        self._own_errors = OwnErrors(target)
        self._match: Any = match_pb2_grpc.MatchServiceStub(stubs)
        self._lists: Any = lists_pb2_grpc.HashListServiceStub(stubs)
        self.records = records.AsyncRecordCalls(
            match_records_pb2_grpc.MatchRecordServiceStub(stubs), self._own_errors, timeout
        )
        self._health: Any = health_pb2_grpc.HealthStub(stubs)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Closes the channel."""
        await self._channel.close()

    async def match_image(
        self,
        image: bytes,
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
        reference: str = "",
        seal_token: bool = False,
    ) -> MatchAnswer:
        """As `Client.match_image`."""
        request = match_pb2.MatchImageRequest(
            image=image,
            options=messages.options(policy, views, max_matches, seal_token=seal_token),
            reference=reference,
        )
        with self._own_errors:
            response = await self._match.MatchImage(request, timeout=self._timeout)
        return messages.match_answer(response.result)

    async def match_images(
        self,
        images: AsyncIterable[messages.StreamItem],
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
        seal_token: bool = False,
    ) -> AsyncIterator[StreamAnswer]:
        """As `Client.match_images`."""
        options = messages.options(policy, views, max_matches, seal_token=seal_token)

        failed: list[Exception] = []

        async def drawn() -> AsyncIterator[match_pb2.MatchImagesRequest]:
            try:
                async for item in images:
                    yield messages.stream_request(item, options)
            except Exception as error:
                failed.append(error)
                raise

        try:
            with self._own_errors:
                async with aclosing(responses(self._match.MatchImages(drawn()))) as answers:
                    async for response in answers:
                        yield messages.stream_answer(response)
        except (ServerError, asyncio.CancelledError) as problem:  # gRPC cancels where drawing fails
            if failed:
                raise failed[0] from problem
            raise

    async def lookup_hashes(
        self,
        queries: Sequence[HashQuery],
        *,
        policy: str = "",
        max_matches: int = 0,
        seal_token: bool = False,
    ) -> list[MatchAnswer | ServerError]:
        """As `Client.lookup_hashes`."""
        options = messages.options(policy, (), max_matches, seal_token=seal_token)
        request = messages.lookup_request(queries, options)
        with self._own_errors:
            response = await self._match.LookupHashes(request, timeout=self._timeout)
        return [messages.lookup_answer(each) for each in response.results]

    async def lookup_tokens(
        self,
        queries: AsyncIterable[TokenQuery],
        *,
        since_revision: int,
        policy: str = "",
        max_matches: int = 0,
    ) -> AsyncIterator[TokenAnswers]:
        """As `Client.lookup_tokens`."""
        options = messages.options(policy, (), max_matches)
        failed: list[Exception] = []

        async def drawn() -> AsyncIterator[match_pb2.LookupTokensRequest]:
            batches = records.TokenBatches(since_revision, options)
            try:
                async for each in queries:
                    if (full := batches.add(each)) is not None:
                        yield full
            except Exception as error:
                failed.append(error)
                raise
            if (rest := batches.rest()) is not None:
                yield rest

        try:
            with self._own_errors:
                async with aclosing(responses(self._match.LookupTokens(drawn()))) as answers:
                    async for response in answers:
                        yield records.token_answers(response)
        except (ServerError, asyncio.CancelledError) as problem:  # gRPC cancels where drawing fails
            if failed:
                raise failed[0] from problem
            raise

    async def hash_image(
        self, image: bytes, *, views: Sequence[str] = (), kinds: Sequence[HashKind] = ()
    ) -> HashAnswer:
        """As `Client.hash_image`."""
        with self._own_errors:
            response = await self._match.HashImage(
                messages.hash_request(image, views, kinds), timeout=self._timeout
            )
        return messages.hash_answer(response)

    async def create_list(self, hash_list: HashList, *, author: str = "") -> RemoteList:
        """As `Client.create_list`."""
        request = messages.create_request(hash_list, author=author)
        with self._own_errors:
            response = await self._lists.CreateHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    async def get_list(self, name: str) -> RemoteList:
        """As `Client.get_list`."""
        request = lists_pb2.GetHashListRequest(name=wire.LIST_COLLECTION + name)
        with self._own_errors:
            response = await self._lists.GetHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    async def promote_list(
        self, name: str, *, reason: str, author: str = "", if_revision: int | None = None
    ) -> RemoteList:
        """As `Client.promote_list`."""
        request = messages.promote_request(
            name, reason=reason, author=author, if_revision=if_revision
        )
        with self._own_errors:
            response = await self._lists.PromoteHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    async def demote_list(self, name: str, *, reason: str, author: str = "") -> RemoteList:
        """As `Client.demote_list`."""
        request = messages.demote_request(name, reason=reason, author=author)
        with self._own_errors:
            response = await self._lists.DemoteHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    async def change_handling(
        self,
        name: str,
        said: SaidHandling,
        *,
        reason: str,
        endless: bool = False,
        author: str = "",
    ) -> RemoteList:
        """As `Client.change_handling`."""
        request = messages.handling_request(
            name, said, endless=endless, reason=reason, author=author
        )
        with self._own_errors:
            response = await self._lists.ChangeHandling(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    async def list_lists(self) -> AsyncIterator[RemoteList]:
        """As `Client.list_lists`."""
        request = lists_pb2.ListHashListsRequest()
        while True:
            with self._own_errors:
                page = await self._lists.ListHashLists(request, timeout=self._timeout)
            for each in page.hash_lists:
                yield messages.list_answer(each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def list_revisions(self, name: str = messages.EVERY_LIST) -> AsyncIterator[Revision]:
        """As `Client.list_revisions`."""
        request = lists_pb2.ListRevisionsRequest(parent=wire.LIST_COLLECTION + name)
        while True:
            with self._own_errors:
                page = await self._lists.ListRevisions(request, timeout=self._timeout)
            for each in page.revisions:
                yield messages.revision_answer(each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def import_list(
        self,
        path: Path,
        *,
        list_name: str,
        list_format: str,
        options: Mapping[str, str] | None = None,
        reason: str = "",
        idempotency_key: str | None = None,
        max_rejected_share: float | None = None,
        author: str = "",
        dry_run: bool = False,
        whole_list: WholeList | None = None,
        force: bool = False,
        sent: Callable[[int], None] = lambda _: None,
    ) -> AsyncIterator[ImportProgress | ImportResult]:
        """As `Client.import_list`; the file is read in threads."""
        start = await asyncio.to_thread(
            messages.import_start,
            path,
            list_name=list_name,
            list_format=list_format,
            options=options,
            reason=reason,
            idempotency_key=idempotency_key,
            max_rejected_share=max_rejected_share,
            author=author,
            dry_run=dry_run,
            whole_list=whole_list,
            force=force,
        )

        async def requests() -> AsyncIterator[lists_pb2.ImportHashListRequest]:
            yield start
            with await asyncio.to_thread(path.open, "rb") as file:
                chunks = messages.import_chunks(file, sent)
                while (chunk := await asyncio.to_thread(next, chunks, None)) is not None:
                    yield chunk

        with self._own_errors:
            async with aclosing(responses(self._lists.ImportHashList(requests()))) as answers:
                async for response in answers:
                    yield messages.import_answer(start, response)

    async def export_list(
        self,
        path: Path,
        request: ExportRequest,
        *,
        force: bool = False,
        author: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - of the call, as gRPC takes it
    ) -> ExportReport:
        """As `Client.export_list`; the file is written in threads."""
        packed = replace(request, compression=compression_for(path.name, request))
        async with exports.in_threads(whole_file(path, force=force)) as stream:
            return await self.export_to_stream(stream, packed, author=author, timeout=timeout)

    async def export_to_stream(
        self,
        stream: BinaryIO,
        request: ExportRequest,
        *,
        author: str = "",
        timeout: float | None = None,  # noqa: ASYNC109 - of the call, as gRPC takes it
    ) -> ExportReport:
        """As `Client.export_to_stream`; the stream is written in threads."""
        file = exports.ReceivedFile(stream, request)
        call = self._lists.ExportHashList(
            exports.export_request(request, author=author), timeout=timeout
        )
        with self._own_errors:
            async with aclosing(responses(call)) as answers:
                async for response in answers:
                    await asyncio.to_thread(file.take, response)
        return await asyncio.to_thread(file.finish)

    async def list_stats(
        self, name: str, *, days: int = DEFAULT_STATS_DAYS
    ) -> AsyncIterator[MatchDay]:
        """As `Client.list_stats`."""
        request = messages.stats_request(name, days)
        while True:
            with self._own_errors:
                page = await self._lists.ListStats(request, timeout=self._timeout)
            for each in page.match_days:
                yield messages.stats_answer(name, each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    async def match_outcomes(self, name: str) -> Mapping[Outcome, int] | None:
        """As `Client.match_outcomes`."""
        request = messages.stats_request(name, 1)
        with self._own_errors:
            page = await self._lists.ListStats(request, timeout=self._timeout)
        return messages.outcomes_answer(page)

    async def retract_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> EntryActReport:
        """As `Client.retract_entries`."""
        request = messages.entries_request(
            lists_pb2.RetractEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = await self._lists.RetractEntries(request)
        return messages.entry_act_answer(response)

    async def restore_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> EntryActReport:
        """As `Client.restore_entries`."""
        request = messages.entries_request(
            lists_pb2.RestoreEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = await self._lists.RestoreEntries(request)
        return messages.entry_act_answer(response)

    async def roll_back_list(
        self,
        list_name: str,
        to_revision: int,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> RollbackReport:
        """As `Client.roll_back_list`."""
        request = messages.rollback_request(
            list_name, to_revision, reason=reason, author=author, dry_run=dry_run
        )
        with self._own_errors:
            response = await self._lists.RollBackHashList(request)
        return messages.rollback_answer(response, to_revision)

    async def purge_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> PurgeReport:
        """As `Client.purge_entries`."""
        request = messages.entries_request(
            lists_pb2.PurgeEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = await self._lists.PurgeEntries(request)
        return messages.purge_answer(response)

    async def health(self, service: str = "") -> str:
        """As `Client.health`."""
        request = health_pb2.HealthCheckRequest(service=service)
        with self._own_errors:
            response = await self._health.Check(request, timeout=self._timeout)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
