"""Looks at the entries of a list before it is let in: whom would they match that they must not?

Entries are shown batch by batch, as an import validates them. Their codes are compared with those
of harmless pictures, by the index's own exact search, and their digests with the catalog's lists of
known-good files. Memory holds the references and one batch, however long the list.

What is found is told by counts and places, never by hashes. Nothing is judged or refused here: an
entry that a reference lies near may be right, for lists hold crowded codes, too. A person looks.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

from hashlists.model import DIGEST_KINDS, Harm, HashKind
from matcher.index.sealed import choose_parameters, open_sealed, seal

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from hashlists.model import EntryBatch
    from matcher.index.base import CodeIndex, UInt8Array
    from matcher.index.match_index import MatchIndex

#: Findings of each sort that are told singly; all are counted.
MAX_TOLD = 100


@dataclass(frozen=True, slots=True)
class Finding:
    """One entry that stands out.

    Attributes:
        place: of its record.
        kind: of the hash that was found.
        reference: the harmless picture that it is near, or the known-good list that it stands in.
        distance: in bits; 0 for digests.
    """

    place: str
    kind: HashKind
    reference: str
    distance: int


@dataclass(slots=True)
class Findings:
    """Entries that stand out for one reason: how many, by what, and the first of them."""

    entries: int = 0
    by_reference: Counter[str] = field(default_factory=Counter)
    first: list[Finding] = field(default_factory=list)

    def add(self, of_entry: Sequence[Finding]) -> None:
        """Counts an entry once, by the nearest of what was found of it."""
        nearest = min(of_entry, key=lambda each: each.distance)
        self.entries += 1
        self.by_reference[nearest.reference] += 1
        if len(self.first) < MAX_TOLD:
            self.first.append(nearest)


class References:
    """Codes of harmless pictures, in indexes.

    Args:
        codes: kind, code and what it shows, in words fit to be told.
    """

    def __init__(self, codes: Iterable[tuple[HashKind, bytes, str]]) -> None:
        by_kind: dict[HashKind, dict[bytes, str]] = {}
        for kind, code, name in codes:
            by_kind.setdefault(kind, {}).setdefault(code, name)
        self._indexes: dict[HashKind, CodeIndex] = {}
        self._names: dict[HashKind, list[str]] = {}
        for kind, named in by_kind.items():
            ordered = sorted(named)
            self._indexes[kind] = _sealed(kind, _rows(ordered, kind))
            self._names[kind] = [named[code] for code in ordered]

    def __len__(self) -> int:
        return sum(map(len, self._names.values()))

    @property
    def kinds(self) -> Mapping[HashKind, int]:
        """How many codes there are of each kind."""
        return {kind: len(names) for kind, names in self._names.items()}

    def near(
        self, kind: HashKind, queries: UInt8Array, threshold: int
    ) -> list[tuple[int, str, int]]:
        """Query row, reference and distance of whatever lies within the threshold."""
        if kind not in self._indexes:
            return []
        hits = self._indexes[kind].search(queries, threshold)
        names = self._names[kind]
        return [
            (query, names[row], distance)
            for query, row, distance in zip(
                hits.query_rows.tolist(),
                hits.code_rows.tolist(),
                hits.distances.tolist(),
                strict=True,
            )
        ]


class Screening:
    """Watches an import; `observe` is called with every validated batch.

    Args:
        references: codes of harmless pictures.
        thresholds: bits within which a code counts as near, by kind.
        index: of the catalog, for its lists of known-good files; None where it has none.

    Attributes:
        near: entries near a reference.
        known_good: entries whose digests stand in a known-good list.
        values: hashes seen, by kind, further ones of an entry included.
    """

    def __init__(
        self,
        references: References,
        thresholds: Mapping[HashKind, int],
        index: MatchIndex | None = None,
    ) -> None:
        self.near = Findings()
        self.known_good = Findings()
        self.values: Counter[HashKind] = Counter()
        self._references = references
        self._thresholds = thresholds
        self._index = index

    def observe(self, batch: EntryBatch) -> None:
        """Looks at one batch of entries."""
        near: dict[int, list[Finding]] = {}
        good: dict[int, list[Finding]] = {}
        for kind, (rows, values) in _columns(batch).items():
            self.values[kind] += len(rows)
            queries = _rows(values, kind)
            if kind in self._thresholds:
                found = self._references.near(kind, queries, self._thresholds[kind])
                for query, name, distance in found:
                    told = Finding(str(batch.place_at(rows[query])), kind, name, distance)
                    near.setdefault(rows[query], []).append(told)
            elif kind in DIGEST_KINDS and self._index is not None:
                for query, name in _in_known_good(self._index, kind, queries):
                    told = Finding(str(batch.place_at(rows[query])), kind, name, 0)
                    good.setdefault(rows[query], []).append(told)
        for row in sorted(near):
            self.near.add(near[row])
        for row in sorted(good):
            self.known_good.add(good[row])


def _columns(batch: EntryBatch) -> dict[HashKind, tuple[list[int], list[bytes]]]:
    """Of each kind the rows that carry it, and their values, further ones included."""
    columns: dict[HashKind, tuple[list[int], list[bytes]]] = {}
    for kind, values in batch.hashes.items():
        rows = [row for row, value in enumerate(values) if value is not None]
        columns[kind] = rows, [value for value in values if value is not None]
    for each in batch.extra_hashes:
        rows, own = columns.setdefault(each.kind, ([], []))
        rows.append(each.row)
        own.append(each.value)
    return columns


def _in_known_good(index: MatchIndex, kind: HashKind, queries: UInt8Array) -> list[tuple[int, str]]:
    """Query row and list of those digests that stand in a known-good list."""
    found = index.search(kind, queries, 0)
    if not len(found):
        return []
    good = [each.harm is Harm.KNOWN_GOOD for each in index.lists]
    list_rows = index.entries.take(found.entry_rows).list_rows
    hits = zip(found.query_rows.tolist(), list_rows.tolist(), strict=True)
    return [(query, index.lists[row].name) for query, row in hits if good[row]]


def _rows(values: Sequence[bytes], kind: HashKind) -> UInt8Array:
    return np.frombuffer(b"".join(values), np.uint8).reshape(-1, kind.nbytes)


def _sealed(kind: HashKind, codes: UInt8Array) -> CodeIndex:
    parameters = choose_parameters(kind, len(codes))
    arrays: dict[str, Any] = dict(seal(kind, codes, parameters))
    return open_sealed(kind, arrays, parameters)


__all__ = ["MAX_TOLD", "Finding", "Findings", "References", "Screening"]
