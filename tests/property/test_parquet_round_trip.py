"""What is written in Hashwarden's own Parquet layout is read back just so."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.limits import ImportLimits
from tests.export_support import export_batches, in_force, read, withdrawn, write


@settings(max_examples=min(40, settings().max_examples), deadline=None)
@given(st.lists(export_batches(max_rows=4), min_size=1, max_size=2), st.sampled_from([1, 3, 1024]))
def test_everything_comes_back(batches, batch_rows):
    data, losses = write(batches, "parquet")
    found = read(data, "parquet", {}, ImportLimits(max_batch_rows=batch_rows))
    assert losses == {}
    assert found.rows == in_force(batches)
    assert [(each.key, each.reason) for each in found.retractions] == [
        (row.key, reason or "") for row, reason in withdrawn(batches)
    ]
    assert data == write(batches, "parquet", {"columns": "hashwarden"})[0]
