"""Decoders in a sandbox answer as those in this process do, whatever files make of them."""

from __future__ import annotations

import os
import struct
from pathlib import Path

import numpy as np
import pytest

from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import InProcessPool
from matcher.decode.protection import EVERY_PROTECTION
from matcher.decode.sandbox import frames
from matcher.decode.sandbox.pool import SandboxPool
from matcher.decode.worker.selftest import sample
from matcher.decode.worker.sniff import Format
from matcher.model import (
    ALL_VIEWS,
    CODE64_KINDS,
    DecodedImage,
    DecodeRequest,
    NotHashableReason,
    Undecodable,
)
from tests.planted_decoders import PLANTED

REQUEST = DecodeRequest(ALL_VIEWS, frozenset(CODE64_KINDS), crops=(0.02, 0.05))
SECONDS = 30.0


@pytest.fixture(scope="module")
def pool():
    made = SandboxPool(workers=1, kill_seconds=1.0, program="tests.planted_decoders")
    yield made
    made.close()


@pytest.fixture(scope="module")
def trusted():
    made = InProcessPool(workers=1)
    yield made
    made.close()


def asked(pool, data, request=REQUEST):
    return pool.submit(data, request).result(SECONDS)


def planted(word, rest=b""):
    return PLANTED + word.encode() + b":" + rest


def is_same(one, other):
    if isinstance(one, Undecodable):
        return one == other
    own = [each.views_left_out for each in (one, other)]
    views = [each.views for each in (one, other)]
    return (
        own[0] == own[1]
        and (one.width, one.height, one.format, one.frames, one.truncated)
        == (other.width, other.height, other.format, other.frames, other.truncated)
        and [each.view for each in views[0]] == [each.view for each in views[1]]
        and all(
            np.array_equal(a.luma, b.luma)
            and a.inputs64.keys() == b.inputs64.keys()
            and all(np.array_equal(a.inputs64[kind], b.inputs64[kind]) for kind in a.inputs64)
            for a, b in zip(*views, strict=True)
        )
    )


def test_it_is_protected_by_everything_there_is_here(pool):
    assert pool.protection() == EVERY_PROTECTION


@pytest.mark.parametrize("image_format", Format)
def test_every_format_decodes_as_outside(pool, trusted, image_format):
    data = sample(image_format)
    found = asked(pool, data)
    assert isinstance(found, DecodedImage)
    assert is_same(found, asked(trusted, data))


@pytest.mark.parametrize("data", [b"", b"no image", b"\xff\xd8\xff" + bytes(300)])
def test_what_is_no_image_is_told_as_outside(pool, trusted, data):
    assert asked(pool, data) == asked(trusted, data)


def test_a_large_file_goes_through_shared_memory(pool, trusted):
    data = sample(Format.PNG)
    large = data + bytes(frames.INLINE_BYTES)  # what follows a picture is no part of it
    assert len(large) > frames.INLINE_BYTES
    assert is_same(asked(pool, large), asked(trusted, large))
    assert is_same(asked(pool, data), asked(trusted, data))  # nothing of it is left over


def test_a_file_past_the_limit_is_not_even_sent():
    pool = SandboxPool(DecodeLimits(encoded_bytes=100), workers=1)
    try:
        assert asked(pool, bytes(101)).reason is NotHashableReason.OVER_LIMIT
        assert not any(pool.restarts().values())
    finally:
        pool.close()


@pytest.mark.parametrize(
    ("word", "causes"),
    [
        *(("segfault", {"ended": 2}), ("exit", {"ended": 2}), ("silence", {"ended": 2})),
        *(("loop", {"time": 1}), ("sleep", {"time": 1})),
    ],
)
def test_a_worker_that_a_file_takes_down_costs_that_file_alone(pool, word, causes):
    """It is tried once more, but for one that took too long."""
    before = pool.restarts()
    harmed, *others = [
        pool.submit(each, REQUEST) for each in (planted(word), *[sample(Format.PNG)] * 3)
    ]
    answer = harmed.result(SECONDS)
    assert (answer.reason, answer.fatal) == (NotHashableReason.DECODER_FAILED, True)
    assert all(isinstance(each.result(SECONDS), DecodedImage) for each in others)
    assert {key: pool.restarts()[key] - before.get(key, 0) for key in causes} == causes


@pytest.mark.parametrize(
    "said",
    [
        b"\0" * 200,
        frames.pack_answer(Undecodable(NotHashableReason.MALFORMED, "x" * 300), REQUEST)[:-300]
        + b"\xff" * 300,
        frames.pack_answer(Undecodable(NotHashableReason.FEATURELESS, "never"), REQUEST),
        frames.pack_answer(DecodedImage(1, 1, "jpeg", 1, False, ()), REQUEST),
        frames.pack_answer(Undecodable(NotHashableReason.MALFORMED, ""), REQUEST)[:-4]
        + struct.pack("<I", 1 << 31),
    ],
    ids=["zeros", "no-text", "no-reason", "no-views", "too-long"],
)
def test_a_worker_that_says_nonsense_is_replaced(pool, said):
    before = pool.restarts()["nonsense"]
    answer = asked(pool, planted("nonsense", said))
    assert (answer.reason, answer.fatal) == (NotHashableReason.DECODER_FAILED, True)
    assert pool.restarts()["nonsense"] == before + 2
    assert isinstance(asked(pool, sample(Format.JPEG)), DecodedImage)


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        ("memory", NotHashableReason.DECODER_FAILED),
        ("raise", NotHashableReason.DECODER_FAILED),
    ],
)
def test_an_exception_of_a_decoder_is_an_answer(pool, word, reason):
    before = pool.restarts()
    answer = asked(pool, planted(word))
    assert (answer.reason, answer.fatal) == (reason, False)
    assert pool.restarts() == before


def test_who_gave_up_is_dropped_before_work_is_spent(pool):
    busy = pool.submit(planted("sleep"), REQUEST)
    given_up = pool.submit(planted("segfault"), REQUEST)
    assert given_up.cancel()
    before = pool.restarts()["ended"]
    busy.result(SECONDS)
    assert isinstance(asked(pool, sample(Format.PNG)), DecodedImage)
    assert pool.restarts()["ended"] == before


def test_a_forkserver_that_is_gone_is_started_anew():
    pool = SandboxPool(workers=1)
    try:
        assert isinstance(asked(pool, sample(Format.PNG)), DecodedImage)
        pool._forks._process.kill()
        pool._forks._process.wait()
        answers = [asked(pool, sample(Format.PNG)) for _ in range(2)]  # its workers went with it
        assert all(isinstance(each, DecodedImage) for each in answers)
    finally:
        pool.close()


def test_nothing_is_left_when_it_is_closed():
    before = children(os.getpid())
    pool = SandboxPool(workers=2)
    answers = [pool.submit(sample(Format.PNG), REQUEST) for _ in range(8)]
    pool.close()
    pool.close()
    assert all(isinstance(each.result(0), DecodedImage) for each in answers)
    assert children(os.getpid()) == before
    with pytest.raises(RuntimeError, match="closed"):
        pool.submit(b"", REQUEST)


def test_a_pool_that_was_never_used_closes():
    SandboxPool(workers=2).close()


def test_versions_are_those_of_the_workers(pool, trusted):
    assert pool.versions() == trusted.versions()


def children(pid):
    return Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
