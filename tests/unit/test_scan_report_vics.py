"""What was found as VICS 2.0: by the schema, read back by the project's own reader."""

from __future__ import annotations

import io
import json

import pytest

from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import Classification, Handling, HashKind
from hashlists.validate import validate
from matcher.scan.model import MatchRecord, Outcome, Record
from matcher.scan.reports.addresses import Addresses
from matcher.scan.reports.vics import VicsReport
from tests.scan_report_support import PLACES, digest, found_record

#: Members of the schema of version 2.0, and the types of their values.
MEDIA = {
    **dict.fromkeys(("MD5", "SHA1", "Comments", "RelativeFilePath", "MimeType"), str),
    **dict.fromkeys(("MediaID", "Category", "MediaSize"), int),
    "IsPrecategorized": bool,
    "PrecategorizationSource": str,
    **dict.fromkeys(("AlternativeHashes", "MediaFiles"), list),
}
MEDIA_FILE = {
    **dict.fromkeys(("MD5", "FileName", "FilePath", "Written", "SourceID"), str),
    "MediaFileID": int,
    "ParentFileName": str,
    "ParentFilePath": str,
}


def changed(record, **fields):
    return Record(
        **{**{name: getattr(record, name) for name in record.__struct_fields__}, **fields}
    )


def classified(number, *classes, **fields):
    """A record whose matches have these classes, the strongest first."""
    matches = [
        MatchRecord(f"list {at}", "csam", at, "md5", "exact", "", None, "abuse", each)
        for at, each in enumerate(classes, 1)
    ]
    return found_record(number, matches=tuple(matches), **fields)


def written(*records, profile="", held=50_000):
    stream = io.BytesIO()
    report = VicsReport(stream, Addresses(PLACES), profile=profile, held=held)
    for record in records:
        report.write([record])
    report.finish()
    return json.loads(stream.getvalue()), report.notes, stream.getvalue()


def check_schema(document):
    assert list(document) == ["@odata.context", "value"]
    for media in document["value"]:
        for name, value in media.items():
            assert name in MEDIA
            assert type(value) is MEDIA[name] or (name == "Category" and value is None)
        assert {"MD5", "MediaID", "IsPrecategorized"} <= media.keys()
        assert 0 < media["MediaID"] < 2**31
        for file in media["MediaFiles"]:
            assert file["MD5"] == media["MD5"]
            assert all(type(value) is MEDIA_FILE[name] for name, value in file.items())


def test_what_was_found_is_there_and_read_back_by_the_own_reader():
    plain = changed(found_record(3), outcome=Outcome.NO_KNOWN_MATCH, matches=())
    document, notes, content = written(
        found_record(1), plain, found_record(2, outcome=Outcome.REVIEW)
    )
    check_schema(document)
    assert notes == ()
    reader = open_reader(io.BytesIO(content), format="vics", limits=ImportLimits())
    (batch,) = reader
    entries = validate(batch, default_handling=Handling()).entries
    assert reader.header.version == "2.0"
    for kind in (HashKind.MD5, HashKind.SHA1, HashKind.SHA256):
        assert [value.hex() for value in entries.hashes[kind]] == [
            digest(str(kind), number) for number in (1, 2)
        ]
    assert list(entries.classifications) == [Classification("vics", "US", "1")] * 2
    assert list(entries.sizes) == [1_001, 1_002]
    assert list(entries.media_types) == ["image/jpeg"] * 2


def test_where_it_is_and_how_it_was_found_is_told():
    document, _, _ = written(found_record(1))
    (media,) = document["value"]
    assert media["RelativeFilePath"] == "album/1.jpg"
    assert media["MediaFiles"] == [
        {
            "MD5": digest("md5", 1),
            "MediaFileID": 1,
            "FileName": "1.jpg",
            "FilePath": "s3://holiday-bucket/2026/album/1.jpg",
            "Written": "2023-11-14T22:13:20.250000Z",
            "SourceID": "s3://holiday-bucket/2026/",
        }
    ]
    assert media["IsPrecategorized"] is True
    assert media["PrecategorizationSource"] == "hotline"
    assert media["Comments"] == (
        "matched, object 1-1; near at 12 (pdq) in list hotline, severity abuse"
    )


def test_the_same_bytes_in_several_places_are_one_record():
    again = changed(found_record(1), id="1-9", source=1, key="a.zip", member="in/x.jpg")
    document, notes, _ = written(found_record(1), found_record(2), again)
    check_schema(document)
    first, second = document["value"]
    assert [file["FilePath"] for file in first["MediaFiles"]] == [
        "s3://holiday-bucket/2026/album/1.jpg",
        "/srv/uploads/a.zip!/in/x.jpg",
    ]
    assert first["MediaFiles"][1]["FileName"] == "x.jpg"
    assert first["MediaFiles"][1]["ParentFileName"] == "a.zip"
    assert first["MediaFiles"][1]["ParentFilePath"] == "/srv/uploads/a.zip"
    assert "ParentFileName" not in first["MediaFiles"][0]
    ids = [file["MediaFileID"] for media in (first, second) for file in media["MediaFiles"]]
    assert len(set(ids)) == 3
    assert notes == ()


def test_more_files_than_are_held_are_written_and_told():
    document, notes, _ = written(*(found_record(each) for each in (1, 2, 1, 3, 2)), held=2)
    check_schema(document)
    assert [media["MD5"] for media in document["value"]] == [
        digest("md5", each) for each in (1, 2, 1, 3, 2)
    ]
    (note,) = notes
    assert note.startswith("VICS: 2 records share an MD5")


@pytest.mark.parametrize(
    ("classes", "profile", "category", "source"),
    [
        ([("vics", "US", "0")], "US", 0, "list 1"),
        ([("vics", "US", "255")], "US", 255, "list 1"),
        ([("vics", "US", "256")], "US", None, None),
        ([("vics", "US", "01")], "US", None, None),
        ([("vics", "UK", "1")], "US", None, None),
        ([("iwf", "US", "1")], "US", None, None),
        ([None], "US", None, None),
        ([("iwf", "", "A"), ("vics", "UK", "3"), ("vics", "US", "2")], "US", 2, "list 3"),
        ([("vics", "US", "2"), ("vics", "US", "1")], "US", 2, "list 1"),
    ],
)
def test_the_category_is_that_of_the_strongest_match_of_the_profile(
    classes, profile, category, source
):
    document, notes, _ = written(classified(1, *classes), profile=profile)
    check_schema(document)
    (media,) = document["value"]
    assert media["Category"] == category
    assert media["IsPrecategorized"] is (category is not None)
    assert media.get("PrecategorizationSource") == source
    lost = category is None and any(each and each[0] == "vics" for each in classes)
    assert [note.startswith("VICS: 1 record has no category") for note in notes] == [True] * lost


@pytest.mark.parametrize(
    ("profiles", "chosen"),
    [
        (["UK"], "UK"),
        (["US", "UK", "UK"], "UK"),
        (["US", "UK"], "UK"),
        ([""], "Default"),
        (["<script>"], "Default"),
        ([], "Default"),
    ],
)
def test_the_profile_is_that_of_most(profiles, chosen):
    records = [classified(at, ("vics", each, "1")) for at, each in enumerate(profiles, 1)]
    document, _, _ = written(*records)
    assert f"/2.0.xml/{chosen}/$metadata#Media" in document["@odata.context"]


def test_what_has_no_digest_is_left_out_and_told():
    document, notes, _ = written(found_record(1, md5="", sha1="", sha256=""), found_record(2))
    assert [media["MD5"] for media in document["value"]] == [digest("md5", 2)]
    assert notes == ("VICS: 1 file is left out: the MD5, which VICS needs, is not known",)
