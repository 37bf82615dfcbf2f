"""What is new since a revision, and how much may be asked at once."""

from __future__ import annotations

import asyncio
import threading
from contextlib import ExitStack, contextmanager

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.errors import CatalogNeededError, InvalidRequestError, OverloadedError
from matcher.index.holder import Holder
from matcher.index.match_index import MatchIndex
from matcher.index.overlay import Overlay
from matcher.pipeline import Generation, MatchOptions
from matcher.policy.rules import default_policy
from matcher.sealing import KeySource
from matcher.service import token_lookup
from matcher.service.token_lookup import MAX_KEPT, MAX_MESSAGES, TokenLookup
from matcher.tokens import Tokens

rows = st.integers(1, 70).flatmap(
    lambda length: st.tuples(
        st.just(length),
        st.sets(st.integers(0, length - 1)),
        st.sets(st.integers(0, length - 1)),
    )
)


@given(rows)
def test_all_but_these_rows_are_hidden_and_what_was_stays_so(drawn):
    length, hidden, wanted = drawn
    before = Overlay(length).extended(np.array(sorted(hidden), np.int64))
    only = before.only(np.array(sorted(wanted), np.int64))
    assert only.rows().tolist() == [row for row in range(length) if row not in wanted - hidden]
    assert len(only) == length - len(wanted - hidden)
    assert before.rows().tolist() == sorted(hidden)
    again = only.extended(np.array(sorted(wanted), np.int64))
    assert len(again) == length


OPTIONS = MatchOptions()


def generation(revision):
    index = MatchIndex(revision=revision, lists=(), classifications=(None,), segments=())
    return Generation(index, {"default": default_policy()})


class Lists:
    """A catalog of which only the newest revision is asked."""

    def __init__(self):
        self.revision = 7

    def opened(self):
        return self

    @contextmanager
    def read(self):
        yield self


@pytest.fixture
async def make():
    made = []

    def make(catalog=None):
        holder = Holder()
        holder.swap(generation(0))
        tokens = Tokens(KeySource("keys:" + "ab" * 32), days=1)
        made.append(TokenLookup(tokens, holder, catalog, most_entries=10))
        return made[-1]

    yield make
    for each in made:
        each.close()


@pytest.fixture
def read(monkeypatch):
    """What was read of what is new, by the revision since when."""
    read = []

    def changes(reader, _, since, **__):
        read.append(since)
        return generation(reader.revision)

    monkeypatch.setattr(token_lookup, "changes_since", changes)
    return read


@pytest.fixture
def gate(monkeypatch):
    """Checking waits for it, once it is closed."""
    gate = threading.Event()
    gate.set()

    def check(*_):
        gate.wait(60)
        return []

    monkeypatch.setattr(TokenLookup, "_check", check)
    yield gate
    gate.set()


def stream(lookup, who, since=0):
    return lookup.stream(since, client=who, who=who)


async def test_streams_that_are_silent_keep_nobody_out(make):
    lookup = make()
    with ExitStack() as held:
        for _ in range(3 * MAX_MESSAGES):
            await held.enter_context(stream(lookup, "greedy")).check([], OPTIONS)
        with stream(lookup, "modest") as asked:
            assert await asked.check([], OPTIONS) == []
            assert asked.revision == 0


async def test_who_sends_far_too_much_leaves_room_to_others_also_where_they_go_away(make, gate):
    lookup = make()
    gate.clear()
    with ExitStack() as held:
        asked = [held.enter_context(stream(lookup, "greedy")) for _ in range(MAX_MESSAGES - 1)]
        calls = [asyncio.create_task(each.check([], OPTIONS)) for each in asked]
        await asyncio.sleep(0)
        for call in calls[1:]:
            call.cancel()
        await asyncio.wait(calls[1:])
        with pytest.raises(OverloadedError, match="9 messages"):
            await held.enter_context(stream(lookup, "greedy")).check([], OPTIONS)
        waiting = asyncio.create_task(
            held.enter_context(stream(lookup, "modest")).check([], OPTIONS)
        )
        await asyncio.sleep(0)
        gate.set()
        assert await waiting == await calls[0] == []
        assert await asked[1].check([], OPTIONS) == []


async def test_a_stream_is_checked_up_to_one_revision_all_along(make, read, gate):
    catalog = Lists()
    lookup = make(catalog)
    with stream(lookup, "a", 3) as asked, stream(lookup, "b", 1) as other:
        await asked.check([], OPTIONS)
        catalog.revision = 8
        await asked.check([], OPTIONS)
        assert (asked.revision, read) == (7, [3])
        for since in range(10, 10 + MAX_KEPT):
            with stream(lookup, "a", since) as each:
                await each.check([], OPTIONS)
        await other.check([], OPTIONS)
        del read[:]
        await asked.check([], OPTIONS)  # what was forgotten is read again, as it is now
        assert (asked.revision, read) == (7, [3])
        assert len(lookup._kept) == MAX_KEPT


async def test_who_asks_for_many_revisions_makes_nobody_elses_forgotten(make, read, gate):
    lookup = make(Lists())
    with stream(lookup, "modest", 3) as asked:
        await asked.check([], OPTIONS)
        with ExitStack() as held:
            for since in range(3 * MAX_KEPT):
                await held.enter_context(stream(lookup, "greedy", since + 1)).check([], OPTIONS)
        assert len(lookup._kept) == MAX_KEPT
        del read[:]
        await asked.check([], OPTIONS)
        assert read == []
    assert len(lookup._kept) == 1


async def test_a_new_stream_is_told_of_the_newest_revision(make, read, gate):
    catalog = Lists()
    lookup = make(catalog)
    for revision, readings in ((7, 1), (7, 1), (8, 2)):
        catalog.revision = revision
        with stream(lookup, "a", 3) as asked:
            await asked.check([], OPTIONS)
            assert asked.revision == revision
        assert len(read) == readings


async def test_a_replica_knows_everything_and_not_what_is_new(make):
    lookup = make()
    assert (await lookup.since(0, "a")).revision == 0
    with pytest.raises(CatalogNeededError):
        await lookup.since(1, "a")
    with pytest.raises(InvalidRequestError), stream(lookup, "a", -1):
        pass
