"""Rolls a list back to an earlier revision, and tells beforehand what that would change.

Invariants: a rollback appends and never deletes; what was purged stays purged. An exchange that
fills the list goes on behind what it brought last, so with the rollback all of it is owed anew.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from sqlalchemy import func, select, union

from hashlists.catalog import derived
from hashlists.catalog.bulk import INSERT_EXTRA_HASHES, BulkInsert
from hashlists.catalog.engine import catalog_errors, refresh_statistics
from hashlists.catalog.exchanges import exchange_of_list, owe_full_fetch
from hashlists.catalog.older import withdrawal_moments
from hashlists.catalog.open_change import OpenChange, open_change
from hashlists.catalog.retraction_rows import count_actions, insert_actions
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    Action,
    Origin,
    changes,
    derived_hashes,
    entry_versions,
    extra_hashes,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.states import EntryState, chunks, entry_states
from hashlists.catalog.text_uses import count_uses
from hashlists.errors import RevisionNotFoundError
from hashlists.model import Revision, RollbackReport

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Sequence

    from sqlalchemy import Connection, Engine

    from hashlists.catalog.commit import ChangeAuthor

_INSERT_VERSIONS = BulkInsert(entry_versions, [column.name for column in entry_versions.columns])
_CLASSIFICATION = _INSERT_VERSIONS.columns.index("classification_id")
_HANDLING = _INSERT_VERSIONS.columns.index("handling_id")


def rollback(engine: Engine, by: ChangeAuthor, to_revision: int) -> Revision | None:
    """Appends what makes the list's entries those of `to_revision`, staged like an import.

    Entries that came later are retracted in the source's name, so that a corrected file brings
    them back. What was purged stays purged. An exchange that fills the list is fetched anew as a
    whole next, which brings back what it lists.

    Returns:
        The revision, or None when the list stood like that already.

    Raises:
        RevisionNotFoundError: the list did not exist then, or there is no such revision yet.
        ImportInProgressError: an import of this list is under way.
    """
    _require_revision(engine, by, to_revision)
    change = open_change(engine, by)
    try:
        with catalog_errors(), engine.connect() as connection:
            touched = _touched_since(connection, by.list_id, to_revision)
        staging = _Rollback(change, to_revision)
        for chunk in chunks(touched):
            staging.stage(chunk)
        with change.final_transaction() as connection:
            revision = change.commit(connection)
            if revision is not None:
                owe_full_fetch(connection, by.list_id)
        refresh_statistics(engine, change.totals.rows)
        return revision
    finally:
        change.abort()


def preview_rollback(engine: Engine, by: ChangeAuthor, to_revision: int) -> RollbackReport:
    """What rolling a list back would change; changes nothing.

    Raises:
        RevisionNotFoundError: the list did not exist then, or there is no such revision yet.
    """
    _require_revision(engine, by, to_revision)
    counts: Counter[str] = Counter()
    with catalog_errors(), engine.connect() as connection:
        for chunk in chunks(_touched_since(connection, by.list_id, to_revision)):
            now = entry_states(connection, chunk)
            then = entry_states(connection, chunk, upto=to_revision)
            words = {i: _way_back_in_words(state, then.get(i)) for i, state in now.items()}
            for entry_id in _derived_otherwise(connection, chunk, to_revision):
                if entry_id in then:  # what came later has nothing to get back
                    words[entry_id] = {*words[entry_id], "reverted"}
            for each in words.values():
                counts.update(each)
        purged = (
            select(func.count())
            .select_from(purged_entries)
            .join(changes, changes.c.change_id == purged_entries.c.change_id)
            .where(purged_entries.c.list_id == by.list_id, changes.c.revision > to_revision)
        )
        counts["purged"] = connection.execute(purged).scalar_one()
        feed = exchange_of_list(connection, by.list_id)
    report = RollbackReport(
        revision=None,
        to_revision=to_revision,
        withdrawn=counts["withdrawn"],
        reverted=counts["reverted"],
        retracted=counts["retracted"],
        restored=counts["restored"],
        purged=counts["purged"],
    )
    return replace(report, exchange=feed.name) if feed and report.changes else report


def _derived_otherwise(
    connection: Connection, entry_ids: Sequence[int], to_revision: int
) -> set[int]:
    """Those of the entries whose derived codes were others then."""
    now = derived.newest_acts(connection, entry_ids)
    then = derived.newest_acts(connection, entry_ids, upto=to_revision)
    return {row.entry_id for row, _ in derived.way_back(now, then)}


def _way_back_in_words(state: EntryState, goal: EntryState | None) -> Iterable[str]:
    done = _way_back(state, goal).values()
    if goal is None:
        return ["withdrawn"] if done else []
    words = [] if goal.says_the_same(state) else ["reverted"]
    if done:
        words.append("retracted" if Action.RETRACT in done else "restored")
    return words


def _require_revision(engine: Engine, by: ChangeAuthor, number: int) -> None:
    """Refuses a revision at which the list was not there.

    Raises:
        RevisionNotFoundError: the list did not exist then, or there is no such revision yet.
    """
    with catalog_errors(), engine.connect() as connection:
        first = select(func.min(changes.c.revision)).where(changes.c.list_id == by.list_id)
        created = connection.execute(first).scalar()
        exists = connection.execute(
            select(revisions.c.number).where(revisions.c.number == number)
        ).scalar()
    if exists is None or created is None or number < created:
        raise RevisionNotFoundError(
            f"list {by.list_name!r} has no revision {number}; `lists revisions` shows them"
        )


def _touched_since(connection: Connection, list_id: int, revision: int) -> list[int]:
    """Entries of a list that later revisions gave a version, retracted or restored, ascending."""
    later = list(
        connection.execute(
            select(changes.c.change_id).where(
                changes.c.list_id == list_id, changes.c.revision > revision
            )
        ).scalars()
    )
    touched: set[int] = set()
    for change_id in later:
        first = change_id * VERSIONS_PER_CHANGE
        version = entry_versions.c.version_id
        query = union(
            select(entry_versions.c.entry_id).where(
                version >= first, version < first + VERSIONS_PER_CHANGE
            ),
            select(retractions.c.entry_id).where(retractions.c.change_id == change_id),
            select(derived_hashes.c.entry_id).where(derived_hashes.c.change_id == change_id),
        )
        touched.update(connection.execute(query).scalars())
    return sorted(touched)


class _Rollback:
    """Stages the way back from a change's base to an earlier revision."""

    def __init__(self, change: OpenChange, to_revision: int) -> None:
        self._change = change
        self._to_revision = to_revision
        self._next_version = change.change_id * VERSIONS_PER_CHANGE

    def stage(self, entry_ids: Sequence[int]) -> None:
        """Stages what these entries need."""
        change = self._change
        with change.transaction() as connection:
            now = entry_states(connection, entry_ids, upto=change.base)
            then = entry_states(connection, entry_ids, upto=self._to_revision)
            actions: dict[int, dict[Origin, Action]] = {}
            copies: dict[int, int] = {}
            for entry_id, state in now.items():
                goal = then.get(entry_id)
                done = _way_back(state, goal)
                if done:
                    actions[entry_id] = done
                if goal is not None and not goal.says_the_same(state):
                    copies[entry_id] = goal.version_id
                count_actions(change.counts, change.totals, state, goal or state, done)
            change.totals.updated += len(copies)
            reason = f"rolled back to revision {self._to_revision}"
            told_at = withdrawal_moments(connection, list(actions), upto=self._to_revision)
            insert_actions(connection, change.change_id, reason, actions, told_at=told_at)
            self._copy_versions(connection, list(copies.values()))
            counted = copies.keys() | now.keys() - then.keys()
            change.totals.updated += self._derive_back(connection, entry_ids, counted)

    def _derive_back(
        self, connection: Connection, entry_ids: Sequence[int], counted: Collection[int]
    ) -> int:
        """Brings back the derived codes of then; how many entries are updated by that alone.

        Args:
            connection: of the change.
            entry_ids: whose codes.
            counted: those that are counted already: they get an earlier version, or are retracted.
        """
        acts = derived.way_back(
            derived.newest_acts(connection, entry_ids, upto=self._change.base),
            derived.newest_acts(connection, entry_ids, upto=self._to_revision),
        )
        derived.insert_acts(connection, self._change.change_id, acts)
        return len({row.entry_id for row, _ in acts} - set(counted))

    def _copy_versions(self, connection: Connection, version_ids: Sequence[int]) -> None:
        query = select(entry_versions).where(entry_versions.c.version_id.in_(version_ids))
        rows, new_ids = [], {}
        for row in connection.execute(query.order_by(entry_versions.c.version_id)).mappings():
            new_ids[row["version_id"]] = self._next_version
            copy = {
                **row,
                "version_id": self._next_version,
                "change_id": self._change.change_id,
            }
            rows.append(tuple(copy[name] for name in _INSERT_VERSIONS.columns))
            self._next_version += 1
        columns = list(zip(*rows, strict=True))
        _INSERT_VERSIONS.run(connection, columns)
        if columns:
            count_uses(
                connection,
                self._change.change_id,
                classification_ids=columns[_CLASSIFICATION],
                handling_ids=columns[_HANDLING],
            )
        extras = select(extra_hashes).where(extra_hashes.c.version_id.in_(version_ids))
        copies = [
            (new_ids[r.version_id], r.ordinal, r.kind, r.value, r.derivation)
            for r in connection.execute(extras)
        ]
        INSERT_EXTRA_HASHES.run(connection, list(zip(*copies, strict=True)))


def _way_back(state: EntryState, goal: EntryState | None) -> dict[Origin, Action]:
    """What turns the retractions of `state` into those of `goal` (None: it was not there yet)."""
    if goal is None:
        return {Origin.SOURCE: Action.RETRACT} if state.in_force else {}
    return {
        origin: Action.RETRACT if origin in goal.retracted_by else Action.RESTORE
        for origin in sorted(goal.retracted_by ^ state.retracted_by)
    }
