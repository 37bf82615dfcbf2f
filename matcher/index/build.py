"""Builds the arrays of a segment: each distinct code once, sorted, with the entries that carry it.

Holds all rows in memory while it builds, about twice the size of the result. Judges no code: what a
list may hold was decided on import.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import HashKind
from matcher.index.documents import (
    CLASSIFICATIONS,
    INDEX,
    LISTS,
    IndexedList,
    classifications_to_json,
    index_to_json,
    lists_to_json,
)
from matcher.index.entries import COLUMNS, EntryArrays
from matcher.index.segment import ENTRY_ARRAYS, OFFSETS, ROWS, code_arrays

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from hashlists.model import Classification
    from hashlists.snapshot import SnapshotWriter
    from matcher.index.base import Int64Array, UInt8Array, UInt32Array
    from matcher.index.entries import UInt16Array

_MAX_ROWS = 2**32 - 1


@dataclass(frozen=True, slots=True)
class IndexRows:
    """`M` entries as columns, with their codes.

    Attributes:
        catalog_ids: `(M,) int64`.
        list_rows: `(M,) uint16`, row in the lists that `IndexBuilder.write` is given.
        classification_rows: `(M,) uint32`, row in its classifications; 0 is none.
        flags: `(M,) uint16`, `EntryFlag` bits.
        sizes: `(M,) int64`, bytes of the file; -1 is unknown.
        codes: for each kind `(rows (K,) int64, values (K, kind.nbytes) uint8)`: which row of this
            batch carries which value; a row may carry several.
    """

    catalog_ids: Int64Array = field(repr=False)
    list_rows: UInt16Array = field(repr=False)
    classification_rows: UInt32Array = field(repr=False)
    flags: UInt16Array = field(repr=False)
    sizes: Int64Array = field(repr=False)
    codes: Mapping[HashKind, tuple[Int64Array, UInt8Array]] = field(repr=False)


class IndexBuilder:
    """Gathers rows batch by batch and writes them as one segment. Not for several threads."""

    def __init__(self) -> None:
        self._entries: list[EntryArrays] = []
        self._codes: dict[HashKind, list[tuple[Int64Array, UInt8Array]]] = {}
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def add(self, rows: IndexRows) -> None:
        """Adds a batch of entries; they are numbered in the order they come.

        Raises:
            ValueError: a column has another dtype or length, or a code refers to a row that the
                batch does not have. Nothing of the batch is added.
        """
        entries = EntryArrays(*(getattr(rows, column) for column in COLUMNS))
        if self._count + len(entries) > _MAX_ROWS:
            raise ValueError(f"an index holds at most {_MAX_ROWS} entries")
        for kind, (owners, values) in rows.codes.items():
            _check_codes(kind, owners, values, len(entries))
        self._entries.append(entries)
        for kind, (owners, values) in rows.codes.items():
            if len(owners):
                self._codes.setdefault(kind, []).append((owners + self._count, values))
        self._count += len(entries)

    def arrays(self) -> dict[str, NDArray[Any]]:
        """The arrays of the segment by name, for `Segment.from_arrays` or a snapshot."""
        arrays: dict[str, NDArray[Any]] = {
            ENTRY_ARRAYS[column]: np.concatenate(
                [np.empty(0, dtype), *(getattr(each, column) for each in self._entries)],
            )
            for column, dtype in COLUMNS.items()
        }
        for kind in HashKind:
            if kind in self._codes:
                owners = np.concatenate([owners for owners, _ in self._codes[kind]])
                values = np.concatenate([values for _, values in self._codes[kind]])
                codes, offsets, rows = group_codes(values, owners)
                arrays |= code_arrays(kind, codes)
                arrays |= {f"{kind}.{OFFSETS}": offsets, f"{kind}.{ROWS}": rows}
        return arrays

    def write(
        self,
        writer: SnapshotWriter,
        *,
        lists: Sequence[IndexedList],
        classifications: Sequence[Classification | None],
    ) -> None:
        """Writes arrays and documents into a snapshot; publishing it is the caller's.

        Args:
            writer: an open snapshot writer.
            lists: what `list_rows` count; their `counts` are taken anew from the rows.
            classifications: what `classification_rows` count; row 0 is a placeholder for none.

        Raises:
            ValueError: a row refers to a list or classification that is not there, or the name of
                a list occurs twice.
            OSError: writing failed.
        """
        if len({each.name for each in lists}) != len(lists):
            raise ValueError("two lists go by one name")
        arrays = self.arrays()
        for column, limit in (
            ("list_rows", len(lists)),
            ("classification_rows", max(1, len(classifications))),
        ):
            rows = arrays[ENTRY_ARRAYS[column]]
            if len(rows) and int(rows.max()) >= limit:
                raise ValueError(f"{column} refer to row {int(rows.max())} of {limit}")
        for name, array in arrays.items():
            writer.add_array(name, array)
        counts = {kind: len(arrays[f"{kind}.{OFFSETS}"]) - 1 for kind in self._codes}
        held = self._codes_by_list(arrays, len(lists))
        counted = [replace(each, counts=codes) for each, codes in zip(lists, held, strict=True)]
        writer.add_document(LISTS, lists_to_json(counted))
        writer.add_document(CLASSIFICATIONS, classifications_to_json(classifications))
        writer.add_document(INDEX, index_to_json(self._count, counts))

    def _codes_by_list(
        self, arrays: Mapping[str, NDArray[Any]], lists: int
    ) -> list[dict[HashKind, int]]:
        """For each list how many distinct codes of each kind its entries carry."""
        held: list[dict[HashKind, int]] = [{} for _ in range(lists)]
        list_rows = arrays[ENTRY_ARRAYS["list_rows"]]
        for kind in HashKind:
            if kind in self._codes:
                offsets, rows = arrays[f"{kind}.{OFFSETS}"], arrays[f"{kind}.{ROWS}"]
                counts = count_codes(offsets, list_rows[rows], lists)
                for row in np.flatnonzero(counts).tolist():
                    held[row][kind] = int(counts[row])
        return held


def group_codes(
    values: UInt8Array,
    owners: Int64Array,
) -> tuple[UInt8Array, UInt32Array, UInt32Array]:
    """Groups codes with the entries that carry them.

    Args:
        values: `(K, nbytes) uint8`, in any order, with repetitions.
        owners: `(K,) int64`, the entry of each value.

    Returns:
        Distinct codes `(C, nbytes) uint8` in the order of their bytes, offsets `(C + 1,) uint32`
        and entry rows `(R,) uint32`, ascending and distinct within a code.

    Raises:
        ValueError: there are too many of them for 32 bits.
    """
    if len(values) > _MAX_ROWS:
        raise ValueError(f"an index holds at most {_MAX_ROWS} codes of a kind")
    order, starts = _sort_codes(values)
    owners = owners[order]
    code_rows = np.cumsum(starts) - 1
    if (~starts[1:] & (owners[1:] <= owners[:-1])).any():
        owners = owners[np.lexsort((owners, code_rows))]
    keep = starts.copy()
    keep[1:] |= owners[1:] != owners[:-1]
    counts = np.bincount(code_rows[keep])
    offsets = np.concatenate([[0], np.cumsum(counts)]).astype(np.uint32)
    return values[order[starts]], offsets, owners[keep].astype(np.uint32)


def count_codes(offsets: UInt32Array, list_rows: UInt16Array, lists: int) -> Int64Array:
    """How many distinct codes each list holds.

    Args:
        offsets: `(C + 1,) uint32`, where each code's entries start.
        list_rows: `(R,) uint16`, the list of each of these entries.
        lists: how many lists there are.

    Returns:
        `(lists,) int64`.
    """
    if len(list_rows) >= len(offsets):  # some code stands in several entries, maybe of one list
        codes = np.repeat(np.arange(len(offsets) - 1), np.diff(offsets))
        pairs = np.sort(codes * lists + list_rows, kind="stable")  # quick: grouped by code already
        first = np.ones(len(pairs), np.bool_)
        first[1:] = pairs[1:] != pairs[:-1]
        list_rows = (pairs[first] % lists).astype(np.uint16)
    return np.bincount(list_rows, minlength=lists).astype(np.int64)


def _sort_codes(values: UInt8Array) -> tuple[Int64Array, NDArray[np.bool_]]:
    """A stable order by bytes, and where in it each distinct code starts.

    Sorts by the leading 8 bytes, then the few rows that tie there by all bytes.
    """
    lead = np.ascontiguousarray(values[:, :8]).view(">u8").ravel().astype(np.uint64)
    order: Int64Array = np.argsort(lead, kind="stable").astype(np.int64)
    lead = lead[order]
    starts = np.ones(len(values), np.bool_)
    starts[1:] = lead[1:] != lead[:-1]
    tied = ~starts
    tied[:-1] |= tied[1:]
    positions = np.flatnonzero(tied)
    if len(positions):
        words = _big_endian_words(values[order[positions]])
        inner = np.lexsort(words.T[::-1])
        order[positions] = order[positions][inner]
        words = words[inner]
        starts[positions[1:]] = (words[1:] != words[:-1]).any(axis=1)
    return order, starts


def _big_endian_words(values: UInt8Array) -> NDArray[np.uint64]:
    """`(K, nbytes)` bytes -> `(K, ceil(nbytes / 8)) uint64` that compare as the bytes do."""
    padded = np.pad(values, ((0, 0), (0, -values.shape[1] % 8)))
    return padded.view(">u8").astype(np.uint64)


def _check_codes(kind: HashKind, owners: Int64Array, values: UInt8Array, entries: int) -> None:
    if values.dtype != np.uint8 or values.shape != (len(owners), kind.nbytes):
        raise ValueError(f"{kind} values have shape (K, {kind.nbytes}) and dtype uint8")
    if owners.dtype != np.int64 or owners.ndim != 1:
        raise ValueError(f"{kind} rows have shape (K,) and dtype int64")
    if len(owners) and not 0 <= owners.min() <= owners.max() < entries:
        raise ValueError(f"{kind} rows refer to entries outside the batch of {entries}")


__all__ = ["IndexBuilder", "IndexRows", "IndexedList", "count_codes", "group_codes"]
