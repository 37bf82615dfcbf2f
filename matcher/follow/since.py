"""What the catalog brought since a revision, as something to search: for checking uploads again.

Invariants: whatever was added, changed or put back in force since then and is in force now is
found, with nothing else; how near counts as near, and what that may decide, is settled by all
lists, not by what is new of them. Memory is bounded: up to so many entries an index of their own is
made; of more, what is served is searched with all else hidden, at one bit an entry.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from matcher.errors import InvalidRequestError
from matcher.follow.rows import RowNumbers
from matcher.index.build import IndexBuilder
from matcher.index.match_index import MatchIndex
from matcher.index.segment import Segment
from matcher.pipeline import Generation

if TYPE_CHECKING:
    from hashlists.catalog import CatalogReader
    from matcher.index.base import Int64Array


def changes_since(
    reader: CatalogReader, served: Generation, since: int, *, most_entries: int
) -> Generation:
    """What revisions after `since` brought, judged by the policies that are served.

    Args:
        reader: the catalog at one revision.
        served: lists and policies as they are served; perhaps of an earlier revision.
        since: a revision.
        most_entries: from how many on what is served is searched.

    Raises:
        InvalidRequestError: the catalog has no such revision yet.
        CatalogError: the database failed.
    """
    if since > reader.revision:
        raise InvalidRequestError(
            f"revision {since} is not there yet: the newest is {reader.revision}",
            field="since_revision",
        )
    changed = reader.changed_ids(since)
    if len(changed) > most_entries:
        return _with(served, served.index.only(changed))
    return _with(served, _index_of(reader, served.index, changed))


def _index_of(reader: CatalogReader, served: MatchIndex, changed: Int64Array) -> MatchIndex:
    numbers = RowNumbers(reader, lists=served.lists, classifications=served.classifications)
    builder, entries = IndexBuilder(), 0
    if len(changed):
        for columns in reader.entry_columns(entry_ids=changed):
            rows = numbers.number(columns)
            builder.add(rows)
            entries += len(rows.catalog_ids)
    lists, classifications = numbers.lists, numbers.classifications()
    segments = []
    if entries:
        segments = [
            Segment.from_arrays(
                builder.arrays(),
                lists=len(lists),
                classifications=len(classifications),
                derivations=builder.derivations,
            )
        ]
    return MatchIndex(
        revision=reader.revision,
        lists=lists,
        classifications=classifications,
        segments=segments,
        hidden=segments[0].expiry.expired_rows(int(time.time())) if segments else None,
    )


def _with(served: Generation, index: MatchIndex) -> Generation:
    return Generation(index, served.policies, served.default_policy)


__all__ = ["changes_since"]
