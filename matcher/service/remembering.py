"""What an answer leaves behind: a record of every `MATCH` and `REVIEW`, and a token on request.

An answer never fails for either. A record that cannot be kept, and a token that cannot be sealed,
is told by metrics, health and the log, and the token is empty.
"""

from __future__ import annotations

import logging
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from hashlists.model import HashKind
from matcher import hashing
from matcher.errors import SealingKeyError
from matcher.records.model import Asked, record_of

if TYPE_CHECKING:
    from collections.abc import Callable

    from matcher.index.holder import Holder
    from matcher.model import ImageHashes, MatchResult
    from matcher.pipeline import Generation, MatchOptions
    from matcher.service.record_keeping import RecordKeeping
    from matcher.tokens import Tokens

_log = logging.getLogger(__name__)


@dataclass(slots=True)
class Remembering:
    """Keeps records and seals tokens; on the loop.

    Attributes:
        keeping: where records go.
        tokens: seals.
        holder: what is served, for what policies say.
        decoder_version: of the decoder.
        unsealed: tokens that could not be sealed.
    """

    keeping: RecordKeeping
    tokens: Tokens
    holder: Holder[Generation]
    decoder_version: Callable[[], str]
    unsealed: int = 0
    _failing: bool = False

    def keep(
        self,
        result: MatchResult,
        hashes: ImageHashes,
        *,
        options: MatchOptions,
        client: str,
        reference: str,
    ) -> None:
        """Keeps a record of a result that has a match id.

        Args:
            result: what was answered.
            hashes: of the upload.
            options: what the caller chose.
            client: the caller.
            reference: the caller's own name for the upload.
        """
        if not result.match_id or not self.keeping.is_on:
            return
        asked = Asked(
            client=client,
            reference=reference,
            sha256=hashes.digests.get(HashKind.SHA256),
            size=hashes.size,
            hasher_version=hashing.HASHER_VERSION,
            decoder_version=self.decoder_version(),
        )
        policy = self.holder.current.policy_for(options).policy
        self.keeping.add(record_of(result, asked, at=datetime.now(UTC)), policy)

    def seal(self, hashes: ImageHashes, client: str) -> bytes:
        """The token of an upload; empty where there is no key."""
        try:
            token = self.tokens.seal(hashes, client, now=time.time())
        except SealingKeyError as error:
            if not self._failing:  # told once, until it goes well again
                _log.error("tokens of uploads cannot be sealed now: %s", error)
            self._failing = True
            self.unsealed += 1
            return b""
        self._failing = False
        return token


__all__ = ["Remembering"]
