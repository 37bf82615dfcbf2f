"""The bound on work in flight."""

from __future__ import annotations

import pytest

from matcher.admission import Admission
from matcher.errors import OverloadedError


def test_refuses_past_the_number_of_items_and_recovers():
    admission = Admission(max_items=2, max_bytes=100)
    with (
        admission.admit(1),
        admission.admit(1),
        pytest.raises(OverloadedError, match="2 items are in flight"),
        admission.admit(1),
    ):
        pass
    with admission.admit(1):
        assert admission.items == 1


def test_refuses_past_the_number_of_bytes():
    admission = Admission(max_items=10, max_bytes=100)
    with admission.admit(60), pytest.raises(OverloadedError), admission.admit(41):
        pass
    with admission.admit(60), admission.admit(40):
        assert admission.items == 2


def test_an_idle_service_takes_any_single_item():
    admission = Admission(max_items=1, max_bytes=10)
    with admission.admit(1000):
        assert admission.items == 1


def test_a_failing_item_gives_its_place_back():
    admission = Admission(max_items=1, max_bytes=10)
    with pytest.raises(ZeroDivisionError), admission.admit(5):
        raise ZeroDivisionError
    assert admission.items == 0
