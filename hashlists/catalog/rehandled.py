"""Of which entries of a list another handling held since a revision, though none touched them.

An earlier revision is exported as today's handling allows, so a recipient who has one may be
without what its list released then and releases now, but did not in between. That is told as well.

Invariant: there is nothing to do unless the list came to say something else of handling, or the end
of use that it names has passed; then the work grows with the entries for which that counts, and the
memory by a bit for each of them, and for each handling.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from hashlists.catalog.handling_uses import documents_in, entries_with
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.interning import said_from_document
from hashlists.catalog.list_handling import is_same
from hashlists.catalog.records import to_microseconds

if TYPE_CHECKING:
    from sqlalchemy import Connection

    from hashlists.catalog.expired import Span
    from hashlists.catalog.list_handling import ListHandling
    from hashlists.model import Handling, SaidHandling


def rehandled_ids(
    connection: Connection,
    list_id: int,
    held: ListHandling,
    span: Span,
    *,
    since: int,
) -> IdSet:
    """Entries with a version, up to `since`, of which another handling than then held ever after.

    Args:
        connection: of a read transaction.
        list_id: the list.
        held: what it says of handling.
        span: from the moment of `since` to now; an end of use within is another handling.
        since: the revision that the recipient has.
    """
    later = [revision for revision in held.revisions if revision > since]
    if not later and not _ends_within(span, held.at(since)):
        return IdSet()

    def is_another(said: Handling | SaidHandling) -> bool:
        then = held.holds(said, since)
        return _ends_within(span, then) or any(
            not is_same(held.holds(said, each), then) for each in later
        )

    judged, found = IdSet(), IdSet()
    for rows in documents_in(connection, list_id):
        for handling_id, document in rows:
            if handling_id not in judged:
                judged.add(handling_id)
                if is_another(said_from_document(document)):
                    found.add(handling_id)
    return IdSet.of(entries_with(connection, list_id, found, upto=since))


def _ends_within(span: Span, handling: Handling) -> bool:
    end = handling.expires_at
    return end is not None and span.began < to_microseconds(end) <= span.now


__all__ = ["rehandled_ids"]
