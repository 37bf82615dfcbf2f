"""The operator's retractions and restorations.

Invariants: each is one small transaction, which waits for at most one staging transaction of an
import in SQLite, and for none in PostgreSQL; an entry that is not of the list changes nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.catalog.commit import ChangeAuthor, ChangeTotals, finish_change, insert_change
from hashlists.catalog.counts import Counts
from hashlists.catalog.engine import catalog_errors, writer
from hashlists.catalog.retraction_rows import count_actions, insert_actions
from hashlists.catalog.schema import Action, ChangeState, Origin
from hashlists.catalog.states import EntryState, entries_of, entry_states
from hashlists.errors import EntryNotFoundError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

    from hashlists.model import Revision


def retract(engine: Engine, by: ChangeAuthor, entry_ids: Sequence[int]) -> Revision | None:
    """Takes entries out of force by the operator's word, which no import undoes.

    Returns:
        The revision, or None when the operator had retracted all of them before.

    Raises:
        EntryNotFoundError: an id is not of this list; then nothing is retracted.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        states = require_states(connection, by, entry_ids)
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
        states = require_states(connection, by, entry_ids)
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
    insert_actions(connection, change_id, by.reason, actions)
    for entry_id, state in states.items():
        count_actions(counts, totals, state, state, actions[entry_id])
    return finish_change(connection, by, change_id, totals, counts, always=True)


def require_states(
    connection: Connection, by: ChangeAuthor, entry_ids: Sequence[int]
) -> dict[int, EntryState]:
    """The states of entries of a list.

    Raises:
        EntryNotFoundError: an id is not of this list, or was purged.
    """
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
