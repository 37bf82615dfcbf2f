"""The self-test: right vectors, room to their thresholds, and that it notices every fault."""

from __future__ import annotations

import re

import imagehash
import numpy as np
import pdqhash
import pytest
from PIL import Image

from hashlists.model import CODE64_KINDS, HashKind
from matcher.errors import NotReadyError
from matcher.hashing import HASHER_VERSION, golden
from matcher.hashing.classical import phash_coefficients
from matcher.hashing.pdq import coefficients, dihedral_coefficients, luma_block, qualities
from matcher.model import Digests


def test_it_passes_here():
    golden.check()


def test_vectors_are_those_of_the_reference_packages():
    for pixels, codes, quality in zip(
        golden.pictures(), golden.PDQ_CODES, golden.PDQ_QUALITIES, strict=True
    ):
        rgb = pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
        forms, reference_quality = pdqhash.compute_dihedral(np.ascontiguousarray(rgb))
        assert codes == tuple(np.packbits(form).tobytes().hex() for form in forms)
        assert quality == reference_quality
    references = {
        HashKind.PHASH: imagehash.phash,
        HashKind.DHASH: imagehash.dhash,
        HashKind.AHASH: imagehash.average_hash,
    }
    for kind, reference in references.items():
        image = Image.fromarray(golden.inputs64()[kind])
        assert golden.CODES64[kind] == str(reference(image))
    square = Image.fromarray(golden.rings(64, 64))
    assert golden.CODES64[HashKind.WHASH] == str(imagehash.whash(square))
    assert set(golden.CODES64) == set(CODE64_KINDS)


def test_qualities_below_the_maximum_are_among_them():
    assert min(golden.PDQ_QUALITIES) < 100 == max(golden.PDQ_QUALITIES)


def test_nothing_lies_near_a_threshold():
    """Rounding on another machine, about 1e-5, cannot turn a bit of a vector."""
    blocks = np.stack([luma_block(pixels) for pixels in golden.pictures()])
    forms = dihedral_coefficients(coefficients(blocks)).reshape(-1, 256)
    assert gap_at_median(forms, 127).min() > 1e-3
    for factor in (0.99999, 1.00001):
        np.testing.assert_array_equal(qualities(blocks * np.float32(factor)), golden.PDQ_QUALITIES)
    phash = phash_coefficients(golden.inputs64()[HashKind.PHASH][None]).reshape(1, 64)
    whash = golden.inputs64()[HashKind.WHASH].reshape(1, 64)
    # Here the median is the mean of the two middle values: half of their gap is the room.
    assert gap_at_median(phash, 31).min() > 1e-3
    assert gap_at_median(whash, 31).min() > 1e-3


def gap_at_median(values: np.ndarray, rank: int) -> np.ndarray:
    ordered = np.sort(values, axis=1)
    return ordered[:, rank + 1] - ordered[:, rank]


def wrong_bit(codes: np.ndarray) -> np.ndarray:
    codes = codes.copy()
    codes[-1, ..., -1] ^= 1
    return codes


FAULTS = {
    "pdq": ("pdq_codes", lambda f: lambda b: (wrong_bit(f(b)[0]), f(b)[1])),
    "pdq quality": ("pdq_codes", lambda f: lambda b: (f(b)[0], f(b)[1] - 1)),
    "mirrored pdq": ("pdq_dihedral_codes", lambda f: lambda b: wrong_bit(f(b))),
    "phash, dhash, ahash, whash": ("codes64", lambda f: lambda k, p: wrong_bit(f(k, p))),
    "md5, sha1, sha256": (
        "digest_bytes",
        lambda _: lambda data: Digests(bytes(16), bytes(20), bytes(32), len(data)),
    ),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_one_wrong_bit_is_noticed_and_named(fault, monkeypatch):
    name, break_it = FAULTS[fault]
    monkeypatch.setattr(golden, name, break_it(getattr(golden, name)))
    with pytest.raises(NotReadyError, match=f"failed for {re.escape(fault)}: "):
        golden.check()


def test_the_version_is_set():
    assert HASHER_VERSION
