"""What is written down of a judged object, and that kept hashes are what was hashed."""

from __future__ import annotations

import pytest

from hashlists.model import Classification, HashKind
from matcher.errors import BrokenSealError
from matcher.model import (
    Basis,
    Closeness,
    Decision,
    Digests,
    ImageHashes,
    Match,
    MatchResult,
    NotHashableReason,
    Undecodable,
    ViewHashes,
)
from matcher.scan.model import Answer, Batch, FailureReason, Listed, MatchRecord, Outcome, Way
from matcher.scan.records import (
    digests_of,
    failed_record,
    kept_hashes,
    object_id_of,
    opened_hashes,
    outcome_of,
    record_of,
)

BATCH = Batch(7, 1, (Listed("a.jpg", 10, 5.0, "tag", "v1"), Listed("b.zip", 20, raw=b"b\xff")))
DIGESTS = Digests(b"m" * 16, b"1" * 20, b"2" * 32, 10)
HASHES = ImageHashes(
    {HashKind.MD5: DIGESTS.md5, HashKind.SHA1: DIGESTS.sha1, HashKind.SHA256: DIGESTS.sha256},
    10,
    (ViewHashes("upright", 90, {HashKind.PDQ: b"p" * 32}),),
)
NOW = 1_000.0


def match(**changes):
    known = {
        "list_name": "demo",
        "harm": "TEST",
        "entry_id": 3,
        "kind": HashKind.PDQ,
        "basis": Basis.NEAR,
        "view": "upright",
        "distance": 12,
        "closeness": Closeness.CLOSE,
        "classification": Classification("vics", "US", "1"),
        "severity": "severe",
        "derivation": "crop:0.02",
    }
    return Match(**(known | changes))


def result(decision, *matches, reason=None):
    return MatchResult(
        decision=decision,
        reason=reason,
        detail="for anybody",
        match_id="m1" if matches else "",
        matches=matches,
        total_matches=len(matches),
        shadow_matches=0,
        kinds_tried=(HashKind.PDQ,),
        views_tried=("upright",),
        views_left_out=(),
        revision=4,
        policy="default",
        policy_version="x",
        detail_for_operator="for operators",
    )


def test_every_decision_has_an_outcome():
    outcomes = [outcome_of(result(each)) for each in Decision]
    assert len(set(outcomes)) == len(outcomes)
    assert Outcome.FAILED not in outcomes


def test_of_what_was_found_all_is_written_down():
    answer = Answer(DIGESTS, result(Decision.MATCH, match()), HASHES, "jpeg", ("truncated",))
    record = record_of(BATCH, 0, answer, attempts=2, way=Way.REPEAT)
    assert (record.id, record.source, record.key) == ("7-1", 1, "a.jpg")
    assert (record.outcome, record.way, record.attempts) == (Outcome.MATCHED, Way.REPEAT, 2)
    assert (record.size, record.modified, record.etag, record.version) == (10, 5.0, "tag", "v1")
    assert record.matches == (
        MatchRecord(
            list="demo",
            harm="TEST",
            entry=3,
            kind="pdq",
            basis="near",
            view="upright",
            distance=12,
            severity="severe",
            classification=("vics", "US", "1"),
            derivation="crop:0.02",
        ),
    )
    assert (record.match_id, record.total_matches, record.revision) == ("m1", 1, 4)
    assert record.sha256 == DIGESTS.sha256.hex()
    assert (record.format, record.gaps) == ("jpeg", ("truncated",))
    assert record.detail == "for operators"


def test_of_what_was_not_found_no_digest_is_written_down():
    answer = Answer(DIGESTS, result(Decision.NO_KNOWN_MATCH), HASHES)
    record = record_of(BATCH, 0, answer, attempts=1, way=Way.FETCHED)
    assert (record.md5, record.sha1, record.sha256, record.detail) == ("", "", "", "")
    bad = result(Decision.NOT_HASHABLE, reason=NotHashableReason.MALFORMED)
    record = record_of(BATCH, 0, Answer(DIGESTS, bad), attempts=1, way=Way.FETCHED)
    assert (record.outcome, record.reason, record.sha1) == (Outcome.NOT_HASHABLE, "malformed", "")


def test_a_member_has_an_id_and_a_size_of_its_own():
    answer = Answer(DIGESTS, result(Decision.NO_KNOWN_MATCH))
    record = record_of(BATCH, 1, answer, attempts=1, member="x/y.jpg", member_number=3)
    assert (record.id, record.member, record.size) == ("7-2.3", "x/y.jpg", 10)
    assert (record.key, record.raw) == ("b.zip", b"b\xff")
    assert object_id_of(record.id) == object_id_of("7-2") == "7-2"


def test_what_has_no_answer_failed():
    gone = Answer(DIGESTS, None, failed=(FailureReason.SERVER, "away"))
    now_read = Listed("a.jpg", 11)
    record = record_of(BATCH, 0, gone, attempts=3, way=Way.FETCHED, listed=now_read)
    assert record == failed_record(
        BATCH, 0, FailureReason.SERVER, "away", attempts=3, listed=now_read
    )
    assert (record.outcome, record.reason, record.size) == (Outcome.FAILED, "server", 11)
    with pytest.raises(ValueError, match="why it has none"):
        record_of(BATCH, 0, Answer(DIGESTS, None), attempts=1)


def test_kept_hashes_are_what_was_hashed():
    answer = Answer(DIGESTS, result(Decision.NO_KNOWN_MATCH), HASHES, "png", ("frames",))
    kept = kept_hashes(BATCH, 0, answer, now=NOW)
    assert (kept.id, kept.listed, kept.format, kept.gaps) == (
        "7-1",
        BATCH.objects[0],
        "png",
        ("frames",),
    )
    assert opened_hashes(kept) == (NOW, HASHES)
    assert digests_of(HASHES) == DIGESTS


def test_why_something_had_no_views_is_kept():
    missing = Undecodable(NotHashableReason.ENCRYPTED, "a password is asked for")
    hashes = ImageHashes(HASHES.digests, 10, undecodable=missing)
    answer = Answer(DIGESTS, result(Decision.NOT_HASHABLE), hashes)
    kept = kept_hashes(BATCH, 1, answer, now=NOW, member="m", member_number=2)
    assert (kept.id, kept.member) == ("7-2.2", "m")
    assert opened_hashes(kept)[1] == hashes


def test_nothing_is_kept_where_a_server_has_hashed():
    answer = Answer(DIGESTS, result(Decision.NO_KNOWN_MATCH))
    assert kept_hashes(BATCH, 0, answer, now=NOW) is None


def test_hashes_of_a_later_version_are_refused():
    answer = Answer(DIGESTS, result(Decision.NO_KNOWN_MATCH), HASHES)
    kept = kept_hashes(BATCH, 0, answer, now=NOW)
    later = type(kept)(*(getattr(kept, each) for each in kept.__struct_fields__[:6]), ("new", ""))
    with pytest.raises(BrokenSealError, match="later version"):
        opened_hashes(later)
