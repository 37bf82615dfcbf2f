"""Turning and mirroring of pixels by the eight EXIF orientations.

Pixels are turned before they are reduced, not after: the windows of the PDQ reduction are not
symmetric, so the block of a turned picture is not always the turned block.
"""

from __future__ import annotations

from PIL.Image import Image, Transpose

_TO_UPRIGHT = {
    2: Transpose.FLIP_LEFT_RIGHT,
    3: Transpose.ROTATE_180,
    4: Transpose.FLIP_TOP_BOTTOM,
    5: Transpose.TRANSPOSE,
    6: Transpose.ROTATE_270,
    7: Transpose.TRANSVERSE,
    8: Transpose.ROTATE_90,
}
_INVERSE = {6: 8, 8: 6}
_ROWS_REVERSED = frozenset({3, 4, 7, 8})
_COLUMNS_REVERSED = frozenset({2, 3, 6, 7})
_SIDEWAYS = frozenset({5, 6, 7, 8})


def turned_upright(image: Image, orientation: int) -> Image:
    """The picture as it is meant to be seen."""
    method = _TO_UPRIGHT.get(orientation)
    return image if method is None else image.transpose(method)


def turned_back(image: Image, orientation: int) -> Image:
    """The picture as it was stored, from one that a decoder has turned upright."""
    return turned_upright(image, _INVERSE.get(orientation, orientation))


def swaps_sides(orientation: int) -> bool:
    """True where width and height change places."""
    return orientation in _SIDEWAYS


def reversed_axes(orientation: int) -> tuple[bool, bool]:
    """Whether rows, and columns, of the upright picture run against the stored order."""
    return orientation in _ROWS_REVERSED, orientation in _COLUMNS_REVERSED
