"""StopNCII.org's hash exchange: what changed since a time stamp, page by page.

`GET FetchHashes?startTimestamp=...&pageSize=...` with the headers `x-functions-key` and
`Ocp-Apim-Subscription-Key`; further pages with `nextPageToken` and the same start. The time stamp
to go on from, `nextSetTimestamp`, goes up and down from page to page: only that of a set's last
page counts, less an overlap, never later than what either clock says, and never earlier than
before.

Options: `page_size` (1000), `check_count` of the reader.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, ClassVar, Final, Self

from hashlists.errors import ExchangePageError
from hashlists.exchanges.base import (
    OVERLAP,
    Ask,
    Key,
    Step,
    begun_at,
    require_count,
    require_way_on,
    still_holds,
    take_options,
)
from hashlists.moments import read_moment, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime, timedelta

    from hashlists.exchanges.base import Arrived, Position
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http

_PATH: Final = "FetchHashes"
_MOST: Final = 100_000


@dataclass(frozen=True, slots=True)
class StopNciiClient:
    """See the module and `base.Client`."""

    page_size: str = "1000"
    reader_options: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "stopncii"
    format: ClassVar[str] = "stopncii"
    types: ClassVar[Sequence[str]] = ("json",)
    credential_names: ClassVar[Sequence[str]] = ("functions_key", "subscription_key")
    full_after: ClassVar[timedelta | None] = None
    missed_after: ClassVar[timedelta | None] = None

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Takes the options of the module.

        Raises:
            ExchangeSettingsError: one is unknown or wrong.
        """
        own, of_reader = take_options(options, {"page_size": "1000"}, ("check_count",), cls.kind)
        return cls(require_count(own["page_size"], "page_size", most=_MOST), of_reader)

    def log_in(self, http: Http, credentials: Credentials) -> Key:  # noqa: ARG002 - nothing to ask
        """Two keys."""
        return Key(
            {
                "x-functions-key": credentials["functions_key"],
                "Ocp-Apim-Subscription-Key": credentials["subscription_key"],
            }
        )

    def start(self, now: datetime) -> Position:  # noqa: ARG002 - whenever that is
        """All of time."""
        return {"since": 0}

    def resume(self, position: Position, now: datetime) -> Position:
        """Where it was, or the beginning of the set where the token is old."""
        return position if still_holds(position, now) else {"since": position["since"]}

    def ask(self, position: Position) -> Ask:
        """One page of the set."""
        query = [("startTimestamp", str(position["since"])), ("pageSize", self.page_size)]
        if "token" in position:
            query.append(("nextPageToken", position["token"]))
        return Ask(_PATH, query)

    def advance(self, position: Position, arrived: Arrived) -> Step:
        """The next page of the set, or the next set."""
        require_way_on(arrived)
        since, token = position["since"], arrived.page.next
        if token is not None:
            if token == position.get("token"):
                raise ExchangePageError("the page names itself as the next one")
            following = {
                "since": since,
                "token": token,
                "next_at": utc_text(arrived.now),
                "begun": utc_text(begun_at(position, arrived)),
            }
            return Step(following, done=False)
        told = read_moment(arrived.page.checkpoint) or arrived.newest
        if told is not None:
            bound = min(told, begun_at(position, arrived)) - OVERLAP
            since = max(since, int(bound.timestamp()))
        return Step({"since": since}, done=True)

    def without_next(self, position: Position) -> Position | None:
        """The beginning of the same set."""
        return {"since": position["since"]} if "token" in position else None

    def back_to(self, position: Position, moment: datetime) -> Position:
        """A set that begins before the moment."""
        before = max(0, int((moment - OVERLAP).timestamp()))
        return {"since": min(position["since"], before)}

    def words(self, position: Position) -> str:
        """When the set begins."""
        since = read_moment(position["since"])
        return f"changes since {utc_text(since) if since else 'an odd time'}"


__all__ = ["StopNciiClient"]
