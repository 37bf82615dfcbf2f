"""The 64-bit kinds against `imagehash` on the same Pillow pictures.

`imagehash` computes in double precision, so bits may differ only where a value lies within double
rounding of the median; the test works that distance out for each picture.
"""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from PIL import Image

from hashlists.model import CODE64_KINDS, HashKind
from matcher.hashing.classical import codes64, phash_coefficients

LANCZOS = Image.Resampling.LANCZOS
REFERENCES = {
    HashKind.PHASH: imagehash.phash,
    HashKind.DHASH: imagehash.dhash,
    HashKind.AHASH: imagehash.average_hash,
    HashKind.WHASH: imagehash.whash,
}
STYLES = ("noise", "flat", "gradient", "patches", "two-tone", "symmetric")
#: One rounding in double precision.
ROUNDING = 2.0**-53


def picture(height: int, width: int, style: str, seed: int) -> Image.Image:
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width]
    if style == "noise":
        pixels = rng.integers(0, 256, (height, width, 3))
    elif style == "flat":
        pixels = np.full((height, width, 3), rng.integers(0, 256))
    elif style == "gradient":
        pixels = np.stack([(a * x + b * y) // 3 % 256 for a, b in rng.integers(0, 9, (3, 2))], 2)
    elif style == "patches":
        patches = rng.integers(0, 256, (9, 9, 3))
        pixels = patches[y * 9 // height, x * 9 // width]
    elif style == "two-tone":
        pixels = np.repeat(255 * (rng.random((height, width, 1)) < 0.1), 3, axis=2)
    else:
        half = rng.integers(0, 256, (height, width, 3))
        pixels = (half + half[:, ::-1] + half[::-1] + half[::-1, ::-1]) // 4
    return Image.fromarray(pixels.astype(np.uint8))


def inputs(image: Image.Image, kind: HashKind) -> np.ndarray:
    """What a decoder hands over: the picture shrunk as imagehash shrinks it."""
    luminance = image.convert("L")
    if kind is HashKind.WHASH:
        side = max(8, 2 ** int(np.log2(min(image.size))))
        pixels = np.asarray(luminance.resize((side, side), LANCZOS))
        return pixels.reshape(8, side // 8, 8, side // 8).mean(axis=(1, 3))
    size = {HashKind.PHASH: (32, 32), HashKind.DHASH: (9, 8), HashKind.AHASH: (8, 8)}[kind]
    return np.asarray(luminance.resize(size, LANCZOS))


def from_median(pixels: np.ndarray, kind: HashKind) -> tuple[np.ndarray, float]:
    """How far each of 64 values is from the median, and how far rounding can move one."""
    if kind is HashKind.PHASH:
        values = phash_coefficients(pixels[None])[0]
        # Two transforms of 32 points, 5 stages each, of values that sum to at most 4 * 1024 * 255.
        slack = 2 * 10 * ROUNDING * 4 * 1024 * 255
    elif kind is HashKind.WHASH:
        values = pixels
        # imagehash analyses, rebuilds and analyses again: at most 3 * 12 levels of two filters
        # with 2 roundings each, of values up to 255.
        slack = 2 * 3 * 12 * 4 * ROUNDING * 255
    else:
        return np.full((8, 8), np.inf), 0.0  # whole numbers: nothing may differ
    return np.abs(values - np.median(values)), slack


def compare(image: Image.Image, kind: HashKind) -> int:
    """Compares one picture; returns how many bits rounding changed."""
    pixels = inputs(image, kind)
    ours = np.unpackbits(codes64(kind, pixels[None])[0]).astype(bool).reshape(8, 8)
    reference = REFERENCES[kind](image)
    differ = ours != reference.hash
    distance, slack = from_median(pixels, kind)
    assert not (differ & (distance > slack)).any()
    if not differ.any():
        assert codes64(kind, pixels[None])[0].tobytes().hex() == str(reference)
    return int(differ.sum())


sides = st.integers(1, 300)


@pytest.mark.parametrize("kind", CODE64_KINDS)
@given(height=sides, width=sides, style=st.sampled_from(STYLES), seed=st.integers(0, 2**32 - 1))
@example(height=1, width=1, style="noise", seed=1)
@example(height=7, width=300, style="noise", seed=2)
@example(height=8, width=8, style="patches", seed=3)
@example(height=32, width=32, style="symmetric", seed=4)
@example(height=1024, width=700, style="patches", seed=5)
def test_codes_are_those_of_imagehash(kind, height, width, style, seed):
    compare(picture(height, width, style, seed), kind)


@pytest.mark.parametrize("kind", CODE64_KINDS)
def test_photographs_agree_to_the_bit(kind, photographs):
    for pixels in photographs.values():
        assert compare(Image.fromarray(pixels), kind) == 0


@pytest.mark.parametrize("kind", [k for k in CODE64_KINDS if k is not HashKind.WHASH])
@given(height=sides, width=sides, style=st.sampled_from(STYLES), seed=st.integers(0, 2**32 - 1))
def test_all_but_whash_agree_to_the_bit(kind, height, width, style, seed):
    # phash uses the same transforms in the same order, so even values that cancel come out alike.
    assert compare(picture(height, width, style, seed), kind) == 0
