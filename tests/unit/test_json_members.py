"""Members that stand twice: what is found, under which name, and that quick answers are right."""

from __future__ import annotations

import io
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.errors import FormatError
from hashlists.formats.json_members import (
    all_counted,
    fault_of_members,
    may_repeat,
    names_in,
    repeated_member,
)
from hashlists.formats.json_stream import JsonArrayStream
from hashlists.formats.json_tree import EACH, JsonTreeStream
from hashlists.formats.vics_records import Media, count_objects
from hashlists.limits import ImportLimits

HASH = "5d41402abc4b2a76b9719d911017c592"
NAMES_SHOWN = {"Category", "deleted"}
SPACES = st.sampled_from(["", "", " ", "\n"])
NAMES = ["MD5", "Category", "AlternativeHashes", "HashValue", "Comments", "x", ":", '"', " :"]


def name_of(name: str, *, spelt: bool) -> str:
    return "".join(f"\\u{ord(each):04x}" for each in name) if spelt else json.dumps(name)[1:-1]


def object_of(parts) -> str:
    return "{" + ",".join(f'"{name_of(n, spelt=s)}"{w}:{v}' for n, s, w, v in parts) + "}"


SCALARS = st.sampled_from(
    ["1", "null", "true", "1.5", '""', '"a"', '"\\":"', '":"', '" :"', '"\\u0022:"', '"\\"\\u003a"']
)
TEXTS = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda each: f"[{','.join(each)}]")
        | st.lists(
            st.tuples(
                st.sampled_from(NAMES), st.booleans(), st.sampled_from(["", "", " ", "\n"]), inner
            ),
            max_size=4,
        ).map(object_of)
    ),
    max_leaves=8,
)


def repeats(text: str) -> set[str]:
    """The names that stand twice in some object."""
    found: set[str] = set()

    def look(pairs):
        names = [name for name, _ in pairs]
        found.update(name for name in names if names.count(name) > 1)

    json.loads(text, object_pairs_hook=look)
    return found


@given(TEXTS)
def test_what_is_found_is_what_the_standard_library_says(text):
    found = repeats(text)
    assert may_repeat(text.encode()) is bool(found)
    name = repeated_member(text.encode())
    assert name in found if found else name is None


@given(TEXTS)
def test_counting_what_was_decoded_never_misses_one(text):
    data = f"[{text}]".encode()
    try:
        records = msgspec.json.decode(data, type=list[Media])
    except msgspec.DecodeError:
        return
    if all_counted(data, records, count_objects(records), bytearray()):
        assert not repeats(text)


@pytest.mark.parametrize(
    ("record", "is_counted"),
    [
        ('{"MD5":"x","Category":null,"Comments":"a","AlternativeHashes":null}', True),
        ('{"MD5":"x","AlternativeHashes":[]}', True),
        ('{"AlternativeHashes":[{"MD5":"x","HashName":"PDQ","HashValue":"y"},null]}', True),
        ('{"Tags":[1],"MediaFiles":[],"Exifs":null}', True),
        ('{"MD5":null,"MD5":"x"}', False),
        ('{"Comments":1,"Comments":2}', False),
        ('{"MD5":"x","Other":1}', False),
        ('{"MD5":"x","MediaFiles":[{"MD5":"y"}]}', False),
        ('{"AlternativeHashes":[null],"Comments":{"a":1,"a":2}}', False),
        ('{"MD5":"\\u0078"}', False),
        ('{"MediaID":' + "9" * 30 + "}", True),
    ],
)
def test_what_counting_alone_can_tell_of_a_vics_record(record, is_counted):
    data = f"[{record}]".encode()
    records = msgspec.json.decode(data, type=list[Media])
    assert all_counted(data, records, count_objects(records), bytearray()) is is_counted


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ('{"Category": 1, "Categ\\u006fry": 0}', ("Category", "stands twice")),
        ('{"a": [{"deleted": true, "deleted": true}]}', ("deleted", "stands twice")),
        (f'{{"{HASH}": 1, "{HASH}": 2}}', ("", "a member")),
        ('{"x": 1, "x": 1, "Category": 0}', ("", "a member")),
        ("[" * 100_000 + "]" * 100_000, ("", "nested too deeply")),
        ('{"a": "\\q"}', ("", "cannot be searched")),
    ],
)  # fmt: skip
def test_a_fault_has_a_name_and_no_value(text, fault):
    field, reason = fault_of_members(text.encode(), NAMES_SHOWN)
    assert field == fault[0]
    assert fault[1] in reason


def test_names_are_those_of_the_structs():
    assert {"MD5", "AlternativeHashes", "HashName", "Comments"} <= names_in(Media)


def test_the_same_name_in_different_objects_is_no_fault():
    text = b'{"MD5": 1, "a": {"MD5": 2, "md5": 3}, "b": [{"MD5": 4}, {"MD5": 5}], "MD5 ": 6}'
    assert fault_of_members(text, NAMES_SHOWN) is None
    assert not may_repeat(text)


class Record(msgspec.Struct):
    n: int = 0


def records_of(data):
    stream = JsonArrayStream(
        io.BytesIO(data), array_key="a", record_type=Record, wanted=("next",), limits=ImportLimits()
    )
    stream.open_array()
    return [record.n for chunk in stream.chunks() for record in chunk.records]


def walk(data):
    arrays, members = {(EACH, "a"): Record}, [(EACH, "tag")]
    document = JsonTreeStream(
        io.BytesIO(data), arrays=arrays, members=members, limits=ImportLimits()
    )
    return list(document.walk())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'{"next": 1, "next": 1, "a": []}', 'a second "next"'),
        (b'{"next": 1, "a": [{"n": 1}], "n\\u0065xt": null}', 'a second "next"'),
        (b'{"next": {"x": 1, "x": 2}, "a": []}', 'in "next": a member stands twice'),
        (b'{"a": [], "a": []}', 'a second "a"'),
    ],
)
def test_around_the_records_it_refuses_the_file(data, words):
    with pytest.raises(FormatError, match=words):
        records_of(data)


def test_what_nobody_reads_around_the_records_may_stand_twice():
    data = b'{"other": 1, "other": {"x": 1, "x": 2}, "a": [{"n": 1}], "other": 3}'
    assert records_of(data) == [1]


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b'[{"tag": 1, "tag": 1}]', 'a second "tag"'),
        (b'[{"tag": [{"name": "x", "name": "y"}]}]', 'in "tag": a member stands twice'),
    ],
)
def test_members_beside_arrays_anywhere(data, words):
    with pytest.raises(FormatError, match=words):
        walk(data)
