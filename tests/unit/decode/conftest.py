"""Makers of files and measures of hashes that all tests of the decoder share."""

from __future__ import annotations

import io
from types import SimpleNamespace

import numpy as np
import pdqhash
import pillow_heif
import pytest
from PIL import Image, ImageCms

from matcher.decode import worker
from matcher.decode.limits import DecodeLimits
from matcher.hashing.pdq import pdq_codes
from matcher.model import DecodedImage, DecodeRequest

UNTURNED = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_90,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_270,
}


def encoded(image, image_format, **options):
    """A file of one format; HEIC by the encoder that only tests have."""
    stream = io.BytesIO()
    if image_format == "HEIC":
        pillow_heif.from_pillow(image).save(stream, **{"quality": 90, **options})
    else:
        image.copy().save(stream, image_format, **options)
    return stream.getvalue()


def decoded(data, request=None, limits=None):
    return worker.decode(data, request or DecodeRequest(), limits or DecodeLimits())


def codes(data, views=None, **request):
    """PDQ codes by view of a file that must decode."""
    result = decoded(data, DecodeRequest(views, **request) if views else None)
    assert isinstance(result, DecodedImage), result
    return {view.view: code_of_block(view.luma) for view in result.views if view.luma is not None}


def code_of_block(block):
    return pdq_codes(block[None])[0][0]


def reference(image):
    """What the reference makes of an image's RGB pixels."""
    bits, _ = pdqhash.compute(np.ascontiguousarray(image.convert("RGB")))
    return np.packbits(bits.astype(np.uint8))


def distance(one, other):
    return int(np.bitwise_count(one ^ other).sum())


def unturned(image, orientation):
    """The pixels that this EXIF orientation would turn into the image."""
    method = UNTURNED.get(orientation)
    return image if method is None else image.transpose(method)


def exif_of(orientation):
    exif = Image.Exif()
    exif[0x0112] = orientation
    return exif


def to_lab(image):
    transform = ImageCms.buildTransform(
        ImageCms.createProfile("sRGB"), ImageCms.createProfile("LAB"), "RGB", "LAB"
    )
    return ImageCms.applyTransform(image, transform)


@pytest.fixture(scope="session")
def lab():
    """The functions above, by name."""
    return SimpleNamespace(
        encoded=encoded,
        decoded=decoded,
        codes=codes,
        code_of_block=code_of_block,
        reference=reference,
        distance=distance,
        unturned=unturned,
        exif_of=exif_of,
        to_lab=to_lab,
    )


@pytest.fixture(scope="session")
def photo(photographs):
    """One photograph, wider than it is high, as a Pillow image."""
    return Image.fromarray(photographs["coffee"])


@pytest.fixture(scope="session")
def pages(photographs):
    """Four photographs of one size, for animations and pages."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    return [Image.fromarray(photographs[name]).resize((160, 120)) for name in names]
