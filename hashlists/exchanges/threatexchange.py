"""Meta's ThreatExchange: the `threat_updates` of one privacy group.

`GET PRIVACY_GROUP/threat_updates?start_time=...` with further pages by the cursor `after` and the
same start. Records are in no promised order, so the position moves on only after the last page, to
the latest change that was seen, less an overlap. Withdrawals are forgotten, after 30 days or after
90, as one asks: all is fetched anew when the last fetch is 25 days ago or the last full fetch 85,
and what it lacks is withdrawn.

Options: `privacy_group` (its number), `page_size` (100), `types` (of indicators, between commas),
`token_in` (`header`, or `query` as older clients do), `tags` and `non_malicious` of the reader.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, ClassVar, Final, Self

from hashlists.errors import ExchangePageError, ExchangeSettingsError
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

    from hashlists.exchanges.base import Arrived, Position
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http

#: Withdrawals are kept for 90 days by Meta's client, which fetches all anew after 85.
FULL_AFTER: Final = timedelta(days=85)
#: They are told for 30 days by Meta's pages; the shorter one counts, with room for a fetch that
#: fails.
MISSED_AFTER: Final = timedelta(days=25)
_FIELDS: Final = (
    "id,indicator,type,last_updated,should_delete,descriptors{id,owner{id},status,tags}"
)
_TYPES: Final = re.compile(r"[A-Z0-9_]+(,[A-Z0-9_]+)*|")
_GROUP: Final = re.compile(r"[0-9]{1,20}", re.ASCII)
_MOST: Final = 5_000
_KNOWN: Final = {"privacy_group": "", "page_size": "100", "types": "", "token_in": "header"}


@dataclass(frozen=True, slots=True)
class ThreatExchangeClient:
    """See the module and `base.Client`."""

    group: str
    page_size: str = "100"
    indicator_types: str = ""
    token_in: str = "header"  # noqa: S105 - where it goes, not what it is
    reader_options: Mapping[str, str] = field(default_factory=dict)

    kind: ClassVar[str] = "threatexchange"
    format: ClassVar[str] = "threatexchange"
    types: ClassVar[Sequence[str]] = ("json", "javascript")
    credential_names: ClassVar[Sequence[str]] = ("access_token",)
    full_after: ClassVar[timedelta | None] = FULL_AFTER
    missed_after: ClassVar[timedelta | None] = MISSED_AFTER

    @classmethod
    def from_options(cls, options: Mapping[str, str]) -> Self:
        """Takes the options of the module.

        Raises:
            ExchangeSettingsError: one is unknown, missing or wrong.
        """
        own, of_reader = take_options(options, _KNOWN, ("tags", "non_malicious"), cls.kind)
        if not _GROUP.fullmatch(own["privacy_group"]):
            raise ExchangeSettingsError(
                "threatexchange needs the option privacy_group, a number: --option privacy_group=N"
            )
        if not _TYPES.fullmatch(own["types"]):
            raise ExchangeSettingsError("the option types must be e.g. HASH_PDQ,HASH_MD5")
        if own["token_in"] not in ("header", "query"):
            raise ExchangeSettingsError("the option token_in must be header or query")
        size = require_count(own["page_size"], "page_size", most=_MOST)
        return cls(own["privacy_group"], size, own["types"], own["token_in"], of_reader)

    def log_in(self, http: Http, credentials: Credentials) -> Key:  # noqa: ARG002 - nothing to ask
        """The access token, kept out of addresses unless that is asked for."""
        token = credentials["access_token"]
        if self.token_in == "query":  # noqa: S105 - where it goes
            return Key(query=[("access_token", token)])
        return Key({"Authorization": f"Bearer {token}"})

    def start(self, now: datetime) -> Position:  # noqa: ARG002 - whenever that is
        """All of time."""
        return {"since": 0}

    def resume(self, position: Position, now: datetime) -> Position:
        """Where it was, or the beginning of the range where the cursor is old."""
        return position if still_holds(position, now) else {"since": position["since"]}

    def ask(self, position: Position) -> Ask:
        """One page."""
        query = [
            ("start_time", str(position["since"])),
            ("limit", self.page_size),
            ("fields", _FIELDS),
        ]
        if self.indicator_types:
            query.append(("types", self.indicator_types))
        if "after" in position:
            query.append(("after", position["after"]))
        return Ask(f"{self.group}/threat_updates/", query)

    def advance(self, position: Position, arrived: Arrived) -> Step:
        """The next page, or what changed since the latest change."""
        require_way_on(arrived)
        newest = max(position.get("newest", 0), _seconds(arrived))
        if arrived.page.next is not None:
            if arrived.page.next == position.get("after"):
                raise ExchangePageError("the page names itself as the next one")
            following = {
                "since": position["since"],
                "after": arrived.page.next,
                "next_at": utc_text(arrived.now),
                "begun": utc_text(begun_at(position, arrived)),
                "newest": newest,
            }
            return Step(following, done=False)
        latest = int(begun_at(position, arrived).timestamp())
        since = min(newest, latest) - int(OVERLAP.total_seconds())
        return Step({"since": max(position["since"], since)}, done=True)

    def without_next(self, position: Position) -> Position | None:
        """The first page of the same range."""
        return {"since": position["since"]} if "after" in position else None

    def back_to(self, position: Position, moment: datetime) -> Position:
        """A range that begins before the moment."""
        before = max(0, int((moment - OVERLAP).timestamp()))
        return {"since": min(position["since"], before)}

    def words(self, position: Position) -> str:
        """When the range begins."""
        since = read_moment(position["since"])
        return f"changes since {utc_text(since) if since else 'an odd time'}"


def _seconds(arrived: Arrived) -> int:
    return int(arrived.newest.timestamp()) if arrived.newest else 0


__all__ = ["FULL_AFTER", "MISSED_AFTER", "ThreatExchangeClient"]
