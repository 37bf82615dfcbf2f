"""The 64-bit kinds: batches, order of bits, refusals."""

from __future__ import annotations

import numpy as np
import pytest

from hashlists.model import CODE64_KINDS, HashKind
from matcher.hashing.classical import INPUTS, codes64, phash_coefficients


def random_inputs(kind, count, rng):
    shape, dtype = INPUTS[kind]
    pixels = rng.integers(0, 256, (count, *shape))
    return pixels.astype(dtype)


@pytest.mark.parametrize("kind", CODE64_KINDS)
def test_a_code_does_not_depend_on_its_batch(kind, rng):
    batch = random_inputs(kind, 37, rng)
    batch[3] = 9  # flat
    batch[4] = batch[4][::-1] // 2 + batch[4] // 2  # symmetric: many coefficients cancel
    codes = codes64(kind, batch)
    assert (codes.shape, codes.dtype) == ((37, 8), np.uint8)
    for i in range(len(batch)):
        assert codes64(kind, batch[i : i + 1]).tobytes() == codes[i].tobytes()


@pytest.mark.parametrize("kind", CODE64_KINDS)
def test_batches_of_none(kind):
    shape, dtype = INPUTS[kind]
    assert codes64(kind, np.empty((0, *shape), dtype)).shape == (0, 8)


def test_bits_are_packed_as_they_are_read():
    pixels = np.zeros((1, 8, 8), np.uint8)
    pixels[0, 0, 0] = pixels[0, 1, 7] = 200
    assert codes64(HashKind.AHASH, pixels).tobytes().hex() == "8001000000000000"
    steps = np.tile(np.array([9, 9, 10, 5, 6, 7, 7, 8, 0], np.uint8), (1, 8, 1))
    assert codes64(HashKind.DHASH, steps).tobytes().hex() == f"{0b01011010:02x}" * 8


def test_ahash_compares_with_the_exact_mean():
    pixels = np.full((1, 8, 8), 254, np.uint8)
    pixels[0, 0, 0] = 255
    assert codes64(HashKind.AHASH, pixels).tobytes().hex() == "8000000000000000"
    assert codes64(HashKind.AHASH, np.full((1, 8, 8), 255, np.uint8)).any() == np.False_


def test_phash_of_a_flat_picture_has_its_constant_only():
    coefficients = phash_coefficients(np.full((1, 32, 32), 50, np.uint8))[0]
    assert coefficients[0, 0] == 4 * 32 * 32 * 50
    assert np.count_nonzero(coefficients) == 1


@pytest.mark.parametrize("kind", [HashKind.PDQ, HashKind.MD5, HashKind.PHOTODNA])
def test_other_kinds_are_refused(kind):
    with pytest.raises(ValueError, match="is not one of phash, dhash, ahash, whash"):
        codes64(kind, np.zeros((1, 8, 8), np.uint8))


@pytest.mark.parametrize("kind", CODE64_KINDS)
def test_other_shapes_and_dtypes_are_refused(kind):
    shape, dtype = INPUTS[kind]
    with pytest.raises(ValueError, match=r"takes \(N, "):
        codes64(kind, np.zeros((1, *shape[::-1], 1), dtype))
    with pytest.raises(ValueError, match=r"takes \(N, "):
        codes64(kind, np.zeros((1, 7, 7), dtype))
    with pytest.raises(TypeError, match="takes"):
        codes64(kind, np.zeros((1, *shape), np.float32))
