"""The views of one upload: each differs from `upright` in one way.

Order, which is also the order of importance where limits leave views out: upright, stored,
composited, composited:black, trimmed, crop:*, mirrored:*, frame:k.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
from PIL import ImageChops
from PIL.Image import Transpose

from matcher.decode.worker import compositing, exif, frames, orientation
from matcher.decode.worker.colour import Picture, is_blank, picture_of
from matcher.decode.worker.failures import BAD_BYTES, NotDecodableError, malformed
from matcher.decode.worker.inputs64 import inputs64_of
from matcher.decode.worker.opening import check_size, draft_luminance, load_pixels
from matcher.decode.worker.scaled import scaled_block
from matcher.decode.worker.sniff import Format
from matcher.decode.worker.trimming import trimmed
from matcher.model import View, ViewBlocks

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from PIL.Image import Image

    from matcher.decode.limits import DecodeLimits
    from matcher.decode.worker.opening import OpenedFile
    from matcher.model import DecodeRequest, Float32Array

_LEAST_SIDE = 5  # pixels; PDQ is not defined for less


_MIRRORED_FAMILY = "mirrored:"
_FRAME_FAILURES: tuple[type[Exception], ...] = (*BAD_BYTES, NotDecodableError)
#: How pixels are turned for each of `View.MIRRORED`.
_MIRRORING = (
    Transpose.ROTATE_90,
    Transpose.ROTATE_180,
    Transpose.ROTATE_270,
    Transpose.FLIP_TOP_BOTTOM,
    Transpose.FLIP_LEFT_RIGHT,
    Transpose.TRANSPOSE,
    Transpose.TRANSVERSE,
)


@dataclass(frozen=True, slots=True)
class Rendering:
    """One view as pixels.

    Attributes:
        image: mode "L" or "RGB".
        factor: stored pixels, along each axis, that one of these pixels stands for.
        stored: width and height in stored pixels; by default as many as the factor makes it.
        turn: the EXIF orientation by which the stored picture was turned.
        pixels: those of `image`, where they are at hand.
    """

    image: Image
    factor: int = 1
    stored: tuple[int, int] | None = None
    turn: int = exif.UPRIGHT
    pixels: NDArray[np.uint8] | None = None

    def block(self) -> Float32Array | None:
        """The PDQ block; None where the picture is too small for one."""
        if min(self.image.size) < _LEAST_SIDE:
            return None
        size = self.stored or (self.image.width * self.factor, self.image.height * self.factor)
        return scaled_block(
            np.asarray(self.image) if self.pixels is None else self.pixels,
            factor=self.factor,
            stored=size[::-1],
            reversed_axes=orientation.reversed_axes(self.turn),
        )


@dataclass(slots=True)
class Views:
    """The views made so far, and the names of those that limits left out.

    Attributes:
        request: what was asked for.
        limits: ceilings.
        deadline: on the monotonic clock, in seconds; after it no further view is begun.
    """

    request: DecodeRequest
    limits: DecodeLimits
    deadline: float
    made: list[ViewBlocks] = field(default_factory=list)
    left_out: list[str] = field(default_factory=list)

    def add(self, name: str, render: Callable[[], Rendering | None]) -> None:
        """Renders and reduces one view, unless a limit is reached or there is no such view."""
        if self.made and not self._room():
            self.left_out.append(name)
            return
        rendering = render()
        if rendering is not None:
            inputs = inputs64_of(rendering.image, self.request.kinds64)
            self.made.append(ViewBlocks(view=name, luma=rendering.block(), inputs64=inputs))

    @property
    def mirrored_fit(self) -> bool:
        """Mirrored forms come all or none; their places are kept from the start."""
        return self.request.views.mirrored and self.limits.codes > len(View.MIRRORED)

    def _room(self) -> bool:
        taken = sum(not view.view.startswith(_MIRRORED_FAMILY) for view in self.made)
        kept = len(View.MIRRORED) if self.mirrored_fit else 0
        return taken + kept < self.limits.codes and time.monotonic() < self.deadline

    def add_mirrored(self, upright: Image) -> None:
        """The 64-bit inputs of the mirrored forms; their PDQ codes follow from `upright`'s.

        Where no 64-bit kind is wanted there is nothing to do here: hashing adds the forms, unless
        they are named as left out.
        """
        if not self.mirrored_fit or time.monotonic() >= self.deadline:
            self.left_out.extend(View.MIRRORED)
            return
        if not self.request.kinds64:
            return
        for name, method in zip(View.MIRRORED, _MIRRORING, strict=True):
            turned = upright.transpose(method)
            inputs = inputs64_of(turned, self.request.kinds64)
            self.made.append(ViewBlocks(view=name, luma=None, inputs64=inputs))


@dataclass(frozen=True, slots=True)
class RenderedViews:
    """What came of a file.

    Attributes:
        width, height: pixels of `upright`.
        frames: frames or pages in the file.
        views: `upright` first.
        left_out: names of views that limits left out.
    """

    width: int
    height: int
    frames: int
    views: tuple[ViewBlocks, ...]
    left_out: tuple[str, ...]


def render_views(
    opened: OpenedFile, request: DecodeRequest, limits: DecodeLimits, deadline: float
) -> RenderedViews:
    """Renders all asked-for views.

    Args:
        opened: a file whose first picture is decoded.
        request: which views and 64-bit kinds are wanted.
        limits: ceilings.
        deadline: on the monotonic clock, in seconds.

    Raises:
        NotDecodableError: the pixels make no picture.
    """
    timeline = frames.timeline_of(opened, limits)
    shown, hidden = _shown_and_hidden(opened, timeline)
    if opened.truncated and is_blank(shown.colour):
        raise malformed(f"{opened.format} cut off or damaged: nothing of it renders")
    turn = _orientation_to_apply(opened)
    upright = _turned(shown, turn)
    views = Views(request, limits, deadline)
    size = _full_size(opened, upright.colour, turn)
    pixels = opened.luminance if turn == exif.UPRIGHT else None
    views.add(View.UPRIGHT, lambda: Rendering(upright.colour, opened.factor, size, turn, pixels))
    wanted = request.views
    if wanted.stored:
        _add_stored(views, opened, upright, hidden)
    if wanted.composited and upright.alpha is not None:
        views.add(View.COMPOSITED_WHITE, partial(_composited, upright, compositing.WHITE))
    if wanted.composited_black and upright.alpha is not None:
        views.add(View.COMPOSITED_BLACK, partial(_composited, upright, compositing.BLACK))
    if wanted.trimmed:
        views.add(View.TRIMMED, partial(_trimmed, upright, opened.factor))
    for share in request.crops:
        views.add(View.crop(share), partial(_cropped, upright, opened.factor, share))
    if wanted.mirrored:
        views.add_mirrored(upright.colour)
    if wanted.frames:
        _add_frames(views, opened, timeline, turn)  # last: going on overwrites the first picture
    return RenderedViews(*size, len(timeline.positions), tuple(views.made), tuple(views.left_out))


def _shown_and_hidden(
    opened: OpenedFile, timeline: frames.Timeline
) -> tuple[Picture, Picture | None]:
    """What viewers show first and, in an APNG, the still picture that they do not show."""
    first = _picture(opened)
    if timeline.hidden is None:
        return first, None
    still = Picture(first.colour.copy(), first.alpha)
    try:
        frames.go_to(opened.frames, timeline.positions[0])
        load_pixels(opened.frames)
        animated = _picture(opened)
    except _FRAME_FAILURES:
        return still, None  # the animation is broken, so viewers show the still picture
    if opened.truncated and is_blank(animated.colour):
        return still, None  # it was cut off before anything of it
    return animated, still


def _picture(opened: OpenedFile) -> Picture:
    """The current frame as colour and alpha, not yet turned."""
    header, mode = opened.header, opened.image.mode
    try:
        picture = picture_of(opened.image, sample_bits=header.sample_bits)
    except BAD_BYTES as error:
        raise malformed(f"{opened.format} of mode {mode} makes no picture") from error
    if header.white_is_zero and (mode in {"I", "F"} or mode.startswith("I;16")):
        return Picture(ImageChops.invert(picture.colour), picture.alpha)
    return picture


def _orientation_to_apply(opened: OpenedFile) -> int:
    """What is left to be turned: decoders of HEIC, TIFF and JPEG XL turn pictures themselves.

    In those, EXIF must not be applied on top, by their standards. A JPEG that was packed into JPEG
    XL comes out as it went in.
    """
    repacked = getattr(opened.image, "jpeg", False)
    if opened.format in {Format.HEIC, Format.TIFF, Format.JPEGXL} and not repacked:
        return exif.UPRIGHT
    if opened.format in {Format.AVIF, Format.JPEGXL}:
        return exif.orientation_of(opened.image.info.get("exif", b""))
    return opened.header.orientation


def _orientation_applied(opened: OpenedFile) -> int:
    """What the decoder has turned already."""
    if opened.format is Format.TIFF:
        return opened.header.orientation
    if opened.format is Format.HEIC and opened.header.transformed:
        return opened.image.info.get("original_orientation") or exif.UPRIGHT
    return exif.UPRIGHT


def _turned(picture: Picture, turn: int) -> Picture:
    if turn == exif.UPRIGHT:
        return picture
    alpha = picture.alpha
    return Picture(
        orientation.turned_upright(picture.colour, turn),
        None if alpha is None else orientation.turned_upright(alpha, turn),
    )


def _add_stored(views: Views, opened: OpenedFile, upright: Picture, hidden: Picture | None) -> None:
    turn = _orientation_to_apply(opened)
    turn = _orientation_applied(opened) if turn == exif.UPRIGHT else turn
    if hidden is not None:
        views.add(View.STORED, lambda: Rendering(hidden.colour))
    elif turn != exif.UPRIGHT:
        views.add(View.STORED, partial(_stored, opened, upright, turn))


def _stored(opened: OpenedFile, upright: Picture, turn: int) -> Rendering:
    image = orientation.turned_back(upright.colour, turn)
    return Rendering(image, opened.factor, _full_size(opened, image, exif.UPRIGHT))


def _composited(picture: Picture, background: int) -> Rendering | None:
    image = compositing.over(picture, background)
    return None if image is None else Rendering(image)


def _trimmed(picture: Picture, factor: int) -> Rendering | None:
    image = trimmed(picture.colour)
    return None if image is None else Rendering(image, factor)


def _cropped(picture: Picture, factor: int, share: float) -> Rendering | None:
    """The middle; None where the picture is so small that nothing is cut."""
    width, height = picture.colour.size
    across, down = round(width * share), round(height * share)
    if not across and not down:
        return None
    box = (across, down, width - across, height - down)
    return Rendering(picture.colour.crop(box), factor)


def _full_size(opened: OpenedFile, upright: Image, turn: int) -> tuple[int, int]:
    """Width and height of `upright`, of a JPEG before it was rendered smaller."""
    if not opened.header.stored_pixels:
        return upright.size
    width, height = opened.header.width, opened.header.height
    return (height, width) if orientation.swaps_sides(turn) else (width, height)


def _add_frames(views: Views, opened: OpenedFile, timeline: frames.Timeline, turn: int) -> None:
    wanted = frames.spread(len(timeline.positions), views.request.views.frames)
    affordable = frames.within_budget(opened, wanted, views.limits)
    for frame in wanted[:affordable]:
        position = timeline.positions[frame]
        try:
            views.add(View.frame(frame), partial(_frame, opened, position, turn, views.limits))
        except _FRAME_FAILURES:
            # One damaged or oversized frame takes nothing from the others.
            views.left_out.append(View.frame(frame))
    views.left_out.extend(View.frame(frame) for frame in wanted[affordable:])


def _frame(opened: OpenedFile, position: int, turn: int, limits: DecodeLimits) -> Rendering:
    image, factor = opened.frames, 1
    frames.go_to(image, position)
    if opened.format is Format.MPO:
        factor = draft_luminance(image)
        turn = exif.orientation_of(image.info.get("exif", b""))
    check_size(*image.size, limits)
    load_pixels(image)
    return Rendering(_turned(_picture(opened), turn).colour, factor)
