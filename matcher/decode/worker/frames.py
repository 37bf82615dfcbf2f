"""Which frames or pages are rendered beyond the first, and how a file is taken to them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from matcher.decode.worker.sniff import Format

if TYPE_CHECKING:
    from PIL.ImageFile import ImageFile

    from matcher.decode.limits import DecodeLimits
    from matcher.decode.worker.opening import OpenedFile

#: Frames of these build upon one another, so every frame before the wanted one is rendered too.
_SEQUENTIAL = frozenset({Format.GIF, Format.PNG, Format.WEBP, Format.AVIF})


@dataclass(frozen=True, slots=True)
class Timeline:
    """The frames of a file in the order in which a viewer shows them.

    Attributes:
        positions: where Pillow keeps each frame; the first is what `upright` shows.
        hidden: position of a still picture that viewers do not show (an APNG may carry one).
    """

    positions: tuple[int, ...]
    hidden: int | None = None


def timeline_of(opened: OpenedFile, limits: DecodeLimits) -> Timeline:
    """Works out the order of frames, cut at the limit of frames."""
    image = opened.image
    if opened.format is Format.PNG and opened.header.frames > 1:
        first = 1 if getattr(image, "default_image", False) else 0
        positions = tuple(range(first, first + opened.header.frames))
        return Timeline(positions, hidden=0 if first else None)
    count = _count(opened)
    primary = image.tell() if opened.format is Format.HEIC else 0
    others = (position for position in range(count) if position != primary)
    return Timeline((primary, *others)[: limits.frames])


def _count(opened: OpenedFile) -> int:
    if opened.format in {Format.AVIF, Format.HEIC, Format.MPO}:
        return int(getattr(opened.image, "n_frames", 1))
    return opened.header.frames


def spread(count: int, wanted: int) -> list[int]:
    """At most `wanted` of the frames 1 .. count - 1, spread evenly, first and last included.

    A single wanted frame is the one in the middle.
    """
    others = count - 1
    if others <= wanted:
        return list(range(1, count))
    if wanted == 1:
        return [1 + others // 2]
    return [1 + i * (others - 1) // (wanted - 1) for i in range(wanted)]


def within_budget(opened: OpenedFile, wanted: list[int], limits: DecodeLimits) -> int:
    """How many of the wanted frames can be reached without rendering too many pixels."""
    header = opened.header
    if header.later_pixels > limits.pixels:
        return 0
    affordable = limits.frame_pixels // max(header.width * header.height, header.later_pixels)
    if opened.format in _SEQUENTIAL:
        return sum(frame <= affordable for frame in wanted)
    return min(len(wanted), affordable)


def go_to(image: ImageFile, position: int) -> None:
    """Takes the file to a frame, which `load_pixels` then renders.

    Raises:
        Exception: one of `BAD_BYTES`, where there is no such frame.
    """
    if image.tell() != position:
        image.seek(position)
