"""Between the types of the core and those of the wire, as a client needs them.

Invariant: what a later server says in words that this build does not know is passed on as such (see
`wire.known_or_later`), and takes nothing else of its answer along.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import UTC, date
from typing import TYPE_CHECKING, BinaryIO, TypeAlias, TypeVar

from hashlists.model import (
    ChangeKind,
    Classification,
    Coverage,
    EntryActReport,
    Handling,
    Harm,
    HashKind,
    HashList,
    ListState,
    MatchDay,
    PurgeReport,
    Revision,
    RollbackReport,
)
from matcher import wire
from matcher._proto.hashwarden.lists.v1 import lists_pb2
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher.client.channels import server_error
from matcher.client.types import (
    HashAnswer,
    HashQuery,
    ImageInfo,
    ImportProgress,
    ImportResult,
    MatchAnswer,
    RejectedRecord,
    RemoteList,
    StreamAnswer,
    WholeList,
)
from matcher.model import (
    Basis,
    Closeness,
    Decision,
    ImageHashes,
    Match,
    MatchResult,
    NotHashableReason,
    Outcome,
    Undecodable,
    ViewHashes,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
    from pathlib import Path

    from hashlists.model import EntrySelection, SaidHandling
    from matcher.errors import ServerError

_EntriesRequest = TypeVar(
    "_EntriesRequest",
    lists_pb2.RetractEntriesRequest,
    lists_pb2.RestoreEntriesRequest,
    lists_pb2.PurgeEntriesRequest,
)

#: `(request_id, image)`, or `(request_id, image, reference)`.
StreamItem: TypeAlias = tuple[str, bytes] | tuple[str, bytes, str]

CHUNK_BYTES = 1 << 20
#: Stands for all lists where one may be named (AIP-159).
EVERY_LIST = "-"


def options(
    policy: str, views: Sequence[str], max_matches: int, *, seal_token: bool = False
) -> match_pb2.MatchOptions:
    """What the caller chose."""
    return match_pb2.MatchOptions(
        policy=policy, views=views, max_matches=max_matches, seal_token=seal_token
    )


def drawn(
    images: Iterable[StreamItem], options: match_pb2.MatchOptions, failed: list[Exception]
) -> Iterator[match_pb2.MatchImagesRequest]:
    """The requests of a stream. gRPC hides what goes wrong in here, so `failed` takes it."""
    try:
        for item in images:
            yield stream_request(item, options)
    except Exception as error:
        failed.append(error)
        raise


def stream_request(
    item: StreamItem, options: match_pb2.MatchOptions
) -> match_pb2.MatchImagesRequest:
    """One item of a stream.

    Raises:
        TypeError: it is no `(request_id, bytes)`, nor that with a reference behind.
    """
    match item:
        case (str(request_id), bytes(image)):
            reference = ""
        case (str(request_id), bytes(image), str(reference)):
            pass
        case _:
            raise TypeError(
                "images: each is (request_id, image), a str and the bytes of the file, "
                f"not {type(item).__name__}"
            )
    return match_pb2.MatchImagesRequest(
        request_id=request_id, image=image, options=options, reference=reference
    )


def hash_request(
    image: bytes, views: Sequence[str], kinds: Sequence[HashKind]
) -> match_pb2.HashImageRequest:
    """An image to hash."""
    return match_pb2.HashImageRequest(
        image=image, views=views, kinds=[wire.KINDS[kind] for kind in kinds]
    )


def lookup_request(
    queries: Sequence[HashQuery], options: match_pb2.MatchOptions
) -> match_pb2.LookupHashesRequest:
    """Hashes to look up; ids are their places."""
    return match_pb2.LookupHashesRequest(
        queries=[
            match_pb2.HashQuery(
                request_id=str(row),
                hashes=[
                    match_pb2.Hash(kind=wire.KINDS[kind], value=value)
                    for kind, value in query.hashes.items()
                ],
                size_bytes=query.size,
                quality=query.quality,
                reference=query.reference,
            )
            for row, query in enumerate(queries)
        ],
        options=options,
    )


def handling_request(
    name: str, said: SaidHandling, *, endless: bool, reason: str, author: str
) -> lists_pb2.ChangeHandlingRequest:
    """What a list is to say of handling."""
    message = lists_pb2.ChangeHandlingRequest(
        name=wire.LIST_COLLECTION + name, reason=reason, author=author
    )
    named = message.update_mask.paths
    if said.originator is not None:
        message.handling.originator = said.originator
        named.append("originator")
    if said.releasable_to is not None:
        message.handling.releasable_to.extend(said.releasable_to)
        named.append("releasable_to")
    if said.expires_at is not None:
        message.handling.expire_time.FromDatetime(said.expires_at.astimezone(UTC))
    if endless or said.expires_at is not None:
        named.append("expire_time")
    return message


def create_request(hash_list: HashList, *, author: str) -> lists_pb2.CreateHashListRequest:
    """A list to make."""
    message = lists_pb2.HashList(
        harm=wire.HARMS[hash_list.harm],
        source=hash_list.source,
        title=hash_list.title,
        legal_basis=hash_list.legal_basis,
        state=wire.STATES[hash_list.state],
    )
    handling = hash_list.handling
    message.handling.originator = handling.originator
    message.handling.releasable_to.extend(handling.releasable_to)
    if handling.expires_at is not None:
        message.handling.expire_time.FromDatetime(handling.expires_at.astimezone(UTC))
    return lists_pb2.CreateHashListRequest(
        hash_list_id=hash_list.name, hash_list=message, author=author
    )


def import_start(
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
) -> lists_pb2.ImportHashListRequest:
    """The first message of an import.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, "sha256").digest()
        length = file.tell()
    start = lists_pb2.ImportStart(
        hash_list=wire.LIST_COLLECTION + list_name,
        format=list_format,
        sha256=digest,
        length=length,
        idempotency_key=idempotency_key or str(uuid.uuid4()),
        format_options=options or {},
        max_rejected_share=max_rejected_share,
        reason=reason,
        author=author,
        validate_only=dry_run,
        whole_list=None if whole_list is None else _whole_list(whole_list),
        force=force,
    )
    return lists_pb2.ImportHashListRequest(start=start)


def _whole_list(order: WholeList) -> lists_pb2.WholeList:
    return lists_pb2.WholeList(force=order.force, max_absent_entries=order.max_absent_entries)


def import_chunks(
    file: BinaryIO, sent: Callable[[int], None]
) -> Iterator[lists_pb2.ImportHashListRequest]:
    """The further messages of an import; tells how many bytes were drawn until now."""
    while chunk := file.read(CHUNK_BYTES):
        sent(file.tell())
        yield lists_pb2.ImportHashListRequest(chunk=chunk)


def import_answer(
    start: lists_pb2.ImportHashListRequest, message: lists_pb2.ImportHashListResponse
) -> ImportProgress | ImportResult:
    """Progress, or the report that ends the import which `start` began."""
    if message.WhichOneof("payload") == "progress":
        return ImportProgress(message.progress.bytes_read, message.progress.records_read)
    report = message.report
    return ImportResult(
        list_name=start.start.hash_list.removeprefix(wire.LIST_COLLECTION),
        format=start.start.format,
        revision=report.revision,
        read=report.read,
        added=report.added,
        updated=report.updated,
        retracted=report.retracted,
        unchanged=report.unchanged,
        rejected=report.rejected,
        kept_retracted=report.kept_retracted,
        seconds=report.seconds,
        coverage=_coverage(report.coverage),
        rejections=tuple(
            RejectedRecord(each.place, each.field, each.reason) for each in report.rejections
        ),
        sha256=start.start.sha256.hex(),
        notes=dict(report.notes),
        absent=report.absent,
        repeated=report.repeated_import,
    )


def list_answer(message: lists_pb2.HashList) -> RemoteList:
    """A list as the server holds it."""
    return RemoteList(
        hash_list=HashList(
            name=message.name.removeprefix(wire.LIST_COLLECTION),
            harm=wire.number_or_later(wire.HARM_OF, Harm, message.harm),
            source=message.source,
            title=message.title,
            legal_basis=message.legal_basis,
            state=wire.number_or_later(wire.STATE_OF, ListState, message.state),
            handling=_handling(message.handling),
        ),
        coverage=_coverage(message.coverage),
        revision=message.revision,
        created_at=message.create_time.ToDatetime(UTC),
    )


def _handling(message: lists_pb2.Handling) -> Handling:
    end = message.expire_time.ToDatetime(UTC) if message.HasField("expire_time") else None
    return Handling(message.originator, tuple(message.releasable_to), end)


def promote_request(
    name: str, *, reason: str, author: str, if_revision: int | None
) -> lists_pb2.PromoteHashListRequest:
    """A list to make live."""
    return lists_pb2.PromoteHashListRequest(
        name=wire.LIST_COLLECTION + name,
        reason=reason,
        author=author,
        if_revision=if_revision or 0,
    )


def demote_request(name: str, *, reason: str, author: str) -> lists_pb2.DemoteHashListRequest:
    """A list to put in shadow."""
    return lists_pb2.DemoteHashListRequest(
        name=wire.LIST_COLLECTION + name, reason=reason, author=author
    )


def revision_answer(message: lists_pb2.Revision) -> Revision:
    """One committed change."""
    return Revision(
        number=message.number,
        kind=wire.known_or_later(ChangeKind, message.kind),
        list_name=message.hash_list.removeprefix(wire.LIST_COLLECTION) or None,
        author=message.author,
        reason=message.reason,
        committed_at=message.commit_time.ToDatetime(UTC),
        added=message.added,
        updated=message.updated,
        retracted=message.retracted,
        restored=message.restored,
        handling=_handling(message.handling) if message.HasField("handling") else None,
    )


def stats_request(name: str, days: int) -> lists_pb2.ListStatsRequest:
    """What a list did in the last days."""
    return lists_pb2.ListStatsRequest(parent=wire.LIST_COLLECTION + name, days=days)


def outcomes_answer(message: lists_pb2.ListStatsResponse) -> Mapping[Outcome, int] | None:
    """How many of a list's matches were found right, and wrong; None where it is not told."""
    if not message.HasField("match_outcomes"):
        return None
    told = message.match_outcomes
    return {Outcome.CONFIRMED: told.confirmed_matches, Outcome.WRONG: told.wrong_matches}


def stats_answer(list_name: str, message: lists_pb2.MatchDay) -> MatchDay:
    """What a list did on one day."""
    return MatchDay(
        list_name,
        date.fromisoformat(message.date),
        message.policy,
        message.uploads,
        message.exact_matches,
        message.near_matches,
    )


def entries_request(
    make: type[_EntriesRequest],
    list_name: str,
    chosen: EntrySelection,
    *,
    reason: str,
    author: str,
    dry_run: bool,
) -> _EntriesRequest:
    """An act on chosen entries of a list; `make` says which act."""
    return make(
        parent=wire.LIST_COLLECTION + list_name,
        selection=lists_pb2.EntrySelection(
            entries=map(str, chosen.entry_ids),
            source_ids=chosen.source_ids,
            digests=chosen.digests,
        ),
        reason=reason,
        author=author,
        validate_only=dry_run,
    )


def rollback_request(
    list_name: str, to_revision: int, *, reason: str, author: str, dry_run: bool
) -> lists_pb2.RollBackHashListRequest:
    """A list and the revision to bring back."""
    return lists_pb2.RollBackHashListRequest(
        name=wire.LIST_COLLECTION + list_name,
        to_revision=to_revision,
        reason=reason,
        author=author,
        validate_only=dry_run,
    )


def entry_act_answer(
    message: lists_pb2.RetractEntriesResponse | lists_pb2.RestoreEntriesResponse,
) -> EntryActReport:
    """What a retraction or restoration did."""
    return EntryActReport(_made(message), message.selected_entries, message.changed_entries)


def rollback_answer(
    message: lists_pb2.RollBackHashListResponse, to_revision: int
) -> RollbackReport:
    """What a rollback did."""
    return RollbackReport(
        revision=_made(message),
        to_revision=to_revision,
        withdrawn=message.withdrawn_entries,
        reverted=message.reverted_entries,
        retracted=message.retracted_entries,
        restored=message.restored_entries,
        purged=message.purged_entries,
        exchange=message.exchange or None,
    )


def purge_answer(message: lists_pb2.PurgeEntriesResponse) -> PurgeReport:
    """What a purge did."""
    return PurgeReport(
        revision=_made(message),
        entries=message.entries,
        versions=message.versions,
        values=message.values,
        tombstones=message.tombstones,
        traces_wiped=message.traces_wiped,
        in_force=message.entries_in_force,
    )


def _made(
    message: lists_pb2.RetractEntriesResponse
    | lists_pb2.RestoreEntriesResponse
    | lists_pb2.RollBackHashListResponse
    | lists_pb2.PurgeEntriesResponse,
) -> Revision | None:
    return revision_answer(message.revision) if message.HasField("revision") else None


def _coverage(message: lists_pb2.Coverage) -> Coverage:
    kinds = {
        wire.known_or_later(HashKind, kind): count
        for kind, count in message.entries_by_kind.items()
        if count
    }
    return Coverage(message.entries, kinds, message.near_matchable_entries)


def stream_answer(
    response: match_pb2.MatchImagesResponse | match_pb2.LookupResult,
) -> StreamAnswer:
    """One item's answer, or its error."""
    if response.status.code:
        return StreamAnswer(response.request_id, None, server_error(response.status))
    return StreamAnswer(response.request_id, match_answer(response.result), None)


def lookup_answer(response: match_pb2.LookupResult) -> MatchAnswer | ServerError:
    """One query's answer, or its error."""
    if response.status.code:
        return server_error(response.status)
    return match_answer(response.result)


def match_answer(message: match_pb2.MatchResult) -> MatchAnswer:
    """The answer for one image or lookup."""
    provenance = message.provenance
    return MatchAnswer(
        result=_match_result(message),
        image=_image_info(message.image) if message.HasField("image") else None,
        stale=provenance.stale,
        hasher_version=provenance.hasher_version,
        decoder_version=provenance.decoder_version,
        token=message.token,
    )


def _match_result(message: match_pb2.MatchResult) -> MatchResult:
    refused = message.HasField("not_hashable")
    return MatchResult(
        decision=wire.DECISION_OF.get(message.decision, Decision.REVIEW),
        reason=_reason(message.not_hashable) if refused else None,
        detail=message.explanation,
        match_id=message.match_id,
        matches=tuple(match_of(each) for each in message.matches),
        total_matches=message.total_matches,
        shadow_matches=0,
        kinds_tried=tuple(wire.KIND_OF[k] for k in message.kinds_tried if k in wire.KIND_OF),
        views_tried=tuple(message.views_tried),
        views_left_out=tuple(message.views_left_out),
        revision=message.provenance.revision,
        policy=message.provenance.policy,
        policy_version=message.provenance.policy_version,
        ignored=tuple(match_of(each) for each in message.ignored_matches),
    )


def _reason(message: match_pb2.NotHashable) -> NotHashableReason:
    return wire.number_or_later(wire.REASON_OF, NotHashableReason, message.reason)


def match_of(message: match_pb2.Match) -> Match:
    """One match as the server tells it."""
    issued = message.classification
    return Match(
        list_name=message.hash_list.removeprefix(wire.LIST_COLLECTION),
        harm=message.harm,
        entry_id=int(message.entry),
        kind=wire.number_or_later(wire.KIND_OF, HashKind, message.kind),
        basis=wire.number_or_later(wire.BASIS_OF, Basis, message.basis),
        view=message.view,
        distance=message.distance if message.HasField("distance") else None,
        closeness=wire.number_or_later(wire.CLOSENESS_OF, Closeness, message.closeness),
        classification=Classification(issued.scheme, issued.profile, issued.code)
        if message.HasField("classification")
        else None,
        severity=message.severity,
        derivation=message.derivation if message.HasField("derivation") else None,
    )


def _image_info(message: match_pb2.ImageInfo) -> ImageInfo:
    return ImageInfo(
        message.width, message.height, message.format, message.frames, message.truncated
    )


def hash_answer(message: match_pb2.HashImageResponse) -> HashAnswer:
    """The hashes of one image."""
    refused = message.HasField("not_hashable")
    undecodable = (
        Undecodable(_reason(message.not_hashable), message.not_hashable.detail) if refused else None
    )
    return HashAnswer(
        hashes=ImageHashes(
            digests=_hashes(message.digests),
            size=None,
            views=tuple(
                ViewHashes(view.view, view.quality, _hashes(view.hashes)) for view in message.views
            ),
            undecodable=undecodable,
            views_left_out=tuple(message.views_left_out),
        ),
        image=_image_info(message.image) if message.HasField("image") else None,
    )


def _hashes(messages: Iterable[match_pb2.Hash]) -> dict[HashKind, bytes]:
    return {
        wire.number_or_later(wire.KIND_OF, HashKind, each.kind): each.value for each in messages
    }
