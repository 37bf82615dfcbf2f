"""A segment: entries, and for each kind an index of their distinct codes.

A code that several entries carry is stored once; compressed sparse rows lead from code row `c` to
the entries `entry_rows[offsets[c] : offsets[c + 1]]`. Rows of codes and entries count from 0 in
each segment, so sealed and live segments stand side by side in a `MatchIndex` without renumbering.

`Segment.from_arrays` refuses arrays that contradict each other: a search over them could crash, or
miss in silence. It passes over each array once.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import HashKind
from matcher.index.base import Candidates, CodeIndex, Hits, UInt8Array, UInt32Array, expand_ranges
from matcher.index.digest import DigestIndex, split_digests
from matcher.index.entries import COLUMNS, EntryArrays
from matcher.index.flat import FlatIndex
from matcher.index.photodna import PhotoDnaIndex

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

#: Column of `EntryArrays` -> name of its array.
ENTRY_ARRAYS = {
    "catalog_ids": "entries.catalog_id",
    "list_rows": "entries.list_row",
    "classification_rows": "entries.classification_row",
    "flags": "entries.flags",
    "sizes": "entries.size",
}
OFFSETS = "entry_offsets"
ROWS = "entry_rows"


@dataclass(frozen=True, slots=True)
class CodeEntries:
    """Codes of one kind and the entries that carry them.

    Attributes:
        index: finds codes.
        offsets: `(C + 1,) uint32`, where each code's entries start in `rows`.
        rows: `(R,) uint32`, entry rows; ascending and distinct within a code.
        repeats: some entry carries several of the codes, so it may be found several times.
    """

    index: CodeIndex
    offsets: UInt32Array = field(repr=False)
    rows: UInt32Array = field(repr=False)
    repeats: bool

    def expand(self, hits: Hits) -> Candidates:
        """Hits of codes -> hits of entries; an entry occurs once for each of its codes."""
        first = self.offsets[hits.code_rows].astype(np.int64)
        count = self.offsets[hits.code_rows + 1].astype(np.int64) - first
        return Candidates(
            query_rows=np.repeat(hits.query_rows, count),
            entry_rows=self.rows[expand_ranges(first, count)].astype(np.int64),
            distances=np.repeat(hits.distances.astype(np.uint32), count),
        )


@dataclass(frozen=True, slots=True)
class Segment:
    """Entries and their codes; immutable.

    Attributes:
        entries: the columns of its entries.
        codes: by kind; a kind that no entry carries is absent.
        lists, classifications: the lengths of the tables that its rows point into; a table may
            grow at its end while the segment lives.
    """

    entries: EntryArrays
    codes: Mapping[HashKind, CodeEntries] = field(repr=False)
    lists: int
    classifications: int

    @classmethod
    def from_arrays(
        cls,
        arrays: Mapping[str, NDArray[Any]],
        *,
        lists: int,
        classifications: int,
    ) -> Segment:
        """Makes a segment of the arrays that `matcher.index.build` makes.

        Args:
            arrays: by name; not copied, never to be changed.
            lists: how many lists entries may refer to.
            classifications: how many classifications, row 0 (none) included.

        Raises:
            ValueError: an array is missing, unknown, or contradicts another; names the array.
        """
        kinds = [kind for kind in HashKind if f"{kind}.{OFFSETS}" in arrays]
        _check_names(arrays, kinds)
        entries = EntryArrays(*(arrays[ENTRY_ARRAYS[column]] for column in COLUMNS))
        _check_below(entries.list_rows, lists, ENTRY_ARRAYS["list_rows"])
        _check_below(
            entries.classification_rows,
            classifications,
            ENTRY_ARRAYS["classification_rows"],
        )
        return cls(
            entries=entries,
            codes={kind: _open_codes(kind, arrays, len(entries)) for kind in kinds},
            lists=lists,
            classifications=classifications,
        )

    def search(self, kind: HashKind, queries: UInt8Array, threshold: int) -> Candidates:
        """Finds entries; unlike `MatchIndex.search`, once for each code of theirs that is near."""
        codes = self.codes.get(kind)
        if codes is None:
            return no_candidates()
        return codes.expand(codes.index.search(queries, threshold))


def no_candidates() -> Candidates:
    """What a search that found nothing answers."""
    return Candidates(np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.uint32))


def code_arrays(kind: HashKind, codes: UInt8Array) -> dict[str, NDArray[Any]]:
    """The arrays in which sorted distinct codes `(C, kind.nbytes) uint8` are kept, by name."""
    if kind.is_digest:
        leads, tails = split_digests(codes)
        return {f"{kind}.leads": leads, f"{kind}.tails": tails}
    return {f"{kind}.codes": codes}


def _open_index(kind: HashKind, arrays: Mapping[str, NDArray[Any]]) -> CodeIndex:
    if kind.is_digest:
        return DigestIndex(kind, arrays[f"{kind}.leads"], arrays[f"{kind}.tails"])
    codes = arrays[f"{kind}.codes"]
    return PhotoDnaIndex(codes) if kind is HashKind.PHOTODNA else FlatIndex(kind, codes)


def _open_codes(kind: HashKind, arrays: Mapping[str, NDArray[Any]], entries: int) -> CodeEntries:
    index = _open_index(kind, arrays)
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
    return CodeEntries(index, offsets, rows, repeats=int(carried.sum()) < len(rows))


def _check_names(arrays: Mapping[str, NDArray[Any]], kinds: Iterable[HashKind]) -> None:
    needed = set(ENTRY_ARRAYS.values())
    for kind in kinds:
        parts = ("leads", "tails") if kind.is_digest else ("codes",)
        needed.update(f"{kind}.{part}" for part in (*parts, OFFSETS, ROWS))
    if missing := sorted(needed - set(arrays)):
        raise ValueError(f"array {missing[0]} is missing")
    if unknown := sorted(set(arrays) - needed):
        raise ValueError(f"array {unknown[0]} is not known to this build")


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
    "no_candidates",
]
