"""Bytes to a Pillow image, under limits that hold before pixels are allocated.

Process-wide switches of Pillow, set once at import and never changed again (threads would race):

* `LOAD_TRUNCATED_IMAGES` is on: browsers show the part that is there, so it is hashed. Whether a
  file was cut off is told per file by its structure (`headers`), never by this switch.
* `MAX_IMAGE_PIXELS` is raised out of the way: it warns, and counts pixels of a JPEG that will be
  rendered smaller. `DecodeLimits` is judged in its place, on every file and every frame.

Pillow's warnings and debug log lines, which may quote tags of a file, are silenced, and so is
libtiff.
"""

from __future__ import annotations

import ctypes
import importlib
import io
import logging
import re
import warnings
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pi_heif
from PIL import Image, ImageFile, UnidentifiedImageError

from matcher.decode.worker import repair
from matcher.decode.worker.failures import BAD_BYTES, NotDecodableError, malformed, over_limit
from matcher.decode.worker.headers.registry import read_header
from matcher.decode.worker.plain_jpeg import plain_luminance
from matcher.decode.worker.sniff import Format, sniff
from matcher.model import NotHashableReason

if TYPE_CHECKING:
    from types import ModuleType

    import numpy as np
    from numpy.typing import NDArray

    from matcher.decode.limits import DecodeLimits
    from matcher.decode.worker.headers.base import Header

#: A JPEG is rendered smaller only while its shorter side keeps this many pixels (architecture, 6).
JPEG_LEAST_SIDE = 1024
#: Bytes per pixel of Pillow's own image, its RGB conversion, and the array that is made of it.
_PIXEL_BYTES = 4 + 4 + 3

_WITH_PALETTE = frozenset({"P", "PA"})
_PILLOW_NAMES = {
    Format.AVIF: "AVIF",
    Format.BMP: "BMP",
    Format.GIF: "GIF",
    Format.HEIC: "HEIF",
    Format.ICO: "ICO",
    Format.JPEG: "JPEG",
    Format.JPEG2000: "JPEG2000",
    Format.JPEGXL: "JXL",
    Format.PNG: "PNG",
    Format.TIFF: "TIFF",
    Format.WEBP: "WEBP",
}


def _jpegxl_plugin() -> ModuleType | None:
    """The optional JPEG XL plug-in, which registers itself with Pillow."""
    try:
        importlib.import_module("pillow_jxl")
    except ImportError:
        return None
    plugin = importlib.import_module("pillow_jxl.JpegXLImagePlugin")
    plugin.DECODE_THREADS = 0  # type: ignore[attr-defined]
    return plugin


def _silence_libtiff() -> None:
    """Keeps libtiff from writing to standard error what it thinks of a file.

    Pillow leaves its handlers in place. Where they cannot be reached, they go on talking.
    """
    with suppress(OSError, AttributeError):
        codecs = ctypes.CDLL(importlib.import_module("PIL._imaging").__file__)
        codecs.TIFFSetErrorHandler(None)
        codecs.TIFFSetWarningHandler(None)


ImageFile.LOAD_TRUNCATED_IMAGES = True
Image.MAX_IMAGE_PIXELS = 2**32
_silence_libtiff()
logging.getLogger("PIL").setLevel(logging.WARNING)
logging.getLogger("PIL.TiffImagePlugin").setLevel(logging.CRITICAL)
# One thread for each image: workers are the unit of parallel work.
pi_heif.register_heif_opener(
    thumbnails=False, depth_images=False, aux_images=False, decode_threads=1
)
AVIF_PLUGIN = importlib.import_module("PIL.AvifImagePlugin")
AVIF_PLUGIN.DEFAULT_MAX_THREADS = 1  # type: ignore[attr-defined]
JPEGXL_PLUGIN = _jpegxl_plugin()

#: What to do where the plug-in is missing.
JPEGXL_INSTALL = "pip install pillow-jxl-plugin"

_PILLOW_MODULES = r"(PIL|pillow_jxl)\."
_PILLOW_FILTER = ("ignore", None, Warning, re.compile(_PILLOW_MODULES), 0)


@dataclass(frozen=True, slots=True)
class OpenedFile:
    """A file whose first picture is decoded.

    Attributes:
        image: Pillow's image, loaded.
        format: what it turned out to be (a JPEG may turn out to be an MPO).
        header: what the file says of itself.
        truncated: it was cut off or damaged; what rendered is in `image`.
        factor: how many stored pixels, along each axis, a pixel of `image` stands for.
        luminance: the pixels of `image` as `(H, W) uint8`, where they are at hand.
    """

    image: Image.Image
    format: Format
    header: Header
    truncated: bool
    factor: int = 1
    luminance: NDArray[np.uint8] | None = None

    @property
    def frames(self) -> ImageFile.ImageFile:
        """The image as a file that can be taken to other frames; a plain JPEG has none."""
        assert isinstance(self.image, ImageFile.ImageFile)
        return self.image


def open_file(data: bytes, limits: DecodeLimits) -> OpenedFile:
    """Opens and decodes the first picture of a file.

    Args:
        data: the file as received.
        limits: ceilings.

    Raises:
        NotDecodableError: it is not of an allow-listed format, over a limit, encrypted, damaged
            beyond use.
    """
    image_format = sniff(data)
    if image_format is Format.JPEGXL and JPEGXL_PLUGIN is None:
        raise NotDecodableError(
            NotHashableReason.UNSUPPORTED, f"JPEG XL needs its plug-in: {JPEGXL_INSTALL}"
        )
    header = read_header(image_format, data, limits.frames)
    if header.encrypted:
        raise NotDecodableError(NotHashableReason.ENCRYPTED, f"encrypted {image_format}")
    check_limits(header, limits)
    if scale_of(header) == 1 and (pixels := plain_luminance(data, header)) is not None:
        image = Image.fromarray(pixels)  # no copy
        return OpenedFile(image, image_format, header, truncated=False, luminance=pixels)
    image, damaged, factor = _open_and_load(image_format, data, header, limits)
    if image.format == "MPO":
        image_format = Format.MPO
    return OpenedFile(image, image_format, header, damaged or header.truncated, factor)


def check_limits(header: Header, limits: DecodeLimits) -> None:
    """Judges what a header says, before anything is allocated.

    Raises:
        NotDecodableError: over a limit.
    """
    width, height = header.width, header.height
    if header.stored_pixels:
        if header.stored_pixels > limits.jpeg_pixels:
            raise _too_many_pixels(width, height, limits.jpeg_pixels)
        if header.scans > 1 and header.scans * header.stored_pixels > limits.jpeg_scan_pixels:
            raise over_limit(
                f"JPEG of {header.scans} scans",
                header.scans * header.stored_pixels,
                limits.jpeg_scan_pixels,
                "pixels in all scans",
            )
        scale = scale_of(header)
        width, height = -(-width // scale), -(-height // scale)
    check_size(width, height, limits)
    memory = width * height * _PIXEL_BYTES + header.extra_bytes
    if memory > limits.memory_bytes:
        raise over_limit(
            f"picture of {header.width} x {header.height}",
            memory,
            limits.memory_bytes,
            "bytes of memory",
        )


def scale_of(header: Header) -> int:
    """By how much a JPEG is rendered smaller along each axis: 1, 2, 4 or 8."""
    if not header.stored_pixels:
        return 1
    most = max(1, min(8, min(header.width, header.height) // JPEG_LEAST_SIDE))
    return 1 << (most.bit_length() - 1)


def check_size(width: int, height: int, limits: DecodeLimits) -> None:
    """Judges the size of one picture.

    Raises:
        NotDecodableError: over the limit of pixels.
    """
    if width * height > limits.pixels:
        raise _too_many_pixels(width, height, limits.pixels)


def _too_many_pixels(width: int, height: int, limit: int) -> NotDecodableError:
    return over_limit(f"picture of {width} x {height}", width * height, limit, "pixels")


def _open_and_load(
    image_format: Format, data: bytes, header: Header, limits: DecodeLimits
) -> tuple[ImageFile.ImageFile, bool, int]:
    """Opens the file as it is or, where that fails, as mended as `repair` can make it."""
    failure: Exception | None = None
    for attempt in repair.attempts(
        image_format, data, truncated=header.truncated, limit=limits.encoded_bytes
    ):
        try:
            return _load_first(image_format, attempt, limits)
        except BAD_BYTES as error:
            failure = failure or error
    raise malformed(_explanation(image_format, failure)) from failure


def _explanation(image_format: Format, failure: Exception | None) -> str:
    if isinstance(failure, UnidentifiedImageError):
        return f"does not open as {image_format}: damaged, or of a kind that is not supported"
    return f"{image_format} does not decode: its data is damaged or cut off"


def _load_first(
    image_format: Format, data: bytes, limits: DecodeLimits
) -> tuple[ImageFile.ImageFile, bool, int]:
    silence_pillow()
    image = Image.open(io.BytesIO(data), formats=[_PILLOW_NAMES[image_format]])
    factor = draft_luminance(image) if image_format is Format.JPEG else 1
    check_size(*image.size, limits)
    return image, load_pixels(image), factor


def draft_luminance(image: ImageFile.ImageFile) -> int:
    """Has a JPEG decoded straight to luminance, and smaller where it is large enough.

    That is half the cost; a JPEG in inks (CMYK) stays in inks.

    Returns:
        How many stored pixels, along each axis, a rendered one will stand for: 1, 2, 4 or 8.
    """
    image.decoderconfig = ()  # a draft of the frame before would count for this one
    stored = image.size
    image.draft("L", (JPEG_LEAST_SIDE, JPEG_LEAST_SIDE))
    return round(stored[0] / image.size[0])


def load_pixels(image: ImageFile.ImageFile) -> bool:
    """Decodes the current frame; tells whether the decoder gave up after a part of it.

    Raises:
        Exception: one of `BAD_BYTES`, where no pixels came about.
    """
    try:
        image.load()
    except BAD_BYTES:
        # The TIFF codec reports damage only after it has decoded what comes before.
        if image.tile or image._im is None:  # noqa: SLF001 - `im` itself would decode again
            raise
        if image.mode not in _WITH_PALETTE:
            image.palette = None  # of a header that a later one took back: it would fail again
        return True
    return False


def silence_pillow() -> None:
    """Keeps Pillow's warnings from being shown or raised, whatever filters are in force.

    `warnings.catch_warnings` would race between threads. Putting one filter for one module to the
    front, and leaving it there, does not.
    """
    if not warnings.filters or warnings.filters[0] != _PILLOW_FILTER:
        warnings.filterwarnings("ignore", module=_PILLOW_MODULES)
