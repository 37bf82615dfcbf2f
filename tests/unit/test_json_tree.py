"""Arrays anywhere in a document: every record once, whatever the blocks, and no part of a file."""

from __future__ import annotations

import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import FormatError
from hashlists.formats.json_tree import EACH, Entered, JsonTreeStream, Member, Records
from hashlists.limits import ImportLimits


class Record(msgspec.Struct):
    n: int = 0


ARRAYS = {(EACH, "a"): Record, (EACH, "deep", "b"): Record}
MEMBERS = [(EACH, "name")]


def walk(data, **limits):
    document = JsonTreeStream(
        io.BytesIO(data), arrays=ARRAYS, members=MEMBERS, limits=ImportLimits(**limits)
    )
    found = []
    for each in document.walk():
        if isinstance(each, Records):
            found += [(each.path[-1], record.n) for record in each.chunk.records]
            numbers = [each.chunk.place_at(row) for row in range(len(each.chunk.records))]
            for place, record in zip(numbers, each.chunk.records, strict=True):
                assert json.JSONDecoder().raw_decode(data[place.offset :].decode())[0]["n"] == (
                    record.n
                )
        elif isinstance(each, Member):
            found.append((each.path[-1], each.value))
    assert document.bytes_read == len(data)
    return found


RECORDS = st.lists(st.integers(0, 9).map(lambda n: {"n": n, "x": [{"}": "]"}, ']\\"']}), max_size=6)
PARTS = st.fixed_dictionaries(
    {},
    optional={
        "a": RECORDS,
        "name": st.text(max_size=3),
        "deep": st.fixed_dictionaries({}, optional={"b": RECORDS, "other": RECORDS}),
        "skipped": st.lists(st.dictionaries(st.text(max_size=2), st.text(max_size=3)), max_size=2),
    },
)


@given(document=st.lists(PARTS, max_size=5), block=st.sampled_from([1, 7, 50, 4096]))
def test_every_record_comes_once_and_in_order(document, block):
    data = json.dumps(document).encode()
    expected = []
    for part in document:
        for key, value in part.items():
            if key == "a":
                expected += [("a", each["n"]) for each in value]
            elif key == "deep":
                expected += [("b", each["n"]) for each in value.get("b", ())]
            elif key == "name":
                expected.append((key, value))
    assert walk(data, block_bytes=block) == expected


@given(cut=st.integers(0, 60), block=st.sampled_from([1, 16, 4096]))
def test_a_cut_file_is_refused(cut, block):
    data = b'[{"a": [{"n": 1}, {"n": 2}], "name": "x", "deep": {"b": []}}]'
    assert len(data) == 61
    with pytest.raises(FormatError):
        walk(data[:cut], block_bytes=block)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"a": []}] x', "goes on"),
        (b'[{"a": [], "a": []}]', 'a second "a"'),
        (b'[{"deep": {}, "deep": {}}]', 'a second "deep"'),
        (b'[{"other": tru}]', "not JSON"),
        (b'[{"other": ["' + b"\xff" + b'"}]', "not JSON"),
        (b'[{"a": [{"n": 1},]}]', "no record behind"),
        (b'[{"a": []} {}]', "comma or the closing ]"),
        (b'[{"a": [] "b": 1}]', "comma or the closing }"),
        (b"<xml/>", "XML"),
        (b"", "empty"),
        (b"[{,}]", "no key"),
    ],
)
def test_faults_are_named(data, words):
    with pytest.raises(FormatError, match=words):
        walk(data)


def test_one_bad_record_is_rejected_alone():
    document = JsonTreeStream(
        io.BytesIO(b'[{"a": [{"n": 1}, {"n": "x"}, {"n": 3}]}]'),
        arrays=ARRAYS,
        members=(),
        limits=ImportLimits(),
    )
    (chunk,) = [each.chunk for each in document.walk() if isinstance(each, Records)]
    assert [each.n for each in chunk.records] == [1, 3]
    assert [(each.place.number, each.field) for each in chunk.rejections] == [(2, "n")]


def test_what_nobody_wants_may_be_long_and_a_member_may_not():
    long = json.dumps([{"other": ["x" * 500, {"]": "}"}], "a": [{"n": 4}]}]).encode()
    assert walk(long, max_member_bytes=100, block_bytes=64) == [("a", 4)]
    with pytest.raises(FormatError, match="exceeds 100 bytes"):
        walk(b'[{"name": "' + b"x" * 500 + b'"}]', max_member_bytes=100)


def test_values_of_another_shape_are_skipped():
    assert walk(b'[{"a": null, "deep": [1]}, 5, null, {"a": "n"}]') == []
    assert walk(b'{"a": [{"n": 1}]}') == []


@pytest.mark.parametrize("block", [1, 7, 4096])
def test_a_record_may_stand_alone_where_its_array_might(block):
    data = b'[{"a": {"n": 1}}, {"deep": {"b" : {"n": 2, "x": [1]} }}, {"a": [{"n": 3}]}]'
    assert walk(data, block_bytes=block) == [("a", 1), ("b", 2), ("a", 3)]
    with pytest.raises(FormatError, match="cut off"):
        walk(data[:10], block_bytes=block)
    document = JsonTreeStream(
        io.BytesIO(b'[{"a": {"n": "x"}}, {"a": {"n": 2}}, {"a": {"n": 3, "n": 4}}]'),
        arrays=ARRAYS,
        members=(),
        limits=ImportLimits(block_bytes=block),
    )
    chunks = [each.chunk for each in document.walk() if isinstance(each, Records)]
    assert [record.n for chunk in chunks for record in chunk.records] == [2]
    numbers = [each.place.number for chunk in chunks for each in chunk.rejections]
    assert numbers == [1, 3]


def test_objects_on_the_way_are_told():
    document = JsonTreeStream(
        io.BytesIO(b'[{"deep": {}}, {}]'), arrays=ARRAYS, members=(), limits=ImportLimits()
    )
    entered = [each.path for each in document.walk() if isinstance(each, Entered)]
    assert entered == [(EACH,), (EACH, "deep"), (EACH,)]
