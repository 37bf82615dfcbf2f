"""Every allow-listed format decodes, and to luminance by colour, whatever the mode."""

from __future__ import annotations

import io
import struct

import numpy as np
import pytest
import tifffile
from PIL import Image

from matcher.decode import worker
from matcher.decode.worker import opening, selftest
from matcher.decode.worker.sniff import Format
from matcher.model import DecodedImage, NotHashableReason, View

CLOSE = 10  # bits; a version of a picture in another mode or format


@pytest.mark.parametrize(
    ("image_format", "name", "options"),
    [
        ("JPEG", "jpeg", {"quality": 80}),
        ("JPEG", "jpeg", {"quality": 80, "progressive": True}),
        ("MPO", "mpo", {"save_all": True}),
        ("PNG", "png", {}),
        ("GIF", "gif", {}),
        ("WEBP", "webp", {"quality": 80}),
        ("WEBP", "webp", {"lossless": True}),
        ("AVIF", "avif", {"quality": 80, "speed": 10}),
        ("HEIC", "heic", {}),
        ("BMP", "bmp", {}),
        ("TIFF", "tiff", {}),
        ("TIFF", "tiff", {"compression": "tiff_lzw"}),
        ("TIFF", "tiff", {"compression": "jpeg", "quality": 90}),
        ("JPEG2000", "jpeg2000", {}),
        ("JPEG2000", "jpeg2000", {"no_jp2": True}),
    ],
)
def test_every_format_decodes_close_to_its_rgb(lab, photo, image_format, name, options):
    if image_format == "MPO":
        options = {**options, "append_images": [photo.rotate(180)]}
    result = lab.decoded(lab.encoded(photo, image_format, **options))
    assert isinstance(result, DecodedImage)
    assert (result.format, result.width, result.height) == (name, *photo.size)
    assert not result.truncated
    found = lab.code_of_block(result.views[0].luma)
    assert lab.distance(found, lab.reference(photo)) <= CLOSE


def test_icons_with_png_and_with_bitmaps_decode(lab, photo):
    square = photo.resize((64, 64))
    for options in ({}, {"bitmap_format": "bmp"}):
        data = lab.encoded(square, "ICO", sizes=[(64, 64), (16, 16)], **options)
        assert lab.distance(lab.codes(data)[View.UPRIGHT], lab.reference(square)) <= CLOSE


def test_jpeg_xl_decodes_where_its_plugin_is_present(lab, photo, tmp_path):
    pytest.importorskip("pillow_jxl")
    result = lab.decoded(lab.encoded(photo, "JXL", quality=80))
    assert result.format == "jpegxl"
    assert lab.distance(lab.code_of_block(result.views[0].luma), lab.reference(photo)) <= CLOSE
    # A JPEG packed without loss comes out as it went in: its EXIF still has to be applied.
    path = tmp_path / "turned.jpg"
    lab.unturned(photo, 6).save(path, quality=95, exif=lab.exif_of(6))
    with Image.open(path) as turned:
        stream = io.BytesIO()
        turned.save(stream, "JXL", lossless_jpeg=True)
    found = lab.codes(stream.getvalue())
    assert lab.distance(found[View.UPRIGHT], lab.reference(photo)) <= CLOSE
    assert View.STORED in found


def test_jpeg_xl_without_its_plugin_is_unsupported(lab, monkeypatch):
    monkeypatch.setattr(opening, "JPEGXL_PLUGIN", None)
    result = lab.decoded_here(b"\xff\x0a" + bytes(64))
    assert result.reason is NotHashableReason.UNSUPPORTED
    assert "pip install pillow-jxl-plugin" in result.detail
    monkeypatch.setattr(selftest, "JPEGXL_PLUGIN", None)
    assert "pip install pillow-jxl-plugin" in worker.supported_formats()["jpegxl"]


MODES = {
    "palette of 256, dithered": lambda image, lab: lab.encoded(image.quantize(256), "PNG"),
    "web palette": lambda image, lab: lab.encoded(image.convert("P"), "PNG"),
    "palette with transparency": lambda image, lab: lab.encoded(
        image.quantize(255), "PNG", transparency=255
    ),
    "CMYK JPEG (Adobe)": lambda image, lab: lab.encoded(image.convert("CMYK"), "JPEG", quality=90),
    "CMYK TIFF": lambda image, lab: lab.encoded(image.convert("CMYK"), "TIFF"),
    "LAB TIFF": lambda image, lab: lab.encoded(lab.to_lab(image), "TIFF"),
    "LAB TIFF, LZW": lambda image, lab: lab.encoded(
        lab.to_lab(image), "TIFF", compression="tiff_lzw"
    ),
    "YCbCr TIFF": lambda image, lab: lab.encoded(image.convert("YCbCr"), "TIFF"),
    "grey with alpha": lambda image, lab: lab.encoded(image.convert("LA"), "PNG"),
    "RGBA, opaque": lambda image, lab: lab.encoded(image.convert("RGBA"), "PNG"),
    "RGBA TIFF, opaque": lambda image, lab: lab.encoded(image.convert("RGBA"), "TIFF"),
    "palette with alpha TIFF": lambda image, lab: lab.encoded(
        image.convert("RGBA").convert("PA"), "TIFF"
    ),
    "1 bit, dithered": lambda image, lab: lab.encoded(image.convert("1"), "PNG"),
    "grey GIF": lambda image, lab: lab.encoded(image.convert("L"), "GIF"),
    "grey JPEG": lambda image, lab: lab.encoded(image.convert("L"), "JPEG", quality=90),
}


@pytest.mark.parametrize("mode", MODES)
def test_every_mode_goes_to_luminance_by_colour(lab, photo, mode):
    found = lab.codes(MODES[mode](photo, lab))
    assert set(found) == {View.UPRIGHT}
    assert lab.distance(found[View.UPRIGHT], lab.reference(photo)) <= CLOSE


def test_ycck_jpeg_with_adobe_inversion(lab, photo):
    """Inks stored as luminance and two colour differences: what image editors write for print."""
    inks = photo.convert("CMYK")
    cyan, magenta, yellow, key = inks.split()
    y, cb, cr = Image.merge("RGB", (cyan, magenta, yellow)).convert("YCbCr").split()
    stored = Image.merge("CMYK", [band.point(lambda v: 255 - v) for band in (y, cb, cr)] + [key])
    data = bytearray(lab.encoded(stored, "JPEG", quality=92))
    adobe = data.find(b"Adobe")
    assert data[adobe + 11] == 0
    data[adobe + 11] = 2  # the transform is YCCK
    assert lab.distance(lab.codes(bytes(data))[View.UPRIGHT], lab.reference(photo)) <= CLOSE


def _tiff(array, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, array, **options)
    return stream.getvalue()


def _grey(photo):
    return np.asarray(photo.convert("L")).astype(np.int64)


DEPTHS = {
    "16-bit grey PNG": lambda photo, lab: lab.encoded(
        Image.fromarray((_grey(photo) * 257).astype(np.uint16)), "PNG"
    ),
    "16-bit grey": lambda photo, lab: _tiff((_grey(photo) * 257).astype(np.uint16)),
    "16-bit grey, other byte order": lambda photo, lab: _tiff(
        (_grey(photo) * 257).astype(np.uint16), byteorder=">"
    ),
    "16-bit grey, white is zero": lambda photo, lab: _tiff(
        (65535 - _grey(photo) * 257).astype(np.uint16), photometric="miniswhite"
    ),
    "8-bit grey, white is zero": lambda photo, lab: _tiff(
        (255 - _grey(photo)).astype(np.uint8), photometric="miniswhite"
    ),
    "16-bit RGB": lambda photo, lab: _tiff(
        np.asarray(photo).astype(np.uint16) * 257, photometric="rgb"
    ),
    "16-bit signed": lambda photo, lab: _tiff((_grey(photo) * 100 - 5000).astype(np.int16)),
    "32-bit, 0..255": lambda photo, lab: _tiff(_grey(photo).astype(np.uint32)),
    "32-bit, 0..65535": lambda photo, lab: _tiff((_grey(photo) * 257).astype(np.uint32)),
    "32-bit signed": lambda photo, lab: _tiff((_grey(photo) * 9999 - 700_000).astype(np.int32)),
    "float, 0..1": lambda photo, lab: _tiff((_grey(photo) / 255).astype(np.float32)),
    "float, 0..255": lambda photo, lab: _tiff(_grey(photo).astype(np.float32)),
    "float, any range": lambda photo, lab: _tiff((_grey(photo) * 1e6 - 1e8).astype(np.float32)),
    "BigTIFF": lambda photo, lab: _tiff(np.asarray(photo), bigtiff=True, photometric="rgb"),
    "tiled": lambda photo, lab: _tiff(np.asarray(photo), tile=(64, 64), photometric="rgb"),
    "planes apart": lambda photo, lab: _tiff(
        np.moveaxis(np.asarray(photo), 2, 0), photometric="rgb", planarconfig="separate"
    ),
}


@pytest.mark.parametrize("depth", DEPTHS)
def test_every_depth_and_layout_keeps_luminance(lab, photo, depth):
    found = lab.codes(DEPTHS[depth](photo, lab))[View.UPRIGHT]
    assert lab.distance(found, lab.reference(photo)) <= CLOSE


def test_floats_that_are_no_numbers_do_not_spread(lab, photo):
    samples = (_grey(photo) / 255).astype(np.float32)
    samples[:3, :3] = np.nan
    samples[5, 5], samples[6, 6] = np.inf, -np.inf
    block = lab.decoded(_tiff(samples)).views[0].luma
    assert np.isfinite(block).all()
    assert lab.distance(lab.code_of_block(block), lab.reference(photo)) <= CLOSE


def test_lossless_colour_gives_exact_luminance(lab, photo):
    """RGB goes to the hasher unrounded, so the code is the reference's on the same pixels."""
    pixels = np.asarray(photo).astype(np.float64) @ (0.299, 0.587, 0.114)
    block = lab.decoded(lab.encoded(photo, "PNG")).views[0].luma
    assert lab.distance(lab.code_of_block(block), lab.reference(photo)) == 0
    assert abs(float(block.mean()) - pixels.mean()) < 1.0
    assert not np.array_equal(block, np.rint(block))


@pytest.mark.parametrize("image_format", ["JPEG", "PNG", "WEBP", "TIFF", "AVIF", "HEIC"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_orientation_is_applied_once(lab, photo, image_format, orientation):
    small = photo.resize((300, 200))
    exif = lab.exif_of(orientation)
    options = {"quality": 90} if image_format in {"JPEG", "AVIF", "WEBP", "HEIC"} else {}
    stored = lab.unturned(small, orientation)
    data = lab.encoded(
        stored, image_format, exif=exif if image_format == "TIFF" else exif.tobytes(), **options
    )
    result = lab.decoded(data)
    assert (result.width, result.height) == small.size
    found = {view.view: lab.code_of_block(view.luma) for view in result.views}
    assert lab.distance(found[View.UPRIGHT], lab.reference(small)) <= CLOSE
    assert (View.STORED in found) == (orientation != 1)
    if orientation != 1:
        assert lab.distance(found[View.STORED], lab.reference(stored)) <= CLOSE


def test_container_with_a_brand_of_its_own_first_still_decodes(lab, photo):
    for image_format in ("HEIC", "AVIF"):
        data = bytearray(lab.encoded(photo.resize((200, 120)), image_format))
        assert bytes(data[4:8]) == b"ftyp"
        data[8:12] = b"zzzz"
        assert lab.decoded(bytes(data)).format == image_format.lower()


def test_jpeg_whose_side_data_is_broken_still_decodes(lab, photo):
    """A damaged index of further pictures keeps no viewer from showing the first."""
    whole = lab.encoded(photo, "MPO", save_all=True, append_images=[photo.rotate(180)])
    at = whole.find(b"MPF\0")
    length = struct.unpack_from(">H", whole, at - 2)[0]
    broken = whole[: at + 4] + b"\xee" * (length - 6) + whole[at + length - 2 :]
    assert lab.distance(lab.codes(broken)[View.UPRIGHT], lab.reference(photo)) <= CLOSE


def test_doctor_finds_every_format_decoding():
    found = worker.supported_formats()
    assert set(found) == {str(name) for name in Format}
    troubles = {name: trouble for name, trouble in found.items() if trouble}
    assert set(troubles) <= {"jpegxl"}


def test_doctor_tells_what_does_not_decode(monkeypatch):
    monkeypatch.setattr(selftest, "sample", lambda image_format: b"\x89PNG\r\n\x1a\n" + bytes(30))
    found = worker.supported_formats()
    assert all("PNG" in trouble or "plug-in" in trouble for trouble in found.values())
    monkeypatch.setattr(selftest, "sample", lambda image_format: 1 // 0)
    assert "ZeroDivisionError" in worker.supported_formats()["png"]
    data = selftest.gradient()
    stream = io.BytesIO()
    data.save(stream, "BMP")
    monkeypatch.setattr(selftest, "sample", lambda image_format: stream.getvalue())
    assert "decodes as bmp" in worker.supported_formats()["png"]


def test_versions_name_the_decoders():
    text = worker.versions()
    assert "pillow " in text
    assert "libheif " in text
    assert "\n" not in text
