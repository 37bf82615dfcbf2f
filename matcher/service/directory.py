"""The clients that a server knows, in memory, and how they are told by what they show.

They are read again within about a second of a change. While their database is away, those that are
known go on being known, so that matching goes on; changes wait. Nothing here waits for it.
"""

from __future__ import annotations

import hmac
import logging
import threading
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hashlists.access.database import AccessDatabase
from hashlists.access.model import ClientState
from hashlists.access.tokens import key_mark, load_key, token_digest, token_id_of
from hashlists.errors import AccessDatabaseError, HashlistsError, TokenKeyError
from matcher.service.wall_clock import WallClock

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from datetime import datetime
    from pathlib import Path

    from hashlists.access.audit_head import HeadFile
    from hashlists.access.database import KnownClients
    from hashlists.access.model import Client, Token

_log = logging.getLogger(__name__)
#: Compared with where there is no such token, so that this takes as long.
_NO_DIGEST = bytes(32)
_NO_KEY = bytes(32)
#: In place of a revision, where not all of it could be used.
_LOOK_AGAIN = -1


class Unfit(StrEnum):
    """Why credentials do not do, for the audit alone."""

    NONE = "NO_CREDENTIALS"
    TOKEN = "TOKEN_UNKNOWN"  # noqa: S105 - the name of a reason
    TOKEN_EXPIRED = "TOKEN_EXPIRED"  # noqa: S105 - as above
    CERTIFICATE = "CERTIFICATE_UNKNOWN"
    EXPIRED = "CLIENT_EXPIRED"
    REVOKED = "CLIENT_REVOKED"
    ENDED = "CREDENTIALS_ENDED"  # while a call lasted


_UNFIT = {ClientState.EXPIRED: Unfit.EXPIRED, ClientState.REVOKED: Unfit.REVOKED}


@dataclass(frozen=True, slots=True)
class Known:
    """A client that has shown who it is.

    Attributes:
        client: as it stood then.
        until: when what it showed expires, if ever.
        token_id: of the token that it showed; empty where it showed a certificate.
    """

    client: Client
    until: datetime | None
    token_id: str = ""


@dataclass(frozen=True, slots=True)
class _View:
    """The clients as they were read: replaced whole, never changed."""

    revision: int
    key: bytes = field(repr=False)
    tokens: Mapping[str, tuple[Client, Token]] = field(repr=False)
    identities: Mapping[str, Client] = field(repr=False)


class Directory:
    """The clients. `refresh` is for a thread; all else for any, and never waits.

    Args:
        url: of the access database.
        head_file: where the end of the audit is kept.
        key_file: the key that tokens are digested with.
        clock: the present, in UTC; by default one that goes back with no setting of the machine's.
    """

    def __init__(
        self,
        url: str,
        head_file: HeadFile,
        key_file: Path,
        *,
        clock: Callable[[], datetime] | None = None,
    ) -> None:
        self._url = url
        self._head_file = head_file
        self._key_file = key_file
        self._clock = clock or WallClock()
        self._using = threading.RLock()
        self._closed = False
        self._database: AccessDatabase | None = None
        self._view: _View | None = None
        self._problem = ""

    def close(self) -> None:
        """Closes the database; whoever reads it then is waited for."""
        with self._using:
            self._closed = True
            if self._database is not None:
                self._database.close()

    def database(self) -> AccessDatabase:
        """The open database; for threads.

        Raises:
            AccessDatabaseError: it cannot be opened, or the server ends.
        """
        with self._using:
            if self._closed:
                raise AccessDatabaseError("the server ends, and the access database is closed")
            if self._database is None:
                self._database = AccessDatabase.open(self._url, self._head_file)
            return self._database

    @property
    def state(self) -> object:
        """Another object whenever other clients are known."""
        return self._view

    @property
    def is_empty(self) -> bool:
        """Whether nobody could be told by anything."""
        return self._view is None or not (self._view.tokens or self._view.identities)

    def refresh(self) -> None:
        """Reads the clients where they have changed; tells once what is in the way.

        Raises:
            HashlistsError: they cannot be read; those that are known stay known.
        """
        try:
            with self._using:
                self._refresh()
        except HashlistsError as error:
            if str(error) != self._problem:
                self._problem = str(error)
                _log.error("the clients cannot be read, those that are known stay so: %s", error)
            raise
        if self._problem:
            _log.info("the clients can be read again")
        self._problem = ""

    def _refresh(self) -> None:
        database = self.database()
        if self._view is not None and database.revision() == self._view.revision:
            return
        known = database.known_clients()
        try:
            key, tokens = self._key_for(known), _tokens(known)
        except TokenKeyError:
            self._view = _View(_LOOK_AGAIN, _NO_KEY, {}, _identities(known))
            raise
        self._view = _View(known.revision, key, tokens, _identities(known))

    def _key_for(self, known: KnownClients) -> bytes:
        """The key, where there ever was a token.

        Raises:
            TokenKeyError: it is missing, or another one.
        """
        if known.key_mark is None:
            return _NO_KEY
        key = load_key(self._key_file)
        if not hmac.compare_digest(key_mark(key), known.key_mark):
            raise TokenKeyError(
                f"{self._key_file}: is not the key that tokens were made with (token_key_file)"
            )
        return key

    def by_token(self, text: str) -> Known | None:
        """The client with that token; None where it is no token that counts.

        Raises:
            AccessDatabaseError: the clients were never read.
        """
        found = self._token(text)
        if found is None:
            return None
        client, token = found
        now = self._clock()
        if client.state(now) is not ClientState.ACTIVE or not token.counts(now):
            return None
        ends = [each for each in (client.expires_at, token.expires_at) if each is not None]
        return Known(client, min(ends, default=None), token.token_id)

    def why_no_token(self, text: str) -> tuple[Unfit, str]:
        """Why a token does not do, and whose it is; only who has all of it shows that client."""
        found = self._token(text)
        if found is None:
            return Unfit.TOKEN, ""
        return _UNFIT.get(found[0].state(self._clock()), Unfit.TOKEN_EXPIRED), found[0].name

    def _token(self, text: str) -> tuple[Client, Token] | None:
        view = self._read()
        found = view.tokens.get(token_id_of(text) or "")
        stored = _NO_DIGEST if found is None else found[1].digest
        same = hmac.compare_digest(token_digest(view.key, text), stored)
        return found if same else None

    def by_identities(self, names: Iterable[str]) -> Known | None:
        """The client with one of a certificate's names; None where that is not exactly one.

        Raises:
            AccessDatabaseError: the clients were never read.
        """
        client = self._identity(names)
        if client is None or client.state(self._clock()) is not ClientState.ACTIVE:
            return None
        return Known(client, client.expires_at)

    def why_no_identity(self, names: Iterable[str]) -> tuple[Unfit, str]:
        """Why a certificate does not do, and whose it is."""
        client = self._identity(names)
        if client is None:
            return Unfit.CERTIFICATE, ""
        return _UNFIT.get(client.state(self._clock()), Unfit.CERTIFICATE), client.name

    def _identity(self, names: Iterable[str]) -> Client | None:
        view = self._read()
        found = {
            each.name: each for name in names if (each := view.identities.get(name)) is not None
        }
        return next(iter(found.values())) if len(found) == 1 else None

    def renewed(self, known: Known) -> Known | None:
        """The same client as it stands now; None where what it showed counts no longer."""
        view = self._read()
        if known.token_id:
            client, token = view.tokens.get(known.token_id, (None, None))
            if client is None or token is None:
                return None
            now = self._clock()
            counts = client.state(now) is ClientState.ACTIVE and token.counts(now)
            return Known(client, known.until, known.token_id) if counts else None
        identity = known.client.identity
        return self.by_identities([] if identity is None else [identity])

    def has_expired(self, known: Known) -> bool:
        """Whether what a client showed has expired since."""
        return known.until is not None and self._clock() >= known.until

    def _read(self) -> _View:
        if self._view is None:
            raise AccessDatabaseError(
                "who may call is not known yet, as the access database is away; try again"
            )
        return self._view


def _tokens(known: KnownClients) -> dict[str, tuple[Client, Token]]:
    return {token.token_id: (each, token) for each in known.clients for token in each.tokens}


def _identities(known: KnownClients) -> dict[str, Client]:
    """One that was revoked may have left its identity to another, who comes later here."""
    by_age = sorted(known.clients, key=lambda each: each.revoked_at is None)
    return {each.identity: each for each in by_age if each.identity is not None}


__all__ = ["Directory", "Known", "Unfit"]
