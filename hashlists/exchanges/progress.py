"""How far an exchange was fetched, when, and what went wrong last: the checkpoint's document.

No field but `position` may hold a token of the exchange, so that is never shown.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from hashlists.moments import read_moment, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from hashlists.catalog import ExchangeRecord
    from hashlists.exchanges.base import Client, Position

#: How long after a full fetch that was refused the next one is tried by itself.
FULL_AGAIN: Final = timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Progress:
    """What the checkpoint of an exchange says.

    Attributes:
        position: where to go on, in the client's words; None where nothing was fetched yet.
        first_at: when the first fetch of everything began; None once that has ended.
        fetched_at: when a fetch last ended well.
        moved_at: when the position last moved.
        failed_at, error, error_reason: of the last fetch, where that failed.
        full_refused_at: when a full fetch last withdrew nothing, since too much spoke against it.
    """

    position: Position | None = field(default=None, repr=False)
    first_at: datetime | None = None
    fetched_at: datetime | None = None
    moved_at: datetime | None = None
    failed_at: datetime | None = None
    error: str = ""
    error_reason: str = ""
    full_refused_at: datetime | None = None

    def to_document(self) -> dict[str, Any]:
        """As the catalog keeps it."""
        moments = {name: getattr(self, name) for name in _MOMENTS}
        return {
            "position": None if self.position is None else dict(self.position),
            "error": self.error,
            "error_reason": self.error_reason,
            **{name: utc_text(each) if each else None for name, each in moments.items()},
        }

    @classmethod
    def from_document(cls, document: Mapping[str, Any] | None) -> Progress:
        """The way back; None where there is no checkpoint yet."""
        if document is None:
            return cls()
        return cls(
            position=document["position"],
            error=document["error"],
            error_reason=document["error_reason"],
            **{name: read_moment(document[name]) for name in _MOMENTS},
        )

    def moved(self, position: Position, now: datetime) -> Progress:
        """After a page."""
        return replace(self, position=position, moved_at=now)

    def ended(self, now: datetime) -> Progress:
        """After a fetch that ended well."""
        return replace(
            self, fetched_at=now, failed_at=None, error="", error_reason="", first_at=None
        )

    def failed(self, now: datetime, error: str, reason: str) -> Progress:
        """After a fetch that did not."""
        return replace(self, failed_at=now, error=error, error_reason=reason)


_MOMENTS: Final = ("first_at", "fetched_at", "moved_at", "failed_at", "full_refused_at")


def next_full(record: ExchangeRecord, client: Client) -> datetime | None:
    """When all of an exchange is to be fetched anew; None where it never needs to be."""
    if record.full_due_at is not None:
        return record.full_due_at
    progress = Progress.from_document(record.checkpoint)
    if record.full_at is None and progress.position is None:
        return None  # the first fetch brings everything anyway
    full = record.full_at or progress.first_at or record.created_at
    last = max(full, progress.fetched_at or full)
    waits = [(full, client.full_after), (last, client.missed_after)]
    due = [since + wait for since, wait in waits if wait is not None]
    if due and progress.full_refused_at is not None:  # what it was due for is not made good
        due.append(progress.full_refused_at)
    return min(due, default=None)


def full_is_due(record: ExchangeRecord, client: Client, now: datetime) -> bool:
    """Whether that is so, and it was not tried in vain a short while ago."""
    refused = Progress.from_document(record.checkpoint).full_refused_at
    if record.full_due_at is None:  # what is owed is owed, whatever either clock says
        due = next_full(record, client)
        if due is None or now < due:
            return False
    return refused is None or now - refused >= FULL_AGAIN


__all__ = ["FULL_AGAIN", "Progress", "full_is_due", "next_full"]
