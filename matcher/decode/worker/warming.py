"""Decodes a little of everything, so that nothing is loaded or started any more afterwards.

Pillow loads plug-ins, and codecs their tables, when they first meet a format or mode. A worker that
may open no file must have met them all. Harmless gradients serve; what Pillow cannot write here, it
is not asked to read.
"""

from __future__ import annotations

import io
from contextlib import suppress
from functools import cache
from typing import TYPE_CHECKING

from PIL import Image

from matcher.decode.limits import DecodeLimits
from matcher.decode.worker.decoder import decode
from matcher.decode.worker.selftest import gradient, sample
from matcher.decode.worker.sniff import Format
from matcher.model import ALL_VIEWS, CODE64_KINDS, DecodeRequest

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

_SIDE = 16  # pixels
_MODES = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F")
#: The formats that hold the most of them, each read by code of its own.
_MANY_MODES = ("JPEG", "PNG", "GIF", "TIFF", "BMP", "JPEG2000")
#: What every way of writing is tried in: what one cannot hold, another can.
_FEW_MODES = ("1", "RGB", "RGBA")
#: Of each format the ways of writing that take other code to read.
_WAYS: Mapping[str, tuple[Mapping[str, object], ...]] = {
    "JPEG": ({}, {"progressive": True}, {"subsampling": 0}, {"subsampling": 2}),
    "PNG": ({}, {"interlace": 1}),
    "GIF": ({}, {"save_all": True, "append_images": ()}),
    "WEBP": ({}, {"lossless": True}, {"save_all": True, "append_images": ()}),
    "AVIF": ({"speed": 10}, {"speed": 10, "save_all": True, "append_images": ()}),
    "TIFF": tuple(
        {"compression": name}
        for name in (
            *("raw", "packbits", "tiff_lzw", "tiff_adobe_deflate", "jpeg"),
            *("group3", "group4", "lzma", "zstd", "webp"),
        )
    ),
    "JPEG2000": ({}, {"irreversible": True}),
    "BMP": ({},),
    "ICO": ({}, {"bitmap_format": "bmp"}),
    "MPO": ({"save_all": True, "append_images": ()},),
}


def warm_up() -> int:
    """Decodes samples of every format and mode, and of every format in every view.

    Returns:
        How many samples there were.
    """
    all_views = DecodeRequest(ALL_VIEWS, frozenset(CODE64_KINDS), crops=(0.02,))
    samples = [(data, all_views) for data in _formats()]
    samples += [(data, DecodeRequest()) for data in _modes()]
    for data, request in samples:
        decode(data, request, DecodeLimits())
        decode(data[: len(data) * 2 // 3], request, DecodeLimits())  # what mends cut files, too
    return len(samples)


def _formats() -> Iterator[bytes]:
    for image_format in Format:
        with suppress(KeyError, OSError, ValueError):
            yield sample(image_format)
    yield b"no image"


def _modes() -> Iterator[bytes]:
    tried = [
        (name, mode, way) for name, ways in _WAYS.items() for mode in _FEW_MODES for way in ways
    ]
    tried += [(name, mode, {}) for name in _MANY_MODES for mode in _MODES if mode not in _FEW_MODES]
    for name, mode, way in tried:
        if (data := _written(name, mode, way)) is not None:
            yield data


@cache
def _small() -> Image.Image:
    return gradient().resize((_SIDE, _SIDE))


def _written(name: str, mode: str, way: Mapping[str, object]) -> bytes | None:
    """A gradient as a file; None where Pillow cannot write it."""
    stream = io.BytesIO()
    # Whatever a writer makes of a mode that it does not know, there is then nothing to read.
    with suppress(Exception):
        picture = _small().convert(mode)
        more = {}
        if "append_images" in way:
            more = {"append_images": [picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)]}
        picture.save(stream, name, **{**way, **more})
        return stream.getvalue()
    return None


__all__ = ["warm_up"]
