"""Screening finds exactly the entries near harmless codes or in known-good lists, by place."""

from __future__ import annotations

import numpy as np
import pytest

from hashlists.formats.base import Encoding, FileHeader, HashColumn, RawBatch, RawHash
from hashlists.model import NO_ONWARD_SHARING, HashKind, Place
from hashlists.validate import validate, why_degenerate
from loadtest import harmless_codes as maker
from loadtest.crops import codes
from matcher import demo_data, screening
from matcher.decode.pool import InProcessPool
from matcher.screening import References, Screening


def entries(pdq, extra=(), first=1):
    raw = RawBatch(
        rows=len(pdq),
        header=FileHeader("test", "", "", ""),
        hashes=[
            HashColumn(
                HashKind.PDQ,
                [None if each is None else each.tobytes() for each in pdq],
                Encoding.RAW,
                "pdq",
            ),
            HashColumn(
                HashKind.MD5,
                [bytes([first + row]) * 16 for row in range(len(pdq))],
                Encoding.RAW,
                "md5",
            ),
        ],
        extra_hashes=[
            RawHash(row, HashKind.PDQ, code.tobytes(), Encoding.RAW, "pdq") for row, code in extra
        ],
        place_at=lambda row: Place("record", first + row),
    )
    return validate(raw, default_handling=NO_ONWARD_SHARING).entries


def random_codes(rng, count):
    return rng.integers(0, 256, (count, 32), np.uint8)


def flipped(code, bits):
    changed = np.unpackbits(code)
    changed[:bits] ^= 1
    return np.packbits(changed)


def test_near_entries_are_those_that_a_plain_comparison_finds(rng):
    references, listed = random_codes(rng, 300), random_codes(rng, 200)
    for row in range(0, 200, 3):
        listed[row] = flipped(references[row], row % 70)
    watch = Screening(
        References((HashKind.PDQ, code.tobytes(), f"no {n}") for n, code in enumerate(references)),
        {HashKind.PDQ: 31},
    )
    for start in range(0, 200, 64):
        watch.observe(entries(list(listed[start : start + 64]), first=start % 200 + 1))
    distances = np.bitwise_count(listed[:, None] ^ references[None]).sum(axis=2)
    expected = {
        f"record {row + 1}": int(distances[row].min())
        for row in range(200)
        if distances[row].min() <= 31
    }
    assert {each.place: each.distance for each in watch.near.first} == expected
    assert watch.near.entries == len(expected) > 20
    assert sum(watch.near.by_reference.values()) == len(expected)
    assert watch.values == {HashKind.PDQ: 200, HashKind.MD5: 200}


def test_an_entry_counts_once_by_its_nearest_code_further_ones_included(rng):
    first, second, far = random_codes(rng, 3)
    references = References(
        [(HashKind.PDQ, first.tobytes(), "one"), (HashKind.PDQ, second.tobytes(), "two")]
    )
    watch = Screening(references, {HashKind.PDQ: 31})
    watch.observe(
        entries([flipped(first, 20), far], [(0, flipped(second, 5)), (1, flipped(second, 31))])
    )
    found = [(each.place, each.reference, each.distance) for each in watch.near.first]
    assert found == [("record 1", "two", 5), ("record 2", "two", 31)]
    assert watch.near.entries == 2


def test_a_code_just_beyond_the_threshold_is_not_near(rng):
    (code,) = random_codes(rng, 1)
    watch = Screening(References([(HashKind.PDQ, code.tobytes(), "one")]), {HashKind.PDQ: 31})
    watch.observe(entries([flipped(code, 32), None]))
    assert watch.near.entries == 0


def test_all_are_counted_and_the_first_told(rng, monkeypatch):
    monkeypatch.setattr(screening, "MAX_TOLD", 3)
    (code,) = random_codes(rng, 1)
    watch = Screening(References([(HashKind.PDQ, code.tobytes(), "one")]), {HashKind.PDQ: 31})
    watch.observe(entries([flipped(code, bits) for bits in range(10)]))
    assert (watch.near.entries, len(watch.near.first)) == (10, 3)


def test_nothing_that_is_told_holds_a_hash(rng):
    (code,) = random_codes(rng, 1)
    watch = Screening(References([(HashKind.PDQ, code.tobytes(), "one")]), {HashKind.PDQ: 31})
    watch.observe(entries([code]))
    assert code.tobytes().hex() not in repr(watch.near)


def test_kinds_without_references_find_nothing(rng):
    references = References([])
    assert (len(references), references.kinds) == (0, {})
    assert references.near(HashKind.PDQ, random_codes(rng, 2), 31) == []


def test_the_built_in_codes_are_sound_and_lie_apart():
    built_in = demo_data.harmless_codes()
    assert len(built_in) >= 90
    assert not any(why_degenerate(code, HashKind.PDQ) for code in built_in.values())
    assert demo_data.published_test_image().hashes[HashKind.PDQ] not in built_in.values()


@pytest.fixture(scope="module")
def named_pictures():
    """What the built-in codes were made of; of the landscapes, which take long, the first alone."""
    first = next(maker.pictures())
    names = [f"scikit-image {name.partition('.')[0]}" for name in maker.PHOTOGRAPHS]
    photographs = zip(names, maker.photographs(), strict=True)
    return dict([first, *maker.patterns(), *photographs])


@pytest.mark.parametrize(
    "name",
    [
        "generated landscape 9000",
        "checkerboard 8 x 8",
        "page of 16 lines",
        "chart of 5 bars",
        "scikit-image chelsea",
    ],
)
def test_the_built_in_codes_are_those_of_the_pictures_that_they_name(name, named_pictures):
    pool = InProcessPool(workers=1)
    (code,) = codes(pool, named_pictures[name])
    pool.close()
    known = np.frombuffer(demo_data.harmless_codes()[name], np.uint8)
    assert np.bitwise_count(code ^ known).sum() <= 8
