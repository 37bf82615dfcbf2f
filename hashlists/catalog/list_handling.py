"""What handling holds of entries: what their record said, and of the rest what their list says.

A version keeps what its record said alone, and a list what it says by revision, so a list changes
its mind for ten million entries with one row. Of versions from before that was kept apart it is
known only what record and list said together. Until then no list could change its mind; so where
the two differ from what the list first said, the record had said so, and goes on to hold. Where
they do not, either may have said it: then the stricter holds of what they said together and what
the list says now. So a list that is narrowed narrows such entries, and one that is widened does not
widen them beyond what they had.

Nothing here writes.
"""

from __future__ import annotations

from bisect import bisect_right
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from sqlalchemy import func, literal_column, select

from hashlists.catalog.bulk import BulkSelect
from hashlists.catalog.interning import (
    handling_from_document,
    read_handling,
    said_from_document,
)
from hashlists.catalog.records import to_microseconds
from hashlists.catalog.schema import changes, handlings, hash_lists, list_handlings
from hashlists.model import Handling, SaidHandling

if TYPE_CHECKING:
    from collections.abc import Collection
    from datetime import datetime

    from numpy.typing import NDArray
    from sqlalchemy import ColumnElement, Connection

#: Stands for "no end" among microseconds.
ENDLESS = 2**62

_SAID_BY_RECORD: ColumnElement[bool] = literal_column("substr(handlings.document, 1, 1) = '{'")
#: Of handlings: the end of use that they name (or `ENDLESS`), and whether a record said them.
END_FACTS = (func.coalesce(handlings.c.expires_at, ENDLESS), _SAID_BY_RECORD)

_DOCUMENTS = BulkSelect(
    handlings.c.handling_id, select(handlings.c.handling_id, handlings.c.document)
)
_HISTORY = (
    select(changes.c.revision, handlings.c.document)
    .select_from(list_handlings)
    .join(changes, changes.c.change_id == list_handlings.c.change_id)
    .join(handlings, handlings.c.handling_id == list_handlings.c.handling_id)
    .where(changes.c.revision.is_not(None))
    .order_by(changes.c.revision)
)


@dataclass(frozen=True, slots=True)
class ListHandling:
    """What one list says of handling.

    Attributes:
        revisions: that said something new, ascending; the first made the list.
        handlings: what each said.
    """

    revisions: tuple[int, ...]
    handlings: tuple[Handling, ...]

    @classmethod
    def read(cls, connection: Connection, list_id: int) -> ListHandling:
        """Of a list that is there."""
        query = _HISTORY.where(list_handlings.c.list_id == list_id)
        rows = [(number, text) for number, text in connection.execute(query)]
        if not rows:  # a list that nothing ever changed: no version of it is there either
            held = select(hash_lists.c.handling_id).where(hash_lists.c.list_id == list_id)
            handling = read_handling(connection, connection.execute(held).scalar_one())
            return cls((0,), (handling,))
        return cls(
            tuple(number for number, _ in rows),
            tuple(handling_from_document(text) for _, text in rows),
        )

    @property
    def first(self) -> Handling:
        """What it was made with."""
        return self.handlings[0]

    @property
    def newest(self) -> int:
        """The revision that changed it last."""
        return self.revisions[-1]

    def at(self, revision: int) -> Handling:
        """What it said at a revision; before it was made, what it was made with."""
        return self.handlings[self._place(revision)]

    def changed_at(self, revision: int) -> int:
        """The revision by which it came to say what it said at that one."""
        return self.revisions[self._place(revision)]

    def ends(
        self, named: NDArray[np.int64], by_record: NDArray[np.int64], revision: int
    ) -> NDArray[np.int64]:
        """The end of use that `holds` of `(M,)` handlings at a revision.

        Args:
            named: `(M,)`: the ends that they name, as `END_FACTS` has them.
            by_record: `(M,)`: likewise whether a record said so.
            revision: at which the list says what it says.

        Returns:
            `(M,) int64`: microseconds, or `ENDLESS`.
        """
        first, then = (
            np.full(len(named), _microseconds(each.expires_at))
            for each in (self.first, self.at(revision))
        )
        return _ends(named, by_record == 1, first, then)

    def _place(self, revision: int) -> int:
        return max(bisect_right(self.revisions, revision) - 1, 0)

    def holds(self, said: Handling | SaidHandling, revision: int) -> Handling:
        """What holds at a revision of an entry whose version keeps `said`."""
        now = self.at(revision)
        if isinstance(said, SaidHandling):
            return said.over(now)
        both, first = stricter(said, now), self.first
        return Handling(
            originator=said.originator,
            releasable_to=(
                both.releasable_to
                if said.releasable_to == first.releasable_to
                else said.releasable_to
            ),
            expires_at=both.expires_at if said.expires_at == first.expires_at else said.expires_at,
        )


def stricter(one: Handling, other: Handling) -> Handling:
    """To whom and until when both allow it; the originator is that of the first."""
    ends = [each.expires_at for each in (one, other) if each.expires_at is not None]
    allowed = frozenset(other.releasable_to)
    return replace(
        one,
        releasable_to=tuple(each for each in one.releasable_to if each in allowed),
        expires_at=min(ends, default=None),
    )


def is_same(one: Handling, other: Handling) -> bool:
    """Whether both say the same, in whatever order they name the recipients."""
    return replace(one, releasable_to=()) == replace(other, releasable_to=()) and (
        frozenset(one.releasable_to) == frozenset(other.releasable_to)
    )


def read_sayings(
    connection: Connection, handling_ids: Collection[int]
) -> dict[int, Handling | SaidHandling]:
    """What versions that have these handlings keep."""
    return {
        handling_id: said_from_document(text)
        for rows in _DOCUMENTS.run(connection, sorted(handling_ids))
        for handling_id, text in rows
    }


class EndsOfUse:
    """Until when entries of any list may be used now; the rule of `ListHandling.holds` for many."""

    def __init__(self, connection: Connection) -> None:
        self._first: dict[int, int] = {}
        self._now: dict[int, int] = {}
        query = _HISTORY.with_only_columns(list_handlings.c.list_id, handlings.c.expires_at)
        for list_id, expires_at in connection.execute(query):
            self._now[list_id] = ENDLESS if expires_at is None else expires_at
            self._first.setdefault(list_id, self._now[list_id])

    def of(
        self, list_ids: NDArray[np.int64], named: NDArray[np.int64], by_record: NDArray[np.bool_]
    ) -> NDArray[np.int64]:
        """Microseconds, or `ENDLESS`.

        Args:
            list_ids: `(M,)`.
            named: `(M,)`: the ends that versions name, as `END_FACTS` has them.
            by_record: `(M,)`: likewise whether their record said so.
        """
        if all(end == ENDLESS for ends in (self._first, self._now) for end in ends.values()):
            return named  # as of most catalogs, at no cost
        different, position = np.unique(list_ids, return_inverse=True)
        first, now = (
            np.array([ends.get(each, ENDLESS) for each in different.tolist()], np.int64)[position]
            for ends in (self._first, self._now)
        )
        return _ends(named, by_record, first, now)


def _ends(
    named: NDArray[np.int64],
    by_record: NDArray[np.bool_],
    first: NDArray[np.int64],
    now: NDArray[np.int64],
) -> NDArray[np.int64]:
    unknown = np.where(named == first, np.minimum(named, now), named)
    return np.where(by_record, np.where(named == ENDLESS, now, named), unknown)


def _microseconds(moment: datetime | None) -> int:
    return ENDLESS if moment is None else to_microseconds(moment)
