"""Checks uploads again by their tokens, against what is new: apart from gRPC.

A token that cannot be used is an answer for that token alone. What is new is read from the catalog
once for a revision, and shared by streams that ask for the same. So that memory is bounded, so is
the number of streams.
"""

from __future__ import annotations

import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

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

MAX_STREAMS = 8
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
        self._streams = 0
        self._last: tuple[tuple[int, int], Generation] | None = None

    def close(self) -> None:
        """Ends the threads."""
        self._threads.close()
        self._reading.close()

    @contextmanager
    def stream(self) -> Iterator[None]:
        """Around one stream.

        Raises:
            OverloadedError: as many are open as may be.
        """
        if self._streams >= MAX_STREAMS:
            raise OverloadedError(f"{MAX_STREAMS} lookups of tokens are under way; try again later")
        self._streams += 1
        try:
            yield
        finally:
            self._streams -= 1

    async def since(self, revision: int) -> Generation:
        """What is new since a revision; all there is for revision 0.

        Raises:
            InvalidRequestError: there is no such revision.
            CatalogNeededError: a replica cannot tell what is new.
            CatalogError: the catalog is away.
            NotReadyError: nothing is loaded yet.
        """
        if revision < 0:
            raise InvalidRequestError("is 0 or more", field="since_revision")
        served = self._holder.current
        if revision == 0:
            return served
        if self._catalog is None:
            raise CatalogNeededError(
                "a replica does not know what is new since a revision: ask the server that keeps "
                "the lists, or check against everything (since_revision 0)"
            )
        return await self._reading.run(self._read, served, revision)

    async def check(
        self,
        new: Generation,
        tokens: Sequence[bytes],
        options: MatchOptions,
        *,
        client: str,
    ) -> list[Checked]:
        """What came of tokens, where there is something to tell; in their order.

        Raises:
            PolicyError: the policy that `options` name does not exist or does not fit.
            SealingKeyError: no token can be opened.
            OverloadedError: too many wait.
        """
        return await self._threads.run(self._check, new, tokens, options, client)

    def _read(self, served: Generation, since: int) -> Generation:
        assert self._catalog is not None, "only a server with a catalog reads it"
        with self._catalog.opened().read() as reader:
            key = (since, reader.revision)
            if self._last is not None and self._last[0] == key:
                index = self._last[1].index
                if index.lists[: len(served.index.lists)] == served.index.lists:
                    return self._last[1]
            new = changes_since(reader, served, since, most_entries=self._most_entries)
            self._last = key, new
            return new

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


__all__ = ["MAX_STREAMS", "Checked", "TokenLookup"]
