"""Files that are cut off or damaged: what still renders is hashed and flagged."""

from __future__ import annotations

import io

import numpy as np
import pytest
import tifffile
from PIL import Image

from matcher.model import DecodedImage, NotHashableReason, Undecodable, View


def _striped_tiff(photo, **options):
    stream = io.BytesIO()
    tifffile.imwrite(stream, np.asarray(photo), photometric="rgb", rowsperstrip=4, **options)
    return stream.getvalue()


FILES = {
    "JPEG": lambda lab, photo: lab.encoded(photo, "JPEG", quality=85),
    "progressive JPEG": lambda lab, photo: lab.encoded(photo, "JPEG", progressive=True),
    "PNG": lambda lab, photo: lab.encoded(photo, "PNG"),
    "GIF": lambda lab, photo: lab.encoded(photo.quantize(256), "GIF", interlace=0),
    "interlaced GIF": lambda lab, photo: lab.encoded(photo.quantize(256), "GIF", interlace=1),
    "WebP": lambda lab, photo: lab.encoded(photo, "WEBP", quality=85),
    "lossless WebP": lambda lab, photo: lab.encoded(photo, "WEBP", lossless=True),
    "BMP": lambda lab, photo: lab.encoded(photo, "BMP"),
    "TIFF": lambda lab, photo: lab.encoded(photo, "TIFF"),
    "deflated TIFF": lambda lab, photo: _striped_tiff(photo, compression="zlib"),
}


@pytest.fixture(scope="module")
def photo(photographs):
    """Smaller than elsewhere: these tests decode hundreds of files."""
    return Image.fromarray(photographs["coffee"]).resize((300, 200))


@pytest.fixture(scope="module")
def files(lab, photo):
    return {kind: make(lab, photo) for kind, make in FILES.items()}


@pytest.mark.parametrize("kind", FILES)
def test_cut_file_is_hashed_and_flagged(lab, photo, files, kind):
    whole = files[kind]
    reference = lab.reference(photo)
    assert not lab.decoded(whole).truncated
    distances = []
    for share in (0.99, 0.8, 0.5):
        result = lab.decoded(whole[: int(len(whole) * share)])
        assert isinstance(result, DecodedImage), (share, result)
        assert result.truncated
        assert (result.width, result.height) == photo.size
        distances.append(lab.distance(lab.code_of_block(result.views[0].luma), reference))
    assert distances[0] <= 31  # within PDQ's usual threshold: a cut of 1 % hides no picture


@pytest.mark.parametrize("kind", FILES)
def test_part_that_is_there_renders_as_in_the_whole_file(lab, files, kind):
    """The half of the rows that a cut leaves is the picture, not something made up."""
    whole = files[kind]
    block = lab.decoded(whole).views[0].luma
    cut = lab.decoded(whole[: int(len(whole) * 0.75)]).views[0].luma
    near = np.abs(block - cut) < 24
    assert max(near[:24].mean(), near[-24:].mean()) > 0.9


@pytest.mark.parametrize("kind", FILES)
@pytest.mark.parametrize("kept", [0, 1, 9, 20, 60])
def test_stump_is_malformed(lab, files, kind, kept):
    result = lab.decoded(files[kind][:kept])
    assert isinstance(result, Undecodable)
    assert result.reason in {NotHashableReason.MALFORMED, NotHashableReason.UNSUPPORTED}


def test_header_without_pixels_is_malformed(lab, files):
    jpeg = files["JPEG"]
    scan = jpeg.find(b"\xff\xda")
    png = files["PNG"]
    data_chunk = png.find(b"IDAT")
    for stump in (jpeg[: scan + 14], png[: data_chunk + 4], files["BMP"][:54]):
        result = lab.decoded(stump)
        assert isinstance(result, Undecodable)
        assert result.reason is NotHashableReason.MALFORMED
        assert "nothing of it renders" in result.detail


@pytest.mark.parametrize("image_format", ["AVIF", "HEIC", "JPEG2000", "TIFF"])
def test_formats_that_render_whole_or_not_at_all(lab, photo, image_format):
    options = {"compression": "tiff_lzw"} if image_format == "TIFF" else {}
    whole = lab.encoded(photo.resize((200, 120)), image_format, **options)
    result = lab.decoded(whole[: len(whole) * 2 // 3])
    assert isinstance(result, Undecodable)
    assert result.reason is NotHashableReason.MALFORMED


def test_animation_cut_in_a_later_frame_keeps_its_first(lab, pages):
    for image_format in ("GIF", "PNG", "WEBP"):
        whole = lab.encoded(
            pages[0], image_format, save_all=True, append_images=pages[1:], duration=100
        )
        result = lab.decoded(whole[: int(len(whole) * 0.6)])
        assert result.truncated
        found = lab.code_of_block(result.views[0].luma)
        assert lab.distance(found, lab.reference(pages[0])) <= 10


def test_junk_after_the_end_is_no_truncation(lab, photo):
    for image_format in ("JPEG", "PNG", "GIF", "BMP", "WEBP"):
        result = lab.decoded(
            lab.encoded(photo.quantize(64) if image_format == "GIF" else photo, image_format)
            + b"\0junk" * 50
        )
        assert isinstance(result, DecodedImage)
        assert not result.truncated


def test_damaged_checksums_and_text_do_not_hide_a_png(lab, photo):
    """Viewers skip what a picture does not need."""
    whole = bytearray(lab.encoded(photo, "PNG"))
    at = whole.find(b"IDAT")
    length = int.from_bytes(whole[at - 4 : at], "big")
    whole[at + 4 + length] ^= 0xFF
    bad_header = bytearray(lab.encoded(photo, "PNG"))
    bad_header[29] ^= 0xFF  # checksum of IHDR
    for data in (whole, bad_header):
        assert lab.distance(lab.codes(bytes(data))[View.UPRIGHT], lab.reference(photo)) <= 2


def test_truncation_of_one_file_never_touches_another(lab, photo):
    """The verdict is by file, in whatever order and however interleaved."""
    from concurrent.futures import ThreadPoolExecutor

    small = photo.resize((240, 160))
    whole = [FILES[kind](lab, small) for kind in FILES]
    files = [(data, False) for data in whole] + [
        (data[: len(data) * 9 // 10], True) for data in whole
    ]
    files *= 4
    with ThreadPoolExecutor(4) as threads:
        results = list(threads.map(lambda file: lab.decoded(file[0]).truncated, files))
    assert results == [cut for _, cut in files]


def test_uniform_whole_picture_is_not_malformed(lab):
    """A flat picture decodes; that it has no features is for hashing to tell."""
    result = lab.decoded(lab.encoded(Image.new("RGB", (50, 40), "teal"), "PNG"))
    assert isinstance(result, DecodedImage)
    assert not result.truncated


def test_palette_of_a_header_that_another_takes_back_hides_no_picture(lab, photo):
    """A PNG with two headers: the first one, and its colours, are of a picture with a palette."""
    indexed, plain = lab.encoded(photo.quantize(16), "PNG"), lab.encoded(photo, "PNG")
    both = indexed[: indexed.index(b"IDAT") - 4] + plain[8:]
    result = lab.decoded(both)
    assert isinstance(result, DecodedImage)
    assert result.truncated
    assert lab.distance(lab.code_of_block(result.views[0].luma), lab.reference(photo)) == 0
