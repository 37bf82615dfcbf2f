"""The operator's changes: retract, restore, roll back, purge.

Invariants: retracting and restoring is one small transaction that waits for at most one staging
transaction of an import; a rollback appends and never deletes; a purge is the only thing that
erases what readers could see, and it leaves nothing of it but keyed tombstones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, func, insert, select, union

from hashlists.catalog.bulk import INSERT_EXTRA_HASHES, BulkInsert
from hashlists.catalog.engine import catalog_errors, writer
from hashlists.catalog.open_change import (
    ChangeAuthor,
    ChangeTotals,
    OpenChange,
    finish_change,
    insert_change,
    open_change,
    require_no_open_change,
)
from hashlists.catalog.records import Counts, forget_classifications, forget_handlings
from hashlists.catalog.schema import (
    KIND_BITS,
    VERSIONS_PER_CHANGE,
    Action,
    ChangeState,
    Origin,
    changes,
    entries,
    entry_versions,
    extra_hashes,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.staging import retraction_row
from hashlists.catalog.states import EntryState, after_actions, chunks, entries_of, entry_states
from hashlists.catalog.tombstones import lay_tombstones
from hashlists.catalog.wipe import owe_wipe, wipe_deleted
from hashlists.errors import CatalogError, EntryNotFoundError, RevisionNotFoundError
from hashlists.model import HashKind, PurgeReport, Revision

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection, Engine

_INSERT_VERSIONS = BulkInsert(entry_versions, [column.name for column in entry_versions.columns])


def retract(engine: Engine, by: ChangeAuthor, entry_ids: Sequence[int]) -> Revision | None:
    """Takes entries out of force by the operator's word, which no import undoes.

    Returns:
        The revision, or None when the operator had retracted all of them before.

    Raises:
        EntryNotFoundError: an id is not of this list; then nothing is retracted.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        states = _require_states(connection, by, entry_ids)
        chosen = {i: s for i, s in states.items() if Origin.OPERATOR not in s.retracted_by}
        actions = {i: {Origin.OPERATOR: Action.RETRACT} for i in chosen}
        return _act(connection, by, chosen, actions)


def restore(engine: Engine, by: ChangeAuthor, entry_ids: Sequence[int]) -> Revision | None:
    """Puts entries back in force, whoever had retracted them.

    Returns:
        The revision, or None when none of them was retracted.

    Raises:
        EntryNotFoundError: an id is not of this list; then nothing is restored.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        states = _require_states(connection, by, entry_ids)
        chosen = {i: s for i, s in states.items() if not s.in_force}
        actions = {
            i: dict.fromkeys(sorted(s.retracted_by), Action.RESTORE) for i, s in chosen.items()
        }
        return _act(connection, by, chosen, actions)


def _act(
    connection: Connection,
    by: ChangeAuthor,
    states: dict[int, EntryState],
    actions: dict[int, dict[Origin, Action]],
) -> Revision | None:
    if not states:
        return None
    change_id = insert_change(connection, by, ChangeState.EMPTY)
    counts, totals = Counts(), ChangeTotals()
    _stage_actions(connection, change_id, by.reason, actions)
    for entry_id, state in states.items():
        _count(counts, totals, state, state, actions[entry_id])
    return finish_change(connection, by, change_id, totals, counts, always=True)


def _stage_actions(
    connection: Connection, change_id: int, reason: str, actions: dict[int, dict[Origin, Action]]
) -> None:
    rows = [
        retraction_row(entry_id, change_id, reason, origin=origin, action=action)
        for entry_id, done in actions.items()
        for origin, action in done.items()
    ]
    if rows:
        connection.execute(insert(retractions), rows)


def _count(
    counts: Counts,
    totals: ChangeTotals,
    before: EntryState,
    after: EntryState,
    done: dict[Origin, Action],
) -> None:
    """Counts what happens to an entry that gets the version of `after`, and then `done`."""
    in_force = not after_actions(before.retracted_by, done)
    if before.in_force:
        counts[before.count_key] -= 1
    if in_force:
        counts[after.count_key] += 1
    totals.retracted += Action.RETRACT in done.values()
    totals.restored += Action.RESTORE in done.values() and Action.RETRACT not in done.values()


def _require_states(
    connection: Connection, by: ChangeAuthor, entry_ids: Sequence[int]
) -> dict[int, EntryState]:
    wanted = sorted(set(entry_ids))
    states = entry_states(connection, entries_of(connection, by.list_id, wanted))
    missing = [entry_id for entry_id in wanted if entry_id not in states]
    if missing:
        raise EntryNotFoundError(
            f"list {by.list_name!r} has no entry {missing[0]}"
            + (f" (nor {len(missing) - 1} more of those given)" if missing[1:] else "")
            + "; nothing was changed"
        )
    return states


def rollback(engine: Engine, by: ChangeAuthor, to_revision: int) -> Revision | None:
    """Appends what makes the list's entries those of `to_revision`, staged like an import.

    Entries that came later are retracted in the source's name, so that a corrected file brings
    them back. What was purged stays purged.

    Returns:
        The revision, or None when the list stood like that already.

    Raises:
        RevisionNotFoundError: the list did not exist then, or there is no such revision yet.
        ImportInProgressError: an import of this list is under way.
    """
    require_revision(engine, by, to_revision)
    change = open_change(engine, by)
    try:
        with catalog_errors(), engine.connect() as connection:
            touched = touched_since(connection, by.list_id, to_revision)
        staging = _Rollback(change, to_revision)
        for chunk in chunks(touched):
            staging.stage(chunk)
        with change.final_transaction() as connection:
            return change.commit(connection)
    finally:
        change.abort()


def require_revision(engine: Engine, by: ChangeAuthor, number: int) -> None:
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


def touched_since(connection: Connection, list_id: int, revision: int) -> list[int]:
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
                done = way_back(state, goal)
                if done:
                    actions[entry_id] = done
                if goal is not None and goal.content_digest != state.content_digest:
                    copies[entry_id] = goal.version_id
                _count(change.counts, change.totals, state, goal or state, done)
            change.totals.updated += len(copies)
            reason = f"rolled back to revision {self._to_revision}"
            _stage_actions(connection, change.change_id, reason, actions)
            self._copy_versions(connection, list(copies.values()))

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
        _INSERT_VERSIONS.run(connection, rows)
        extras = select(extra_hashes).where(extra_hashes.c.version_id.in_(version_ids))
        INSERT_EXTRA_HASHES.run(
            connection,
            [
                (new_ids[r.version_id], r.ordinal, r.kind, r.value)
                for r in connection.execute(extras)
            ],
        )


def way_back(state: EntryState, goal: EntryState | None) -> dict[Origin, Action]:
    """What turns the retractions of `state` into those of `goal` (None: it was not there yet)."""
    if goal is None:
        return {Origin.SOURCE: Action.RETRACT} if state.in_force else {}
    return {
        origin: Action.RETRACT if origin in goal.retracted_by else Action.RESTORE
        for origin in sorted(goal.retracted_by ^ state.retracted_by)
    }


def purge(engine: Engine, by: ChangeAuthor, entry_ids: Sequence[int]) -> PurgeReport:
    """Erases entries with all their versions for good, and wipes them from the database's files.

    Classifications and handlings that no other entry has go with them.

    The entries are out of force with its commit. Rewriting the files after that takes time in
    proportion to their size, while writers wait, and in PostgreSQL readers too: retract first where
    it is urgent, and purge in a quiet hour. Once committed it never fails: what kept the files from
    being rewritten leaves a wipe owed, see `wipe`.

    Raises:
        EntryNotFoundError: an id is not of this list; then nothing is purged.
        ImportInProgressError: an import of this list is under way. Retract the entries, which
            works at any time, and purge them when it has ended.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        require_no_open_change(connection, by)
        states = _require_states(connection, by, entry_ids)
        ids = sorted(states)
        change_id = insert_change(connection, by, ChangeState.EMPTY)
        hashes = list(_values_of(connection, ids))
        laid = lay_tombstones(
            connection,
            list_id=by.list_id,
            change_id=change_id,
            keys=_keys_of(connection, ids),
            hashes=hashes,
        )
        texts = _texts_of(connection, ids)
        versions = _erase(connection, by.list_id, change_id, ids)
        counts = Counts()
        for state in states.values():
            if state.in_force:
                counts[state.count_key] -= 1
        totals = ChangeTotals(retracted=sum(state.in_force for state in states.values()))
        revision = finish_change(connection, by, change_id, totals, counts, always=True)
        forget_classifications(connection, texts.classifications)
        forget_handlings(connection, texts.handlings)
        owe_wipe(connection)
    assert revision is not None
    return PurgeReport(
        revision=revision,
        entries=len(ids),
        versions=versions,
        values=len(hashes),
        tombstones=laid,
        traces_wiped=_wiped(engine),
        in_force=totals.retracted,
    )


def _wiped(engine: Engine) -> bool:
    try:
        return wipe_deleted(engine)
    except CatalogError:  # it is owed, and the next one says what is wrong
        return False


def _keys_of(connection: Connection, entry_ids: Sequence[int]) -> Iterable[bytes]:
    for chunk in chunks(entry_ids):
        query = select(entries.c.source_key).where(entries.c.entry_id.in_(chunk))
        yield from connection.execute(query).scalars()


def _values_of(
    connection: Connection, entry_ids: Sequence[int]
) -> Iterable[tuple[HashKind, bytes]]:
    for chunk in chunks(entry_ids):
        of_these = entry_versions.c.entry_id.in_(chunk)
        columns = [entry_versions.c[kind.value] for kind in KIND_BITS]
        for row in connection.execute(select(*columns).where(of_these)):
            yield from (
                (kind, value)
                for kind, value in zip(KIND_BITS, row, strict=True)
                if value is not None
            )
        extras = select(extra_hashes.c.kind, extra_hashes.c.value).join(entry_versions)
        for kind, value in connection.execute(extras.where(of_these)):
            yield HashKind(kind), value


@dataclass(frozen=True, slots=True)
class _Texts:
    """Ids of the interned texts that versions refer to."""

    classifications: frozenset[int]
    handlings: frozenset[int]


def _texts_of(connection: Connection, entry_ids: Sequence[int]) -> _Texts:
    found: set[tuple[int | None, int]] = set()
    for chunk in chunks(entry_ids):
        query = select(entry_versions.c.classification_id, entry_versions.c.handling_id)
        of_these = query.where(entry_versions.c.entry_id.in_(chunk)).distinct()
        found.update((row[0], row[1]) for row in connection.execute(of_these))
    return _Texts(
        classifications=frozenset(each for each, _ in found if each is not None),
        handlings=frozenset(each for _, each in found),
    )


def _erase(connection: Connection, list_id: int, change_id: int, entry_ids: Sequence[int]) -> int:
    versions = 0
    for chunk in chunks(entry_ids):
        of_these = select(entry_versions.c.version_id).where(entry_versions.c.entry_id.in_(chunk))
        connection.execute(delete(extra_hashes).where(extra_hashes.c.version_id.in_(of_these)))
        erased: Any = connection.execute(
            delete(entry_versions).where(entry_versions.c.entry_id.in_(chunk))
        )
        versions += erased.rowcount
        connection.execute(delete(retractions).where(retractions.c.entry_id.in_(chunk)))
        connection.execute(delete(entries).where(entries.c.entry_id.in_(chunk)))
        connection.execute(
            insert(purged_entries),
            [{"entry_id": i, "list_id": list_id, "change_id": change_id} for i in chunk],
        )
    return versions
