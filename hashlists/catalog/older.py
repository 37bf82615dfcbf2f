"""Which records are older than what a list holds of their entries.

Files come in any order, and an older one lists what a later one withdrew. Where a source stamps
each record of an entry with the time of its change, by one clock, the stamps tell the order of two
records, whatever that clock shows. Invariants: a record is older only where both times are known
and its own is the earlier one; of the same time none is, so that a file read again with other
options takes effect. A withdrawal for good stands whatever a record says, stamped or not. What a
rollback turned back counts no longer. Nothing here writes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import bindparam, select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.schema import Action, Origin, changes, entry_versions, retractions
from hashlists.model import FOR_GOOD
from hashlists.moments import change_moment

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sqlalchemy import Connection

    from hashlists.catalog.states import EntryState


def version_moments(
    connection: Connection, states: Mapping[int, EntryState], entry_ids: Sequence[int]
) -> dict[int, int]:
    """When the source made the records in force of entries, of those where it is known.

    Args:
        connection: of the catalog.
        states: of the entries at least.
        entry_ids: which of them.

    Returns:
        Microseconds since 1970 by entry.
    """
    stamps: dict[int, str | None] = {}
    versions = [states[entry_id].version_id for entry_id in entry_ids]
    for rows in _STAMPS.run(connection, versions):
        stamps.update(dict(rows))
    moments = {each: change_moment(stamps.get(states[each].version_id)) for each in entry_ids}
    return {each: moment for each, moment in moments.items() if moment is not None}


def withdrawal_moments(
    connection: Connection, entry_ids: Sequence[int], *, upto: int
) -> dict[int, int]:
    """When the source withdrew entries, of those where it is known, as of a revision."""
    found: dict[int, int | None] = {}
    for rows in _WITHDRAWALS.run(connection, entry_ids, upto=upto):
        for entry_id, action, told_at in rows:
            found[entry_id] = told_at if action == Action.RETRACT else None
    return {each: told_at for each, told_at in found.items() if told_at is not None}


def is_older(stamp: str | None, held: int | None) -> bool:
    """Whether a record of that stamp is older than what was told at `held`."""
    if held is None or held == FOR_GOOD:
        return held == FOR_GOOD
    moment = change_moment(stamp)
    return moment is not None and moment < held


_STAMPS = BulkSelect(
    entry_versions.c.version_id,
    select(entry_versions.c.version_id, entry_versions.c.source_updated_at),
)
_WITHDRAWALS = BulkSelect(
    retractions.c.entry_id,
    select(retractions.c.entry_id, retractions.c.action, retractions.c.told_at)
    .join(changes, changes.c.change_id == retractions.c.change_id)
    .where(changes.c.revision <= bindparam("upto"), retractions.c.origin == Origin.SOURCE)
    .order_by(changes.c.revision),  # the newest comes last and stays
)

__all__ = ["is_older", "version_moments", "withdrawal_moments"]
