"""The sync client."""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
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
from matcher.errors import ServerError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
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


class Client:
    """Talks to one server over one channel; threads may share it.

    Args:
        target: `host:port`.
        credentials: of TLS, see `tls_credentials`; None for a server on this machine without it.
        token: of a client; sent with every call.
        timeout: seconds for one call; streams, imports, exports and acts on entries have none.

    Raises:
        CredentialsError: the token would go to another machine in the clear, or is none.
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
            grpc.insecure_channel(target, options=OPTIONS)
            if credentials is None
            else grpc.secure_channel(target, credentials, options=OPTIONS)
        )
        stubs = bearing(self._channel, token, target=target, credentials=credentials)
        self._timeout = timeout
        self._own_errors = OwnErrors(target)
        self._match = match_pb2_grpc.MatchServiceStub(stubs)
        self._lists = lists_pb2_grpc.HashListServiceStub(stubs)
        self.records = records.RecordCalls(
            match_records_pb2_grpc.MatchRecordServiceStub(stubs), self._own_errors, timeout
        )
        self._health: Any = health_pb2_grpc.HealthStub(stubs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Closes the channel."""
        self._channel.close()

    def match_image(
        self,
        image: bytes,
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
        reference: str = "",
        seal_token: bool = False,
    ) -> MatchAnswer:
        """Matches one image.

        Args:
            image: the file's bytes.
            policy: empty for the server's default.
            views: empty for the policy's own.
            max_matches: 0 for the server's default.
            reference: the caller's own name for the upload, kept with the record of a match.
            seal_token: have the answer carry a token, by which `lookup_tokens` checks again.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = match_pb2.MatchImageRequest(
            image=image,
            options=messages.options(policy, views, max_matches, seal_token=seal_token),
            reference=reference,
        )
        with self._own_errors:
            response = self._match.MatchImage(request, timeout=self._timeout)
        return messages.match_answer(response.result)

    def match_images(
        self,
        images: Iterable[messages.StreamItem],
        *,
        policy: str = "",
        views: Sequence[str] = (),
        max_matches: int = 0,
        seal_token: bool = False,
    ) -> Iterator[StreamAnswer]:
        """Matches many images over one stream.

        Args:
            images: `(request_id, bytes)`, or that with the caller's own name for the image
                behind; ids are unique. Drawn only as fast as the server reads.
            policy: for every image; empty for the server's default.
            views: for every image; empty for the policy's own.
            max_matches: for every image; 0 for the server's default.
            seal_token: have answers carry tokens.

        Yields:
            One answer for each image, in the order in which they are ready.

        Raises:
            ServerError: the stream as a whole ended early; answers given until then hold.
            TypeError: an item is no `(request_id, bytes)`.
            Exception: whatever drawing from `images` raised.
        """
        options = messages.options(policy, views, max_matches, seal_token=seal_token)
        failed: list[Exception] = []
        try:
            with self._own_errors:
                for response in self._match.MatchImages(messages.drawn(images, options, failed)):
                    yield messages.stream_answer(response)
        except ServerError as problem:
            if failed:
                raise failed[0] from problem
            raise

    def lookup_hashes(
        self,
        queries: Sequence[HashQuery],
        *,
        policy: str = "",
        max_matches: int = 0,
        seal_token: bool = False,
    ) -> list[MatchAnswer | ServerError]:
        """Matches hashes that the caller computed; gives one answer for each, in their order.

        Raises:
            ServerError: the call as a whole failed.
        """
        options = messages.options(policy, (), max_matches, seal_token=seal_token)
        request = messages.lookup_request(queries, options)
        with self._own_errors:
            response = self._match.LookupHashes(request, timeout=self._timeout)
        return [messages.lookup_answer(each) for each in response.results]

    def lookup_tokens(
        self,
        queries: Iterable[TokenQuery],
        *,
        since_revision: int,
        policy: str = "",
        max_matches: int = 0,
    ) -> Iterator[TokenAnswers]:
        """Checks uploads of the past again, against what is new.

        Args:
            queries: drawn only as fast as the server reads.
            since_revision: up to which they were checked: `MatchAnswer.result.revision` or
                `TokenAnswers.revision`; 0 checks them against everything.
            policy: empty for the server's default.
            max_matches: 0 for the server's default.

        Yields:
            What came of the next so many of them.

        Raises:
            ServerError: the stream as a whole ended early; answers given until then hold.
            Exception: whatever drawing from `queries` raised.
        """
        options = messages.options(policy, (), max_matches)
        failed: list[Exception] = []
        requests = records.token_requests(queries, since_revision, options, failed)
        try:
            with self._own_errors:
                for response in self._match.LookupTokens(requests):
                    yield records.token_answers(response)
        except ServerError as problem:
            if failed:
                raise failed[0] from problem
            raise

    def hash_image(
        self, image: bytes, *, views: Sequence[str] = (), kinds: Sequence[HashKind] = ()
    ) -> HashAnswer:
        """Hashes one image and matches nothing.

        Raises:
            ServerError: the server refuses, fails or cannot be reached.
        """
        request = messages.hash_request(image, views, kinds)
        with self._own_errors:
            response = self._match.HashImage(request, timeout=self._timeout)
        return messages.hash_answer(response)

    def create_list(self, hash_list: HashList, *, author: str = "") -> RemoteList:
        """Makes an empty list.

        Args:
            hash_list: what it is.
            author: who asks; the server keeps it with the revision, as unverified.

        Raises:
            ServerError: `LIST_ALREADY_EXISTS`, or the server refuses or cannot be reached.
        """
        request = messages.create_request(hash_list, author=author)
        with self._own_errors:
            response = self._lists.CreateHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    def get_list(self, name: str) -> RemoteList:
        """One list with what it covers.

        Raises:
            ServerError: `LIST_NOT_FOUND`, or the server fails or cannot be reached.
        """
        request = lists_pb2.GetHashListRequest(name=wire.LIST_COLLECTION + name)
        with self._own_errors:
            response = self._lists.GetHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    def promote_list(
        self, name: str, *, reason: str, author: str = "", if_revision: int | None = None
    ) -> RemoteList:
        """Makes a list live, so that what it holds decides from then on. It may be repeated.

        Args:
            name: the list.
            reason: why, kept with the revision; required.
            author: who asks; kept beside it, as unverified.
            if_revision: the newest revision of the list that was looked at; None for any.

        Raises:
            ServerError: `LIST_CHANGED` where there is a newer one, `IMPORT_IN_PROGRESS`,
                `LIST_NOT_FOUND`, or the server refuses or cannot be reached.
        """
        request = messages.promote_request(
            name, reason=reason, author=author, if_revision=if_revision
        )
        with self._own_errors:
            response = self._lists.PromoteHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    def demote_list(self, name: str, *, reason: str, author: str = "") -> RemoteList:
        """Puts a list in shadow: matched and counted, it decides nothing. It may be repeated.

        Raises:
            ServerError: `LIST_NOT_FOUND`, or the server refuses or cannot be reached.
        """
        request = messages.demote_request(name, reason=reason, author=author)
        with self._own_errors:
            response = self._lists.DemoteHashList(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    def change_handling(
        self,
        name: str,
        said: SaidHandling,
        *,
        reason: str,
        endless: bool = False,
        author: str = "",
    ) -> RemoteList:
        """Changes what a list says of handling, of what `said` names. It may be repeated.

        Args:
            name: the list.
            said: what it says from now on; what is None stays as it is.
            reason: why, kept with the revision.
            endless: its entries may be used without an end, unless `said` names one.
            author: who asks; nothing checks it.

        Raises:
            ServerError: `LIST_NOT_FOUND`; `HANDLING_WIDENED`, as that is for who has the catalog;
                or the server refuses or cannot be reached.
        """
        request = messages.handling_request(
            name, said, endless=endless, reason=reason, author=author
        )
        with self._own_errors:
            response = self._lists.ChangeHandling(request, timeout=self._timeout)
        return messages.list_answer(response.hash_list)

    def list_lists(self) -> Iterator[RemoteList]:
        """All lists, by name.

        Raises:
            ServerError: the server fails or cannot be reached.
        """
        request = lists_pb2.ListHashListsRequest()
        while True:
            with self._own_errors:
                page = self._lists.ListHashLists(request, timeout=self._timeout)
            yield from map(messages.list_answer, page.hash_lists)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def list_revisions(self, name: str = messages.EVERY_LIST) -> Iterator[Revision]:
        """All revisions of a list, or of all lists, newest first.

        Raises:
            ServerError: the server fails or cannot be reached.
        """
        request = lists_pb2.ListRevisionsRequest(parent=wire.LIST_COLLECTION + name)
        while True:
            with self._own_errors:
                page = self._lists.ListRevisions(request, timeout=self._timeout)
            yield from map(messages.revision_answer, page.revisions)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def import_list(
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
    ) -> Iterator[ImportProgress | ImportResult]:
        """Imports a file as one revision; gives progress, and the result last.

        Args:
            path: the list file.
            list_name: the list; it must exist.
            list_format: e.g. `vics`.
            options: options of the format, e.g. a CSV's columns.
            reason: kept with the revision.
            idempotency_key: the same key, file and options again give the first result again.
            max_rejected_share: 0..1; None for the server's own.
            author: who asks; the server keeps it with the revision, as unverified.
            dry_run: change nothing; the result tells what would change.
            whole_list: the file is the whole list; None where it only adds and changes.
            force: withdraw what the file lists by nothing that can be matched, however much it is.
            sent: called, by some other thread, with how many bytes of the file were sent.

        Raises:
            ServerError: nothing was imported, and why.
            OSError: the file cannot be read.
        """
        start = messages.import_start(
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
        with path.open("rb") as file, self._own_errors:
            requests = chain([start], messages.import_chunks(file, sent))
            for response in self._lists.ImportHashList(requests):
                yield messages.import_answer(start, response)

    def export_list(
        self,
        path: Path,
        request: ExportRequest,
        *,
        force: bool = False,
        author: str = "",
        timeout: float | None = None,
    ) -> ExportReport:
        """Has lists exported to a file, which is there, and whole, or is not.

        Args:
            path: the file, readable by its owner alone; its folder must be there. A name that ends
                with `.gz` or `.zst` says how it is packed, `.age` behind it that it is encrypted.
            request: what goes out and to whom; recipients are required.
            force: a file that is there is replaced, once the new one is whole.
            author: who asks; the server keeps it in its log, as unverified.
            timeout: seconds for all of it; None for as long as it takes.

        Raises:
            ServerError: the server refuses, fails, cannot be reached or broke off.
            DigestMismatchError: other bytes came than the server sent.
            OptionsError: the file's name says another thing than the request.
            ExportTargetError: the file must not, or cannot, be written.
            After any of them there is no such file, or the one that was there before.
        """
        packed = replace(request, compression=compression_for(path.name, request))
        with whole_file(path, force=force) as stream:
            return self.export_to_stream(stream, packed, author=author, timeout=timeout)

    def export_to_stream(
        self,
        stream: BinaryIO,
        request: ExportRequest,
        *,
        author: str = "",
        timeout: float | None = None,
    ) -> ExportReport:
        """As `export_list`, to a stream that stays open; what came before an error is of no use.

        Raises:
            OSError: the stream takes no more.
            ServerError, DigestMismatchError: as for `export_list`.
        """
        file = exports.ReceivedFile(stream, request)
        message = exports.export_request(request, author=author)
        with self._own_errors:
            call = self._lists.ExportHashList(message, timeout=timeout)
            try:
                for response in call:
                    file.take(response)
            finally:
                call.cancel()  # changes nothing once it has ended
        return file.finish()

    def list_stats(self, name: str, *, days: int = DEFAULT_STATS_DAYS) -> Iterator[MatchDay]:
        """What a list did to uploads by day and policy, oldest day first.

        Args:
            name: the list.
            days: how many back, today included; days are those of UTC.

        Raises:
            ServerError: `LIST_NOT_FOUND`, or the server refuses or cannot be reached.
        """
        request = messages.stats_request(name, days)
        while True:
            with self._own_errors:
                page = self._lists.ListStats(request, timeout=self._timeout)
            for each in page.match_days:
                yield messages.stats_answer(name, each)
            if not page.next_page_token:
                return
            request.page_token = page.next_page_token

    def match_outcomes(self, name: str) -> Mapping[Outcome, int] | None:
        """What was reported of a list's matches, of all time; None where the server cannot tell.

        Raises:
            ServerError: `LIST_NOT_FOUND`, or the server refuses or cannot be reached.
        """
        request = messages.stats_request(name, 1)
        with self._own_errors:
            page = self._lists.ListStats(request, timeout=self._timeout)
        return messages.outcomes_answer(page)

    def retract_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> EntryActReport:
        """Takes entries of a list out of force, as one revision or not at all.

        Like the three acts below it has no deadline, since a deadline that passes would leave open
        what was done. It may be repeated: what was retracted before is counted as unchanged.

        Args:
            list_name: the list.
            selection: at most 200,000 names.
            reason: why, kept with the revision; required.
            author: who asks; kept beside it, as unverified.
            dry_run: change nothing, and tell what would change.

        Raises:
            ServerError: `ENTRY_NOT_FOUND` where any name is unknown, `LIST_NOT_FOUND`, or the
                server refuses or cannot be reached.
        """
        request = messages.entries_request(
            lists_pb2.RetractEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = self._lists.RetractEntries(request)
        return messages.entry_act_answer(response)

    def restore_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> EntryActReport:
        """Puts entries back in force, whoever had retracted them; arguments as for retracting.

        Raises:
            ServerError: as for `retract_entries`.
        """
        request = messages.entries_request(
            lists_pb2.RestoreEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = self._lists.RestoreEntries(request)
        return messages.entry_act_answer(response)

    def roll_back_list(
        self,
        list_name: str,
        to_revision: int,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> RollbackReport:
        """Makes a list's entries those of an earlier revision, as a revision of its own.

        Raises:
            ServerError: `REVISION_NOT_FOUND`, `IMPORT_IN_PROGRESS`, or as for `retract_entries`.
        """
        request = messages.rollback_request(
            list_name, to_revision, reason=reason, author=author, dry_run=dry_run
        )
        with self._own_errors:
            response = self._lists.RollBackHashList(request)
        return messages.rollback_answer(response, to_revision)

    def purge_entries(
        self,
        list_name: str,
        selection: EntrySelection,
        *,
        reason: str,
        author: str = "",
        dry_run: bool = False,
    ) -> PurgeReport:
        """Erases entries for good; arguments as for retracting. May take minutes.

        Backups and exported files are not reached.

        Raises:
            ServerError: `IMPORT_IN_PROGRESS`, or as for `retract_entries`. Repeated, it says
                `ENTRY_NOT_FOUND` where the first call went through.
        """
        request = messages.entries_request(
            lists_pb2.PurgeEntriesRequest,
            list_name,
            selection,
            reason=reason,
            author=author,
            dry_run=dry_run,
        )
        with self._own_errors:
            response = self._lists.PurgeEntries(request)
        return messages.purge_answer(response)

    def health(self, service: str = "") -> str:
        """What the standard health service says, e.g. `SERVING`.

        Raises:
            ServerError: the server cannot be reached.
        """
        request = health_pb2.HealthCheckRequest(service=service)
        with self._own_errors:
            response = self._health.Check(request, timeout=self._timeout)
        return str(health_pb2.HealthCheckResponse.ServingStatus.Name(response.status))
