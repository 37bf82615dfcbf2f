"""PDQ (Meta's perceptual hash of 256 bits) as small matrix products over batches.

The reference algorithm blurs the whole image four times and samples 64 x 64 points. Blur and
sampling are linear and act on each axis alone, so all of it is one `64 x n` matrix per axis, which
`matcher.hashing.reduction` builds and applies. What follows (cosine transform, median, bits) runs
on batches of 64 x 64 blocks.

Invariants:

* A code is that of the reference for the same luminance, except for bits whose coefficient lies
  within float rounding of the median.
* A block's code does not depend on what else is in its batch.
* Nothing here starts a thread: the only BLAS products are 64 x 64, below what OpenBLAS divides.

This module decodes nothing, rotates no pixels and judges no quality: it only measures it.

Source: "The TMK+PDQF Video-Hashing Algorithm and the PDQ Image-Hashing Algorithm", Meta, 2019.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final

import numpy as np

from matcher.hashing.reduction import BLOCK_SIDE, MIN_SIDE, block_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

CODE_BYTES: Final = 32

#: In the order of `pdq_dihedral_codes`; names as the reference library has them.
DIHEDRAL_FORMS: Final[tuple[str, ...]] = (
    "original",
    "rotate90",
    "rotate180",
    "rotate270",
    "flipx",
    "flipy",
    "flipplus",
    "flipminus",
)

_CHANNELS: Final = 3
_COEFFICIENTS: Final = 16
#: Zero-based rank of the median that the reference takes of 256 coefficients (the lower one).
_LOWER_MEDIAN: Final = 127
_QUALITY_DIVISOR: Final = 90
_QUALITY_MAX: Final = 100


class TooSmallError(ValueError):
    """An image has fewer than 5 pixels on a side, so PDQ is not defined for it."""


def luma_block(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Reduces an image to the block that all PDQ codes of it are made from.

    Any strides will do (flips, transposes, crops); no full-size copy is made.

    Args:
        pixels: luminance 0..255, `(H, W)` uint8 or float32, or RGB, `(H, W, 3)` uint8. RGB gives
            exact luminance (0.299 R + 0.587 G + 0.114 B, never rounded to whole numbers).

    Returns:
        `(64, 64) float32`, luminance 0..255.

    Raises:
        TooSmallError: under 5 pixels on a side.
        TypeError: another dtype.
        ValueError: another shape.
    """
    _check_pixels(pixels)
    return block_of(pixels)


def pdq_codes(blocks: NDArray[np.float32]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
    """Codes and qualities of a batch of blocks.

    Args:
        blocks: `(N, 64, 64) float32` from `luma_block`.

    Returns:
        Codes `(N, 32) uint8`, in the bit order in which the reference prints hex, and qualities
        `(N,) uint8`, 0..100.

    Raises:
        TypeError: another dtype.
        ValueError: another shape.
    """
    return _threshold(coefficients(blocks)), qualities(blocks)


def pdq_dihedral_codes(blocks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Codes of all eight rotated and mirrored forms of each block.

    Rotating or mirroring an image only transposes its coefficients and turns signs, so the seven
    further codes cost no further transform.

    Args:
        blocks: `(N, 64, 64) float32` from `luma_block`.

    Returns:
        `(N, 8, 32) uint8`, in the order of `DIHEDRAL_FORMS`. The quality of each form is that of
        the original.

    Raises:
        TypeError: another dtype.
        ValueError: another shape.
    """
    forms = dihedral_coefficients(coefficients(blocks))
    codes = _threshold(forms.reshape(-1, _COEFFICIENTS, _COEFFICIENTS))
    return codes.reshape(len(blocks), len(DIHEDRAL_FORMS), CODE_BYTES)


def coefficients(blocks: NDArray[np.float32]) -> NDArray[np.float64]:
    """The 16 x 16 lowest coefficients, without the constant ones, of each block's cosine transform.

    Args:
        blocks: `(N, 64, 64) float32`.

    Returns:
        `(N, 16, 16) float64`: row `i`, column `j` is bit `16 i + j` once it is thresholded.

    Raises:
        TypeError: another dtype.
        ValueError: another shape.
    """
    _check_blocks(blocks)
    # Double precision costs little at this size and makes the result the nearest possible one.
    return _COSINES @ blocks.astype(np.float64) @ _COSINES.T


def dihedral_coefficients(original: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coefficients of the eight forms, from those of the originals.

    Args:
        original: `(N, 16, 16)` from `coefficients`.

    Returns:
        `(N, 8, 16, 16)`, in the order of `DIHEDRAL_FORMS`.
    """
    rows, columns = _SIGNS[:, None], _SIGNS[None, :]
    forms = (
        original,
        (original * columns).swapaxes(1, 2),
        original * rows * columns,
        (original * rows).swapaxes(1, 2),
        original * rows,
        original * columns,
        original.swapaxes(1, 2),
        (original * rows * columns).swapaxes(1, 2),
    )
    return np.stack(forms, axis=1)


def qualities(blocks: NDArray[np.float32]) -> NDArray[np.uint8]:
    """How much structure each block has, 0..100, as the reference measures it.

    Args:
        blocks: `(N, 64, 64) float32`.

    Returns:
        `(N,) uint8`. Below `matcher.model.QUALITY_FLOOR` a code must not be used.
    """
    _check_blocks(blocks)
    steps = _percent_steps(blocks[:, 1:] - blocks[:, :-1])
    steps += _percent_steps(blocks[:, :, 1:] - blocks[:, :, :-1])
    capped: NDArray[np.int64] = np.minimum(steps // _QUALITY_DIVISOR, _QUALITY_MAX)
    return capped.astype(np.uint8)


def _percent_steps(steps: NDArray[np.float32]) -> NDArray[np.int64]:
    # Whole percents of full contrast between neighbours, cut off as the reference does: in single
    # precision, product first.
    np.abs(steps, out=steps)
    steps *= np.float32(100)
    steps /= np.float32(255)
    totals: NDArray[np.int64] = steps.astype(np.int32).sum(axis=(1, 2), dtype=np.int64)
    return totals


def _threshold(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    flat = values.reshape(-1, _COEFFICIENTS * _COEFFICIENTS)
    medians = np.partition(flat, _LOWER_MEDIAN, axis=1)[:, _LOWER_MEDIAN, None]
    return np.packbits((flat > medians)[:, ::-1], axis=1)


def _check_pixels(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> None:
    rgb = pixels.ndim == _CHANNELS and pixels.shape[2] == _CHANNELS and pixels.dtype == np.uint8
    if not rgb and pixels.ndim != 2:  # noqa: PLR2004 (an image has two axes)
        raise ValueError(f"pixels must be (H, W), or (H, W, 3) uint8, not {pixels.shape}")
    if pixels.dtype not in (np.uint8, np.float32):
        raise TypeError(f"pixels must be uint8 or float32, not {pixels.dtype}")
    if min(pixels.shape[:2]) < MIN_SIDE:
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise TooSmallError(f"PDQ needs {MIN_SIDE} pixels on each side, this image is {size}")


def _check_blocks(blocks: NDArray[np.float32]) -> None:
    if blocks.dtype != np.float32:
        raise TypeError(f"blocks must be float32, not {blocks.dtype}")
    if blocks.ndim != 3 or blocks.shape[1:] != (BLOCK_SIDE, BLOCK_SIDE):  # noqa: PLR2004 (a batch of blocks)
        raise ValueError(f"blocks must be (N, {BLOCK_SIDE}, {BLOCK_SIDE}), not {blocks.shape}")


def _cosines() -> NDArray[np.float64]:
    frequency = np.arange(1, _COEFFICIENTS + 1)[:, None]
    position = 2 * np.arange(BLOCK_SIDE)[None, :] + 1
    angles = math.pi / (2 * BLOCK_SIDE) * frequency * position
    cosines: NDArray[np.float64] = math.sqrt(2 / BLOCK_SIDE) * np.cos(angles)
    return cosines


_COSINES: Final = _cosines()
#: The sign that mirroring gives to each coefficient: frequency `k + 1` is odd for even `k`.
_SIGNS: Final = np.where(np.arange(_COEFFICIENTS) % 2 == 0, -1.0, 1.0)
