"""Crops are views of their own, made when they are asked for and never otherwise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from loadtest import crops
from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import InProcessPool, checked
from matcher.decode.worker import decoder
from matcher.errors import DecoderContractError
from matcher.hashing.pdq import luma_block
from matcher.model import ALL_VIEWS, DecodeRequest, View, ViewSelection

PLAIN = ViewSelection(stored=False, composited=False)


def names(image):
    return [view.view for view in image.views]


def test_a_crop_is_the_middle_of_the_upright_picture(lab, photo):
    image = lab.decoded(lab.encoded(photo, "PNG"), DecodeRequest(PLAIN, crops=(0.02, 0.05)))
    assert names(image) == [View.UPRIGHT, "crop:0.02", "crop:0.05"]
    for share, view in zip((0.02, 0.05), image.views[1:], strict=True):
        expected = luma_block(np.asarray(crops.cut(photo, share)))
        assert np.abs(view.luma - expected).max() < 0.01


def test_no_crop_is_made_unasked_nor_of_a_picture_too_small_for_one(lab, photo):
    data = lab.encoded(photo.resize((60, 50)), "PNG")
    assert not any(
        name.startswith("crop") for name in names(lab.decoded(data, DecodeRequest(ALL_VIEWS)))
    )
    tiny = lab.encoded(photo.resize((12, 12)), "PNG")
    assert names(lab.decoded(tiny, DecodeRequest(PLAIN, crops=(0.02,)))) == [View.UPRIGHT]


@pytest.mark.slow
def test_a_crop_of_a_jpeg_rendered_smaller_is_near_that_of_the_full_picture(lab, photo):
    large = photo.resize((2400, 2400), Image.Resampling.BICUBIC)
    request = DecodeRequest(PLAIN, crops=(0.05,))
    small, full = (
        lab.code_of_block(lab.decoded(lab.encoded(large, *how), request).views[1].luma)
        for how in (("JPEG",), ("PNG",))
    )
    assert lab.distance(small, full) <= 10


def test_a_decoder_may_only_make_crops_that_were_asked_for(lab, photo):
    request = DecodeRequest(PLAIN, crops=(0.02,))
    limits = DecodeLimits()
    result = decoder.decode(lab.encoded(photo.resize((200, 160)), "PNG"), request, limits)
    assert checked(result, request, limits) is result
    with pytest.raises(DecoderContractError, match="name of a view"):
        checked(result, replace(request, crops=(0.03,)), limits)


@pytest.mark.slow
def test_stored_crops_find_what_was_cut():
    """Cutting 2 % defeats PDQ for most pictures; a stored crop of 2 % finds every one of them."""
    pool = InProcessPool(workers=1)
    pictures = [each.resize((320, 256)) for each in crops.photographs()]
    pictures = [each for each in pictures if crops.codes(pool, each)]
    queries = [crops.codes(pool, crops.cut(each, 0.02)) for each in pictures]
    plain = [crops.codes(pool, each) for each in pictures]
    stored = [crops.codes(pool, each, (0.02, 0.05)) for each in pictures]
    assert len(pictures) >= 18
    assert crops.share_found(queries, plain) <= 0.4
    assert crops.share_found(queries, stored) >= 0.95
    pool.close()
