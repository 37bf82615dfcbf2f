"""The VICS reader by small files: what is taken over, what is left aside, what is refused."""

from __future__ import annotations

import base64
import io
import json
import random
import tracemalloc

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.registry import open_reader
from hashlists.formats.vics_context import CONTEXT_KEYS
from hashlists.limits import ImportLimits
from hashlists.model import Classification, EntryFlag, ExtraHash, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate
from loadtest.generate_lists import write_list

CONTEXT_2_0 = (
    "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/{profile}/$metadata#{kind}"
)
CONTEXT_1_3 = "http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Media"


def value(kind: HashKind, seed: int = 1) -> bytes:
    return random.Random(f"{kind}{seed}").randbytes(kind.nbytes)


def media(seed: int = 1, **members):
    record = {"MediaID": seed, "Category": 1, "MD5": value(HashKind.MD5, seed).hex().upper()}
    return {**record, **members}


def vics(*records, context=None, profile="US", kind="Media"):
    context = context or CONTEXT_2_0.format(profile=profile, kind=kind)
    return json.dumps({"@odata.context": context, "value": list(records)}).encode()


def with_members(*records, **members):
    """A file with further members beside the records."""
    return json.dumps({**json.loads(vics(*records)), **members}).encode()


def read(data, *, options=None, limits=None):
    limits = limits or ImportLimits()
    reader = open_reader(io.BytesIO(data), format="vics", options=options, limits=limits)
    return reader, list(reader)


def run(data, *, options=None, limits=None):
    """All entries as tuples of what matters, and all rejections."""
    _, batches = read(data, options=options, limits=limits)
    results = [validate(batch, default_handling=Handling()) for batch in batches]
    rejections = [rejection for result in results for rejection in result.rejections]
    return [result.entries for result in results if len(result.entries)], rejections


def one(record, **kwargs):
    """The single entry that a record gives, as a dict of columns."""
    batches, rejections = run(vics(record, **kwargs))
    assert rejections == []
    (entries,) = batches
    assert len(entries) == 1
    return entries


def test_every_field_of_the_schema_that_is_taken_over():
    entry = one(
        media(
            7,
            SHA1=value(HashKind.SHA1).hex(),
            PhotoDNA=base64.b64encode(value(HashKind.PHOTODNA)).decode(),
            AlternativeHashes=[
                {"MD5": "x", "HashName": "PDQ", "HashValue": value(HashKind.PDQ).hex()},
                {"HashName": "SHA-256", "HashValue": value(HashKind.SHA256).hex().upper()},
                {"HashName": "pHash", "HashValue": value(HashKind.PHASH).hex()},
            ],
            MediaSize=488,
            MimeType="image/jpeg",
            DateUpdated="2023-06-07T02:31:49.8300Z",
            VictimIdentified=True,
            IsDistributed=False,
        )
    )
    assert entry.keys == [KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 7)]
    expected = {
        HashKind.MD5: value(HashKind.MD5, 7),
        **{
            kind: value(kind)
            for kind in (
                HashKind.SHA1,
                HashKind.PHOTODNA,
                HashKind.PDQ,
                HashKind.SHA256,
                HashKind.PHASH,
            )
        },
    }
    assert {kind: column[0] for kind, column in entry.hashes.items()} == expected
    assert entry.classifications == [Classification("vics", "US", "1")]
    assert list(entry.sizes) == [488]
    assert list(entry.media_types) == ["image/jpeg"]
    assert list(entry.source_ids) == ["7"]
    assert list(entry.source_updated_at) == ["2023-06-07T02:31:49.8300Z"]
    assert EntryFlag(entry.flags[0]) == EntryFlag.VICTIM_IDENTIFIED
    known = EntryFlag.VICTIM_IDENTIFIED | EntryFlag.DISTRIBUTED
    assert EntryFlag(entry.flags_known[0]) == known


def test_header_names_version_and_profile():
    reader, _ = read(vics(media(), profile="UK"))
    assert (reader.format, reader.header.version, reader.header.profile) == ("vics", "2.0", "UK")
    assert reader.header.scheme == "vics"


def test_version_1_3_with_its_noise():
    record = media(
        **{
            "odata.id": "Media('x')",
            "AlternativeHashes@odata.navigationLinkUrl": "Media('x')/AlternativeHashes",
            "AlternativeHashes": [
                {
                    "HashName": "photodna",
                    "HashValue": base64.b64encode(value(HashKind.PHOTODNA)).decode(),
                }
            ],
        }
    )
    data = json.dumps({"odata.metadata": CONTEXT_1_3, "value": [record]}).encode()
    reader, (batch,) = read(data)
    assert (reader.header.version, reader.header.profile) == ("1.3", "")
    entries = validate(batch, default_handling=Handling()).entries
    assert entries.hashes[HashKind.PHOTODNA] == [value(HashKind.PHOTODNA)]
    assert entries.classifications == [Classification("vics", "", "1")]


@pytest.mark.parametrize("version", ["1.0", "1.1", "1.2", "1.3", "2.0"])
def test_every_known_version(version):
    context = f"http://example.org/DataModels/{version}.xml#Media"
    reader, _ = read(vics(media(), context=context))
    assert reader.header.version == version


def test_profile_option_fills_a_gap_only():
    data = vics(media(), context=CONTEXT_1_3)
    assert read(data, options={"profile": "CA"})[0].header.profile == "CA"
    assert read(vics(media()), options={"profile": "US"})[0].header.profile == "US"
    with pytest.raises(OptionsError, match=r"'US'.*'CA'"):
        read(vics(media()), options={"profile": "CA"})


def test_unknown_option_is_named():
    with pytest.raises(OptionsError, match=r"'colour'.*profile"):
        read(vics(media()), options={"colour": "red"})


@pytest.mark.parametrize(
    ("category", "code"), [(0, "0"), (5, "5"), ("0", "0"), ("2", "2"), ("A1", "A1")]
)
def test_category_is_kept_verbatim_and_0_is_a_value(category, code):
    entry = one(media(Category=category), profile="UK")
    assert entry.classifications == [Classification("vics", "UK", code)]


@pytest.mark.parametrize("category", [None, ""])
def test_no_category_is_no_classification(category):
    assert one(media(Category=category)).classifications == [None]


def test_photodna_in_every_shape():
    raw = value(HashKind.PHOTODNA)
    shapes = [
        base64.b64encode(raw).decode(),
        raw.hex().upper(),
        ",".join(map(str, raw)),
    ]
    records = [media(number, PhotoDNA=text) for number, text in enumerate(shapes)]
    (entries,), rejections = run(vics(*records))
    assert rejections == []
    assert entries.hashes[HashKind.PHOTODNA] == [raw] * 3


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (True, True),
        (False, False),
        ("true", True),
        ("False", False),
        (1, True),
        (0, False),
        ("", None),
        (None, None),
    ],
)
def test_booleans_in_every_form(written, said):
    entry = one(media(SelfGenerated=written))
    bit = int(EntryFlag.SELF_GENERATED)
    assert entry.flags_known[0] == (0 if said is None else bit)
    assert entry.flags[0] == (bit if said else 0)


@pytest.mark.parametrize(
    ("series", "said"),
    [("Some Name", True), ("false", False), ("", None), (None, None), (True, True)],
)
def test_only_that_there_is_a_series_is_kept(series, said):
    entry = one(media(Series=series))
    bit = int(EntryFlag.SERIES)
    assert entry.flags_known[0] == (0 if said is None else bit)
    assert entry.flags[0] == (bit if said else 0)
    assert "Some Name" not in repr(entry)


def test_case_data_goes_no_further():
    secret = "SECRETWORD"
    record = media(
        RelativeFilePath=secret,
        Comments=secret,
        Tags=secret,
        Series=secret,
        Miniature=secret,
        Exifs=[{"PropertyName": secret, "PropertyValue": secret}],
        MediaFiles=[{"FilePath": secret, "FileName": secret}],
        Identifiers=[{"Name": secret}],
    )
    _, (batch,) = read(vics(record))
    result = validate(batch, default_handling=Handling())
    assert len(result.entries) == 1
    columns = [batch.codes, batch.source_ids, batch.media_types, batch.updated_at]
    columns += [column.values for column in batch.hashes]
    columns += [column.values for column in batch.flags]
    assert secret not in repr([list(column) for column in columns])
    assert secret not in repr(result)


@pytest.mark.parametrize("size", [488, "488", " 488 ", 488.0])
def test_numbers_in_every_form(size):
    assert list(one(media(MediaSize=size)).sizes) == [488]


@pytest.mark.parametrize("size", [488.5, 1e300, -1.0])
def test_sizes_that_are_none_are_rejected(size):
    (entries,), rejections = run(vics(media(1, MediaSize=size), media(2, MediaSize=488.0)))
    assert list(entries.sizes) == [488]
    assert [(r.place.number, r.field) for r in rejections] == [(1, "MediaSize")]


def test_media_type_must_look_like_one():
    assert one(media(MimeType="a sentence about a case")).media_types == [None]


def test_second_value_of_a_kind_is_an_extra_hash():
    first, second = value(HashKind.PDQ, 1), value(HashKind.PDQ, 2)
    hashes = [{"HashName": "PDQ", "HashValue": code.hex()} for code in (first, second, first)]
    entry = one(media(AlternativeHashes=hashes))
    assert entry.hashes[HashKind.PDQ] == [first]
    assert entry.extra_hashes == [ExtraHash(0, HashKind.PDQ, second)]


def test_alternative_value_of_a_member_kind():
    """One record has its SHA-1 as a member, the next among the alternative hashes."""
    first, second = value(HashKind.SHA1, 1), value(HashKind.SHA1, 2)
    records = [
        media(1, SHA1=first.hex()),
        media(2, AlternativeHashes=[{"HashName": "SHA1", "HashValue": second.hex()}]),
    ]
    (entries,), rejections = run(vics(*records))
    assert rejections == []
    assert entries.hashes[HashKind.SHA1] == [first, second]
    assert entries.extra_hashes == []


def test_hash_names_in_any_case_and_spelling():
    names = ["sha-256", "SHA256", "Sha_256", "SHA 256"]
    records = [
        media(
            n, AlternativeHashes=[{"HashName": name, "HashValue": value(HashKind.SHA256, n).hex()}]
        )
        for n, name in enumerate(names)
    ]
    (entries,), _ = run(vics(*records))
    assert entries.hashes[HashKind.SHA256] == [value(HashKind.SHA256, n) for n in range(4)]


def test_hash_of_unknown_name_is_noted_not_an_error():
    unknown = [
        {"HashName": "LACE", "HashValue": "anything"},
        {"HashName": "d\u00e9j\u00e0 vu\n", "HashValue": "anything"},
        {"HashName": None, "HashValue": "anything"},
        {"HashName": "PDQ", "HashValue": None},
        None,
    ]
    _, (batch,) = read(vics(media(1, AlternativeHashes=unknown), media(2, AlternativeHashes=[])))
    assert dict(batch.notes) == {
        "hash of unknown kind left aside: LACE": 1,
        "hash of unknown kind left aside: without a printable name": 2,
    }
    assert validate(batch, default_handling=Handling()).rejections == []


def test_notes_are_bounded():
    unknown = [{"HashName": f"h{n}", "HashValue": "x"} for n in range(100)]
    _, (batch,) = read(vics(media(AlternativeHashes=unknown)))
    assert len(batch.notes) <= 21
    assert sum(batch.notes.values()) == 100


def test_without_md5_the_strongest_digest_is_the_key():
    hashes = {"SHA1": value(HashKind.SHA1).hex(), "SHA256": value(HashKind.SHA256).hex()}
    entry = one({"MediaID": 1, **hashes})
    assert entry.keys == [KEY_TAGS[HashKind.SHA256] + value(HashKind.SHA256)]


def test_empty_hash_set():
    assert run(vics()) == ([], [])


def test_byte_order_mark():
    assert len(run(b"\xef\xbb\xbf" + vics(media()))[0][0]) == 1


def test_context_behind_the_records():
    document = {
        "value": [media(n) for n in range(50)],
        "@odata.count": 50,
        "@odata.context": CONTEXT_2_0.format(profile="UK", kind="Media"),
    }
    data = json.dumps(document).encode()
    reader, batches = read(data, limits=ImportLimits(block_bytes=512))
    assert reader.header.profile == "UK"
    assert sum(batch.rows for batch in batches) == 50
    assert reader.bytes_read == len(data)


def test_wrong_types_reject_that_record_alone():
    records = [
        media(1),
        media(2, MD5=5),
        7,
        None,
        [media(3)],
        media(4, AlternativeHashes=[{"HashValue": {}}]),
        media(5, Category=1.5),
        media(6),
    ]
    data = vics(*records)
    (entries,), rejections = run(data)
    assert list(entries.source_ids) == ["1", "6"]
    assert [(r.place.number, r.field) for r in rejections] == [
        (2, "MD5"),
        (3, ""),
        (4, ""),
        (5, ""),
        (6, "AlternativeHashes[0].HashValue"),
        (7, "Category"),
    ]
    for rejection in rejections:
        written = json.dumps(records[rejection.place.number - 1]).encode()
        assert data[rejection.place.offset :].startswith(written)
    assert data[entries.place_at(1).offset :].startswith(json.dumps(records[-1]).encode())
    assert entries.place_at(1).number == 8


def test_text_that_is_no_unicode_rejects_that_record_alone():
    data = vics(media(1), *(media(n, MimeType=f"PLACE{n}") for n in (2, 3, 4)), media(5))
    data = data.replace(b"PLACE2", b"\xff\xfe").replace(b"PLACE3", b"\\ud800")
    data = data.replace(b'"PLACE4"', b"NaN")
    (entries,), rejections = run(data)
    assert list(entries.source_ids) == ["1", "5"]
    assert [rejection.place.number for rejection in rejections] == [2, 3, 4]
    assert all("Unicode" in rejection.reason for rejection in rejections)


def test_deep_nesting_rejects_that_record_alone():
    deep = b"[" * 100_000 + b"]" * 100_000
    data = vics(media(1), media(2, Deep="DEEP"), media(3)).replace(b'"DEEP"', deep)
    (entries,), rejections = run(data)
    assert list(entries.source_ids) == ["1", "3"]
    assert [(r.place.number, r.reason) for r in rejections] == [
        (2, "the record is nested too deeply")
    ]


def test_a_record_over_the_limit_is_skipped_in_bounded_memory():
    limits = ImportLimits(block_bytes=4096, max_record_bytes=10_000)
    data = vics(media(1), media(2, Miniature='A\\"{' * 1_000_000), media(3))
    assert len(data) > 3_000_000
    tracemalloc.start()
    (first, second), rejections = run(data, limits=limits)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert list(first.source_ids) + list(second.source_ids) == ["1", "3"]
    assert [(r.place.number, r.reason) for r in rejections] == [
        (2, "the record is longer than 10000 bytes")
    ]
    assert peak < 3 * len(data)  # BytesIO hands out copies of what it holds, but never all of it


def test_record_limit_at_its_edge():
    record = media(1, Comments="x" * 5000)
    size = len(json.dumps(record))
    for limit, rejected in ((size, 0), (size - 1, 1)):
        limits = ImportLimits(max_record_bytes=limit, block_bytes=64)
        assert len(run(vics(record), limits=limits)[1]) == rejected


def test_max_batch_objects_bounds_a_batch():
    limits = ImportLimits(max_batch_objects=8)
    _, batches = read(vics(*(media(n) for n in range(100))), limits=limits)
    assert sum(batch.rows for batch in batches) == 100
    assert all(batch.rows <= 100 for batch in batches)
    assert batches[0].rows <= 8


def test_a_cut_too_far_back_to_be_found_changes_nothing():
    records = [media(n, Exifs=[{}] * 5000) for n in range(4)]
    data = vics(*records)
    limits = ImportLimits(block_bytes=len(data) // 4 + 18_000)
    _, batches = read(data, limits=limits)
    places = [batch.place_at(row) for batch in batches for row in range(len(batch))]
    assert [place.number for place in places] == [1, 2, 3, 4]


def test_max_batch_rows_bounds_records_read_singly():
    limits = ImportLimits(max_batch_rows=4)
    _, batches = read(vics(*range(10)), limits=limits)
    assert [len(batch.rejections) for batch in batches] == [4, 4, 2]


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "the file is empty"),
        (b"   ", "cut off"),
        (b"\x1f\x8b\x08abc", "gzip"),
        (b"PK\x03\x04abc", "ZIP"),
        (b"\xff\xfe{\x00", "UTF-16"),
        (b"{\x00}\x00", "UTF-16"),
        (b"<html>", "web page"),
        (b"[1, 2]", "expected a JSON object"),
        (b"{", "no key"),
        (b"{}", 'no array "value"'),
        (b'{"a": 1}', 'no array "value"'),
        (b'{"a"', "colon"),
        (b'{"a": ', "cut off"),
        (b'{"a": "', "cut off"),
        (b'{"a": 1 ', "cut off"),
        (b'{"a": 12', "cut off"),
        (b'{"a": }', "no value"),
        (b'{"a": nul, "value": []}', "not JSON"),
        (b'{"a": [}], "value": []}', "not JSON"),
        (b'{"a": "\xff", "value": []}', "UTF-8"),
        (b'{5: 1, "value": []}', "no key"),
        (b'{"value": 5}', "must hold the records"),
        (b'{"value": null}', "must hold the records"),
        (b'{"value": {}}', "must hold the records"),
        (b'{"value": []', "cut off"),
        (b'{"value": [', "cut off"),
        (b'{"value": []}', "neither"),
        (b'{"value": [], "value": []}', "second"),
        (b'{"value": [],}', "no key"),
        (b'{"value": []} x', "goes on"),
        (b'{"value": []}{}', "goes on"),
        (b'{"value": [{},]}', "comma with no record"),
        (b'{"value": [,{}]}', "no value where a record"),
        (b'{"value": [{} {}]}', "something other than a comma"),
        (b'{"value": [{}}', "something other than a comma"),
        (b'{"value": [{"a" 1}]}', "not JSON"),
        (b'{"value": [{"a": 1]]}', "not JSON"),
        (b'{"value": [tru]}', "not JSON"),
        (b'{"value": [{"a": "b', "cut off"),
        (b'{"value": [{"a": 1}', "cut off"),
        (b'{"value": [1', "cut off"),
        (b'{"value": [%b]}' % (b"1" * 5000), "no value where a record"),
    ],
)
def test_what_is_not_such_a_file_is_refused(data, message):
    with pytest.raises(FormatError, match=message):
        read(data)


def test_errors_name_the_byte():
    good = vics(media(1), media(2))
    at = good.index(b'"MediaID": 2')
    broken = good[:at] + b"!" + good[at + 1 :]
    with pytest.raises(FormatError) as caught:
        run(broken)
    place = caught.value.place
    assert (place.unit, place.number) == ("record", 2)
    assert abs(place.offset - at) <= 1
    assert str(caught.value).startswith(f"record 2 (byte {place.offset}): not JSON: ")


def test_cut_inside_deep_nesting_is_noticed():
    data = vics(media(1, Deep="DEEP"))
    data = data[: data.index(b'"DEEP"')] + b"[" * 100_000
    with pytest.raises(FormatError, match="cut off"):
        run(data)


def test_a_large_record_with_nan_breaks_the_file():
    """Only small records are worth the memory of a second, more lenient parser."""
    data = vics(media(1, Category="PLACE", Comments="x" * 200)).replace(b'"PLACE"', b"NaN")
    assert len(run(data)[1]) == 1
    with pytest.raises(FormatError, match="not JSON"):
        run(data, limits=ImportLimits(max_member_bytes=150))


def test_cut_anywhere_is_noticed():
    good = vics(media(1), media(2, Comments='}],"{ \\" '), media(3))
    for end in range(len(good)):
        with pytest.raises(FormatError):
            run(good[:end], limits=ImportLimits(block_bytes=32))


@pytest.mark.parametrize(
    ("context", "message"),
    [
        (CONTEXT_2_0.format(profile="US", kind="Cases"), "case file"),
        ("http://github.com/ICMEC/ProjectVic/DataModels/1.3.xml#Cases", "case file"),
        (CONTEXT_2_0.format(profile="US", kind="Alerts"), "another entity set"),
        ("http://example.org/DataModels/3.0.xml#Media", r"3\.0 is not known.*2\.0"),
        ("http://example.org/$metadata#Media", "not that of a VICS file"),
        (17, "not that of a VICS file"),
    ],
)
def test_other_contexts_are_refused(context, message):
    with pytest.raises(FormatError, match=message):
        read(vics(media(), context=context))


def test_contexts_that_differ_are_refused():
    contexts = [CONTEXT_2_0.format(profile=profile, kind="Media") for profile in ("US", "UK")]
    for keys in (CONTEXT_KEYS, CONTEXT_KEYS[::-1]):
        first, second = (
            json.dumps({key: context})[1:-1] for key, context in zip(keys, contexts, strict=True)
        )
        with pytest.raises(FormatError, match="two contexts"):
            read(f'{{{first}, "value": [], {second}}}'.encode())


@pytest.mark.parametrize("member", ["@odata.context", "@odata.count", "@odata.nextLink"])
@pytest.mark.parametrize("behind", [True, False])
def test_a_member_of_the_file_that_stands_twice_is_refused(member, behind):
    document = json.loads(with_members(media(1), **{"@odata.count": 1, "@odata.nextLink": None}))
    again = json.dumps({member: document[member]})[1:-1]
    whole = json.dumps(document)[1:-1]
    parts = (whole, again) if behind else (again, whole)
    with pytest.raises(FormatError, match=f'a second "{member}"'):
        read(("{" + ", ".join(parts) + "}").encode())


@pytest.mark.parametrize(
    ("again", "name"),
    [
        ('"Category": 0', "Category"),
        ('"Category": 1', "Category"),
        ('"Categ\\u006fry": null', "Category"),
        ('"MD5": "x"', "MD5"),
        ('"Other": {"x": [{"y": 1, "y": 1}]}', ""),
        (
            '"AlternativeHashes": [{"HashName": "PDQ", "HashValue": "", "HashValue": "x"}]',
            "HashValue",
        ),
    ],
)
@pytest.mark.parametrize("block_bytes", [64, 4096])
def test_a_record_that_says_two_things_is_rejected_alone(again, name, block_bytes):
    text = vics(media(1), media(2, PLACE=0), media(3)).decode().replace('"PLACE": 0', again)
    batches, (rejection,) = run(text.encode(), limits=ImportLimits(block_bytes=block_bytes))
    assert [each for entries in batches for each in entries.source_ids] == ["1", "3"]
    assert (rejection.place.number, rejection.field) == (2, name)
    assert "member stands twice in one object" in rejection.reason
    assert text.encode()[rejection.place.offset :].startswith(b'{"MediaID": 2')


@pytest.mark.parametrize("first", ["[]", "null"])
def test_a_case_with_media_twice_is_refused(first):
    context = CONTEXT_2_0.format(profile="US", kind="Cases")
    media_twice = f'{{"Media": {first}, "x": 1, "x": 2, "Media": [{json.dumps(media(1))}]}}'
    data = f'{{"@odata.context": "{context}", "value": [{{"x": 1, "x": 2}}, {media_twice}]}}'
    with pytest.raises(FormatError, match='a second "Media"'):
        read(data.encode(), options={"cases": "media"})


@pytest.mark.parametrize("key", ["@odata.nextLink", "odata.nextLink"])
@pytest.mark.parametrize("before", [True, False])
def test_one_page_of_several_is_refused(key, before):
    link, document = {key: "http://localhost/next"}, json.loads(vics(media()))
    whole = {**link, **document} if before else {**document, **link}
    with pytest.raises(FormatError, match=r"one page of several.*fetch every page"):
        read(json.dumps(whole).encode())


def test_no_next_page_is_no_page():
    assert len(run(with_members(media(), **{"@odata.nextLink": None}))[0][0]) == 1


@pytest.mark.parametrize("count", [3, "3", 3.0, None])
@pytest.mark.parametrize("block_bytes", [64, 4096])
def test_a_count_that_fits_is_accepted(count, block_bytes):
    data = with_members(media(1), 7, media(2), **{"@odata.count": count})
    batches, rejections = run(data, limits=ImportLimits(block_bytes=block_bytes))
    assert (sum(map(len, batches)), len(rejections)) == (2, 1)


@pytest.mark.parametrize(
    ("count", "message"),
    [
        (2, "says 2 records, but the file holds 3"),
        ("5000000", "says 5,000,000 records, but the file holds 3"),
        (0, "says 0 records"),
        (True, "is not a number of records"),
        (2.5, "is not a number of records"),
        ("many", "is not a number of records"),
        ([3], "is not a number of records"),
    ],
)
@pytest.mark.parametrize("key", ["@odata.count", "odata.count"])
def test_a_count_that_differs_is_refused(key, count, message):
    with pytest.raises(FormatError, match=message):
        read(with_members(media(1), 7, media(2), **{key: count}))


def test_a_member_over_the_limit_is_refused():
    data = json.dumps({"@odata.context": "x" * 500, "value": []}).encode()
    with pytest.raises(FormatError, match="exceeds 100 bytes"):
        read(data, limits=ImportLimits(max_member_bytes=100))


def test_member_nested_too_deeply_is_refused():
    data = b'{"a": %b, "value": []}' % (b"[" * 100_000 + b"]" * 100_000)
    with pytest.raises(FormatError, match="nested too deeply"):
        read(data)


def test_no_message_repeats_a_hash():
    digest = value(HashKind.MD5).hex()
    for bad in (digest[:-1], digest + "0", "Z" + digest[1:], digest + "\\u0000"):
        _, (rejection,) = run(vics(media(MD5=bad)))
        assert rejection.field == "MD5"
        assert bad[5:25] not in repr(rejection)


@pytest.mark.parametrize("block_bytes", [1, 2, 3, 5, 7, 64, 1000, 100_000])
def test_block_boundaries_change_nothing(block_bytes):
    tricky = 'quote \\" brace } , { bracket ] [ \\\\'
    records = [
        media(
            n, Comments=tricky[n % 20 :], AlternativeHashes=[{"HashName": "}", "HashValue": "},{"}]
        )
        for n in range(12)
    ]
    records[5]["MD5"] = 5
    data = json.dumps(
        {"@odata.context": CONTEXT_2_0.format(profile="US", kind="Media"), "value": records},
        indent=1,
    ).encode()
    batches, rejections = run(data, limits=ImportLimits(block_bytes=block_bytes))
    ids = [source_id for entries in batches for source_id in entries.source_ids]
    assert ids == [str(n) for n in range(12) if n != 5]
    assert [rejection.place.number for rejection in rejections] == [6]
    places = [entries.place_at(row) for entries in batches for row in range(len(entries))]
    assert [place.number for place in places] == [n + 1 for n in range(12) if n != 5]
    for place in places:
        assert data[place.offset :].startswith(b'{\n   "MediaID": %d,' % (place.number - 1))


def test_generator_is_deterministic_and_imports_without_rejection():
    files = []
    for seed in (3, 3, 4):
        out = io.BytesIO()
        write_list("vics", out, records=3000, seed=seed)
        files.append(out.getvalue())
    assert files[0] == files[1] != files[2]
    json.loads(files[0])
    batches, rejections = run(files[0])
    assert sum(map(len, batches)) == 3000
    assert rejections == []
    kinds = {HashKind.MD5, HashKind.SHA1, HashKind.PHOTODNA, HashKind.PDQ}
    assert all(set(entries.hashes) == kinds for entries in batches)
    assert len({key for entries in batches for key in entries.keys}) == 3000


@pytest.mark.parametrize(
    "sizes", [(4_000, 16_000), pytest.param((50_000, 200_000), marks=pytest.mark.slow)]
)
def test_memory_does_not_grow_with_the_file(tmp_path, sizes):
    peaks = []
    for records in sizes:
        path = tmp_path / f"{records}.json"
        with path.open("wb") as out:
            write_list("vics", out, records=records)
        with path.open("rb") as stream:
            tracemalloc.start()
            for batch in open_reader(stream, format="vics"):
                validate(batch, default_handling=Handling())
            peaks.append(tracemalloc.get_traced_memory()[1])
            tracemalloc.stop()
        path.unlink()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 16 * 2**20


def test_a_bare_array_is_told_with_what_lacks():
    with pytest.raises(
        FormatError, match=r'bare array, .* has them as its "value"; ask its source'
    ):
        run(b'[{"MediaID": 1}]')


def test_text_of_another_encoding_is_told_with_the_way_to_change_it():
    with pytest.raises(FormatError, match=r"not valid UTF-8; ask .*iconv -f ENCODING -t UTF-8"):
        run(b'{"a": "\xff", "value": []}')
