"""The `64 x n` matrix that stands for PDQ's blur and sampling along one axis of `n` pixels.

The reference runs two box filters along each axis and then takes 64 samples. Each sample is thus a
weighted mean of about `n / 64` neighbouring pixels (a tent), and the matrix is all zeros but for a
narrow band along its diagonal. It is kept in compressed sparse rows and applied piece by piece: the
pixels that a few neighbouring samples need are widened to floats in a scratch array that stays in
cache, so that each pixel is read and widened about once, whatever its strides.

Weights are kept as multiples of `1 / w^2`, with `w` the filter's width: away from the borders they
are then whole numbers, and sums over 8-bit pixels are exact in single precision.

Dense products (BLAS) would multiply mostly zeros, took half as long again, and start threads of
their own; none are used here.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Final

import numpy as np
from scipy.sparse import csr_array

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCK_SIDE: Final = 64
#: The reference defines no hash under this many pixels on a side.
MIN_SIDE: Final = 5

_LUMINANCE: Final = np.array([0.299, 0.587, 0.114])
#: Floats in the scratch array (2 MiB). Of very wide images it takes a vertical strip at a time.
_SCRATCH: Final = 1 << 19
#: Samples in a piece: `(longest axis, samples)`. Few, large pieces where calls cost more than
#: arithmetic; small ones where large ones would leave the cache. Measured.
_SAMPLES: Final = ((512, 32), (1024, 16), (2048, 8))
_SAMPLES_OF_LONG_AXES: Final = 2
#: Longer axes are not cached: their weights are large, and building them costs far less than the
#: reading of so many pixels.
_CACHED_PIXELS: Final = 16_384
_CACHED_AXES: Final = 128
#: Weights are multiples of about `1 / w`, and running sums leave less than this for zero.
_NOTHING: Final = 1e-9


@dataclass(frozen=True, slots=True)
class Piece:
    """Weights of a few neighbouring samples over the pixels that any of them touches.

    Attributes:
        samples: which samples, within 0..63.
        pixels: which pixels.
        weights: `(samples, pixels) float32`, multiples of `Reduction.scale`.
    """

    samples: slice
    pixels: slice
    weights: csr_array = field(repr=False)


@dataclass(frozen=True, slots=True)
class Reduction:
    """Blur and sampling along an axis of `n` pixels.

    Attributes:
        n: pixels along the axis.
        scale: what every weighted sum is to be multiplied with.
        pieces: in order of their samples; together they cover all 64.
        whole: all of it, `(64, n) float64`, multiples of `scale`.
    """

    n: int
    scale: float
    pieces: tuple[Piece, ...]
    whole: csr_array = field(repr=False)


def block_of(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurs and samples an image along both axes.

    Args:
        pixels: luminance `(H, W)`, uint8 or float32, or RGB `(H, W, 3)`. Reading is quickest where
            the second axis is contiguous in memory.

    Returns:
        `(64, 64) float32`.
    """
    down, across = reduction(pixels.shape[0]), reduction(pixels.shape[1])
    columns = np.empty((pixels.shape[1], BLOCK_SIDE))
    if pixels.strides[1] < 0:
        # Stored from right to left: read it in memory order and mirror the few sums that remain.
        _down(down, pixels[:, ::-1], columns[::-1])
    else:
        _down(down, pixels, columns)
    block: NDArray[np.float64] = across.whole @ columns
    block *= down.scale * across.scale
    return np.ascontiguousarray(block.T, dtype=np.float32)


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
    each = next((count for longest, count in _SAMPLES if n <= longest), _SAMPLES_OF_LONG_AXES)
    pieces = tuple(
        _piece(slice(first, first + each), starts, weights, n)
        for first in range(0, BLOCK_SIDE, each)
    )
    return Reduction(n, scale, pieces, _sparse(starts, weights, n))


_cached = lru_cache(maxsize=_CACHED_AXES)(_build)


def _piece(
    samples: slice, starts: NDArray[np.int64], weights: NDArray[np.float64], n: int
) -> Piece:
    start = int(starts[samples.start])
    stop = min(n, int(starts[samples.stop - 1]) + weights.shape[1])
    part = _sparse(starts[samples] - start, weights[samples], stop - start)
    return Piece(samples, slice(start, stop), part.astype(np.float32))


def _sparse(starts: NDArray[np.int64], weights: NDArray[np.float64], n: int) -> csr_array:
    columns = starts[:, None] + np.arange(weights.shape[1])
    # Where a border cuts a tent short, the rest of its weights are zero but for rounding.
    kept = (columns < n) & (weights > _NOTHING)
    ends = np.append(0, kept.sum(axis=1).cumsum())
    return csr_array((weights[kept], columns[kept], ends), shape=(len(starts), n))


def _down(
    axis: Reduction,
    pixels: NDArray[np.uint8] | NDArray[np.float32],
    columns: NDArray[np.float64],
) -> None:
    """Reduces every column of `pixels` to 64 sums, and puts them into the rows of `columns`."""
    width, depth = pixels.shape[1], math.prod(pixels.shape[2:])
    scratch = np.empty(_SCRATCH, dtype=np.float32)
    for piece in axis.pieces:
        band = pixels[piece.pixels]
        strip = max(1, _SCRATCH // (len(band) * depth))
        for left in range(0, width, strip):
            part = band[:, left : left + strip]
            widened = scratch[: part.size].reshape(part.shape)
            np.copyto(widened, part)
            sums = piece.weights @ widened.reshape(len(band), -1)
            into = columns[left : left + strip, piece.samples]
            into[...] = (_luminance(sums) if depth > 1 else sums).T


def _luminance(sums: NDArray[np.float32]) -> NDArray[np.float64]:
    # Luminance of sums is the sum of luminances, of which there are far more.
    red, green, blue = (sums[:, channel :: len(_LUMINANCE)] for channel in range(len(_LUMINANCE)))
    luminance: NDArray[np.float64] = (
        _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    )
    return luminance
