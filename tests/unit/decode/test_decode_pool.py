"""The pool answers always, and believes a decoder nothing."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import InProcessPool, checked
from matcher.errors import DecoderContractError
from matcher.model import (
    ALL_VIEWS,
    CODE64_KINDS,
    DecodedImage,
    DecodeRequest,
    HashKind,
    NotHashableReason,
    Undecodable,
    ViewBlocks,
)

REQUEST = DecodeRequest(kinds64=frozenset(CODE64_KINDS))
LIMITS = DecodeLimits()


@pytest.fixture
def pool():
    made = InProcessPool(workers=2)
    yield made
    made.close()


def view(name="upright", **changes):
    inputs = {
        HashKind.PHASH: np.zeros((32, 32), np.uint8),
        HashKind.DHASH: np.zeros((8, 9), np.uint8),
        HashKind.AHASH: np.zeros((8, 8), np.uint8),
        HashKind.WHASH: np.zeros((8, 8), np.float64),
    }
    luma = np.zeros((64, 64), np.float32)
    return ViewBlocks(**{"view": name, "luma": luma, "inputs64": inputs, **changes})


def image(**changes):
    whole = {"width": 10, "height": 10, "format": "png", "frames": 1, "truncated": False}
    return DecodedImage(**{**whole, "views": (view(),), **changes})


def test_pool_decodes_many_at_once_and_in_any_order(lab, pool, photo):
    files = [lab.encoded(photo.resize((100 + i, 90)), "JPEG") for i in range(8)]
    futures = [pool.submit(data, REQUEST) for data in files]
    for i, future in reversed(list(enumerate(futures))):
        assert future.result().width == 100 + i


def test_out_of_memory_is_over_limit(pool, monkeypatch):
    def no_memory(*_):
        raise MemoryError

    monkeypatch.setattr(worker, "decode", no_memory)
    assert pool.submit(b"GIF89a", REQUEST).result().reason is NotHashableReason.OVER_LIMIT


def test_pool_answers_for_anything(pool):
    for data in (b"", b"\0", b"%PDF-1.7 /Encrypt", bytes(1000), "é".encode() * 99):
        result = pool.submit(data, DecodeRequest(ALL_VIEWS)).result()
        assert isinstance(result, Undecodable)


def test_exception_in_a_decoder_is_a_result(pool, lab, photo, monkeypatch):
    def fails(*_):
        raise ZeroDivisionError("something that the file said")

    monkeypatch.setattr(worker, "decode", fails)
    result = pool.submit(b"GIF89a", REQUEST).result()
    assert result.reason is NotHashableReason.DECODER_FAILED
    assert "ZeroDivisionError" in result.detail
    assert "file said" not in result.detail
    monkeypatch.undo()
    assert isinstance(pool.submit(lab.encoded(photo, "PNG"), REQUEST).result(), DecodedImage)


def test_broken_contract_is_a_failed_decoder(pool, monkeypatch):
    monkeypatch.setattr(worker, "decode", lambda *_: image(width=0))
    result = pool.submit(b"GIF89a", REQUEST).result()
    assert result.reason is NotHashableReason.DECODER_FAILED


def test_closed_pool_takes_nothing_more(lab, photo):
    pool = InProcessPool()
    future = pool.submit(lab.encoded(photo, "PNG"), REQUEST)
    pool.close()
    pool.close()
    assert isinstance(future.result(), DecodedImage)
    with pytest.raises(RuntimeError):
        pool.submit(b"", REQUEST)


def test_pool_keeps_to_its_limits(lab, photo):
    pool = InProcessPool(DecodeLimits(pixels=100), workers=1)
    result = pool.submit(lab.encoded(photo, "PNG"), REQUEST).result()
    assert result.reason is NotHashableReason.OVER_LIMIT
    pool.close()


def test_other_work_is_done_once_and_before_the_result(lab, pool, photo):
    for data in (lab.encoded(photo, "PNG"), b"no image"):
        done = []
        future = pool.submit(data, REQUEST, meanwhile=lambda done=done: done.append(1))
        future.result()
        assert done == [1]


def test_pool_names_its_decoders(pool):
    assert pool.versions() == worker.versions()


def test_whole_results_pass_the_contract():
    for result in (
        image(),
        image(views=(view(luma=None), view("frame:7"), view("mirrored:flipx"))),
        image(views_left_out=("frame:9", "stored")),
        Undecodable(NotHashableReason.MALFORMED, "cut off"),
    ):
        assert checked(result, REQUEST, LIMITS) is result


def _with(name, **changes):
    return image(views=(view(), view(name, **changes)))


BROKEN = {
    "nothing": None,
    "bytes": b"image",
    "no views": image(views=()),
    "another first view": image(views=(view("stored"),)),
    "a view twice": image(views=(view(), view())),
    "unknown view": _with("thumbnail"),
    "frame 0": _with("frame:0"),
    "frame of letters": _with("frame:x"),
    "left-out view of unknown name": image(views_left_out=("a hash",)),
    "too many views": image(views=(view(), *(view(f"frame:{k}") for k in range(1, 65)))),
    "no width": image(width=0),
    "negative height": image(height=-1),
    "no frames": image(frames=0),
    "format in capitals": image(format="PNG"),
    "format with a line break": image(format="png\n"),
    "block of another shape": _with("stored", luma=np.zeros((63, 64), np.float32)),
    "block of another dtype": _with("stored", luma=np.zeros((64, 64), np.float64)),
    "block that is a list": _with("stored", luma=[[0.0] * 64] * 64),
    "block with a NaN": _with("stored", luma=np.full((64, 64), np.nan, np.float32)),
    "block with infinity": _with("stored", luma=np.full((64, 64), np.inf, np.float32)),
    "block beyond white": _with("stored", luma=np.full((64, 64), 300, np.float32)),
    "block below black": _with("stored", luma=np.full((64, 64), -9, np.float32)),
    "a kind missing": _with("stored", inputs64={}),
    "featureless": Undecodable(NotHashableReason.FEATURELESS, ""),
    "reason that is a word": Undecodable("malformed", ""),
    "detail of two lines": Undecodable(NotHashableReason.MALFORMED, "one\ntwo"),
    "detail without end": Undecodable(NotHashableReason.MALFORMED, "x" * 301),
}
for kind in CODE64_KINDS:
    wrong = {**view().inputs64, kind: np.zeros((3, 3), view().inputs64[kind].dtype)}
    BROKEN[f"{kind} of another shape"] = _with("stored", inputs64=wrong)


@pytest.mark.parametrize("what", BROKEN)
def test_contract_is_checked(what):
    with pytest.raises(DecoderContractError):
        checked(BROKEN[what], REQUEST, LIMITS)


def test_every_field_of_a_result_is_under_contract():
    """A new field must be judged in `checked` before it reaches anybody."""
    assert {field.name for field in dataclasses.fields(DecodedImage)} == {
        *("width", "height", "format", "frames", "truncated", "views", "views_left_out")
    }
