"""Of which entries of a list another handling held since a revision, though none touched them.

An earlier revision is exported as today's handling allows, so a recipient who has one may be
without what its list released then and releases now, but did not in between. That is told as well.

Invariant: there is nothing to do unless the list came to say something else of handling, or the end
of use that it names has passed; then the work grows with the entries for which that counts.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from hashlists.catalog import touched
from hashlists.catalog.list_handling import is_same, read_sayings
from hashlists.catalog.records import to_microseconds
from hashlists.catalog.states import chunks

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sqlalchemy import Connection

    from hashlists.catalog.expired import Span
    from hashlists.catalog.list_handling import ListHandling
    from hashlists.model import Handling, SaidHandling

_READ_AT_ONCE = 5_000


def rehandled_ids(
    connection: Connection,
    list_id: int,
    held: ListHandling,
    span: Span,
    *,
    since: int,
) -> NDArray[np.int64]:
    """Entries with a version, up to `since`, of which another handling than then held ever after.

    Args:
        connection: of a read transaction.
        list_id: the list.
        held: what it says of handling.
        span: from the moment of `since` to now; an end of use within is another handling.
        since: the revision that the recipient has.

    Returns:
        `(K,) int64`, ascending.
    """
    later = [revision for revision in held.revisions if revision > since]
    if not later and not _ends_within(span, held.at(since)):
        return np.empty(0, np.int64)

    def is_another(said: Handling | SaidHandling) -> bool:
        then = held.holds(said, since)
        return _ends_within(span, then) or any(
            not is_same(held.holds(said, each), then) for each in later
        )

    found: set[int] = set()
    for part in chunks(sorted(touched.handlings_in(connection, list_id)), _READ_AT_ONCE):
        sayings = read_sayings(connection, part)
        found.update(each for each, said in sayings.items() if is_another(said))
    return touched.ids_with_handlings(connection, list_id, found, upto=since)


def _ends_within(span: Span, handling: Handling) -> bool:
    end = handling.expires_at
    return end is not None and span.began < to_microseconds(end) <= span.now


__all__ = ["rehandled_ids"]
