"""One entry with its standing and everything that revisions did to it. Reads only."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import select

from hashlists.catalog.lookup import read_entry
from hashlists.catalog.records import from_microseconds
from hashlists.catalog.schema import (
    Action,
    Origin,
    changes,
    entry_versions,
    purged_entries,
    retractions,
    revisions,
)
from hashlists.catalog.states import entry_states
from hashlists.errors import EntryNotFoundError
from hashlists.model import ChangeKind, EntryEvent, EntryRecord

if TYPE_CHECKING:
    from sqlalchemy import Connection, Row, Select

_COMMITTED = (
    revisions.c.number,
    revisions.c.committed_at,
    changes.c.kind,
    changes.c.author,
    changes.c.reason,
)


def read_entry_record(connection: Connection, entry_id: int) -> EntryRecord:
    """The entry as it is now, retracted or not, and its history, oldest first.

    Raises:
        EntryNotFoundError: no entry goes by that id, or it was purged; the message says which.
    """
    try:
        entry = read_entry(connection, entry_id)
    except EntryNotFoundError:
        raise EntryNotFoundError(_why_not(connection, entry_id)) from None
    events = [*_brought(connection, entry_id), *_acted_on(connection, entry_id)]
    state = entry_states(connection, [entry_id])[entry_id]
    return EntryRecord(
        entry=entry,
        retracted_by=tuple(origin.value for origin in Origin if origin in state.retracted_by),
        history=tuple(sorted(events, key=lambda event: event.revision)),
    )


def _why_not(connection: Connection, entry_id: int) -> str:
    query = (
        select(changes.c.revision)
        .join(purged_entries, purged_entries.c.change_id == changes.c.change_id)
        .where(purged_entries.c.entry_id == entry_id, changes.c.revision.is_not(None))
    )
    revision = connection.execute(query).scalar_one_or_none()
    if revision is None:
        return f"there is no entry {entry_id}"
    return f"entry {entry_id} was purged by revision {revision}; nothing of it is left"


def _brought(connection: Connection, entry_id: int) -> list[EntryEvent]:
    """The versions: the first added the entry, the others changed it."""
    query = _by_revision(
        select(*_COMMITTED)
        .join(changes, changes.c.change_id == revisions.c.change_id)
        .join(entry_versions, entry_versions.c.change_id == changes.c.change_id)
        .where(entry_versions.c.entry_id == entry_id)
    )
    return [
        _event(row, "changed" if number else "added", "", row.reason)
        for number, row in enumerate(connection.execute(query))
    ]


def _acted_on(connection: Connection, entry_id: int) -> list[EntryEvent]:
    """Retractions and restorations, in the words of whoever made them."""
    query = _by_revision(
        select(
            *_COMMITTED,
            retractions.c.origin,
            retractions.c.action,
            retractions.c.reason.label("own_reason"),
        )
        .join(changes, changes.c.change_id == revisions.c.change_id)
        .join(retractions, retractions.c.change_id == changes.c.change_id)
        .where(retractions.c.entry_id == entry_id)
    ).order_by(retractions.c.origin)
    words = {Action.RETRACT: "retracted", Action.RESTORE: "restored"}
    return [
        _event(row, words[Action(row.action)], row.origin, row.own_reason or row.reason)
        for row in connection.execute(query)
    ]


def _by_revision(query: Select[Any]) -> Select[Any]:
    return query.order_by(revisions.c.number)


def _event(row: Row[Any], what: str, origin: str, reason: str) -> EntryEvent:
    return EntryEvent(
        revision=row.number,
        committed_at=from_microseconds(row.committed_at),
        what=what,
        origin=origin,
        kind=ChangeKind(row.kind),
        author=row.author,
        reason=reason,
    )
