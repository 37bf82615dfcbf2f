"""What is written in Hashwarden's own JSON Lines is read back just so."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.errors import FormatError
from hashlists.limits import ImportLimits
from tests.export_support import export_batches, in_force, read, withdrawn, write


@settings(max_examples=min(40, settings().max_examples), deadline=None)
@given(st.lists(export_batches(max_rows=4), min_size=1, max_size=2), st.sampled_from([1, 3, 1024]))
def test_everything_comes_back(batches, batch_rows):
    data, losses = write(batches, "jsonl")
    found = read(data, "jsonl", {}, ImportLimits(max_batch_rows=batch_rows))
    assert losses == {}
    assert found.rows == in_force(batches)
    assert [(each.key, each.reason) for each in found.retractions] == [
        (row.key, reason or "") for row, reason in withdrawn(batches)
    ]
    assert data == write(batches, "jsonl", {"columns": "hashwarden"})[0]
    assert [json.loads(line) for line in data.splitlines()][-1] == {
        "records": sum(map(len, batches))
    }


@settings(max_examples=min(40, settings().max_examples), deadline=None)
@given(export_batches(max_rows=3), st.data())
def test_a_file_cut_anywhere_is_refused(batch, data):
    whole, _ = write([batch], "jsonl")
    header = whole.index(b"\n") + 1
    cut = data.draw(st.integers(header, len(whole) - 2))
    with pytest.raises(FormatError):
        read(whole[:cut], "jsonl", may_reject=("", "key"))
