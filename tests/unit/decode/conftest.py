"""Makers of files and measures of hashes that all tests of the decoder share.

Whatever these tests decode, a worker in the sandbox decodes too, and makes the same of it.
"""

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
from matcher.decode.sandbox.pool import SandboxPool
from matcher.hashing.pdq import pdq_codes
from matcher.model import DecodedImage, DecodeRequest, Undecodable

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


def decoded_here(data, request=None, limits=None):
    return worker.decode(data, request or DecodeRequest(), limits or DecodeLimits())


def is_same(one, other):
    """Whether two results are the same, but for rounding: the sandbox adds up by one thread."""
    if isinstance(one, Undecodable) or isinstance(other, Undecodable):
        return one == other
    fields = ("width", "height", "format", "frames", "truncated", "views_left_out")
    return (
        all(getattr(one, name) == getattr(other, name) for name in fields)
        and [view.view for view in one.views] == [view.view for view in other.views]
        and all(map(is_same_view, one.views, other.views))
    )


def is_same_view(one, other):
    if one.inputs64.keys() != other.inputs64.keys() or (one.luma is None) != (other.luma is None):
        return False
    pairs = [(one.inputs64[kind], other.inputs64[kind]) for kind in one.inputs64]
    pairs += [] if one.luma is None else [(one.luma, other.luma)]
    return all(np.allclose(mine, theirs, rtol=0, atol=1e-3) for mine, theirs in pairs)


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
    """The functions above, by name, and those that decode both here and in the sandbox."""
    pool = SandboxPool(workers=1)

    def decoded(data, request=None, limits=None):
        result = decoded_here(data, request, limits)
        if limits is None:
            confined = pool.submit(data, request or DecodeRequest()).result()
            assert is_same(confined, result), confined
        return result

    def codes(data, views=None, **request):
        """PDQ codes by view of a file that must decode."""
        result = decoded(data, DecodeRequest(views, **request) if views else None)
        assert isinstance(result, DecodedImage), result
        return {
            view.view: code_of_block(view.luma) for view in result.views if view.luma is not None
        }

    yield SimpleNamespace(
        encoded=encoded,
        decoded=decoded,
        decoded_here=decoded_here,
        is_same=is_same,
        codes=codes,
        code_of_block=code_of_block,
        reference=reference,
        distance=distance,
        unturned=unturned,
        exif_of=exif_of,
        to_lab=to_lab,
    )
    pool.close()


@pytest.fixture(scope="session")
def photo(photographs):
    """One photograph, wider than it is high, as a Pillow image."""
    return Image.fromarray(photographs["coffee"])


@pytest.fixture(scope="session")
def pages(photographs):
    """Four photographs of one size, for animations and pages."""
    names = ("astronaut", "coffee", "chelsea", "rocket")
    return [Image.fromarray(photographs[name]).resize((160, 120)) for name in names]
