"""A segment: entries, and for each kind an index of their distinct codes.

A code that several entries carry is stored once; compressed sparse rows lead from code row `c` to
the entries `entry_rows[offsets[c] : offsets[c + 1]]`. Rows of codes and entries count from 0 in
each segment, so sealed and live segments stand side by side in a `MatchIndex` without renumbering.

Catalog ids ascend strictly, so that rows are found by the ids that the catalog says have changed.

`Segment.from_arrays` refuses arrays that contradict each other: a search over them could crash, or
miss in silence. It passes over each array once. Which entries are hidden is not a segment's
business but that of the `MatchIndex` that holds it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import HashKind
from matcher.index.base import (
    NO_CANDIDATES,
    Candidates,
    CodeIndex,
    Hits,
    Int64Array,
    UInt8Array,
    UInt32Array,
    expand_ranges,
)
from matcher.index.counts import codes_by_list
from matcher.index.derivations import NAME_ROWS, PLACES, check_derived, name_rows_at
from matcher.index.digest import DigestIndex, split_digests
from matcher.index.entries import COLUMNS, EntryArrays
from matcher.index.expiry import Expiry
from matcher.index.flat import FlatIndex
from matcher.index.photodna import PhotoDnaIndex
from matcher.index.sealed import open_sealed, sealed_names

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray

#: Column of `EntryArrays` -> name of its array.
ENTRY_ARRAYS = {
    "catalog_ids": "entries.catalog_id",
    "list_rows": "entries.list_row",
    "classification_rows": "entries.classification_row",
    "flags": "entries.flags",
    "sizes": "entries.size",
    "expires": "entries.expires",
}
OFFSETS = "entry_offsets"
ROWS = "entry_rows"
#: By kind the arrays that plain codes are kept in.
_LIVE_NAMES = {kind: ("leads", "tails") if kind.is_digest else ("codes",) for kind in HashKind}


@dataclass(frozen=True, slots=True)
class CodeEntries:
    """Codes of one kind and the entries that carry them.

    Attributes:
        index: finds codes.
        offsets: `(C + 1,) uint32`, where each code's entries start in `rows`.
        rows: `(R,) uint32`, entry rows; ascending and distinct within a code.
        repeats: some entry carries several of the codes, so it may be found several times.
        derived: `(D,) uint32` places in `rows`, ascending, whose codes are not the source's own,
            and `(D,) uint32`, from 1, which of the segment's `derivations` made them; None for
            none.
    """

    index: CodeIndex
    offsets: UInt32Array = field(repr=False)
    rows: UInt32Array = field(repr=False)
    repeats: bool
    derived: tuple[UInt32Array, UInt32Array] | None = field(repr=False)

    def expand(self, hits: Hits) -> Candidates:
        """Hits of codes -> hits of entries; an entry occurs once for each of its codes."""
        if not len(hits):  # as with nearly every upload
            return NO_CANDIDATES
        first = self.offsets[hits.code_rows].astype(np.int64)
        count = self.offsets[hits.code_rows + 1].astype(np.int64) - first
        places = expand_ranges(first, count)
        return Candidates(
            query_rows=np.repeat(hits.query_rows, count),
            entry_rows=self.rows[places].astype(np.int64),
            distances=np.repeat(hits.distances.astype(np.uint32), count),
            derivation_rows=name_rows_at(self.derived, places),
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries and their codes; immutable.

    Attributes:
        entries: the columns of its entries.
        codes: by kind; a kind that no entry carries is absent.
        expiry: when its entries expire.
        lists, classifications: the lengths of the tables that its rows point into; a table may
            grow at its end while the segment lives.
        arrays: what it was made of, by name.
        searches: for each sealed kind the method and parameters that the arrays were made for;
            empty for a live segment.
        derivations: how codes were made that are not their source's own, row 1 first; None where
            an earlier build did not keep it.
    """

    entries: EntryArrays
    codes: Mapping[HashKind, CodeEntries] = field(repr=False)
    expiry: Expiry = field(repr=False)
    lists: int
    classifications: int
    arrays: Mapping[str, NDArray[Any]] = field(repr=False)
    searches: Mapping[HashKind, Mapping[str, Any]] = field(repr=False)
    derivations: tuple[str, ...] | None

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        lists: int,
        classifications: int,
        searches: Mapping[HashKind, Mapping[str, Any]] | None = None,
        derivations: Sequence[str] | None = (),
    ) -> Segment:
        """Makes a segment of the arrays that `matcher.index.build` makes.

        Args:
            arrays: by name; not copied, never to be changed.
            lists: how many lists entries may refer to.
            classifications: how many classifications, row 0 (none) included.
            searches: for each kind how its codes were sealed; None for a live segment, which keeps
                plain codes.
            derivations: as the attribute.

        Raises:
            ValueError: an array is missing, unknown, or contradicts another; names the array.
        """
        live = searches is None
        if searches is None:
            searches = {kind: {} for kind in HashKind if f"{kind}.{OFFSETS}" in arrays}
        names = {
            kind: _LIVE_NAMES[kind] if live else sealed_names(kind, search)
            for kind, search in searches.items()
        }
        _check_names(arrays, names)
        entries = EntryArrays(*(arrays[ENTRY_ARRAYS[column]] for column in COLUMNS))
        _check_entries(entries, lists, classifications)
        codes = {}
        for kind, search in searches.items():
            own = {name: arrays[f"{kind}.{name}"] for name in names[kind]}
            index = _open_live(kind, own) if live else open_sealed(kind, own, search)
            codes[kind] = _join_entries(kind, index, arrays, len(entries), len(derivations or ()))
        return cls(
            entries=entries,
            codes=codes,
            expiry=Expiry(entries.expires),
            lists=lists,
            classifications=classifications,
            arrays=dict(arrays),
            searches={} if live else dict(searches),
            derivations=None if derivations is None else tuple(derivations),
        )

    def rows_of(self, catalog_ids: Int64Array) -> Int64Array:
        """Rows `(R,) int64` of those of `catalog_ids (K,)` that it has, in their order."""
        own = self.entries.catalog_ids
        if not len(own):
            return np.empty(0, np.int64)
        at = np.searchsorted(own, catalog_ids).clip(max=len(own) - 1)
        rows: Int64Array = at[own[at] == catalog_ids].astype(np.int64)
        return rows

    def codes_by_list(
        self, lists: int, dead: NDArray[Any] | None = None
    ) -> list[dict[HashKind, int]]:
        """For each list how many distinct codes of each kind its entries carry.

        Args:
            lists: how many lists there are.
            dead: `(D,)` integers, rows of entries that do not count; None for none.
        """
        codes = {kind: (each.offsets, each.rows) for kind, each in self.codes.items()}
        return codes_by_list(codes, self.entries.list_rows, lists, dead)

    def search(self, kind: HashKind, queries: UInt8Array, threshold: int) -> Candidates:
        """Finds entries; unlike `MatchIndex.search`, once for each code of theirs that is near.

        Derivation rows are of this segment: 0 for the source's own, then its `derivations`.
        """
        codes = self.codes.get(kind)
        if codes is None:
            return NO_CANDIDATES
        return codes.expand(codes.index.search(queries, threshold))


def code_arrays(kind: HashKind, codes: UInt8Array) -> dict[str, NDArray[Any]]:
    """The arrays in which sorted distinct codes `(C, kind.nbytes) uint8` are kept, by name."""
    if kind.is_digest:
        leads, tails = split_digests(codes)
        return {f"{kind}.leads": leads, f"{kind}.tails": tails}
    return {f"{kind}.codes": codes}


def _open_live(kind: HashKind, arrays: Mapping[str, NDArray[Any]]) -> CodeIndex:
    if kind.is_digest:
        return DigestIndex(kind, arrays["leads"], arrays["tails"])
    codes = arrays["codes"]
    return PhotoDnaIndex(codes) if kind is HashKind.PHOTODNA else FlatIndex(kind, codes)


def _join_entries(
    kind: HashKind,
    index: CodeIndex,
    arrays: Mapping[str, NDArray[Any]],
    entries: int,
    derivations: int,
) -> CodeEntries:
    offsets, rows = arrays[f"{kind}.{OFFSETS}"], arrays[f"{kind}.{ROWS}"]
    for name, array in ((OFFSETS, offsets), (ROWS, rows)):
        if array.dtype != np.uint32 or array.ndim != 1:
            raise ValueError(f"{kind}.{name} has one axis and dtype uint32")
    _check_below(rows, entries, f"{kind}.{ROWS}")
    if len(offsets) != len(index) + 1:
        raise ValueError(f"{kind}.{OFFSETS} does not fit the {len(index)} codes")
    if offsets[0] != 0 or offsets[-1] != len(rows) or not (offsets[1:] > offsets[:-1]).all():
        raise ValueError(f"{kind}.{OFFSETS} does not ascend from 0 to the number of entry rows")
    carried = np.zeros(entries, np.bool_)
    carried[rows] = True
    derived = None
    if f"{kind}.{PLACES}" in arrays:
        derived = arrays[f"{kind}.{PLACES}"], arrays[f"{kind}.{NAME_ROWS}"]
        check_derived(*derived, entry_rows=len(rows), names=derivations, prefix=f"{kind}.")
    return CodeEntries(
        index, offsets, rows, repeats=int(carried.sum()) < len(rows), derived=derived
    )


def _check_names(
    arrays: Mapping[str, NDArray[Any]], names: Mapping[HashKind, Iterable[str]]
) -> None:
    needed = set(ENTRY_ARRAYS.values())
    for kind, own in names.items():
        needed.update(f"{kind}.{name}" for name in (*own, OFFSETS, ROWS))
        derived = {f"{kind}.{name}" for name in (PLACES, NAME_ROWS)}
        if derived & arrays.keys():
            needed |= derived
    if missing := sorted(needed - set(arrays)):
        raise ValueError(f"array {missing[0]} is missing")
    if unknown := sorted(set(arrays) - needed):
        raise ValueError(f"array {unknown[0]} is not known to this build")


def _check_entries(entries: EntryArrays, lists: int, classifications: int) -> None:
    _check_below(entries.list_rows, lists, ENTRY_ARRAYS["list_rows"])
    _check_below(
        entries.classification_rows,
        classifications,
        ENTRY_ARRAYS["classification_rows"],
    )
    ids = entries.catalog_ids
    if not (ids[1:] > ids[:-1]).all():
        raise ValueError(f"{ENTRY_ARRAYS['catalog_ids']} does not ascend strictly")


def _check_below(rows: NDArray[Any], limit: int, name: str) -> None:
    if len(rows) and int(rows.max()) >= limit:
        raise ValueError(f"{name} refers to row {int(rows.max())} of {limit}")


__all__ = [
    "ENTRY_ARRAYS",
    "OFFSETS",
    "ROWS",
    "CodeEntries",
    "Segment",
    "code_arrays",
]
