"""The bounds on work in flight: of all, and of clients whose images take decoders down."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher import admission as admission_module
from matcher.admission import Admission, Places, Room, Throttle
from matcher.errors import OverloadedError, ThrottledError
from tests.clocks import Clock


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


def alone(room, who="a"):
    """How much a caller is given that takes one after the other."""
    given = 0
    while room.has(1, who):
        room.take(1, who)
        given += 1
    return given


class TestRoom:
    def test_one_alone_has_nine_tenths_and_another_one_still_some(self):
        room = Room(100)
        assert [alone(room, who) for who in ("a", "b", "c", "d", "e", "f")] == [90, 5, 3, 1, 1, 0]
        assert room.is_full

    @pytest.mark.parametrize("size", range(5))
    def test_so_little_is_not_shared(self, size):
        room = Room(size)
        assert alone(room) == size
        assert room.is_full

    def test_defaults_leave_one_alone_what_it_had_before_room_was_shared(self):
        assert [alone(Room(size)) for size in (72, 36, 144)] == [65, 33, 130]

    def test_nobody_in_particular_is_given_all(self):
        assert alone(Room(100), None) == 100

    def test_who_has_much_is_given_more_once_others_have_left(self):
        room = Room(20)
        assert alone(room, "a") == 18
        leave = room.take(1, "b")
        assert not room.has(1, "a")
        leave()
        assert not room.has(1, "a")
        assert room.has(1, "c")

    def test_shares_even_out_while_all_ask_again_and_again(self):
        """A greedy caller has all it can get, and is always first to ask for more."""
        room = Room(100)
        held = {"greedy": [], "modest": []}

        def take_all(who):
            while room.has(1, who):
                held[who].append(room.take(1, who))

        take_all("greedy")
        for _ in range(200):
            held["greedy"].pop(0)()
            take_all("greedy")
            take_all("modest")
        assert len(held["modest"]) == 20

    def test_what_is_given_back_is_forgotten(self):
        room = Room(10)
        held = [room.take(1, "a") for _ in range(9)]
        for give_back in held:
            give_back()
        assert (room.taken, room._shared) == (0, {})

    @given(st.integers(1, 60), st.lists(st.tuples(st.sampled_from("abc"), st.integers(1, 9))))
    def test_never_more_than_there_is_and_what_is_left_is_for_a_newcomer(self, size, asked):
        room, held = Room(size), []
        for who, amount in asked:
            if held and amount % 3 == 0:
                held.pop(0)()
            elif room.has(amount, who):
                held.append(room.take(amount, who))
            assert 0 <= room.taken <= size
            assert room.is_full or room.has(1, "newcomer")
        for give_back in held:
            give_back()
        assert (room.taken, room._shared) == (0, {})


def test_items_and_bytes_are_shared_out_among_callers():
    admission = Admission(max_items=1_000, max_bytes=100)
    places = []
    while admission.has_room(1, "a"):
        places.append(admission.take(1, "a"))
    assert len(places) == 90
    with pytest.raises(OverloadedError, match="90 items"):
        admission.take(1, "a")
    with admission.admit(5, "b"):
        assert admission.is_short
        assert not admission.is_full
    for each in places:
        each.release()
        each.release()
    assert (admission.items, admission.is_short) == (0, False)


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


class TestPlaces:
    def test_no_caller_has_the_last_one_too(self):
        places = Places(3)
        first, _ = places.take("greedy"), places.take("greedy")
        with pytest.raises(OverloadedError, match="2 are under way"):
            places.take("greedy")
        with places.held("modest"), pytest.raises(OverloadedError):
            places.take("another")
        first.release()
        first.release()
        places.take("greedy")
        with pytest.raises(OverloadedError):
            places.take("greedy")

    def test_one_alone_is_for_whoever_comes_first(self):
        places = Places(1)
        with places.held("a"), pytest.raises(OverloadedError, match="1 is under way"):
            places.take("b")
        places.take("b")
