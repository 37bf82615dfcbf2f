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

Values = frozenset[tuple[HashKind, bytes]]
#: What is known of an entry: list, size, flags, classification, how values were derived, values.
Known = tuple[str, int | None, int, object, frozenset[tuple[HashKind, bytes, str | None]], Values]


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
        own: list[set[tuple[HashKind, bytes]]] = [set() for _ in range(len(columns))]
        made: list[dict[tuple[HashKind, bytes], set[str]]] = [{} for _ in range(len(columns))]
        for kind, (rows, codes) in columns.codes.items():
            derived = dict(zip(*map(list, columns.derived.get(kind, ((), ()))), strict=True))
            for place, (row, code) in enumerate(zip(rows.tolist(), codes, strict=True)):
                values[row].add(each := (kind, code.tobytes()))
                if place in derived:
                    made[row].setdefault(each, set()).add(derived[place])
                else:
                    own[row].add(each)
        for row, entry_id in enumerate(columns.entry_ids.tolist()):
            size = int(columns.sizes[row])
            state.entries[entry_id] = (
                records[int(columns.list_ids[row])].name,
                None if size < 0 else size,
                int(columns.flags[row]),
                classes.get(int(columns.classification_ids[row])),
                frozenset(
                    (*each, min(names)) for each, names in made[row].items() if each not in own[row]
                ),
                frozenset(values[row]),
            )
            state.expires[entry_id] = int(columns.expires[row])
    return state


def found_in(index: MatchIndex) -> dict[int, Known]:
    """Everything that searches find, by the entries that they lead to."""
    rows: dict[int, set[tuple[HashKind, bytes]]] = {}
    made: dict[int, set[tuple[HashKind, bytes, str | None]]] = {}
    for kind, queries in UNIVERSE.items():
        hits = index.search(kind, queries, 0)
        columns = (hits.query_rows, hits.entry_rows, hits.derivation_rows)
        for query, row, name in zip(*(each.tolist() for each in columns), strict=True):
            code = queries[query].tobytes()
            rows.setdefault(row, set()).add((kind, code))
            if (how := index.derivations[name]) != "":
                made.setdefault(row, set()).add((kind, code, how))
    found: dict[int, Known] = {}
    for row, values in rows.items():
        entry = index.entry(row)
        assert entry.catalog_id not in found, "an entry is found in two rows"
        found[entry.catalog_id] = (
            index.lists[entry.list_row].name,
            entry.size,
            int(entry.flags),
            entry.classification,
            frozenset(made.get(row, ())),
            frozenset(values),
        )
    return found
