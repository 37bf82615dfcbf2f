"""Who calls, as far as it can be told: the address that a call comes from.

Behind one address there may be many machines, and with IPv6 one machine has a whole network of
addresses. So this is for bounds that hold back, never for what may be seen or changed.
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from urllib.parse import unquote

_NETWORK_BITS = 64
_caller: ContextVar[str] = ContextVar("caller", default="")


def current_caller() -> str:
    """Where the call that is being worked on comes from; empty outside of calls."""
    return _caller.get()


def note_caller(peer: str) -> None:
    """From here on, in this call, `current_caller` is the place of that peer.

    Args:
        peer: as gRPC writes it, e.g. `ipv4:127.0.0.1:4711`.
    """
    _caller.set(place_of(peer))


def place_of(peer: str) -> str:
    """The address of a peer without its port; of IPv6 the network."""
    kind, _, rest = unquote(peer).partition(":")
    if kind not in {"ipv4", "ipv6"}:
        return kind
    host = rest.rpartition(":")[0].removeprefix("[").removesuffix("]").partition("%")[0]
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(address, ipaddress.IPv6Address):
        if address.ipv4_mapped is not None:
            return str(address.ipv4_mapped)
        return str(ipaddress.ip_network((address, _NETWORK_BITS), strict=False))
    return str(address)


__all__ = ["current_caller", "note_caller", "place_of"]
