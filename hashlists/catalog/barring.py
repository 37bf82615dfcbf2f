"""Keeps out of an import what was purged, and nothing that merely shares a value with it.

Invariants: no purged value enters the list with an import, but for an entry that holds it already:
that is another entry, which nobody purged. A record is barred as a whole where its key was purged,
where it carries a digest of a purged file, since that is the same file, and where nothing of its
own would be left. A perceptual code may be that of another file: it alone is left out, and what the
record tells besides is taken. What is barred is known by name still, so it never counts as absent.
Nothing here writes.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from sqlalchemy import select

from hashlists.catalog.bulk import take
from hashlists.catalog.engine import catalog_errors
from hashlists.catalog.schema import KIND_BITS, entry_versions, extra_hashes
from hashlists.catalog.states import chunks, entry_states, ids_of_keys
from hashlists.model import HashKind, Rejection

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.open_change import OpenChange
    from hashlists.catalog.tombstones import Tombstones
    from hashlists.model import EntryBatch

    #: A value with its kind.
    Hash = tuple[HashKind, bytes]

_PURGED = "this entry was purged from the list for good; it cannot come back by an import"
_NONE: frozenset[Hash] = frozenset()


@dataclass(frozen=True, slots=True)
class Admitted:
    """What of a batch may be staged.

    Attributes:
        batch: the rows that are not barred, without the values that are.
        barred: the others, each with its place.
        left_out: how many values rows of `batch` lost.
        named: entries that the list holds and that barred rows speak of.
    """

    batch: EntryBatch
    barred: list[Rejection] = field(default_factory=list)
    left_out: int = 0
    named: Sequence[int] = ()


def admit(change: OpenChange, tombstones: Tombstones, batch: EntryBatch) -> Admitted:
    """Judges a batch by what was purged from the list.

    The content digests stay those of the records as they came: the same record says nothing new
    when it comes again.

    Raises:
        CatalogError: the database failed.
    """
    barred = tombstones.rows_of_keys(batch)
    values = tombstones.values_by_row(batch)
    if not (barred or values):
        return Admitted(batch)
    with catalog_errors(), change.engine.connect() as connection:
        rows = sorted(barred | values.keys())
        known = ids_of_keys(connection, change.by.list_id, [batch.keys[row] for row in rows])
        own = _own_values(connection, list(known.values()), change.base)
    ids = {row: known[batch.keys[row]] for row in rows if batch.keys[row] in known}
    gone = {row: found - own.get(ids.get(row, 0), _NONE) for row, found in values.items()}
    gone = {row: found for row, found in gone.items() if found and row not in barred}
    barred |= {row for row, found in gone.items() if any(kind.is_digest for kind, _ in found)}
    gone = {row: found for row, found in gone.items() if row not in barred}
    batch = _without(batch, gone)
    barred |= {row for row in gone if all(part[row] is None for part in batch.hashes.values())}
    return Admitted(
        take(batch, [row for row in range(len(batch)) if row not in barred]) if barred else batch,
        [Rejection(batch.place_at(row), "", _PURGED) for row in sorted(barred)],
        sum(len(found) for row, found in gone.items() if row not in barred),
        [ids[row] for row in sorted(barred) if row in ids],
    )


def _own_values(
    connection: Connection, entry_ids: Sequence[int], base: int
) -> dict[int, frozenset[Hash]]:
    """By entry the values of its version at revision `base`."""
    states = entry_states(connection, entry_ids, upto=base)
    entry_of = {state.version_id: entry_id for entry_id, state in states.items()}
    found: dict[int, set[Hash]] = {}
    for version_id, kind, value in _values(connection, list(entry_of)):
        found.setdefault(entry_of[version_id], set()).add((kind, value))
    return {entry_id: frozenset(values) for entry_id, values in found.items()}


def _values(
    connection: Connection, version_ids: Sequence[int]
) -> Iterator[tuple[int, HashKind, bytes]]:
    columns = [entry_versions.c[kind.value] for kind in KIND_BITS]
    for chunk in chunks(version_ids):
        firsts = select(entry_versions.c.version_id, *columns)
        for version_id, *row in connection.execute(
            firsts.where(entry_versions.c.version_id.in_(chunk))
        ):
            for kind, value in zip(KIND_BITS, row, strict=True):
                if value is not None:
                    yield version_id, kind, bytes(value)
        extras = select(extra_hashes.c.version_id, extra_hashes.c.kind, extra_hashes.c.value)
        for version_id, kind, value in connection.execute(
            extras.where(extra_hashes.c.version_id.in_(chunk))
        ):
            yield version_id, HashKind(kind), bytes(value)


def _without(batch: EntryBatch, gone: Mapping[int, frozenset[Hash]]) -> EntryBatch:
    """The batch without those values; the next one of a kind that a source gave takes its place."""
    if not gone:
        return batch
    hashes = {kind: list(values) for kind, values in batch.hashes.items()}
    for kind, values in hashes.items():
        for row, found in gone.items():
            if (kind, values[row]) in found:
                values[row] = None
    extras = []
    for each in batch.extra_hashes:
        found = gone.get(each.row, _NONE)
        if (each.kind, each.value) in found:
            continue
        column = hashes.get(each.kind)
        if found and column is not None and column[each.row] is None and each.derivation is None:
            column[each.row] = each.value
        else:
            extras.append(each)
    return replace(batch, hashes=hashes, extra_hashes=extras)


__all__ = ["Admitted", "admit"]
