"""The Tech Against Terrorism reader by small pages."""

from __future__ import annotations

import json

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats import tat
from hashlists.formats.base import PageInfo, Sample
from hashlists.formats.registry import find_format
from hashlists.model import Classification, Harm, HashKind, Retraction
from hashlists.validate import TEXT_KEY_TAG
from tests.catalog_support import untimed
from tests.export_support import Row, value
from tests.page_support import UNMATCHABLE, run


def record(number=1, kind=HashKind.MD5, **members):
    return {
        "hash_digest": value(kind, number).hex(),
        "algorithm": kind.upper(),
        "ideology": "islamist",
        "file_type": "mp4",
        "deleted": False,
        "updated_on": 1704085200.25,
        "created_on": "2024-01-01",
        "id": number,
        **members,
    }


def page(*records, **members):
    head = {"count": 99999, "next": None, "previous": None, "checkpoint": "1704085200,124"}
    return {**head, "results": list(records), **members}


def test_every_field_that_is_taken_over():
    found = run(page(record(124)), "tat")
    assert found.rows == [
        Row(
            key=TEXT_KEY_TAG + b"124",
            hashes={HashKind.MD5: value(HashKind.MD5, 124)},
            classification=Classification("tat", "", "islamist"),
            media_type="video/mp4",
            source_id="124",
            updated_at="1704085200.25",
        )
    ]
    assert found.notes == {}


@pytest.mark.parametrize("kind", [HashKind.PDQ, HashKind.MD5, HashKind.SHA1, HashKind.SHA256])
@pytest.mark.parametrize("written", [str.upper, str.lower, lambda name: name[:3] + "-" + name[3:]])
def test_algorithms(kind, written):
    found = run(page(record(1, kind, algorithm=written(kind))), "tat")
    assert found.rows[0].hashes == {kind: value(kind, 1)}


def test_a_page_of_several_kinds():
    found = run(page(record(1, HashKind.MD5), record(2, HashKind.PDQ), record(3)), "tat")
    assert [list(row.hashes) for row in found.rows] == [
        [HashKind.MD5], [HashKind.PDQ], [HashKind.MD5],
    ]  # fmt: skip


def test_other_algorithms_are_counted_and_left_out():
    found = run(page(record(algorithm="SHA512"), record(2, algorithm="TMK+PDQF"), record(3)), "tat")
    assert [row.source_id for row in found.rows] == ["3"]
    assert found.notes == {
        "record of another algorithm left aside: SHA512": 1,
        "record of another algorithm left aside: without a printable name": 1,
    }


@pytest.mark.parametrize("written", ["sha-256", "SHA_256", "Sha 256"])
def test_an_algorithm_in_another_spelling_is_the_same(written):
    found = run(page(record(1, HashKind.SHA256, algorithm=written)), "tat")
    assert found.rows[0].hashes == {HashKind.SHA256: value(HashKind.SHA256, 1)}


@pytest.mark.parametrize("unknown", ["pdq_hash", "sha2-256", "", None, "a1" * 20])
def test_an_unknown_algorithm_is_rejected_and_withdraws_nothing(unknown):
    found = run(page(record(1, algorithm=unknown), record(2)), "tat")
    assert (len(found.rows), found.retractions) == (1, [])
    (rejection,) = found.rejections
    assert (rejection.place.number, rejection.field) == (1, "algorithm")
    assert "is not known here" in rejection.reason
    assert not unknown or (unknown in rejection.reason) == (len(unknown) < 20)


def test_what_another_algorithm_replaces_is_withdrawn():
    others = [record(0, algorithm="sha_512"), record(2), {"algorithm": "SHA512"}]
    found = run(page(*others), "tat")
    gone = [Retraction(TEXT_KEY_TAG + b"0", UNMATCHABLE, unmatchable=True)]
    assert (untimed(found.retractions), found.rejections) == (gone, [])
    assert [row.source_id for row in found.rows] == ["2"]


def test_a_deletion_needs_its_number_alone():
    gone = [record(1, deleted=True), {"id": 2, "deleted": True}, {"deleted": True}]
    found = run(page(*gone, record(3)), "tat")
    assert untimed(found.retractions) == [
        Retraction(TEXT_KEY_TAG + b"1", "deleted"),
        Retraction(TEXT_KEY_TAG + b"2", "deleted"),
    ]
    assert [each.reason for each in found.rejections] == ["the record has no key"]
    assert len(found.rows) == 1


def test_a_deletion_counts_whatever_its_algorithm_is_called():
    gone = [record(1, algorithm="SHA512", deleted=True), record(2, algorithm=None, deleted=True)]
    found = run(page(*gone, record(3)), "tat")
    assert [each.key for each in found.retractions] == [TEXT_KEY_TAG + b"1", TEXT_KEY_TAG + b"2"]
    assert found.notes == {}


@pytest.mark.parametrize(
    "words", ['"deleted": true, "deleted": false', '"deleted": true, "deleted": true']
)
def test_a_record_that_says_twice_whether_it_is_deleted_is_rejected(words):
    text = json.dumps(page(record(1), record(2), record(3))).replace('"deleted": false', words, 1)
    found = run(text.encode(), "tat")
    assert [row.source_id for row in found.rows] == ["2", "3"]
    assert found.retractions == []
    assert [(each.place.number, each.field) for each in found.rejections] == [(1, "deleted")]


def test_a_page_that_names_two_next_ones_is_refused():
    text = json.dumps(page(record())).replace('"next": null', '"next": null, "next": "/x"')
    with pytest.raises(FormatError, match='a second "next"'):
        run(text.encode(), "tat")


@pytest.mark.parametrize(
    ("file_type", "media_type"),
    [
        ("jpg", "image/jpeg"),
        (".PNG", "image/png"),
        ("image/gif", "image/gif"),
        ("xyz", None),
        (None, None),
    ],
)
def test_file_types(file_type, media_type):
    assert run(page(record(file_type=file_type)), "tat").rows[0].media_type == media_type


def test_pages():
    link = "https://app.example.org/api/hash-list/v2/all?limit=1000&offset=1000"
    found = run(page(record(), next=link), "tat")
    target = "/api/hash-list/v2/all?limit=1000&offset=1000"
    assert found.reader.page == PageInfo(
        target, "1704085200,124", complete=False, follows=False, total=99999, records=1
    )
    last = run(page(checkpoint=None), "tat")
    assert last.reader.page == PageInfo(follows=False, total=99999)
    assert last.notes == {}
    second = {"previous": link, "next": f"{link}&after=1704085200%2C124", "count": "many"}
    assert run(page(record(), **second), "tat").reader.page.follows
    assert run(page(record(), **second), "tat").reader.page.is_delta
    assert run(page(record(), **second), "tat").reader.page.total is None
    with pytest.raises(FormatError, match="no link to the next page"):
        run(page(next=7), "tat")
    with pytest.raises(FormatError, match="no address"):
        run(page(next="a b"), "tat")


@pytest.mark.parametrize(
    ("bad", "why"),
    [
        (record(2, hash_digest="zz"), "not an MD5 hash"),
        (record(2, hash_digest=None), "no hash"),
        (record(2, id=None), "no key"),
        (record(2, deleted="yes"), "wrong type"),
        (record(2, ideology="\x01"), "control characters"),
        (record(2, hash_digest="d41d8cd98f00b204e9800998ecf8427e"), "empty file"),
    ],
)
def test_one_bad_record_is_rejected_alone(bad, why):
    found = run(page(record(1), bad, record(3)), "tat")
    assert len(found.rows) == 2
    (rejection,) = found.rejections
    assert why in rejection.reason
    assert rejection.place.number == 2


def test_other_files_are_refused():
    with pytest.raises(FormatError, match='no array "results"'):
        run({"error": "no"}, "tat")
    with pytest.raises(FormatError, match="cut off"):
        run(json.dumps(page(record())).encode()[:-9], "tat")
    with pytest.raises(OptionsError, match="unknown option 'ideology' of format tat"):
        run(page(), "tat", {"ideology": "all"})


def test_it_looks_like_itself():
    assert tat.looks_like(Sample(json.dumps(page(record())).encode())).score == 90
    assert tat.looks_like(Sample(b'{"results": [{"hash_digest": "x"}]}')).score == 50
    assert tat.looks_like(Sample(b'{"results": []}')) is None
    assert find_format("tat").harm is Harm.TERRORISM
    assert find_format("tat").tells_retractions
