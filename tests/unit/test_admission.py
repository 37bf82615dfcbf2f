"""The bounds on work in flight: of all, and of clients whose images take decoders down."""

from __future__ import annotations

import pytest

from matcher import admission as admission_module
from matcher.admission import Admission, Throttle
from matcher.errors import OverloadedError, ThrottledError


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


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


class TestThrottle:
    @pytest.fixture
    def clock(self):
        return Clock()

    @pytest.fixture
    def throttle(self, clock):
        return Throttle(burst=3, refill_seconds=60, places=2, clock=clock)

    @staticmethod
    def kill(throttle, times, client="a"):
        for _ in range(times):
            throttle.take(client).end(fatal=True)

    def test_a_client_whose_images_do_no_harm_has_all_it_wants(self, throttle):
        turns = [throttle.take("a") for _ in range(100)]
        for turn in turns:
            turn.end()
        assert (throttle.held_back, throttle.refused) == (0, 0)
        assert not throttle._in_work

    def test_past_the_burst_it_has_some_places_and_is_never_shut_out(self, throttle):
        self.kill(throttle, 2)
        assert throttle.held_back == 0
        self.kill(throttle, 1)
        assert throttle.held_back == 1
        first, _second = throttle.take("a"), throttle.take("a")
        with pytest.raises(ThrottledError, match="only 2 of yours"):
            throttle.take("a")
        first.end()
        throttle.take("a")
        assert throttle.refused == 1

    def test_others_are_not_held_back(self, throttle):
        self.kill(throttle, 9)
        for _ in range(10):
            throttle.take("b")

    def test_time_forgives_one_after_the_other(self, throttle, clock):
        self.kill(throttle, 9)
        clock.now += 59
        assert throttle.held_back == 1
        clock.now += 2
        assert throttle.held_back == 0
        for _ in range(5):
            throttle.take("a")
        self.kill(throttle, 1)
        assert throttle.held_back == 1
        clock.now += 100_000
        self.kill(throttle, 2)
        assert throttle.held_back == 0, "no more than the burst is saved up"
        self.kill(throttle, 1)
        assert throttle.held_back == 1

    @pytest.mark.parametrize(("passed", "seconds"), [(0, 5), (57.5, 3), (59.9, 1)])
    def test_it_is_told_when_to_try_again(self, throttle, clock, passed, seconds):
        self.kill(throttle, 3)
        clock.now += passed
        throttle.take("a"), throttle.take("a")
        with pytest.raises(ThrottledError) as refused:
            throttle.take("a")
        assert refused.value.retry_seconds == seconds

    def test_a_turn_ends_once(self, throttle):
        turn = throttle.take("a")
        turn.end()
        turn.end(fatal=True)
        assert not throttle._in_work
        assert not throttle._buckets

    def test_only_the_latest_are_remembered(self, throttle, monkeypatch):
        monkeypatch.setattr(admission_module, "_MOST_CLIENTS", 2)
        for client in "abac":
            self.kill(throttle, 3, client)
        assert sorted(throttle._buckets) == ["a", "c"]
