"""What is new since a revision, and how many may ask at once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from matcher.errors import CatalogNeededError, InvalidRequestError, OverloadedError
from matcher.index.holder import Holder
from matcher.index.match_index import MatchIndex
from matcher.index.overlay import Overlay
from matcher.pipeline import Generation
from matcher.sealing import KeySource
from matcher.service.token_lookup import MAX_STREAMS, TokenLookup
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


@pytest.fixture
async def lookup():
    holder = Holder()
    holder.swap(Generation(MatchIndex.empty(), {}))
    tokens = Tokens(KeySource("keys:" + "ab" * 32), days=1)
    made = TokenLookup(tokens, holder, None, most_entries=10)
    yield made
    made.close()


async def test_so_many_streams_are_open_at_most(lookup):
    open_now = [lookup.stream() for _ in range(MAX_STREAMS)]
    for each in open_now:
        each.__enter__()
    with pytest.raises(OverloadedError), lookup.stream():
        pass
    open_now[0].__exit__(None, None, None)
    with lookup.stream():
        pass


async def test_a_replica_knows_everything_and_not_what_is_new(lookup):
    assert (await lookup.since(0)).revision == 0
    with pytest.raises(CatalogNeededError):
        await lookup.since(1)
    with pytest.raises(InvalidRequestError):
        await lookup.since(-1)
