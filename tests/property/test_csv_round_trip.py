"""What is written in Hashwarden's own CSV layout is read back just so."""

from __future__ import annotations

import csv
import io

from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.formats.csv_cells import FORMULA_STARTS, guarded, names_cell, read_names, unguarded
from hashlists.limits import ImportLimits
from tests.export_support import TEXTS, export_batches, in_force, read, withdrawn, write

OWN = {"columns": "hashwarden"}


@settings(max_examples=min(30, settings().max_examples), deadline=None)
@given(st.lists(export_batches(), min_size=1, max_size=2), st.sampled_from([1, 2, 1024]))
def test_everything_comes_back(batches, batch_rows):
    data, losses = write(batches, "csv")
    found = read(data, "csv", OWN, ImportLimits(max_batch_rows=batch_rows))
    assert losses == {}
    assert found.rows == in_force(batches)
    assert [(each.key, each.reason) for each in found.retractions] == [
        (row.key, reason or "") for row, reason in withdrawn(batches)
    ]


@settings(max_examples=min(30, settings().max_examples), deadline=None)
@given(export_batches())
def test_the_same_entries_give_the_same_bytes_and_no_formula(batch):
    data, _ = write([batch], "csv", OWN)
    assert data == write([batch], "csv")[0]
    rows = list(csv.reader(io.StringIO(data.decode(), newline="")))
    assert len(rows) == len(batch) + 1 == data.count(b"\r\n")
    assert not [cell for row in rows for cell in row if cell.startswith(tuple(FORMULA_STARTS))]


@given(st.just("") | TEXTS)
def test_a_guarded_text_is_given_back(text):
    assert unguarded(guarded(text)) == text


@given(st.lists(TEXTS))
def test_names_are_given_back(names):
    assert read_names(names_cell(names)) == names
