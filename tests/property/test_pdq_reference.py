"""PDQ against the reference implementation (`pdqhash`), on the same RGB pixels.

A bit may differ only where its coefficient lies within float rounding of the median. How far
rounding reaches is measured per picture, not assumed: `pdqhash.compute_float` gives the reference's
own single-precision coefficients, and `exact_coefficients` the same in double precision, from dense
matrices. The measured distance must itself stay below what rounding can explain
(`rounding_bound`), so that a wrong formula on either side fails the test.
"""

from __future__ import annotations

import math

import numpy as np
import pdqhash
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from matcher.hashing.pdq import (
    DIHEDRAL_FORMS,
    coefficients,
    dihedral_coefficients,
    luma_block,
    pdq_codes,
    pdq_dihedral_codes,
    qualities,
)
from matcher.hashing.reduction import BLOCK_SIDE, tents, unit

#: Half the distance between 1 and the next single-precision number: one rounding.
ROUNDING = 2.0**-24
STYLES = ("noise", "flat", "gradient", "patches", "waves", "two-tone")


def picture(height: int, width: int, style: str, seed: int) -> np.ndarray:
    """A generated RGB picture, (height, width, 3) uint8."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:height, :width].astype(np.float64)
    if style == "noise":
        return rng.integers(0, 256, (height, width, 3), dtype=np.uint8)
    if style == "flat":
        return np.broadcast_to(rng.integers(0, 256, 3, dtype=np.uint8), (height, width, 3)).copy()
    if style == "two-tone":
        return np.repeat(255 * (rng.random((height, width, 1)) < 0.5), 3, axis=2).astype(np.uint8)
    if style == "gradient":
        slopes = rng.uniform(-300, 300, (3, 2))
        planes = [128 + a * (x / width - 0.5) + b * (y / height - 0.5) for a, b in slopes]
    elif style == "patches":
        patches = rng.integers(0, 256, (3, 9, 9))
        planes = list(patches[:, (y * 9 // height).astype(int), (x * 9 // width).astype(int)])
    else:
        planes = [
            128 + 60 * np.sin(x / a) + 60 * np.cos(y / b) for a, b in rng.uniform(2, 60, (3, 2))
        ]
    return np.clip(np.stack(planes, axis=2) + rng.normal(0, 2, (height, width, 3)), 0, 255).astype(
        np.uint8
    )


def dense(n: int) -> np.ndarray:
    """The 64 x n matrix of blur and sampling (proved against a plain filter in test_pdq.py)."""
    starts, weights = tents(n)
    matrix = np.zeros((BLOCK_SIDE, n + weights.shape[1]))
    for row, (start, tent) in enumerate(zip(starts, weights, strict=True)):
        matrix[row, start : start + len(tent)] = tent * unit(n)
    return matrix[:, :n]


def exact_block(rgb: np.ndarray) -> np.ndarray:
    luminance = rgb.astype(np.float64) @ np.array([0.299, 0.587, 0.114])
    return dense(rgb.shape[0]) @ luminance @ dense(rgb.shape[1]).T


def exact_coefficients(block: np.ndarray) -> np.ndarray:
    angles = math.pi / 128 * np.outer(np.arange(1, 17), 2 * np.arange(64) + 1)
    cosines = math.sqrt(2 / 64) * np.cos(angles)
    return cosines @ block @ cosines.T


def block_rounding(rgb: np.ndarray) -> float:
    """How far single precision may move a value of the block, in luminance.

    The reference keeps running sums: along an axis of n pixels each of 2n additions rounds once,
    relative to a window's sum of at most 255 w, and the mean divides by w. Independent roundings
    add as their root. Twice per axis; 4 standard deviations.
    """
    return 4 * 255 * ROUNDING * math.sqrt(2 * 2 * sum(rgb.shape[:2]))


def rounding_bound(rgb: np.ndarray) -> float:
    """How far single precision may move a coefficient.

    The transform keeps lengths, so independent errors pass unchanged; errors of a running sum go
    on along their line, and 64 that agree add up to 8 times one. Then 2 x 64 additions of the
    transform itself, relative to terms that sum to at most 64 * 255.
    """
    return 8 * block_rounding(rgb) + math.sqrt(2 * 64) * ROUNDING * 64 * 255


def bits(codes: np.ndarray) -> np.ndarray:
    """Codes (..., 32) as bits (..., 256) in the order of the reference's vectors."""
    return np.unpackbits(codes, axis=-1).astype(bool)


def assert_same_bits(ours: np.ndarray, reference: np.ndarray, exact: np.ndarray, slack: float):
    """Bits (256,) agree, but for those whose exact coefficient is within slack of the median."""
    flat = exact.reshape(256)
    from_median = np.abs(flat - np.partition(flat, 127)[127])[::-1]
    differ = ours != reference.astype(bool)
    assert not (differ & (from_median > slack)).any(), (
        f"{int((differ & (from_median > slack)).sum())} bits differ beyond rounding"
    )


def compare(rgb: np.ndarray) -> int:
    """Compares everything PDQ gives for one picture; returns how many bits rounding changed."""
    block = luma_block(rgb)
    exact = exact_coefficients(exact_block(rgb))
    rounded, reference_quality = pdqhash.compute_float(rgb)
    ours_off = np.abs(coefficients(block[None])[0] - exact).max()
    reference_off = np.abs(rounded[::-1].reshape(16, 16) - exact).max()
    assert ours_off <= 8 * 255 * ROUNDING * 4, "only the block's last rounding is ours"
    assert reference_off <= rounding_bound(rgb)
    # Coefficient and median move by at most the larger distance each, in opposite directions.
    slack = 2 * max(ours_off, reference_off)

    code, quality = pdq_codes(block[None])
    expected, _ = pdqhash.compute(rgb)
    assert_same_bits(bits(code)[0], expected, exact, slack)

    expected_forms, _ = pdqhash.compute_dihedral(rgb)
    forms = bits(pdq_dihedral_codes(block[None]))[0]
    exact_forms = dihedral_coefficients(exact[None])[0]
    for form, reference, values in zip(forms, expected_forms, exact_forms, strict=True):
        assert_same_bits(form, reference, values, slack)

    low, high = possible_qualities(exact_block(rgb), block_rounding(rgb))
    assert low <= reference_quality <= high
    assert low <= quality[0] <= high
    return int((bits(code)[0] != expected).sum())


def possible_qualities(block: np.ndarray, off: float) -> tuple[int, int]:
    """Lowest and highest quality when each value of the block may be off by that much."""
    steps = [np.abs(np.diff(block, axis=axis)) * 100 / 255 for axis in (0, 1)]
    reach = 2 * off * 100 / 255
    low, high = (
        sum(int(np.floor(np.maximum(step + sign * reach, 0)).sum()) for step in steps)
        for sign in (-1, 1)
    )
    return min(low // 90, 100), min(high // 90, 100)


sides = st.one_of(st.integers(5, 40), st.integers(41, 420), st.sampled_from([63, 64, 65, 127, 129]))


@given(height=sides, width=sides, style=st.sampled_from(STYLES), seed=st.integers(0, 2**32 - 1))
@example(height=5, width=5, style="noise", seed=1)
@example(height=5, width=700, style="noise", seed=2)
@example(height=700, width=5, style="two-tone", seed=3)
@example(height=1300, width=7, style="noise", seed=4)
@example(height=7, width=1300, style="waves", seed=5)
@example(height=16, width=89, style="patches", seed=6)
@example(height=64, width=64, style="gradient", seed=7)
@example(height=128, width=256, style="flat", seed=8)
@example(height=1000, width=1333, style="waves", seed=9)
def test_pdq_is_that_of_the_reference(height, width, style, seed):
    compare(picture(height, width, style, seed))


def test_photographs_agree_to_the_bit(photographs):
    changed = {name: compare(rgb) for name, rgb in photographs.items()}
    assert set(changed.values()) == {0}


def test_qualities_equal_the_reference_on_photographs(photographs):
    for rgb in photographs.values():
        # Faint, so that qualities spread below 100.
        for divisor in (1, 6, 12, 25):
            faint = np.ascontiguousarray(rgb // divisor)
            assert qualities(luma_block(faint)[None])[0] == pdqhash.compute(faint)[1]


@pytest.mark.parametrize(
    ("form", "turn"),
    [
        ("original", lambda a: a),
        ("rotate180", lambda a: a[::-1, ::-1]),
        ("flipx", lambda a: a[::-1]),
        ("flipy", lambda a: a[:, ::-1]),
        ("flipplus", lambda a: a.swapaxes(0, 1)),
        ("rotate90", lambda a: np.rot90(a, 1)),
        ("rotate270", lambda a: np.rot90(a, -1)),
        ("flipminus", lambda a: np.rot90(a, 2).swapaxes(0, 1)),
    ],
)
def test_forms_are_codes_of_turned_pictures(photographs, form, turn):
    # Windows of even width reach one pixel further one way, so mirrored pixels cost a few bits.
    rgb = photographs["astronaut"]
    forms = pdq_dihedral_codes(luma_block(rgb)[None])[0]
    turned, _ = pdq_codes(luma_block(turn(rgb))[None])
    distances = np.bitwise_count(forms ^ turned[0]).sum(axis=1)
    assert DIHEDRAL_FORMS[int(distances.argmin())] == form
    nearest, second = np.sort(distances)[:2]
    assert nearest <= 24
    assert second >= 60
