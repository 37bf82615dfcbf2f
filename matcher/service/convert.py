"""Between the types of the core and those of the wire. Nothing is judged here."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import TYPE_CHECKING

from google.protobuf import timestamp_pb2

from matcher import wire
from matcher._proto.hashwarden.lists.v1 import lists_pb2 as lists_pb
from matcher._proto.hashwarden.match.v1 import match_pb2 as pb
from matcher.errors import InvalidRequestError
from matcher.model import (
    DecodedImage,
    ImageHashes,
    Match,
    MatchResult,
    Outcome,
    Undecodable,
    ViewHashes,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.catalog import ListRecord
    from hashlists.model import (
        Coverage,
        EntryActReport,
        Handling,
        HashKind,
        MatchDay,
        PurgeReport,
        Revision,
        RollbackReport,
    )


def kind_from_proto(number: pb.HashKind.ValueType) -> HashKind | None:
    """The kind, or None for the unspecified and for those of a later version."""
    return wire.KIND_OF.get(number)


def hash_to_proto(kind: HashKind, value: bytes) -> pb.Hash:
    """One hash of the caller's own file; never one of a list."""
    return pb.Hash(kind=wire.KINDS[kind], value=value)


def view_to_proto(view: ViewHashes) -> pb.ViewHashes:
    """The codes of one view of the caller's own file."""
    hashes = [hash_to_proto(kind, value) for kind, value in view.codes.items()]
    return pb.ViewHashes(view=view.view, quality=view.quality, hashes=hashes)


def image_to_proto(decoded: DecodedImage) -> pb.ImageInfo:
    """What the decoder saw."""
    return pb.ImageInfo(
        width=decoded.width,
        height=decoded.height,
        format=decoded.format,
        frames=decoded.frames,
        truncated=decoded.truncated,
    )


def hashes_to_proto(
    hashes: ImageHashes, decoded: DecodedImage | Undecodable
) -> pb.HashImageResponse:
    """The answer of `HashImage`."""
    response = pb.HashImageResponse(
        views=[view_to_proto(view) for view in hashes.views],
        digests=[hash_to_proto(kind, value) for kind, value in hashes.digests.items()],
        views_left_out=hashes.views_left_out,
    )
    if isinstance(decoded, Undecodable):
        response.not_hashable.reason = wire.REASONS[decoded.reason]
        response.not_hashable.detail = decoded.detail
    else:
        response.image.CopyFrom(image_to_proto(decoded))
    return response


def match_to_proto(match: Match, *, exact_distances: bool) -> pb.Match:
    """One match, with its exact distance only where the caller may see it."""
    message = pb.Match(
        hash_list=list_resource(match.list_name),
        harm=match.harm,
        entry=str(match.entry_id),
        kind=wire.KINDS[match.kind],
        basis=wire.BASES[match.basis],
        view=match.view,
        closeness=wire.CLOSENESS[match.closeness],
        severity=match.severity,
    )
    if exact_distances and match.distance is not None:
        message.distance = match.distance
    if match.derivation is not None:
        message.derivation = match.derivation
    if match.classification is not None:
        message.classification.scheme = match.classification.scheme
        message.classification.profile = match.classification.profile
        message.classification.code = match.classification.code
    return message


def result_to_proto(
    result: MatchResult,
    *,
    provenance: pb.Provenance,
    decoded: DecodedImage | Undecodable | None = None,
    exact_distances: bool = False,
) -> pb.MatchResult:
    """The answer for one item; `provenance` brings what the server adds to the result's own."""
    message = pb.MatchResult(
        decision=wire.DECISIONS[result.decision],
        match_id=result.match_id,
        matches=[match_to_proto(each, exact_distances=exact_distances) for each in result.matches],
        total_matches=result.total_matches,
        truncated=result.truncated,
        kinds_tried=[wire.KINDS[kind] for kind in result.kinds_tried],
        views_tried=result.views_tried,
        views_left_out=result.views_left_out,
        provenance=provenance,
        explanation=result.detail,
        ignored_matches=[
            match_to_proto(each, exact_distances=exact_distances) for each in result.ignored
        ],
    )
    message.provenance.revision = result.revision
    message.provenance.policy = result.policy
    message.provenance.policy_version = result.policy_version
    if result.reason is not None:
        message.not_hashable.reason = wire.REASONS[result.reason]
        message.not_hashable.detail = result.detail
    if isinstance(decoded, DecodedImage):
        message.image.CopyFrom(image_to_proto(decoded))
    return message


def list_resource(list_name: str) -> str:
    """`hashLists/{hash_list}` (AIP-122)."""
    return wire.LIST_COLLECTION + list_name


def list_name(resource: str, *, field: str) -> str:
    """The list's name out of `hashLists/{hash_list}`.

    Raises:
        InvalidRequestError: the resource name is of another form.
    """
    name = resource.removeprefix(wire.LIST_COLLECTION)
    if not resource.startswith(wire.LIST_COLLECTION) or not name or "/" in name:
        raise InvalidRequestError('is of the form "hashLists/NAME"', field=field)
    return name


def record_to_proto(record: ListRecord) -> lists_pb.HashList:
    """A list as the catalog holds it."""
    hash_list = record.hash_list
    return lists_pb.HashList(
        name=list_resource(hash_list.name),
        title=hash_list.title,
        harm=wire.HARMS[hash_list.harm],
        source=hash_list.source,
        legal_basis=hash_list.legal_basis,
        state=wire.STATES[hash_list.state],
        handling=_handling_to_proto(hash_list.handling),
        coverage=coverage_to_proto(record.coverage),
        revision=record.revision,
        create_time=time_to_proto(record.created_at),
    )


def _handling_to_proto(handling: Handling) -> lists_pb.Handling:
    end = handling.expires_at
    return lists_pb.Handling(
        originator=handling.originator,
        releasable_to=handling.releasable_to,
        expire_time=None if end is None else time_to_proto(end),
    )


def coverage_to_proto(coverage: Coverage) -> lists_pb.Coverage:
    """What share of a list can match what."""
    return lists_pb.Coverage(
        entries=coverage.entries,
        entries_by_kind={kind.value: count for kind, count in coverage.by_kind.items()},
        near_matchable_entries=coverage.near_matchable,
    )


def revision_to_proto(revision: Revision) -> lists_pb.Revision:
    """One committed change."""
    return lists_pb.Revision(
        number=revision.number,
        kind=revision.kind.value,
        hash_list="" if revision.list_name is None else list_resource(revision.list_name),
        author=revision.author,
        reason=revision.reason,
        commit_time=time_to_proto(revision.committed_at),
        added=revision.added,
        updated=revision.updated,
        retracted=revision.retracted,
        restored=revision.restored,
        handling=None if revision.handling is None else _handling_to_proto(revision.handling),
    )


def match_day_to_proto(day: MatchDay) -> lists_pb.MatchDay:
    """What a list did on one day."""
    return lists_pb.MatchDay(
        date=day.day.isoformat(),
        policy=day.policy,
        uploads=day.uploads,
        exact_matches=day.exact,
        near_matches=day.near,
    )


def outcomes_to_proto(counts: Mapping[Outcome, int]) -> lists_pb.MatchOutcomes:
    """How many of a list's matches were found right, and wrong."""
    return lists_pb.MatchOutcomes(
        confirmed_matches=counts.get(Outcome.CONFIRMED, 0),
        wrong_matches=counts.get(Outcome.WRONG, 0),
    )


def match_day_token(day: MatchDay) -> str:
    """What asks for the page after this day and policy."""
    return f"{day.day.isoformat()}/{day.policy}"


def match_day_after(token: str) -> tuple[date, str]:
    """The day and policy after which a page begins; before all of them where there is no token.

    Raises:
        InvalidRequestError: it is none that this service gave.
    """
    if not token:
        return date.min, ""
    day, _, policy = token.partition("/")
    try:
        return date.fromisoformat(day), policy
    except ValueError:
        raise InvalidRequestError("is not one that this service gave", field="page_token") from None


def retracted_to_proto(report: EntryActReport) -> lists_pb.RetractEntriesResponse:
    """What a retraction did."""
    return lists_pb.RetractEntriesResponse(
        revision=_made(report.revision),
        selected_entries=report.entries,
        changed_entries=report.changed,
    )


def restored_to_proto(report: EntryActReport) -> lists_pb.RestoreEntriesResponse:
    """What a restoration did."""
    return lists_pb.RestoreEntriesResponse(
        revision=_made(report.revision),
        selected_entries=report.entries,
        changed_entries=report.changed,
    )


def rollback_to_proto(report: RollbackReport) -> lists_pb.RollBackHashListResponse:
    """What a rollback did."""
    return lists_pb.RollBackHashListResponse(
        revision=_made(report.revision),
        withdrawn_entries=report.withdrawn,
        reverted_entries=report.reverted,
        retracted_entries=report.retracted,
        restored_entries=report.restored,
        purged_entries=report.purged,
        exchange=report.exchange or "",
    )


def purge_to_proto(report: PurgeReport) -> lists_pb.PurgeEntriesResponse:
    """What a purge did."""
    return lists_pb.PurgeEntriesResponse(
        revision=_made(report.revision),
        entries=report.entries,
        entries_in_force=report.in_force,
        versions=report.versions,
        values=report.values,
        tombstones=report.tombstones,
        traces_wiped=report.traces_wiped,
    )


def _made(revision: Revision | None) -> lists_pb.Revision | None:
    return None if revision is None else revision_to_proto(revision)


def time_to_proto(moment: datetime) -> timestamp_pb2.Timestamp:
    """A moment in UTC."""
    message = timestamp_pb2.Timestamp()
    message.FromDatetime(moment.astimezone(UTC))
    return message
