"""The `64 x n` matrix that stands for PDQ's blur and sampling along one axis of `n` pixels.

The reference runs two box filters along each axis and then takes 64 samples. Each sample is thus a
weighted mean of about `n / 64` neighbouring pixels (a tent), and the matrix is a narrow band along
its diagonal. `Reduction` keeps it as short dense pieces of a few outputs each, and applies every
piece to the pixels it touches, so that each pixel is read and widened about once.

Weights are kept as multiples of `1 / w^2`, with `w` the filter's width: away from the borders they
are then whole numbers, and sums over 8-bit pixels are exact in single precision.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_SIDE: Final = 64
#: The reference defines no hash under this many pixels on a side.
MIN_SIDE: Final = 5

_LUMINANCE: Final = np.array([0.299, 0.587, 0.114], dtype=np.float64)
#: Multiplications in one product. Above this OpenBLAS starts threads; and the widened pixels of
#: such a product (256 KiB with four outputs a piece) stay in a core's second-level cache.
_MULTIPLICATIONS: Final = 262_144
#: Longer axes are not cached: their weights are large, and building them costs far less than the
#: reading of so many pixels.
_CACHED_PIXELS: Final = 16_384
_CACHED_AXES: Final = 128
#: Axes shorter than this are cut into fewer, larger pieces: there, calls cost more than arithmetic.
_SHORT_AXIS: Final = 512
_OUTPUTS_PER_PIECE: Final = 4
#: Wider images are taken in vertical strips, narrow enough for products of this many rows.
_ROWS_AT_LEAST: Final = 4


@dataclass(frozen=True, slots=True)
class Piece:
    """Weights of a few neighbouring outputs over the pixels that any of them touches.

    Attributes:
        first_output: index of the first output, 0..63.
        start: index of the first pixel.
        weights: `(outputs, pixels) float32`, multiples of `Reduction.scale`.
        weights_t: the same, `(pixels, outputs) float64`.
    """

    first_output: int
    start: int
    weights: NDArray[np.float32] = field(repr=False)
    weights_t: NDArray[np.float64] = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reduction:
    """Blur and sampling along an axis of `n` pixels.

    Attributes:
        n: pixels along the axis.
        scale: what every weighted sum is to be multiplied with.
        pieces: in order of their outputs; together they cover all 64.
    """

    n: int
    scale: float
    pieces: tuple[Piece, ...]


def block_of(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurs and samples an image along both axes.

    Args:
        pixels: luminance `(H, W)`, uint8 or float32, or RGB `(H, W, 3)`. Reading is quickest where
            the second axis is contiguous in memory.

    Returns:
        `(64, 64) float32`.
    """
    down, across = reduction(pixels.shape[0]), reduction(pixels.shape[1])
    # Pixels stored from right to left are read in memory order; mirroring waits for the few rows.
    mirrored = pixels.strides[1] < 0
    rows = _down(down, pixels[:, ::-1] if mirrored else pixels)
    block = _across(across, rows[:, ::-1] if mirrored else rows)
    block *= down.scale * across.scale
    return block.astype(np.float32)


def reduction(n: int) -> Reduction:
    """The matrix for an axis of `n >= 5` pixels; built in O(n), cached while that is small."""
    return _cached(n) if n <= _CACHED_PIXELS else _build(n)


def tents(n: int) -> tuple[NDArray[np.int64], NDArray[np.float64], float]:
    """Weights of the 64 samples along an axis of `n` pixels.

    With `w = ceil(n / 128)` and `h = floor((w + 2) / 2)`, one filter pass puts at `i` the mean of
    the samples `i - (w - h) .. i + h - 1` that exist. After two passes the samples are taken at
    `floor((o + 1/2) n / 64)`.

    Args:
        n: pixels, at least 5.

    Returns:
        `starts (64,) int64`, the first pixel of each sample; `weights (64, 2 w - 1) float64`, zero
        where a sample needs fewer pixels; `scale`, with which weights are to be multiplied.
    """
    width = -(-n // (2 * BLOCK_SIDE))
    ahead = (width + 2) // 2 - 1
    behind = width - ahead - 1
    centres = (2 * np.arange(BLOCK_SIDE) + 1) * n // (2 * BLOCK_SIDE)

    # The second pass takes the mean of these values of the first (those that exist)...
    inner = centres[:, None] + np.arange(-behind, ahead + 1)
    exists = (inner >= 0) & (inner < n)
    # ...each of which is the mean of the pixels first..last.
    first = np.clip(inner - behind, 0, n - 1)
    last = np.clip(inner + ahead, 0, n - 1)
    share = width**2 * exists / (exists.sum(axis=1, keepdims=True) * (last - first + 1))

    # A run of equal weights is a step up and a step down, so that sums of runs are running sums.
    starts = first[:, 0]
    steps = np.zeros((BLOCK_SIDE, 2 * width))
    output = np.broadcast_to(np.arange(BLOCK_SIDE)[:, None], inner.shape)
    np.add.at(steps, (output, first - starts[:, None]), share)
    np.subtract.at(steps, (output, last + 1 - starts[:, None]), share)
    return starts, steps.cumsum(axis=1)[:, :-1], 1 / width**2


def _build(n: int) -> Reduction:
    starts, weights, scale = tents(n)
    outputs = _OUTPUTS_PER_PIECE if n > _SHORT_AXIS else 4 * _OUTPUTS_PER_PIECE
    pieces = tuple(
        _piece(n, first, starts[first : first + outputs], weights[first : first + outputs])
        for first in range(0, BLOCK_SIDE, outputs)
    )
    return Reduction(n, scale, pieces)


_cached = lru_cache(maxsize=_CACHED_AXES)(_build)


def _piece(
    n: int, first_output: int, starts: NDArray[np.int64], tent: NDArray[np.float64]
) -> Piece:
    start = int(starts[0])
    stop = min(n, int(starts[-1]) + tent.shape[1])
    dense = np.zeros((len(starts), int(starts[-1]) + tent.shape[1] - start))
    for row, offset in enumerate(starts - start):
        dense[row, offset : offset + tent.shape[1]] = tent[row]
    dense = dense[:, : stop - start]
    return Piece(first_output, start, dense.astype(np.float32), np.ascontiguousarray(dense.T))


def _down(axis: Reduction, pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float64]:
    width, depth = pixels.shape[1], math.prod(pixels.shape[2:])
    rows = np.empty((BLOCK_SIDE, width))
    for piece in axis.pieces:
        outputs, taps = piece.weights.shape
        into = rows[piece.first_output : piece.first_output + outputs]
        band = pixels[piece.start : piece.start + taps]
        strip = _MULTIPLICATIONS // (_ROWS_AT_LEAST * outputs * depth)
        for left in range(0, width, strip):
            sums = _weighted_sums(piece.weights, band[:, left : left + strip])
            into[:, left : left + strip] = _luminance(sums, outputs) if depth > 1 else sums
    return rows


def _weighted_sums(
    weights: NDArray[np.float32], band: NDArray[np.uint8] | NDArray[np.float32]
) -> NDArray[np.float32]:
    # Whole rows at a time: memory is read in order, the widened copy stays in cache, and pixels of
    # any strides will do. Partial sums of 8-bit pixels are exact, so their order does not matter.
    taps, row_size = len(band), math.prod(band.shape[1:])
    step = _MULTIPLICATIONS // (len(weights) * row_size)
    total = np.zeros((len(weights), row_size), dtype=np.float32)
    for top in range(0, taps, step):
        part = band[top : top + step].astype(np.float32, order="C").reshape(-1, row_size)
        total += weights[:, top : top + step] @ part
    return total


def _luminance(sums: NDArray[np.float32], outputs: int) -> NDArray[np.float64]:
    return (sums.astype(np.float64).reshape(-1, len(_LUMINANCE)) @ _LUMINANCE).reshape(outputs, -1)


def _across(axis: Reduction, rows: NDArray[np.float64]) -> NDArray[np.float64]:
    block = np.empty((BLOCK_SIDE, BLOCK_SIDE))
    for piece in axis.pieces:
        taps, outputs = piece.weights_t.shape
        span = rows[:, piece.start : piece.start + taps]
        into = block[:, piece.first_output : piece.first_output + outputs]
        step = max(1, _MULTIPLICATIONS // piece.weights_t.size)
        for top in range(0, BLOCK_SIDE, step):
            into[top : top + step] = span[top : top + step] @ piece.weights_t
    return block
