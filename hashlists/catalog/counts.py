"""How many entries are in force, by what they carry: sums that every commit brings up to date.

So telling a list's coverage costs the same after ten revisions and after ten thousand.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import delete, select

from hashlists.catalog.bulk import or_add, streamed_columns, upsert
from hashlists.catalog.list_handling import END_FACTS, EndsOfUse
from hashlists.catalog.schema import KIND_BITS, handlings, list_counts
from hashlists.model import CODE_KINDS, Coverage

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from sqlalchemy import Connection

_NEAR_BITS = sum(KIND_BITS[kind] for kind in CODE_KINDS)

#: Entries in force, by (kinds bits, handling id).
Counts = Counter[tuple[int, int]]


def count_rows(kinds: Sequence[int], handling_ids: Sequence[int]) -> Counts:
    """Counts rows, given as columns of equal length; mostly all rows carry the same."""
    if kinds and kinds.count(kinds[0]) == handling_ids.count(handling_ids[0]) == len(kinds):
        return Counts({(kinds[0], handling_ids[0]): len(kinds)})
    return Counts(zip(kinds, handling_ids, strict=True))


def list_coverage(connection: Connection, list_id: int, *, now: int) -> Coverage:
    """Coverage of a list's entries in force, from the sums that every commit keeps."""
    table = list_counts.c
    query = (
        select(table.kinds, table.entries, *END_FACTS)
        .select_from(list_counts)
        .join(handlings, handlings.c.handling_id == table.handling_id)
        .where(table.list_id == list_id)
    )
    ends_of_use, in_use = EndsOfUse(connection), Counter[int]()
    for kinds, numbers, named, by_record in streamed_columns(connection, query):
        ends = ends_of_use.of(np.full(len(kinds), list_id), named, by_record == 1)
        for each in np.unique(kinds).tolist():
            in_use[each] += int(numbers[(kinds == each) & (ends > now)].sum())
    return coverage(in_use.items())


def coverage(histogram: Iterable[tuple[int, int]]) -> Coverage:
    """Coverage from pairs of kinds bits and how many entries carry just these."""
    entries = near = 0
    by_kind: Counter[int] = Counter()
    for kinds, number in histogram:
        entries += number
        near += number if kinds & _NEAR_BITS else 0
        for bit in KIND_BITS.values():
            by_kind[bit] += number if kinds & bit else 0
    present = {kind: by_kind[bit] for kind, bit in KIND_BITS.items() if by_kind[bit]}
    return Coverage(entries=entries, by_kind=present, near_matchable=near)


def store_counts(connection: Connection, list_id: int, counts: Counts) -> None:
    """Adds what a change moved to the sums of its list."""
    rows = [
        {"list_id": list_id, "kinds": kinds, "handling_id": handling_id, "entries": number}
        for (kinds, handling_id), number in counts.items()
        if number
    ]
    if not rows:
        return
    connection.execute(or_add(upsert(connection, list_counts), "entries"), rows)
    drop_zeros(connection, list_id)


def drop_zeros(connection: Connection, list_id: int) -> None:
    """Deletes the sums of a list that say nothing."""
    table = list_counts.c
    connection.execute(delete(list_counts).where(table.list_id == list_id, table.entries == 0))
