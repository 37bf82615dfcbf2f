"""Limits hold before pixels are allocated, for every format and every frame."""

from __future__ import annotations

import dataclasses
import io
import json
import struct
import subprocess
import sys
import time
import warnings
import zlib

import numpy as np
import pytest
import tifffile
from PIL import Image

from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.model import ALL_VIEWS, DecodedImage, DecodeRequest, NotHashableReason, Undecodable

#: Of processor time; unpacking what is refused would take far more.
CPU_SECONDS = 2.0


def _chunk(name, content):
    return (
        struct.pack(">I", len(content))
        + name
        + content
        + struct.pack(">I", zlib.crc32(name + content))
    )


def png_bomb(width=40_000, height=40_000):
    rows = zlib.compress(bytes(1_000_000), 9)
    header = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + _chunk(b"IHDR", header)
        + _chunk(b"IDAT", rows)
        + _chunk(b"IEND", b"")
    )


def gif_bomb(first=(60_000, 60_000), later=None):
    def frame(size):
        return b"," + struct.pack("<HHHHB", 0, 0, *size, 0) + b"\x02\x02\x4c\x01\x00"

    screen = b"GIF89a" + struct.pack("<HHBBB", 50, 50, 0x80, 0, 0) + bytes(6)
    disposal = b"\x21\xf9\x04\x08\0\0\0\0"
    return screen + disposal + frame(first) + (disposal + frame(later) if later else b"") + b";"


def _patched(data, at, layout, *numbers):
    patched = bytearray(data)
    struct.pack_into(layout, patched, at, *numbers)
    return bytes(patched)


def jpeg_bomb(lab, *, progressive, side):
    data = lab.encoded(Image.new("RGB", (64, 64)), "JPEG", progressive=progressive)
    return _patched(
        data, data.find(b"\xff\xc2" if progressive else b"\xff\xc0") + 5, ">HH", side, side
    )


def _tiff_with(tags):
    stream = io.BytesIO()
    tifffile.imwrite(
        stream,
        np.zeros((64, 64, 3), np.uint8),
        tile=(64, 64),
        photometric="rgb",
        compression="zlib",
    )
    data = bytearray(stream.getvalue())
    directory = struct.unpack_from("<I", data, 4)[0]
    for i in range(struct.unpack_from("<H", data, directory)[0]):
        at = directory + 2 + 12 * i
        tag = struct.unpack_from("<H", data, at)[0]
        if tag in tags:
            struct.pack_into("<HII", data, at + 2, 4, 1, tags[tag])
    return bytes(data)


def bombs(lab):
    small = Image.new("RGB", (64, 64))
    jp2, heic, avif = (lab.encoded(small, name) for name in ("JPEG2000", "HEIC", "AVIF"))
    webp = lab.encoded(small, "WEBP", exif=b"Exif\0\0II*\0\x08\0\0\0\0\0")
    png = png_bomb()
    icon = struct.pack("<HHH", 0, 1, 1) + struct.pack(
        "<BBBBHHII", 16, 16, 0, 0, 1, 32, len(png), 22
    )
    dib = struct.pack("<IiiHHIIiiII", 40, 50_000, 50_000, 1, 24, 0, 0, 0, 0, 0, 0)
    return {
        "PNG": png,
        "ICO with PNG": icon + png,
        "ICO with bitmap": icon[:18] + struct.pack("<I", 22) + dib + bytes(100),
        "GIF": gif_bomb(),
        "BMP": b"BM" + struct.pack("<IHHI", 154, 0, 0, 54) + dib + bytes(100),
        "BMP, upside down": b"BM"
        + struct.pack("<IHHI", 154, 0, 0, 54)
        + dib[:8]
        + struct.pack("<i", -50_000)
        + dib[12:]
        + bytes(100),
        "OS/2 BMP": b"BM"
        + struct.pack("<IHHI", 154, 0, 0, 26)
        + struct.pack("<IHHHH", 12, 50_000, 50_000, 1, 24)
        + bytes(64),
        "WebP": _patched(webp, 24, "<HBHB", 0x3FFF, 0, 0x3FFF, 0),
        "TIFF": _tiff_with({256: 60_000, 257: 60_000}),
        "TIFF with a huge tile": _tiff_with({322: 60_000, 323: 60_000}),
        "JPEG 2000, codestream": _patched(
            jp2,
            jp2.find(b"\xff\x4f\xff\x51") + 8,
            ">IIIIIIII",
            60_000,
            60_000,
            0,
            0,
            60_000,
            60_000,
            0,
            0,
        ),
        "JPEG 2000, box": _patched(jp2, jp2.find(b"ihdr") + 4, ">II", 60_000, 60_000),
        "HEIC": _patched(heic, heic.find(b"ispe") + 8, ">II", 60_000, 60_000),
        "AVIF": _patched(avif, avif.find(b"ispe") + 8, ">II", 60_000, 60_000),
        "JPEG": jpeg_bomb(lab, progressive=False, side=65_000),
        "progressive JPEG": jpeg_bomb(lab, progressive=True, side=65_000),
        "progressive JPEG whose coefficients are the bomb": jpeg_bomb(
            lab, progressive=True, side=19_990
        ).replace(b"\x01\x22\x00", b"\x01\x11\x00", 1),
        "JPEG XL": b"\xff\x0a"
        + (0 | 3 << 1 | (59_999 << 3) | (0 << 33) | (3 << 36) | (59_999 << 38)).to_bytes(
            12, "little"
        ),
    }


def test_bombs_are_refused_from_the_header(lab):
    """In a process of its own, whose peak memory shows that no pixels were allocated."""
    pytest.importorskip("pillow_jxl")
    prepared = {name: data.hex() for name, data in bombs(lab).items()}
    script = """
import json, resource, sys, time
from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.model import ALL_VIEWS, DecodeRequest
prepared = json.load(sys.stdin)
worker.supported_formats()
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
answers = {}
for name, data in prepared.items():
    started = time.process_time()
    answer = worker.decode(bytes.fromhex(data), DecodeRequest(ALL_VIEWS), DecodeLimits())
    grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before
    answers[name] = [str(getattr(answer, "reason", "")), time.process_time() - started, grown]
print(json.dumps(answers))
"""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        input=json.dumps(prepared),
        capture_output=True,
        text=True,
        timeout=170,
        check=True,
    )
    assert run.stderr == ""
    for name, (reason, seconds, grown) in json.loads(run.stdout).items():
        assert reason == NotHashableReason.OVER_LIMIT, name
        assert seconds < CPU_SECONDS, name
        assert grown < 8 * 1024, name  # KiB; the least of the bombs would take 130 MB


def test_details_hold_sizes_and_formats_only(lab):
    for data in bombs(lab).values():
        detail = lab.decoded(data).detail
        assert detail.isprintable()
        assert len(detail) < 120


def test_encoded_bytes(lab, photo):
    data = lab.encoded(photo, "JPEG")
    limits = DecodeLimits(encoded_bytes=len(data))
    assert isinstance(lab.decoded(data, limits=limits), DecodedImage)
    result = lab.decoded(data, limits=DecodeLimits(encoded_bytes=len(data) - 1))
    assert result == Undecodable(
        NotHashableReason.OVER_LIMIT, f"file: {len(data)} bytes, the limit is {len(data) - 1}"
    )


@pytest.mark.parametrize(
    "image_format", ["PNG", "GIF", "WEBP", "BMP", "TIFF", "JPEG2000", "AVIF", "HEIC", "JPEG"]
)
def test_pixels_at_their_edge(lab, photo, image_format):
    data = lab.encoded(photo.resize((120, 90)), image_format)
    exactly = DecodeLimits(pixels=120 * 90, jpeg_pixels=120 * 90)
    one_less = DecodeLimits(pixels=120 * 90 - 1, jpeg_pixels=120 * 90 - 1)
    assert isinstance(lab.decoded(data, limits=exactly), DecodedImage)
    assert lab.decoded(data, limits=one_less).reason is NotHashableReason.OVER_LIMIT


def test_jpeg_may_store_more_pixels_than_are_rendered(lab, photo):
    data = lab.encoded(photo.resize((4200, 2200)), "JPEG", quality=40)
    assert isinstance(lab.decoded(data, limits=DecodeLimits(pixels=2100 * 1100)), DecodedImage)
    result = lab.decoded(data, limits=DecodeLimits(pixels=2100 * 1100 - 1))
    assert result.reason is NotHashableReason.OVER_LIMIT


def test_memory_at_its_edge(lab, photo):
    data = lab.encoded(photo.resize((100, 80)), "PNG")
    need = 100 * 80 * 11
    assert isinstance(lab.decoded(data, limits=DecodeLimits(memory_bytes=need)), DecodedImage)
    result = lab.decoded(data, limits=DecodeLimits(memory_bytes=need - 1))
    assert result.reason is NotHashableReason.OVER_LIMIT
    assert "bytes of memory" in result.detail


def test_scans_of_a_progressive_jpeg(lab, photo):
    data = lab.encoded(photo, "JPEG", progressive=True)
    scans = data.count(b"\xff\xda")
    limit = scans * photo.width * photo.height
    assert isinstance(lab.decoded(data, limits=DecodeLimits(jpeg_scan_pixels=limit)), DecodedImage)
    result = lab.decoded(data, limits=DecodeLimits(jpeg_scan_pixels=limit - 1))
    assert result.reason is NotHashableReason.OVER_LIMIT
    last = data.rfind(b"\xff\xda")
    many = data[:last] + data[last:-2] * 3000 + b"\xff\xd9"
    result = lab.decoded(many, limits=DecodeLimits(jpeg_scan_pixels=400_000_000))
    assert result.reason is NotHashableReason.OVER_LIMIT
    baseline = lab.encoded(photo, "JPEG")
    assert isinstance(lab.decoded(baseline, limits=DecodeLimits(jpeg_scan_pixels=1)), DecodedImage)


def test_monstrous_later_frame_does_not_hide_the_first(lab):
    started = time.process_time()
    result = lab.decoded(gif_bomb(first=(50, 50), later=(60_000, 60_000)), DecodeRequest(ALL_VIEWS))
    assert isinstance(result, DecodedImage)
    assert "frame:1" in result.views_left_out
    assert time.process_time() - started < CPU_SECONDS


def test_monstrous_later_page_does_not_hide_the_first(lab, photo):
    stream = io.BytesIO()
    with tifffile.TiffWriter(stream) as writer:
        writer.write(np.asarray(photo), photometric="rgb")
        writer.write(np.zeros((1200, 1300), np.uint8), compression="zlib")
        writer.write(np.asarray(photo.rotate(180)), photometric="rgb")
    request = DecodeRequest(ALL_VIEWS)
    limits = DecodeLimits(pixels=photo.width * photo.height)
    result = lab.decoded(stream.getvalue(), request, limits)
    assert [view.view for view in result.views if view.view.startswith("frame")] == ["frame:2"]
    assert result.views_left_out == ("frame:1",)


def test_files_of_nothing_but_parts_are_refused_quickly(lab, photo):
    png = lab.encoded(photo.resize((32, 32)), "PNG")
    jpeg = lab.encoded(photo.resize((32, 32)), "JPEG")
    many_chunks = png[:33] + _chunk(b"teSt", b"") * 150_000 + png[33:]
    many_segments = jpeg[:2] + b"\xff\xfe\x00\x02" * 150_000 + jpeg[2:]
    for data in (many_chunks, many_segments):
        started = time.process_time()
        assert lab.decoded(data).reason is NotHashableReason.OVER_LIMIT
        assert time.process_time() - started < 2.0


def test_pillow_never_warns(lab, photo):
    """More pixels than Pillow would warn of, under filters that make errors of warnings."""
    wide = lab.encoded(Image.new("1", (12_000, 8_000)), "PNG")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        assert isinstance(lab.decoded(wide), DecodedImage)
    assert caught == []


@pytest.mark.parametrize(
    ("kind", "field"),
    [
        (kind, field.name)
        for kind in (DecodeLimits, WorkerLimits)
        for field in dataclasses.fields(kind)
        if field.name != "niceness"
    ],
)
def test_limits_must_be_positive(kind, field):
    with pytest.raises(ValueError, match=field):
        kind(**{field: 0})


@pytest.mark.parametrize("niceness", [-1, 20])
def test_decoders_stand_back_and_never_press_forward(niceness):
    assert WorkerLimits(niceness=0).niceness == 0
    with pytest.raises(ValueError, match="0 to 19"):
        WorkerLimits(niceness=niceness)
