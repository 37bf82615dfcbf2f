"""What columns pack into, SQLite stores as if each value had been bound."""

from __future__ import annotations

import sqlite3
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hashlists.catalog.id_set import IdSet
from hashlists.catalog.packed_insert import PackedColumns

INTEGERS = st.integers(-(2**63), 2**63 - 1)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
COLUMNS = (
    st.binary(max_size=40),
    st.binary(min_size=16, max_size=16),
    st.none() | st.binary(max_size=3),
    st.none() | st.binary(min_size=2, max_size=2),
    TEXTS,
    st.none() | TEXTS,
    INTEGERS,
    st.none() | INTEGERS,
    st.sampled_from([0, 1]),
    st.none(),
    st.just("the same"),
)


@st.composite
def tables(draw):
    rows = draw(st.integers(1, 40))
    kinds = draw(st.lists(st.sampled_from(COLUMNS), min_size=1, max_size=6))
    columns = [draw(st.lists(kind, min_size=rows, max_size=rows)) for kind in kinds]
    first = draw(st.integers(-5, 2**40))
    return [*columns, range(first, first + rows)]


@given(tables())
def test_rows_come_back_as_they_were_given(columns):
    packed = PackedColumns(columns)
    with closing(sqlite3.connect(":memory:")) as database:
        rows = database.execute(packed.sql, packed.parameters).fetchall()
    assert rows == list(zip(*columns, strict=True))


def test_none_and_nothing_stay_apart():
    for nothing in (b"", ""):
        test_rows_come_back_as_they_were_given.hypothesis.inner_test([[None, nothing, None]])


@pytest.mark.parametrize("rows", [1, 255, 256, 257, 512, 1_025])
def test_every_row_comes_once_and_in_order(rows):
    packed = PackedColumns([range(7, 7 + rows), [b"%05d" % row for row in range(rows)]])
    with closing(sqlite3.connect(":memory:")) as database:
        found = database.execute(packed.sql, packed.parameters).fetchall()
    assert found == [(7 + row, b"%05d" % row) for row in range(rows)]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 200))))
def test_ranges_of_ids(ranges):
    ids, plain = IdSet(), set()
    for first, number in ranges:
        ids.add_range(first, number)
        plain.update(range(first, first + number))
    assert [each for each in range(600) if each in ids] == sorted(plain)
