"""Counts of a change that is being staged, beyond what it may hold in memory.

Each record of a list may have a handling of its own, and then a change moves as many sums as it has
entries. They are kept by change, so that two imports write no common row, and nobody reads them
before the commit adds them to the sums of the list.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sqlalchemy import delete, literal, select

from hashlists.catalog.bulk import or_add, upsert
from hashlists.catalog.counts import drop_zeros
from hashlists.catalog.schema import list_counts, staged_counts

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hashlists.catalog.counts import Counts

#: Sums that a change may hold in memory: some 10 MiB.
KEPT_COUNTS = 30_000


def stage_counts(connection: Connection, change_id: int, counts: Counts) -> None:
    """Adds to what is kept of a change."""
    rows = [
        {"change_id": change_id, "kinds": kinds, "handling_id": handling_id, "entries": number}
        for (kinds, handling_id), number in sorted(counts.items())
        if number
    ]
    if not rows:
        return
    connection.execute(or_add(upsert(connection, staged_counts), "entries"), rows)


def add_staged_counts(connection: Connection, list_id: int, change_id: int) -> None:
    """Adds what is kept of a change to the sums of its list."""
    staged = staged_counts.c
    kept = select(literal(list_id), staged.kinds, staged.handling_id, staged.entries).where(
        staged.change_id == change_id
    )
    insert_rows = upsert(connection, list_counts).from_select(
        ["list_id", "kinds", "handling_id", "entries"], kept
    )
    connection.execute(or_add(insert_rows, "entries"))
    drop_zeros(connection, list_id)


def forget_counts(connection: Connection, change_id: int) -> None:
    """Deletes what is kept of a change that has ended."""
    connection.execute(delete(staged_counts).where(staged_counts.c.change_id == change_id))


__all__ = ["KEPT_COUNTS", "add_staged_counts", "forget_counts", "stage_counts"]
