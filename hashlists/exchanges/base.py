"""What a client of an exchange is: it says what to ask, and from where to go on.

A client holds no state and does no input or output but logging in: a position goes in, and after an
answer the next position comes out. Positions are JSON-able and kept in the catalog with what was
taken, so a fetch that was killed goes on from the last page that counted.

Invariants: a position moves on only past what surely was taken. It never trusts a clock of one side
alone: what the exchange said bounds it, and the next range begins a little before, since what an
exchange tells may be late. Repetitions change nothing, so that costs little.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, Protocol
from urllib.parse import urlsplit

from hashlists.errors import ExchangePageError, ExchangeSettingsError
from hashlists.moments import read_moment
from hashlists.near_names import did_you_mean

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http
    from hashlists.formats.base import PageInfo

    #: How far an exchange was fetched, in its client's words.
    Position = Mapping[str, Any]

#: How long a link, a cursor or a token for a next page is trusted.
NEXT_HOLDS: Final = timedelta(hours=12)
#: What is asked for once more at the beginning of each range.
OVERLAP: Final = timedelta(minutes=10)
_WHOLE = re.compile(r"[0-9]{1,9}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Ask:
    """One page to ask for.

    Attributes:
        path: below the exchange's address.
        query: names and values, or the query that the exchange gave for the next page.
    """

    path: str
    query: Sequence[tuple[str, str]] | str = field(repr=False)


@dataclass(frozen=True, slots=True)
class Key:
    """What opens the exchange: goes with every request.

    Attributes:
        headers: of HTTP.
        query: names and values.
    """

    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    query: Sequence[tuple[str, str]] = field(default=(), repr=False)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What is known of a page once it was read.

    Attributes:
        page: where it stands among its pages.
        times: when its records changed, in their order; None for what names no time.
        server_time: when the exchange answered, by its own clock; None where it does not say.
        now: when it answered by ours.
    """

    page: PageInfo
    times: Sequence[datetime | None]
    server_time: datetime | None
    now: datetime

    @property
    def newest(self) -> datetime | None:
        """The latest change of a record."""
        return max((time for time in self.times if time is not None), default=None)

    @property
    def believed_now(self) -> datetime:
        """The earlier of both clocks: what lies after it may be still to come."""
        return min(self.now, self.server_time) if self.server_time else self.now


@dataclass(frozen=True, slots=True)
class Step:
    """Where to go on.

    Attributes:
        position: the next one.
        done: all that there is was taken.
    """

    position: Position
    done: bool


class Client(Protocol):
    """How one kind of exchange is asked.

    Attributes:
        kind: as `exchanges add --kind` takes it.
        format: of its answers.
        types: parts of the media types that its answers may have.
        credential_names: what it needs.
        reader_options: for the reader of its answers.
        full_after: how long after the last full fetch all must be fetched anew, since the exchange
            forgets what it withdrew; None where it does not.
        missed_after: how long after the last fetch all must be fetched anew, since withdrawals may
            have been forgotten that were never told here; None where that cannot be.
    """

    @property
    def kind(self) -> str:
        """As `exchanges add --kind` takes it."""
        ...

    @property
    def format(self) -> str:
        """Of its answers."""
        ...

    @property
    def types(self) -> Sequence[str]:
        """Parts of the media types that its answers may have."""
        ...

    @property
    def credential_names(self) -> Sequence[str]:
        """What it needs."""
        ...

    @property
    def reader_options(self) -> Mapping[str, str]:
        """For the reader of its answers."""
        ...

    @property
    def full_after(self) -> timedelta | None:
        """How long after the last full fetch all must be fetched anew."""
        ...

    @property
    def missed_after(self) -> timedelta | None:
        """How long after the last fetch all must be fetched anew."""
        ...

    def log_in(self, http: Http, credentials: Credentials) -> Key:
        """What goes with every request."""
        ...

    def start(self, now: datetime) -> Position:
        """The position before everything there is."""
        ...

    def resume(self, position: Position, now: datetime) -> Position:
        """The position to go on from when a fetch begins."""
        ...

    def ask(self, position: Position) -> Ask:
        """What to ask for there."""
        ...

    def advance(self, position: Position, arrived: Arrived) -> Step:
        """The position after a page.

        Raises:
            ExchangePageError: the page says something odd of the next one.
        """
        ...

    def without_next(self, position: Position) -> Position | None:
        """The beginning of the range where the link to its next page is not accepted any more.

        None where the position holds no such link.
        """
        ...

    def back_to(self, position: Position, moment: datetime) -> Position:
        """The position, or an earlier one that surely lies before that moment."""
        ...

    def words(self, position: Position) -> str:
        """Where that is, for people; without tokens."""
        ...


def take_options(
    options: Mapping[str, str], known: Mapping[str, str], reader_names: Sequence[str], kind: str
) -> tuple[dict[str, str], dict[str, str]]:
    """Sorts the options of an exchange into the client's and its reader's.

    Args:
        options: as given.
        known: the client's own, with their defaults.
        reader_names: options that the reader of its answers takes.
        kind: of the client, for errors.

    Raises:
        ExchangeSettingsError: an option is unknown.
    """
    unknown = sorted(options.keys() - known.keys() - set(reader_names))
    if unknown:
        all_known = sorted({*known, *reader_names})
        hint = did_you_mean(unknown[0], all_known)
        raise ExchangeSettingsError(
            f"unknown option of {kind}: {', '.join(unknown)}{hint}known options: "
            f"{', '.join(all_known) or 'none'}"
        )
    own = {name: options.get(name, default) for name, default in known.items()}
    return own, {name: options[name] for name in reader_names if name in options}


def require_count(text: str, name: str, *, most: int) -> str:
    """An option that is a number from 1 on.

    Raises:
        ExchangeSettingsError: it is none.
    """
    if not _WHOLE.fullmatch(text) or not 1 <= int(text) <= most:
        raise ExchangeSettingsError(f"the option {name} must be a whole number from 1 to {most}")
    return text


def still_holds(position: Position, now: datetime) -> bool:
    """Whether what the position says of a next page (`next_at`) is young enough to be trusted."""
    since = read_moment(position.get("next_at"))
    return since is not None and timedelta(0) <= now - since < NEXT_HOLDS


def begun_at(position: Position, arrived: Arrived) -> datetime:
    """When the first page of a set was answered, by the earlier of both clocks.

    Pages are in no promised order: what changed after that may have belonged to a page that was
    taken before. So no position moves past it.
    """
    return read_moment(position.get("begun")) or arrived.believed_now


def require_way_on(arrived: Arrived) -> None:
    """Sees to it that a page with more pages behind it says how to get them.

    Raises:
        ExchangePageError: it does not; what it hides must not be taken for taken.
    """
    if arrived.page.next is None and not arrived.page.complete:
        raise ExchangePageError("the page says that there are more, but not how to get them")


def next_query(target: str, path: str) -> str:
    """The query of a link to the next page, which must lead to the path that was asked.

    Raises:
        ExchangePageError: it leads elsewhere, or has no query.
    """
    parts = urlsplit(target)
    if not parts.query or not parts.path.rstrip("/").endswith(f"/{path.strip('/')}"):
        raise ExchangePageError("the link to the next page leads somewhere else than this page")
    return parts.query


__all__ = [
    "NEXT_HOLDS",
    "OVERLAP",
    "Arrived",
    "Ask",
    "Client",
    "Key",
    "Step",
    "begun_at",
    "next_query",
    "require_count",
    "require_way_on",
    "still_holds",
    "take_options",
]
