"""Uniform borders, found and cut: letterboxes, screenshot margins, frames of one colour.

Algorithm: a line at an edge belongs to the border if at least 98 % of its pixels are within 12
levels of the median of the outermost line there. Lines are cut from all four edges in turn, each
time on what is left, until nothing more goes or four rounds are over (nested borders: pillars
within a letterbox). What is cut is judged on luminance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from PIL.Image import Image

_TOLERANCE = 12  # levels of luminance; JPEG noise beside an edge stays below
_SHARE = 0.98  # of a line's pixels
_ROUNDS = 4
_LEAST_CUT = 0.01  # of a side; less changes no hash worth a lookup
_LEAST_KEPT = 0.2  # of each side; a scrap of a picture matches by chance
_LEAST_SIDE = 32  # pixels kept

Box = tuple[int, int, int, int]


def trimmed(image: Image) -> Image | None:
    """Cuts uniform borders off; None where there are none worth cutting or too little would stay.

    Args:
        image: mode "L" or "RGB".
    """
    box = inner_box(np.asarray(image if image.mode == "L" else image.convert("L")))
    return None if box is None else image.crop(box)


def inner_box(luma: NDArray[np.uint8]) -> Box | None:
    """The part within uniform borders as left, top, right, bottom; None as in `trimmed`."""
    height, width = luma.shape
    box = (0, 0, width, height)
    for _ in range(_ROUNDS):
        smaller = _one_round(luma, box)
        if smaller == box:
            break
        box = smaller
    left, top, right, bottom = box
    cut = max((width - (right - left)) / width, (height - (bottom - top)) / height)
    kept_enough = all(
        kept >= max(_LEAST_SIDE, _LEAST_KEPT * side)
        for kept, side in ((right - left, width), (bottom - top, height))
    )
    return box if cut >= _LEAST_CUT and kept_enough else None


def _one_round(luma: NDArray[np.uint8], box: Box) -> Box:
    left, top, right, bottom = box
    inner = luma[top:bottom, left:right]
    top += _border_lines(inner)
    bottom -= _border_lines(luma[top:bottom, left:right][::-1])
    left += _border_lines(luma[top:bottom, left:right].T)
    right -= _border_lines(luma[top:bottom, left:right].T[::-1])
    return left, top, right, bottom


def _border_lines(pixels: NDArray[np.uint8]) -> int:
    """How many lines from the first on are border."""
    if not pixels.size:
        return 0
    colour = int(np.median(pixels[0]))
    low, high = max(0, colour - _TOLERANCE), min(255, colour + _TOLERANCE)
    for number, line in enumerate(pixels):
        near = np.count_nonzero((line >= low) & (line <= high))
        if near < _SHARE * line.size:
            return number
    return len(pixels)
