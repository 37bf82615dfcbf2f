"""Who calls, and whether they may: what decides, apart from gRPC's way of asking.

A call that shows a token is judged by that alone, any other by its certificate where clients have
such. What is wrong is never passed over, and told in the same words whatever it is: nobody learns
whether a token exists, has expired or was revoked.
"""

from __future__ import annotations

from contextlib import suppress
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any

from hashlists.access.model import IDENTITY_KINDS, Role
from hashlists.errors import AccessDatabaseError
from matcher.errors import RoleMissingError, TooManyAttemptsError, UnauthenticatedError
from matcher.service.callers import place_of
from matcher.service.directory import Unfit
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


@dataclass(frozen=True, slots=True)
class _Shown:
    """The token that a call shows, and whose it is, with the state of the directory then."""

    token: str = field(repr=False)
    known: Known | None
    state: object


#: Whose share calls of this machine are of that show nothing, where nobody is asked.
_ONE_PLACE = ""
#: On an address where nobody is asked: by default this machine's own.
UNASKED = Caller("", frozenset(Role), None)
#: Where no gate was passed nobody may anything.
_NOBODY = Caller("", frozenset(), "")
_caller: ContextVar[Caller] = ContextVar("caller", default=_NOBODY)
#: Of the call that is worked on: it is asked more than once on the way in.
_shown: ContextVar[_Shown | None] = ContextVar("shown", default=None)


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
        one_place: all calls come from the same place, this machine.
        roles_of: which roles may call which method.
    """

    def __init__(
        self,
        directory: Directory,
        attempts: Attempts,
        *,
        required: bool,
        certificates: bool,
        one_place: bool = False,
        roles_of: Mapping[str, Roles | None] = ROLES_OF,
    ) -> None:
        self._directory = directory
        self._attempts = attempts
        self._required = required
        self._certificates = certificates
        self._one_place = one_place
        self._roles_of = roles_of

    def knows(self, method: str) -> bool:
        """Whether a method is any of ours, at this address or another."""
        return method in self._roles_of

    def is_open(self, method: str) -> bool:
        """Whether a method is for everybody."""
        return self._roles_of.get(method, frozenset()) is EVERYBODY

    def is_hopeless(self, method: str, metadata: Metadata) -> bool:
        """Whether a call need not be read, as what it shows cannot do.

        Nothing does where the clients were never read; `admit` says so.
        """
        token = _token(metadata)
        if token is None:
            return self._required and not self._certificates
        try:
            known = self._by_token(token)
        except AccessDatabaseError:
            return True
        return known is None or not self._may(known.client.roles, method)

    def share_shown(self, metadata: Metadata) -> str | None:
        """Whose share of the room a call is of, as its metadata tells; None where they do not.

        Of a call that is not hopeless: what shows what is wrong has no share. Like `share_of` it
        decides nothing. What was right a moment ago and is not any more is refused by `admit`.
        """
        token = _token(metadata)
        if token is None:
            return _ONE_PLACE if self._one_place and not self._certificates else None
        known = self._by_token(token)
        return None if known is None else _share(known)

    def share_of(self, context: Context) -> str:
        """Whose share of the room a call is of: a client's, or that of the place it comes from."""
        if self._certificates:
            with suppress(AccessDatabaseError):
                known = self._directory.by_identities(_identities(context))
                if known is not None:
                    return _share(known)
        return place_of(context.peer())

    def admit(self, method: str, context: Context) -> Caller:
        """Who calls, where they may call that method.

        Raises:
            UnauthenticatedError: what they show does not do.
            TooManyAttemptsError: nor did much else that was shown from there.
            RoleMissingError: they may not.
            AccessDatabaseError: the clients were never read.
        """
        caller = self._identified(context)
        if not self._may(caller.roles, method):
            needed = ", ".join(sorted(self._roles_of.get(method) or ()))
            raise RoleMissingError(
                f"the client {caller.name!r} may not call this; it takes one of the roles {needed}"
                if needed
                else "nobody may call this method",
                client=caller.name,
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
            raise _unauthenticated(Unfit.ENDED, caller.name)
        if caller.state is self._directory.state:
            return
        now = self._directory.renewed(known)
        if now is None:
            raise _unauthenticated(Unfit.ENDED, caller.name)
        if not self._may(now.client.roles, method):
            raise RoleMissingError(
                f"the client {caller.name!r} may not call this any more", client=caller.name
            )

    def _may(self, roles: Roles, method: str) -> bool:
        return bool(roles & (self._roles_of.get(method) or frozenset()))

    def _identified(self, context: Context) -> Caller:
        directory = self._directory
        token = _token(context.invocation_metadata())
        if token is not None:
            look_up, why_not = self._by_token, directory.why_no_token
            return self._told(context, partial(look_up, token), partial(why_not, token))
        names = list(_identities(context)) if self._certificates else []
        if names:
            named, why_none = directory.by_identities, directory.why_no_identity
            return self._told(context, partial(named, names), partial(why_none, names))
        if self._required:
            raise _unauthenticated(Unfit.NONE)
        return UNASKED

    def _by_token(self, token: str) -> Known | None:
        """The client with a token, looked up once for a call, and anew where that may differ.

        Raises:
            AccessDatabaseError: the clients were never read.
        """
        state, shown = self._directory.state, _shown.get()
        if shown is not None and shown.state is state and shown.token == token:
            known = shown.known
            if known is None or not self._directory.has_expired(known):
                return known
        known = self._directory.by_token(token)
        _shown.set(_Shown(token, known, state))
        return known

    def _told(
        self,
        context: Context,
        look_up: Callable[[], Known | None],
        why_not: Callable[[], tuple[Unfit, str]],
    ) -> Caller:
        peer: str = context.peer()
        state = self._directory.state
        known = look_up()
        if known is not None:  # whatever others have shown from there
            client = known.client
            return Caller(client.name, client.roles, client.policy, known, state)
        if wait := self._attempts.wait(peer):
            raise TooManyAttemptsError(
                "too many calls with wrong credentials came from your address, and yours are wrong",
                retry_seconds=int(wait) + 1,
            )
        self._attempts.failed(peer)
        raise _unauthenticated(*why_not())


def _share(known: Known) -> str:
    return f"client:{known.client.name}"


def _unauthenticated(why: Unfit, client: str = "") -> UnauthenticatedError:
    """The refusal of who is not known: one text, and the reason for the audit beside it."""
    return UnauthenticatedError(_WHAT_TO_SHOW, why=why, client=client)


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
