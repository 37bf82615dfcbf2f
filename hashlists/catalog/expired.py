"""Which entries of a list expired between two moments, though no revision touched them.

Invariant: the work grows with the changes that hold versions whose time of use ended in between,
and there is none for a list without such versions: the rows of other changes are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from hashlists.catalog.bulk import streamed_columns
from hashlists.catalog.handling_uses import entries_with
from hashlists.catalog.id_set import IdSet
from hashlists.catalog.schema import handlings

if TYPE_CHECKING:
    from sqlalchemy import Connection


@dataclass(frozen=True, slots=True)
class Span:
    """Two moments, in microseconds since 1970.

    Attributes:
        began: at which what is asked about had not expired.
        now: at which it has.
    """

    began: int
    now: int


def expired_ids(connection: Connection, list_id: int, span: Span, *, upto: int) -> IdSet:
    """The entries of a list with a version whose time of use ended in a span.

    Args:
        connection: of a read transaction.
        list_id: of the list.
        span: after `began`, and not after `now`.
        upto: only versions of this revision and earlier ones count. They need not be the newest.
    """
    ends = handlings.c.expires_at
    query = select(handlings.c.handling_id).where(ends > span.began, ends <= span.now)
    ended = IdSet.of(ids for (ids,) in streamed_columns(connection, query))
    return IdSet.of(entries_with(connection, list_id, ended, upto=upto))


__all__ = ["Span", "expired_ids"]
