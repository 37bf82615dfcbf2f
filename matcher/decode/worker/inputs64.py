"""What the 64-bit kinds take from a picture: the same pixels that the `imagehash` package takes.

Bit-identical to `imagehash` 4.3.2 on the same Pillow image: conversion to "L" and one resize with
the Lanczos filter. What is done with the numbers is the business of `matcher.hashing.classical`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL.Image import Resampling

from matcher.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray
    from PIL.Image import Image

#: Width and height that each kind resizes to; whash depends on the picture.
_SIZES = {HashKind.PHASH: (32, 32), HashKind.DHASH: (9, 8), HashKind.AHASH: (8, 8)}
_WHASH_SIDE = 8


def inputs64_of(
    image: Image, kinds: Iterable[HashKind]
) -> Mapping[HashKind, NDArray[np.uint8] | NDArray[np.float64]]:
    """Computes the inputs of the wanted kinds.

    Args:
        image: mode "L" or "RGB".
        kinds: 64-bit kinds.

    Returns:
        For each kind: phash `(32, 32) uint8`, dhash `(8, 9) uint8`, ahash `(8, 8) uint8`, whash
        `(8, 8) float64`.

    Raises:
        KeyError: a kind is not one of 64 bits.
    """
    kinds = tuple(kinds)
    if not kinds:
        return {}
    grey = image.convert("L")
    return {
        kind: _wavelet_means(grey) if kind is HashKind.WHASH else _resized(grey, _SIZES[kind])
        for kind in kinds
    }


def _resized(grey: Image, size: tuple[int, int]) -> NDArray[np.uint8]:
    return np.array(grey.resize(size, Resampling.LANCZOS))


def _wavelet_means(grey: Image) -> NDArray[np.float64]:
    """Means of the 8 x 8 blocks of the picture at `2^k x 2^k`.

    The Haar approximation at 8 x 8 is these means times a constant, and `imagehash` takes out the
    overall mean, which its median test does not see. Sums are of whole numbers, so each mean is
    the nearest float64.
    """
    side = max(1 << (min(grey.size).bit_length() - 1), _WHASH_SIDE)
    pixels = _resized(grey, (side, side))
    block = side // _WHASH_SIDE
    sums = pixels.reshape(_WHASH_SIDE, block, _WHASH_SIDE, block).sum(axis=(1, 3), dtype=np.int64)
    means: NDArray[np.float64] = sums / float(block * block)
    return means
