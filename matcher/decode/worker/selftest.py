"""Which formats decode here, shown by decoding a picture of each; for `hashwarden doctor`.

The pictures are drawn on the spot, a harmless gradient. The exception is HEIC, for which no encoder
is installed: its sample is a file of the package, made of the same gradient.
"""

from __future__ import annotations

import io
from importlib.resources import files
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from matcher.decode.limits import DecodeLimits
from matcher.decode.worker.decoder import decode
from matcher.decode.worker.opening import JPEGXL_INSTALL, JPEGXL_PLUGIN
from matcher.decode.worker.sniff import Format
from matcher.model import DecodeRequest, Undecodable

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matcher.model import DecodedImage

    Decode = Callable[[bytes, DecodeRequest], DecodedImage | Undecodable]

SAMPLE_SIDE = 64  # pixels
#: How Pillow calls the formats that it can write.
_WRITERS: Mapping[Format, tuple[str, dict[str, bool]]] = {
    Format.JPEG: ("JPEG", {}),
    Format.MPO: ("MPO", {"save_all": True}),
    Format.PNG: ("PNG", {}),
    Format.GIF: ("GIF", {}),
    Format.WEBP: ("WEBP", {}),
    Format.AVIF: ("AVIF", {}),
    Format.BMP: ("BMP", {}),
    Format.TIFF: ("TIFF", {}),
    Format.ICO: ("ICO", {}),
    Format.JPEG2000: ("JPEG2000", {}),
    Format.JPEGXL: ("JXL", {}),
}


def gradient() -> Image.Image:
    """The harmless picture of which all samples are made; RGB, 64 x 64."""
    ramp = np.linspace(0, 255, SAMPLE_SIDE, dtype=np.uint8)
    across = np.broadcast_to(ramp, (SAMPLE_SIDE, SAMPLE_SIDE))
    return Image.fromarray(np.dstack([across, across.T, across[:, ::-1]]))


def sample(image_format: Format) -> bytes:
    """A small file of one format.

    Raises:
        KeyError: Pillow has no writer for it here.
        OSError: its codec is not built in.
    """
    if image_format is Format.HEIC:
        return (files("matcher.decode.worker") / "sample.heic").read_bytes()
    name, options = _WRITERS[image_format]
    if image_format is Format.MPO:
        options = {**options, "append_images": [gradient()]}  # type: ignore[dict-item]
    stream = io.BytesIO()
    gradient().save(stream, name, **options)
    return stream.getvalue()


def supported_formats(by: Decode | None = None) -> Mapping[str, str]:
    """Decodes a sample of every allow-listed format.

    Args:
        by: what decodes; by default the decoder of this process.

    Returns:
        For each format's name an empty string where it decodes, else one line that says why not.
    """
    decoder = by or (lambda data, request: decode(data, request, DecodeLimits()))
    return {image_format.value: _trouble(image_format, decoder) for image_format in Format}


def _trouble(image_format: Format, decoder: Decode) -> str:
    if image_format is Format.JPEGXL and JPEGXL_PLUGIN is None:
        return f"its plug-in is not installed: {JPEGXL_INSTALL}"
    try:
        result = decoder(sample(image_format), DecodeRequest())
    except Exception as error:  # noqa: BLE001 - any failure is what this is to find
        lacking = f"Pillow lacks its codec here, or is broken ({type(error).__name__})"
        return f"its sample cannot be made or decoded: {lacking}"
    if isinstance(result, Undecodable):
        return result.detail
    if result.format != image_format:
        return f"its sample decodes as {result.format}"
    return ""
