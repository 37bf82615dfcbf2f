"""Checks uploads again by their tokens, against what is new: apart from gRPC.

A token that cannot be used is an answer for that token alone. Memory is bounded by how many
messages are worked on at once, shared out among callers, and by how many readings of what is new
are kept. A stream has a place while a message of it is worked on, and no longer: one that is silent
holds nothing that another could need. What its tokens are checked against is read again where it
was not kept.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter, OrderedDict
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hashlists.words import counted
from matcher.admission import Room
from matcher.errors import (
    BrokenSealError,
    CatalogNeededError,
    InvalidRequestError,
    OverloadedError,
    TokenExpiredError,
)
from matcher.follow.since import changes_since
from matcher.model import Decision
from matcher.pipeline import match_items
from matcher.service.threads import Threads

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from matcher.index.holder import Holder
    from matcher.model import ImageHashes, MatchResult
    from matcher.pipeline import Generation, MatchOptions
    from matcher.service.late_catalog import LateCatalog
    from matcher.tokens import Tokens

#: Messages that are worked on at once.
MAX_MESSAGES = 10
#: Readings of what is new that are kept.
MAX_KEPT = 8
_MOST_PENDING = 64
_FOUND = (Decision.MATCH, Decision.REVIEW)


@dataclass(frozen=True, slots=True)
class Checked:
    """What came of one token that has something to tell.

    Attributes:
        row: which of the tokens it was.
        hashes: in the token; None where it could not be used.
        result: what they met; likewise.
        error: why it could not be used; None where it could.
    """

    row: int
    hashes: ImageHashes | None = None
    result: MatchResult | None = None
    error: Exception | None = None


@dataclass(frozen=True, slots=True)
class _Kept:
    """What is new, as it was read at a revision of the catalog."""

    read_at: int
    new: Generation


class TokenLookup:
    """Checks tokens. Single event loop only.

    Args:
        tokens: opens them.
        holder: what is served.
        catalog: tells what is new; None for a replica, which can only check against everything.
        most_entries: that are searched from memory; see `changes_since`.
    """

    def __init__(
        self,
        tokens: Tokens,
        holder: Holder[Generation],
        catalog: LateCatalog | None,
        *,
        most_entries: int,
    ) -> None:
        self._tokens = tokens
        self._holder = holder
        self._catalog = catalog
        self._most_entries = most_entries
        self._threads = Threads("token lookup", workers=2, max_pending=_MOST_PENDING)
        self._reading = Threads("new entries", workers=1, max_pending=_MOST_PENDING)
        self._room = Room(MAX_MESSAGES)
        self._streams = 0
        self._kept: OrderedDict[tuple[str, int], _Kept] = OrderedDict()

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()
        self._reading.close()

    @contextmanager
    def stream(self, since: int, *, client: str, who: str) -> Iterator[TokenStream]:
        """Around one stream.

        Args:
            since: the revision up to which its tokens were checked; 0 for everything.
            client: for whom they were sealed.
            who: whose share of the room its messages are of.

        Raises:
            InvalidRequestError: there is no such revision.
        """
        if since < 0:
            raise InvalidRequestError("is 0 or more", field="since_revision")
        self._streams += 1
        try:
            yield TokenStream(self, since, client, who)
        finally:
            self._streams -= 1
            while not self._streams and len(self._kept) > 1:
                self._kept.popitem(last=False)

    async def check(
        self, stream: TokenStream, tokens: Sequence[bytes], options: MatchOptions
    ) -> list[Checked]:
        """As `TokenStream.check`."""
        if not self._room.has(1, stream.who):
            busy = counted(self._room.taken, "message", "messages")
            raise OverloadedError(f"{busy} of tokens are checked now; try again, with back-off")
        give_back = self._room.take(1, stream.who)
        work = asyncio.ensure_future(self._checked(stream, tokens, options))
        work.add_done_callback(lambda _: give_back())
        return await asyncio.shield(work)  # who goes away leaves the place once the work has ended

    async def _checked(
        self, stream: TokenStream, tokens: Sequence[bytes], options: MatchOptions
    ) -> list[Checked]:
        new = await self.since(stream.since, stream.who, at_least=stream.read_at)
        if stream.read_at is None:
            stream.read_at = new.revision
        new.policy_for(options)
        return await self._threads.run(self._check, new, tokens, options, stream.client)

    async def since(self, revision: int, who: str, *, at_least: int | None = None) -> Generation:
        """What is new since a revision; all there is for revision 0.

        Args:
            revision: which.
            who: asks.
            at_least: a revision of which it is enough to know; None for the newest.

        Raises:
            InvalidRequestError: there is no such revision.
            CatalogNeededError: a replica cannot tell what is new.
            CatalogError: the catalog is away.
            NotReadyError: nothing is loaded yet.
        """
        served = self._holder.current
        if revision == 0:
            return served
        if self._catalog is None:
            raise CatalogNeededError(
                "a replica does not know what is new since a revision: ask the server that keeps "
                "the lists, or check against everything (since_revision 0)"
            )
        key = (who, revision)
        kept = self._kept.get(key)
        if kept is None or at_least is None or kept.new.revision < at_least:
            kept = await self._reading.run(self._read, served, revision, kept)
        self._keep(key, kept)
        return kept.new

    def _keep(self, key: tuple[str, int], kept: _Kept) -> None:
        """Keeps the latest readings; there go first those of whoever has most."""
        self._kept[key] = kept
        self._kept.move_to_end(key)
        if len(self._kept) > MAX_KEPT:
            readings = Counter(who for who, _ in self._kept)
            most = max(readings, key=readings.__getitem__)
            del self._kept[next(each for each in self._kept if each[0] == most)]

    def _read(self, served: Generation, since: int, kept: _Kept | None) -> _Kept:
        assert self._catalog is not None, "only a server with a catalog reads it"
        with self._catalog.opened().read() as reader:
            if kept is not None and kept.read_at == reader.revision:
                known = kept.new.index.lists[: len(served.index.lists)]
                if known == served.index.lists:
                    return kept
            new = changes_since(reader, served, since, most_entries=self._most_entries)
            return _Kept(reader.revision, new)

    def _check(
        self, new: Generation, tokens: Sequence[bytes], options: MatchOptions, client: str
    ) -> list[Checked]:
        now = time.time()
        checked, rows, items = [], [], []
        for row, token in enumerate(tokens):
            try:
                items.append(self._tokens.open(token, client, now=now))
                rows.append(row)
            except (BrokenSealError, TokenExpiredError) as error:
                checked.append(Checked(row, error=error))
        results = match_items(new, items, [options] * len(items))
        for row, hashes, result in zip(rows, items, results, strict=True):
            if result.decision in _FOUND:
                checked.append(Checked(row, hashes, result))
        return sorted(checked, key=lambda each: each.row)


class TokenStream:
    """The tokens of one stream, all checked against what is new since the same revision.

    Args:
        lookup: checks them.
        since: that revision.
        client: for whom they were sealed.
        who: whose share of the room its messages are of.
    """

    def __init__(self, lookup: TokenLookup, since: int, client: str, who: str) -> None:
        self._lookup = lookup
        self.since = since
        self.client = client
        self.who = who
        self.read_at: int | None = None

    @property
    def revision(self) -> int:
        """Up to which all its tokens are checked; some perhaps against what came later, too."""
        assert self.read_at is not None, "known once tokens were checked"
        return self.read_at

    async def check(self, tokens: Sequence[bytes], options: MatchOptions) -> list[Checked]:
        """What came of the tokens of a message, where there is something to tell; in their order.

        Raises:
            CatalogNeededError, CatalogError, NotReadyError: as `TokenLookup.since`.
            PolicyError: the policy that `options` name does not exist or does not fit.
            SealingKeyError: no token can be opened.
            OverloadedError: too many messages are worked on.
        """
        return await self._lookup.check(self, tokens, options)


__all__ = ["MAX_KEPT", "MAX_MESSAGES", "Checked", "TokenLookup", "TokenStream"]
