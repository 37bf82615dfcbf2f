"""A change while it is staged: rows come in short transactions and stay unseen until its commit.

Invariants: at most one change at a time is open on a list (a unique index says so); its rows carry
its id and nothing else marks them. `commit` makes it a revision, `sweep` removes what a dead
process left. An open change belongs to one thread of one process.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from sqlalchemy import insert, select, update

from hashlists.catalog.commit import ChangeTotals, finish_change, insert_change
from hashlists.catalog.counts import Counts
from hashlists.catalog.engine import (
    catalog_errors,
    end_staging,
    hold_change,
    make_durable,
    staging_connection,
    take_write_lock,
)
from hashlists.catalog.records import now_microseconds, read_catalog_id
from hashlists.catalog.schema import ChangeState, changes, imports, retractions
from hashlists.catalog.staged_counts import (
    KEPT_COUNTS,
    add_staged_counts,
    forget_counts,
    stage_counts,
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
from hashlists.catalog.sweep import dead_changes, open_changes, remove_change
from hashlists.errors import CatalogError, ImportInProgressError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from hashlists.catalog.commit import ChangeAuthor
    from hashlists.model import Revision


class OpenChange:
    """A change that is being staged.

    Attributes:
        engine: of the catalog, for reading beside it.
        by: who changes which list.
        change_id: marks its rows.
        base: the head when it began; what it stages is the difference from this revision.
        counts: how the entries in force will have moved, as seen from `base`; what is more than
            `KEPT_COUNTS` goes to the database with each transaction.
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
        self.engine = engine
        self._broken = False
        self._counts_stored = False
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
            if len(self.counts) > KEPT_COUNTS:
                self._put_counts_away(connection)
        self._broken = False

    def _put_counts_away(self, connection: Connection) -> None:
        stage_counts(connection, self.change_id, self.counts)
        self.counts.clear()
        self._counts_stored = True

    def commit(self, connection: Connection) -> Revision | None:
        """Makes the change a revision; the caller's transaction must end right after.

        Returns:
            None when nothing changed: then there is no revision.
        """
        self.counts.update(_corrections(connection, self))
        if not self._counts_stored:
            return finish_change(connection, self.by, self.change_id, self.totals, self.counts)
        self._put_counts_away(connection)
        revision = finish_change(connection, self.by, self.change_id, self.totals, Counts())
        if revision is not None:
            add_staged_counts(connection, self.by.list_id, self.change_id)
        forget_counts(connection, self.change_id)
        return revision

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
        remove_change(self.engine, self.change_id)

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
    if open_changes(connection, by.list_id):
        raise ImportInProgressError(_busy(by))


def _busy(by: ChangeAuthor) -> str:
    return f"another change of list {by.list_name!r} is under way; try again when it has ended"


def _clear_the_way(engine: Engine, by: ChangeAuthor) -> None:
    with catalog_errors(), engine.connect() as connection:
        dead = dead_changes(connection, open_changes(connection, by.list_id))
    for change_id in dead:
        remove_change(engine, change_id)


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
