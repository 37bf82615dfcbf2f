"""What the tests of following share: an oracle of a catalog, and all that an index finds."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from hashlists.model import HashKind
from tests.catalog_support import Item, value

if TYPE_CHECKING:
    from hashlists.catalog import CatalogReader
    from hashlists.model import ListState
    from matcher.index.match_index import MatchIndex

NAMES = "abcdefgh"
VERSIONS = 3


def extra(name: str) -> tuple[HashKind, bytes]:
    return HashKind.PDQ, value(HashKind.PDQ, ("extra", name))


def all_values(kind: HashKind) -> list[bytes]:
    """Every value that any entry may have."""
    found = [
        Item(name, (kind,), version).hashes[kind] for name in NAMES for version in range(VERSIONS)
    ]
    return found + [extra(name)[1] for name in NAMES if kind is HashKind.PDQ]


UNIVERSE = {
    kind: np.frombuffer(b"".join(all_values(kind)), np.uint8).reshape(-1, kind.nbytes)
    for kind in HashKind
}

#: What is known of an entry: list, size, flags, classification, values.
Known = tuple[str, int | None, int, object, frozenset[tuple[HashKind, bytes]]]


@dataclass
class State:
    """What a revision has in force."""

    entries: dict[int, Known] = field(default_factory=dict)
    expires: dict[int, int] = field(default_factory=dict)
    lists: dict[str, ListState] = field(default_factory=dict)

    def at(self, now: int) -> dict[int, Known]:
        return {
            entry_id: known
            for entry_id, known in self.entries.items()
            if not 0 < self.expires[entry_id] <= now
        }


def read_state(reader: CatalogReader) -> State:
    """The oracle: everything, read from the beginning."""
    records = {record.list_id: record.hash_list for record in reader.lists()}
    classes = reader.classifications()
    state = State(lists={each.name: each.state for each in records.values()})
    for columns in reader.entry_columns():
        values: list[set[tuple[HashKind, bytes]]] = [set() for _ in range(len(columns))]
        for kind, (rows, codes) in columns.codes.items():
            for row, code in zip(rows.tolist(), codes, strict=True):
                values[row].add((kind, code.tobytes()))
        for row, entry_id in enumerate(columns.entry_ids.tolist()):
            size = int(columns.sizes[row])
            state.entries[entry_id] = (
                records[int(columns.list_ids[row])].name,
                None if size < 0 else size,
                int(columns.flags[row]),
                classes.get(int(columns.classification_ids[row])),
                frozenset(values[row]),
            )
            state.expires[entry_id] = int(columns.expires[row])
    return state


def found_in(index: MatchIndex) -> dict[int, Known]:
    """Everything that searches find, by the entries that they lead to."""
    rows: dict[int, set[tuple[HashKind, bytes]]] = {}
    for kind, queries in UNIVERSE.items():
        hits = index.search(kind, queries, 0)
        for query, row in zip(hits.query_rows.tolist(), hits.entry_rows.tolist(), strict=True):
            rows.setdefault(row, set()).add((kind, queries[query].tobytes()))
    found: dict[int, Known] = {}
    for row, values in rows.items():
        entry = index.entry(row)
        assert entry.catalog_id not in found, "an entry is found in two rows"
        found[entry.catalog_id] = (
            index.lists[entry.list_row].name,
            entry.size,
            int(entry.flags),
            entry.classification,
            frozenset(values),
        )
    return found
