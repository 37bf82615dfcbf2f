"""Between records of matches and their messages. Nothing is judged here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher import wire
from matcher._proto.hashwarden.match.v1 import match_pb2
from matcher._proto.hashwarden.match.v1 import match_records_pb2 as pb
from matcher.records.model import moment_of
from matcher.service.convert import match_to_proto, time_to_proto

if TYPE_CHECKING:
    from google.protobuf import timestamp_pb2

    from matcher.records import Reported, StoredRecord
    from matcher.records.standing import Replay, Replayed, Undone


def record_to_proto(stored: StoredRecord, *, expires: int, exact_distances: bool) -> pb.MatchRecord:
    """A record as its reader may see it.

    Args:
        stored: the record.
        expires: when it is gone, in microseconds since 1970 UTC.
        exact_distances: whether the reader may see distances.
    """
    record = stored.record
    message = pb.MatchRecord(
        match_id=record.match_id,
        create_time=time_to_proto(record.moment),
        expire_time=_time(expires),
        client=record.client,
        reference=record.reference,
        sha256=bytes.fromhex(record.sha256),
        decision=wire.DECISIONS[record.decision],
        provenance=match_pb2.Provenance(
            revision=record.revision,
            policy=record.policy,
            policy_version=record.policy_version,
            hasher_version=record.hasher_version,
            decoder_version=record.decoder_version,
        ),
        matches=[
            match_to_proto(each.match(), exact_distances=exact_distances) for each in record.matches
        ],
        total_matches=record.total_matches,
        flagged=record.flagged,
    )
    if stored.reported is not None:
        message.outcome.CopyFrom(reported_to_proto(stored.reported))
    return message


def reported_to_proto(reported: Reported) -> pb.ReportedOutcome:
    """What was reported of a match."""
    return pb.ReportedOutcome(
        outcome=wire.OUTCOMES[reported.outcome],
        reason=reported.reason,
        report_time=time_to_proto(reported.moment),
        reporter=reported.reporter,
    )


def replayed_to_proto(replayed: Replayed, record: pb.MatchRecord) -> pb.ReplayMatchResponse:
    """A match judged anew."""
    message = pb.ReplayMatchResponse(
        record=record,
        standings=[wire.STANDINGS[each] for each in replayed.standings],
        differences=replayed.differences,
        revision=replayed.revision,
    )
    if replayed.then is not None:
        message.by_policy_then.CopyFrom(_replay(replayed.then))
    if replayed.now is not None:
        message.by_policy_now.CopyFrom(_replay(replayed.now))
    return message


def undone_to_proto(undone: Undone, record: pb.MatchRecord) -> pb.UndoneMatch:
    """A match that rests on what is no longer what it was."""
    return pb.UndoneMatch(
        record=record,
        standings=[wire.STANDINGS[each] for each in undone.standings],
        nothing_left=undone.nothing_left,
    )


def _replay(replay: Replay) -> pb.Replay:
    return pb.Replay(
        decision=wire.DECISIONS[replay.decision],
        policy_version=replay.policy_version,
        explanation=replay.explanation,
    )


def _time(micros: int) -> timestamp_pb2.Timestamp:
    return time_to_proto(moment_of(micros))
