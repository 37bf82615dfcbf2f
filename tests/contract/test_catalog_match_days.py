"""What lists did to uploads: sums by list, day and policy, over all who count."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import pytest

from hashlists.catalog import MatchDay
from hashlists.errors import ListNotFoundError
from tests.catalog_support import DEMO

DAY = date(2026, 3, 1)
A = MatchDay("demo", DAY, "default", 100, 2, 3)


@pytest.fixture
def demo(catalog):
    catalog.create_list(DEMO, author="a person")
    catalog.create_list(replace(DEMO, name="other"), author="a person")
    return catalog


def test_numbers_add_up(demo):
    demo.add_match_days([A, replace(A, list_name="other", near=0)])
    demo.add_match_days([replace(A, uploads=10, exact=0, near=1)])
    assert demo.match_days("demo", since=DAY) == [replace(A, uploads=110, near=4)]
    assert demo.match_days("other", since=DAY) == [replace(A, list_name="other", near=0)]
    assert demo.head() == 2  # it is no change of any list


def test_they_come_by_day_and_policy(demo):
    later, strict = replace(A, day=DAY + timedelta(1)), replace(A, policy="strict")
    demo.add_match_days([later, strict, A])
    assert demo.match_days("demo", since=DAY) == [A, strict, later]
    assert demo.match_days("demo", since=later.day) == [later]
    assert demo.match_days("demo", since=DAY + timedelta(2)) == []


def test_lists_that_are_not_known_are_left(demo):
    demo.add_match_days([replace(A, list_name="nosuch"), A])
    demo.add_match_days([replace(A, list_name="nosuch")])
    demo.add_match_days([])
    assert demo.match_days("demo", since=DAY) == [A]
    with pytest.raises(ListNotFoundError):
        demo.match_days("nosuch", since=DAY)


def test_shares():
    assert A.share == 0.05
    assert replace(A, uploads=0).share == 0.0
