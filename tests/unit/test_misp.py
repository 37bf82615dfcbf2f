"""The MISP reader by small events: what is taken over, what is left aside, what is refused."""

from __future__ import annotations

import io
import json
import re
import zipfile
from functools import partial
from pathlib import Path

import pytest

from hashlists.catalog import Catalog, stage_result
from hashlists.errors import FormatError, OptionsError, WithdrawalsRefusedError
from hashlists.formats import misp
from hashlists.formats.base import Sample
from hashlists.formats.misp_records import CLASS_RELATIONS, PERCEPTUAL_RELATIONS, TEMPLATE
from hashlists.formats.registry import open_reader
from hashlists.importer import FullList, import_files
from hashlists.limits import ImportLimits
from hashlists.model import Classification, Handling, Harm, HashKind, HashList, Retraction
from hashlists.validate import TEXT_KEY_TAG, validate
from tests.export_support import read as read_back
from tests.export_support import value
from tests.page_support import UNMATCHABLE, run

ROOT = Path(__file__).resolve().parents[2]
SECRET = "SECRETWORD"
LIST_HANDLING = Handling("list", ("partner",))


def uuid(number: int) -> str:
    return f"{number:08d}-0000-4000-8000-000000000000"


def text(kind: HashKind, seed: int = 1) -> str:
    return value(kind, seed).hex()


def attribute(number: int = 1, kind: str = "sha256", **members):
    default = text(HashKind(kind), number) if kind in set(HashKind) else "x"
    return {
        "uuid": uuid(number),
        "type": kind,
        "value": default,
        "to_ids": True,
        "deleted": False,
        "comment": SECRET,
        "timestamp": "1700000000",
        **members,
    }


def related(relation: str, kind: str, content: object, **members):
    return {
        **attribute(900, kind, value=content, to_ids=kind != "text"),
        "object_relation": relation,
        **members,
    }


def item(number: int, *attributes, name: str = "file", **members):
    return {"uuid": uuid(number), "name": name, "Attribute": list(attributes), **members}


def event(*attributes, objects=(), **members):
    return {
        "info": SECRET,
        "uuid": uuid(999),
        "Orgc": {"name": "A hotline", "uuid": uuid(998)},
        "Attribute": list(attributes),
        "Object": list(objects),
        "Galaxy": [{"name": SECRET}],
        **members,
    }


def read(document, options=None, handling=LIST_HANDLING, **limits):
    data = document if isinstance(document, bytes) else json.dumps(document).encode()
    return read_back(data, "misp", options, ImportLimits(**limits), handling=handling)


def one(document, **kwargs):
    (row,) = read(document, **kwargs).rows
    return row


@pytest.mark.parametrize(
    "wrap",
    [
        lambda each: {"Event": each},
        lambda each: each,
        lambda each: [{"Event": each}],
        lambda each: [each],
        lambda each: {"response": [{"Event": each}]},
        lambda each: {"response": {"Event": each}},
        lambda each: {"response": [{"Event": {**each, "Object": each["Object"][0]}}]},
    ],
)
@pytest.mark.parametrize("block", [1, 97, 1 << 16])
def test_every_wrapping(wrap, block):
    found = read(
        wrap(event(attribute(1), attribute(2, "md5"), objects=[item(3, attribute(4, "sha1"))])),
        block_bytes=block,
    )
    assert [row.key for row in found.rows] == [TEXT_KEY_TAG + uuid(n).encode() for n in (1, 2, 3)]
    assert [next(iter(row.hashes)) for row in found.rows] == ["sha256", "md5", "sha1"]
    assert {row.handling.originator for row in found.rows} == {"A hotline"}
    assert found.notes == {}


def test_answer_to_a_search_for_attributes():
    found = read({"response": {"Attribute": [attribute(1), attribute(2)]}})
    assert len(found.rows) == 2


@pytest.mark.parametrize("wrap", [lambda each: {"response": each}, lambda each: each])
@pytest.mark.parametrize("block", [1, 97, 1 << 16])
def test_answer_to_a_search_for_objects(wrap, block):
    """Each stands alone in an object of its own, which says of no other what its event says."""
    found = read(
        wrap(
            [
                {"Object": item(1, attribute(10), Event={"distribution": "0"})},
                {"Object": item(2, attribute(20, "md5"), attribute(21))},
                {"Object": item(3, attribute(30), deleted=True)},
            ]
        ),
        block_bytes=block,
    )
    assert [row.source_id for row in found.rows] == [uuid(1), uuid(2)]
    assert [row.handling.releasable_to for row in found.rows] == [(), ("partner",)]
    assert [each.key[1:].decode() for each in found.retractions] == [uuid(3), uuid(30)]


def test_single_objects_of_an_answer_are_put_together():
    found = [
        {"Object": item(at, attribute(at + 100, "md5"), Event={"distribution": "3"})}
        for at in range(1, 60)
    ]
    found[30]["Object"]["uuid"] = 7
    data = json.dumps({"response": found}).encode()
    batches = list(open_reader(io.BytesIO(data), format="misp"))
    assert len(batches) == 1
    (batch,) = batches
    assert [batch.place_at(row).number for row in (0, 29, 30, 57)] == [1, 30, 32, 59]
    assert [each.place.number for each in batch.rejections] == [31]


def test_what_is_put_together_has_one_context_and_bounds():
    events = [
        event(attribute(at, "md5"), uuid=uuid(at), Tag=[{"name": f"tlp:{colour}"}])
        for at, colour in enumerate(["red", "red", "white", "red"], start=1)
    ]
    data = json.dumps({"response": events}).encode()

    for block, expected in ((1 << 16, [2, 1, 1]), (100, [1, 1, 1, 1])):
        limits = ImportLimits(block_bytes=block)
        batches = list(open_reader(io.BytesIO(data), format="misp", limits=limits))
        assert [batch.rows for batch in batches] == expected


def test_what_a_search_told_is_withdrawn_with_its_object(tmp_path):
    told = {"response": {"Attribute": [attribute(n, object_relation="x") for n in (1, 2, 3, 4)]}}
    objects = [
        item(10, attribute(1), deleted=True),
        item(20, attribute(2, deleted=True), attribute(5, "md5"), name="pe-section"),
        item(30, attribute(3), attribute(6, "md5", to_ids=False), related("x", "text", "x")),
    ]
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a unit"), author="test")
        reports = []
        for number, document in enumerate((told, event(objects=objects))):
            path = tmp_path / f"{number}.json"
            path.write_text(json.dumps(document), encoding="utf-8")
            reports.append(
                import_files(catalog, [path], list_name="demo", format="misp", importer="test")
            )
        assert (reports[0].added, reports[1].added, reports[1].retracted) == (4, 1, 2)
        assert catalog.get_list("demo").coverage.entries == 3  # 3 and 4, and the object 30


@pytest.mark.parametrize(
    ("states", "withdrawn"),
    [
        (["Harmless"], True),
        (["trusted", "Signed"], True),
        (["Malicious"], False),
        (["Harmless", "Malicious"], False),
        (["Signed"], False),
        ([None], False),
    ],
)
def test_a_file_that_its_source_calls_harmless_is_withdrawn(states, withdrawn):
    said = [related("state", "text", state) for state in states]
    gone = related("state", "text", "Harmless", deleted=True)
    found = read(event(objects=[item(1, attribute(10), *said), item(2, attribute(20), gone)]))
    assert [row.source_id for row in found.rows] == [uuid(n) for n in (1, 2)[withdrawn:]]
    told = [(each.key[1:].decode(), each.reason) for each in found.retractions]
    reason = "its source calls it harmless (state)"
    assert told == ([(uuid(1), reason), (uuid(10), reason)] if withdrawn else [])
    notes = {"file that its source calls harmless left aside": 1} if withdrawn else {}
    assert found.notes == notes


@pytest.mark.parametrize(
    ("around", "options", "expected"),
    [
        ({"distribution": "3"}, {}, ("partner",)),
        ({"distribution": "0"}, {}, ()),
        ({"distribution": "1"}, {"distribution.1": "a,b"}, ("a", "b")),
        ({"distribution": "3", "Tag": [{"name": "tlp:red"}]}, {}, ()),
        ({"distribution": "3", "Tag": [{"name": "tlp:green"}]}, {"tlp.green": "a"}, ("a",)),
        ({"distribution": "5"}, {}, ()),
        ({}, {}, ()),
        (None, {}, ()),
    ],
)
def test_an_answer_to_a_search_tells_the_event_in_each_item(around, options, expected):
    """What is distributed as its event goes to nobody where nothing says how that is."""
    members = {"distribution": "5"} if around is None else {"distribution": "5", "Event": around}
    for document in (
        {"response": {"Attribute": [attribute(1, **members), attribute(2, distribution="0")]}},
        {"response": {"Object": [item(1, attribute(3, distribution="5"), **members)]}},
    ):
        assert read(document, options=options).rows[0].handling.releasable_to == expected


def test_what_an_answer_tells_of_event_and_object_holds_as_in_an_event():
    around = {"Orgc": {"name": "org"}, "Tag": [{"name": "copine-scale:level-3"}]}
    found = read(
        {
            "response": {
                "Attribute": [
                    attribute(1, Event=around),
                    attribute(2, Tag=[{"name": "copine-scale:level-4"}], Event=around),
                    attribute(3, distribution="3", Object={"id": "1", "distribution": "0"}),
                    attribute(4, Object={"id": None, "distribution": None}),
                ]
            }
        }
    )
    assert [row.handling.originator for row in found.rows] == ["org", "org", "list", "list"]
    codes = [row.classification.code if row.classification else None for row in found.rows]
    assert codes == ["level-3", "level-4", None, None]
    recipients = [row.handling.releasable_to for row in found.rows]
    assert recipients == [("partner",), ("partner",), (), ("partner",)]


def test_every_event_has_its_own_context():
    """Tags stand behind what they are about."""
    documents = [
        {
            "Event": event(
                attribute(n), Orgc={"name": f"org {n}"}, Tag=[{"name": f"copine-scale:level-{n}"}]
            )
        }
        for n in (1, 2, 3)
    ]
    found = read({"response": [*documents, {"Event": {"Attribute": [attribute(4)]}}]})
    assert [row.handling.originator for row in found.rows] == ["org 1", "org 2", "org 3", "list"]
    codes = [row.classification.code if row.classification else None for row in found.rows]
    assert codes == ["level-1", "level-2", "level-3", None]


def test_the_name_before_a_hash_is_dropped():
    digest = text(HashKind.MD5)
    found = read(event(attribute(1, "filename|md5", value=f"{SECRET}|{SECRET}|{digest}")))
    assert found.rows[0].hashes == {HashKind.MD5: value(HashKind.MD5, 1)}
    assert SECRET not in repr(found)


def test_a_file_object_is_one_entry():
    row = one(
        event(
            objects=[
                item(
                    5,
                    related("md5", "md5", text(HashKind.MD5)),
                    related("sha1", "sha1", text(HashKind.SHA1)),
                    related("sha256", "sha256", text(HashKind.SHA256)),
                    related("sha256", "sha256", text(HashKind.SHA256, 2)),
                    related("sha512", "sha512", "ab" * 64),
                    related("filename", "filename", SECRET),
                    related("size-in-bytes", "size-in-bytes", "488"),
                    related("mimetype", "mime-type", "image/png"),
                    timestamp=1700000001,
                )
            ]
        )
    )
    assert row.key == TEXT_KEY_TAG + uuid(5).encode()
    assert set(row.hashes) == {HashKind.MD5, HashKind.SHA1, HashKind.SHA256}
    assert row.extra == ((HashKind.SHA256, value(HashKind.SHA256, 2), None),)
    assert (row.size, row.media_type) == (488, "image/png")
    assert (row.source_id, row.updated_at) == (uuid(5), "1700000001")


def test_our_own_template():
    row = one(
        event(
            objects=[
                item(
                    5,
                    related("sha256", "sha256", text(HashKind.SHA256)),
                    *(related(kind, "text", text(HashKind(kind))) for kind in PERCEPTUAL_RELATIONS),
                    related("pdq", "text", text(HashKind.PDQ, 2)),
                    related("classification-scheme", "text", "vics"),
                    related("classification-profile", "text", "US"),
                    related("classification-code", "text", "1"),
                    name=TEMPLATE,
                )
            ],
            Tag=[{"name": "copine-scale:level-5"}],
        )
    )
    assert set(row.hashes) == set(HashKind) - {HashKind.MD5, HashKind.SHA1}
    assert row.extra == ((HashKind.PDQ, value(HashKind.PDQ, 2), None),)
    assert row.classification == Classification("vics", "US", "1")


def test_the_published_template_has_what_is_read():
    definition = json.loads((ROOT / "docs/misp/definition.json").read_text(encoding="utf-8"))
    relations = definition["attributes"]
    assert definition["name"] == TEMPLATE
    assert set(definition["requiredOneOf"]) == {kind.value for kind in HashKind}
    expected = {*(kind.value for kind in HashKind), *CLASS_RELATIONS, "size-in-bytes", "mimetype"}
    assert set(relations) == expected
    for kind in HashKind:
        typed = relations[kind.value]["misp-attribute"]
        assert typed == (kind.value if kind.is_digest else "text")


@pytest.mark.parametrize("yes", [True, 1, "1", "true"])
def test_what_is_deleted_is_withdrawn(yes):
    found = read(
        event(
            attribute(1, deleted=yes),
            attribute(2),
            objects=[
                item(3, attribute(30), deleted=yes),
                item(4, attribute(40, deleted=yes)),
                item(5, attribute(50, deleted=yes), attribute(51, "md5")),
            ],
        )
    )
    assert [row.key[1:].decode() for row in found.rows] == [uuid(2), uuid(5)]
    assert [set(row.hashes) for row in found.rows] == [{HashKind.SHA256}, {HashKind.MD5}]
    withdrawn = [uuid(n) for n in (1, 3, 30, 4, 40, 50)]
    assert [each.key[1:].decode() for each in found.retractions] == withdrawn
    assert {each.reason for each in found.retractions} == {"deleted by its source"}


def test_what_is_deleted_is_withdrawn_whatever_it_is_called():
    objects = [item(2, attribute(20), name="email", deleted=True), item(3, deleted=True)]
    found = read(event(attribute(1, "text", deleted="1"), attribute(4, "text"), objects=objects))
    assert found.rows == []
    told = [(each.key[1:].decode(), each.unmatchable) for each in found.retractions]
    numbers = {1: False, 4: True, 2: False, 20: False, 3: False}
    assert told == [(uuid(number), unmatchable) for number, unmatchable in numbers.items()]
    assert found.notes == {"attribute of another type left aside: text": 1}


@pytest.mark.parametrize("no", [False, 0, "0", "false"])
def test_what_is_not_for_detection_is_withdrawn_unless_asked_for(no):
    document = event(
        attribute(1, to_ids=no),
        attribute(2, to_ids=None),
        objects=[item(3, attribute(4, to_ids=no))],
    )
    found = read(document)
    assert [row.source_id for row in found.rows] == [uuid(2)]
    assert len(found.retractions) == 3  # the object and its hash
    assert "to_ids" in found.retractions[0].reason
    assert len(read(document, options={"to_ids": "any"}).rows) == 3


def test_other_types_and_templates_are_noted():
    found = read(
        event(
            attribute(1, "domain"),
            attribute(2, "sha512"),
            attribute(3, "malware-sample", data=SECRET),
            objects=[
                item(4, related("phash-dct-base64", "text", "x"), name="cert-pl-phishing"),
                item(5, attribute(50, "md5"), name="pe-section"),
                item(6, related("filename", "filename", SECRET)),
                item(7, attribute(70, "md5"), name="lnk"),
            ],
        ),
        options={"objects": "lnk, other"},
    )
    assert [row.source_id for row in found.rows] == [uuid(7)]
    assert found.notes == {
        "attribute of another type left aside: domain": 1,
        "attribute of another type left aside: sha512": 1,
        "attribute of another type left aside: malware-sample": 1,
        "object of another template left aside: cert-pl-phishing": 1,
        "object of another template left aside: pe-section": 1,
        "file without a hash of a known kind left aside": 1,
    }
    assert found.retractions == [
        Retraction(TEXT_KEY_TAG + uuid(each).encode(), UNMATCHABLE, unmatchable=True)
        for each in (1, 2, 3, 6)
    ]


@pytest.mark.parametrize("spelled", ["SHA-256", "sha_256", "filename|SHA256", "Filename|sha-256"])
def test_a_type_in_another_spelling_is_the_same(spelled):
    content = text(HashKind.SHA256, 1)
    prefix = "a name|" if "|" in spelled else ""
    found = read(event(attribute(1, spelled, value=prefix + content)))
    assert found.rows[0].hashes == {HashKind.SHA256: value(HashKind.SHA256, 1)}


def test_what_looks_like_a_digest_of_an_unknown_type_is_rejected_and_withdraws_nothing():
    document = event(
        attribute(1, "md5sum", value="5a" * 16),
        attribute(2, "newest-kind", value="no hash"),
        attribute(3, "ja3-fingerprint-md5", value="5a" * 16),
        objects=[
            item(4, related("md5sum", "md5sum", "5A" * 16)),
            item(5, related("md5sum", "md5sum", "5A" * 16, deleted=True)),
            item(6, attribute(60), name="File"),
        ],
    )
    found = run(document, "misp")
    assert [(each.place.number, each.field) for each in found.rejections] == [
        (1, "type"), (4, "type"),
    ]  # fmt: skip
    assert [each.key[1:].decode() for each in found.retractions] == [uuid(3), uuid(5)]
    assert found.rows == []


def test_what_is_left_aside_without_a_uuid_is_only_noted():
    found = read(event(attribute(1, "domain", uuid=None), attribute(2), objects=[item(3, uuid="")]))
    assert (len(found.rows), found.retractions) == (1, [])


def test_an_object_whose_last_hash_is_gone_is_withdrawn(tmp_path):
    """And an attribute that became one of another type; both come back with a hash."""
    first = event(attribute(1), attribute(2), objects=[item(3, attribute(30, "md5"))])
    later = event(attribute(1, "domain"), attribute(2), objects=[item(3, attribute(30, "sha512"))])
    counts = []
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a unit"), author="test")
        for number, document in enumerate((first, later, later, first)):
            path = tmp_path / f"{number}.json"
            path.write_text(json.dumps(document), encoding="utf-8")
            bring = partial(
                import_files, catalog, [path], list_name="demo", format="misp", importer="test"
            )
            if number == 1:
                with pytest.raises(WithdrawalsRefusedError, match=r"2 of 3 .* 66\.7%.*--force"):
                    bring()
                refusals = []
                tried = bring(dry_run=True, tell_refusal=refusals.append)
                assert (tried.retracted, len(refusals)) == (2, 1)
                assert bring(dry_run=True, full=FullList(force=True)).retracted == 2
            report = bring(force=number == 1)
            counts.append(report.retracted)
            assert report.notes.get(stage_result.UNMATCHABLE, 0) == report.retracted
            assert report.rejected == 0
        assert counts == [0, 2, 0, 0]
        assert catalog.get_list("demo").coverage.entries == 3


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        (["copine-scale:level-5"], Classification("copine-scale", "", "level-5")),
        (['copine-scale:level="level-5"'], Classification("copine-scale", "", "level-5")),
        (["COPINE-SCALE:level-5"], Classification("copine-scale", "", "level-5")),
        (
            ["copine-scale:level-5", "copine-scale:level-7"],
            Classification("copine-scale", "", "level-5;level-7"),
        ),
        (["other:thing", "free text"], Classification("copine-scale", "", "level-1")),
        (['own:class="A"'], Classification("own", "", "A")),
    ],
)
def test_class_by_tag(tags, expected):
    """The attribute's own class counts before the event's."""
    row = one(
        event(
            attribute(1, Tag=[{"name": name} for name in tags]),
            Tag=[{"name": "copine-scale:level-1"}],
        ),
        options={"taxonomies": "own,copine-scale"},
    )
    assert row.classification == expected


@pytest.mark.parametrize(
    ("members", "event_members", "options", "expected"),
    [
        ({}, {}, {}, ("partner",)),
        ({"distribution": "5"}, {"distribution": 3}, {}, ("partner",)),
        ({"distribution": "5"}, {}, {}, ()),
        ({"distribution": "3"}, {"distribution": "5"}, {}, ()),
        ({"distribution": "0"}, {}, {}, ()),
        ({}, {"distribution": "1"}, {}, ()),
        ({"distribution": 7}, {}, {}, ()),
        ({"distribution": "1"}, {}, {"distribution.1": "a, b"}, ("a", "b")),
        ({"distribution": "1"}, {"distribution": "2"}, {"distribution.1": "a"}, ()),
        ({"Tag": [{"name": "tlp:red"}]}, {}, {}, ()),
        ({"Tag": [{"name": "TLP:CLEAR"}]}, {}, {}, ("partner",)),
        ({"Tag": [{"name": "tlp:white"}]}, {"Tag": [{"name": "tlp:green"}]}, {}, ()),
        ({"Tag": [{"name": "tlp:green"}]}, {}, {"tlp.green": "a,b"}, ("a", "b")),
        ({"Tag": [{"name": "tlp:unheard"}]}, {}, {"tlp.green": "a"}, ()),
        (
            {"Tag": [{"name": "tlp:green"}]},
            {"Tag": [{"name": "tlp:amber"}]},
            {"tlp.green": "a,b", "tlp.amber": "b,c"},
            ("b",),
        ),
    ],
)
def test_recipients_are_only_those_whom_all_allow(members, event_members, options, expected):
    for document in (
        event(attribute(1, **members), **event_members),
        event(objects=[item(2, attribute(1, **members))], **event_members),
    ):
        row = one(document, options=options)
        assert row.handling.releasable_to == expected


def test_one_bad_record_is_rejected_alone():
    document = event(
        attribute(1), attribute(2, value={}), attribute(3, value="xyz"), attribute(4, uuid=None)
    )
    data = json.dumps(document).encode()
    rejections = []
    entries = 0
    for batch in open_reader(io.BytesIO(data), format="misp"):
        result = validate(batch, default_handling=Handling())
        rejections += result.rejections
        entries += len(result.entries)
    assert entries == 1
    assert [(each.place.number, each.field) for each in rejections] == [
        (2, "value"),
        (3, "sha256"),
        (4, "uuid"),
    ]
    assert "xyz" not in repr(rejections)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (json.dumps({uuid(1): {"info": "x"}}), "manifest of a MISP feed.*event files"),
        (f"{'0' * 32},{uuid(1)}\n", r"hashes\.csv.*not of files"),
        ("{}", "no MISP event"),
        ("[]", "no MISP event"),
        ('{"value": []}', "no MISP event"),
        ('{"Event": {"Attribute": [', "cut off"),
        ('{"Event": {"Attribute": []}} {}', "goes on"),
        ("<x/>", "XML"),
    ],
)
def test_other_files_are_refused(data, words):
    with pytest.raises(FormatError, match=words):
        read(data.encode())


def test_a_whole_feed_in_an_archive(tmp_path):
    """Events are imported as one; the files beside them are left aside and noted."""
    archive = tmp_path / "feed.zip"
    with zipfile.ZipFile(archive, "w") as out:
        out.writestr("manifest.json", json.dumps({uuid(1): {"info": SECRET}, uuid(2): {}}))
        out.writestr("hashes.csv", f"{'0' * 32},{uuid(1)}\n")
        out.writestr(f"{uuid(1)}.json", json.dumps({"Event": event(attribute(1))}))
        out.writestr(f"{uuid(2)}.json", json.dumps({"Event": event(attribute(2))}))
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a feed"), author="test")
        first, again = (
            import_files(catalog, [archive], list_name="demo", format="misp", importer="test")
            for _ in range(2)
        )
    assert (first.added, first.rejected) == (2, 0)
    assert first.notes["manifest.json or hashes.csv of a MISP feed left aside"] == 2
    assert (again.added, again.updated, again.unchanged) == (0, 0, 2)


def test_what_is_too_long_or_too_deep():
    """A record is rejected alone; what stands beside them may be long, but not that deep."""
    deep = b"[" * 100_000 + b"]" * 100_000
    data = json.dumps(event(attribute(1), attribute(2, x="DEEP"), attribute(3, data="x" * 5000)))
    rejections = [
        each
        for batch in open_reader(
            io.BytesIO(data.encode().replace(b'"DEEP"', deep)),
            format="misp",
            limits=ImportLimits(max_record_bytes=300_000),
        )
        for each in batch.rejections
    ]
    assert [(each.place.number, each.reason) for each in rejections] == [
        (2, "the record is nested too deeply")
    ]
    limits = ImportLimits(max_record_bytes=4000, block_bytes=64)
    batches = list(open_reader(io.BytesIO(data.encode()), format="misp", limits=limits))
    assert [each.place.number for batch in batches for each in batch.rejections] == [3]
    with pytest.raises(FormatError, match="nested too deeply"):
        read(data.encode().replace(b'"Galaxy": [', b'"Galaxy": [' + deep + b", "))


def test_an_event_without_hashes_is_empty():
    assert read({"Event": {"info": "x"}}).rows == []


@pytest.mark.parametrize(
    "options", [{"colour": "red"}, {"to_ids": "no"}, {"tlp.red": "a"}, {"distribution.0": "a"}]
)
def test_wrong_options_are_named(options):
    with pytest.raises(OptionsError, match=re.escape(next(iter(options)))):
        read(event(), options=options)


def test_too_many_contexts_are_refused():
    document = [event(Orgc={"name": f"org {n}"}) for n in range(5)]
    with pytest.raises(FormatError, match="max_references"):
        read(document, max_references=3)


@pytest.mark.parametrize(
    ("document", "score", "words"),
    [
        ({"Event": event()}, 95, "MISP events"),
        ([{"Event": event()}], 95, "MISP events"),
        ({"response": [{"Event": event()}]}, 95, "MISP events"),
        ({"response": {"Attribute": []}}, 90, "search for attributes"),
        ({"response": [{"Object": {}}]}, 90, "search for objects"),
        (event(), 70, "members of a MISP event"),
        ({uuid(1): {"info": "x"}}, 92, "manifest"),
    ],
)
def test_likeness(document, score, words):
    found = misp.FORMAT.looks_like(Sample(b"\xef\xbb\xbf" + json.dumps(document).encode()))
    assert found is not None
    assert found.score == score
    assert words in found.why


def test_likeness_of_others():
    found = misp.FORMAT.looks_like(Sample(f"{'0' * 32},{uuid(1)}\n".encode()))
    assert found is not None
    assert "hashes.csv" in found.why
    for data in (b"", b'{"value": []}', b"a,b\n1,2\n", b'{"type": "bundle", "objects": []}'):
        assert misp.FORMAT.looks_like(Sample(data)) is None


def test_a_large_event_takes_little_memory():
    """Every array is read in blocks, whichever stands behind another."""
    many = event(
        *(attribute(n) for n in range(3000)), objects=[item(n, attribute(n)) for n in range(3000)]
    )
    data = json.dumps({"Event": many}).encode()
    biggest = rows = 0
    limits = ImportLimits(block_bytes=16_384)
    for batch in open_reader(io.BytesIO(data), format="misp", limits=limits):
        biggest = max(biggest, batch.rows)
        rows += batch.rows
    assert rows == 6000
    assert biggest < 200
