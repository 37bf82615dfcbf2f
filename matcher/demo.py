"""Paints harmless images and writes a list of them, to try Hashwarden and to test it.

`python -m matcher.demo OUT_DIR` writes pictures that stand on a list, copies of the first as they
come back in real uploads (recompressed, resized, turned by EXIF, mirrored), one picture that is on
no list, and the list itself as a VICS 2.0 JSON file.

Every picture is painted from a seed by arithmetic: landscapes with hills, clouds and balls. The
same seed paints the same picture; the bytes of a JPEG or PNG may differ with the encoder's version,
so the list is made from the files as written. Any two pictures lie far apart (PDQ distance above
80) and are rich in detail (quality of 90 or more).
"""

from __future__ import annotations

import argparse
import io
import json
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image, PngImagePlugin

from matcher.demo_data import TEST_IMAGE_NAME, PublishedTestImage, published_test_image
from matcher.hashing import pdq
from matcher.hashing.digests import digest_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Float64Array = NDArray[np.float64]
    UInt8Array = NDArray[np.uint8]

DEMO_LIST_NAME = "demo"
DEMO_LIST_FILE = "demo-list.vics.json"
DEMO_IMAGE_SIZE = (960, 720)  # width, height in pixels

_VICS_CONTEXT = (
    "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/Default/$metadata#Media"
)
_VICS_UPDATED = "2026-01-01T00:00:00.0000Z"
_TEST_IMAGE_SIZE = (192, 144)
_TEST_IMAGE_SEED = 2026
_EXIF_ORIENTATION = 0x0112
_TURN_RIGHT_TO_VIEW = 6  # EXIF: the viewer must turn the stored picture by 90 degrees clockwise


@dataclass(frozen=True, slots=True)
class _Listed:
    """A picture of the demo list: its file, its seed, its VICS category, and how it is encoded."""

    name: str
    seed: int
    category: int
    format: str
    with_pdq: bool = True


# The last one is listed by digests alone, as many real entries are: it matches only as a copy.
_LISTED = (
    _Listed("listed-1.jpg", 1, 1, "JPEG"),
    _Listed("listed-2.png", 2, 2, "PNG"),
    _Listed("listed-3.jpg", 3, 1, "JPEG"),
    _Listed("listed-4-digests-only.jpg", 5, 2, "JPEG", with_pdq=False),
)
_UNLISTED_SEED = 4


def paint(seed: int, width: int, height: int, *, grain: float = 3.0) -> UInt8Array:
    """Paints the picture that belongs to a seed.

    Args:
        seed: any non-negative integer.
        width: pixels.
        height: pixels.
        grain: standard deviation of the noise laid over it, in levels of 255.

    Returns:
        `(height, width, 3) uint8`, RGB.
    """
    rng = np.random.default_rng(seed)
    down = np.linspace(0.0, 1.0, height)[:, None]
    across = np.linspace(0.0, width / height, width)[None, :]
    canvas = _sky(rng, down, width)
    _add_sun(rng, canvas, down, across)
    for depth in range(4):
        _add_hills(rng, canvas, down, depth)
    for _ in range(rng.integers(4, 9)):
        _add_ball(rng, canvas, down, across)
    canvas += rng.normal(0.0, 1.0, (height, width, 1)) * grain
    return np.clip(canvas + 0.5, 0.0, 255.0).astype(np.uint8)


def _sky(rng: np.random.Generator, down: Float64Array, width: int) -> Float64Array:
    top, bottom = rng.uniform(20.0, 235.0, (2, 3))
    gradient = top * (1.0 - down)[..., None] + bottom * down[..., None]
    clouds = _fractal_noise(rng, len(down), width, int(rng.integers(2, 5)))[..., None] * 0.6
    white = 255.0 * rng.uniform(0.3, 1.0)
    sky: Float64Array = gradient * (1.0 - clouds) + white * clouds
    return sky


def _add_sun(
    rng: np.random.Generator, canvas: Float64Array, down: Float64Array, across: Float64Array
) -> None:
    x, y = rng.uniform(0.1, 1.2), rng.uniform(0.05, 0.4)
    radius = rng.uniform(0.04, 0.12)
    glow = np.exp(-(((across - x) ** 2 + (down - y) ** 2) / radius**2))[..., None]
    _blend(canvas, np.array([255.0, 240.0, 200.0]), glow)


def _add_hills(
    rng: np.random.Generator, canvas: Float64Array, down: Float64Array, depth: int
) -> None:
    height, width = canvas.shape[:2]
    outline = _fractal_noise(rng, 2, width, int(rng.integers(2, 6)))[0] - 0.5
    ridge = rng.uniform(0.25, 0.4) + 0.17 * depth + rng.uniform(0.1, 0.35) * outline
    texture = _fractal_noise(rng, height, width, int(rng.integers(4, 12)))[..., None]
    colour = rng.uniform(10.0, 220.0, 3)
    part = _near(down[:, 0], ridge.min(), np.inf)
    below = _soft_edge((down[part] - ridge[None, :]) * height)
    _blend(canvas[part], colour * (0.35 + texture[part]), below)


def _add_ball(
    rng: np.random.Generator, canvas: Float64Array, down: Float64Array, across: Float64Array
) -> None:
    x, y = rng.uniform(0.0, 1.3), rng.uniform(0.4, 1.0)
    radius = rng.uniform(0.04, 0.16)
    colour = rng.uniform(60.0, 255.0, 3)
    rows = _near(down[:, 0], y - radius, y + radius)
    columns = _near(across[0], x - radius, x + radius)
    dx, dy = (across[:, columns] - x) / radius, (down[rows] - y) / radius
    squared = dx * dx + dy * dy
    facing = np.sqrt(np.clip(1.0 - squared, 0.0, 1.0))
    light = np.clip(0.25 + 0.75 * (0.6 * facing - 0.5 * dx - 0.6 * dy), 0.1, 1.2)[..., None]
    inside = _soft_edge((1.0 - np.sqrt(squared)) * radius * len(down))
    _blend(canvas[rows, columns], colour * light, inside)


def _near(positions: Float64Array, first: float, last: float) -> slice:
    """The part of growing positions from `first` to `last`, and two more on either side."""
    start, stop = np.searchsorted(positions, (first, last))
    return slice(max(0, int(start) - 2), int(stop) + 2)


def _soft_edge(pixels_inside: Float64Array) -> Float64Array:
    """Coverage 0..1 of each pixel, over an edge two pixels wide; `(H, W, 1)`."""
    edge: Float64Array = np.clip(pixels_inside / 2.0 + 0.5, 0.0, 1.0)[..., None]
    return edge


def _blend(canvas: Float64Array, paint_over: Float64Array, cover: Float64Array) -> None:
    canvas += (paint_over - canvas) * cover


def _fractal_noise(rng: np.random.Generator, height: int, width: int, cells: int) -> Float64Array:
    """Six octaves of value noise, stretched to 0..1; `(height, width)`."""
    total = np.zeros((height, width))
    for octave in range(6):
        side = cells * 2**octave
        lattice = rng.random((side + 1, side + 1))
        total += 0.5**octave * _interpolate(lattice, height, width)
    total -= total.min()
    stretched: Float64Array = total / total.max()
    return stretched


def _interpolate(lattice: Float64Array, height: int, width: int) -> Float64Array:
    """Smoothly enlarges a square lattice to `(height, width)`."""
    rows, row_share = _lattice_steps(lattice.shape[0], height)
    columns, column_share = _lattice_steps(lattice.shape[1], width)
    tall = lattice[rows] + (lattice[rows + 1] - lattice[rows]) * row_share[:, None]
    left = tall[:, columns]
    full: Float64Array = left + (tall[:, columns + 1] - left) * column_share
    return full


def _lattice_steps(points: int, samples: int) -> tuple[NDArray[np.intp], Float64Array]:
    position = np.linspace(0.0, points - 1.0, samples)
    lower = np.minimum(position.astype(np.intp), points - 2)
    share = position - lower
    return lower, share * share * (3.0 - 2.0 * share)


def write_demo(folder: Path) -> list[Path]:
    """Writes the demo images and the list.

    Args:
        folder: made if it is not there; files of the same names are replaced.

    Returns:
        The files written, the list last.
    """
    folder.mkdir(parents=True, exist_ok=True)
    pictures = {item.seed: _picture(item.seed) for item in _LISTED}
    files = {item.name: _encode(pictures[item.seed], item.format) for item in _LISTED}
    media = [_vics_media(item, number, files) for number, item in enumerate(_LISTED, start=1)]
    files |= _variants(pictures[_LISTED[0].seed])
    files["unlisted.jpg"] = _encode(_picture(_UNLISTED_SEED), "JPEG")
    files[TEST_IMAGE_NAME] = published_test_image().data
    document = {"@odata.context": _VICS_CONTEXT, "value": media}
    files[DEMO_LIST_FILE] = (json.dumps(document, indent=2) + "\n").encode()
    for name, data in files.items():
        (folder / name).write_bytes(data)
    return [folder / name for name in files]


def _picture(seed: int) -> Image.Image:
    return Image.fromarray(paint(seed, *DEMO_IMAGE_SIZE))


def _encode(picture: Image.Image, file_format: str, **options: Any) -> bytes:
    if file_format == "JPEG":
        options = {"quality": 90, **options}
    stream = io.BytesIO()
    picture.save(stream, file_format, **options)
    return stream.getvalue()


def _variants(picture: Image.Image) -> dict[str, bytes]:
    """The first listed picture as uploads bring it back."""
    width, height = picture.size
    exif = Image.Exif()
    exif[_EXIF_ORIENTATION] = _TURN_RIGHT_TO_VIEW
    stored_turned = picture.transpose(Image.Transpose.ROTATE_90)  # counter-clockwise
    mirrored = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    return {
        "recompressed.jpg": _encode(picture, "JPEG", quality=35),
        "resized.jpg": _encode(picture.resize((width * 2 // 5, height * 2 // 5)), "JPEG"),
        "exif-rotated.jpg": _encode(stored_turned, "JPEG", exif=exif),
        "mirrored.jpg": _encode(mirrored, "JPEG"),
    }


def _vics_media(item: _Listed, number: int, files: dict[str, bytes]) -> dict[str, object]:
    data = files[item.name]
    digests = digest_bytes(data)
    md5 = digests.md5.hex().upper()
    media: dict[str, object] = {
        "MediaID": number,
        "Category": item.category,
        "MD5": md5,
        "SHA1": digests.sha1.hex().upper(),
        "MediaSize": len(data),
        "MimeType": Image.MIME[item.format],
        "DateUpdated": _VICS_UPDATED,
        "IsPrecategorized": False,
    }
    if item.with_pdq:
        code, _quality = _pdq_of_file(data)
        media["AlternativeHashes"] = [{"MD5": md5, "HashName": "PDQ", "HashValue": code.hex()}]
    return media


def _pdq_of_file(data: bytes) -> tuple[bytes, int]:
    with Image.open(io.BytesIO(data)) as opened:
        pixels = np.asarray(opened.convert("RGB"))
    codes, qualities = pdq.pdq_codes(pdq.luma_block(pixels)[None])
    return codes[0].tobytes(), int(qualities[0])


def paint_test_image() -> UInt8Array:
    """Paints the pixels of the published test image, `(144, 192, 3) uint8`."""
    width, height = _TEST_IMAGE_SIZE
    painted = paint(_TEST_IMAGE_SEED, width, height, grain=0.0)
    return painted & np.uint8(0xF0)  # fewer levels make a smaller file


def write_test_image(folder: Path) -> None:
    """Writes the published test image and its hashes anew; for maintainers, once a picture.

    Once published, the file must never change: installations in the field know its digest.
    """
    notes = PngImagePlugin.PngInfo()
    notes.add_text("Title", "Hashwarden's published test image: generated, harmless, free to use")
    data = _encode(Image.fromarray(paint_test_image()), "PNG", optimize=True, pnginfo=notes)
    code, quality = _pdq_of_file(data)
    digests = digest_bytes(data)
    hashes = {
        "pdq": code.hex(),
        "quality": quality,
        "md5": digests.md5.hex(),
        "sha1": digests.sha1.hex(),
        "sha256": digests.sha256.hex(),
    }
    (folder / TEST_IMAGE_NAME).write_bytes(data)
    text = json.dumps(hashes, indent=2) + "\n"
    (folder / TEST_IMAGE_NAME).with_suffix(".json").write_text(text, encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `python -m matcher.demo`."""
    parser = argparse.ArgumentParser(
        prog="python -m matcher.demo",
        description="Writes harmless generated images and a hash list of them.",
    )
    parser.add_argument("folder", metavar="OUT_DIR", type=Path, help="made if it is not there")
    options = parser.parse_args(arguments)
    try:
        written = write_demo(options.folder)
    except OSError as error:
        print(f"Cannot write the demo: {error}", file=sys.stderr)  # noqa: T201  a command's output
        return 2
    for path in written:
        print(path)  # noqa: T201  a command's output
    return 0


__all__ = [
    "DEMO_LIST_FILE",
    "DEMO_LIST_NAME",
    "TEST_IMAGE_NAME",
    "PublishedTestImage",
    "main",
    "paint",
    "paint_test_image",
    "published_test_image",
    "write_demo",
    "write_test_image",
]

if __name__ == "__main__":
    sys.exit(main())
