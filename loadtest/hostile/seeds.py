"""Small whole files of every format and mode that is decoded, to be mutated.

Their pictures are crops of scikit-image's bundled photographs, which may be used freely.
"""

from __future__ import annotations

import io
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pillow_heif
from PIL import Image, features
from skimage import data

from matcher.decode.worker import supported_formats

if TYPE_CHECKING:
    from collections.abc import Iterator

pillow_heif.register_heif_opener()

_SIDE: Final = 40  # pixels: a hostile size then costs little but what it claims
_CROP: Final = 240  # pixels of a photograph that become those


def seeds() -> dict[str, bytes]:
    """The files by names that tell their format and mode; the same in every run."""
    return dict(_all())


def _all() -> Iterator[tuple[str, bytes]]:
    colour = _photograph("chelsea")
    half_clear = colour.convert("RGBA")
    half_clear.putalpha(_photograph("astronaut").convert("L"))
    others = [colour.rotate(90), colour.rotate(180)]
    yield from _jpeg(colour, others)
    yield from _png(colour, half_clear, others)
    yield from _gif(colour, others)
    yield from _webp(colour, half_clear, others)
    yield from _tiff(colour, half_clear, others)
    yield from _boxes(colour, half_clear, others)
    yield from _jpeg2000(colour, half_clear)
    palette = colour.quantize(16)
    for mode in ("1", "L", "P", "RGB", "RGBA"):
        yield f"bmp {mode}", _encoded(_in_mode(colour, mode), "BMP")
    yield "bmp 16 colours", _encoded(palette, "BMP")
    yield "ico png", _encoded(colour, "ICO", sizes=[(16, 16), (32, 32)])
    yield "ico bmp", _encoded(half_clear, "ICO", sizes=[(16, 16)], bitmap_format="bmp")
    if not supported_formats()["jpegxl"]:
        yield "jpegxl", _encoded(colour, "JXL")


def _jpeg(colour: Image.Image, others: list[Image.Image]) -> Iterator[tuple[str, bytes]]:
    turned = Image.Exif()
    turned[0x0112] = 6
    for mode in ("L", "RGB", "CMYK", "YCbCr"):
        yield f"jpeg {mode}", _encoded(_in_mode(colour, mode), "JPEG")
    yield "jpeg turned", _encoded(colour, "JPEG", exif=turned.tobytes())
    yield "jpeg progressive", _encoded(colour, "JPEG", progressive=True)
    yield "jpeg restarts", _encoded(colour, "JPEG", restart_marker_rows=1)
    yield "mpo", _encoded(colour, "MPO", save_all=True, append_images=others[:1])


def _png(
    colour: Image.Image, half_clear: Image.Image, others: list[Image.Image]
) -> Iterator[tuple[str, bytes]]:
    turned = Image.Exif()
    turned[0x0112] = 8
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA"):
        yield f"png {mode}", _encoded(_in_mode(colour, mode), "PNG")
    deep = np.asarray(colour.convert("L"), np.uint16) * 257
    yield "png 16 bits", _encoded(Image.fromarray(deep), "PNG")
    yield "png clear colour", _encoded(colour.quantize(16), "PNG", transparency=3)
    yield "png turned", _encoded(colour, "PNG", exif=turned.tobytes())
    animation = {"save_all": True, "append_images": others}
    yield "png animation", _encoded(colour, "PNG", default_image=True, **animation)
    clear_too = [half_clear.rotate(90)]
    yield "png clear animation", _encoded(half_clear, "PNG", save_all=True, append_images=clear_too)


def _gif(colour: Image.Image, others: list[Image.Image]) -> Iterator[tuple[str, bytes]]:
    palette, rest = colour.quantize(16), [each.quantize(16) for each in others]
    yield "gif", _encoded(palette, "GIF")
    yield "gif L", _encoded(colour.convert("L"), "GIF", interlace=1)
    animation = {"save_all": True, "append_images": rest, "duration": 50, "loop": 0}
    yield "gif animation", _encoded(palette, "GIF", **animation)
    yield "gif clear", _encoded(palette, "GIF", transparency=0, disposal=2, **animation)


def _webp(
    colour: Image.Image, half_clear: Image.Image, others: list[Image.Image]
) -> Iterator[tuple[str, bytes]]:
    turned = Image.Exif()
    turned[0x0112] = 3
    yield "webp", _encoded(colour, "WEBP")
    yield "webp turned", _encoded(colour, "WEBP", exif=turned.tobytes())
    yield "webp clear", _encoded(half_clear, "WEBP")
    yield "webp lossless", _encoded(half_clear, "WEBP", lossless=True)
    yield "webp animation", _encoded(colour, "WEBP", save_all=True, append_images=others)


def _tiff(
    colour: Image.Image, half_clear: Image.Image, others: list[Image.Image]
) -> Iterator[tuple[str, bytes]]:
    for mode in ("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "YCbCr", "LAB", "I;16", "I", "F"):
        yield f"tiff {mode}", _encoded(_in_mode(colour, mode), "TIFF")
    for packing in ("tiff_lzw", "tiff_adobe_deflate", "packbits", "jpeg"):
        yield f"tiff {packing}", _encoded(colour, "TIFF", compression=packing)
    yield "tiff group4", _encoded(colour.convert("1"), "TIFF", compression="group4")
    yield "tiff big", _encoded(colour, "TIFF", big_tiff=True)
    yield "tiff pages", _encoded(colour, "TIFF", save_all=True, append_images=others)
    yield "tiff clear pages", _encoded(half_clear, "TIFF", save_all=True, append_images=[colour])


def _boxes(
    colour: Image.Image, half_clear: Image.Image, others: list[Image.Image]
) -> Iterator[tuple[str, bytes]]:
    """AVIF and HEIC: files of boxes (ISO/IEC 14496-12)."""
    animation = {"save_all": True, "append_images": others}
    if features.check("avif"):
        yield "avif", _encoded(colour, "AVIF", speed=10)
        yield "avif clear", _encoded(half_clear, "AVIF", speed=10)
        yield "avif full", _encoded(colour, "AVIF", speed=10, subsampling="4:4:4")
        yield "avif animation", _encoded(colour, "AVIF", speed=10, **animation)
    yield "heic", _encoded(colour, "HEIF")
    yield "heic L", _encoded(colour.convert("L"), "HEIF")
    yield "heic clear", _encoded(half_clear, "HEIF")
    yield "heic pictures", _encoded(colour, "HEIF", **animation)
    yield "heic sample", (files("matcher.decode.worker") / "sample.heic").read_bytes()


def _jpeg2000(colour: Image.Image, half_clear: Image.Image) -> Iterator[tuple[str, bytes]]:
    for mode in ("L", "LA", "RGB"):
        yield f"jpeg2000 {mode}", _encoded(_in_mode(colour, mode), "JPEG2000")
    yield "jpeg2000 tiles", _encoded(colour, "JPEG2000", tile_size=(16, 16))
    yield "jpeg2000 lossy", _encoded(colour, "JPEG2000", irreversible=True)
    yield "jpeg2000 stream", _encoded(half_clear, "JPEG2000", no_jp2=True)


def _photograph(name: str) -> Image.Image:
    pixels = np.ascontiguousarray(getattr(data, name)()[..., :3])
    top, left = (pixels.shape[0] - _CROP) // 2, (pixels.shape[1] - _CROP) // 2
    crop = Image.fromarray(pixels[top : top + _CROP, left : left + _CROP])
    return crop.resize((_SIDE, _SIDE), Image.Resampling.LANCZOS)


def _in_mode(colour: Image.Image, mode: str) -> Image.Image:
    if mode == "LAB":
        return Image.merge("LAB", colour.split())
    if mode in {"I;16", "LA"}:
        return colour.convert("L").convert(mode)
    return colour.convert(mode)


def _encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    file = io.BytesIO()
    if "append_images" in options:
        options["append_images"] = [each.copy() for each in options["append_images"]]
    image.copy().save(file, image_format, **options)  # saving leaves traces in its images
    return file.getvalue()


__all__ = ["seeds"]
