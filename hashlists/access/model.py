"""Clients and their credentials, as the service and the command line see them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING

from hashlists.errors import ClientInvalidError

if TYPE_CHECKING:
    from datetime import datetime

_NAME = re.compile(r"[a-z]([a-z0-9-]{0,61}[a-z0-9])?")
_POLICY = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}")
#: How names are written in front of an identity; gRPC tells these parts of a certificate apart.
IDENTITY_KINDS = ("dns", "uri", "email", "ip", "subject")
_MAX_IDENTITY_CHARS = 1024


class Role(StrEnum):
    """What a client may do. None of them contains another, but for exact distances."""

    MATCH = "match"
    MATCH_EXACT_DISTANCE = "match-exact-distance"  # matches, and is told how near a match is
    IMPORT = "import"
    EXPORT = "export"
    REVIEW = "review"
    ADMIN = "admin"


class ClientState(StrEnum):
    """Only an `ACTIVE` client's credentials count."""

    ACTIVE = "active"
    EXPIRED = "expired"
    REVOKED = "revoked"


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a client. The token itself is known to its holder alone.

    Attributes:
        token_id: 12 hex digits, the first part of the token; no secret.
        digest: HMAC-SHA256 of the whole token under the key of `tokens`, 32 bytes.
        created_at: when it was made.
        expires_at: from when on it counts no longer, as a newer one has followed it; None: never.
    """

    token_id: str
    digest: bytes = field(repr=False)
    created_at: datetime
    expires_at: datetime | None = None

    def counts(self, now: datetime) -> bool:
        """Whether it has not expired."""
        return self.expires_at is None or now < self.expires_at


@dataclass(frozen=True, slots=True)
class NewClient:
    """What is said of a client that is to be.

    Attributes:
        name: 1 to 63 lower-case letters, digits and inner dashes, a letter first.
        roles: one at least.
        policy: the policy that binds it; empty for the server's default one.
        identity: a name in its certificate, e.g. `dns:upload.example.org`; None where it has a
            token only.
        expires_at: from when on none of its credentials count; None: never.

    Raises:
        ClientInvalidError: any of them cannot be.
    """

    name: str
    roles: frozenset[Role]
    policy: str = ""
    identity: str | None = None
    expires_at: datetime | None = None

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ClientInvalidError(
                "the name of a client is 1 to 63 lower-case letters, digits and inner dashes, a "
                "letter first"
            )
        if not self.roles:
            raise ClientInvalidError(f"a client needs a role: {', '.join(Role)}")
        if self.policy and not _POLICY.fullmatch(self.policy):
            raise ClientInvalidError("the policy is not the name of one")
        if self.identity is not None:
            check_identity(self.identity)


@dataclass(frozen=True, slots=True)
class Client:
    """A client as it stands.

    Attributes:
        name, roles, policy, identity, expires_at: as in `NewClient`.
        created_at: when it was added.
        revoked_at: since when none of its credentials count; None where it was not revoked.
        tokens: those that may count, newest first.
    """

    name: str
    roles: frozenset[Role]
    policy: str
    identity: str | None
    expires_at: datetime | None
    created_at: datetime
    revoked_at: datetime | None = None
    tokens: tuple[Token, ...] = ()

    def state(self, now: datetime) -> ClientState:
        """How it stands at a moment."""
        if self.revoked_at is not None:
            return ClientState.REVOKED
        if self.expires_at is not None and now >= self.expires_at:
            return ClientState.EXPIRED
        return ClientState.ACTIVE


def check_identity(identity: str) -> None:
    """Refuses what no certificate could say, so that a mistyped one is not waited for.

    Raises:
        ClientInvalidError: it is not of the form `KIND:NAME`.
    """
    kind, colon, name = identity.partition(":")
    printable = name.isprintable() and name.strip() == name and len(name) <= _MAX_IDENTITY_CHARS
    if kind not in IDENTITY_KINDS or not colon or not name or not printable:
        raise ClientInvalidError(
            "an identity is a name in the client's certificate, exactly as it stands there, behind "
            "its kind: dns:HOST, uri:URI, email:ADDRESS, ip:ADDRESS, or subject:NAME as in "
            "subject:CN=uploads,O=Example"
        )


__all__ = [
    "IDENTITY_KINDS",
    "Client",
    "ClientState",
    "NewClient",
    "Role",
    "Token",
    "check_identity",
]
