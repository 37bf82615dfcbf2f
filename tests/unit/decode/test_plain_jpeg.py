"""Plain JPEG files take a short way, to the same pixels that Pillow comes to; others do not."""

from __future__ import annotations

import io
import random

import numpy as np
import pytest
from PIL import Image

from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.decode.worker import opening
from matcher.decode.worker.failures import NotDecodableError
from matcher.decode.worker.headers.jpeg import read_header
from matcher.decode.worker.opening import JPEG_LEAST_SIDE
from matcher.decode.worker.plain_jpeg import plain_luminance
from matcher.model import ALL_VIEWS, CODE64_KINDS, DecodeRequest, NotHashableReason
from tests.unit.decode.conftest import encoded


def drawn(size, mode="RGB", seed=0):
    """Soft shapes with some noise, of any size."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8)).resize(size)
    noise = rng.integers(-20, 20, (size[1], size[0], 3))
    pixels = np.clip(np.asarray(coarse).astype(int) + noise, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels).convert(mode)


def by_pillow(data):
    """The oracle: luminance as Pillow decodes it."""
    with Image.open(io.BytesIO(data)) as image:
        image.draft("L", image.size)
        return np.asarray(image)


def short_way(data):
    return plain_luminance(data, read_header(data, 1))


PLAIN = {
    "grey": ("L", {}),
    "4:4:4": ("RGB", {"subsampling": 0}),
    "4:2:2": ("RGB", {"subsampling": 1}),
    "4:2:0": ("RGB", {"subsampling": 2}),
    "progressive": ("RGB", {"progressive": True}),
    "progressive grey": ("L", {"progressive": True}),
    "best tables": ("RGB", {"optimize": True}),
    "restarts": ("RGB", {"restart_marker_blocks": 3}),
    "coarse": ("RGB", {"quality": 5}),
    "fine": ("RGB", {"quality": 100}),
    "profile and words": ("RGB", {"icc_profile": b"p" * 70_000, "comment": b"w"}),
}


@pytest.mark.parametrize("case", PLAIN)
@pytest.mark.parametrize("size", [(5, 5), (64, 48), (641, 487), (1, 300), (17, 16)])
def test_pixels_are_those_of_pillow(case, size):
    mode, options = PLAIN[case]
    data = encoded(drawn(size, mode), "JPEG", **options)
    found = short_way(data)
    assert found is not None
    assert found.flags.c_contiguous
    np.testing.assert_array_equal(found, by_pillow(data), strict=True)


def with_exif(image, orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return encoded(image, "JPEG", exif=exif)


@pytest.mark.parametrize("orientation", [1, 3, 6])
@pytest.mark.parametrize("request_", [DecodeRequest(), DecodeRequest(ALL_VIEWS, CODE64_KINDS)])
def test_views_are_those_of_the_long_way(monkeypatch, orientation, request_):
    data = with_exif(drawn((500, 333)), orientation)
    short = worker.decode(data, request_, DecodeLimits())
    monkeypatch.setattr(opening, "plain_luminance", lambda *_: None)
    long = worker.decode(data, request_, DecodeLimits())
    assert [view.view for view in short.views] == [view.view for view in long.views]
    assert (short.width, short.height, short.format) == (long.width, long.height, long.format)
    for one, other in zip(short.views, long.views, strict=True):
        np.testing.assert_array_equal(one.luma, other.luma, strict=True)
        assert one.inputs64.keys() == other.inputs64.keys()
        for kind, values in one.inputs64.items():
            np.testing.assert_array_equal(values, other.inputs64[kind], strict=True)


def several_pictures():
    return encoded(drawn((64, 64)), "MPO", save_all=True, append_images=[drawn((64, 64), seed=1)])


NOT_PLAIN = {
    "inks": lambda: encoded(drawn((64, 64), "CMYK"), "JPEG"),
    "RGB": lambda: encoded(drawn((64, 64)), "JPEG", keep_rgb=True),
    "several pictures": several_pictures,
    "cut off": lambda: encoded(drawn((64, 64)), "JPEG")[:-200],
    "cut off and ended": lambda: encoded(drawn((64, 64)), "JPEG")[:-200] + b"\xff\xd9",
    "another size than in its frame": lambda: encoded(drawn((64, 64)), "JPEG").replace(
        b"\x00\x40\x00\x40\x03", b"\x00\x60\x00\x40\x03"
    ),
}


@pytest.mark.parametrize("case", NOT_PLAIN)
def test_what_is_not_plain_is_left_to_pillow(case):
    data = NOT_PLAIN[case]()
    assert short_way(data) is None
    assert opening.open_file(data, DecodeLimits()).luminance is None


def with_many_scans(count):
    """A progressive file whose last scan stands there so many times."""
    data = encoded(drawn((64, 64), "L"), "JPEG", progressive=True)
    last = data.rindex(b"\xff\xda")
    return data[:last] + data[last:-2] * count + b"\xff\xd9"


@pytest.mark.parametrize(("count", "plain"), [(1, True), (40, True), (100, False), (3000, False)])
def test_files_of_many_scans_are_not_plain(count, plain):
    assert read_header(with_many_scans(count), 1).plain is plain


def test_files_of_too_many_scans_are_over_the_limit():
    answer = worker.decode(with_many_scans(4096), DecodeRequest(), DecodeLimits())
    assert answer.reason is NotHashableReason.OVER_LIMIT
    assert "4097 scans, the limit is 4096" in answer.detail


def test_a_marker_that_says_nothing_is_passed_over_both_ways(monkeypatch):
    data = encoded(drawn((64, 64), "L"), "JPEG")
    frame = data.index(b"\xff\xc0")
    data = data[:frame] + b"\xff\x01" + data[frame:]
    short = worker.decode(data, DecodeRequest(), DecodeLimits())
    monkeypatch.setattr(opening, "plain_luminance", lambda *_: None)
    long = worker.decode(data, DecodeRequest(), DecodeLimits())
    np.testing.assert_array_equal(short.views[0].luma, long.views[0].luma, strict=True)


def test_what_is_rendered_smaller_is_left_to_pillow():
    side = 2 * JPEG_LEAST_SIDE
    for wide, plain in ((side, False), (side - 1, True)):
        data = encoded(drawn((wide, side), "L"), "JPEG", quality=30)
        opened = opening.open_file(data, DecodeLimits())
        assert (opened.luminance is not None) == plain
        assert opened.factor == (1 if plain else 2)


@pytest.mark.parametrize("seed", range(150))
def test_a_damaged_file_gives_the_pixels_of_pillow_or_none(seed):
    chance = random.Random(seed)
    mode, options = PLAIN[chance.choice(sorted(PLAIN))]
    data = bytearray(encoded(drawn((70, 50), mode, seed), "JPEG", **options))
    for _ in range(chance.choice((1, 1, 2, 5))):
        at = chance.randrange(2, len(data))
        if chance.random() < 0.8:
            data[at] = chance.randrange(256)
        else:
            del data[at : at + chance.randrange(1, 30)]
    try:
        found = short_way(bytes(data))
    except NotDecodableError:
        return
    if found is not None:
        np.testing.assert_array_equal(found, by_pillow(bytes(data)), strict=True)
