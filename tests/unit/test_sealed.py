"""Sealed arrays: names, refusals of what contradicts itself, nothing copied on opening."""

from __future__ import annotations

import json
import tracemalloc

import numpy as np
import pytest

from hashlists.model import CODE64_KINDS, DIGEST_KINDS, HashKind
from loadtest.generate_codes import photodna_hashes, sorted_codes, uniform_codes
from matcher.index import sealed
from matcher.index.flat import FlatIndex
from matcher.index.multi_index import MultiIndex
from matcher.index.photodna import PhotoDnaIndex

PDQ = HashKind.PDQ
MULTI = {"method": "multi_index", "chunk_bits": [9, 8, 7]}


def some_codes(kind: HashKind, rng: np.random.Generator, size: int = 300) -> np.ndarray:
    return np.unique(rng.integers(0, 256, (size, kind.nbytes), dtype=np.uint8), axis=0)


@pytest.fixture
def arrays(rng) -> dict[str, np.ndarray]:
    """Sealed PDQ codes; each array may be changed."""
    return dict(sealed.seal(PDQ, some_codes(PDQ, rng), MULTI))


class TestParameters:
    @pytest.mark.parametrize("kind", list(HashKind))
    @pytest.mark.parametrize("count", [0, 1, 1000])
    def test_what_is_chosen_is_json_and_known(self, kind, count, rng):
        parameters = json.loads(json.dumps(sealed.choose_parameters(kind, count)))
        codes = some_codes(kind, rng, count)
        made = dict(sealed.seal(kind, codes))
        assert set(made) == set(sealed.sealed_names(kind, parameters))
        index = sealed.open_sealed(kind, made, parameters)
        assert (len(index), index.kind) == (len(codes), kind)
        found = index.search(codes[:5], 0)
        assert sorted(found.query_rows.tolist()) == list(range(min(5, len(codes))))

    def test_many_pdq_codes_are_indexed_and_few_are_not(self):
        assert sealed.choose_parameters(PDQ, 1000) == {"method": "flat"}
        for count in (10**6, 10**7, 10**8):
            assert sealed.choose_parameters(PDQ, count)["method"] == "multi_index"

    def test_64_bit_kinds_are_scanned_whatever_their_number(self):
        for kind in CODE64_KINDS:
            assert sealed.choose_parameters(kind, 10**7) == {"method": "flat"}

    def test_the_first_chunk_needs_no_rows(self):
        names = sealed.sealed_names(PDQ, MULTI)
        assert names[:3] == ("codes", "chunk00_offsets", "chunk01_offsets")
        assert "chunk00_rows" not in names

    @pytest.mark.parametrize(
        ("kind", "parameters"),
        [
            (PDQ, {}),
            (PDQ, {"method": "other"}),
            (PDQ, {"method": "sorted"}),
            (PDQ, {"method": "multi_index"}),
            (PDQ, MULTI | {"more": 1}),
            (HashKind.PHASH, MULTI),
            (HashKind.PHOTODNA, {"method": "flat"}),
            *((kind, {"method": "flat"}) for kind in DIGEST_KINDS),
        ],
    )
    def test_other_methods_are_refused(self, kind, parameters):
        with pytest.raises(ValueError, match=f"{kind} is searched by a method"):
            sealed.sealed_names(kind, parameters)

    @pytest.mark.parametrize(
        "chunk_bits", [[], [0], [29], [-1, 9], [True], ["9"], [9.0], 9, [28] * 10, [1] * 101]
    )
    def test_other_chunks_are_refused(self, chunk_bits):
        with pytest.raises(ValueError, match="chunk_bits"):
            sealed.sealed_names(PDQ, {"method": "multi_index", "chunk_bits": chunk_bits})


def swapped(array: np.ndarray) -> np.ndarray:
    changed = array.copy()
    changed[[0, -1]] = changed[[-1, 0]]
    return changed


def with_value(array: np.ndarray, place: int, value: int) -> np.ndarray:
    changed = array.copy()
    changed[place] = value
    return changed


class TestRefusals:
    @pytest.mark.parametrize("name", sealed.sealed_names(PDQ, MULTI))
    def test_a_missing_array_is_named(self, name, arrays):
        del arrays[name]
        with pytest.raises(ValueError, match=rf"pdq\.{name} is missing"):
            sealed.open_sealed(PDQ, arrays, MULTI)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("chunk01_offsets", lambda each: each[:-1]),
            ("chunk01_offsets", lambda each: each.astype(np.int64)),
            ("chunk01_offsets", lambda each: each[:, None]),
            ("chunk01_offsets", lambda each: with_value(each, 0, 1)),
            ("chunk01_offsets", lambda each: with_value(each, -1, 299)),
            ("chunk01_offsets", lambda each: with_value(each, 100, 10**6)),
            ("chunk00_offsets", lambda each: with_value(each, 200, 0)),
            ("chunk00_offsets", lambda each: np.linspace(0, each[-1], len(each)).astype("u4")),
            ("chunk02_rows", lambda each: each[1:]),
            ("chunk02_rows", lambda each: each.astype(np.uint64)),
            ("chunk02_rows", lambda each: with_value(each, 7, 300)),
            ("chunk02_rows", lambda each: with_value(each, 7, each[8])),
            ("chunk02_rows", swapped),
            ("chunk02_rows", np.sort),
        ],
    )
    def test_what_does_not_fit_is_named(self, name, change, arrays):
        arrays[name] = change(arrays[name])
        with pytest.raises(ValueError, match=rf"pdq\.{name}"):
            sealed.open_sealed(PDQ, arrays, MULTI)

    def test_arrays_of_other_codes_are_refused(self, arrays, rng):
        other = dict(sealed.seal(PDQ, some_codes(PDQ, rng), MULTI))
        with pytest.raises(ValueError, match="not in the order of the codes"):
            sealed.open_sealed(PDQ, arrays | {"codes": other["codes"]}, MULTI)

    def test_arrays_of_two_chunks_mixed_up_are_refused(self, rng):
        parameters = {"method": "multi_index", "chunk_bits": [8, 8, 8]}
        arrays = dict(sealed.seal(PDQ, some_codes(PDQ, rng), parameters))
        arrays["chunk01_rows"], arrays["chunk02_rows"] = (
            arrays["chunk02_rows"],
            arrays["chunk01_rows"],
        )
        with pytest.raises(ValueError, match=r"pdq\.chunk01_rows is not in the order"):
            sealed.open_sealed(PDQ, arrays, parameters)

    @pytest.mark.parametrize("codes", [np.zeros((4, 31), np.uint8), np.zeros((4, 32), np.int8)])
    def test_other_codes_are_refused(self, codes, arrays):
        with pytest.raises(ValueError, match="pdq codes"):
            sealed.open_sealed(PDQ, arrays | {"codes": codes}, MULTI)

    @pytest.mark.parametrize(
        ("name", "change"),
        [
            ("codes", lambda each: each[:, :100]),
            ("sums", lambda each: each[1:]),
            ("sums", lambda each: each.astype(np.uint16)),
            ("sums", lambda each: each[::-1]),
            ("half_norms", lambda each: each[1:]),
            ("half_norms", lambda each: each.astype(np.float64)),
            ("half_norms", lambda each: each + 1),
        ],
    )
    def test_photodna_that_does_not_fit_is_named(self, name, change, rng):
        codes = some_codes(HashKind.PHOTODNA, rng)
        arrays = dict(sealed.seal(HashKind.PHOTODNA, codes))
        arrays[name] = change(arrays[name])
        with pytest.raises(ValueError, match=rf"photodna\.{name}"):
            sealed.open_sealed(HashKind.PHOTODNA, arrays, {"method": "group_sums"})


class TestOpening:
    @pytest.mark.parametrize("kind", [PDQ, HashKind.PHASH, HashKind.PHOTODNA, HashKind.SHA256])
    def test_it_copies_nothing(self, kind):
        size = 200_000
        if kind is HashKind.PHOTODNA:
            codes = photodna_hashes(20_000)
        else:
            codes = np.ascontiguousarray(uniform_codes(size)[:, : kind.nbytes])
        parameters = sealed.choose_parameters(kind, len(codes))
        arrays = dict(sealed.seal(kind, codes))
        tracemalloc.start()
        index = sealed.open_sealed(kind, arrays, parameters)
        kept, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        expected = {PDQ: MultiIndex, HashKind.PHASH: FlatIndex, HashKind.PHOTODNA: PhotoDnaIndex}
        assert isinstance(index, expected.get(kind, object))
        assert kept < 100_000
        assert most < 3_000_000

    def test_sealing_hands_over_one_array_after_the_other(self, rng):
        names = [name for name, _ in sealed.seal(PDQ, some_codes(PDQ, rng), MULTI)]
        assert tuple(names) == sealed.sealed_names(PDQ, MULTI)

    def test_equal_first_bytes_are_no_obstacle(self, rng):
        codes = np.zeros((500, 32), np.uint8)
        codes[:, 20:] = rng.integers(0, 256, (500, 12), dtype=np.uint8)
        codes = sorted_codes(codes)
        index = sealed.open_sealed(PDQ, dict(sealed.seal(PDQ, codes, MULTI)), MULTI)
        assert len(index.search(codes, 0)) == 500
