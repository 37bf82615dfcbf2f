"""NCMEC's Hash Sharing API, version 2: ranges of time, each in pages.

`GET v2/entries?from=...&to=...` with basic authentication. Entries of a range are in no order, so
the position moves on only once all pages of a range were taken. The link to the next page holds
for its own range alone, and for 12 hours; afterwards the range is asked for from its beginning.

The next range begins at the newest time stamp that the exchange itself named, less an overlap, and
never after either clock: entries that the exchange dates later, or tells late, are not skipped. An
exchange whose clock is ahead of ours by more than the overlap is asked at once for the rest.

Options: `start` (the first moment that is asked for), `check_count` of the reader.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from hashlists.errors import ExchangeSettingsError
from hashlists.exchanges.base import (
    OVERLAP,
    Ask,
    Key,
    Step,
    begun_at,
    next_query,
    require_way_on,
    still_holds,
    take_options,
)
from hashlists.moments import read_moment, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from hashlists.exchanges.base import Arrived, Position
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http

_PATH: Final = "v2/entries"
_FIRST: Final = datetime(2000, 1, 1, tzinfo=UTC)
_SECOND: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class NcmecClient:
    """See the module and `base.Client`."""

    first: datetime = _FIRST
    reader_options: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "ncmec"
    format: ClassVar[str] = "ncmec"
    types: ClassVar[Sequence[str]] = ("xml",)
    credential_names: ClassVar[Sequence[str]] = ("username", "password")
    full_after: ClassVar[timedelta | None] = None
    missed_after: ClassVar[timedelta | None] = None

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Takes the options of the module.

        Raises:
            ExchangeSettingsError: one is unknown or wrong.
        """
        own, of_reader = take_options(
            options, {"start": utc_text(_FIRST)}, ("check_count",), cls.kind
        )
        first = read_moment(own["start"])
        if first is None:
            raise ExchangeSettingsError(
                "the option start must be a time, e.g. 2017-10-24T15:00:00Z"
            )
        return cls(first, of_reader)

    def log_in(self, http: Http, credentials: Credentials) -> Key:  # noqa: ARG002 - nothing to ask
        """Basic authentication."""
        pair = f"{credentials['username']}:{credentials['password']}"
        return Key({"Authorization": f"Basic {base64.b64encode(pair.encode()).decode()}"})

    def start(self, now: datetime) -> Position:
        """A range over all of time."""
        return {"from": utc_text(self.first), "to": utc_text(now)}

    def resume(self, position: Position, now: datetime) -> Position:
        """The same page while its link holds; the same range where it does not; else a new one."""
        if "next" in position:
            return position if still_holds(position, now) else self._begun(position)
        return _range(position["from"], now)

    def ask(self, position: Position) -> Ask:
        """The link, or the beginning of the range."""
        if "next" in position:
            return Ask(_PATH, position["next"])
        return Ask(_PATH, [("from", position["from"]), ("to", position["to"])])

    def advance(self, position: Position, arrived: Arrived) -> Step:
        """The next page of the range, or the next range."""
        require_way_on(arrived)
        newest = _later(read_moment(position.get("newest")), _newest(arrived))
        if arrived.page.next is not None:
            following = {
                "from": position["from"],
                "to": position["to"],
                "next": next_query(arrived.page.next, _PATH),
                "next_at": utc_text(arrived.now),
                "begun": utc_text(begun_at(position, arrived)),
                **({"newest": utc_text(newest)} if newest else {}),
            }
            return Step(following, done=False)
        start, end = _moment(position["from"]), _moment(position["to"])
        if newest is not None:
            start = max(start, min(newest, end, begun_at(position, arrived)) - OVERLAP)
        theirs = arrived.server_time
        behind = theirs is not None and theirs - end > OVERLAP
        upto = theirs if theirs is not None and behind else arrived.now
        return Step(_range(utc_text(start), upto), done=not behind)

    def without_next(self, position: Position) -> Position | None:
        """The beginning of the same range: what was newest so far is found again."""
        return self._begun(position) if "next" in position else None

    def back_to(self, position: Position, moment: datetime) -> Position:
        """A range that begins before the moment."""
        start = min(_moment(position["from"]), moment - OVERLAP)
        return {"from": utc_text(start), "to": position["to"]}

    @staticmethod
    def _begun(position: Position) -> Position:
        return {"from": position["from"], "to": position["to"]}

    def words(self, position: Position) -> str:
        """The range."""
        return f"changes from {position['from']} to {position['to']}"


def _range(start: str, end: datetime) -> dict[str, Any]:
    """A range of at least a second, whatever our clock says."""
    upto = max(end, _moment(start) + _SECOND)
    return {"from": start, "to": utc_text(upto)}


def _moment(text: str) -> datetime:
    moment = read_moment(text)
    assert moment is not None, "positions are written here"
    return moment


def _newest(arrived: Arrived) -> datetime | None:
    """The exchange's own word, where it gives it."""
    return read_moment(arrived.page.checkpoint) or arrived.newest


def _later(one: datetime | None, other: datetime | None) -> datetime | None:
    found: Sequence[datetime] = [each for each in (one, other) if each is not None]
    return max(found, default=None)


__all__ = ["NcmecClient"]
