"""Pictures with transparency, laid over a background."""

from __future__ import annotations

from typing import TYPE_CHECKING

from PIL import Image, ImageChops

if TYPE_CHECKING:
    from matcher.decode.worker.colour import Picture

WHITE, BLACK = 255, 0


def over(picture: Picture, background: int) -> Image.Image | None:
    """Lays a picture over grey of one level, as a viewer does.

    Args:
        picture: colour and alpha.
        background: level 0..255.

    Returns:
        The result in the mode of the colours, or None where transparency changes nothing: all is
        opaque, or what is transparent has the background's colour anyway.
    """
    if picture.alpha is None:
        return None
    colour = picture.colour
    fill: int | tuple[int, int, int] = background if colour.mode == "L" else (background,) * 3
    result = Image.composite(colour, Image.new(colour.mode, colour.size, fill), picture.alpha)
    return None if ImageChops.difference(result, colour).getbbox() is None else result
