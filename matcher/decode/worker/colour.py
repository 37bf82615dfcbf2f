"""Any Pillow mode to colour by what the eye sees: 8-bit luminance or RGB, and alpha beside it.

Raw indices, raw ink and raw samples beyond 8 bits never reach a hash. Alpha is taken apart, not
applied: whether and over what a picture is composited is a matter of views.

ICC profiles are not applied: the reference hashes stored RGB, and lists were made with it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageCms

from matcher.decode.worker.failures import BAD_BYTES

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from numpy.typing import NDArray

_OPAQUE = 255
_LEVELS = 256
#: What codecs draw out of no data at all: one block, of 16 x 16 pixels in a JPEG.
_TRACE_PIXELS, _TRACE_OF_SMALL, _TRACE_SHARE = 256, 0.1, 0.002
_WHITE8, _WHITE16 = 255, 65_535


@dataclass(frozen=True, slots=True)
class Picture:
    """One rendered picture.

    Attributes:
        colour: mode "L" or "RGB", colour channels as stored, whatever alpha says.
        alpha: mode "L", or None where every pixel is opaque.
    """

    colour: Image.Image
    alpha: Image.Image | None = None


def picture_of(image: Image.Image, *, sample_bits: int = 16) -> Picture:
    """Takes a loaded image apart into colour and alpha.

    Args:
        image: of any mode that Pillow decodes to.
        sample_bits: significant bits of 16-bit grey samples (12 in some TIFF files).
    """
    if image.has_transparency_data:
        try:
            return _with_alpha(image, sample_bits)
        except BAD_BYTES:
            # A transparent colour that the mode cannot have; viewers ignore it.
            if image.info.pop("transparency", None) is None:
                raise
    return Picture(_opaque(image, sample_bits))


def is_blank(colour: Image.Image) -> bool:
    """True where all but a trace of every band is of one value: nothing was drawn on the canvas.

    Args:
        colour: mode "L" or "RGB".
    """
    counts, pixels = colour.histogram(), colour.width * colour.height
    trace = max(_TRACE_SHARE * pixels, min(_TRACE_PIXELS, _TRACE_OF_SMALL * pixels))
    bands = (counts[at : at + _LEVELS] for at in range(0, len(counts), _LEVELS))
    return all(pixels - max(band) <= trace for band in bands)


def _with_alpha(image: Image.Image, sample_bits: int) -> Picture:
    if image.mode.startswith("I;16"):
        clear = np.asarray(image) == image.info["transparency"]
        return Picture(
            _opaque(image, sample_bits),
            Image.fromarray(np.where(clear, 0, _OPAQUE).astype(np.uint8)),
        )
    if image.mode in {"LA", "La"}:
        grey = image.convert("LA")
        return Picture(grey.getchannel("L"), _alpha_that_matters(grey.getchannel("A")))
    rgba = image if image.mode == "RGBA" else image.convert("RGBA")
    # Conversion from RGBA to RGB drops alpha and leaves the colours as they are.
    colour = rgba.convert("L") if image.mode in {"1", "L"} else rgba.convert("RGB")
    return Picture(colour, _alpha_that_matters(rgba.getchannel("A")))


def _alpha_that_matters(alpha: Image.Image) -> Image.Image | None:
    lowest, _ = alpha.getextrema()
    return None if lowest == _OPAQUE else alpha


def _opaque(image: Image.Image, sample_bits: int) -> Image.Image:
    mode = image.mode
    if mode in {"L", "RGB"}:
        return image
    if mode.startswith("I;16"):
        return _scaled(np.asarray(image).astype(np.float32), 0.0, (1 << sample_bits) - 1.0)
    if mode in {"I", "F"}:
        return _without_scale(np.asarray(image))
    return _CONVERSIONS.get(mode, _to_rgb)(image)


def _to_rgb(image: Image.Image) -> Image.Image:
    """P, CMYK, HSV, RGBX: Pillow's own conversions are by colour."""
    return image.convert("RGB")


def _bits_to_grey(image: Image.Image) -> Image.Image:
    return image.convert("L")


def _luma_channel(image: Image.Image) -> Image.Image:
    return image.getchannel("Y")


def _lab_to_rgb(image: Image.Image) -> Image.Image:
    """CIE L*a*b* (D50, as TIFF has it) to sRGB, by Little CMS."""
    converted = ImageCms.applyTransform(image, _lab_transform())
    assert converted is not None  # it is None only where the caller asks for work in place
    return converted


@cache
def _lab_transform() -> ImageCms.ImageCmsTransform:
    return ImageCms.buildTransformFromOpenProfiles(
        ImageCms.createProfile("LAB"), ImageCms.createProfile("sRGB"), "LAB", "RGB"
    )


_CONVERSIONS: Mapping[str, Callable[[Image.Image], Image.Image]] = {
    "1": _bits_to_grey,
    "YCbCr": _luma_channel,
    "LAB": _lab_to_rgb,
}


def _without_scale(samples: NDArray[np.generic]) -> Image.Image:
    """32-bit whole numbers and floats, which come without a scale of their own.

    What lies within 0..1 (floats only), 0..255 or 0..65535 is taken as being of that scale; all
    else is stretched from its least to its greatest value. Either way the picture differs from the
    meant one by a linear map at most, which PDQ's bits do not see.
    """
    with np.errstate(invalid="ignore"):  # signalling NaN, which is zeroed like any other
        values = np.nan_to_num(samples.astype(np.float64), nan=0.0, posinf=0.0, neginf=0.0)
    low, high = float(values.min()), float(values.max())
    if low >= 0 and high <= 1 and samples.dtype.kind == "f":
        return _scaled(values, 0.0, 1.0)
    if low >= 0 and high <= _WHITE8:
        return _scaled(values, 0.0, _WHITE8)
    if low >= 0 and high <= _WHITE16:
        return _scaled(values, 0.0, _WHITE16)
    return _scaled(values, low, max(high, low + 1.0))


def _scaled(
    values: NDArray[np.float32] | NDArray[np.float64], black: float, white: float
) -> Image.Image:
    """Maps `black..white` to 0..255, rounded and clipped."""
    scaled = (values - black) * (_WHITE8 / (white - black))
    return Image.fromarray(np.clip(np.rint(scaled), 0, _WHITE8).astype(np.uint8))
