"""What is known of bytes is bounded and given back as it was; twins wait for each other."""

from __future__ import annotations

import asyncio
import hashlib

from hypothesis import given
from hypothesis import strategies as st

from matcher.hashing.digests import digest_bytes
from matcher.model import NotHashableReason, Undecodable
from matcher.scan.model import Answer
from matcher.scan.repeats import Repeats
from tests.scan_support import hashes_of, picture

HASHES = hashes_of([picture(1), b"words"])


def answer(hashes):
    return Answer(digest_bytes(b""), None, hashes, format="png", gaps=("frames",))


def key(number):
    return hashlib.sha256(str(number).encode()).digest()


@given(claims=st.lists(st.integers(0, 30), max_size=100), most=st.integers(1, 10_000))
def test_only_what_was_settled_lately_is_known_and_memory_is_bounded(claims, most):
    async def check():
        repeats, order = Repeats(most), []
        for number in claims:
            known = await repeats.claim(key(number))
            assert (known is not None) == (number in order[-len(repeats) :] and len(repeats) > 0)
            if known is None:
                repeats.settle(key(number), answer(HASHES[number % 2]))
            else:
                order.remove(number)
                assert known.hashes == HASHES[number % 2]
                assert (known.image_format, known.gaps) == ("png", ("frames",))
            order.append(number)
            assert repeats.held <= most or len(repeats) == 1

    asyncio.run(check())


def test_why_there_are_no_views_is_given_back():
    missing = HASHES[1].undecodable
    assert isinstance(missing, Undecodable)
    assert missing.reason is NotHashableReason.UNSUPPORTED


async def test_twins_wait_and_the_next_one_judges_where_the_first_got_no_answer():
    repeats = Repeats()
    assert await repeats.claim(key(1)) is None
    twins = [asyncio.create_task(repeats.claim(key(1))) for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(each.done() for each in twins)
    repeats.settle(key(1), None)
    await asyncio.sleep(0)
    first = [each for each in twins if each.done()]
    assert len(first) == 1
    assert first[0].result() is None
    repeats.settle(key(1), answer(HASHES[0]))
    known = [each for each in await asyncio.gather(*twins) if each is not None]
    assert [each.hashes for each in known] == [HASHES[0]] * 2


async def test_no_memory_at_all_knows_nothing():
    repeats = Repeats(0)
    assert await repeats.claim(key(1)) is None
    repeats.settle(key(1), answer(HASHES[0]))
    assert await repeats.claim(key(1)) is None
    assert len(repeats) == 0
