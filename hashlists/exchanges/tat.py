"""Tech Against Terrorism's Hash List API: records after `{UTC},{id}`, page by page.

A name and a password give a token for one fetch (`POST token-auth/tcap/`), which goes with
`GET api/hash-list/v2/all?limit=...&order=asc&after=...`.

Pages are asked for by the checkpoint of the page before, the time and id of its last record, not by
the link that counts rows: a record that changes meanwhile moves to the end, and a count would then
skip another. They begin a second before it, since nobody says in what order the records of one
moment come. Where a page is not in order of time, or leads no further so, the links are followed to
the end, and only then the position moves. A fetch begins an overlap earlier.

No position lies behind the moment at which its fetch began, by the earlier of both clocks: one
record that is dated too late would hide all that follow. A checkpoint that lies there is not asked
by, and one that cannot be read moves nothing.

Options: `page_size` (1000), `ideology` (`islamist` or `far-right`; both where absent).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from datetime import timedelta
from typing import TYPE_CHECKING, Any, ClassVar, Final, Self

from hashlists.errors import ExchangeCredentialsError, ExchangePageError, ExchangeSettingsError
from hashlists.exchanges.base import (
    OVERLAP,
    Ask,
    Key,
    Step,
    begun_at,
    next_query,
    require_count,
    take_options,
)
from hashlists.moments import read_moment, utc_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from datetime import datetime

    from hashlists.exchanges.base import Arrived, Position
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http

_PATH: Final = "api/hash-list/v2/all"
_LOG_IN: Final = "token-auth/tcap/"
_MOST: Final = 1_000
_TOKEN = re.compile(r"[!-~]{1,16384}")
_NUMBER = re.compile(r"[0-9]{1,18}", re.ASCII)
_EPOCH = re.compile(r"[0-9]{1,11}(\.[0-9]+)?", re.ASCII)
_IDEOLOGIES: Final = ("", "islamist", "far-right")
#: Within it records come in any order.
_ONE_MOMENT: Final = timedelta(seconds=1)


@dataclass(frozen=True, slots=True)
class TatClient:
    """See the module and `base.Client`."""

    page_size: str = "1000"
    ideology: str = ""
    reader_options: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "tat"
    format: ClassVar[str] = "tat"
    types: ClassVar[Sequence[str]] = ("json",)
    credential_names: ClassVar[Sequence[str]] = ("username", "password")
    full_after: ClassVar[timedelta | None] = None
    missed_after: ClassVar[timedelta | None] = None

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Takes the options of the module.

        Raises:
            ExchangeSettingsError: one is unknown or wrong.
        """
        own, _ = take_options(options, {"page_size": "1000", "ideology": ""}, (), cls.kind)
        if own["ideology"] not in _IDEOLOGIES:
            raise ExchangeSettingsError("the option ideology must be islamist or far-right")
        return cls(require_count(own["page_size"], "page_size", most=_MOST), own["ideology"])

    def log_in(self, http: Http, credentials: Credentials) -> Key:
        """A token for this fetch.

        Raises:
            ExchangeCredentialsError: it gives none.
        """
        named = {"username": credentials["username"], "password": credentials["password"]}
        with http.ask(
            _LOG_IN,
            method="POST",
            headers={"Content-Type": "application/json"},
            content=json.dumps({**named, "resend": False}).encode(),
            types=self.types,
        ) as answer:
            try:
                token = json.loads(answer.stream.read()).get("token")
            except (ValueError, AttributeError, RecursionError):
                raise ExchangePageError("the answer to logging in is no JSON object") from None
        if not isinstance(token, str) or not _TOKEN.fullmatch(token):
            raise ExchangeCredentialsError("it gave no token for this name and password")
        return Key({"Authorization": f"Bearer {token}"})

    def start(self, now: datetime) -> Position:  # noqa: ARG002 - whenever that is
        """Before the first record."""
        return {"after": ""}

    def resume(self, position: Position, now: datetime) -> Position:
        """A little before where it was; links count rows, and are not kept from fetch to fetch."""
        after = _no_later(position["after"], now)
        return {"after": after, "asked": _before(after, OVERLAP)}

    def ask(self, position: Position) -> Ask:
        """What lies after the checkpoint, or behind the link."""
        if "next" in position:
            return Ask(_PATH, position["next"])
        query = [("limit", self.page_size), ("order", "asc")]
        after = position.get("asked", position["after"])
        if after:
            query.append(("after", after))
        if self.ideology:
            query.append(("ideology", self.ideology))
        return Ask(_PATH, query)

    def advance(self, position: Position, arrived: Arrived) -> Step:
        """The next page."""
        begun = begun_at(position, arrived)
        told = arrived.page.checkpoint or ""
        bounded = _no_later(told, begun)
        seen = _later(position.get("seen", ""), bounded)
        if arrived.page.next is None:
            return Step({"after": _later(position["after"], seen)}, done=True)
        following: dict[str, Any] = {"after": position["after"], "begun": utc_text(begun)}
        asked, further = position.get("asked", position["after"]), _before(told, _ONE_MOMENT)
        leads_on = told == bounded and _is_later(further, asked) and _leads_on(further, arrived)
        if leads_on and "next" not in position:
            following |= {"after": _later(position["after"], told), "asked": further}
            return Step(following, done=False)
        query = next_query(arrived.page.next, _PATH)
        if query == position.get("next"):
            raise ExchangePageError("the page names itself as the next one")
        if "asked" in position:
            following["asked"] = position["asked"]
        return Step({**following, "next": query, "seen": seen}, done=False)

    def without_next(self, position: Position) -> Position | None:
        """The page from which links were followed."""
        if "next" not in position:
            return None
        return {name: position[name] for name in ("after", "asked") if name in position}

    def back_to(self, position: Position, moment: datetime) -> Position:
        """A position that lies before the moment."""
        at = _read(position["after"])
        before = moment - OVERLAP
        if at is not None and at[0] <= before:
            return {"after": position["after"]}
        return {"after": f"{int(before.timestamp())},0"}

    def words(self, position: Position) -> str:
        """The time after which records are asked for."""
        at = _read(position.get("asked", position["after"]))
        return f"changes after {utc_text(at[0])}" if at else "all changes"


def _read(after: str) -> tuple[datetime, int] | None:
    """Time and id; None for what is not of that form."""
    time, _, number = after.rpartition(",")
    moment = read_moment(time)
    if moment is None or not _NUMBER.fullmatch(number.strip()):
        return None
    return moment, int(number)


def _before(checkpoint: str, by: timedelta) -> str:
    """A checkpoint that much earlier; the same where it does not tell seconds since 1970."""
    at = _read(checkpoint)
    if at is None or not _EPOCH.fullmatch(checkpoint.partition(",")[0]):
        return checkpoint
    return f"{max(0, int((at[0] - by).timestamp()))},0"


def _is_later(told: str, than: str) -> bool:
    new, old = _read(told), _read(than)
    return new is not None and (old is None or new > old)


def _later(one: str, other: str) -> str:
    """The later checkpoint; one that cannot be read never takes the other's place."""
    return other if _is_later(other, one) else one


def _no_later(told: str, moment: datetime) -> str:
    """The checkpoint, unless it lies behind that moment: then that."""
    at = _read(told)
    return told if at is None or at[0] <= moment else f"{int(moment.timestamp())},0"


def _leads_on(checkpoint: str, arrived: Arrived) -> bool:
    """Whether a page is in order, and what follows the checkpoint does not begin with all of it."""
    at, first = _read(checkpoint), arrived.times[0] if arrived.times else None
    return at is not None and first is not None and _in_order(arrived) and first <= at[0]


def _in_order(arrived: Arrived) -> bool:
    """Whether the page shows the order that was asked for."""
    times = arrived.times
    known = [time for time in times if time is not None]
    return len(known) == len(times) and known == sorted(known)


__all__ = ["TatClient"]
