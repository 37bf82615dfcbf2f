"""Header readers and their small helpers, on the odd cases that whole files do not bring up."""

from __future__ import annotations

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from matcher.decode.worker.exif import orientation_of
from matcher.decode.worker.failures import NotDecodableError
from matcher.decode.worker.headers import bmp, boxes, gif, ico, jpegxl
from matcher.decode.worker.headers.registry import read_header
from matcher.decode.worker.sniff import Format, file_brands, sniff
from matcher.model import NotHashableReason

MAGIC = {
    Format.JPEG: b"\xff\xd8\xff",
    Format.PNG: b"\x89PNG\r\n\x1a\n",
    Format.GIF: b"GIF89a",
    Format.WEBP: b"RIFF\x24\0\0\0WEBP",
    Format.AVIF: b"\0\0\0\x1cftypavif\0\0\0\0mif1avifmiaf",
    Format.HEIC: b"\0\0\0\x1cftypheic\0\0\0\0mif1heicmiaf",
    Format.BMP: b"BM",
    Format.TIFF: b"II*\0",
    Format.ICO: b"\0\0\1\0",
    Format.JPEG2000: b"\0\0\0\x0cjP  \r\n\x87\n",
    Format.JPEGXL: b"\xff\x0a",
}


@pytest.mark.parametrize("image_format", MAGIC)
def test_format_is_told_by_the_first_bytes(image_format):
    assert sniff(MAGIC[image_format] + bytes(40)) is image_format


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (b"%PDF-1.7", "PDF"),
        (b"PK\x03\x04" + bytes(30), "ZIP"),
        (b"<svg xmlns='...'>", "SVG"),
        (b"\0\0\0\x18ftypisom\0\0\0\0isommp42", "MP4 or QuickTime"),
    ],
)
def test_other_files_are_unsupported_by_name(data, name):
    with pytest.raises(NotDecodableError) as refused:
        sniff(data)
    answer = refused.value.answer
    assert answer.reason is NotHashableReason.UNSUPPORTED
    assert answer.detail.endswith(f"(looks like: {name})")


@pytest.mark.parametrize("data", [b"RIFF\0\0\0\0WAVE", b"hello"])
def test_what_is_not_recognised_is_said_plainly(data):
    with pytest.raises(NotDecodableError) as refused:
        sniff(data)
    answer = refused.value.answer
    assert answer.reason is NotHashableReason.UNSUPPORTED
    assert answer.detail == "not an image of a supported format, and no other kind of file we know"


def test_brands_are_read_as_far_as_they_go():
    assert file_brands(b"\0\0\0\x18ftypmif1\0\0\0\0heic") == [b"mif1", b"heic"]
    assert file_brands(b"") == []
    assert sniff(b"\0\0\0\x18ftypmif1\0\0\0\0miafavif") is Format.AVIF


@given(image_format=st.sampled_from(list(MAGIC)), rest=st.binary(max_size=300))
def test_no_header_reader_raises_anything_but_a_reason(image_format, rest):
    try:
        header = read_header(image_format, MAGIC[image_format] + rest, 10)
    except NotDecodableError:
        return
    assert header.width > 0
    assert header.height > 0
    assert header.frames >= 1


def _exif(value, *, order="<", kind=3, prefix=b"Exif\0\0", tag=0x0112):
    magic = b"II*\0" if order == "<" else b"MM\0*"
    packed = struct.pack(order + ("H2x" if kind == 3 else "I"), value)
    entry = struct.pack(order + "HHI", tag, kind, 1) + packed
    return prefix + magic + struct.pack(order + "IH", 8, 1) + entry + bytes(4)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("kind", [3, 4])
@pytest.mark.parametrize("prefix", [b"", b"Exif\0\0"])
def test_orientation_in_either_byte_order(order, kind, prefix):
    for value in range(1, 9):
        assert orientation_of(_exif(value, order=order, kind=kind, prefix=prefix)) == value


@pytest.mark.parametrize(
    "block",
    [b"", b"Exif\0\0", b"junk" * 9, _exif(0), _exif(9), _exif(6, tag=0x0110), _exif(6)[:20]],
)
def test_orientation_that_makes_no_sense_is_upright(block):
    assert orientation_of(block) == 1


@given(st.binary(max_size=80))
def test_orientation_of_noise_is_in_range(noise):
    assert 1 <= orientation_of(b"II*\0" + noise) <= 8


def _box(name, content, *, long=False, to_the_end=False):
    if to_the_end:
        return bytes(4) + name + content
    if long:
        return struct.pack(">I", 1) + name + struct.pack(">Q", 16 + len(content)) + content
    return struct.pack(">I", 8 + len(content)) + name + content


def _container(*properties, meta=(), **options):
    ispe = _box(b"ispe", struct.pack(">III", 0, 640, 480))
    ipco = _box(b"ipco", ispe + b"".join(properties))
    inner = bytes(4) + _box(b"iprp", ipco) + b"".join(meta)
    return _box(b"ftyp", b"heic\0\0\0\0heic") + _box(b"meta", inner, **options)


def test_sizes_and_transformations_of_containers():
    assert boxes.read_header(_container(), 9).width == 640
    assert boxes.read_header(_container(long=True), 9).height == 480
    assert boxes.read_header(_container(to_the_end=True), 9).height == 480
    larger = _container(_box(b"ispe", struct.pack(">III", 0, 9000, 100)), _box(b"irot", b"\1"))
    header = boxes.read_header(larger, 9)
    assert (header.width, header.height, header.transformed) == (9000, 100, True)
    assert boxes.read_header(_container()[:-3], 9).truncated


def test_protected_container_is_encrypted(lab):
    data = _container(meta=[_box(b"ipro", bytes(6))])
    result = lab.decoded(data)
    assert result.reason is NotHashableReason.ENCRYPTED
    assert result.detail == "encrypted heic"


def test_sequence_without_a_still_picture_is_sized_by_its_track():
    entry = b"hvc1" + bytes(24) + struct.pack(">HH", 320, 200) + bytes(40)
    data = _box(b"ftyp", b"hevc\0\0\0\0hevc" + bytes(24)) + _box(b"moov", entry)
    header = boxes.read_header(data, 9)
    assert (header.width, header.height) == (320, 200)
    for damaged in (_box(b"ftyp", b"heic" + bytes(9)), data[:60], _box(b"moov", bytes(90))):
        with pytest.raises(NotDecodableError):
            read_header(Format.HEIC, damaged, 9)


def test_box_of_impossible_length_ends_the_walk():
    data = _container() + struct.pack(">I", 3) + b"free"
    assert boxes.read_header(data, 9).width == 640


@pytest.mark.parametrize("size", [(8, 8), (256, 256), (640, 480), (320, 180), (17, 600)])
def test_size_of_jpeg_xl_is_that_of_its_encoder(lab, size):
    pytest.importorskip("pillow_jxl")
    image = Image.new("RGB", size, "navy")
    for options in ({}, {"use_container": True}):
        header = jpegxl.read_header(lab.encoded(image, "JXL", **options), 9)
        assert (header.width, header.height) == size


def test_boxes_of_jpeg_xl_are_walked():
    magic = b"\0\0\0\x0cJXL \r\n\x87\n"
    stream = b"\xff\x0a" + (1 | 4 << 1 | 1 << 6).to_bytes(8, "little")
    whole = magic + _box(b"ftyp", b"jxl \0\0\0\0jxl ") + _box(b"Exif", bytes(9), long=True)
    for box in (_box(b"jxlc", stream), _box(b"jxlp", bytes(4) + stream)):
        header = jpegxl.read_header(whole + box, 9)
        assert (header.width, header.height) == (40, 40)
    for damaged in (whole, whole + _box(b"jxlc", b"junk"), whole + bytes(16)):
        with pytest.raises(NotDecodableError):
            jpegxl.read_header(damaged, 9)


def test_old_bitmap_headers_are_read():
    core = b"BM" + bytes(8) + struct.pack("<I", 26) + struct.pack("<IHHHH", 12, 30, 20, 1, 24)
    header = bmp.read_header(core + bytes(92 * 20), 9)
    assert (header.width, header.height, header.truncated) == (30, 20, False)
    assert bmp.read_header(core, 9).truncated


def test_run_length_coded_bitmap_is_judged_by_its_stored_length():
    def coded(length):
        info = struct.pack("<IiiHHIIiiII", 40, 30, 20, 1, 8, 1, length, 0, 0, 0, 0)
        return b"BM" + bytes(8) + struct.pack("<I", 54) + info + bytes(50)

    assert not bmp.read_header(coded(50), 9).truncated
    assert bmp.read_header(coded(51), 9).truncated
    assert not bmp.read_header(coded(0), 9).truncated


def test_icon_directories_that_lie():
    entry = struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 32, 40, 1000)
    for damaged in (b"\0\0\1\0\0\0", b"\0\0\1\0\1\0" + entry[:9], b"\0\0\1\0\1\0" + entry):
        with pytest.raises(NotDecodableError):
            ico.read_header(damaged, 9)


def test_gif_frames_are_counted_to_the_limit_over_stray_bytes(lab, pages):
    frames = [page.quantize(16) for page in pages]
    data = lab.encoded(frames[0], "GIF", save_all=True, append_images=frames[1:])
    assert gif.read_header(data, 99).frames == 4
    limited = gif.read_header(data, 2)
    assert (limited.frames, limited.truncated) == (2, False)
    assert gif.read_header(data[:-1] + b"\0\0;", 99).frames == 4
    cut_descriptor = gif.read_header(data[:-1] + b",\0;", 99)
    assert (cut_descriptor.frames, cut_descriptor.truncated) == (4, False)
    with pytest.raises(NotDecodableError):
        gif.read_header(b"GIF89a" + bytes(7) + b";", 9)


def test_jpeg_with_stray_markers_and_fill(lab, photo):
    whole = lab.encoded(photo.resize((64, 48)), "JPEG")
    odd = whole[:2] + b"\xff\x01\xff\xff\xff\xd8" + whole[2:]
    header = read_header(Format.JPEG, odd, 9)
    assert (header.width, header.height, header.truncated) == (64, 48, False)


@pytest.mark.parametrize(
    "frame",
    [
        b"\x08\0\x10",
        b"\x08\0\x10\0\x10\0",
        b"\x08\0\x10\0\x10\x03\1\x11\0",
        b"\x08\0\0\0\x10\1\1\x11\0",
    ],
)
def test_jpeg_with_a_damaged_frame_header(frame):
    segment = b"\xff\xc0" + struct.pack(">H", len(frame) + 2) + frame
    scan = b"\xff\xda\0\x08\1\1\0\0\x3f\0" + bytes(20) + b"\xff\xd9"
    for data in (b"\xff\xd8" + segment + scan, b"\xff\xd8\xff" + scan):
        with pytest.raises(NotDecodableError):
            read_header(Format.JPEG, data, 9)


def test_bitmap_cut_in_its_header():
    for data in (b"BM" + bytes(12) + b"\x28\0\0\0\1", b"BM" + bytes(60)):
        with pytest.raises(NotDecodableError):
            read_header(Format.BMP, data, 9)
