"""Counts of hits, whatever comes: bounded, never too high, and too low by no more than is told."""

from __future__ import annotations

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from matcher.hot_entries import FLAGGED_WINDOWS, FrequentItems, HotEntries

items = st.lists(st.integers(0, 30) | st.integers(0, 3), max_size=300)


@given(items, st.integers(1, 12))
def test_counts_are_bounded_on_every_side(hits, size):
    counted, true = FrequentItems(size), Counter()
    for item in hits:
        told = counted.add(item)
        true[item] += 1
        assert told == counted.counts.get(item, 0)
    assert len(counted.counts) <= size
    assert counted.shortfall <= len(hits) // (size + 1)
    for item, number in true.items():
        assert number - counted.shortfall <= counted.counts.get(item, 0) <= number
    assert set(counted.counts) <= set(true)


@given(
    st.lists(st.tuples(st.integers(0, 5), st.integers(0, 40)), max_size=200),
    st.integers(1, 20),
    st.floats(1, 20),
)
def test_only_what_was_hit_as_often_is_flagged_and_all_of_that(steps, floor, factor):
    """Against a model that counts exactly: there are fewer entries than counters."""
    now = 0.0
    hot = HotEntries(floor=floor, factor=factor, window_seconds=10, clock=lambda: now)
    window, hits, flags = 0, Counter(), {}
    for entry, seconds in steps:
        now += seconds
        if int(now // 10) > window:
            window, hits = int(now // 10), Counter()
        flags = {each: until for each, until in flags.items() if until >= window}
        was = hot.is_flagged(entry)
        found = hot.add([entry, entry])
        hits[entry] += 1
        for each in found:
            assert each.entry_id == entry
            assert each.hits == hits[entry] >= floor
            assert hits[entry] >= factor * each.usual
            assert not was
        if found or (entry in flags and hot.is_flagged(entry) and hits[entry] >= floor):
            flags[entry] = window + FLAGGED_WINDOWS
        if window == 0:
            assert hot.is_flagged(entry) == (hits[entry] >= floor * factor)
        if hot.is_flagged(entry):
            assert entry in flags
    assert hot.flags <= 6
