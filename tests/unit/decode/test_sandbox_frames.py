"""What crosses between a decoder and its parent is what was meant, or nothing."""

from __future__ import annotations

import struct

import numpy as np
import pytest
from hypothesis import event, given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from matcher.decode.sandbox import frames
from matcher.errors import DecoderContractError
from matcher.model import (
    CODE64_KINDS,
    DecodedImage,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    View,
    ViewBlocks,
    ViewSelection,
)

LAYOUTS = {
    HashKind.PHASH: (np.uint8, (32, 32)),
    HashKind.DHASH: (np.uint8, (8, 9)),
    HashKind.AHASH: (np.uint8, (8, 8)),
    HashKind.WHASH: (np.float64, (8, 8)),
}
NUMBER = 7
FIXED = (View.STORED, View.COMPOSITED_WHITE, View.COMPOSITED_BLACK, View.TRIMMED, *View.MIRRORED)


def block(dtype, shape):
    elements = st.integers(0, 255) if dtype is np.uint8 else st.floats(0, 255, width=32)
    return arrays.arrays(dtype, shape, elements=elements, fill=elements)


@st.composite
def requests(draw):
    shares = st.floats(0.001, 0.499).map(lambda share: float(f"{share:g}"))
    flags = {name: draw(st.booleans()) for name in ("stored", "composited", "trimmed", "mirrored")}
    return DecodeRequest(
        ViewSelection(frames=draw(st.integers(0, 2**20)), **flags),
        draw(st.frozensets(st.sampled_from(CODE64_KINDS))),
        tuple(draw(st.lists(shares, max_size=4, unique=True))),
    )


@st.composite
def images(draw, request):
    kinds = sorted(request.kinds64)
    more = [*FIXED, View.frame(1), View.frame(999_999), *map(View.crop, request.crops)]
    names = [View.UPRIGHT, *draw(st.lists(st.sampled_from(more), max_size=4, unique=True))]
    views = tuple(
        ViewBlocks(
            name,
            draw(st.none() | block(np.float32, (64, 64))),
            {kind: draw(block(*LAYOUTS[kind])) for kind in kinds},
        )
        for name in names
    )
    left_out = tuple(draw(st.lists(st.sampled_from(more), max_size=5)))
    sides = st.integers(1, 2**31 - 1)
    return DecodedImage(
        *(draw(sides), draw(sides), draw(st.sampled_from(["jpeg", "jpeg2000"])), draw(sides)),
        *(draw(st.booleans()), views, left_out),
    )


def sent(result, request):
    """What arrives, head and body taken apart as the pool does."""
    data = frames.pack_answer(result, request, NUMBER)
    head, body = data[: frames.ANSWER_HEAD_BYTES], data[frames.ANSWER_HEAD_BYTES :]
    assert frames.body_bytes(head, NUMBER, views=64) == len(body)
    return frames.unpack_answer(head, bytearray(body), request)


def as_plain(result):
    if isinstance(result, Undecodable):
        return result
    views = [
        (
            view.view,
            None if view.luma is None else (view.luma.dtype, view.luma.tobytes()),
            {
                kind: (each.dtype, each.shape, each.tobytes())
                for kind, each in view.inputs64.items()
            },
        )
        for view in result.views
    ]
    own = (result.width, result.height, result.format, result.frames, result.truncated)
    return own, views, result.views_left_out


@given(st.data(), requests())
def test_an_image_arrives_as_it_was_sent(data, request):
    result = data.draw(images(request))
    assert as_plain(sent(result, request)) == as_plain(result)


@given(st.sampled_from(NotHashableReason), st.text(max_size=300))
def test_a_reason_arrives_as_it_was_sent(reason, detail):
    detail = detail.encode(errors="replace").decode()
    assert sent(Undecodable(reason, detail), DecodeRequest()) == Undecodable(reason, detail)


@given(requests(), st.integers(0, 2**32 - 1), st.integers(0, frames.NUMBERS - 1))
def test_a_request_arrives_as_it_was_sent(request, nbytes, number):
    data = frames.pack_request(request, nbytes, number)
    head = frames.unpack_request(data[: frames.REQUEST_HEAD_BYTES])
    rest = data[frames.REQUEST_HEAD_BYTES :]
    assert (head.number, head.nbytes, head.crop_bytes) == (number, nbytes, len(rest))
    assert head.shared == (nbytes > frames.INLINE_BYTES)
    assert head.with_crops(rest) == request


@given(st.data(), requests())
def test_a_damaged_answer_is_an_answer_or_refused(data, request):
    """A worker that a file has taken over says what it likes; its parent raises one error only."""
    good = bytearray(frames.pack_answer(data.draw(images(request)), request, NUMBER))
    for _ in range(data.draw(st.integers(1, 8))):
        good[data.draw(st.integers(0, min(len(good) - 1, 400)))] = data.draw(st.integers(0, 255))
    cut = data.draw(st.integers(0, 40))
    head, body = bytes(good[: frames.ANSWER_HEAD_BYTES]), good[frames.ANSWER_HEAD_BYTES :]
    try:
        frames.body_bytes(head, NUMBER, views=64)
        frames.unpack_answer(head, body[: len(body) - cut], request)
    except (DecoderContractError, frames.OutOfMemoryError):
        event("refused")


@given(
    st.binary(min_size=frames.ANSWER_HEAD_BYTES, max_size=frames.ANSWER_HEAD_BYTES),
    st.binary(max_size=200),
)
def test_nonsense_is_refused(head, body):
    def read():
        frames.body_bytes(head, NUMBER, views=64)
        frames.unpack_answer(head, body, DecodeRequest())

    with pytest.raises(DecoderContractError):
        read()


def test_no_answer_makes_its_parent_take_more_memory_than_the_largest():
    head = bytearray(
        frames.pack_answer(Undecodable(NotHashableReason.MALFORMED, ""), DecodeRequest(), NUMBER)
    )
    head[-4:] = struct.pack("<I", frames.largest_body(64) + 1)
    with pytest.raises(DecoderContractError, match="length"):
        frames.body_bytes(bytes(head), NUMBER, views=64)
    assert frames.largest_body(64) < 2 << 20


def test_an_answer_to_another_request_is_refused():
    head = frames.pack_out_of_memory(NUMBER)
    assert frames.body_bytes(head, NUMBER, views=64) == 0
    with pytest.raises(DecoderContractError, match="an answer"):
        frames.body_bytes(head, NUMBER + 1, views=64)


def test_that_memory_ran_out_is_told():
    with pytest.raises(frames.OutOfMemoryError):
        frames.unpack_answer(frames.pack_out_of_memory(NUMBER), b"", DecodeRequest())


def test_more_crops_than_there_can_be_are_refused():
    with pytest.raises(ValueError, match="at most 16"):
        frames.pack_request(DecodeRequest(crops=tuple(n / 100 for n in range(1, 20))), 1, NUMBER)
