"""Stages codes that are derived here together with the entries that an open change lists.

Invariants: they are confirmed with the change's commit, or gone with it; what stands like that
already is not written; a value that was purged from the list is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from hashlists.catalog.derived import (
    DerivedAction,
    changes_anything,
    insert_acts,
    key_of,
    newest_acts,
    problem_of,
)
from hashlists.catalog.schema import derived_hashes
from hashlists.catalog.states import chunks, ids_of_keys, staged_actions, staged_versions
from hashlists.errors import DerivedHashError
from hashlists.model import HashKind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.derived import FileCode, Key
    from hashlists.catalog.id_set import IdSet
    from hashlists.catalog.open_change import OpenChange
    from hashlists.catalog.tombstones import Tombstones


@dataclass(slots=True)
class DerivedResult:
    """What became of codes that were staged.

    Attributes:
        codes: how many the list has by this change, those that it had already among them.
        barred: how many were left out, since such a value was purged from the list.
        updated: entries that nothing else of the change alters.
    """

    codes: int = 0
    barred: int = 0
    updated: int = 0

    def add(self, other: DerivedResult) -> None:
        """Adds the figures of others."""
        self.codes += other.codes
        self.barred += other.barred
        self.updated += other.updated


def stage_derived(
    connection: Connection,
    change: OpenChange,
    rows: Sequence[tuple[bytes, FileCode]],
    *,
    listed: IdSet,
    tombstones: Tombstones,
) -> DerivedResult:
    """Confirms codes of entries, each named by its key; those that are not `listed` are passed by.

    Raises:
        DerivedHashError: one can be no code of any entry; then nothing is staged.
    """
    for place, (_, code) in enumerate(rows, start=1):
        if (problem := problem_of(code)) is not None:
            raise DerivedHashError(f"derived code {place}: {problem}")
    result = DerivedResult()
    known = ids_of_keys(connection, change.by.list_id, list(dict.fromkeys(key for key, _ in rows)))
    given = {}
    for key, code in rows:
        entry_id = known.get(key)
        if entry_id is None or entry_id not in listed:
            continue
        if tombstones.bars(code.kind, code.value):
            result.barred += 1
            continue
        row = code.of_entry(entry_id)
        given[key_of(row)] = row
    ids = sorted({row.entry_id for row in given.values()})
    acts = newest_acts(connection, ids, upto=change.base)
    staged = _staged(connection, change.change_id, ids)
    new = [
        row
        for key, row in given.items()
        if key not in staged and changes_anything(acts, row, DerivedAction.CONFIRM)
    ]
    insert_acts(connection, change.change_id, [(row, DerivedAction.CONFIRM) for row in new])
    result.codes = len(given.keys() - staged)
    touched = {
        *staged_versions(connection, ids, change.change_id),
        *staged_actions(connection, ids, change.change_id),
        *(entry_id for entry_id, _, _ in staged),
    }
    result.updated = len({row.entry_id for row in new} - touched)
    change.totals.updated += result.updated
    return result


def _staged(connection: Connection, change_id: int, entry_ids: Sequence[int]) -> set[Key]:
    """What the change has staged of these entries before."""
    table = derived_hashes.c
    found: set[Key] = set()
    for chunk in chunks(entry_ids):
        query = select(table.entry_id, table.kind, table.value).where(
            table.change_id == change_id, table.entry_id.in_(chunk)
        )
        for entry_id, kind, value in connection.execute(query):
            found.add((entry_id, HashKind(kind), bytes(value)))
    return found
