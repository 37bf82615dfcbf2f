"""Base, recent, live and overlay together against a plain dictionary, after save and load too."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.model import DIGEST_KINDS, Harm, HashKind, ListState
from hashlists.snapshot import SnapshotWriter, open_current
from matcher.index import build, sealed
from matcher.index import overlay as overlays
from matcher.index.build import IndexBuilder, IndexRows
from matcher.index.counts import count_living
from matcher.index.match_index import IndexedList, MatchIndex
from matcher.index.overlay import Overlay
from matcher.index.segment import Segment
from matcher.index.write import LinkedSegment, write_index

KINDS = list(HashKind)
LISTS = [IndexedList(name, Harm.TEST, ListState.LIVE, 0, {}) for name in ("one", "two")]
CLASSES = (None, None)
#: The table of revisions after the first: it grew at its end.
MORE_LISTS = [*LISTS, IndexedList("three", Harm.CSAM, ListState.SHADOW, 0, {})]
NOW = 5
MADE = ["", "", "crop:0.02", "crop:0.05", "file"]
SIZES = [0, 1, 2, 4, 5, 16, 17, 33]
MULTI = {"method": "multi_index", "chunk_bits": [9] * 28}


@pytest.fixture(autouse=True, scope="module")
def _no_sync():
    """No power is cut here, and syncing to disk would be most of the time."""
    with mock.patch("os.fsync"):
        yield


@dataclass
class Entry:
    """What the oracle knows of an entry in force."""

    list_row: int
    expires: int
    codes: dict[HashKind, list[bytes]] = field(default_factory=dict)
    made: dict[HashKind, list[str]] = field(default_factory=dict)  # of each code; "": its source


Catalog = dict[int, Entry]


class World:
    """A catalog as a dictionary, changed revision by revision."""

    def __init__(self, seed: int, *, identical: bool) -> None:
        self.rng = np.random.default_rng(seed)
        self.entries: Catalog = {}
        self.next_id = 1
        pool = 1 if identical else 12  # few values, so that codes are shared within and across
        self.pools = {
            kind: self.rng.integers(0, 256, (pool, kind.nbytes), dtype=np.uint8) for kind in KINDS
        }

    def code(self, kind: HashKind) -> bytes:
        value = self.pools[kind][self.rng.integers(len(self.pools[kind]))].copy()
        if kind not in DIGEST_KINDS and self.rng.random() < 0.3:
            value[self.rng.integers(kind.nbytes)] ^= np.uint8(1 << self.rng.integers(8))
        return value.tobytes()

    def entry(self, lists: int) -> Entry:
        codes = {
            kind: [self.code(kind) for _ in range(self.rng.integers(1, 4))]
            for kind in KINDS
            if self.rng.random() < 0.7
        }
        expires = int(self.rng.choice([0, 0, NOW - 1, NOW, NOW + 1, NOW + 7]))
        made = {
            kind: [str(self.rng.choice(MADE)) for _ in values]
            for kind, values in codes.items()
            if self.rng.random() < 0.7
        }
        return Entry(int(self.rng.integers(lists)), expires, codes, made)

    def add(self, count: int, lists: int = 3) -> set[int]:
        ids = set(range(self.next_id, self.next_id + count))
        self.next_id += count
        for each in ids:
            self.entries[each] = self.entry(lists)
        return ids

    def change(self, count: int) -> set[int]:
        """Retracts some, gives others a new version, adds new ones; tells which."""
        ids = set(self.rng.integers(1, self.next_id, count).tolist()) if self.next_id > 1 else set()
        for each in ids:
            if self.rng.random() < 0.5:
                self.entries.pop(each, None)
            else:
                self.entries[each] = self.entry(3)  # a restored one too
        return ids | self.add(int(self.rng.integers(0, count + 1)))

    def rows(self, ids: set[int]) -> IndexRows:
        """Those of `ids` that are in force."""
        wanted = sorted(ids & self.entries.keys())
        entries = [self.entries[each] for each in wanted]
        codes, derived = {}, {}
        for kind in KINDS:
            told = [
                (row, *each) for row, entry in enumerate(entries) for each in codes_of(entry, kind)
            ]
            if told:
                owners, values, made = zip(*told, strict=True)
                raw = np.frombuffer(b"".join(values), np.uint8).reshape(-1, kind.nbytes)
                codes[kind] = np.array(owners, np.int64), raw
                places = [place for place, each in enumerate(made) if each]
                if places or self.rng.random() < 0.5:
                    names = [made[place] for place in places]
                    derived[kind] = np.array(places, np.int64), names
        return IndexRows(
            catalog_ids=np.array(wanted, np.int64),
            list_rows=np.array([each.list_row for each in entries], np.uint16),
            classification_rows=np.zeros(len(wanted), np.uint32),
            flags=np.zeros(len(wanted), np.uint16),
            sizes=np.full(len(wanted), -1, np.int64),
            expires=np.array([each.expires for each in entries], np.uint32),
            codes=codes,
            derived=derived,
        )

    def found(self, kind: HashKind, queries: np.ndarray, threshold: int) -> dict:
        """(query, catalog id) -> smallest distance, by brute force over what is in force.

        With how that code was made: "", for its source, comes before all names.
        """
        found = {}
        for number, query in enumerate(queries):
            for each, entry in self.entries.items():
                if 0 < entry.expires <= NOW:
                    continue
                for value, made in codes_of(entry, kind):
                    distance = distance_of(kind, query, np.frombuffer(value, np.uint8))
                    if distance <= threshold:
                        key = (number, each)
                        found[key] = min(found.get(key, (distance, made)), (distance, made))
        return found


def codes_of(entry: Entry, kind: HashKind) -> list[tuple[bytes, str]]:
    """Each code of an entry, and how it was made."""
    codes = entry.codes.get(kind, [])
    return list(zip(codes, entry.made.get(kind, [""] * len(codes)), strict=True))


def distance_of(kind: HashKind, one: np.ndarray, other: np.ndarray) -> int:
    if kind in DIGEST_KINDS:
        return 0 if (one == other).all() else 10**9
    if kind is HashKind.PHOTODNA:
        return int(((one.astype(np.int64) - other) ** 2).sum())
    return int(np.bitwise_count(one ^ other).sum())


def builder(rows: IndexRows) -> IndexBuilder:
    made = IndexBuilder()
    made.add(rows)
    return made


def ids_of(ids: set[int]) -> np.ndarray:
    return np.array(sorted(ids), np.int64)


def check(index: MatchIndex, world: World, sealed_ids: set[int]) -> None:
    assert index.lists[0].name == "one"
    for kind in KINDS:
        pool = world.pools[kind]
        queries = pool[world.rng.integers(0, len(pool), 3)].copy()
        threshold = 0 if kind in DIGEST_KINDS else int(world.rng.choice([0, 1, 2, 31]))
        found = index.search(kind, queries, threshold)
        taken = index.entries.take(found.entry_rows).catalog_ids.tolist()
        pairs = list(zip(found.query_rows.tolist(), taken, strict=True))
        assert len(set(pairs)) == len(pairs), "an entry occurs once for a query"
        made = [index.derivations[row] for row in found.derivation_rows.tolist()]
        told = zip(found.distances.tolist(), made, strict=True)
        answer = dict(zip(pairs, told, strict=True))
        assert answer == world.found(kind, queries, threshold)
    wanted = ids_of(sealed_ids | {10**12})
    rows = index.rows_of(wanted)
    assert set(index.entries.take(rows).catalog_ids.tolist()) <= set(wanted.tolist())
    all_ids = index.entries.take(np.arange(len(index.entries))).catalog_ids
    assert sorted(rows.tolist()) == np.flatnonzero(np.isin(all_ids, wanted)).tolist()


@settings(deadline=None, max_examples=min(40, settings().max_examples))
@given(
    sizes=st.tuples(*[st.sampled_from(SIZES)] * 3),
    seed=st.integers(0, 2**32 - 1),
    identical=st.booleans(),
    multi=st.booleans(),
)
def test_what_is_in_force_is_found_and_nothing_else(sizes, seed, identical, multi):
    world = World(seed, identical=identical)

    def chosen(kind: HashKind, count: int):
        if multi and kind is HashKind.PDQ:
            return MULTI
        return sealed.choose_parameters(kind, count)

    with (
        tempfile.TemporaryDirectory() as name,
        mock.patch.object(build, "choose_parameters", chosen),
    ):
        root = Path(name)
        world.add(sizes[0], lists=2)
        with SnapshotWriter(root, revision=1) as writer:
            rows = world.rows(set(world.entries))
            write_index(writer, lists=LISTS, classifications=CLASSES, base=builder(rows))
            writer.publish({})
        first = open_current(root)
        index = MatchIndex.open(first)
        check_revision(index, world, set(), live=[])

        changed = world.change(sizes[1])
        dead = index.segments[0].rows_of(ids_of(changed))
        with SnapshotWriter(root, revision=2) as writer:
            write_index(
                writer,
                lists=MORE_LISTS,
                classifications=CLASSES,
                base=LinkedSegment(first, dead=dead),
                recent=builder(world.rows(changed)),
            )
            writer.publish({})
        second = open_current(root, held=first)
        index = MatchIndex.open(second, held=index)
        check_revision(index, world, set(), live=[])
        check_revision(MatchIndex.open(open_current(root)), world, set(), live=[])
        check_counts(index, world, changed)

        changed = world.change(sizes[2])
        behind = builder(world.rows(changed))
        live = Segment.from_arrays(
            behind.arrays(), lists=3, classifications=2, derivations=behind.derivations
        )
        check_revision(index, world, changed, live=[live])


def check_revision(
    index: MatchIndex, world: World, changed: set[int], *, live: list[Segment]
) -> None:
    """Hides what changed and what has expired, as a follower does, and compares."""
    superseded = index.rows_of(ids_of(changed))
    whole = index.extended(
        revision=3,
        lists=MORE_LISTS,
        classifications=CLASSES,
        live=live,
        hidden=superseded,
    )
    expired = whole.expired_rows(NOW)
    whole = index.extended(
        revision=3,
        lists=MORE_LISTS,
        classifications=CLASSES,
        live=live,
        hidden=np.concatenate([superseded, expired]),
    )
    check(whole, world, changed | set(world.entries))
    visible = np.setdiff1d(np.arange(len(whole.entries)), whole.hidden.rows())
    seen = whole.entries.take(visible).catalog_ids.tolist()
    alive = {each for each, entry in world.entries.items() if not 0 < entry.expires <= NOW}
    assert sorted(seen) == sorted(alive), "each entry in force has one row that is not hidden"
    moments = [entry.expires for entry in world.entries.values() if entry.expires > NOW]
    told = whole.next_expiry(NOW)
    if moments:
        assert told is not None
        assert NOW < told <= min(moments)  # superseded versions may expire earlier
    assert whole.next_expiry(NOW + 7) is None


def check_counts(index: MatchIndex, world: World, changed: set[int]) -> None:
    """Counts are of distinct codes of living entries, each segment by itself."""
    parts = [set(world.entries) - changed, set(world.entries) & changed]
    for row, each in enumerate(index.lists):
        for kind in KINDS:
            expected = sum(
                len(
                    {
                        value
                        for entry_id in part
                        for value in world.entries[entry_id].codes.get(kind, [])
                        if world.entries[entry_id].list_row == row
                    }
                )
                for part in parts
            )
            assert each.counts.get(kind, 0) == expected


@given(
    length=st.integers(0, 40),
    steps=st.lists(st.tuples(st.lists(st.integers(0, 10**6)), st.integers(0, 20)), max_size=4),
    many=st.sampled_from([overlays._MANY, 1]),  # either way of setting bits
)
def test_an_overlay_is_a_set_of_rows(length, steps, many):
    overlay, hidden = Overlay(length), set()
    for numbers, more in steps:
        length += more
        rows = [number % length for number in numbers] if length else []
        before = overlay.rows().tolist()
        with mock.patch.object(overlays, "_MANY", many):
            wider = overlay.extended(np.array(rows, np.int64), length=length)
        assert overlay.rows().tolist() == before, "the narrower one is as it was"
        overlay, hidden = wider, hidden | set(rows)
        assert overlay.length == length
        assert len(overlay) == len(hidden)
        assert overlay.rows().tolist() == sorted(hidden)
        every = np.arange(length)
        assert overlay.hides(every).tolist() == [row in hidden for row in range(length)]


@given(seed=st.integers(0, 2**32 - 1), codes=st.sampled_from([0, 1, 2, 5, 40]))
def test_living_codes_are_counted_as_one_by_one(seed, codes):
    rng = np.random.default_rng(seed)
    entries = codes // 2 + 1
    carriers = [
        np.sort(rng.choice(entries, rng.integers(1, min(entries, 3) + 1), replace=False))
        for _ in range(codes)
    ]
    offsets = np.cumsum([0, *map(len, carriers)]).astype(np.uint32)
    rows = np.concatenate([np.empty(0, np.uint32), *carriers]).astype(np.uint32)
    list_rows = rng.integers(0, 3, entries).astype(np.uint16)
    dead = rng.random(entries) < rng.choice([0, 0.1, 0.5, 1])
    expected = [
        sum(any(list_rows[row] == each and not dead[row] for row in rows) for rows in carriers)
        for each in range(3)
    ]
    assert count_living(offsets, rows, list_rows, 3, dead).tolist() == expected
