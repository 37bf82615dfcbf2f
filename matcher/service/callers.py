"""Where calls come from: an address, or with IPv6 a network. Who calls is for `gate` to say.

Behind one address there may be many machines, and with IPv6 one machine has a whole network of
addresses. So this is for bounds that hold back, never for what may be seen or changed.
"""

from __future__ import annotations

import ipaddress
from contextvars import ContextVar
from functools import lru_cache
from urllib.parse import unquote

_NETWORK_BITS = 64
_MOST_PEERS = 1_024
_place: ContextVar[str] = ContextVar("place", default="")


def current_place() -> str:
    """Where the call that is being worked on comes from; empty outside of calls."""
    return _place.get()


def note_place(peer: str) -> None:
    """From here on, in this call, `current_place` is that of a peer.

    Args:
        peer: as gRPC writes it, e.g. `ipv4:127.0.0.1:4711`.
    """
    _place.set(place_of(peer))


@lru_cache(maxsize=_MOST_PEERS)
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


__all__ = ["current_place", "note_place", "place_of"]
