"""Harmless pictures of wanted sizes and formats: painted, photographed, or a desktop's wallpaper.

Photographs are scikit-image's bundled ones, which may be used freely; wallpapers are those of
Debian packages, where some are installed. The same seed gives the same pixels; the bytes of a file
may differ with the encoder's version.
"""

from __future__ import annotations

import io
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import pillow_heif
from PIL import Image
from skimage import data

from loadtest import photographs
from matcher.demo import paint

if TYPE_CHECKING:
    from collections.abc import Iterable

    from numpy.typing import NDArray

pillow_heif.register_heif_opener()

#: Where Debian's packages of backgrounds put their pictures.
_WALLPAPERS: Final = ("/usr/share/backgrounds", "/usr/share/wallpapers", "/usr/share/desktop-base")
_MOST_WALLPAPERS: Final = 6
#: Painted at so many pixels at most, and enlarged beyond.
_PAINTED: Final = (1200, 900)
_GRAIN: Final = 5.0  # standard deviation of the noise of a camera, in levels of 255
_TRIAL: Final = 500  # pixels along the longer side of the trial that tells how a picture packs
_TRIES: Final = 3
_NEAR_ENOUGH: Final = 0.1

#: Pillow's name of a format, and how it is written here, by a server's name of it.
FORMATS: Final[dict[str, tuple[str, dict[str, Any]]]] = {
    "jpeg": ("JPEG", {"quality": photographs.QUALITY, "subsampling": "4:2:0"}),
    "png": ("PNG", {"compress_level": 6}),
    "webp": ("WEBP", {"quality": 80, "method": 2}),
    "gif": ("GIF", {}),
    "avif": ("AVIF", {"quality": 70, "speed": 8}),
    "heic": ("HEIF", {"quality": 70}),
    "tiff": ("TIFF", {"compression": "tiff_lzw"}),
}


def encode(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    """A file of that format."""
    name, usual = FORMATS[file_format]
    file = io.BytesIO()
    picture.save(file, name, **{**usual, **options})
    return file.getvalue()


def painted(seed: int, size: tuple[int, int]) -> Image.Image:
    """The picture of a seed, of that width and height."""
    width, height = min(size[0], _PAINTED[0]), min(size[1], _PAINTED[1])
    return _grained(Image.fromarray(paint(seed, width, height)), size, seed)


@cache
def _photograph(name: str) -> Image.Image:
    return Image.fromarray(np.ascontiguousarray(getattr(data, name)()[..., :3]))


def photographed(name: str, size: tuple[int, int]) -> Image.Image:
    """One of `photographs.NAMES`, of that width and height."""
    return _grained(_photograph(name), size, len(name))


def wallpapers() -> list[Path]:
    """Pictures of installed packages of backgrounds; there may be none."""
    found: list[Path] = []
    for folder in map(Path, _WALLPAPERS):
        paths: Iterable[Path] = sorted(folder.rglob("*")) if folder.is_dir() else ()
        found += [
            path
            for path in paths
            if path.suffix in {".jpg", ".jpeg", ".png", ".webp"} and not path.is_symlink()
        ]
    return found[:_MOST_WALLPAPERS]


def of_bytes(source: int | str, file_format: str, nbytes: int) -> bytes:
    """A file of about so many bytes.

    Args:
        source: a seed to paint from, or the name of a photograph.
        file_format: one of `FORMATS`.
        nbytes: within a tenth or so.
    """
    size = (_TRIAL, _TRIAL * 3 // 4)
    file = encode(_drawn(source, size), file_format)
    for _ in range(_TRIES):
        if abs(len(file) / nbytes - 1) <= _NEAR_ENOUGH:
            break
        size = _scaled(size, nbytes / len(file))
        file = encode(_drawn(source, size), file_format)
    return file


def _drawn(source: int | str, size: tuple[int, int]) -> Image.Image:
    return painted(source, size) if isinstance(source, int) else photographed(source, size)


def _scaled(size: tuple[int, int], times: float) -> tuple[int, int]:
    side = max(0.05, times) ** 0.5
    return max(64, round(size[0] * side)), max(48, round(size[1] * side))


def _grained(picture: Image.Image, size: tuple[int, int], seed: int) -> Image.Image:
    """The picture at that size, with the noise of a camera: enlarged pictures pack too well."""
    resized = picture.resize(size, Image.Resampling.BICUBIC)
    pixels: NDArray[np.int16] = np.asarray(resized, np.int16)
    rng = np.random.default_rng(seed)
    grain = rng.normal(0.0, _GRAIN, (size[1], size[0], 1)).astype(np.int16)
    return Image.fromarray(np.clip(pixels + grain, 0, 255).astype(np.uint8))
