"""A change while it is staged: rows come in short transactions and stay unseen until its commit.

Invariants: at most one change at a time is open on a list (a unique index says so); its rows carry
its id and nothing else marks them; the revision number is drawn under the lock of the `head` row
in the transaction that links it to the change, so the order of numbers is the order of commits.
The commit touches a handful of rows, however many were staged.

An open change belongs to one thread of one process. `sweep` removes what a dead process left.
"""

from __future__ import annotations

import secrets
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from sqlalchemy import delete, insert, select, update

from hashlists.catalog.engine import (
    catalog_errors,
    end_staging,
    hold_change,
    is_held,
    make_durable,
    staging_connection,
    take_write_lock,
    writer,
)
from hashlists.catalog.owner import this_process
from hashlists.catalog.records import (
    Counts,
    drop_classifications,
    from_microseconds,
    now_microseconds,
    read_catalog_id,
    store_counts,
)
from hashlists.catalog.schema import (
    VERSIONS_PER_CHANGE,
    ChangeState,
    changes,
    entries,
    entry_versions,
    extra_hashes,
    head,
    imports,
    retractions,
    revisions,
)
from hashlists.catalog.states import (
    EntryState,
    after_actions,
    chunks,
    entry_states,
    read_head,
    staged_actions,
    staged_versions,
)
from hashlists.errors import CatalogError, ImportInProgressError
from hashlists.model import ChangeKind, Revision

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine, Row

_SWEPT_ROWS = 5_000
_MARK_BYTES = 16


@dataclass(slots=True)
class ChangeTotals:
    """What a change did, as its revision will say."""

    added: int = 0
    updated: int = 0
    retracted: int = 0
    restored: int = 0

    @property
    def any(self) -> bool:
        """False when nothing changed."""
        return bool(self.added or self.updated or self.retracted or self.restored)


@dataclass(frozen=True, slots=True)
class ChangeAuthor:
    """Who changes what, in what way, and why."""

    list_id: int
    list_name: str
    kind: ChangeKind
    author: str
    reason: str


class OpenChange:
    """A change that is being staged.

    Attributes:
        by: who changes which list.
        change_id: marks its rows.
        base: the head when it began; what it stages is the difference from this revision.
        counts: how the entries in force will have moved, as seen from `base`.
    """

    def __init__(
        self,
        engine: Engine,
        connection: Connection,
        by: ChangeAuthor,
        *,
        change_id: int,
        base: int,
    ) -> None:
        self.change_id = change_id
        self.base = base
        self.counts: Counts = Counts()
        self.totals = ChangeTotals()
        self.by = by
        self._engine = engine
        self._broken = False
        self._connection: Connection | None = connection

    @contextmanager
    def transaction(self, *, decides: bool = False) -> Iterator[Connection]:
        """One short writing transaction, which is also a sign of life.

        Args:
            decides: it makes rows visible, so it takes the write lock.

        Raises:
            CatalogError: the database failed, or the change was taken for dead and removed.
        """
        connection = self._connection
        if connection is None or self._broken:
            raise CatalogError("this change has ended or failed; begin another")
        self._broken = True  # until this transaction has ended well: half a file must not go live
        with catalog_errors(), connection.begin():
            if decides:
                take_write_lock(connection)
            beat = (
                update(changes)
                .where(changes.c.change_id == self.change_id)
                .where(changes.c.state == ChangeState.STAGING)
                .values(heartbeat_at=now_microseconds())
            )
            if connection.execute(beat).rowcount != 1:
                raise CatalogError("this change was taken for dead and removed; begin another")
            yield connection
        self._broken = False

    def commit(self, connection: Connection) -> Revision | None:
        """Makes the change a revision; the caller's transaction must end right after.

        Returns:
            None when nothing changed: then there is no revision.
        """
        counts = Counts(self.counts)
        counts.update(_corrections(connection, self))
        return finish_change(connection, self.by, self.change_id, self.totals, counts)

    @contextmanager
    def final_transaction(self) -> Iterator[Connection]:
        """The transaction of the commit: durable once it has ended, and the last one."""
        if self._connection is not None and not self._broken:
            with catalog_errors():
                make_durable(self._connection)
        with self.transaction(decides=True) as connection:
            yield connection
        self.close()

    def abort(self) -> None:
        """Removes everything staged. Does nothing once the change has ended."""
        if self._connection is None:
            return
        self.close()
        remove_change(self._engine, self.change_id)

    def close(self) -> None:
        """Gives the connection back and leaves the rows as they are."""
        if self._connection is not None:
            end_staging(self._connection)
            self._connection = None


def open_change(
    engine: Engine, by: ChangeAuthor, *, details: dict[str, Any] | None = None
) -> OpenChange:
    """Begins to stage a change of a list; `details` become its row in `imports`.

    Raises:
        ImportInProgressError: a living process is staging a change of this list.
        CatalogError: the database failed.
    """
    _clear_the_way(engine, by)
    with catalog_errors():
        connection = staging_connection(engine)
    try:
        # On the connection that will stage, since that one shows whether the owner lives.
        with catalog_errors(), connection.begin():
            take_write_lock(connection)
            require_no_open_change(connection, by)
            change_id = insert_change(connection, by, ChangeState.STAGING)
            hold_change(connection, read_catalog_id(connection), change_id)
            if details is not None:
                connection.execute(insert(imports).values(change_id=change_id, **details))
            base = read_head(connection)
    except BaseException:
        end_staging(connection)
        raise
    return OpenChange(engine, connection, by, change_id=change_id, base=base)


def require_no_open_change(connection: Connection, by: ChangeAuthor) -> None:
    """For changes that must not run beside a staged one.

    Raises:
        ImportInProgressError: a change of this list is open.
    """
    if _open_changes(connection, by.list_id):
        raise ImportInProgressError(_busy(by))


def _busy(by: ChangeAuthor) -> str:
    return f"another change of list {by.list_name!r} is under way; try again when it has ended"


def _clear_the_way(engine: Engine, by: ChangeAuthor) -> None:
    with catalog_errors(), engine.connect() as connection:
        dead = _dead(connection, _open_changes(connection, by.list_id))
    for change_id in dead:
        remove_change(engine, change_id)


def _open_changes(connection: Connection, list_id: int | None = None) -> list[Row[Any]]:
    query = select(changes).where(changes.c.state.in_([ChangeState.STAGING, ChangeState.ABANDONED]))
    if list_id is not None:
        query = query.where(changes.c.list_id == list_id)
    return list(connection.execute(query).all())


def _dead(connection: Connection, found: list[Row[Any]]) -> list[int]:
    """Ids of those open changes that nobody will end."""
    if not found:
        return []
    catalog_id, now = read_catalog_id(connection), now_microseconds()
    return [
        change.change_id
        for change in found
        if change.state == ChangeState.ABANDONED
        or not is_held(connection, catalog_id, change, now=now)
    ]


def insert_change(connection: Connection, by: ChangeAuthor, state: ChangeState) -> int:
    """Adds a row of `changes`, owned by this process, and returns its id."""
    now = now_microseconds()
    statement = insert(changes).values(
        list_id=by.list_id,
        kind=by.kind,
        author=by.author,
        reason=by.reason,
        state=state,
        started_at=now,
        heartbeat_at=now,
        owner=this_process(),
    )
    key = connection.execute(statement).inserted_primary_key
    assert key is not None
    return int(key[0])


def finish_change(
    connection: Connection,
    by: ChangeAuthor,
    change_id: int,
    totals: ChangeTotals,
    counts: Counts,
    *,
    always: bool = False,
) -> Revision | None:
    """Draws the next revision number and links it to the change; all its rows are live from then.

    Without `always` there is no revision where the totals say that no entry changed.
    """
    this_change = update(changes).where(changes.c.change_id == change_id)
    if not (totals.any or always):
        connection.execute(this_change.values(state=ChangeState.EMPTY))
        return None
    draw = update(head).values(revision=head.c.revision + 1).returning(head.c.revision)
    number = int(connection.execute(draw).scalar_one())
    committed_at = now_microseconds()
    connection.execute(
        insert(revisions).values(
            number=number,
            change_id=change_id,
            committed_at=committed_at,
            added=totals.added,
            updated=totals.updated,
            retracted=totals.retracted,
            restored=totals.restored,
            mark=secrets.token_bytes(_MARK_BYTES),
        )
    )
    connection.execute(this_change.values(state=ChangeState.COMMITTED, revision=number))
    store_counts(connection, by.list_id, counts)
    return Revision(
        number=number,
        kind=by.kind,
        list_name=by.list_name,
        author=by.author,
        reason=by.reason,
        committed_at=from_microseconds(committed_at),
        added=totals.added,
        updated=totals.updated,
        retracted=totals.retracted,
        restored=totals.restored,
    )


def _corrections(connection: Connection, change: OpenChange) -> Counts:
    """What retractions committed since `base` change about the counts of this change.

    The counts were taken against `base`. Only the entries that someone retracted or restored
    meanwhile can differ, so the work does not grow with the import.
    """
    corrections = Counts()
    touched = _touched_since(connection, change)
    for chunk in chunks(touched):
        then = entry_states(connection, chunk, upto=change.base)
        now = entry_states(connection, chunk)
        versions = staged_versions(connection, chunk, change.change_id)
        actions = staged_actions(connection, chunk, change.change_id)
        for entry_id in chunk:
            staged = versions.get(entry_id)
            done = actions.get(entry_id, {})
            for state, sign in ((then.get(entry_id), -1), (now.get(entry_id), 1)):
                _count_effect(corrections, state, staged, done, sign)
    return corrections


def _count_effect(
    counts: Counts, state: EntryState | None, staged: EntryState | None, done: Any, sign: int
) -> None:
    if state is not None and state.in_force:
        counts[state.count_key] -= sign
    result = staged or state
    origins = after_actions(state.retracted_by if state else frozenset(), done)
    if result is not None and not origins:
        counts[result.count_key] += sign


def _touched_since(connection: Connection, change: OpenChange) -> list[int]:
    query = (
        select(retractions.c.entry_id)
        .join(changes, changes.c.change_id == retractions.c.change_id)
        .where(changes.c.list_id == change.by.list_id, changes.c.revision > change.base)
        .distinct()
    )
    return sorted(connection.execute(query).scalars())


def sweep(engine: Engine) -> int:
    """Removes what dead processes had staged, in short transactions.

    Returns:
        Rows of `entry_versions` removed.
    """
    with catalog_errors(), engine.connect() as connection:
        dead = _dead(connection, _open_changes(connection))
    return sum(remove_change(engine, change_id) for change_id in dead)


def remove_change(engine: Engine, change_id: int) -> int:
    """Removes a change that will never be committed, with all its rows.

    First it is marked, so that an owner that lives after all cannot go on or commit.

    Returns:
        Rows of `entry_versions` removed.
    """
    this_change = update(changes).where(changes.c.change_id == change_id)
    with catalog_errors(), writer(engine).begin() as connection:
        marked = connection.execute(
            this_change.where(
                changes.c.state.in_([ChangeState.STAGING, ChangeState.ABANDONED])
            ).values(state=ChangeState.ABANDONED)
        )
        if marked.rowcount != 1:
            return 0
    removed = 0
    while rows := _remove_some(engine, change_id):
        removed += rows
    with catalog_errors(), writer(engine).begin() as connection:
        connection.execute(delete(retractions).where(retractions.c.change_id == change_id))
        connection.execute(delete(imports).where(imports.c.change_id == change_id))
        drop_classifications(connection, change_id)
        connection.execute(
            this_change.where(changes.c.state == ChangeState.ABANDONED).values(
                state=ChangeState.ABORTED
            )
        )
    return removed


def _remove_some(engine: Engine, change_id: int) -> int:
    """Removes up to `_SWEPT_ROWS` staged versions, and the entries that came with them."""
    first = change_id * VERSIONS_PER_CHANGE
    version = entry_versions.c.version_id
    query = (
        select(version, entry_versions.c.entry_id)
        .where(version >= first, version < first + VERSIONS_PER_CHANGE)
        .order_by(version)
        .limit(_SWEPT_ROWS)
    )
    with catalog_errors(), writer(engine).begin() as connection:
        rows = connection.execute(query).all()
        if not rows:
            return 0
        last = rows[-1].version_id
        extra = extra_hashes.c.version_id
        connection.execute(delete(extra_hashes).where(extra >= first, extra <= last))
        connection.execute(
            delete(retractions).where(
                retractions.c.change_id == change_id,
                retractions.c.entry_id.in_([row.entry_id for row in rows]),
            )
        )
        connection.execute(delete(entry_versions).where(version >= first, version <= last))
        connection.execute(
            delete(entries).where(
                entries.c.change_id == change_id,
                entries.c.entry_id.in_([row.entry_id for row in rows]),
            )
        )
    return len(rows)
