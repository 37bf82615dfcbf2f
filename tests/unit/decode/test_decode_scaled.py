"""A picture that was rendered smaller is reduced as if it had been rendered in full."""

from __future__ import annotations

import io

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from matcher.decode.worker.scaled import scaled_block, summed_samples
from matcher.hashing.pdq import luma_block
from matcher.model import DecodeRequest, View, ViewSelection


@given(
    height=st.integers(40, 400),
    width=st.integers(40, 400),
    factor=st.sampled_from([1, 2, 4, 8]),
    seed=st.integers(0, 1000),
    colour=st.booleans(),
    flipped=st.tuples(st.booleans(), st.booleans()),
)
def test_block_is_that_of_the_rendering_blown_up(*, height, width, factor, seed, colour, flipped):
    """The oracle repeats every rendered pixel and reduces the large picture by the usual way."""
    rng = np.random.default_rng(seed)
    shape = (-(-height // factor), -(-width // factor), *((3,) if colour else ()))
    rendered = rng.integers(0, 256, shape, np.uint8)
    blown_up = rendered.repeat(factor, axis=0).repeat(factor, axis=1)[:height, :width]
    turn = tuple(slice(None, None, -1 if flip else 1) for flip in flipped)
    rendered, blown_up = rendered[turn], blown_up[turn]
    found = scaled_block(rendered, factor=factor, stored=(height, width), reversed_axes=flipped)
    assert found.shape == (64, 64)
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    np.testing.assert_allclose(found, luma_block(blown_up), rtol=0, atol=2e-3)


@given(side=st.integers(5, 9000), factor=st.sampled_from([2, 4, 8]), data=st.data())
def test_samples_are_means_of_pixels_that_exist(side, factor, data):
    missing = data.draw(st.sampled_from([0, -side % factor]))
    samples = summed_samples(side, factor, missing)
    assert len(samples) == 64
    for sample in samples:
        assert 0 <= sample.pixels.start < sample.pixels.stop <= -(-side // factor)
        assert sample.weights.sum() == pytest.approx(1, rel=1e-5)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_scaled_jpeg_keeps_to_its_stored_size_however_it_is_turned(lab, photo, orientation):
    """Sides that the factor does not divide, and lengths at which windows would differ."""
    large = photo.resize((2311, 2093), Image.Resampling.BICUBIC)
    stored = lab.unturned(large, orientation)
    data = lab.encoded(stored, "JPEG", quality=85, exif=lab.exif_of(orientation).tobytes())
    found = lab.codes(data)
    with Image.open(io.BytesIO(data)) as image:
        pixels = image.convert("RGB")
        turned = ImageOps.exif_transpose(image)
    assert lab.distance(found[View.UPRIGHT], lab.reference(turned)) <= 4
    if orientation != 1:
        assert lab.distance(found[View.STORED], lab.reference(pixels)) <= 4


def test_trimmed_view_of_a_scaled_jpeg(lab, photographs):
    photo = Image.fromarray(photographs["astronaut"]).resize((2400, 2200))
    canvas = Image.new("RGB", (2400, 3000))
    canvas.paste(photo, (0, 400))
    data = lab.encoded(canvas, "JPEG", quality=85)
    result = lab.decoded(data, DecodeRequest(ViewSelection(trimmed=True)))
    trimmed = next(view for view in result.views if view.view == View.TRIMMED)
    assert lab.distance(lab.code_of_block(trimmed.luma), lab.reference(photo)) <= 8
