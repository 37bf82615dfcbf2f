"""Stages what a list's source says is no longer on it, and what it lists again.

Invariants: a file that lists and retracts the same entry contradicts itself; in whatever order the
two come, the entry stays, and the retraction is a rejection or is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert

from hashlists.catalog.id_set import IdSet
from hashlists.catalog.retraction_rows import retraction_row
from hashlists.catalog.schema import Action, Origin, retractions
from hashlists.catalog.states import EntryState, chunks, entry_states, ids_of_keys
from hashlists.model import Place, Rejection

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.open_change import OpenChange
    from hashlists.catalog.stage_result import StageResult
    from hashlists.model import Retraction

_CONTRADICTION = "this file both lists and retracts the entry; it stays on the list"


class StagedRetractions:
    """The source's retractions of one import."""

    def __init__(self, change: OpenChange, listed: IdSet) -> None:
        """Takes the open change, and the entries that the file lists as far as it was read."""
        self._change = change
        self._listed = listed
        self._gone = IdSet()
        self._read = 0

    def stage(
        self, connection: Connection, gone: Sequence[Retraction], result: StageResult
    ) -> None:
        """Stages retractions; unknown keys need nothing, and are counted."""
        keys = list({retraction.key for retraction in gone})
        known = ids_of_keys(connection, self._change.by.list_id, keys)
        states = entry_states(connection, list(known.values()), upto=self._change.base)
        rows = []
        for retraction in gone:
            self._read += 1
            entry_id = known.get(retraction.key)
            if entry_id is None and not retraction.unmatchable:
                result.unknown += 1
            if entry_id is None or entry_id in self._gone:
                continue
            if entry_id in self._listed:
                place = Place("retraction", self._read)
                result.rejections.append(Rejection(place, "", _CONTRADICTION))
                continue
            state = states[entry_id]
            if Origin.SOURCE in state.retracted_by:
                continue
            if state.in_force:
                self._change.counts[state.count_key] -= 1
            self._gone.add(entry_id)
            rows.append(retraction_row(entry_id, self._change.change_id, retraction.reason))
            result.unmatchable += retraction.unmatchable
        if rows:
            connection.execute(insert(retractions), rows)
        result.retracted += len(rows)

    def stage_absent(self, connection: Connection, entry_ids: Sequence[int], reason: str) -> None:
        """Stages the retraction of entries in force that neither `stage` nor the file named."""
        rows = []
        for entry_id in entry_ids:
            self._gone.add(entry_id)
            rows.append(retraction_row(entry_id, self._change.change_id, reason))
        connection.execute(insert(retractions), rows)

    def or_listed(self) -> IdSet:
        """The entries that the file has listed or retracted so far."""
        return self._listed.union(self._gone)

    def take_back(
        self, connection: Connection, entry_ids: Sequence[int], states: Mapping[int, EntryState]
    ) -> None:
        """Forgets the retractions of entries that the same file lists too."""
        retracted = [entry_id for entry_id in entry_ids if entry_id in self._gone]
        for chunk in chunks(retracted):
            connection.execute(
                delete(retractions).where(
                    retractions.c.change_id == self._change.change_id,
                    retractions.c.entry_id.in_(chunk),
                )
            )
        for entry_id in retracted:
            self._gone.remove(entry_id)
            self._change.totals.retracted -= 1
            if states[entry_id].in_force:
                self._change.counts[states[entry_id].count_key] += 1

    def relist(self, connection: Connection, entry_ids: Sequence[int]) -> None:
        """Ends the source's earlier retractions of entries that the file lists again."""
        rows = [
            retraction_row(entry_id, self._change.change_id, "listed again", action=Action.RESTORE)
            for entry_id in entry_ids
        ]
        if rows:
            connection.execute(insert(retractions), rows)
