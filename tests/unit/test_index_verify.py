"""`index verify` finds nothing wrong with what is right, and everything that is wrong."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from hashlists.model import Harm, HashKind, ListState
from matcher.index.base import Candidates, Hits
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.documents import IndexedList
from matcher.index.match_index import MatchIndex
from matcher.index.segment import Segment
from matcher.index.verify import _values, compare_with_oracles

LISTS = [IndexedList(name, Harm.TEST, ListState.LIVE, 0, {}) for name in ("few", "many", "none")]
FEW, MANY = 60, 400


def clustered(rng, count, nbytes):
    """Codes of which many are near each other, and some are equal."""
    centres = rng.integers(0, 256, (max(1, count // 20), nbytes), np.uint8)
    codes = centres[rng.integers(len(centres), size=count)]
    flips = rng.integers(0, 12, count)
    for row, number in enumerate(flips):
        bits = rng.choice(nbytes * 8, number, replace=False)
        np.bitwise_xor.at(codes[row], bits // 8, (1 << (bits % 8)).astype(np.uint8))
    return codes


def segment(seed, *, first=0, kinds=tuple(HashKind)):
    rng = np.random.default_rng(seed)
    count = FEW + MANY
    owners = np.arange(count, dtype=np.int64)
    built = IndexBuilder()
    carried = np.concatenate([owners, owners[::7]])
    built.add(
        IndexRows(
            catalog_ids=owners + first,
            list_rows=(owners >= FEW).astype(np.uint16),
            classification_rows=np.zeros(count, np.uint32),
            flags=np.zeros(count, np.uint16),
            sizes=np.full(count, -1, np.int64),
            expires=np.zeros(count, np.uint32),
            codes={kind: (carried, clustered(rng, len(carried), kind.nbytes)) for kind in kinds},
        )
    )
    return Segment.from_arrays(built.arrays(), lists=len(LISTS), classifications=1)


def make(*segments, hidden=None):
    return MatchIndex(
        revision=3, lists=LISTS, classifications=[None], segments=segments, hidden=hidden
    )


@pytest.fixture(scope="module")
def parts():
    return segment(1), segment(2, first=1000)


@pytest.fixture(scope="module")
def index(parts):
    return make(*parts, hidden=np.arange(0, 2 * (FEW + MANY), 5))


def compare(index, **options):
    found = list(compare_with_oracles(index, **({"sample": 40, "seed": 7, "small": 150} | options)))
    return {(each.kind, each.list_name): each for each in found}


def test_what_is_right_differs_nowhere(index):
    done = []
    found = compare(index, progress=lambda at, total: done.append((at, total)))
    assert {name for _, name in found} == {"few", "many", ""}
    assert len(found) == 3 * len(HashKind)
    assert not any(each.differing for each in found.values())
    for kind in HashKind:
        few, many, strangers = (found[kind, name] for name in ("few", "many", ""))
        assert 40 < few.queries <= few.codes <= 150
        assert few.found >= few.queries
        assert many.codes > 150
        assert (many.queries, strangers.queries) == (80, 40)
        assert many.found >= 40
        if kind.is_perceptual_code:
            assert many.found > 80  # the near copies are found, and their neighbours
    assert (0, 40) in done
    assert (40, 40) in done


def test_random_choices_are_others_each_time(index):
    kinds = [HashKind.PDQ]
    assert compare(make(segment(1, kinds=kinds)), seed=None)
    with_seed = compare(index)
    assert with_seed == compare(index)


def test_an_index_without_entries_has_nothing_to_compare():
    assert compare(MatchIndex.empty()) == {}
    assert compare(make()) == {}


def test_hidden_entries_are_hidden_from_the_oracle_too(parts):
    everything = make(*parts, hidden=np.arange(2 * (FEW + MANY)))
    assert compare(everything) == {}


class Broken:
    """An index of codes that answers wrongly."""

    def __init__(self, right, wrong):
        self._right, self._wrong = right, wrong

    def __len__(self):
        return len(self._right)

    def search(self, queries, threshold):
        return self._wrong(self._right.search(queries, threshold))


def missing(hits):
    """Misses one code in all answers."""
    kept = hits.code_rows != 17
    return Hits(hits.query_rows[kept], hits.code_rows[kept], hits.distances[kept])


def farther(hits):
    return Hits(hits.query_rows, hits.code_rows, hits.distances + hits.distances.dtype.type(1))


def invented(hits):
    distances = np.append(hits.distances, hits.distances.dtype.type(0))
    return Hits(np.append(hits.query_rows, 0), np.append(hits.code_rows, 5), distances)


@pytest.mark.parametrize("kind", [HashKind.PDQ, HashKind.WHASH, HashKind.PHOTODNA, HashKind.SHA1])
@pytest.mark.parametrize("wrong", [missing, farther, invented])
def test_what_is_wrong_is_found(parts, kind, wrong):
    right = parts[0].codes[kind]
    broken = dataclasses.replace(right, index=Broken(right.index, wrong))
    codes = {**parts[0].codes, kind: broken}
    found = compare(make(dataclasses.replace(parts[0], codes=codes), parts[1]), small=1000)
    differing = {key[0] for key, each in found.items() if each.differing}
    assert differing == {kind}
    assert all(each.differing <= each.queries for each in found.values())


def test_an_entry_told_twice_is_wrong(index, monkeypatch):
    search = MatchIndex.search

    def twice(self, *arguments):
        found = search(self, *arguments)
        columns = (getattr(found, each.name) for each in dataclasses.fields(found))
        return Candidates(*(np.concatenate([each, each]) for each in columns))

    monkeypatch.setattr(MatchIndex, "search", twice)
    found = compare(index)
    assert all(each.differing for each in found.values() if each.found)


def test_digests_are_put_together_again(parts):
    arrays = parts[0].arrays
    values = _values(arrays, HashKind.MD5, np.arange(5))
    assert values.shape == (5, 16)
    hits = parts[0].codes[HashKind.MD5].index.search(values, 0)
    assert hits.code_rows.tolist() == [0, 1, 2, 3, 4]
