"""STIX bundles by small ones: what is taken over, what is left aside, what is refused, written."""

from __future__ import annotations

import base64
import dataclasses
import io
import json
import re
from datetime import UTC, datetime
from pathlib import Path

import jsonschema
import pytest

from hashlists.catalog import Catalog
from hashlists.errors import FormatError, OptionsError
from hashlists.formats import stix, stix_extension
from hashlists.formats.base import FileOrigin, Sample
from hashlists.formats.registry import open_reader
from hashlists.formats.stix_extension import EXTENSION_ID
from hashlists.formats.stix_pattern import parse_hash_pattern
from hashlists.importer import import_files
from hashlists.limits import ImportLimits
from hashlists.model import Classification, EntryFlag, Handling, Harm, HashKind, HashList
from hashlists.validate import TEXT_KEY_TAG, validate
from tests.export_support import Row, export_batch, value, write
from tests.export_support import read as read_back
from tests.page_support import run
from tests.stix_support import problems

ROOT = Path(__file__).resolve().parents[2]
SECRET = "SECRETWORD"
LIST_HANDLING = Handling("list", ("partner",))
RED = "marking-definition--5e57c739-391a-4eb3-b6be-7d15ca92d5ed"
GREEN = "marking-definition--bab4a63c-aed9-4cf5-a766-dfca5abac2bb"
AMBER = "marking-definition--f88d31f6-486f-44da-b317-01333bde0b82"
STRICT = "marking-definition--939a9414-2ddd-4d32-a0cd-375ea402b003"
CLEAR = "marking-definition--94868c89-83c2-464b-929b-a1a8aa3c8487"
TLP_2 = "extension-definition--60a3c5c5-0d10-413e-aab3-9e08dde9e88d"


def stix_id(kind: str, number: int) -> str:
    return f"{kind}--{number:08d}-0000-5000-8000-000000000000"


def text(kind: HashKind, seed: int = 1) -> str:
    return value(kind, seed).hex()


def file(number: int = 1, **members):
    return {
        "type": "file",
        "spec_version": "2.1",
        "id": stix_id("file", number),
        "hashes": {"MD5": text(HashKind.MD5, number)},
        "name": SECRET,
        **members,
    }


def indicator(number: int = 1, pattern: str | None = None, **members):
    return {
        "type": "indicator",
        "spec_version": "2.1",
        "id": stix_id("indicator", number),
        "created": "2026-01-01T00:00:00.000Z",
        "modified": "2026-01-01T00:00:00.000Z",
        "pattern": pattern or f"[file:hashes.MD5 = '{text(HashKind.MD5, number)}']",
        "pattern_type": "stix",
        "valid_from": "2026-01-01T00:00:00.000Z",
        "description": SECRET,
        **members,
    }


def marking(number: int, **members):
    return {"type": "marking-definition", "id": stix_id("marking-definition", number), **members}


def bundle(*objects, **members):
    return {"type": "bundle", "id": stix_id("bundle", 1), "objects": list(objects), **members}


def read(document, options=None, handling=LIST_HANDLING, **limits):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_back(data, "stix", options, ImportLimits(**limits), handling=handling)


def one(document, **kwargs):
    (row,) = read(document, **kwargs).rows
    return row


@pytest.mark.parametrize("block", [1, 61, 1 << 16])
def test_files_artifacts_and_indicators(block):
    artifact = {
        "type": "artifact",
        "id": stix_id("artifact", 2),
        "mime_type": "image/png",
        "payload_bin": base64.b64encode(SECRET.encode()).decode(),
        "hashes": {"SHA-1": text(HashKind.SHA1).upper(), "SHA-256": text(HashKind.SHA256)},
    }
    found = read(bundle(file(1, size=488), artifact, indicator(3)), block_bytes=block)
    keys = [stix_id("file", 1), stix_id("artifact", 2), stix_id("indicator", 3)]
    assert [row.key for row in found.rows] == [TEXT_KEY_TAG + key.encode() for key in keys]
    assert [row.source_id for row in found.rows] == keys
    assert [set(row.hashes) for row in found.rows] == [
        {HashKind.MD5},
        {HashKind.SHA1, HashKind.SHA256},
        {HashKind.MD5},
    ]
    assert found.rows[0].size == 488
    assert found.rows[1].media_type == "image/png"
    assert found.rows[2].updated_at == "2026-01-01T00:00:00.000Z"
    assert found.notes == {}
    assert SECRET not in repr(found)


def test_perceptual_hashes_under_custom_names():
    names = {"PDQ": HashKind.PDQ, "x_photodna": HashKind.PHOTODNA, "x-phash": HashKind.PHASH}
    hashes = {name: text(kind) for name, kind in names.items()}
    found = read(bundle(file(hashes={**hashes, "SHA-512": "ab" * 64, "TLSH": "x", "SSDEEP": None})))
    assert found.rows[0].hashes == {kind: value(kind, 1) for kind in names.values()}
    assert found.notes == {
        "hash of unknown kind left aside: SHA-512": 1,
        "hash of unknown kind left aside: TLSH": 1,
    }


def test_what_is_no_file_is_noted():
    found = read(
        bundle(
            {"type": "relationship", "id": stix_id("relationship", 1)},
            {"type": "domain-name", "id": stix_id("domain-name", 1), "value": SECRET},
            {"type": f"{SECRET}\n"},
            {},
            file(2, hashes=None),
            file(3, hashes={"TLSH": "x"}),
            indicator(4, "[domain-name:value = 'x']"),
            indicator(5, "rule x", pattern_type="yara"),
            {"type": "identity", "id": stix_id("identity", 1), "name": SECRET},
        )
    )
    assert found.rows == []
    assert found.notes == {
        "object of another type left aside: relationship": 1,
        "object of another type left aside: domain-name": 1,
        "object of another type left aside: without a printable name": 2,
        "file without a hash of a known kind left aside": 2,
        "hash of unknown kind left aside: TLSH": 1,
        "indicator left aside: its pattern is no choice between hashes of a file": 1,
        "indicator with a pattern of another language left aside: yara": 1,
    }
    assert [(each.key[1:].decode(), each.unmatchable) for each in found.retractions] == [
        (stix_id("file", 2), True),
        (stix_id("file", 3), True),
        (stix_id("indicator", 4), True),
        (stix_id("indicator", 5), True),
    ]


def test_a_file_whose_hashes_have_unknown_names_is_rejected_and_withdraws_nothing():
    content = text(HashKind.MD5, 1)
    document = bundle(
        file(1, hashes={"MD5-hex": content, "SHA-512": "x"}),
        indicator(2, f"[file:hashes.'MD5sum' = '{content}']"),
        file(3, hashes={"MD5-hex": content, "md_5": content}),
    )
    found = run(document, "stix")
    assert (len(found.rows), found.retractions) == (1, [])
    assert [(each.place.number, each.field) for each in found.rejections] == [
        (1, "hashes"), (2, "hashes"),
    ]  # fmt: skip


def test_what_has_no_hash_any_longer_is_withdrawn_by_its_entry_id(tmp_path):
    document = written(ENTRY)
    later = json.loads(json.dumps(document))
    item = later["objects"][-1]
    item["hashes"] = {"SHA-512": "x"}
    del item["extensions"][EXTENSION_ID]["perceptual_hashes"]
    found = read(later)
    assert [each.key for each in found.retractions] == [read(document).rows[0].key]
    assert found.retractions[0].unmatchable
    assert read(bundle(file(1, hashes=None, id=None))).retractions == []


@pytest.mark.parametrize(
    ("pattern", "expected"),
    [
        ("[file:hashes.MD5 = 'a']", [("MD5", "a")]),
        ("[file:hashes.'SHA-256'='a' OR file:hashes.MD5 = 'b']", [("SHA-256", "a"), ("MD5", "b")]),
        (" [ artifact:hashes.MD5 IN ( 'a' , 'b' ) ] ", [("MD5", "a"), ("MD5", "b")]),
        ("[file:hashes.MD5='a'] OR [file:hashes.x_pdq='b']", [("MD5", "a"), ("x_pdq", "b")]),
        (r"[file:hashes.'a\'b\\' = 'c']", [("a'b\\", "c")]),
        ("[file:hashes.MD5 = 'a' AND file:hashes.'SHA-1' = 'b']", None),
        ("[file:hashes.MD5 = 'a' AND file:size = 3]", None),
        ("[file:hashes.MD5 != 'a']", None),
        ("[file:hashes.MD5 NOT = 'a']", None),
        ("[NOT file:hashes.MD5 = 'a']", None),
        ("[file:hashes.MD5 LIKE 'a%']", None),
        ("[file:hashes.MD5 MATCHES 'a.*']", None),
        ("[file:hashes.MD5 = 'a'] AND [file:hashes.MD5 = 'b']", None),
        ("[file:hashes.MD5 = 'a'] FOLLOWEDBY [file:hashes.MD5 = 'b']", None),
        ("[file:hashes.MD5 = 'a'] REPEATS 5 TIMES", None),
        (
            "[file:hashes.MD5 = 'a'] START t'2026-01-01T00:00:00Z' STOP t'2027-01-01T00:00:00Z'",
            None,
        ),
        ("[file:hashes.MD5 = 'a' OR file:name = 'b']", None),
        ("[file:content_ref.hashes.MD5 = 'a']", None),
        ("[x509-certificate:hashes.MD5 = 'a']", None),
        ("([file:hashes.MD5 = 'a'])", None),
        ("[file:hashes.MD5 = 'a' OR ]", None),
        ("[file:hashes.MD5 = 'a'", None),
        ("[file:hashes.MD5 = 'a]", None),
        ("[file:hashes.MD5 IN ()]", None),
        ("[]", None),
        ("", None),
        ("[file:hashes.MD5 = 'a'] OR", None),
        ("[" * 10_000, None),
        ("[file:hashes.MD5 = '" + "\\'" * 10_000, None),
    ],
)
def test_patterns(pattern, expected):
    assert parse_hash_pattern(pattern) == expected


def test_a_pattern_of_several_hashes_is_one_entry():
    first, second = text(HashKind.SHA256, 1), text(HashKind.SHA256, 2)
    row = one(bundle(indicator(1, f"[file:hashes.'SHA-256' IN ('{first}', '{second}')]")))
    assert row.hashes == {HashKind.SHA256: value(HashKind.SHA256, 1)}
    assert row.extra == ((HashKind.SHA256, value(HashKind.SHA256, 2), None),)


def test_revoked_and_benign_are_withdrawn():
    found = read(
        bundle(
            indicator(1, revoked=True),
            indicator(2, indicator_types=["benign"]),
            indicator(3, "[url:value = 'x']", revoked=True),
            file(4, revoked=True),
            indicator(5, revoked=False),
        )
    )
    assert [row.source_id for row in found.rows] == [stix_id("indicator", 5)]
    assert [(each.key[1:].decode(), each.reason) for each in found.retractions] == [
        (stix_id("indicator", 1), ""),
        (stix_id("indicator", 2), "its source calls it benign"),
        (stix_id("indicator", 3), ""),
        (stix_id("file", 4), ""),
    ]


@pytest.mark.parametrize("block", [1, 1 << 16])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 1, 0), (1, 2, 0)])
def test_the_newest_version_counts(order, block):
    """By time, not by text: a fraction of a second sorts before the letter Z."""
    versions = [
        indicator(1, modified="2026-03-01T00:00:00Z"),
        indicator(1, modified="2026-03-01T00:00:00.500Z", valid_until="2027-01-01T00:00:00Z"),
        indicator(1, modified="2026-02-28T23:59:59.999+00:00", revoked=True),
    ]
    found = read(bundle(*(versions[at] for at in order), indicator(2)), block_bytes=block)
    assert found.retractions == []
    assert [row.updated_at for row in found.rows if row.source_id == stix_id("indicator", 1)] == [
        "2026-03-01T00:00:00.500Z"
    ]
    assert len(found.rows) == 2
    assert found.notes == {"older version of an object left aside": 2}


def test_a_version_that_revokes_withdraws():
    found = read(
        bundle(indicator(1), indicator(1, modified="2026-05-01T00:00:00.000Z", revoked=True))
    )
    assert found.rows == []
    assert len(found.retractions) == 1


def test_of_versions_without_readable_time_the_last_counts():
    found = read(bundle(indicator(1, modified="?"), indicator(1, modified="??", revoked=True)))
    assert (found.rows, len(found.retractions)) == ([], 1)


@pytest.mark.parametrize("limit", ["max_versioned_objects", "max_repeated_objects"])
def test_too_many_versions_are_refused(limit):
    versions = [
        indicator(n, modified=f"2026-01-0{m}T00:00:00Z") for n in range(5) for m in range(1, 4)
    ]
    with pytest.raises(FormatError, match=limit):
        read(bundle(*versions), **{limit: 4})


def test_end_of_use():
    row = one(bundle(indicator(valid_until="2027-01-01T00:00:00.000Z")))
    assert row.handling.expires_at.isoformat() == "2027-01-01T00:00:00+00:00"


@pytest.mark.parametrize("first", [True, False])
def test_originator_is_the_organisation_wherever_it_stands(first):
    who = {
        "type": "identity",
        "id": stix_id("identity", 1),
        "name": "A hotline",
        "identity_class": "organization",
    }
    said = indicator(created_by_ref=who["id"])
    assert one(bundle(*((who, said) if first else (said, who)))).handling.originator == "A hotline"


@pytest.mark.parametrize(
    "who",
    [
        {"identity_class": "individual", "name": SECRET},
        {"identity_class": "unspecified", "name": SECRET},
        {"name": SECRET},
        {"identity_class": "organization", "name": 5},
        {"identity_class": "organization", "name": ""},
    ],
)
def test_a_person_or_nobody_is_named_by_id_alone(who):
    reference = stix_id("identity", 1)
    found = read(
        bundle({"type": "identity", "id": reference, **who}, indicator(created_by_ref=reference))
    )
    assert found.rows[0].handling.originator == reference
    assert SECRET not in repr(found)
    assert one(bundle(file())).handling.originator == "list"


@pytest.mark.parametrize(
    ("marks", "options", "expected"),
    [
        ([], {}, ("partner",)),
        ([CLEAR], {}, ("partner",)),
        ([CLEAR], {"tlp.clear": "a"}, ("a",)),
        ([GREEN], {}, ()),
        ([GREEN], {"tlp.green": "a, b"}, ("a", "b")),
        ([GREEN, AMBER], {"tlp.green": "a,b", "tlp.amber": "b"}, ("b",)),
        ([CLEAR, RED], {"tlp.clear": "a"}, ()),
        ([STRICT], {"tlp.amber": "a"}, ()),
        ([stix_id("marking-definition", 1)], {}, ()),  # a statement
        ([stix_id("marking-definition", 2)], {"tlp.green": "a"}, ("a",)),  # TLP 1 of its own
        ([stix_id("marking-definition", 3)], {"tlp.amber": "a"}, ()),  # TLP 2: amber+strict
        ([stix_id("marking-definition", 4)], {"tlp.clear": "a"}, ()),  # two meanings
        ([stix_id("marking-definition", 5)], {}, ()),  # of odd shape
        ([stix_id("marking-definition", 9)], {}, ()),  # not in the bundle
    ],
)
@pytest.mark.parametrize("granular", [False, True])
def test_markings_allow_only_what_they_say(marks, options, expected, granular):
    definitions = [
        marking(1, definition_type="statement", definition={"statement": "Copyright"}),
        marking(2, definition_type="tlp", definition={"tlp": "green"}),
        marking(3, extensions={TLP_2: {"tlp_2_0": "amber+strict"}}),
        marking(4, definition={"tlp": "clear"}),
        marking(4, definition={"tlp": "red"}),
        marking(5, definition=[1], extensions={TLP_2: 5}),
        {"type": "marking-definition", "id": RED, "definition": {"tlp": "white"}},
    ]
    if granular:
        members = {
            "granular_markings": [{"marking_ref": each, "selectors": ["x"]} for each in marks]
        }
    else:
        members = {"object_marking_refs": marks}
    assert one(bundle(file(**members), *definitions), options=options).handling.releasable_to == (
        expected
    )


def test_markings_beyond_the_limit_allow_nobody():
    definition = marking(1, definition={"tlp": "clear"})
    document = bundle(definition, file(object_marking_refs=[definition["id"]]))
    assert one(document).handling.releasable_to == ("partner",)
    assert one(document, max_references=5).handling.releasable_to == ()


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, None),
        ({"classification": "labels"}, "csam:A1;other"),
        ({"classification": "labels", "label_prefix": "csam:"}, "A1"),
        ({"classification": "labels", "label_prefix": "none:"}, None),
        ({"classification": "indicator_types"}, "malicious-activity"),
    ],
)
def test_class_by_option(options, code):
    document = bundle(
        indicator(labels=["csam:A1", "other"], indicator_types=["malicious-activity"])
    )
    row = one(document, options={**options, "scheme": "own", "profile": "p"})
    assert row.classification == (Classification("own", "p", code) if code else None)


def test_our_extension_counts_before_the_object():
    extension = {
        "extension_type": "property-extension",
        "entry_id": "e-1",
        "perceptual_hashes": [
            {"algorithm": "pdq", "value": text(HashKind.PDQ)},
            {"algorithm": "later", "value": "x"},
            {"algorithm": "pdq", "value": text(HashKind.PDQ, 2), "derivation": "crop:0.02"},
        ],
        "classification": {"scheme": "vics", "profile": "US", "code": "1"},
        "flags": {"victim_identified": True, "series": False, "later": True},
        "originator": "A unit",
        "releasable_to": ["b", "c"],
        "later": {"anything": [1]},
    }
    found = read(
        bundle(
            file(extensions={EXTENSION_ID: extension, "pdf-ext": 5}, object_marking_refs=[GREEN]),
            {"type": "identity", "id": "x", "name": "y"},
        ),
        options={"tlp.green": "a,b"},
    )
    (row,) = found.rows
    assert row.key == TEXT_KEY_TAG + b"e-1"
    assert row.hashes[HashKind.PDQ] == value(HashKind.PDQ, 1)
    assert row.extra == ((HashKind.PDQ, value(HashKind.PDQ, 2), "crop:0.02"),)
    assert row.classification == Classification("vics", "US", "1")
    assert (row.flags.name, row.flags_known.name) == (
        "VICTIM_IDENTIFIED",
        "VICTIM_IDENTIFIED|SERIES",
    )
    assert (row.handling.originator, row.handling.releasable_to) == ("A unit", ("b",))
    assert found.notes == {
        "hash of unknown kind left aside: later": 1,
        "unknown flag left aside: later": 1,
    }


def test_one_bad_object_is_rejected_alone():
    data = json.dumps(
        bundle(file(1), file(2, hashes=5), 7, file(4, hashes={"MD5": "xyz"}), file(5, id=None))
    ).encode()
    rejections = []
    entries = 0
    for batch in open_reader(io.BytesIO(data), format="stix"):
        result = validate(batch, default_handling=Handling())
        rejections += result.rejections
        entries += len(result.entries)
    assert entries == 1
    assert [(each.place.number, each.field) for each in rejections] == [
        (2, "hashes"),
        (3, ""),
        (4, "hashes (MD5)"),
        (5, "id"),
    ]
    assert "xyz" not in repr(rejections)


@pytest.mark.parametrize(
    ("document", "words"),
    [
        ({"type": "report", "objects": []}, "not a STIX bundle"),
        ({"objects": [], "type": "report"}, "not a STIX bundle"),
        ({"type": "bundle", "spec_version": "2.0", "objects": []}, "another version"),
        ({"objects": [], "more": True, "next": "x"}, "TAXII"),
        ({"type": "bundle"}, 'no array "objects"'),
        ([], "expected a JSON object"),
    ],
)
def test_other_files_are_refused(document, words):
    with pytest.raises(FormatError, match=words):
        read(document)


def test_a_cut_bundle_is_refused_before_anything_is_read():
    data = json.dumps(bundle(*(file(n) for n in range(50)))).encode()
    reader = open_reader(
        io.BytesIO(data[:-40]), format="stix", limits=ImportLimits(block_bytes=512)
    )
    with pytest.raises(FormatError, match="cut off"):
        next(reader)


def test_an_envelope_of_taxii_that_is_whole():
    assert len(read({"more": False, "objects": [file()]}).rows) == 1


@pytest.mark.parametrize(
    "options", [{"colour": "red"}, {"classification": "name"}, {"tlp.red": "someone"}]
)
def test_wrong_options_are_named(options):
    with pytest.raises(OptionsError, match=re.escape(next(iter(options)))):
        read(bundle(), options=options)


@pytest.mark.parametrize(
    ("document", "score"),
    [(bundle(file()), 95), ({"objects": [file()]}, 60), ({"objects": []}, None), ([], None)],
)
def test_likeness(document, score):
    found = stix.FORMAT.looks_like(Sample(json.dumps(document).encode()))
    assert (found and found.score) == score


# Writing


ENTRY = Row(
    key=b"\0a",
    hashes={kind: value(kind, 1) for kind in (HashKind.SHA1, HashKind.PDQ, HashKind.PHOTODNA)},
    classification=Classification("vics", "US", "1"),
    handling=Handling("X", ("A", "B")),
    verified_count=3,
    source_id='\u00e9"\\\u2028\u6f22\U0001f980/',
)
CODE_ONLY = Row(key=b"\0b", hashes={HashKind.PDQ: value(HashKind.PDQ, 2)}, verified_count=2**62 + 3)


def written(*rows, gone=False, options=None):
    batch = export_batch(rows, retracted=[gone] * len(rows))
    return json.loads(write([batch], "stix", options)[0])


def test_ids_of_files_are_those_that_the_standard_prescribes():
    """Computed with the library that OASIS publishes for these very objects."""
    ids = [item["id"] for item in written(ENTRY, CODE_ONLY)["objects"] if item["type"] == "file"]
    assert ids == [
        "file--cabcb9a6-d989-57c1-b891-f032a67ead4d",
        "file--5bdab633-3847-5322-8329-504b2c204b18",
    ]


def test_an_entry_without_digest_shows_its_first_code():
    item = written(CODE_ONLY)["objects"][-1]
    assert item["hashes"] == {"x_pdq": text(HashKind.PDQ, 2)}


def test_a_withdrawn_entry_is_a_revoked_indicator():
    """By its own id, and without anything that it said."""
    for entry in (ENTRY, CODE_ONLY):
        listed, item = (written(entry, gone=gone)["objects"][-1] for gone in (False, True))
        assert (item["type"], item["revoked"]) == ("indicator", True)
        entry_id = listed["extensions"][EXTENSION_ID]["entry_id"]
        assert item["extensions"][EXTENSION_ID] == {
            "extension_type": "property-extension",
            "entry_id": entry_id,
        }
        assert item["pattern"] == f"[file:extensions.'{EXTENSION_ID}'.entry_id = '{entry_id}']"


def test_no_payload_and_no_name_is_written():
    for item in written(ENTRY, CODE_ONLY)["objects"]:
        assert not {"payload_bin", "url"} & set(item)
        assert item["type"] != "file" or "name" not in item


def test_a_full_entry_has_all_it_says():
    entry = dataclasses.replace(
        ENTRY,
        hashes={**ENTRY.hashes, HashKind.MD5: value(HashKind.MD5, 1)},
        extra=(
            (HashKind.MD5, value(HashKind.MD5, 2), None),
            (HashKind.PDQ, value(HashKind.PDQ, 3), "crop:0.02"),
        ),
        size=7,
        media_type="image/png",
        flags=EntryFlag.SERIES,
        flags_known=EntryFlag.SERIES | EntryFlag.BASELINE,
        handling=Handling("X", ("A",), datetime(2027, 1, 1, tzinfo=UTC)),
    )
    bundle_ = written(entry)
    item = bundle_["objects"][-1]
    extension = item["extensions"][EXTENSION_ID]
    assert list(item["hashes"]) == ["MD5", "SHA-1"]
    assert (item["size"], item["mime_type"]) == (7, "image/png")
    assert extension["flags"] == {"series": True, "baseline": False}
    assert extension["expires_at"] == "2027-01-01T00:00:00Z"
    assert [each["algorithm"] for each in extension["perceptual_hashes"]] == [
        "pdq",
        "photodna",
        "pdq",
    ]
    assert extension["perceptual_hashes"][2]["derivation"] == "crop:0.02"
    assert [each["algorithm"] for each in extension["further_digests"]] == ["md5"]
    jsonschema.validate(extension, stix_extension.SCHEMA)
    assert problems(bundle_) == []


def test_the_way_of_an_entry_from_one_catalog_into_another(tmp_path):
    """Listed, changed and withdrawn by three bundles, though the file's own id changes."""
    reports = []
    changed = dataclasses.replace(ENTRY, verified_count=4)
    bundles = (written(ENTRY), written(changed), written(changed, gone=True))
    assert len({each["objects"][-1]["id"] for each in bundles}) == 3
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a unit"), author="test")
        for number, document in enumerate(bundles):
            path = tmp_path / f"{number}.json"
            path.write_text(json.dumps(document), encoding="utf-8")
            reports.append(
                import_files(catalog, [path], list_name="demo", format="stix", importer="test")
            )
        counts = [(each.added, each.updated) for each in reports]
        assert counts == [(1, 0), (0, 1), (0, 0)]
        assert catalog.get_list("demo").coverage.entries == 0


def test_who_made_it_and_when():
    options = {"producer": "A unit", "created": "2026-11-21T12:00:00.5+01:00"}
    bundle_ = written(ENTRY, gone=True, options=options)
    made_by = {
        item["id"]: item["name"] for item in bundle_["objects"] if item["type"] == "identity"
    }
    item = bundle_["objects"][-1]
    assert made_by[item["created_by_ref"]] == "A unit"
    assert item["modified"] == "2026-11-21T11:00:00.500Z"
    assert problems(bundle_) == []


def test_two_catalogs_never_share_an_id_and_each_gives_the_same_one_always():
    def ids(catalog_id, *, gone=False, **options):
        origin = FileOrigin(since=3 * gone, catalog_id=catalog_id)
        batch = export_batch([ENTRY, CODE_ONLY], retracted=[gone] * 2)
        data, _ = write([batch], "stix", options, origin)
        assert catalog_id.encode() not in data
        found = read(data)
        keys = [row.key for row in found.rows] or [each.key for each in found.retractions]
        notes = [each["id"] for each in json.loads(data)["objects"] if each["type"] == "note"]
        return keys, notes

    one, other = "ab" * 16, "cd" * 16
    assert ids(one)[0] == ids(one, producer="A unit")[0] == ids(one, gone=True)[0]
    assert not {*ids(one)[0]} & {*ids(other)[0]}
    assert ids(one, gone=True)[1] != ids(other, gone=True)[1]


def test_entries_of_two_lists_never_share_an_id():
    batch = export_batch([ENTRY, ENTRY])
    batch.list_names[1] = "other"
    ids = [item["id"] for item in json.loads(write([batch], "stix")[0])["objects"]]
    assert len(set(ids)) == len(ids)


@pytest.mark.parametrize(
    "options", [{"colour": "red"}, {"created": "now"}, {"created": "2026-11-21"}]
)
def test_wrong_options_of_the_writer_are_named(options):
    with pytest.raises(OptionsError, match=next(iter(options))):
        written(options=options)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("extension-definition.json", stix_extension.DEFINITION),
        ("schema.json", stix_extension.SCHEMA),
    ],
)
def test_what_is_published_is_what_is_written(name, content):
    published = json.loads((ROOT / "docs/stix" / name).read_text(encoding="utf-8"))
    assert published == content
