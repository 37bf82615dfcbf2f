"""Counting rows by what they carry."""

from __future__ import annotations

from collections import Counter

import pytest

from hashlists.catalog.counts import count_rows


@pytest.mark.parametrize(
    ("kinds", "handling_ids"),
    [
        ([], []),
        ([3], [1]),
        ([3, 3, 3], [1, 1, 1]),
        ([3, 3, 5], [1, 1, 1]),
        ([3, 3, 3], [1, 2, 1]),
        ([3, 5, 3], [1, 2, 1]),
    ],
)
def test_rows_of_one_sort_count_as_any_others(kinds, handling_ids):
    assert count_rows(kinds, handling_ids) == Counter(zip(kinds, handling_ids, strict=True))
