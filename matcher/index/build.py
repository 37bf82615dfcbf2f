"""Gathers entries batch by batch and makes the arrays of one segment of them.

Each distinct code comes once, sorted, with the entries that carry it. A live segment takes plain
codes (`IndexBuilder.arrays`); a sealed one is written array by array, each freed before the next is
made: entries with one PDQ hash each took 62 bytes an entry while they were gathered and 75 at most
while they were written. Judges no code: what a list may hold was decided on import.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import HashKind
from matcher.index.counts import count_codes
from matcher.index.derivations import DerivedCodes, derived_arrays
from matcher.index.documents import (
    BASE,
    SEGMENTS,
    KindInfo,
    SegmentInfo,
)
from matcher.index.entries import COLUMNS, EntryArrays
from matcher.index.grouping import MAX_ROWS, group_codes
from matcher.index.growing import GrowingArray
from matcher.index.sealed import choose_parameters, seal, sealed_names
from matcher.index.segment import ENTRY_ARRAYS, OFFSETS, ROWS, code_arrays

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from numpy.typing import NDArray

    from hashlists.snapshot import SnapshotWriter
    from matcher.index.base import Int64Array, UInt8Array, UInt32Array
    from matcher.index.entries import UInt16Array

_CODES = "codes"
_GATHERED = 1 << 20  # codes put in order at a time


@dataclass(frozen=True, slots=True)
class IndexRows:
    """`M` entries as columns, with their codes.

    Attributes:
        catalog_ids: `(M,) int64`, strictly ascending.
        list_rows: `(M,) uint16`, row in the lists that the index is written with.
        classification_rows: `(M,) uint32`, row in its classifications; 0 is none.
        flags: `(M,) uint16`, `EntryFlag` bits.
        sizes: `(M,) int64`, bytes of the file; -1 is unknown.
        expires: `(M,) uint32`, seconds since 1970 UTC at which the entry expires; 0 is never.
        codes: for each kind `(rows (K,) int64, values (K, kind.nbytes) uint8)`: which row of this
            batch carries which value; a row may carry several.
        derived: for each kind with codes that are not their source's own: their places `(D,)
            int64` among these values, ascending, and how each was made.
    """

    catalog_ids: Int64Array = field(repr=False)
    list_rows: UInt16Array = field(repr=False)
    classification_rows: UInt32Array = field(repr=False)
    flags: UInt16Array = field(repr=False)
    sizes: Int64Array = field(repr=False)
    expires: UInt32Array = field(repr=False)
    codes: Mapping[HashKind, tuple[Int64Array, UInt8Array]] = field(repr=False)
    derived: Mapping[HashKind, tuple[Int64Array, Sequence[str]]] = field(
        default_factory=dict, repr=False
    )


@dataclass(frozen=True, slots=True)
class WrittenSegment:
    """What is known of a segment that stands in a snapshot now.

    Attributes:
        info: what the document `index` says of it.
        counts: for each list how many distinct codes of each kind its living entries carry.
    """

    info: SegmentInfo
    counts: Sequence[Mapping[HashKind, int]]


class IndexBuilder:
    """Gathers rows and makes one segment of them. Not for several threads."""

    def __init__(self) -> None:
        self._columns: dict[str, GrowingArray[Any]] = {
            column: GrowingArray(dtype) for column, dtype in COLUMNS.items()
        }
        self._owners: dict[HashKind, GrowingArray[np.uint32]] = {}
        self._values: dict[HashKind, GrowingArray[np.uint8]] = {}
        self._derived = DerivedCodes()
        self._count = 0
        self._last_id: int | None = None
        self._used_up = False

    def __len__(self) -> int:
        return self._count

    def add(self, rows: IndexRows) -> None:
        """Adds a batch of entries; they are numbered in the order they come.

        Raises:
            ValueError: a column has another dtype or length, catalog ids do not ascend strictly
                over all batches, a code refers to a row that the batch does not have, or the
                builder was written already. Nothing of the batch is added.
        """
        self._check_usable()
        entries = EntryArrays(*(getattr(rows, column) for column in COLUMNS))
        if self._count + len(entries) > MAX_ROWS:
            raise ValueError(f"an index holds at most {MAX_ROWS} entries")
        for kind, (owners, values) in rows.codes.items():
            _check_codes(kind, owners, values, len(entries))
        for kind, (places, names) in rows.derived.items():
            _check_derived(kind, places, names, rows)
        self._check_ids(entries.catalog_ids)
        for kind, (places, names) in rows.derived.items():
            self._derived.add(kind, places + self._gathered(kind), names)
        for kind, (owners, values) in rows.codes.items():
            if len(owners):
                self._gather(kind, owners, values)
        for column in COLUMNS:
            self._columns[column].extend(getattr(entries, column))
        self._count += len(entries)
        if len(entries):
            self._last_id = int(entries.catalog_ids[-1])

    @property
    def derivations(self) -> tuple[str, ...]:
        """How derived codes were made, row 1 first, for `Segment.from_arrays`."""
        return self._derived.names

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of a live segment by name, for `Segment.from_arrays`.

        Raises:
            ValueError: the builder was written already.
        """
        self._check_usable()
        arrays: dict[str, NDArray[Any]] = {
            ENTRY_ARRAYS[column]: self._columns[column].view() for column in COLUMNS
        }
        for kind in HashKind:
            if kind in self._values:
                values = self._values[kind].view()
                marks = self._derived.marks(kind, len(values))
                groups = group_codes(values, self._owners[kind].view(), marks)
                arrays |= code_arrays(kind, values[groups.picked])
                arrays |= {f"{kind}.{OFFSETS}": groups.offsets, f"{kind}.{ROWS}": groups.rows}
                derived = derived_arrays(groups.marks)
                arrays |= {f"{kind}.{name}": array for name, array in derived.items()}
        return arrays

    def write_segment(
        self,
        writer: SnapshotWriter,
        *,
        lists: int,
        classifications: int,
        segment: str = BASE,
    ) -> WrittenSegment:
        """Writes a sealed segment into a snapshot; the builder is used up by it.

        The documents that make an index of it are written by `matcher.index.write.write_index`.

        Args:
            writer: an open snapshot writer.
            lists: how many lists `list_rows` may refer to.
            classifications: how many classifications, row 0 (none) included.
            segment: "base" or "recent".

        Raises:
            ValueError: a row refers to a list or classification that is not there, or the builder
                was written already.
            OSError: writing failed.
        """
        if segment not in SEGMENTS:
            raise ValueError(f"a segment of a snapshot is one of {SEGMENTS}, not {segment!r}")
        self._check_usable()
        self._check_below("list_rows", lists)
        self._check_below("classification_rows", classifications)
        self._used_up = True
        list_rows = self._columns["list_rows"].view()
        for column in COLUMNS:
            writer.add_array(f"{segment}.{ENTRY_ARRAYS[column]}", self._columns.pop(column).view())
        counts: list[dict[HashKind, int]] = [{} for _ in range(lists)]
        kinds = {}
        for kind in HashKind:
            if kind not in self._values:
                continue
            kinds[kind], by_list = self._write_kind(writer, segment, kind, list_rows, lists)
            for row in np.flatnonzero(by_list).tolist():
                counts[row][kind] = int(by_list[row])
        info = SegmentInfo(self._count, 0, kinds, self._derived.names)
        return WrittenSegment(info, counts)

    def _write_kind(
        self,
        writer: SnapshotWriter,
        segment: str,
        kind: HashKind,
        list_rows: UInt16Array,
        lists: int,
    ) -> tuple[KindInfo, Int64Array]:
        """Writes the codes of a kind; tells of them, and how many each list holds."""
        prefix = f"{segment}.{kind}"
        values = self._values.pop(kind).view()
        marks = self._derived.marks(kind, len(values))
        groups = group_codes(values, self._owners.pop(kind).view(), marks)
        writer.add_array(f"{prefix}.{OFFSETS}", groups.offsets)
        writer.add_array(f"{prefix}.{ROWS}", groups.rows)
        for name, array in derived_arrays(groups.marks).items():
            writer.add_array(f"{prefix}.{name}", array)
        by_list = count_codes(groups.offsets, list_rows[groups.rows], lists)
        picked = groups.picked
        del groups
        search = choose_parameters(kind, len(picked))
        if _CODES in sealed_names(kind, search):
            # Straight to disk, and mapped from there: in memory they would be a second time.
            writer.add_array_in_parts(
                f"{prefix}.{_CODES}",
                _picked(values, picked),
                dtype=np.uint8,
                row_shape=(kind.nbytes,),
            )
            codes = writer.map_array(f"{prefix}.{_CODES}")
        else:
            codes = values[picked]
        count = len(picked)
        del values, picked
        for name, array in seal(kind, codes, search):
            if name != _CODES:
                writer.add_array(f"{prefix}.{name}", array)
        return KindInfo(count, search), by_list

    def _gathered(self, kind: HashKind) -> int:
        return len(self._values[kind]) if kind in self._values else 0

    def _gather(self, kind: HashKind, owners: Int64Array, values: UInt8Array) -> None:
        if kind not in self._values:
            self._owners[kind] = GrowingArray(np.uint32)
            self._values[kind] = GrowingArray(np.uint8, (kind.nbytes,))
        self._owners[kind].extend(owners + self._count)
        self._values[kind].extend(values)

    def _check_usable(self) -> None:
        if self._used_up:
            raise ValueError("this index builder was written already")

    def _check_ids(self, ids: Int64Array) -> None:
        after = self._last_id is None or not len(ids) or int(ids[0]) > self._last_id
        if not after or not (ids[1:] > ids[:-1]).all():
            raise ValueError("catalog ids do not ascend strictly")

    def _check_below(self, column: str, limit: int) -> None:
        rows = self._columns[column].view()
        if len(rows) and int(rows.max()) >= limit:
            raise ValueError(f"{column} refer to row {int(rows.max())} of {limit}")


def _picked(values: UInt8Array, picked: UInt32Array) -> Iterator[UInt8Array]:
    """`values[picked]` in parts."""
    for start in range(0, len(picked), _GATHERED):
        yield values[picked[start : start + _GATHERED]]


def _check_codes(kind: HashKind, owners: Int64Array, values: UInt8Array, entries: int) -> None:
    if values.dtype != np.uint8 or values.shape != (len(owners), kind.nbytes):
        raise ValueError(f"{kind} values have shape (K, {kind.nbytes}) and dtype uint8")
    if owners.dtype != np.int64 or owners.ndim != 1:
        raise ValueError(f"{kind} rows have shape (K,) and dtype int64")
    if len(owners) and not 0 <= owners.min() <= owners.max() < entries:
        raise ValueError(f"{kind} rows refer to entries outside the batch of {entries}")


def _check_derived(
    kind: HashKind, places: Int64Array, names: Sequence[str], rows: IndexRows
) -> None:
    values = rows.codes[kind][1] if kind in rows.codes else ()
    if places.dtype != np.int64 or places.shape != (len(names),):
        raise ValueError(f"places of derived {kind} values have shape (D,) and dtype int64")
    ascend = (places[1:] > places[:-1]).all()
    if len(places) and not (ascend and 0 <= int(places[0]) <= int(places[-1]) < len(values)):
        raise ValueError(f"places of derived {kind} values do not ascend within {len(values)}")
    if not all(names):
        raise ValueError(f"a derived {kind} value does not say how it was made")


__all__ = ["IndexBuilder", "IndexRows", "WrittenSegment"]
