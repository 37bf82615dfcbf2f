"""The inputs of the 64-bit kinds are what `imagehash` feeds its transforms, bit by bit."""

from __future__ import annotations

import imagehash
import numpy as np
import pytest
import pywt
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from matcher.decode.worker.inputs64 import inputs64_of
from matcher.model import CODE64_KINDS, DecodeRequest, HashKind


def _picture(seed, size, mode):
    rng = np.random.default_rng(seed)
    rough = Image.fromarray(rng.integers(0, 256, (9, 7, 3), np.uint8))
    return rough.resize(size, Image.Resampling.BICUBIC).convert(mode)


class _SeenError(Exception):
    """Carries what imagehash was about to work on."""


def _fed(monkeypatch, hash_function, image):
    """The pixels that one of imagehash's functions takes from an image."""

    def spy(resized):
        raise _SeenError(np.array(resized))

    with monkeypatch.context() as patch:
        patch.setattr(imagehash.numpy, "asarray", spy)
        with pytest.raises(_SeenError) as seen:
            hash_function(image)
    return seen.value.args[0]


@pytest.mark.parametrize("mode", ["RGB", "L"])
@pytest.mark.parametrize("size", [(640, 480), (33, 900), (8, 8), (5, 3), (129, 128)])
def test_pixels_are_those_that_imagehash_takes(monkeypatch, mode, size):
    image = _picture(1, size, mode)
    found = inputs64_of(image, CODE64_KINDS)
    for kind, function in (
        (HashKind.PHASH, imagehash.phash),
        (HashKind.DHASH, imagehash.dhash),
        (HashKind.AHASH, imagehash.average_hash),
    ):
        assert np.array_equal(found[kind], _fed(monkeypatch, function, image)), kind
        assert found[kind].dtype == np.uint8
    fed = _fed(monkeypatch, imagehash.whash, image).astype(np.float64)
    side = len(fed) // 8
    expected = fed.reshape(8, side, 8, side).mean(axis=(1, 3))
    assert np.array_equal(found[HashKind.WHASH], expected)


@given(
    seed=st.integers(0, 10_000),
    width=st.integers(1, 300),
    height=st.integers(1, 300),
    mode=st.sampled_from(["RGB", "L"]),
)
def test_wavelet_means_are_the_haar_approximation(seed, width, height, mode):
    image = _picture(seed, (width, height), mode)
    means = inputs64_of(image, [HashKind.WHASH])[HashKind.WHASH]
    side = max(2 ** int(np.log2(min(image.size))), 8)
    pixels = np.asarray(image.convert("L").resize((side, side), Image.Resampling.LANCZOS)) / 255.0
    approximation = (
        pixels if side == 8 else pywt.wavedec2(pixels, "haar", level=int(np.log2(side)) - 3)[0]
    )
    scale = side / 8 / 255
    assert np.allclose(means * scale, approximation, rtol=0, atol=1e-9)


@given(seed=st.integers(0, 10_000), width=st.integers(1, 90), height=st.integers(1, 90))
def test_shapes_never_depend_on_the_picture(seed, width, height):
    found = inputs64_of(_picture(seed, (width, height), "L"), CODE64_KINDS)
    shapes = {kind: (array.shape, array.dtype.name) for kind, array in found.items()}
    assert shapes == {
        HashKind.PHASH: ((32, 32), "uint8"),
        HashKind.DHASH: ((8, 9), "uint8"),
        HashKind.AHASH: ((8, 8), "uint8"),
        HashKind.WHASH: ((8, 8), "float64"),
    }


def test_only_what_is_asked_for_is_computed(lab, photo):
    data = lab.encoded(photo, "PNG")
    assert lab.decoded(data).views[0].inputs64 == {}
    request = DecodeRequest(kinds64=frozenset({HashKind.DHASH}))
    assert set(lab.decoded(data, request).views[0].inputs64) == {HashKind.DHASH}
    with pytest.raises(KeyError):
        inputs64_of(photo, [HashKind.PDQ])
