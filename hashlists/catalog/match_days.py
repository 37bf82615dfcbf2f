"""What lists did to the uploads of each day, or in shadow would have done: numbers alone.

Nothing here names an upload, a match or an entry. Servers add up what they have seen, each for
itself, so that a day's row is the sum over all of them.
"""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING

from sqlalchemy import select

from hashlists.catalog.bulk import or_add, upsert
from hashlists.catalog.engine import catalog_errors, writer
from hashlists.catalog.lists import find_list
from hashlists.catalog.schema import hash_lists, match_days
from hashlists.model import MatchDay

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sqlalchemy import Connection, Engine

_EPOCH = date(1970, 1, 1).toordinal()


def today() -> date:
    """The present day in UTC."""
    return datetime.now(UTC).date()


def first_of(days: int) -> date:
    """The first of so many days that end with the present one."""
    return today() - timedelta(days=days - 1)


def add_match_days(engine: Engine, days: Sequence[MatchDay]) -> None:
    """Adds numbers to those that are kept, in one transaction; lists that are not known are left.

    Raises:
        CatalogError: the database failed; nothing was added.
    """
    with catalog_errors(), writer(engine).begin() as connection:
        query = select(hash_lists.c.name, hash_lists.c.list_id)
        ids = {row.name: row.list_id for row in connection.execute(query)}
        rows = [
            {
                "list_id": ids[each.list_name],
                "day": each.day.toordinal() - _EPOCH,
                "policy": each.policy,
                "uploads": each.uploads,
                "exact": each.exact,
                "near": each.near,
            }
            for each in days
            if each.list_name in ids
        ]
        if not rows:
            return
        sums = or_add(upsert(connection, match_days), "uploads", "exact", "near")
        connection.execute(sums, rows)


def read_match_days(connection: Connection, list_name: str, *, since: date) -> list[MatchDay]:
    """The days of a list from `since` on, oldest first.

    Raises:
        ListNotFoundError: no list goes by that name.
    """
    list_id = find_list(connection, list_name).list_id
    table = match_days.c
    query = (
        select(match_days)
        .where(table.list_id == list_id, table.day >= since.toordinal() - _EPOCH)
        .order_by(table.day, table.policy)
    )
    return [
        MatchDay(
            list_name,
            date.fromordinal(row.day + _EPOCH),
            row.policy,
            row.uploads,
            row.exact,
            row.near,
        )
        for row in connection.execute(query)
    ]
