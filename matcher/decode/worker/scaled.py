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
from typing import TYPE_CHECKING

import numpy as np
from scipy.sparse import csr_array

from matcher.hashing.pdq import luma_block
from matcher.hashing.reduction import BLOCK_SIDE, unit, whole

if TYPE_CHECKING:
    from numpy.typing import NDArray

_LUMINANCE = np.array([0.299, 0.587, 0.114], dtype=np.float32)
_CACHED_AXES = 128
#: Columns at a time: their floats stay in cache while all samples take from them.
_STRIP = 128


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
        summed_matrix(side, factor, -side % factor if is_reversed else 0)
        for side, is_reversed in zip(stored, reversed_axes, strict=True)
    )
    columns = np.empty((BLOCK_SIDE, pixels.shape[1]), dtype=np.float32)
    for left in range(0, pixels.shape[1], _STRIP):
        strip = pixels[:, left : left + _STRIP]
        columns[:, left : left + _STRIP] = down @ _luminance(strip)
    block: NDArray[np.float32] = np.ascontiguousarray((across @ columns.T).T)
    return block


@lru_cache(maxsize=_CACHED_AXES)
def summed_matrix(side: int, factor: int, missing: int = 0) -> csr_array:
    """The matrix for an axis of `side` stored pixels, over `ceil(side / factor)` rendered ones.

    Args:
        side: stored pixels.
        factor: stored pixels in a rendered one.
        missing: by how many the first rendered pixel falls short of that; else the last one does.

    Returns:
        `(64, ceil(side / factor)) float32`; rows sum to 1.
    """
    full = whole(side).tocoo()
    columns = (full.col + missing) // factor
    summed = csr_array(
        (full.data * unit(side), (full.row, columns)), shape=(BLOCK_SIDE, -(-side // factor))
    )
    return summed.astype(np.float32)


def _luminance(strip: NDArray[np.uint8]) -> NDArray[np.float32]:
    if strip.ndim == 2:  # noqa: PLR2004 - height and width alone
        return strip.astype(np.float32)
    return strip.astype(np.float32) @ _LUMINANCE
