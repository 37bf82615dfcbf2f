"""What servers noticed by themselves and recorded in the audit, and what of it waits for somebody.

A thing waits from when it was noticed until somebody says that they looked at it. Noticed again
after that, it waits again. All of it is in the audit: nothing is kept beside.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping
    from datetime import datetime

    from hashlists.access.database import AccessDatabase

#: An entry is hit far more often than usual; the subject is `entry:` and its id.
ENTRY_HOT = "entry.hot"
#: A client sends series of near-identical queries; the subject is who.
CLIENT_CLIMBING = "client.climbing"
#: Somebody looked at a subject.
REVIEWED = "review.done"
ENTRY = "entry:"
_ACTS = (ENTRY_HOT, CLIENT_CLIMBING, REVIEWED)
_PAGE = 1_000


@dataclass(frozen=True, slots=True)
class Noticed:
    """Something that waits for somebody to look at it.

    Attributes:
        subject: an entry, or who.
        act: what was noticed.
        first_at, last_at: when, of all times since it was looked at last.
        times: how often.
        details: of the last time.
    """

    subject: str
    act: str
    first_at: datetime
    last_at: datetime
    times: int
    details: Mapping[str, Any] = field(default_factory=dict)


def waiting(database: AccessDatabase) -> list[Noticed]:
    """What waits, that which was noticed last at the end.

    Raises:
        AccessDatabaseError: the database failed.
    """
    found: dict[str, Noticed] = {}
    after = 0
    while records := database.records_of(_ACTS, after=after, limit=_PAGE):
        after = records[-1].number
        for each in records:
            event = each.event
            before = found.pop(event.subject, None)
            if event.act == REVIEWED:
                continue
            found[event.subject] = Noticed(
                event.subject,
                event.act,
                before.first_at if before else each.at,
                each.at,
                before.times + 1 if before else 1,
                event.details,
            )
    return list(found.values())


__all__ = ["CLIENT_CLIMBING", "ENTRY", "ENTRY_HOT", "REVIEWED", "Noticed", "waiting"]
