"""The four 64-bit kinds of the `imagehash` package, in batches.

The decoder shrinks images (with Pillow, as `imagehash` does); this module holds what follows:
transform, threshold, bits. Its codes are those that `imagehash` 4.3 prints as hex for the same
image, except for bits whose value lies within float rounding of the median.

It knows no images and no thresholds of distance.

Sources: N. Krawetz, "Looks Like It" (ahash, phash) and "Kind of Like That" (dhash), Hacker Factor;
D. Petrov, "Wavelet image hash in Python" (whash).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import numpy as np
from scipy.fft import dct

from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

CODE_BYTES: Final = 8

_SIDE: Final = 8


def codes64(kind: HashKind, inputs: NDArray[Any]) -> NDArray[np.uint8]:
    """Codes of one kind for a batch of shrunken images.

    Args:
        kind: one of `hashlists.model.CODE64_KINDS`.
        inputs: `N` of them: phash `(N, 32, 32) uint8`, dhash `(N, 8, 9) uint8`, ahash `(N, 8, 8)
            uint8`, whash `(N, 8, 8) float64` (means of equal blocks of the image).

    Returns:
        `(N, 8) uint8`; the bytes are those that `imagehash` prints in hex.

    Raises:
        ValueError: not a 64-bit kind, or another shape.
        TypeError: another dtype.
    """
    if kind not in _ALGORITHMS:
        raise ValueError(f"{kind} is not one of {', '.join(_ALGORITHMS)}")
    shape, dtype = INPUTS[kind]
    if inputs.dtype != dtype:
        raise TypeError(f"{kind} takes {dtype}, not {inputs.dtype}")
    if inputs.ndim != 1 + len(shape) or inputs.shape[1:] != shape:
        raise ValueError(f"{kind} takes (N, {shape[0]}, {shape[1]}), not {inputs.shape}")
    bits = _ALGORITHMS[kind](inputs)
    return np.packbits(bits.reshape(len(inputs), 8 * CODE_BYTES), axis=1)


def phash_coefficients(inputs: NDArray[np.uint8]) -> NDArray[np.float64]:
    """The 8 x 8 lowest cosine coefficients, the constant one included.

    Args:
        inputs: `(N, 32, 32) uint8`.

    Returns:
        `(N, 8, 8) float64`.
    """
    if not len(inputs):  # scipy refuses to transform nothing
        return np.empty((0, _SIDE, _SIDE))
    # The same transforms in the same order as imagehash: even sums that cancel come out alike.
    down = dct(inputs.astype(np.float64), axis=1)
    across: NDArray[np.float64] = dct(down, axis=2)
    return across[:, :_SIDE, :_SIDE]


def _phash(inputs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    return _above_median(phash_coefficients(inputs))


def _dhash(inputs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    rising: NDArray[np.bool_] = inputs[:, :, 1:] > inputs[:, :, :-1]
    return rising


def _ahash(inputs: NDArray[np.uint8]) -> NDArray[np.bool_]:
    # Whole numbers: 64 times a pixel against the sum is the comparison with the mean, exactly.
    totals = inputs.sum(axis=(1, 2), keepdims=True, dtype=np.int64)
    above: NDArray[np.bool_] = inputs.astype(np.int64) * _SIDE**2 > totals
    return above


def _whash(inputs: NDArray[np.float64]) -> NDArray[np.bool_]:
    # imagehash takes the image's mean off and keeps the lowest Haar band, which is the block means
    # times a constant: neither step moves a block to the other side of the median.
    return _above_median(inputs)


def _above_median(values: NDArray[np.float64]) -> NDArray[np.bool_]:
    if not len(values):  # numpy warns of the median of nothing
        return np.empty(values.shape, dtype=np.bool_)
    above: NDArray[np.bool_] = values > np.median(values, axis=(1, 2), keepdims=True)
    return above


#: Shape of one input and dtype, by kind.
INPUTS: Final[Mapping[HashKind, tuple[tuple[int, int], type[np.generic]]]] = {
    HashKind.PHASH: ((32, 32), np.uint8),
    HashKind.DHASH: ((8, 9), np.uint8),
    HashKind.AHASH: ((8, 8), np.uint8),
    HashKind.WHASH: ((8, 8), np.float64),
}
_ALGORITHMS: Final[Mapping[HashKind, Callable[[NDArray[Any]], NDArray[np.bool_]]]] = {
    HashKind.PHASH: _phash,
    HashKind.DHASH: _dhash,
    HashKind.AHASH: _ahash,
    HashKind.WHASH: _whash,
}
