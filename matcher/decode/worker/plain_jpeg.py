"""Plain JPEG files straight to luminance by TurboJPEG: what most uploads are.

Pillow comes to the same pixels, since both stand on libjpeg-turbo with the accurate integer
transform, but it feeds the decoder piece by piece and its pixels must be copied out. What is not
plain is left to Pillow, and so is every file that libjpeg-turbo has so much as a warning about.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import simplejpeg

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from matcher.decode.worker.headers.base import Header

#: Colour spaces of which luminance is a channel; from others it would have to be worked out.
_WITH_LUMINANCE = frozenset({"Gray", "YCbCr"})


def plain_luminance(data: bytes, header: Header) -> NDArray[np.uint8] | None:
    """Decodes a JPEG at its full size.

    Args:
        data: the file as received, within all limits.
        header: what it says of itself.

    Returns:
        Luminance as stored, `(H, W) uint8`, contiguous; None where the file is not plain (inks,
        RGB, several pictures, more than 8 bits), cut off, or such that libjpeg-turbo warns of it.

    Raises:
        MemoryError: there was not enough.
    """
    if not header.plain or header.truncated:
        return None
    try:
        height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
        if (height, width) != (header.height, header.width) or colours not in _WITH_LUMINANCE:
            return None
        pixels: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "GRAY", strict=True)
    # KeyError: it has no name for the sampling of colours; RuntimeError: no decoder could be made.
    except (ValueError, KeyError, RuntimeError):
        return None
    return pixels[:, :, 0]
