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
    from collections.abc import Iterable, Iterator

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
#: Wider images are taken across, whatever that costs: sums for each column would fill memory.
_WIDEST: Final = 65_536
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
        weights: `(samples, pixels) float32`, multiples of `unit(n)`.
    """

    samples: slice
    pixels: slice
    weights: csr_array = field(repr=False)


def block_of(pixels: NDArray[np.uint8] | NDArray[np.float32]) -> NDArray[np.float32]:
    """Blurs and samples an image along both axes.

    Args:
        pixels: luminance `(H, W)`, uint8 or float32, or RGB `(H, W, 3)` uint8; at least 5 pixels on
            a side; any strides.

    Returns:
        `(64, 64) float32`.
    """
    turned = abs(pixels.strides[0]) < abs(pixels.strides[1])
    if pixels.shape[0 if turned else 1] > _WIDEST:
        turned = not turned
    # Work along memory, and turn the small result instead of the image.
    upright = pixels.swapaxes(0, 1) if turned else pixels
    height, width = upright.shape[:2]
    columns = np.empty((width, BLOCK_SIDE))
    if upright.strides[1] < 0:
        # Stored from right to left: read it from the left, and mirror the sums.
        _down(upright[:, ::-1], columns[::-1])
    else:
        _down(upright, columns)
    block: NDArray[np.float64] = whole(width) @ columns
    block *= unit(height) * unit(width)
    return np.ascontiguousarray(block if turned else block.T, dtype=np.float32)


def unit(n: int) -> float:
    """What weights of an axis of `n` pixels are multiples of."""
    return 1 / _filter_width(n) ** 2


def pieces(n: int) -> Iterable[Piece]:
    """The matrix for an axis of `n >= 5` pixels, in pieces, in order of their samples.

    Built in O(n). Short axes are cached; of others, one piece at a time is in memory.
    """
    return _cached_pieces(n) if n <= _CACHED_PIXELS else _pieces(n)


def whole(n: int) -> csr_array:
    """The matrix for an axis of `n >= 5` pixels, `(64, n) float64`, in multiples of `unit(n)`."""
    return _cached_whole(n) if n <= _CACHED_PIXELS else _whole(n)


def tents(
    n: int, samples: slice = slice(BLOCK_SIDE)
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Weights of the 64 samples along an axis of `n` pixels.

    With `w = ceil(n / 128)` and `h = floor((w + 2) / 2)`, one filter pass puts at `i` the mean of
    the samples `i - (w - h) .. i + h - 1` that exist. After two passes the samples are taken at
    `floor((o + 1/2) n / 64)`.

    Args:
        n: pixels, at least 5.
        samples: which `S` of the 64.

    Returns:
        `starts (S,) int64`, the first pixel of each sample; `weights (S, 2 w - 1) float64`, zero
        where a sample needs fewer pixels, in multiples of `unit(n)`.
    """
    width = _filter_width(n)
    ahead = (width + 2) // 2 - 1
    behind = width - ahead - 1
    centres = (2 * np.arange(BLOCK_SIDE)[samples] + 1) * n // (2 * BLOCK_SIDE)

    # The second pass takes the mean of these values of the first (those that exist)...
    inner = centres[:, None] + np.arange(-behind, ahead + 1)
    exists = (inner >= 0) & (inner < n)
    # ...each of which is the mean of the pixels first..last.
    first = np.clip(inner - behind, 0, n - 1)
    last = np.clip(inner + ahead, 0, n - 1)
    share = width**2 * exists / (exists.sum(axis=1, keepdims=True) * (last - first + 1))

    # A run of equal weights is a step up and a step down, so that sums of runs are running sums.
    starts = first[:, 0]
    steps = np.zeros((len(starts), 2 * width))
    sample = np.broadcast_to(np.arange(len(starts))[:, None], inner.shape)
    np.add.at(steps, (sample, first - starts[:, None]), share)
    np.subtract.at(steps, (sample, last + 1 - starts[:, None]), share)
    return starts, steps.cumsum(axis=1)[:, :-1]


def _filter_width(n: int) -> int:
    return -(-n // (2 * BLOCK_SIDE))


def _pieces(n: int) -> Iterator[Piece]:
    each = next((count for longest, count in _SAMPLES if n <= longest), _SAMPLES_OF_LONG_AXES)
    for first in range(0, BLOCK_SIDE, each):
        samples = slice(first, first + each)
        starts, weights = tents(n, samples)
        start, stop = int(starts[0]), min(n, int(starts[-1]) + weights.shape[1])
        part = _sparse(starts - start, weights, stop - start)
        yield Piece(samples, slice(start, stop), part.astype(np.float32))


def _whole(n: int) -> csr_array:
    return _sparse(*tents(n), n)


@lru_cache(maxsize=_CACHED_AXES)
def _cached_pieces(n: int) -> tuple[Piece, ...]:
    return tuple(_pieces(n))


_cached_whole = lru_cache(maxsize=_CACHED_AXES)(_whole)


def _sparse(starts: NDArray[np.int64], weights: NDArray[np.float64], n: int) -> csr_array:
    columns = starts[:, None] + np.arange(weights.shape[1])
    # Where a border cuts a tent short, the rest of its weights are zero but for rounding.
    kept = (columns < n) & (weights > _NOTHING)
    ends = np.append(0, kept.sum(axis=1).cumsum())
    return csr_array((weights[kept], columns[kept], ends), shape=(len(starts), n))


def _down(pixels: NDArray[np.uint8] | NDArray[np.float32], columns: NDArray[np.float64]) -> None:
    """Reduces every column of `pixels` to 64 sums, and puts them into the rows of `columns`."""
    height, width, *channels = pixels.shape
    depth = math.prod(channels)
    scratch = np.empty(_SCRATCH, dtype=np.float32)
    for piece in pieces(height):
        band = pixels[piece.pixels]
        strip = max(1, _SCRATCH // (len(band) * depth))
        if len(band) * depth > len(scratch):  # one column alone is longer
            scratch = np.empty(len(band) * depth, dtype=np.float32)
        for left in range(0, width, strip):
            part = band[:, left : left + strip]
            widened = scratch[: part.size].reshape(part.shape)
            np.copyto(widened, part)
            sums = piece.weights @ widened.reshape(len(band), -1)
            into = columns[left : left + strip, piece.samples]
            into[...] = (_luminance(sums) if channels else sums).T


def _luminance(sums: NDArray[np.float32]) -> NDArray[np.float64]:
    # Luminance of sums is the sum of luminances, of which there are far more.
    red, green, blue = (sums[:, channel :: len(_LUMINANCE)] for channel in range(len(_LUMINANCE)))
    luminance: NDArray[np.float64] = (
        _LUMINANCE[0] * red + _LUMINANCE[1] * green + _LUMINANCE[2] * blue
    )
    return luminance
