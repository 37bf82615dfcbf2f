"""Asks an exchange for its pages, each as often as it takes, and reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.errors import ExchangePageError, ExchangeRefusedError
from hashlists.exchanges.base import Arrived
from hashlists.exchanges.reading import ReadPage, read_page
from hashlists.exchanges.retrying import RetryLimits, retried
from hashlists.exchanges.walk import Walk, WalkLimits

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from datetime import datetime

    from hashlists.exchanges.base import Client, Key, Position, Step
    from hashlists.exchanges.clock import Clock
    from hashlists.exchanges.credentials import Credentials
    from hashlists.exchanges.http import Http
    from hashlists.limits import ImportLimits
    from hashlists.model import Handling


@dataclass(frozen=True, slots=True)
class Page:
    """A page that was read.

    Attributes:
        read: what it holds.
        words: which one it is, for people.
        step: where to go on after it.
        server_time: when it was answered, by the exchange's clock; None where it does not say.
    """

    read: ReadPage
    words: str
    step: Step
    server_time: datetime | None


class Asker:
    """Asks one exchange, which it logs in to when it first asks."""

    def __init__(
        self,
        client: Client,
        http: Http,
        credentials: Credentials,
        *,
        handling: Handling,
        retries: RetryLimits,
        limits: ImportLimits,
        clock: Clock,
        walk: WalkLimits,
    ) -> None:
        self._client = client
        self._http = http
        self._credentials = credentials
        self._handling = handling
        self._retries = retries
        self._limits = limits
        self._clock = clock
        self._walk_limits = walk
        self._key: Key | None = None

    def pages(self, position: Position) -> Iterator[Page]:
        """The pages from a position on; from its range's first where a link holds no more.

        That happens once: of an exchange that takes none of its own links back there is no end.

        Raises:
            ExchangeError: a page cannot be had, or there is no end to them.
            OptionsError: the exchange's options do not fit its reader.
        """
        walk, is_anew, done = Walk(self._walk_limits), False, False
        while not done:
            try:
                page = self._page(position)
            except ExchangeRefusedError:
                begun = self._client.without_next(position)
                if begun is None or is_anew:
                    raise
                walk, is_anew, position = Walk(self._walk_limits), True, begun
                continue
            following, done = page.step.position, page.step.done
            if not done:
                asked, next_asked = self._client.ask(position), self._client.ask(following)
                walk.take(asked, page.read.keys(), next_asked)
            yield page
            position = following

    def _page(self, position: Position) -> Page:
        if self._key is None:
            self._key = retried(self._log_in, self._retries, self._clock)
        key = self._key
        return retried(lambda: self._ask(position, key), self._retries, self._clock)

    def _log_in(self) -> Key:
        return self._client.log_in(self._http, self._credentials)

    def _ask(self, position: Position, key: Key) -> Page:
        client = self._client
        ask = client.ask(position)
        query = ask.query if isinstance(ask.query, str) else _with(key.query, ask.query)
        with self._http.ask(ask.path, query, headers=key.headers, types=client.types) as answer:
            read = read_page(answer, client, self._handling, self._limits)
        arrived = Arrived(read.info, read.times, answer.server_time, self._clock.now())
        step = client.advance(position, arrived)
        if not step.done and step.position == position:
            raise ExchangePageError("the page leads to itself, so there is no way on")
        return Page(read, client.words(position), step, answer.server_time)


def _with(
    key: Sequence[tuple[str, str]], query: Sequence[tuple[str, str]]
) -> Sequence[tuple[str, str]]:
    return [*query, *key]


__all__ = ["Asker", "Page"]
