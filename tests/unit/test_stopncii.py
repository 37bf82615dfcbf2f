"""The StopNCII reader by small pages."""

from __future__ import annotations

import base64
import json
import pickle

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import stopncii
from hashlists.formats.base import PageInfo, Sample
from hashlists.formats.registry import find_format
from hashlists.model import Classification, Harm, HashKind, Retraction
from hashlists.validate import KEY_TAGS
from tests.catalog_support import untimed
from tests.export_support import value
from tests.page_support import run

PDQ = value(HashKind.PDQ, 1)
CASES = {"27664732-76e1-4a17-8099-455798e67022": "Active"}


def record(seed=1, **members):
    return {
        "lastModtimestamp": 1625167804,
        "signalType": "ImagePDQ",
        "hashValue": value(HashKind.PDQ, seed).hex(),
        "hashStatus": "Active",
        "caseNumbers": CASES,
        **members,
    }


def page(*records, **members):
    return {
        "count": len(records),
        "nextSetTimestamp": 1625175071,
        "nextPageToken": None,
        "hasMoreRecords": False,
        "hashRecords": list(records),
        **members,
    }


def test_every_field_that_is_taken_over():
    found = run(page(record()), "stopncii")
    (row,) = found.rows
    assert row.key == KEY_TAGS[HashKind.PDQ] + PDQ
    assert row.hashes == {HashKind.PDQ: PDQ}
    assert row.classification == Classification("stopncii", "", "Active")
    assert row.updated_at == "1625167804"
    assert row.source_id is None
    assert row.verified_count is None
    assert found.notes == {}
    assert "27664732" not in repr(found)


def test_a_video_is_known_by_its_md5():
    digest = value(HashKind.MD5, 1)
    found = run(page(record(signalType="VideoMD5", hashValue=digest.hex().upper())), "stopncii")
    assert found.rows[0].hashes == {HashKind.MD5: digest}
    assert found.rows[0].key == KEY_TAGS[HashKind.MD5] + digest


@pytest.mark.parametrize("status", ["Withdrawn", "Deleted", "withdrawn", "DELETED"])
def test_the_status_withdraws_not_the_hash(status):
    found = run(page(record(2), record(1, hashStatus=status)), "stopncii")
    assert untimed(found.retractions) == [Retraction(KEY_TAGS[HashKind.PDQ] + PDQ, status)]
    assert len(found.rows) == 1


@pytest.mark.parametrize("kind", [HashKind.PDQ, HashKind.MD5])
@pytest.mark.parametrize("name", ["imagepdq", "Image", None])
@pytest.mark.parametrize("written", [bytes.hex, lambda raw: base64.b64encode(raw).decode()])
def test_a_withdrawal_counts_whatever_its_kind_is_called(kind, name, written):
    raw = value(kind, 1)
    gone = record(signalType=name, hashValue=written(raw), hashStatus="Withdrawn")
    found = run(page(gone, record(2)), "stopncii")
    assert untimed(found.retractions) == [Retraction(KEY_TAGS[kind] + raw, "Withdrawn")]
    assert len(found.rows) == 1
    assert found.notes == {}


@pytest.mark.parametrize(("name", "kind"), [("VideoMD5", HashKind.PDQ), ("ImagePDQ", HashKind.MD5)])
def test_a_withdrawal_is_of_the_kind_that_its_value_is_of(name, kind):
    raw = value(kind, 1)
    gone = record(signalType=name, hashValue=raw.hex(), hashStatus="Withdrawn")
    found = run(page(gone, record(2)), "stopncii")
    assert untimed(found.retractions) == [Retraction(KEY_TAGS[kind] + raw, "Withdrawn")]
    assert (len(found.rows), found.rejections) == (1, [])
    kept = record(signalType=name, hashValue=raw.hex())
    assert len(run(page(kept), "stopncii").rejections) == 1


@pytest.mark.parametrize("text", ["x", "", None, "0" * 40])
def test_a_withdrawal_that_can_name_no_entry_is_counted(text):
    gone = record(signalType="VideoTMK", hashValue=text, hashStatus="Withdrawn")
    found = run(page(gone, record(2)), "stopncii")
    assert (found.retractions, found.rejections, len(found.rows)) == ([], [], 1)
    assert found.notes == {"record with a signal of another kind left aside: VideoTMK": 1}


def test_feedback_that_blocks_counts_each_provider_once():
    def said(source, answer):
        return {"source": source, "feedbackValue": answer, "tags": ["Nude"]}

    feedbacks = [
        said("a", "Blocked"), said("a", "Blocked"), said("b", "Blocked"), said("c", "NotBlocked"),
        said("d", "Undefined"), said("e", "Withdrawn"), None,
    ]  # fmt: skip
    found = run(page(record(CSPFeedbacks=feedbacks), record(2, CSPFeedbacks=[])), "stopncii")
    assert [row.verified_count for row in found.rows] == [2, None]
    assert found.retractions == []


@pytest.mark.parametrize("status", ["Unknown", "Postponed", None])
def test_an_unknown_status_is_tolerated(status):
    found = run(page(record(hashStatus=status)), "stopncii")
    assert found.notes == {"record of unknown status, taken over as it is": 1}
    expected = Classification("stopncii", "", status) if status else None
    assert found.rows[0].classification == expected


def test_other_signals_are_counted_and_left_out():
    others = [
        record(signalType="VideoTMK"),
        record(signalType="Text"),
        record(signalType="Text"),
        record(signalType="Video-TMK"),
        record(2, hashRegions=["UK"]),
        record(3, hashRegions=[]),
        record(4, hashRegions=None),
    ]
    found = run(page(*others), "stopncii")
    assert len(found.rows) == 3
    assert found.notes == {
        "record with a signal of another kind left aside: VideoTMK": 1,
        "record with a signal of another kind left aside: Text": 2,
        "record with a signal of another kind left aside: Video-TMK": 1,
        "hash regions left aside": 1,
    }
    assert found.rejections == []


@pytest.mark.parametrize("written", ["imagepdq", "Image_PDQ", "IMAGE-PDQ"])
def test_a_signal_in_another_spelling_is_the_same(written):
    found = run(page(record(signalType=written)), "stopncii")
    assert list(found.rows[0].hashes) == [HashKind.PDQ]


@pytest.mark.parametrize("unknown", ["PDQ2", "<script>", None])
def test_an_unknown_signal_is_rejected(unknown):
    found = run(page(record(signalType=unknown), record(2)), "stopncii")
    assert (len(found.rows), found.notes) == (1, {})
    (rejection,) = found.rejections
    assert (rejection.place.number, rejection.field) == (1, "signalType")
    assert "<" not in rejection.reason


def test_notes_do_not_grow_without_end():
    gone = [record(signalType=f"S{n}", hashStatus="Deleted", hashValue="x") for n in range(50)]
    found = run(page(*gone), "stopncii")
    assert len(found.notes) == 21
    assert found.notes["record with a signal of another kind left aside: further names"] == 30


def test_pages():
    more = page(record(), nextPageToken="secret token", hasMoreRecords=True)
    found = run(more, "stopncii")
    assert found.reader.page == PageInfo("secret token", "1625175071", complete=False)
    assert "secret" not in repr(found.reader.page)
    last = run(page(record(), nextPageToken="stale token"), "stopncii")
    assert last.reader.page == PageInfo(None, "1625175071", complete=True)
    assert last.notes == {}
    bare = run({"hashRecords": [record()]}, "stopncii")
    assert bare.reader.page == PageInfo(None, None, complete=True)


@pytest.mark.parametrize("members", [{}, {"hasMoreRecords": None}])
def test_a_token_means_that_there_are_more_unless_the_page_denies_it(members):
    said = {"nextPageToken": "a token", "hashRecords": [record()], **members}
    assert run(said, "stopncii").reader.page == PageInfo("a token", None, complete=False)


@pytest.mark.parametrize("odd", ["false", "true", 0, 1, []])
def test_whether_there_are_more_is_yes_or_no(odd):
    with pytest.raises(FormatError, match="neither true nor false"):
        run(page(record(), hasMoreRecords=odd), "stopncii")


@pytest.mark.parametrize(
    ("count", "said"), [(2, "says 2"), ("1", "no number"), (True, "no number")]
)
def test_a_wrong_count_is_refused(count, said):
    with pytest.raises(FormatError, match=f"{said}.*holds 1 record"):
        run(page(record(), count=count), "stopncii")
    taken = run(page(record(), count=count), "stopncii", {"check_count": "no"})
    assert len(taken.rows) == 1


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (record(hashValue="empty-list-case-numbers"), "not a PDQ hash"),
        (record(hashValue=None), "no hash"),
        (record(hashValue="00" * 32), "bits are all equal"),
        (record(hashValue="00" * 32, hashStatus="Withdrawn"), "no key"),
        (record(hashValue=7), "wrong type"),
        (record(CSPFeedbacks={"a": 1}), "wrong type"),
        (record(hashStatus="x" * 70), "at most 64"),
        ({}, None),
        ("text", "wrong type"),
    ],
)
def test_one_bad_record_is_rejected_alone(bad, why):
    found = run(page(record(2), bad, record(3)), "stopncii")
    assert len(found.rows) == 2
    if why is None:
        assert found.notes
    else:
        (rejection,) = found.rejections
        assert why in rejection.reason
        assert rejection.place.number == 2


@pytest.mark.parametrize("token", [["x"], {}, True, "a\tb", "\u00e9", "x" * 9000])
def test_a_token_that_is_none_is_refused(token):
    with pytest.raises(FormatError, match="token"):
        run(page(nextPageToken=token, hasMoreRecords=True), "stopncii")
    with pytest.raises(FormatError, match="token"):
        run(page(nextSetTimestamp=token), "stopncii")


@pytest.mark.parametrize("number", [b"9" * 4000, b"9" * 5000, b"-1e400"])
def test_absurd_numbers(number):
    body = json.dumps(page(record(lastModtimestamp=5))).encode().replace(b": 5,", b": %b," % number)
    found = run(body, "stopncii")
    assert len(found.rejections) == 1
    assert "99999" not in found.rejections[0].reason


@pytest.mark.parametrize("cases", [CASES, [], ["x"], None, 7])
def test_case_numbers_are_never_looked_at(cases):
    assert len(run(page(record(caseNumbers=cases)), "stopncii").rows) == 1


def test_other_files_are_refused():
    with pytest.raises(FormatError, match='no array "hashRecords"'):
        run({"value": []}, "stopncii")
    with pytest.raises(FormatError, match="is XML or HTML"):
        run(b"<a/>", "stopncii")
    with pytest.raises(FormatError, match="Python pickle"):
        run(pickle.dumps({"hashRecords": []}), "stopncii")
    with pytest.raises(FormatError, match="cut off"):
        run(json.dumps(page(record())).encode()[:-20], "stopncii")
    with pytest.raises(OptionsError, match="'x' of format stopncii; known options: check_count"):
        run(page(), "stopncii", {"x": "y"})


def test_it_looks_like_itself():
    head = json.dumps(page(record())).encode()
    assert stopncii.looks_like(Sample(head)).score == 90
    assert stopncii.looks_like(Sample(b'{"hashRecords": []}')).score == 60
    assert stopncii.looks_like(Sample(b'{"value": []}')) is None
    assert find_format("stopncii").harm is Harm.NCII
    assert find_format("stopncii").tells_retractions
