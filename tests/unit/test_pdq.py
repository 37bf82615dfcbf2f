"""PDQ's own parts: the reduction matrix, memory layouts, batches, refusals."""

from __future__ import annotations

import time
import tracemalloc
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from matcher.hashing import reduction
from matcher.hashing.pdq import (
    DIHEDRAL_FORMS,
    TooSmallError,
    luma_block,
    pdq_codes,
    pdq_dihedral_codes,
    qualities,
)
from matcher.model import View


def filtered_samples(values: list[float]) -> list[float]:
    """Two plain box filters and 64 samples, one pixel at a time: the oracle."""
    n = len(values)
    w = (n + 127) // 128
    h = (w + 2) // 2
    for _ in range(2):
        means = []
        for i in range(n):
            window = values[max(0, i - (w - h)) : min(n - 1, i + h - 1) + 1]
            means.append(sum(window) / len(window))
        values = means
    return [values[int((o + 0.5) * n / 64)] for o in range(64)]


def plain_block(image: np.ndarray) -> np.ndarray:
    rows = np.array([filtered_samples(list(row)) for row in image.astype(np.float64)])
    return np.array([filtered_samples(list(column)) for column in rows.T]).T


@pytest.mark.parametrize("n", [*range(5, 40), 63, 64, 65, 127, 128, 129, 255, 256, 257, 300, 1000])
def test_tents_are_two_box_filters_and_samples(n, rng):
    (starts, weights), scale = reduction.tents(n), reduction.unit(n)
    values = rng.random(n)
    padded = np.append(values, np.zeros(weights.shape[1]))
    samples = [
        scale * (tent @ padded[s : s + len(tent)]) for s, tent in zip(starts, weights, strict=True)
    ]
    np.testing.assert_allclose(samples, filtered_samples(list(values)), rtol=1e-12)


@pytest.mark.parametrize("n", [5, 64, 129, 513, 1000, 4097, 20_000])
def test_weights_of_each_sample_sum_to_one(n):
    (starts, weights), scale = reduction.tents(n), reduction.unit(n)
    np.testing.assert_allclose(weights.sum(axis=1) * scale, 1, rtol=1e-12)
    reach = (weights > 1e-9) * np.arange(1, weights.shape[1] + 1)
    assert (starts >= 0).all()
    assert (starts + reach.max(axis=1) <= n).all()


@pytest.mark.parametrize("n", [64, 128, 640, 1000, 1920, 4096])
def test_weights_away_from_borders_are_whole_numbers(n):
    _, weights = reduction.tents(n)
    np.testing.assert_allclose(weights[2:-2], np.round(weights[2:-2]), atol=1e-9)


@pytest.mark.parametrize(
    "shape", [(5, 5), (5, 90), (90, 7), (64, 64), (130, 200), (530, 11), (6, 1100)]
)
def test_block_of_luminance_is_the_plain_filter(shape, rng):
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    block = luma_block(image)
    assert block.shape == (64, 64)
    assert block.dtype == np.float32
    np.testing.assert_allclose(block, plain_block(image), atol=3e-5)


def test_block_of_rgb_is_that_of_exact_luminance(rng):
    rgb = rng.integers(0, 256, (140, 90, 3), dtype=np.uint8)
    luminance = rgb @ np.array([0.299, 0.587, 0.114])
    np.testing.assert_allclose(luma_block(rgb), plain_block(luminance), atol=3e-5)


def test_block_of_float_luminance_keeps_fractions(rng):
    luminance = rng.random((200, 150), dtype=np.float32) * 255
    np.testing.assert_allclose(luma_block(luminance), plain_block(luminance), atol=2e-4)


def test_side_of_64_is_taken_as_it_is(rng):
    image = rng.integers(0, 256, (64, 64), dtype=np.uint8)
    np.testing.assert_array_equal(luma_block(image), image.astype(np.float32))


def test_flat_pictures_stay_flat():
    for n in (100, 511, 1300, 3000):
        block = luma_block(np.full((n, n // 2), 201, np.uint8))
        # Only at the borders do weights need rounding.
        np.testing.assert_array_equal(block[1:-1, 1:-1], np.float32(201))
        np.testing.assert_allclose(block, 201, atol=1e-4)


@pytest.mark.parametrize(
    "view",
    [
        lambda a: a[::-1],
        lambda a: a[:, ::-1],
        lambda a: a.swapaxes(0, 1),
        np.rot90,
        lambda a: np.rot90(a, 3),
        lambda a: a[3:-9, 5:-2],
        lambda a: a[::2, ::3],
        np.asfortranarray,
    ],
)
@pytest.mark.parametrize("kind", ["luminance", "float", "rgb"])
def test_any_strides_give_the_block_of_a_plain_copy(view, kind, rng):
    rgb = rng.integers(0, 256, (300, 170, 3), dtype=np.uint8)
    image = {"luminance": rgb[..., 0], "float": rgb[..., 1].astype(np.float32), "rgb": rgb}[kind]
    turned = view(image)
    np.testing.assert_allclose(
        luma_block(turned), luma_block(np.ascontiguousarray(turned)), atol=3e-5
    )


@pytest.mark.parametrize("shape", [(5, 40_000), (33_000, 6), (20_000, 70)])
def test_very_long_sides(shape, rng):
    image = rng.integers(0, 256, shape, dtype=np.uint8)
    np.testing.assert_allclose(luma_block(image), luma_block(image.T).T, atol=2e-4)
    down, across = (_dense(n) for n in shape)
    np.testing.assert_allclose(luma_block(image), down @ image @ across.T, atol=2e-4)


def _dense(n: int) -> np.ndarray:
    (starts, weights), scale = reduction.tents(n), reduction.unit(n)
    matrix = np.zeros((64, n + weights.shape[1]))
    for row, start in enumerate(starts):
        matrix[row, start : start + weights.shape[1]] = weights[row] * scale
    return matrix[:, :n]


def test_input_is_left_alone(rng):
    image = rng.integers(0, 256, (100, 90, 3), dtype=np.uint8)
    before = image.copy()
    image.setflags(write=False)
    luma_block(image)
    np.testing.assert_array_equal(image, before)


def test_no_column_is_too_long_for_the_scratch_array(monkeypatch, rng):
    image = rng.integers(0, 256, (3000, 9, 3), dtype=np.uint8)
    expected = luma_block(image)
    monkeypatch.setattr(reduction, "_SCRATCH", 50)
    np.testing.assert_allclose(luma_block(image), expected, atol=3e-5)


@pytest.mark.parametrize("turn", [False, True])
@pytest.mark.parametrize("order", ["C", "F"])
def test_memory_for_extremely_long_pictures_is_bounded(turn, order):
    shape = (5, 2_000_000)[:: -1 if turn else 1]
    image = np.full(shape, 9, np.uint8, order=order)
    tracemalloc.start()
    try:
        block = luma_block(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    np.testing.assert_allclose(block, 9, atol=1e-3)
    assert peak < 16_000_000


@pytest.mark.parametrize("channels", [(), (3,)])
def test_no_full_size_copy_is_made(channels):
    image = np.zeros((3000, 3000, *channels), np.uint8)
    luma_block(image)
    tracemalloc.start()
    try:
        luma_block(image)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 4_000_000, "a float copy would take 36 MB or more"


def test_no_library_starts_threads(rng):
    images = [rng.integers(0, 256, shape, dtype=np.uint8) for shape in ((1500, 2000), (70, 40_000))]
    blocks = np.stack([luma_block(image) for image in images])

    def share_of_other_threads() -> float:
        everywhere, here = time.process_time(), time.thread_time()
        for _ in range(5):
            for image in images:
                luma_block(image)
            pdq_dihedral_codes(blocks)
        here, everywhere = time.thread_time() - here, time.process_time() - everywhere
        return (everywhere - here) / here

    # The least of some tries: threads that an earlier test woke may take a while to rest.
    shares = [share_of_other_threads() for _ in range(8)]
    assert min(shares) < 0.1, "CPU time was spent in other threads"


def test_caches_are_bounded_in_number_and_size():
    for n in range(5, 300):
        reduction.pieces(n)
        reduction.whole(n)
    assert reduction._cached_pieces.cache_info().currsize <= 128
    assert reduction._cached_whole.cache_info().currsize <= 128
    for build in (reduction.pieces, reduction.whole):
        assert build(299) is build(299)
        assert build(16_385) is not build(16_385)


@pytest.mark.parametrize("n", [5, 64, 511, 513, 1000, 2049, 5000, 17_000])
def test_pieces_make_the_whole(n):
    put_together = np.zeros((64, n))
    for piece in reduction.pieces(n):
        put_together[piece.samples, piece.pixels] += piece.weights.toarray()
    np.testing.assert_allclose(put_together, reduction.whole(n).toarray(), rtol=1e-6)


def test_threads_share_the_cache(rng):
    images = [rng.integers(0, 256, (50 + i, 300 - i), dtype=np.uint8) for i in range(60)]
    expected = [luma_block(image) for image in images]
    reduction._cached_pieces.cache_clear()
    reduction._cached_whole.cache_clear()
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(luma_block, images * 3))
    for block, same in zip(found, expected * 3, strict=True):
        np.testing.assert_array_equal(block, same)


@pytest.mark.parametrize("shape", [(4, 100), (100, 4), (4, 4, 3), (0, 0), (1, 1)])
def test_too_small_pictures_are_refused(shape):
    with pytest.raises(TooSmallError, match="5 pixels"):
        luma_block(np.zeros(shape, np.uint8))
    assert issubclass(TooSmallError, ValueError)


@pytest.mark.parametrize("shape", [(100,), (9, 9, 4), (9, 9, 1), (2, 9, 9, 3)])
def test_other_shapes_are_refused(shape):
    with pytest.raises(ValueError, match="pixels must be"):
        luma_block(np.zeros(shape, np.uint8))


@pytest.mark.parametrize("dtype", [np.uint16, np.int8, np.float64, np.bool_])
def test_other_dtypes_are_refused(dtype):
    with pytest.raises(TypeError, match="uint8 or float32"):
        luma_block(np.zeros((9, 9), dtype))


def test_float_rgb_is_refused():
    with pytest.raises(ValueError, match="pixels must be"):
        luma_block(np.zeros((9, 9, 3), np.float32))


@pytest.mark.parametrize("hasher", [pdq_codes, pdq_dihedral_codes, qualities])
def test_blocks_of_other_shape_or_dtype_are_refused(hasher):
    with pytest.raises(TypeError, match="float32"):
        hasher(np.zeros((1, 64, 64)))
    with pytest.raises(ValueError, match="64"):
        hasher(np.zeros((64, 64), np.float32))
    with pytest.raises(ValueError, match="64"):
        hasher(np.zeros((1, 64, 63), np.float32))


def test_batches_of_none():
    blocks = np.empty((0, 64, 64), np.float32)
    codes, quality = pdq_codes(blocks)
    assert (codes.shape, codes.dtype) == ((0, 32), np.uint8)
    assert (quality.shape, quality.dtype) == ((0,), np.uint8)
    assert pdq_dihedral_codes(blocks).shape == (0, 8, 32)


def test_a_code_does_not_depend_on_its_batch(rng):
    blocks = (rng.random((37, 64, 64)) * 255).astype(np.float32)
    blocks[5] = 0
    codes, quality = pdq_codes(blocks)
    forms = pdq_dihedral_codes(blocks)
    np.testing.assert_array_equal(forms[:, 0], codes)
    for i in range(len(blocks)):
        one, one_quality = pdq_codes(blocks[i : i + 1])
        assert one[0].tobytes() == codes[i].tobytes()
        assert one_quality[0] == quality[i]
        np.testing.assert_array_equal(pdq_dihedral_codes(blocks[i : i + 1])[0], forms[i])


def test_half_of_the_bits_are_set(rng):
    codes, _ = pdq_codes((rng.random((20, 64, 64)) * 255).astype(np.float32))
    assert (np.bitwise_count(codes).sum(axis=1) == 128).all()


def test_quality_of_flat_and_of_sharp_blocks():
    flat = np.full((64, 64), 77, np.float32)
    checks = (255 * (np.indices((64, 64)).sum(axis=0) % 2)).astype(np.float32)
    edge = np.zeros((64, 64), np.float32)
    edge[:, 32:] = 255  # 64 steps of 100 percent: 6400 // 90
    np.testing.assert_array_equal(qualities(np.stack([flat, checks, edge])), [0, 100, 71])


def test_forms_are_named_as_mirrored_views_are():
    assert tuple(f"mirrored:{form}" for form in DIHEDRAL_FORMS[1:]) == View.MIRRORED
