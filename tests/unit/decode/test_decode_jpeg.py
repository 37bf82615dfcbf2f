"""JPEG, the bulk of all uploads: straight to luminance, and still the reference's hash."""

from __future__ import annotations

import io

import numpy as np
import pdqhash
import pytest
from PIL import Image
from skimage import data as bundled

from matcher.decode.worker.opening import JPEG_LEAST_SIDE
from matcher.model import View

QUALITIES = (35, 60, 75, 90, 96)
SIZES = ((400, 300), (640, 480), (1024, 768))
LARGE = ((2300, 2100), (3100, 3300))


def _photographs():
    """Colour photographs of the package, and crops and turns of them, as Pillow images."""
    names = ("astronaut", "chelsea", "coffee", "rocket", "retina", "hubble_deep_field")
    pictures = [Image.fromarray(getattr(bundled, name)()[..., :3]) for name in names]
    left, right, _ = bundled.stereo_motorcycle()
    pictures += [Image.fromarray(left), Image.fromarray(right)]
    crops = [
        picture.crop((picture.width // 5, picture.height // 6, picture.width, picture.height))
        for picture in pictures
    ]
    return pictures + crops + [picture.transpose(Image.Transpose.ROTATE_90) for picture in crops]


def _drawn(seed):
    """A picture of soft shapes of all sizes, in colour."""
    rng = np.random.default_rng(seed)
    layers = np.zeros((480, 640, 3))
    for cells in (3, 6, 12, 24, 60):
        noise = Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8))
        layers += np.asarray(noise.resize((640, 480), Image.Resampling.BICUBIC)) / np.sqrt(cells)
    layers -= layers.min()
    return Image.fromarray((layers * (255 / layers.max())).astype(np.uint8))


def _distance(lab, data):
    """Bits between our hash of the file and the reference's on its full RGB pixels."""
    with Image.open(io.BytesIO(data)) as image:
        rgb = np.ascontiguousarray(image.convert("RGB"))
    bits, quality = pdqhash.compute(rgb)
    found = lab.codes(data)[View.UPRIGHT]
    return lab.distance(found, np.packbits(bits.astype(np.uint8))), quality


@pytest.mark.slow
def test_hash_of_the_file_is_that_of_its_rgb_pixels(lab):
    distances = []
    pictures = _photographs() + [_drawn(seed) for seed in range(6)]
    for number, picture in enumerate(pictures):
        sizes = [SIZES[number % len(SIZES)], SIZES[(number + 1) % len(SIZES)]]
        sizes += [LARGE[(number // 8) % len(LARGE)]] if number % 8 == 0 else []
        for step, size in enumerate(sizes):
            quality = QUALITIES[(number + step) % len(QUALITIES)]
            data = lab.encoded(picture.resize(size), "JPEG", quality=quality)
            bits, pdq_quality = _distance(lab, data)
            if pdq_quality >= 50:
                distances.append(bits)
    assert len(distances) >= 45
    assert np.mean(np.array(distances) <= 2) >= 0.95
    assert max(distances) <= 8  # 4 were measured


@pytest.mark.slow
def test_large_jpeg_is_rendered_smaller_but_not_too_small(lab, photo):
    shapes = {(2600, 2048): 2, (2047, 2100): 1, (1024, 1024): 1, (4096, 4100): 4}
    for size, scale in shapes.items():
        data = lab.encoded(photo.resize(size), "JPEG", quality=60)
        result = lab.decoded(data)
        assert (result.width, result.height) == size
        assert min(size) // scale >= JPEG_LEAST_SIDE or scale == 1
        assert _distance(lab, data)[0] <= 8


def test_size_is_that_of_the_turned_picture(lab, photo):
    data = lab.encoded(
        photo.resize((2200, 4400)), "JPEG", quality=50, exif=lab.exif_of(6).tobytes()
    )
    result = lab.decoded(data)
    assert (result.width, result.height) == (4400, 2200)


def test_cmyk_jpeg_is_scaled_too(lab, photo):
    large = photo.resize((2400, 2200))
    data = lab.encoded(large.convert("CMYK"), "JPEG", quality=80)
    assert lab.distance(lab.codes(data)[View.UPRIGHT], lab.reference(large)) <= 10


def test_rgb_jpeg_without_colour_transform(lab, photo):
    data = lab.encoded(photo, "JPEG", quality=90, keep_rgb=True)
    assert _distance(lab, data)[0] <= 2


@pytest.mark.parametrize("subsampling", [0, 1, 2])
def test_chroma_subsampling_does_not_matter(lab, photo, subsampling):
    data = lab.encoded(photo, "JPEG", quality=85, subsampling=subsampling)
    assert _distance(lab, data)[0] <= 2
