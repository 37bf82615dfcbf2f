"""Rows of `retractions`, and what they do to a list's counts."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sqlalchemy import insert

from hashlists.catalog.schema import Action, Origin, retractions
from hashlists.catalog.states import after_actions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sqlalchemy import Connection

    from hashlists.catalog.commit import ChangeTotals
    from hashlists.catalog.counts import Counts
    from hashlists.catalog.states import EntryState


def retraction_row(
    entry_id: int,
    change_id: int,
    reason: str,
    *,
    origin: Origin = Origin.SOURCE,
    action: Action = Action.RETRACT,
    told_at: int | None = None,
) -> dict[str, Any]:
    """A row of `retractions`."""
    return {
        "entry_id": entry_id,
        "change_id": change_id,
        "origin": origin,
        "action": action,
        "reason": reason,
        "told_at": told_at,
    }


def insert_actions(
    connection: Connection,
    change_id: int,
    reason: str,
    actions: Mapping[int, Mapping[Origin, Action]],
    *,
    told_at: Mapping[int, int] | None = None,
) -> None:
    """Adds the rows of what a change does to each entry; `told_at` of sources' withdrawals."""
    moments = told_at or {}
    rows = [
        retraction_row(
            entry_id,
            change_id,
            reason,
            origin=origin,
            action=action,
            told_at=(
                moments.get(entry_id)
                if (origin, action) == (Origin.SOURCE, Action.RETRACT)
                else None
            ),
        )
        for entry_id, done in actions.items()
        for origin, action in done.items()
    ]
    if rows:
        connection.execute(insert(retractions), rows)


def count_actions(
    counts: Counts,
    totals: ChangeTotals,
    before: EntryState,
    after: EntryState,
    done: Mapping[Origin, Action],
) -> None:
    """Counts what happens to an entry that gets the version of `after`, and then `done`."""
    in_force = not after_actions(before.retracted_by, done)
    if before.in_force:
        counts[before.count_key] -= 1
    if in_force:
        counts[after.count_key] += 1
    totals.retracted += Action.RETRACT in done.values()
    totals.restored += Action.RESTORE in done.values() and Action.RETRACT not in done.values()
