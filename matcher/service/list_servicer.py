"""`hashwarden.lists.v1.HashListService`: check the request, call the catalog, convert the answer.

The catalog is asked in threads, so that a slow disk never holds up matching.
"""

from __future__ import annotations

import asyncio
import logging
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from hashlists.catalog import acts
from hashlists.catalog.match_days import first_of
from hashlists.words import counted
from matcher._proto.hashwarden.lists.v1 import lists_pb2 as pb
from matcher._proto.hashwarden.lists.v1 import lists_pb2_grpc
from matcher.admission import Places
from matcher.errors import InvalidRequestError
from matcher.service import convert, list_files
from matcher.service.auditing import event_of
from matcher.service.errors import abort
from matcher.service.gate import current_caller
from matcher.service.imports import ImportOrder, Spool, run_import
from matcher.service.threads import Threads
from matcher.service.upload_pace import Pace
from matcher.service.uploads import whose_share
from matcher.service.validation import (
    check_author,
    check_days,
    check_handling_change,
    check_list,
    check_newest_revision,
    check_reason,
    check_revision_number,
    check_selection,
)

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable
    from pathlib import Path

    from hashlists.catalog import Catalog
    from hashlists.exporting.request import ExportRequest
    from matcher.service.auditing import Auditing
    from matcher.service.exports import Exports
    from matcher.service.late_catalog import LateCatalog
    from matcher.service.record_keeping import OutcomeCounts

_log = logging.getLogger(__name__)
R = TypeVar("R")
Context = Any  # grpc.aio.ServicerContext is generic over what mypy cannot see here

_DEFAULT_PAGE = 100
_MAX_PAGE = 1000
_MOST_DIGITS = 18  # of a revision's number: fits 63 bits
_THREADS = 4
_MOST_PENDING = 64
#: What the audit keeps of reports.
_TOLD = ("revision", "read", "added", "updated", "retracted", "rejected")
_TOLD_OF_EXPORTS = ("revision", "entries", "retracted", "bytes")


@dataclass(frozen=True, slots=True)
class ImportSettings:
    """How imports over gRPC run.

    Attributes:
        catalog_url: what the child process opens.
        spool_dir: where uploads lie while they are imported.
        max_file_bytes: the largest list file.
        max_rejected_share: where the caller does not say.
        parallel: imports at once; further ones wait for their turn.
        waiting: uploads of list files that are open at once, one less of one caller; further ones
            are refused.
        upload_seconds: in which an upload has to make progress before it is given up; see `Pace`.
    """

    catalog_url: str
    spool_dir: Path
    max_file_bytes: int
    max_rejected_share: float
    parallel: int = 1
    waiting: int = 4
    upload_seconds: float = 60.0


class ListServicer(lists_pb2_grpc.HashListServiceServicer):
    """Keeps the lists.

    Args:
        catalog: the lists; while they are away, all calls end with `UNAVAILABLE`.
        imports: how imports run.
        exports: runs exports.
        auditing: records who does what; what cannot be recorded is not done.
        changed: called after every change, so that the index follows at once.
        outcomes: tells by list how many matches were found right, and wrong; None where nobody
            can tell now.
    """

    def __init__(
        self,
        catalog: LateCatalog,
        imports: ImportSettings,
        exports: Exports,
        auditing: Auditing,
        changed: Callable[[], None],
        *,
        outcomes: Callable[[], Awaitable[OutcomeCounts | None]],
    ) -> None:
        self._outcomes = outcomes
        self._late_catalog = catalog
        self._imports = imports
        self._exports = exports
        self._auditing = auditing
        self._changed = changed
        self._turn = asyncio.Semaphore(imports.parallel)
        self._uploads = Places(imports.waiting)
        self._threads = Threads("catalog", workers=_THREADS, max_pending=_MOST_PENDING)
        self._spooling = Threads("spool", workers=1, max_pending=_MOST_PENDING)

    @property
    def _catalog(self) -> Catalog:
        return self._late_catalog.opened()

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()
        self._spooling.close()

    async def CreateHashList(  # noqa: N802 - named by the proto
        self, request: pb.CreateHashListRequest, context: Context
    ) -> pb.CreateHashListResponse:
        """Makes an empty list."""
        try:
            hash_list = check_list(request.hash_list_id, request.hash_list)
            author = _author(request.author, context)
            record = await self._threads.run(
                self._auditing.around,
                event_of("list.create", hash_list.name, context, author, state=hash_list.state),
                partial(self._catalog.create_list, hash_list, author=author),
            )
            self._changed()
            return pb.CreateHashListResponse(hash_list=convert.record_to_proto(record))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def GetHashList(  # noqa: N802 - named by the proto
        self, request: pb.GetHashListRequest, context: Context
    ) -> pb.GetHashListResponse:
        """One list with what it covers."""
        try:
            name = convert.list_name(request.name, field="name")
            record = await self._threads.run(self._catalog.get_list, name)
            return pb.GetHashListResponse(hash_list=convert.record_to_proto(record))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ListHashLists(  # noqa: N802 - named by the proto
        self, request: pb.ListHashListsRequest, context: Context
    ) -> pb.ListHashListsResponse:
        """A page of lists, by name."""
        try:
            size = _page_size(request.page_size)
            records = await self._threads.run(
                self._catalog.list_lists, after=request.page_token or None, limit=size + 1
            )
            page = records[:size]
            more = page[-1].hash_list.name if len(records) > size else ""
            return pb.ListHashListsResponse(
                hash_lists=[convert.record_to_proto(each) for each in page], next_page_token=more
            )
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def PromoteHashList(  # noqa: N802 - named by the proto
        self, request: pb.PromoteHashListRequest, context: Context
    ) -> pb.PromoteHashListResponse:
        """Makes a list live."""
        try:
            record = await self._change(
                "list.promote",
                partial(
                    self._catalog.promote_list,
                    if_revision=check_newest_revision(request.if_revision),
                ),
                request,
                context,
            )
            self._changed()
            return pb.PromoteHashListResponse(hash_list=convert.record_to_proto(record))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def DemoteHashList(  # noqa: N802 - named by the proto
        self, request: pb.DemoteHashListRequest, context: Context
    ) -> pb.DemoteHashListResponse:
        """Puts a list in shadow."""
        try:
            record = await self._change("list.demote", self._catalog.demote_list, request, context)
            self._changed()
            return pb.DemoteHashListResponse(hash_list=convert.record_to_proto(record))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ChangeHandling(  # noqa: N802 - named by the proto
        self, request: pb.ChangeHandlingRequest, context: Context
    ) -> pb.ChangeHandlingResponse:
        """Changes what a list says of handling."""
        try:
            said, endless = check_handling_change(request)
            record = await self._change(
                "list.handling",
                partial(
                    self._catalog.change_handling,
                    said=said,
                    endless=endless,
                    may_widen=False,  # that is for who has the catalog, since exports go by it
                ),
                request,
                context,
            )
            self._changed()
            return pb.ChangeHandlingResponse(hash_list=convert.record_to_proto(record))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ListRevisions(  # noqa: N802 - named by the proto
        self, request: pb.ListRevisionsRequest, context: Context
    ) -> pb.ListRevisionsResponse:
        """A page of revisions, newest first."""
        try:
            size = _page_size(request.page_size)
            revisions = await self._threads.run(
                self._catalog.list_revisions,
                _parent(request.parent),
                before=_revision_token(request.page_token),
                limit=size + 1,
            )
            page = revisions[:size]
            more = str(page[-1].number) if len(revisions) > size else ""
            return pb.ListRevisionsResponse(
                revisions=[convert.revision_to_proto(each) for each in page], next_page_token=more
            )
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def ListStats(  # noqa: N802 - named by the proto
        self, request: pb.ListStatsRequest, context: Context
    ) -> pb.ListStatsResponse:
        """A page of what a list did to uploads, oldest day first."""
        try:
            size = _page_size(request.page_size)
            days = await self._threads.run(
                self._catalog.match_days,
                convert.list_name(request.parent, field="parent"),
                since=first_of(check_days(request.days)),
            )
            after = convert.match_day_after(request.page_token)
            left = [each for each in days if (each.day, each.policy) > after]
            more = convert.match_day_token(left[size - 1]) if len(left) > size else ""
            response = pb.ListStatsResponse(
                match_days=map(convert.match_day_to_proto, left[:size]), next_page_token=more
            )
            if (counts := await self._outcomes()) is not None:
                name = convert.list_name(request.parent, field="parent")
                response.match_outcomes.CopyFrom(convert.outcomes_to_proto(counts.get(name, {})))
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)
        return response

    async def RetractEntries(  # noqa: N802 - named by the proto
        self, request: pb.RetractEntriesRequest, context: Context
    ) -> pb.RetractEntriesResponse:
        """Takes entries out of force."""
        try:
            report = await self._act_on_entries("list.retract", acts.retract, request, context)
            return convert.retracted_to_proto(report)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def RestoreEntries(  # noqa: N802 - named by the proto
        self, request: pb.RestoreEntriesRequest, context: Context
    ) -> pb.RestoreEntriesResponse:
        """Puts entries back in force."""
        try:
            report = await self._act_on_entries("list.restore", acts.restore, request, context)
            return convert.restored_to_proto(report)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def RollBackHashList(  # noqa: N802 - named by the proto
        self, request: pb.RollBackHashListRequest, context: Context
    ) -> pb.RollBackHashListResponse:
        """Makes a list's entries those of an earlier revision."""
        try:
            report = await self._act(
                "list.rollback",
                acts.roll_back,
                convert.list_name(request.name, field="name"),
                check_revision_number(request.to_revision),
                request=request,
                context=context,
            )
            return convert.rollback_to_proto(report)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def PurgeEntries(  # noqa: N802 - named by the proto
        self, request: pb.PurgeEntriesRequest, context: Context
    ) -> pb.PurgeEntriesResponse:
        """Erases entries for good."""
        try:
            report = await self._act_on_entries("list.purge", acts.purge, request, context)
            return convert.purge_to_proto(report)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def _change(
        self, kind: str, change: Callable[..., R], request: Any, context: Context
    ) -> R:
        """Runs a change of what is said of a list."""
        name = convert.list_name(request.name, field="name")
        author, reason = _author(request.author, context), check_reason(request.reason)
        return await self._threads.run(
            self._auditing.around,
            event_of(kind, name, context, author, reason=reason),
            partial(change, name, author=author, reason=reason),
        )

    async def _act_on_entries(
        self, kind: str, act: Callable[..., R], request: Any, context: Context
    ) -> R:
        name = convert.list_name(request.parent, field="parent")
        selection = check_selection(request.selection)
        return await self._act(kind, act, name, selection, request=request, context=context)

    async def _act(
        self,
        kind: str,
        act: Callable[..., R],
        name: str,
        what: object,
        *,
        request: Any,
        context: Context,
    ) -> R:
        """Runs one of the operator's acts, and wakes the follower."""
        author, reason = _author(request.author, context), check_reason(request.reason)
        acting = partial(act, self._catalog, name, what, author=author, reason=reason)
        if request.validate_only:
            return await self._threads.run(acting, dry_run=True)
        event = event_of(kind, name, context, author, reason=reason, **_told(what))
        report = await self._threads.run(self._auditing.around, event, acting)
        self._changed()
        return report

    async def ImportHashList(  # noqa: N802 - named by the proto
        self, requests: AsyncIterator[pb.ImportHashListRequest], context: Context
    ) -> AsyncIterator[pb.ImportHashListResponse]:
        """Imports one file as one revision."""
        try:
            with self._uploads.held(whose_share()):
                async for response in self._import(requests, context):
                    yield response
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)

    async def _import(
        self, requests: AsyncIterator[pb.ImportHashListRequest], context: Context
    ) -> AsyncIterator[pb.ImportHashListResponse]:
        spool: Spool | None = None
        try:
            pace = Pace(requests, self._imports.upload_seconds)
            order = self._order(await pace.start(), context)
            await self._threads.run(self._catalog.get_list, order.list_name)
            spool = Spool(self._imports.spool_dir, order, max_bytes=self._imports.max_file_bytes)
            while (request := await pace.next()) is not None:
                await self._spooling.run(spool.write, request.chunk)
            file = spool.finish()
            async with self._turn, self._recorded_import(order, context) as told:
                url, folder = self._imports.catalog_url, self._imports.spool_dir
                async for message in run_import(url, file, order, folder):
                    report = message.get("report", {})
                    told.update({name: report[name] for name in _TOLD if name in report})
                    yield list_files.import_response(message)
            if not order.validate_only:
                self._changed()
        finally:
            if spool is not None:
                spool.close()

    @asynccontextmanager
    async def _recorded_import(
        self, order: ImportOrder, context: Context
    ) -> AsyncIterator[dict[str, Any]]:
        if order.validate_only:
            yield {}
            return
        said = {"format": order.format, "bytes": order.length, "reason": order.reason}
        event = event_of("list.import", order.list_name, context, order.importer, **said)
        async with self._auditing.act(event) as told:
            yield told

    def _order(self, first: pb.ImportHashListRequest | None, context: Context) -> ImportOrder:
        if first is None or first.WhichOneof("payload") != "start":
            raise InvalidRequestError("is the first message of an import", field="start")
        author = _author(first.start.author, context, field="start.author")
        return list_files.import_order(
            first.start, author=author, max_rejected_share=self._imports.max_rejected_share
        )

    async def ExportHashList(  # noqa: N802 - named by the proto
        self, request: pb.ExportHashListRequest, context: Context
    ) -> AsyncIterator[pb.ExportHashListResponse]:
        """Writes lists to a file and sends it; the report comes last."""
        try:
            author = _author(request.author, context)
            order = list_files.export_request(request)
            self._late_catalog.opened()  # or it is away, which is told at once
            what = _export_in_words(order)
            _log.info("%s: asked for by %s", what, author)  # a caller that goes away had some of it
            self._exports.check_allowed()
            event = event_of("list.export", ", ".join(order.list_names), context, author)
            said = {"format": order.format, "recipients": list(order.recipients or ())}
            event = replace(event, details={**event.details, **said})
            async with (
                self._auditing.act(event) as told,
                aclosing(self._exports.run(order)) as contents,
            ):
                async for content in contents:
                    if not isinstance(content, bytes):
                        _log_export(what, content)
                        told.update({name: content[name] for name in _TOLD_OF_EXPORTS})
                    yield list_files.export_response(content)
        except Exception as error:  # noqa: BLE001 - the table says what the caller sees
            await abort(context, error)


def _told(what: object) -> dict[str, int]:
    """How much an act names: digests and ids have no place in the audit."""
    if isinstance(what, int):
        return {"to_revision": what}
    named = ("entry_ids", "source_ids", "digests")
    return {"named": sum(len(getattr(what, each)) for each in named)}


def _export_in_words(order: ExportRequest) -> str:
    names, recipients = ", ".join(order.list_names), ", ".join(order.recipients or ())
    return f"export of {names} as {order.format} to {recipients}"


def _log_export(what: str, report: Any) -> None:
    """Keeps a trace of what left."""
    _log.info(
        "%s: revision %d, %s and %s, %d held back",
        what,
        report["revision"],
        counted(report["entries"], "entry", "entries"),
        counted(report["retracted"], "withdrawal"),
        report["held_back"]["entries"],
    )


def _author(named: str, context: Context, *, field: str = "author") -> str:
    """Who calls: the client, else the peer's address without its port; and what it says.

    Raises:
        InvalidRequestError: what it says cannot be a name.
    """
    caller = current_caller()
    peer: str = context.peer()
    address = f"client:{caller.name}" if caller.is_client else "grpc:" + peer.rpartition(":")[0]
    name = check_author(named, field=field)
    return f"{name} (unverified, via {address})" if name else address


def _page_size(asked: int) -> int:
    if asked < 0:
        raise InvalidRequestError("is negative", field="page_size")
    return min(asked or _DEFAULT_PAGE, _MAX_PAGE)


def _parent(resource: str) -> str | None:
    if resource in ("", "hashLists/-"):
        return None
    return convert.list_name(resource, field="parent")


def _revision_token(token: str) -> int | None:
    if not token:
        return None
    if not (token.isascii() and token.isdecimal() and len(token) <= _MOST_DIGITS):
        raise InvalidRequestError("is not one that this service gave", field="page_token")
    return int(token)
