"""Stages what a list's source says is no longer on it, and what it lists again.

Invariants: a file that lists and retracts the same entry contradicts itself; in whatever order the
two come, the entry stays, and the retraction is a rejection or is taken back.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, insert

from hashlists.catalog.id_set import IdSet
from hashlists.catalog.older import version_moments, withdrawal_moments
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

    def __init__(self, change: OpenChange, listed: IdSet, *, latest: bool) -> None:
        """Takes the open change, and the entries that the file lists as far as it was read.

        With `latest`, withdrawals count only where the list has no later word on the entry.
        """
        self._change = change
        self._listed = listed
        self._latest = latest
        self._gone = IdSet()
        self._told_again = IdSet()
        #: Entries of which the file has an older record.
        self.passed = IdSet()
        self._read = 0

    def stage(
        self, connection: Connection, gone: Sequence[Retraction], result: StageResult
    ) -> None:
        """Stages retractions; unknown keys need nothing, and are counted."""
        keys = list({retraction.key for retraction in gone})
        known = ids_of_keys(connection, self._change.by.list_id, keys)
        states = entry_states(connection, list(known.values()), upto=self._change.base)
        versions, withdrawals = self._moments(connection, gone, known, states)
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
            state, told_at = states[entry_id], retraction.told_at
            row = retraction_row(
                entry_id, self._change.change_id, retraction.reason, told_at=told_at
            )
            if Origin.SOURCE in state.retracted_by:
                if self._is_news(entry_id, told_at, withdrawals):
                    self._told_again.add(entry_id)
                    rows.append(row)
                    result.updated += 1
                    self._change.totals.updated += 1
                continue
            if told_at is not None and told_at < versions.get(entry_id, told_at):
                self.passed.add(entry_id)
                result.older_withdrawals += 1
                continue
            if state.in_force:
                self._change.counts[state.count_key] -= 1
            self._gone.add(entry_id)
            rows.append(row)
            result.retracted += 1
            result.unmatchable += retraction.unmatchable
        if rows:
            connection.execute(insert(retractions), rows)

    def _is_news(self, entry_id: int, told_at: int | None, withdrawals: Mapping[int, int]) -> bool:
        """Whether a withdrawal of what is withdrawn already is a later one, or the first timed."""
        if not self._latest or told_at is None or entry_id in self._told_again:
            return False
        known = withdrawals.get(entry_id)
        return known is None or known < told_at

    def _moments(
        self,
        connection: Connection,
        gone: Sequence[Retraction],
        known: Mapping[bytes, int],
        states: Mapping[int, EntryState],
    ) -> tuple[Mapping[int, int], Mapping[int, int]]:
        """When the records of entries were made, and when entries were withdrawn.

        Of those that withdrawals with a time name.
        """
        if not self._latest:
            return {}, {}
        stamped = {known[each.key] for each in gone if each.told_at and each.key in known}
        withdrawn = {each for each in stamped if Origin.SOURCE in states[each].retracted_by}
        return (
            version_moments(connection, states, sorted(stamped - withdrawn)),
            withdrawal_moments(connection, sorted(withdrawn), upto=self._change.base),
        )

    def stage_absent(self, connection: Connection, entry_ids: Sequence[int], reason: str) -> None:
        """Stages the retraction of entries in force that neither `stage` nor the file named."""
        states = entry_states(connection, entry_ids, upto=self._change.base)
        rows = []
        for entry_id in entry_ids:
            self._change.counts[states[entry_id].count_key] -= 1
            self._gone.add(entry_id)
            rows.append(retraction_row(entry_id, self._change.change_id, reason))
        connection.execute(insert(retractions), rows)

    def or_listed(self) -> IdSet:
        """The entries that the file has listed or retracted so far, with older records, too."""
        return self._listed.union(self._gone).union(self.passed)

    def take_back(
        self, connection: Connection, entry_ids: Sequence[int], states: Mapping[int, EntryState]
    ) -> None:
        """Forgets the retractions of entries that the same file lists too."""
        retracted = [entry_id for entry_id in entry_ids if entry_id in self._gone]
        again = [entry_id for entry_id in entry_ids if entry_id in self._told_again]
        for chunk in chunks([*retracted, *again]):
            connection.execute(
                delete(retractions).where(
                    retractions.c.change_id == self._change.change_id,
                    retractions.c.entry_id.in_(chunk),
                )
            )
        for entry_id in again:
            self._told_again.remove(entry_id)
            self._change.totals.updated -= 1
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
