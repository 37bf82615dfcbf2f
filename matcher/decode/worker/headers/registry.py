"""Which reader reads the header of which format."""

from __future__ import annotations

from typing import TYPE_CHECKING

from matcher.decode.worker.failures import malformed
from matcher.decode.worker.headers import (
    bmp,
    boxes,
    gif,
    ico,
    jpeg,
    jpeg2000,
    jpegxl,
    png,
    tiff,
    webp,
)
from matcher.decode.worker.sniff import Format

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from matcher.decode.worker.headers.base import Header

_READERS: Mapping[Format, Callable[[bytes, int], Header]] = {
    Format.JPEG: jpeg.read_header,
    Format.PNG: png.read_header,
    Format.GIF: gif.read_header,
    Format.WEBP: webp.read_header,
    Format.AVIF: boxes.read_header,
    Format.HEIC: boxes.read_header,
    Format.BMP: bmp.read_header,
    Format.TIFF: tiff.read_header,
    Format.ICO: ico.read_header,
    Format.JPEG2000: jpeg2000.read_header,
    Format.JPEGXL: jpegxl.read_header,
}


def read_header(image_format: Format, data: bytes, frame_limit: int) -> Header:
    """Reads what a file says of itself; frames are counted up to the limit.

    Raises:
        NotDecodableError: it says nothing that a picture could be made of (`malformed`).
    """
    header = _READERS[image_format](data, frame_limit)
    if header.width <= 0 or header.height <= 0:
        raise malformed(f"{image_format} that declares no pixels")
    return header
