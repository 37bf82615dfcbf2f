"""Uniform borders, found and cut: letterboxes, screenshot margins, frames of one colour.

Algorithm: a border is lines of one colour at an edge. A side is plain if at least 98 % of the
pixels of its outermost line lie within a few levels of that line's median. Its border goes on for
as long as lines stay that near the same colour; blurred lines that a lossy codec leaves beside the
picture are counted in by where the picture sets in. A noisy border (scans, old video) is taken
where it is of the colour of a plain one, or there is none, and only where it ends in a clear step.

All sides are judged before any is cut, so one layer goes at a time. A further layer (pillars within
a letterbox) must be plain and as wide on the opposite side: else the smooth sky of a picture would
be taken for a border. A picture whose own margin is of exactly the border's colour loses the
margin too; pixels alone cannot tell. What is cut is judged on luminance.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from PIL.Image import Image

    Luma = NDArray[np.uint8]

_PLAIN = 4  # levels of luminance about a border's colour
_NOISY = 12  # the same, of a noisy border
_STEP = 24  # levels, on average over a line, by which a picture differs from a noisy border
_SHARE = 0.98  # of a line's pixels
_BLUR = 8  # lines beside the picture that a lossy codec blurs: a block of JPEG
_SETS_IN = 0.25  # of the step over the blurred lines, at which the picture begins
_LAYERS = 4
_LEAST_CUT = 0.01  # of a side; less changes no hash worth a lookup
_LEAST_KEPT = 0.2  # of each side; a scrap of a picture matches by chance
_LEAST_SIDE = 32  # pixels kept

Box = tuple[int, int, int, int]
_SIDES = ("left", "top", "right", "bottom")
_OPPOSITE = (("left", "right"), ("top", "bottom"))


def trimmed(image: Image) -> Image | None:
    """Cuts uniform borders off; None where there are none worth cutting or too little would stay.

    Args:
        image: mode "L" or "RGB".
    """
    box = inner_box(np.asarray(image if image.mode == "L" else image.convert("L")))
    return None if box is None else image.crop(box)


def inner_box(luma: Luma) -> Box | None:
    """The part within uniform borders as left, top, right, bottom; None as in `trimmed`."""
    height, width = luma.shape
    box = (0, 0, width, height)
    for layer in range(_LAYERS):
        inner = _part(luma, box)
        widths = _outer_layer(inner) if layer == 0 else _further_layer(inner)
        smaller = _cut(box, widths)
        if smaller == box or not _keeps_enough(smaller, width, height):
            break
        box = smaller
    left, top, right, bottom = box
    cut = max((width - (right - left)) / width, (height - (bottom - top)) / height)
    return box if cut >= _LEAST_CUT else None


def _keeps_enough(box: Box, width: int, height: int) -> bool:
    left, top, right, bottom = box
    return all(
        kept >= max(_LEAST_SIDE, _LEAST_KEPT * side)
        for kept, side in ((right - left, width), (bottom - top, height))
    )


def _part(luma: Luma, box: Box) -> Luma:
    left, top, right, bottom = box
    return luma[top:bottom, left:right]


def _cut(box: Box, widths: Mapping[str, int]) -> Box:
    left, top, right, bottom = box
    return (
        left + widths.get("left", 0),
        top + widths.get("top", 0),
        right - widths.get("right", 0),
        bottom - widths.get("bottom", 0),
    )


def _from_side(luma: Luma, side: str) -> Luma:
    """The same pixels, their lines counted from one side on."""
    lines = luma if side in ("top", "bottom") else luma.T
    return lines if side in ("top", "left") else lines[::-1]


def _outer_layer(luma: Luma) -> dict[str, int]:
    """Width of the border at each side that has one."""
    plain = _plain_sides(luma, _PLAIN)
    noisy = {
        side: colour
        for side, colour in _plain_sides(luma, _NOISY).items()
        if side not in plain
        and (not plain or any(abs(colour - other) <= _NOISY for other in plain.values()))
    }
    widths = _widths(luma, plain, _PLAIN)
    return widths | _widths(_part(luma, _cut(_whole(luma), widths)), noisy, _NOISY)


def _further_layer(luma: Luma) -> dict[str, int]:
    """As `_outer_layer`, of a layer within it: plain, and alike at opposite sides.

    Its first lines are taken on trust: a lossy codec blurs them with the layer about it.
    """
    plain = _plain_sides(luma, _PLAIN, first=_BLUR)
    alike = {
        side: plain[side]
        for pair in _OPPOSITE
        if all(side in plain for side in pair) and abs(plain[pair[0]] - plain[pair[1]]) <= _PLAIN
        for side in pair
    }
    widths = _widths(luma, alike, _PLAIN, first=_BLUR)
    for one, other in _OPPOSITE:
        if one in widths and not _nearly_equal(widths[one], widths[other]):
            return {}
    return widths


def _nearly_equal(one: int, other: int) -> bool:
    return abs(one - other) <= max(2, 0.1 * max(one, other))


def _whole(luma: Luma) -> Box:
    height, width = luma.shape
    return 0, 0, width, height


def _plain_sides(luma: Luma, tolerance: int, *, first: int = 0) -> dict[str, int]:
    """The colour of each side whose line number `first` is of one."""
    colours = {}
    for side in _SIDES:
        line = _from_side(luma, side)[first]
        colour = int(np.median(line))
        if _is_near(line, colour, tolerance):
            colours[side] = colour
    return colours


def _is_near(line: Luma, colour: int, tolerance: int) -> bool:
    low, high = max(0, colour - tolerance), min(255, colour + tolerance)
    near = np.count_nonzero((line >= low) & (line <= high))
    return bool(near >= _SHARE * line.size)


def _widths(
    luma: Luma, colours: Mapping[str, int], tolerance: int, *, first: int = 0
) -> dict[str, int]:
    """How wide the border is at each of some sides, one cut after the other."""
    widths: dict[str, int] = {}
    for side, colour in colours.items():
        left = _part(luma, _cut(_whole(luma), widths))
        widths[side] = _border_lines(_from_side(left, side), colour, tolerance, first)
    return widths


def _border_lines(lines: Luma, colour: int, tolerance: int, first: int) -> int:
    """How many lines are border, those before number `first` taken on trust."""
    if not lines.size:
        return 0
    end = min(first, len(lines))
    while end < len(lines) and _is_border(lines[end], colour, tolerance):
        end += 1
    beside = np.abs(lines[end : end + _BLUR].astype(np.int16) - colour).mean(axis=1)
    if not beside.size:
        return end
    if tolerance == _NOISY and beside.max() < _STEP:
        return 0
    return end + int(np.argmax(beside >= _SETS_IN * beside.max()))


def _is_border(line: Luma, colour: int, tolerance: int) -> bool:
    return _is_near(line, colour, tolerance) and abs(float(np.median(line)) - colour) <= _PLAIN
