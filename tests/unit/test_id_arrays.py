"""Sets of ids as arrays are the sets of Python."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from hashlists.id_arrays import distinct_ids, joined_ids

ids = st.lists(st.integers(-(2**63), 2**63 - 1) | st.integers(0, 9))


@given(ids)
def test_each_is_there_once(given_ids):
    assert distinct_ids(np.array(given_ids, np.int64)).tolist() == sorted(set(given_ids))


@given(ids, ids)
def test_what_is_in_either_is_in_both_together(first, second):
    arrays = [np.array(sorted(set(each)), np.int64) for each in (first, second)]
    assert joined_ids(*arrays).tolist() == sorted({*first, *second})
