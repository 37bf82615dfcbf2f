"""A number goes with the right words, in every place where a person reads it."""

from __future__ import annotations

import pytest

from hashlists.words import counted, one_or_many


@pytest.mark.parametrize(
    ("number", "told"), [(0, "0 files"), (1, "1 file"), (2, "2 files"), (12_000, "12,000 files")]
)
def test_a_noun_goes_with_its_number(number, told):
    assert counted(number, "file") == told


def test_a_noun_of_its_own_and_its_verb():
    assert counted(1, "entry is", "entries are") == "1 entry is"
    assert counted(3, "entry is", "entries are") == "3 entries are"
    assert [one_or_many(number, "was", "were") for number in (0, 1, 2)] == ["were", "was", "were"]
