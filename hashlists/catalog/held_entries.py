"""New entries whose versions are staged, held until they go in many at once, in key order.

The unique index over keys is filled at random, so that every transaction of a large import would
write most of its pages again. Written in key order by the hundred thousand, a page takes many keys
at a time; and each batch gets its ids in key order, so that the table's rows go in at few places.
Invariants: no key is held that the list holds, or twice; what is held is stored before anything
looks keys up, and before the commit. A change that dies meanwhile is removed by its versions, as
ever.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from hashlists.catalog.bulk import INSERT_ENTRIES
from hashlists.catalog.key_filter import KeyFilter
from hashlists.catalog.states import ids_of_keys

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from hashlists.catalog.open_change import OpenChange

#: Entries that are held, and bytes of their keys, before they are stored.
MAX_HELD = 240_000
MAX_HELD_BYTES = 24 * 2**20
#: Entries of one transaction. A row of theirs takes a fraction of what a version takes.
STORED_AT_ONCE = 120_000
#: Keys of a batch from which on its ids are given in key order; a short file keeps its own.
ARRANGED_FROM = 5_000

_WORD = 8


@dataclass(frozen=True, slots=True)
class NewKeys:
    """The keys of one batch, `K` of them, no two of them equal.

    Attributes:
        keys: as they came; in the matrix the same, where all are of one length.
        matrix: `(K, length) uint8`, or None.
        hashes: `(K,) uint64`, drawn anew by each process, so that nobody can make a file whose keys
            all look alike.
        words: `(K,) uint64`, ascending as the keys do, or nearly.
        order: `(K,) intp`, positions by `words`; of few keys as they came.
    """

    keys: Sequence[bytes]
    matrix: NDArray[np.uint8] | None
    hashes: NDArray[np.uint64]
    words: NDArray[np.uint64]
    order: NDArray[np.intp]

    @property
    def rank(self) -> NDArray[np.int64]:
        """`(K,)`: how many keys come before each."""
        ranks = np.empty(len(self.order), np.int64)
        ranks[self.order] = np.arange(len(ranks))
        return ranks


@dataclass(frozen=True, slots=True)
class _Held:
    """Keys that are held. None of the batch's objects is, which would keep its memory in pieces.

    Attributes:
        joined: the keys one after the other.
        ends: `(K,) int64`: where each ends therein.
        length: of all of them; None where they differ.
        ids: `(K,) int64`: of their entries.
        hashes: as in `NewKeys`, but ascending.
        words: as in `NewKeys`.
    """

    joined: bytes
    ends: NDArray[np.int64]
    length: int | None
    ids: NDArray[np.int64]
    hashes: NDArray[np.uint64]
    words: NDArray[np.uint64]

    @classmethod
    def of(cls, new: NewKeys, first: int) -> _Held:
        return cls(
            joined=b"".join(new.keys),
            ends=np.cumsum(np.fromiter(map(len, new.keys), np.int64, len(new.keys))),
            length=None if new.matrix is None else new.matrix.shape[1],
            ids=first + new.rank,
            hashes=np.sort(new.hashes),
            words=new.words,
        )

    def __iter__(self) -> Iterator[bytes]:
        start = 0
        for end in self.ends.tolist():
            yield self.joined[start:end]
            start = end


class HeldEntries:
    """Of one change, of a list that held no entry before it."""

    def __init__(self, change: OpenChange) -> None:
        self._change = change
        self._parts: list[_Held] = []
        self._rows = self._bytes = 0
        self._known = KeyFilter()
        self._common: int | None = None

    def look_at(self, keys: Sequence[bytes]) -> NewKeys:
        """Takes the keys of a batch, of which there are some."""
        if self._common is None:  # for good: words of all batches must compare
            self._common = _beginning_in_common(keys)
        lengths = set(map(len, keys))
        matrix = None
        if len(lengths) == 1 and (length := lengths.pop()) > self._common:
            matrix = np.frombuffer(b"".join(keys), np.uint8).reshape(len(keys), length)
        hashes = np.fromiter(map(hash, keys), np.int64, len(keys)).view(np.uint64)
        words = _words(keys, matrix, self._common)
        order = np.argsort(words) if len(keys) >= ARRANGED_FROM else np.arange(len(keys))
        return NewKeys(keys, matrix, hashes, words, order)

    def has_none(self, connection: Connection, new: NewKeys) -> bool:
        """Whether none of the keys is held or stored; rarely it denies that wrongly."""
        possible = self._known.possible(new.hashes)
        if not len(possible):
            return True
        some = new.hashes[possible]
        if any(_has_any(part.hashes, some) for part in self._parts):
            return False
        keys = [new.keys[row] for row in possible.tolist()]
        return not ids_of_keys(connection, self._change.by.list_id, keys)

    def hold(self, new: NewKeys, first: int) -> None:
        """Takes new entries, whose ids are in a row for the keys in their order."""
        held = _Held.of(new, first)
        self._parts.append(held)
        self._known.add(new.hashes)
        self._rows += len(held.ids)
        self._bytes += len(held.joined)

    def note(self, keys: Sequence[bytes]) -> None:
        """Remembers keys that were stored otherwise."""
        self._known.add(self.look_at(keys).hashes)

    def store_many(self) -> None:
        """Stores what is held if it is much."""
        if self._rows >= MAX_HELD or self._bytes >= MAX_HELD_BYTES:
            self.store()

    def store(self) -> None:
        """Stores all that is held, in short transactions.

        Raises:
            CatalogError: the database failed; nothing of the change will be seen.
        """
        if not self._parts:
            return
        ids = np.concatenate([part.ids for part in self._parts])
        order = np.argsort(np.concatenate([part.words for part in self._parts]))
        columns = (
            ids,
            [self._change.by.list_id] * len(ids),
            [self._change.change_id] * len(ids),
            _all_keys(self._parts),
        )
        for start in range(0, len(order), STORED_AT_ONCE):
            with self._change.transaction() as connection:
                part = order[start : start + STORED_AT_ONCE]
                INSERT_ENTRIES.run(connection, columns, order=part)
        self._parts, self._rows, self._bytes = [], 0, 0


def _has_any(hashes: NDArray[np.uint64], some: NDArray[np.uint64]) -> bool:
    """Whether one of some is among many that ascend."""
    nearest = np.minimum(np.searchsorted(hashes, some), len(hashes) - 1)
    return bool((hashes[nearest] == some).any())


def _beginning_in_common(keys: Sequence[bytes]) -> int:
    """Bytes with which all of the keys begin."""
    low, high = min(keys), max(keys)
    pairs = enumerate(zip(low, high, strict=False))
    return next((at for at, (one, other) in pairs if one != other), min(len(low), len(high)))


def _words(
    keys: Sequence[bytes], matrix: NDArray[np.uint8] | None, common: int
) -> NDArray[np.uint64]:
    """Of each key the eight bytes after those in common, as a number.

    That puts neighbours together, which is all that it is for; exact order costs several times as
    much.
    """
    if matrix is None:
        told = b"".join([key[common : common + _WORD].ljust(_WORD, b"\0") for key in keys])
        return np.frombuffer(told, ">u8").astype(np.uint64)
    words = np.zeros((len(keys), _WORD), np.uint8)
    some = matrix[:, common : common + _WORD]
    words[:, : some.shape[1]] = some
    return words.view(">u8")[:, 0].astype(np.uint64)


def _all_keys(parts: Sequence[_Held]) -> Sequence[bytes] | NDArray[np.uint8]:
    """The keys of all parts, as a matrix where they are of one length."""
    lengths = {part.length for part in parts}
    if len(lengths) == 1 and (length := lengths.pop()) is not None:
        joined = b"".join([part.joined for part in parts])
        return np.frombuffer(joined, np.uint8).reshape(-1, length)
    return [key for part in parts for key in part]
