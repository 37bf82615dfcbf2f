"""Who calls, and whether they may: what decides, apart from gRPC's way of asking.

A call that shows a token is judged by that alone, any other by its certificate where clients have
such. What is wrong is never passed over, and told in the same words whatever it is: nobody learns
whether a token exists, has expired or was revoked.
"""

from __future__ import annotations

from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from hashlists.access.model import IDENTITY_KINDS, Role
from matcher.errors import RoleMissingError, TooManyAttemptsError, UnauthenticatedError
from matcher.service.roles import EVERYBODY, ROLES_OF

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping

    from matcher.service.attempts import Attempts
    from matcher.service.directory import Directory, Known
    from matcher.service.roles import Roles

Context = Any  # grpc.aio.ServicerContext is generic over what mypy cannot see here
Metadata = Any  # pairs of texts, or of text and bytes

_HEADER = "authorization"
_SCHEME = "bearer"
#: Where gRPC has the parts of a certificate that identities name.
_PROPERTIES = {
    "dns": "peer_dns",
    "uri": "peer_uri",
    "email": "peer_email",
    "ip": "peer_ip",
    "subject": "x509_subject",
}
assert set(_PROPERTIES) == set(IDENTITY_KINDS)

_WHAT_TO_SHOW = (
    'who calls is not known: show a token that counts, as "authorization: Bearer TOKEN", or call '
    "with the certificate of a client"
)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who calls.

    Attributes:
        name: of the client; empty for somebody on an address where nobody is asked.
        roles: what they may do.
        policy: the policy that binds them, empty for the default; None where none does.
        known: how they were told; None for somebody who was not asked.
        state: of the directory then.
    """

    name: str
    roles: Roles
    policy: str | None
    known: Known | None = None
    state: object = None

    @property
    def is_client(self) -> bool:
        """Whether it is known who that is."""
        return self.known is not None


#: On an address where nobody is asked: by default this machine's own.
UNASKED = Caller("", frozenset(Role), None)
#: Where no gate was passed nobody may anything.
_NOBODY = Caller("", frozenset(), "")
_caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)


def current_caller() -> Caller:
    """Who calls the method that runs."""
    return _caller.get()


def let_in(caller: Caller) -> None:
    """From here on, in this call, `current_caller` is that one."""
    _caller.set(caller)


class Gate:
    """Decides for the calls of one address. Single event loop only.

    Args:
        directory: the clients.
        attempts: bounds failures; shared by the addresses of a server.
        required: callers must be clients.
        certificates: clients may be told by their certificates.
        roles_of: which roles may call which method.
    """

    def __init__(
        self,
        directory: Directory,
        attempts: Attempts,
        *,
        required: bool,
        certificates: bool,
        roles_of: Mapping[str, Roles | None] = ROLES_OF,
    ) -> None:
        self._directory = directory
        self._attempts = attempts
        self._required = required
        self._certificates = certificates
        self._roles_of = roles_of

    def is_open(self, method: str) -> bool:
        """Whether a method is for everybody."""
        return self._roles_of.get(method, frozenset()) is EVERYBODY

    def is_hopeless(self, method: str, metadata: Metadata) -> bool:
        """Whether a call need not be read, as what it shows cannot do.

        Raises:
            AccessDatabaseError: the clients were never read.
        """
        token = _token(metadata)
        if token is None:
            return self._required and not self._certificates
        known = self._directory.by_token(token)
        return known is None or not self._may(known.client.roles, method)

    def admit(self, method: str, context: Context) -> Caller:
        """Who calls, where they may call that method.

        Raises:
            UnauthenticatedError: what they show does not do.
            TooManyAttemptsError: nor did what others showed from there.
            RoleMissingError: they may not.
            AccessDatabaseError: the clients were never read.
        """
        caller = self._identified(context)
        if not self._may(caller.roles, method):
            needed = ", ".join(sorted(self._roles_of.get(method) or ()))
            raise RoleMissingError(
                f"the client {caller.name!r} may not call this; it takes one of the roles {needed}"
                if needed
                else "nobody may call this method"
            )
        return caller

    def check_again(self, method: str, caller: Caller) -> None:
        """For calls that last: whether the caller still may.

        Raises:
            UnauthenticatedError: what they showed counts no longer.
            RoleMissingError: they may not any more.
        """
        known = caller.known
        if known is None:
            return
        if self._directory.has_expired(known):
            raise UnauthenticatedError(_WHAT_TO_SHOW)
        if caller.state is self._directory.state:
            return
        now = self._directory.renewed(known)
        if now is None:
            raise UnauthenticatedError(_WHAT_TO_SHOW)
        if not self._may(now.client.roles, method):
            raise RoleMissingError(f"the client {caller.name!r} may not call this any more")

    def _may(self, roles: Roles, method: str) -> bool:
        return bool(roles & (self._roles_of.get(method) or frozenset()))

    def _identified(self, context: Context) -> Caller:
        token = _token(context.invocation_metadata())
        if token is not None:
            return self._told(context, lambda: self._directory.by_token(token))
        names = list(_identities(context)) if self._certificates else []
        if names:
            return self._told(context, lambda: self._directory.by_identities(names))
        if self._required:
            raise UnauthenticatedError(_WHAT_TO_SHOW)
        return UNASKED

    def _told(self, context: Context, look_up: Callable[[], Known | None]) -> Caller:
        peer: str = context.peer()
        state = self._directory.state
        known, wait = look_up(), self._attempts.wait(peer)
        if known is None or (wait and not self._attempts.knows(peer, known.client.name)):
            if wait:
                raise TooManyAttemptsError(
                    "too many calls with wrong credentials came from your address; try again later",
                    retry_seconds=int(wait) + 1,
                )
            self._attempts.failed(peer)
            raise UnauthenticatedError(_WHAT_TO_SHOW)
        client = known.client
        self._attempts.succeeded(peer, client.name)
        return Caller(client.name, client.roles, client.policy, known, state)


def _token(metadata: Metadata) -> str | None:
    """What stands for a token; None where nothing does. What is none is empty, and wrong."""
    values = [value for key, value in metadata or () if key == _HEADER]
    if not values:
        return None
    scheme, _, token = str(values[0]).partition(" ")
    return token.strip() if len(values) == 1 and scheme.lower() == _SCHEME else ""


def _identities(context: Context) -> Iterator[str]:
    shown: Mapping[str, Iterable[bytes]] = context.auth_context()
    for kind, name in _PROPERTIES.items():
        for value in shown.get(name, ()):
            yield f"{kind}:{value.decode('utf-8', 'replace')}"


__all__ = ["UNASKED", "Caller", "Gate", "current_caller", "let_in"]
