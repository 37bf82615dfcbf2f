"""JSON Lines: Hashwarden's own layout with its ends, foreign members by name, damaged lines."""

from __future__ import annotations

import io
import json

import pytest

from hashlists.errors import FormatError, OptionsError
from hashlists.formats.base import Sample
from hashlists.formats.jsonl import looks_like
from hashlists.formats.registry import open_reader
from hashlists.limits import ImportLimits
from hashlists.model import NO_ONWARD_SHARING, Classification, EntryFlag, Handling, HashKind
from hashlists.validate import KEY_TAGS, validate
from tests.export_support import Row, export_batch, read, value, write

MD5 = {"columns.md5": "md5"}


def md5(number=1):
    return value(HashKind.MD5, number).hex()


def lines(*records, end="\n"):
    return ("\n".join(json.dumps(record) for record in records) + end).encode()


def outcome(data, options=None, limits=None):
    """Rows, and rejections as line, field, reason."""
    rows, rejections = 0, []
    reader = open_reader(
        io.BytesIO(data), format="jsonl", options=options, limits=limits or ImportLimits()
    )
    for raw in reader:
        result = validate(raw, default_handling=NO_ONWARD_SHARING)
        rows += len(result.entries)
        rejections += [(each.place.number, each.field, each.reason) for each in result.rejections]
    return rows, rejections


def test_foreign_members_by_name_and_by_path():
    pdqs = [value(HashKind.PDQ, number) for number in (1, 2)]
    data = lines(
        {
            "id": 17,
            "md5": md5(),
            "hashes": {"pdq": [pdq.hex() for pdq in pdqs]},
            "class": 2,
            "bytes": 488.0,
            "seen": True,
            "to": ["a", "b"],
            "gone": False,
            "note": "SECRET",
        },
        {"id": 18, "gone": True, "why": "mistaken"},
    )
    options = {
        **MD5,
        "columns.key": "id",
        "columns.source_id": "id",
        "columns.pdq": "hashes.pdq",
        "columns.category": "class",
        "columns.size": "bytes",
        "columns.distributed": "seen",
        "columns.releasable_to": "to",
        "columns.retracted": "gone",
        "columns.retraction_reason": "why",
        "scheme": "x",
        "profile": "y",
    }
    found = read(data, "jsonl", options)
    assert found.rows == [
        Row(
            key=b"\x0017",
            hashes={HashKind.PDQ: pdqs[0], HashKind.MD5: value(HashKind.MD5, 1)},
            extra=((HashKind.PDQ, pdqs[1], None),),
            size=488,
            classification=Classification("x", "y", "2"),
            handling=Handling("", ("a", "b")),
            flags=EntryFlag.DISTRIBUTED,
            flags_known=EntryFlag.DISTRIBUTED,
            source_id="17",
        )
    ]
    assert [(each.key, each.reason) for each in found.retractions] == [(b"\x0018", "mistaken")]
    assert "SECRET" not in repr(found)


def test_a_members_own_name_goes_before_one_of_a_nested_object():
    data = lines({"a.b": md5(1), "a": {"b": md5(2)}}, {"a": {"b": md5(3)}})
    keys = [row.key[1:].hex() for row in read(data, "jsonl", {"columns.md5": "a.b"}).rows]
    assert keys == [md5(1), md5(3)]


def test_damaged_lines_are_rejected_alone():
    data = b"\n".join(
        [
            lines({"md5": md5(1)}, end=""),
            b"",
            b'{"md5": ',
            b"[1]",
            b'{"md5": "\xff"}',
            b"[" * 5000,
            b'{"md5": 1}',
            b'{"md5": {"a": 1}}',
            b'{"md5": "' + b"x" * 3000 + b'"}',
            lines({"md5": md5(2)}),
        ]
    )
    rows, rejections = outcome(data, MD5, ImportLimits(max_record_bytes=8000))
    assert rows == 2
    assert [(line, field) for line, field, _ in rejections] == [
        (3, ""), (4, ""), (5, ""), (6, ""), (7, "md5"), (8, "md5"), (9, "md5"),
    ]  # fmt: skip
    assert "nests too deep" in rejections[3][2]
    assert "not UTF-8" in rejections[2][2]


@pytest.mark.parametrize(
    ("member", "wrong"),
    [
        ("size", True), ("size", [1]), ("verified_count", {}), ("baseline", 1.5), ("baseline", []),
        ("category", True), ("category", 1.5), ("media_type", {}), ("releasable_to", [1]),
        ("releasable_to", 1), ("retracted", [True]), ("retracted", "perhaps"), ("md5", ["x", 1]),
        ("source_id", False), ("source_id", 10**300), ("expires_at", "tomorrow"),
    ],
)  # fmt: skip
def test_wrong_types_reject_their_record_alone(member, wrong):
    options = {**MD5, f"columns.{member}": member, "scheme": "x"}
    data = lines({"md5": md5(1), member: wrong}, {"md5": md5(2)})
    rows, rejections = outcome(data, options)
    assert rows == 1
    assert [(line, field) for line, field, _ in rejections] == [(1, member)]


@pytest.mark.parametrize("end", ["\n", ""])
def test_a_line_with_a_member_twice_is_rejected_alone(end):
    data = lines(
        {"md5": md5(1)}, {"md5": md5(2), "PLACE": 0}, {"md5": md5(3)}, {"PLACE": 0}, end=end
    )
    data = data.replace(b'"PLACE"', b'"md5": "", "m\\u0064\\u0035"')
    rows, rejections = outcome(data, MD5)
    assert rows == 2
    assert [(line, field) for line, field, _ in rejections] == [(2, "md5"), (4, "md5")]


@pytest.mark.parametrize(
    "data",
    [
        b'{"format": "x", "format": "hashwarden", "version": 1}\n{"records": 0}\n',
        b'{"format": "hashwarden", "version": 2, "version": 1}\n{"records": 0}\n',
        b'{"format": "hashwarden", "version": 1}\n{"records": 1, "records": 0}\n',
    ],
)
def test_ends_of_an_own_file_that_say_two_things_are_refused(data):
    with pytest.raises(FormatError):
        outcome(data)


def test_a_long_line_is_rejected_without_being_held():
    limits = ImportLimits(max_record_bytes=100, block_bytes=64)
    long = b'{"md5": "' + b"x" * 1000 + b'"}\n'
    edge = json.dumps({"md5": md5(3), "x": "y" * 48}).encode()
    assert len(edge) == 100
    data = lines({"md5": md5(1)}) + long + edge + b"\n" + lines({"md5": md5(2)})
    rows, rejections = outcome(data, MD5, limits)
    assert (rows, [each[0] for each in rejections]) == (3, [2])
    assert "exceeds 100 bytes" in rejections[0][2]


def test_places_have_offsets_and_batches_are_bounded():
    data = b"\xef\xbb\xbf" + lines({"md5": "x"}, {"md5": md5(1)}, {"md5": "y"})
    reader = open_reader(
        io.BytesIO(data), format="jsonl", options=MD5, limits=ImportLimits(max_batch_rows=2)
    )
    batches = list(reader)
    assert [len(batch) for batch in batches] == [2, 1]
    assert str(batches[0].place_at(0)) == "line 1 (byte 3)"
    assert str(batches[1].place_at(0)) == f"line 3 (byte {data.rindex(b'{')})"
    assert reader.bytes_read == len(data)


@pytest.mark.parametrize("end", ["", "\r\n"])
def test_the_end_of_a_foreign_file(end):
    data = lines({"md5": md5(1)}, {"md5": md5(2)}, end=end)
    *_, batch = open_reader(io.BytesIO(data), format="jsonl", options=MD5)
    assert batch.open_ended is not bool(end)
    assert dict(batch.notes) == ({} if end else {"last line without line end taken as whole": 1})
    with pytest.raises(FormatError, match=r"line 2 .*the file ends inside a record"):
        outcome(data.strip()[:-3], MD5)


@pytest.mark.parametrize("mark", [b"\xff\xfe", b"\xfe\xff"])
def test_utf_16_is_told(mark):
    with pytest.raises(FormatError, match="not UTF-8"):
        outcome(mark + b"{\0", MD5)


def own(*records):
    return lines({"format": "hashwarden", "version": 1}, *records)


def test_the_own_layout_is_read_without_options():
    record = {"md5": md5(), "further_hashes": [{"kind": "md5", "value": md5(2)}]}
    for options in ({}, {"columns": "hashwarden"}):
        (row,) = read(own(record, {"records": 1}), "jsonl", options).rows
        assert row.extra == ((HashKind.MD5, value(HashKind.MD5, 2), None),)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (own({"md5": md5()}), "it holds 1 record and does not end"),
        (own({"md5": md5()}, {"records": 2}), "says that it holds 2 records, and holds 1"),
        (own({"records": 0}, {"md5": md5()}), "line 3 .*something stands behind"),
        (own({"records": 0}, {"records": 0}), "line 3 .*something stands behind"),
        (own({"md5": md5()}, {"records": True}), "does not end"),
        (lines({"format": "hashwarden", "version": 2}), "of another version"),
    ],
)
def test_an_own_file_that_is_not_whole_is_refused(data, message):
    with pytest.raises(FormatError, match=message):
        outcome(data)


def test_rejected_lines_count_as_records():
    rows, rejections = outcome(own({"md5": "x"}, [], {"md5": md5()}, {"records": 3}))
    assert (rows, [each[0] for each in rejections]) == (1, [2, 3])


@pytest.mark.parametrize(
    ("further", "field"),
    [
        ("x", "further_hashes"),
        ([{"value": "x"}], "further_hashes"),
        ([{"kind": "md5"}], "further_hashes"),
        ([{"kind": "md5", "value": "x"}], "further_hashes"),
        ([{"kind": "md5", "value": md5(2), "derivation": 1}], "further_hashes"),
    ],
)
def test_bad_further_hashes_reject_their_record(further, field):
    rows, rejections = outcome(own({"md5": md5(), "further_hashes": further}, {"records": 1}))
    assert (rows, [each[1] for each in rejections]) == (0, [field])


def test_further_hashes_of_unknown_kinds_are_counted():
    record = {"md5": md5(), "further_hashes": [{"kind": "tlsh", "value": "x"}]}
    found = read(own(record, {"records": 1}), "jsonl")
    assert len(found.rows) == 1
    assert found.notes == {"further hash of unknown kind left aside": 1}


@pytest.mark.parametrize(
    "key", ["md5", "md5:", "md5:xyz", "id:", "sha512:00", "id:" + "x" * 300, "id:\x01"]
)
def test_a_key_that_is_none_rejects_its_record(key):
    rows, rejections = outcome(own({"md5": md5(), "key": key}, {"records": 1}))
    assert rows == 0
    assert rejections[0][1] == "key"


def test_keys_of_every_sort_stand_side_by_side():
    records = [
        {"md5": md5(1), "key": "id:a:b"},
        {"md5": md5(2), "sha1": value(HashKind.SHA1, 2).hex(), "key": f"md5:{md5(2)}"},
        {"md5": md5(3)},
        {"key": "id:gone", "retracted": True},
    ]
    found = read(own(*records, {"records": 4}), "jsonl")
    assert [row.key for row in found.rows] == [
        b"\x00a:b",
        KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 2),
        KEY_TAGS[HashKind.MD5] + value(HashKind.MD5, 3),
    ]
    assert [each.key for each in found.retractions] == [b"\x00gone"]


@pytest.mark.parametrize(
    ("data", "options", "message"),
    [
        (lines({"md5": "x"}), {}, "does not begin as Hashwarden's own"),
        (b"nothing\n", {"columns": "hashwarden"}, "does not begin"),
        (own(), {"columns": "mine"}, "unknown layout 'mine'"),
        (own(), {"columns": "hashwarden", "scheme": "x"}, "scheme must not be given"),
        (own(), {"delimiter": ";", **MD5}, "unknown option 'delimiter'"),
    ],
)
def test_wrong_options(data, options, message):
    with pytest.raises(OptionsError, match=message):
        open_reader(io.BytesIO(data), format="jsonl", options=options)


@pytest.mark.parametrize("options", [{}, {"columns": "hashwarden"}, MD5])
def test_a_file_without_a_line(options):
    for data in (b"", b"\n"):
        with pytest.raises(FormatError, match=r"the file is empty: .*; get the file again"):
            open_reader(io.BytesIO(data), format="jsonl", options=options)


def test_what_is_written():
    drawn = Row(
        key=b"\x00k",
        hashes={HashKind.MD5: value(HashKind.MD5, 1)},
        extra=((HashKind.PDQ, value(HashKind.PDQ, 1), "crop:0.02"),),
        flags=EntryFlag.BASELINE,
        flags_known=EntryFlag.BASELINE | EntryFlag.SERIES,
    )
    batch = export_batch([drawn, drawn], retracted=[False, True], reasons=[None, "x"])
    data, _ = write([batch], "jsonl")
    assert [json.loads(line) for line in data.splitlines()] == [
        {"format": "hashwarden", "version": 1},
        {
            "key": "id:k",
            "md5": md5(1),
            "further_hashes": [
                {
                    "kind": "pdq",
                    "value": value(HashKind.PDQ, 1).hex(),
                    "derivation": "crop:0.02",
                }
            ],
            "series": False,
            "baseline": True,
            "list": "demo",
            "entry_id": 1,
            "revision": 1,
        },
        {
            "key": "id:k",
            "retracted": True,
            "retraction_reason": "x",
            "list": "demo",
            "entry_id": 2,
            "revision": 2,
        },
        {"records": 2},
    ]


@pytest.mark.parametrize(
    ("head", "score", "options"),
    [
        (own({"md5": "x"}), 95, {"columns": "hashwarden"}),
        (lines({"MD5": "x", "n": 1}, {"MD5": "y"}), 50, {"columns.md5": "MD5"}),
        (lines({"a": "x"}, {"a": "y"}), 20, {}),
        (lines({"a": "x"}), 5, {}),
    ],
)
def test_likeness(head, score, options):
    likeness = looks_like(Sample(head))
    assert (likeness.score, dict(likeness.options)) == (score, options)


@pytest.mark.parametrize("head", [b"", b"md5\n", b"[1]\n{}", b'{\n "a": 1}'])
def test_what_is_no_json_lines(head):
    assert looks_like(Sample(head)) is None


def test_header_of_the_file():
    reader = open_reader(io.BytesIO(own({"records": 0})), format="jsonl")
    assert (reader.format, reader.header.version) == ("jsonl", "1")
    assert list(reader) == []


@pytest.mark.parametrize("digits", [400, 5000])
def test_numbers_of_absurd_length_reject_their_line(digits):
    data = b'{"md5": "' + md5().encode() + b'", "id": ' + b"9" * digits + b"}\n"
    for field in ("source_id", "size", "category", "baseline", "key"):
        options = {**MD5, f"columns.{field}": "id", "scheme": "x"}
        rows, rejections = outcome(data, options)
        assert (rows, len(rejections)) == (0, 1)
