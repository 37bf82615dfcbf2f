"""Whatever a file begins with, its columns are told or there are none; nothing is raised."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from hashlists.formats.base import Sample
from hashlists.formats.table_columns import Column, csv_columns, jsonl_columns

LINES = st.lists(
    st.binary(max_size=60)
    | st.text(max_size=40).map(lambda text: text.encode("utf-8", "surrogatepass"))
    | st.sampled_from([b"md5,Status", b"a;b", b"\xff\xfea\x00", b'"', b"[" * 5000, b'{"a":' * 900]),
    max_size=12,
).map(b"\n".join)
OPTIONS = st.fixed_dictionaries(
    {},
    optional={
        "delimiter": st.sampled_from(["tab", ";", "", "\r", "ab", "\x00"]),
        "encoding": st.sampled_from(["utf-8", "UTF-16", "latin-1", "cp1252", "odd", ""]),
    },
)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=12,
)


@given(LINES, st.booleans(), OPTIONS)
def test_any_bytes(head, whole, options):
    sample = Sample(head, whole=whole)
    for columns in (csv_columns(sample, options), jsonl_columns(sample)):
        assert all(isinstance(each, Column) and each.may_say for each in columns)


@given(st.lists(st.dictionaries(st.text(max_size=6), VALUES, max_size=4), max_size=6))
def test_any_records(records):
    head = "".join(f"{json.dumps(each)}\n" for each in records).encode()
    names = [each.name for each in jsonl_columns(Sample(head, whole=True))]
    assert len(names) == len(set(names))
    plain = {name for each in records for name, value in each.items() if type(value) is not dict}
    assert plain <= set(names)


def test_depth_and_numbers_beyond_all_bounds():
    deep = b"[" * 900 + b"]" * 900
    head = b'{"a":%b,"b":%b}\n' % (deep, b"9" * 5000)
    assert {each.name for each in jsonl_columns(Sample(head, whole=True))} <= {"a", "b"}
