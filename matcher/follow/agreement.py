"""Whether a snapshot holds what its catalog held at that revision.

Entries that later revisions touched are left out of both sides, so that a catalog that has moved on
can be compared all the same. Everything is read in one transaction. Nothing here is repaired: a
snapshot that disagrees is to be built anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

from hashlists.errors import SnapshotError
from matcher.index.derivations import OTHER, OWN

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from hashlists.catalog import Catalog, CatalogReader, EntryColumns
    from hashlists.model import HashKind
    from matcher.follow.view import Sealed
    from matcher.index.base import Int64Array
    from matcher.index.match_index import MatchIndex
    from matcher.index.overlay import Overlay

    BoolArray: TypeAlias = NDArray[np.bool_]

_BATCH_QUERIES = 64
_FEW = 4  # times the sample


@dataclass(frozen=True, slots=True)
class Agreement:
    """How an index and its catalog compare.

    Attributes:
        revision: the catalog's newest revision.
        changed_since: entries that revisions after the snapshot's touched; left out.
        in_index, in_catalog: by list, the entries in force that were counted on each side; lists
            without any are absent.
        sampled: entries that were compared one by one.
        missing: those of them that the catalog does not hold in force, that a hash of theirs does
            not find, or finds as made in another way, or whose list, class, flags or size differ.
        missing_by_list: the same, by list.
    """

    revision: int
    changed_since: int
    in_index: Mapping[str, int]
    in_catalog: Mapping[str, int]
    sampled: int
    missing: int
    missing_by_list: Mapping[str, int] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether both hold the same, as far as was compared."""
        return self.in_index == self.in_catalog and not self.missing


def compare_with_catalog(
    sealed: Sealed, catalog: Catalog, *, sample: int, now: int, seed: int | None = None
) -> Agreement:
    """Compares counts by list, and a random sample of entries with all that is told of them.

    Args:
        sealed: an opened snapshot.
        catalog: the one it was built from.
        sample: how many entries to compare one by one.
        now: seconds since 1970 UTC; what has expired counts on neither side.
        seed: of the random choice; None for another one each time.

    Raises:
        SnapshotError: the snapshot is of another catalog, or of one that was restored since.
        CatalogError: the catalog cannot be read.
    """
    index = sealed.index
    with catalog.read() as reader:
        if not sealed.lineage.stands(index.revision, reader):
            raise SnapshotError(
                f"snapshot {sealed.name} is of another catalog, or of one that was restored from a "
                "backup since; build it anew"
            )
        touched = reader.changed_ids(index.revision)
        left_out = np.concatenate([index.expired_rows(now), index.rows_of(touched)])
        hidden = index.hidden.extended(left_out)
        chosen = _chosen(hidden, sample, np.random.default_rng(seed))
        missing = _Sample(index, reader, chosen).missing_by_list()
        return Agreement(
            revision=reader.revision,
            changed_since=len(touched),
            in_index=_counted(index, hidden),
            in_catalog=_counted_by_catalog(reader, touched, now),
            sampled=len(chosen),
            missing=sum(missing.values()),
            missing_by_list=missing,
        )


def _chosen(hidden: Overlay, sample: int, rng: np.random.Generator) -> Int64Array:
    """About `sample` rows that are not hidden; all of them where there are not many more."""
    rows = np.arange(hidden.length)
    if len(rows) > _FEW * sample:
        rows = np.unique(rng.integers(0, hidden.length, _FEW * sample))
    seen = rows[~hidden.hides(rows)]
    return rng.choice(seen, min(sample, len(seen)), replace=False)


def _counted(index: MatchIndex, hidden: Overlay) -> dict[str, int]:
    lists = len(index.lists)
    numbers = np.zeros(lists, np.int64)
    for segment in index.segments:
        numbers += np.bincount(segment.entries.list_rows, minlength=lists)
    numbers -= np.bincount(index.entries.take(hidden.rows()).list_rows, minlength=lists)
    return {
        each.name: int(number) for each, number in zip(index.lists, numbers, strict=True) if number
    }


def _counted_by_catalog(reader: CatalogReader, touched: Int64Array, now: int) -> dict[str, int]:
    lists = reader.lists()
    left_out: Counter[int] = Counter()
    for columns in reader.entry_columns(entry_ids=touched):
        living = (columns.expires == 0) | (columns.expires > now)
        left_out.update(columns.list_ids[living].tolist())
    counts = {each.hash_list.name: each.coverage.entries - left_out[each.list_id] for each in lists}
    return {name: number for name, number in counts.items() if number}


class _Sample:
    """Entries of an index that are looked up in the catalog, and back by their hashes."""

    def __init__(self, index: MatchIndex, reader: CatalogReader, rows: Int64Array) -> None:
        self._index = index
        self._reader = reader
        ids = index.entries.take(rows).catalog_ids
        order = np.argsort(ids)
        self._rows, self._ids = rows[order], ids[order]

    def missing_by_list(self) -> dict[str, int]:
        """How many of them disagree, by list."""
        right = np.zeros(len(self._ids), np.bool_)
        for columns in self._reader.entry_columns(entry_ids=self._ids):
            at = np.searchsorted(self._ids, columns.entry_ids)
            right[at] = self._is_same(columns, at) & self._is_found(columns, at)
        wrong = self._index.entries.take(self._rows[~right]).list_rows.tolist()
        return dict(Counter(self._index.lists[row].name for row in wrong))

    def _is_same(self, columns: EntryColumns, at: Int64Array) -> BoolArray:
        """Whether list, class, flags, size and expiry are those of the index."""
        lists = {each.list_id: each.hash_list.name for each in self._reader.lists()}
        classes = {0: None, **self._reader.classifications()}
        held = self._index.entries.take(self._rows[at])
        same: BoolArray = (held.flags == columns.flags) & (held.sizes == columns.sizes)
        same &= held.expires == columns.expires
        same &= _equal(
            (self._index.lists[row].name for row in held.list_rows.tolist()),
            (lists[each] for each in columns.list_ids.tolist()),
        )
        same &= _equal(
            (self._index.classifications[row] for row in held.classification_rows.tolist()),
            (classes[each] for each in columns.classification_ids.tolist()),
        )
        return same

    def _is_found(self, columns: EntryColumns, at: Int64Array) -> BoolArray:
        """Whether each of an entry's hashes finds it, and as made in the way that it was."""
        found = np.ones(len(columns), np.bool_)
        told = self._index.derivations
        for kind, (owners, values) in columns.codes.items():
            makings = _makings(columns, kind)
            for first in range(0, len(values), _BATCH_QUERIES):
                batch = slice(first, first + _BATCH_QUERIES)
                hits = self._index.search(kind, values[batch], 0)
                pairs = zip(hits.query_rows.tolist(), hits.entry_rows.tolist(), strict=True)
                hit = dict(zip(pairs, hits.derivation_rows.tolist(), strict=True))
                for query, owner in enumerate(owners[batch].tolist()):
                    row = hit.get((query, int(self._rows[at[owner]])))
                    making = makings[owner, values[first + query].tobytes()]
                    found[owner] &= row is not None and _may_be_told(told[row], making)
        return found


def _makings(columns: EntryColumns, kind: HashKind) -> dict[tuple[int, bytes], set[str]]:
    """By entry and value how it was made; `OWN` for the source's own."""
    owners, values = columns.codes[kind]
    places, names = columns.derived.get(kind, (np.empty(0, np.int64), ()))
    name_at = dict(zip(places.tolist(), names, strict=True))
    makings: dict[tuple[int, bytes], set[str]] = {}
    for place, owner in enumerate(owners.tolist()):
        makings.setdefault((owner, values[place].tobytes()), set()).add(name_at.get(place, OWN))
    return makings


def _may_be_told(told: str | None, making: set[str]) -> bool:
    """The source's own goes before all others, and a long table of names has room for no more.

    None is told by segments of an earlier build, which do not know it.
    """
    if told is None:
        return True
    return told == OWN if OWN in making else told in making or told == OTHER


def _equal(some: Iterable[object], others: Iterable[object]) -> BoolArray:
    return np.array([one == other for one, other in zip(some, others, strict=True)], np.bool_)


__all__ = ["Agreement", "compare_with_catalog"]
