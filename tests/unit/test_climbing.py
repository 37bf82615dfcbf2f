"""Series of near-identical queries: which are noticed, and which are not."""

from __future__ import annotations

import pytest

from matcher import climbing
from matcher.climbing import RING, Climbing
from tests.clocks import Clock


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def watch(clock):
    return Climbing(steps=10, seconds=600, answer_seconds=10, clock=clock)


def steps(count, *, start=0):
    """Codes of which each differs from all others by two bits."""
    for number in range(start, start + count):
        code = bytearray(32)
        code[number // 8] |= 1 << number % 8
        yield bytes(code)


def climb(watch, codes, *, client="client:a", inside=lambda i: i % 2 == 0):
    return [watch.look(client, code, matched=inside(i)) for i, code in enumerate(codes)]


def test_a_series_on_either_side_of_the_border_is_noticed(watch):
    *before, last = climb(watch, steps(10))
    assert before == [None] * 9
    assert (last.client, last.steps, last.matched) == ("client:a", 10, 5)
    assert last.is_new
    assert watch.noticed == 1


def test_copies_of_an_image_that_spreads_are_not(watch):
    assert climb(watch, steps(60), inside=lambda i: True) == [None] * 60
    edited = climb(watch, steps(60), client="client:b", inside=lambda i: i % 30 == 0)
    assert edited == [None] * 60


def test_the_same_image_again_and_again_is_not(watch):
    code = next(steps(1))
    assert [watch.look("client:a", code, matched=i % 2 == 0) for i in range(200)] == [None] * 200


def test_queries_that_came_near_nothing_are_not_kept(watch):
    assert climb(watch, steps(60), inside=lambda i: False) == [None] * 60
    assert not watch._rings


def test_images_that_differ_are_no_series(watch, rng):
    codes = [rng.bytes(32) for _ in range(100)]
    assert climb(watch, codes) == [None] * 100


def test_clients_are_told_apart(watch):
    for i, code in enumerate(steps(30)):
        assert watch.look(f"client:{i % 6}", code, matched=i % 12 < 6) is None


def test_what_is_long_ago_does_not_count(watch, clock):
    climb(watch, steps(9))
    clock.now += 601
    assert climb(watch, steps(9, start=9)) == [None] * 9


def test_a_client_is_told_of_once_as_long_as_the_series_goes_on(watch, clock):
    climb(watch, steps(10))
    for code in steps(10, start=10):
        clock.now += 500
        series = watch.look("client:a", code, matched=True)
        assert series is None or not series.is_new
    clock.now += 5000
    assert climb(watch, steps(10, start=30))[-1].is_new
    assert watch.noticed == 2


def test_answers_of_a_series_have_a_rate(watch, clock):
    first = climb(watch, steps(10))[-1]
    assert first.may_ask
    (second,) = climb(watch, steps(1, start=10))
    assert not second.may_ask
    assert second.retry_seconds == 10
    clock.now += 10
    (third,) = climb(watch, steps(1, start=11))
    assert third.may_ask


def test_memory_is_bounded(watch, monkeypatch, rng):
    monkeypatch.setattr(climbing, "MAX_CLIENTS", 5)
    for number in range(20):
        for _ in range(RING + 10):
            watch.look(f"client:{number}", rng.bytes(32), matched=True)
    assert len(watch._rings) == 5
    assert {len(each.codes) for each in watch._rings.values()} == {RING}


def test_a_climber_who_wanders_away_is_followed(watch):
    """Each step is near the one before; the last is far from the entry."""
    series = []
    code = bytearray(32)
    for number in range(0, 120, 2):
        for bit in (number, number + 1):
            code[bit // 8] |= 1 << bit % 8
        series.append(watch.look("client:a", bytes(code), matched=number < 32))
    assert any(series)


def test_steps_at_other_processes_count(watch):
    codes = list(steps(10))
    for i, code in enumerate(codes[:9]):
        watch.learn("client:a", code, matched=i % 2 == 0)
    assert watch.noticed == 0
    series = watch.look("client:a", codes[9], matched=False)
    assert (series.steps, series.matched, series.is_new) == (10, 5, True)


def test_what_is_noted_is_passed_on_and_nothing_else(clock):
    noted = []
    watch = Climbing(
        steps=10,
        seconds=600,
        answer_seconds=10,
        clock=clock,
        on_note=lambda *told: noted.append(told),
    )
    first, second = steps(2)
    watch.look("client:a", first, matched=False)
    assert noted == []
    watch.look("client:a", first, matched=True)
    watch.look("client:a", second, matched=False)
    watch.look("client:a", b"\xff" * 32, matched=False)
    watch.learn("client:a", second, matched=False)
    assert noted == [("client:a", first, True), ("client:a", second, False)]


def test_a_series_is_told_and_answered_once_by_all_processes(watch, clock):
    codes = list(steps(12))
    for i, code in enumerate(codes[:10]):
        watch.learn("client:a", code, matched=i % 2 == 0)
    watch.learn_series("client:a", answered=True)
    series = watch.look("client:a", codes[10], matched=True)
    assert (series.is_new, series.may_ask, series.retry_seconds) == (False, False, 10)
    assert watch.noticed == 0
    clock.now += 10
    watch.learn_series("client:b", answered=False)
    assert watch.look("client:a", codes[11], matched=True).may_ask


def test_what_is_no_code_is_not_learned(watch):
    with pytest.raises(ValueError, match="32 bytes"):
        watch.learn("client:a", b"\x01", matched=True)
    assert not watch.knows("client:a")
