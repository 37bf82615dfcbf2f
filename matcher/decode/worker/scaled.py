"""The PDQ block of a picture that was rendered smaller, as if it had been rendered in full.

A JPEG rendered at 1/2, 1/4 or 1/8 holds means of 2 x 2, 4 x 4 or 8 x 8 stored pixels. PDQ's blur
and sampling depend on the stored size: reducing the smaller picture by the matrix of its own size
puts windows and samples elsewhere by up to a stored pixel or two. Instead, the matrix for the
stored size is summed over the stored pixels that each rendered one stands for; what is then left of
a difference is within a rendered pixel, which the blur all but removes.

Where the factor does not divide a side, the last rendered pixel stands for fewer stored ones; once
the picture is turned, that may be the first.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from matcher.hashing.pdq import luma_block
from matcher.hashing.reduction import BLOCK_SIDE, tents, unit

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CACHED_AXES = 128
#: Floats in a strip of columns (4 MiB): few calls, and memory that does not grow with the picture.
_STRIP_FLOATS = 1 << 20


class Sample(NamedTuple):
    """One of the 64 samples along an axis: which rendered pixels it takes, with which weights.

    Attributes:
        pixels: a run of rendered pixels.
        weights: `(run,) float32`; they sum to 1.
    """

    pixels: slice
    weights: NDArray[np.float32]


def scaled_block(
    pixels: NDArray[np.uint8],
    *,
    factor: int,
    stored: tuple[int, int],
    reversed_axes: tuple[bool, bool] = (False, False),
) -> NDArray[np.float32]:
    """Reduces a picture that was rendered smaller.

    Args:
        pixels: luminance `(H, W)` or RGB `(H, W, 3)`, uint8, as rendered.
        factor: how many stored pixels, along each axis, a rendered one stands for.
        stored: height and width in stored pixels; `H = ceil(height / factor)`, and so for `W`.
        reversed_axes: whether rows, and columns, run against the order in which they are stored.

    Returns:
        `(64, 64) float32`, luminance 0..255.
    """
    if factor == 1:
        return luma_block(pixels)
    down, across = (
        summed_samples(side, factor, -side % factor if is_reversed else 0)
        for side, is_reversed in zip(stored, reversed_axes, strict=True)
    )
    columns = np.empty((BLOCK_SIDE, pixels.shape[1]), dtype=np.float32)
    width = max(1, _STRIP_FLOATS // len(pixels))
    for left in range(0, pixels.shape[1], width):
        strip = _luminance(pixels[:, left : left + width])
        for row, sample in enumerate(down):
            columns[row, left : left + width] = sample.weights @ strip[sample.pixels]
    block = np.empty((BLOCK_SIDE, BLOCK_SIDE), dtype=np.float32)
    for column, sample in enumerate(across):
        block[:, column] = columns[:, sample.pixels] @ sample.weights
    return block


@lru_cache(maxsize=_CACHED_AXES)
def summed_samples(side: int, factor: int, missing: int = 0) -> tuple[Sample, ...]:
    """The 64 samples along an axis of `side` stored pixels, over `ceil(side / factor)` rendered.

    Args:
        side: stored pixels.
        factor: stored pixels in a rendered one.
        missing: by how many the first rendered pixel falls short of that; else the last one does.
    """
    starts, weights = tents(side)
    return tuple(
        _summed(int(start) + missing, row[: side - start] * unit(side), factor)
        for start, row in zip(starts, weights, strict=True)
    )


def _summed(start: int, weights: NDArray[np.float64], factor: int) -> Sample:
    """Adds up the weights that fall into the same rendered pixel."""
    kept = np.trim_zeros(weights, "b")
    rendered = (start + np.arange(len(kept))) // factor
    first = int(rendered[0])
    sums = np.bincount(rendered - first, weights=kept).astype(np.float32)
    return Sample(slice(first, first + len(sums)), sums)


def _luminance(strip: NDArray[np.uint8]) -> NDArray[np.float32]:
    if strip.ndim == 2:  # noqa: PLR2004 - height and width alone
        return strip.astype(np.float32)
    return strip.astype(np.float32) @ _LUMINANCE
