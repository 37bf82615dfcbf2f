"""Which entries of a list expired between two moments, though no revision touched them.

Invariant: the work grows with the changes that hold versions whose time of use ended in between,
and there is none for a list without such versions: the rows of other changes are never read.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sqlalchemy import select

from hashlists.catalog.schema import handlings
from hashlists.catalog.touched import ids_with_handlings

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
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


def expired_ids(
    connection: Connection, list_id: int, span: Span, *, upto: int
) -> NDArray[np.int64]:
    """The entries of a list with a version whose time of use ended in a span.

    Args:
        connection: of a read transaction.
        list_id: of the list.
        span: after `began`, and not after `now`.
        upto: only versions of this revision and earlier ones count. They need not be the newest.

    Returns:
        `(K,) int64`, ascending.
    """
    ends = handlings.c.expires_at
    query = select(handlings.c.handling_id).where(ends > span.began, ends <= span.now)
    ended = frozenset(connection.execute(query).scalars())
    return ids_with_handlings(connection, list_id, ended, upto=upto)


__all__ = ["Span", "expired_ids"]
