"""Of two records of an entry the later one counts, in whatever order their files come."""

from __future__ import annotations

import json

import pytest

from hashlists.catalog import Catalog
from hashlists.catalog.stage_result import OLDER, OLDER_WITHDRAWALS
from hashlists.errors import FullListRefusedError
from hashlists.formats.stix_extension import EXTENSION_ID
from hashlists.importer import FullList
from hashlists.model import Harm, HashKind, HashList
from tests.catalog_support import require_coverage, value
from tests.import_support import importing

UUID = "00000000-0000-4000-8000-0000000000{:02d}"
#: Two years, in the order of time.
FIRST, LATER, LAST = 1_600_000_000, 1_700_000_000, 1_750_000_000


def iso(seconds):
    return f"20{20 + (seconds - FIRST) // 50_000_000:02d}-01-02T00:00:00Z"


def misp(seconds, *, gone=False, name="a", **more):
    item = {"uuid": UUID.format(5), "type": "md5", "value": value(HashKind.MD5, name).hex()}
    item |= {"to_ids": True, "deleted": gone, **more}
    if seconds:
        item["timestamp"] = str(seconds)
    return json.dumps({"Event": {"uuid": UUID.format(4), "Attribute": [item]}})


def stix(seconds, *, gone=False, name="a", benign=False):
    item = {
        "type": "indicator", "spec_version": "2.1", "id": f"indicator--{UUID.format(3)}",
        "created": "2019-01-01T00:00:00.000Z", "valid_from": "2019-01-01T00:00:00Z",
        "revoked": gone and not benign, "pattern_type": "stix",
        "indicator_types": ["benign" if gone and benign else "unknown"],
        "pattern": f"[file:hashes.MD5 = '{value(HashKind.MD5, name).hex()}']",
    }  # fmt: skip
    if seconds:
        item["modified"] = iso(seconds)
    return json.dumps({"type": "bundle", "id": f"bundle--{UUID.format(1)}", "objects": [item]})


def benign(seconds, *, gone=False, name="a"):
    return stix(seconds, gone=gone, name=name, benign=True)


def ncmec(seconds, *, gone=False, name="a"):
    tag = "deletedImage" if gone else "image"
    stamp = f"<timestamp>{iso(seconds)}</timestamp>" if seconds else ""
    hashes = f"<fingerprints><md5>{value(HashKind.MD5, name).hex()}</md5></fingerprints>"
    return (
        '<queryResult xmlns="https://hashsharing.ncmec.org/hashsharing/v2"><images>'
        f'<{tag}><member id="42">E</member>{stamp}<id>i1</id>{"" if gone else hashes}</{tag}>'
        "</images></queryResult>"
    )


def tat(seconds, *, gone=False, name="a"):
    item = {"id": 7, "algorithm": "MD5", "hash_digest": value(HashKind.MD5, name).hex()}
    item |= {"ideology": "islamist", "file_type": "jpg", "deleted": gone}
    if seconds:
        item["updated_on"] = float(seconds)
    return json.dumps({"count": 1, "next": None, "results": [item]})


def threatexchange(seconds, *, gone=False, name="a"):
    item = {"id": "9", "indicator": value(HashKind.MD5, name).hex(), "type": "HASH_MD5"}
    item |= {"should_delete": gone, "descriptors": {"data": [{"id": "1", "status": "MALICIOUS"}]}}
    if seconds:
        item["last_updated"] = seconds
    return json.dumps({"data": [item]})


def stopncii(seconds, *, gone=False, name="a"):
    item = {"signalType": "ImagePDQ", "hashValue": value(HashKind.PDQ, "a").hex()}
    item |= {"hashStatus": "Withdrawn" if gone else "Active", "CSPFeedbacks": []}
    if name != "a":
        item["CSPFeedbacks"] = [{"source": name, "feedbackValue": "Blocked"}]
    if seconds:
        item["lastModtimestamp"] = seconds
    page = {"count": 1, "nextSetTimestamp": LAST, "hasMoreRecords": False, "hashRecords": [item]}
    return json.dumps(page)


FORMATS = {
    "stix": stix,
    "ncmec": ncmec,
    "tat": tat,
    "threatexchange": threatexchange,
    "stopncii": stopncii,
}
#: Those whose withdrawals a later record takes back.
COMING_BACK = {**FORMATS, "stix": benign}


@pytest.fixture
def taker(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a source"), author="a person")
        yield catalog


@pytest.fixture
def give(taker, tmp_path):
    return importing(taker, tmp_path, "demo", max_rejected_share=0.0)


def in_force(catalog):
    return catalog.get_list("demo").coverage.entries


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_older_record_takes_no_withdrawal_back(taker, give, fmt):
    make = FORMATS[fmt]
    give(make(FIRST), fmt)
    assert give(make(LATER, gone=True), fmt).retracted == 1
    report = give(make(FIRST), fmt)
    assert (report.revision, report.updated, report.notes[OLDER]) == (0, 0, 1)
    assert in_force(taker) == 0
    assert give(make(FIRST), fmt, dry_run=True).notes[OLDER] == 1
    assert give(make(FIRST), fmt, force=True).updated == 1
    assert in_force(taker) == 1


@pytest.mark.parametrize("fmt", COMING_BACK)
def test_a_later_record_takes_a_withdrawal_back_and_an_older_one_withdraws_nothing(
    taker, give, fmt
):
    make = COMING_BACK[fmt]
    give(make(FIRST), fmt)
    give(make(LATER, gone=True), fmt)
    assert give(make(LAST), fmt).updated == 1
    report = give(make(LATER, gone=True), fmt)
    assert (report.revision, report.retracted, report.notes) == (0, 0, {OLDER_WITHDRAWALS: 1})
    assert in_force(taker) == 1
    assert give(make(LATER, gone=True), fmt, force=True).retracted == 1


@pytest.mark.parametrize("fmt", FORMATS)
def test_an_older_record_says_nothing_new(taker, give, fmt):
    make = FORMATS[fmt]
    give(make(LATER, name="b"), fmt)
    report = give(make(FIRST), fmt)
    assert (report.revision, report.notes) == (0, {OLDER: 1})
    assert give(make(LATER, name="b"), fmt).unchanged == 1
    assert give(make(LAST), fmt).updated == 1


@pytest.mark.parametrize("fmt", COMING_BACK)
@pytest.mark.parametrize("stamps", [(0, LATER), (LATER, 0), (0, 0), (LATER, LATER)])
def test_what_cannot_be_told_counts_as_it_comes(taker, give, fmt, stamps):
    make = COMING_BACK[fmt]
    give(make(FIRST, name="c"), fmt)
    gone, listed = stamps
    assert give(make(gone, gone=True), fmt).retracted == 1
    assert give(make(listed), fmt).updated == 1
    assert in_force(taker) == 1


#: Of a field that nobody set, of .NET's empty date, of a date taken for seconds, of a wrong clock.
IMPOSSIBLE = (1, -62_135_596_800, 20_240_501, 4_000_000_000)


@pytest.mark.parametrize("fmt", ["tat", "threatexchange", "stopncii"])
@pytest.mark.parametrize("stamp", IMPOSSIBLE)
def test_a_time_that_cannot_be_proves_nothing(taker, give, fmt, stamp):
    make = COMING_BACK[fmt]
    give(make(FIRST), fmt)
    assert give(make(stamp, gone=True), fmt).retracted == 1
    assert give(make(stamp), fmt).updated == 1
    assert give(make(stamp, name="b"), fmt).updated == 1
    assert give(make(FIRST, gone=True), fmt).retracted == 1
    assert in_force(taker) == 0


@pytest.mark.parametrize("fmt", ["stix", "ncmec"])
@pytest.mark.parametrize("stamp", ["0001-01-01T00:00:00Z", "9999-12-31T23:59:59Z", "1970-01-01"])
def test_a_written_time_that_cannot_be_proves_nothing(taker, give, fmt, stamp):
    make = COMING_BACK[fmt]
    give(make(FIRST).replace(iso(FIRST), stamp), fmt)
    assert give(make(FIRST, gone=True), fmt).retracted == 1
    assert give(make(FIRST, name="b"), fmt).updated == 1
    assert give(make(FIRST, gone=True).replace(iso(FIRST), stamp), fmt).retracted == 1
    assert in_force(taker) == 0


@pytest.mark.parametrize("fmt", COMING_BACK)
def test_a_withdrawal_that_is_told_again_counts_by_its_later_time(taker, give, fmt):
    make = COMING_BACK[fmt]
    give(make(FIRST), fmt)
    give(make(0, gone=True), fmt)
    assert give(make(LATER, gone=True), fmt).updated == 1
    assert give(make(LATER, gone=True), fmt).revision == 0
    assert give(make(FIRST, gone=True), fmt).revision == 0
    assert give(make(LAST, gone=True), fmt).updated == 1
    require_coverage(taker)
    assert give(make(LATER), fmt).notes == {OLDER: 1}
    assert in_force(taker) == 0


def test_one_that_is_listed_in_the_same_file_counts_as_before(taker, give):
    give(tat(FIRST), "tat")
    give(tat(FIRST, gone=True), "tat")
    records = [json.loads(tat(LATER, gone=True))["results"][0], json.loads(tat(LAST))["results"][0]]
    for both in (records, records[::-1]):
        before = taker.head()
        text = json.dumps({"count": 2, "next": None, "results": both})
        give(text, "tat", max_rejected_share=1.0)
        assert in_force(taker) == 1
        require_coverage(taker)
        taker.rollback("demo", before, author="a person", reason="again")
        assert in_force(taker) == 0


def test_what_was_withdrawn_and_then_revoked_is_so_for_good(taker, give):
    give(stix(FIRST), "stix")
    give(benign(FIRST, gone=True), "stix")
    assert give(stix(LATER, gone=True), "stix").updated == 1
    assert give(stix(LAST), "stix").notes == {OLDER: 1}
    assert in_force(taker) == 0


def test_what_is_revoked_stays_so_beside_objects_of_ours(taker, give):
    give(stix(FIRST), "stix")
    give(stix(LATER, gone=True), "stix")
    bundle = json.loads(stix(LAST))
    ours = {
        "type": "file", "spec_version": "2.1", "id": f"file--{UUID.format(9)}",
        "hashes": {"MD5": value(HashKind.MD5, "z").hex()},
        "extensions": {EXTENSION_ID: {
            "extension_type": "property-extension", "entry_id": UUID.format(8), "harm": "test",
        }},
    }  # fmt: skip
    for objects in ([*bundle["objects"], ours], [ours, *bundle["objects"]]):
        report = give(json.dumps(bundle | {"objects": objects}), "stix")
        assert report.notes[OLDER] == 1
        assert in_force(taker) == 1


def test_what_is_revoked_is_so_for_good(taker, give):
    give(stix(FIRST), "stix")
    give(stix(LATER, gone=True), "stix")
    for stamp in (LAST, LATER, 0):
        assert give(stix(stamp), "stix").notes[OLDER] == 1
    assert in_force(taker) == 0


def test_the_same_file_with_other_options_takes_effect(taker, give):
    give(stix(FIRST), "stix")
    assert give(stix(FIRST), "stix", options={"classification": "indicator_types"}).updated == 1


def test_an_older_file_is_no_whole_list(taker, give):
    give(tat(LATER, name="b"), "tat")
    give(tat(LATER, name="z").replace('"id": 7', '"id": 8'), "tat")
    with pytest.raises(FullListRefusedError, match="older than what the list has"):
        give(tat(FIRST), "tat", full=FullList(max_share=1.0))
    assert in_force(taker) == 2
    report = give(tat(FIRST), "tat", full=FullList(max_share=1.0, force=True))
    assert (report.updated, report.absent) == (1, 1)


def test_what_an_older_record_names_is_not_absent(taker, give):
    """In a trial, which tells what it would be if it were forced."""
    give(tat(LATER, name="b"), "tat")
    report = give(tat(FIRST, gone=True), "tat", full=FullList(), dry_run=True)
    assert (report.retracted, report.absent) == (0, 0)


def test_a_rollback_turns_back_what_was_later(taker, give):
    give(tat(FIRST), "tat")
    before = taker.head()
    give(tat(LAST, gone=True), "tat")
    gone = taker.head()
    taker.rollback("demo", before, author="a person", reason="a clock was wrong")
    assert give(tat(LATER, name="b"), "tat").updated == 1
    taker.rollback("demo", gone, author="a person", reason="it was right")
    assert in_force(taker) == 0
    assert give(tat(LATER, name="c"), "tat").notes[OLDER] == 1


def test_records_of_misp_count_as_they_come(taker, give):
    """Their stamps are not those of all that they say."""
    give(misp(LATER), "misp")
    assert give(misp(FIRST, gone=True), "misp").retracted == 1
    report = give(misp(LATER), "misp")
    assert (report.updated, report.notes, in_force(taker)) == (1, {}, 1)


def test_an_object_of_misp_loses_the_hash_that_changed_last(taker, give):
    def event(*stamps):
        hashes = [
            {"uuid": UUID.format(at), "type": kind, "object_relation": kind, "to_ids": True,
             "value": value(HashKind(kind), "a").hex(), "timestamp": str(stamp)}
            for at, kind, stamp in zip((11, 12), ("md5", "sha1"), stamps, strict=False)
        ]  # fmt: skip
        item = {"uuid": UUID.format(10), "name": "file", "timestamp": str(FIRST)}
        return json.dumps(
            {"Event": {"uuid": UUID.format(4), "Object": [item | {"Attribute": hashes}]}}
        )

    give(event(FIRST, LAST), "misp")
    report = give(event(FIRST), "misp")
    assert (report.updated, report.notes) == (1, {})
    assert taker.get_list("demo").coverage.by_kind == {HashKind.MD5: 1}
