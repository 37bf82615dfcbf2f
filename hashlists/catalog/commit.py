"""Who changes a list, the row that stands for the change, and how it becomes a revision.

Invariants: the revision number is drawn under the lock of the `head` row, in the transaction that
links it to the change, so the order of numbers is the order of commits; from that link on all rows
of the change are live. It touches a handful of rows, however many the change has.
"""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import insert, update

from hashlists.catalog.counts import Counts, store_counts
from hashlists.catalog.owner import this_process
from hashlists.catalog.records import from_microseconds, now_microseconds
from hashlists.catalog.schema import ChangeState, changes, head, revisions
from hashlists.model import ChangeKind, Revision

if TYPE_CHECKING:
    from sqlalchemy import Connection

_MARK_BYTES = 16


@dataclass(slots=True)
class ChangeTotals:
    """What a change did, as its revision will say."""

    added: int = 0
    updated: int = 0
    retracted: int = 0
    restored: int = 0

    @property
    def rows(self) -> int:
        """About as many as the change brought."""
        return self.added + self.updated + self.retracted + self.restored

    @property
    def any(self) -> bool:
        """False when nothing changed."""
        return bool(self.rows)


@dataclass(frozen=True, slots=True)
class ChangeAuthor:
    """Who changes what, in what way, and why."""

    list_id: int
    list_name: str
    kind: ChangeKind
    author: str
    reason: str


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
