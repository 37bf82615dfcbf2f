"""Who may listen where, and one port for several processes."""

from __future__ import annotations

import errno
import logging
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from matcher.errors import SettingsError
from matcher.settings import SAME, is_loopback

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from matcher.settings import Settings

_log = logging.getLogger(__name__)


def check_listen(settings: Settings) -> None:
    """Nothing but loopback without TLS and known clients, unless the operator insists.

    Raises:
        SettingsError: other machines could reach `listen` or `lists_listen`, or both at one.
    """
    if settings.danger_listen_without_tls:
        return
    names = ("listen", "lists_listen") if settings.keeps_lists else ("listen",)
    for name in names:
        address = getattr(settings, name)
        if address != SAME and not settings.is_protected(address):
            lacking = "client authentication" if settings.speaks_tls else "TLS"
            raise SettingsError(
                f"{name}: {address} is reachable from other machines, and there is no {lacking}: "
                "set tls_certificate and tls_key, with authentication left at auto, listen on "
                "127.0.0.1, or set danger_listen_without_tls"
            )
    together = settings.lists_listen == SAME and settings.keeps_lists
    if together and not is_loopback(settings.listen):
        raise SettingsError(
            f"lists_listen: list management has an address of its own where {settings.listen} is "
            "reachable from other machines: name one, or set danger_listen_without_tls"
        )


def bound_sockets(listen: str, bind: Callable[[socket.socket, Any], None]) -> list[socket.socket]:
    """A socket bound to each address that the host of `host:port` stands for.

    Like gRPC it is content with one of several. Port 0 becomes one free number for all of them.

    Args:
        listen: where.
        bind: binds a socket to an address, for the use that is made of it.

    Raises:
        OSError: nobody can listen at any of them.
    """
    host, _, port = listen.rpartition(":")
    name, number = host.removeprefix("[").removesuffix("]"), int(port)
    bound: list[socket.socket] = []
    why = OSError(errno.EADDRNOTAVAIL, "no such address")
    for found in socket.getaddrinfo(name, number, type=socket.SOCK_STREAM):
        family, kind, protocol, _, address = found
        try:
            bound.append(_bound(socket.socket(family, kind, protocol), bind, address, number))
        except OSError as error:
            why = error
        else:
            number = bound[0].getsockname()[1]
    if not bound:
        raise why
    return bound


def _bound(
    sock: socket.socket, bind: Callable[[socket.socket, Any], None], address: Any, port: int
) -> socket.socket:
    try:
        bind(sock, (address[0], port, *address[2:]))
    except OSError:
        sock.close()
        raise
    return sock


def bind_alone(sock: socket.socket, address: Any) -> None:
    """Binds where nobody listens now, as servers do, whatever connections still linger there."""
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    sock.bind(address)


def words(error: OSError) -> str:
    """The operating system's reason."""
    return error.strerror or str(error)


def check_free(listen: str) -> None:
    """Tries to bind there, since gRPC would tell a failure in lines of its own.

    Raises:
        SettingsError: nobody can listen there now.
    """
    try:
        bound = bound_sockets(listen, bind_alone)
    except OSError as error:
        raise SettingsError(
            f"listen: cannot listen on {listen}: {words(error)}; choose another with --listen"
        ) from None
    for each in bound:
        each.close()


def choose_lists(settings: Settings) -> str:
    """Where list management is to listen: "same", or an address that is free now.

    Where nobody chose the address and its port is taken, by another server of this machine say, a
    free port is taken instead, with a warning.

    Raises:
        SettingsError: the address was chosen, and nobody can listen there.
    """
    address = settings.lists_listen
    if address == SAME:
        return SAME
    why = _why_not(address, settings.listen)
    if not why:
        return address
    if settings.sources.get("lists_listen") != "default":
        raise SettingsError(
            f"lists_listen: cannot listen on {address}: {why}; choose another, or "
            f'"{SAME}" for that of listen'
        )
    _log.warning("lists_listen: %s: %s; list management takes a free port instead", address, why)
    return f"{address.rpartition(':')[0]}:0"


def _why_not(address: str, other: str) -> str:
    """Why nobody can listen at an address beside another; empty where one can."""
    if address == other and not address.endswith(":0"):
        return "it is the address of listen"
    try:
        bound = bound_sockets(address, bind_alone)
    except OSError as error:
        return words(error)
    for each in bound:
        each.close()
    return ""


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Holds a port for processes of this user to share, and gives its `host:port`.

    Of "same" nothing is held, as it is another one's.

    Nothing is accepted here: the kernel hands connections to those that listen. While the block
    lasts the port is nobody else's, also when all of them are down, and port 0 is one number.

    Raises:
        SettingsError: nobody can listen there.
    """
    if listen == SAME:
        yield SAME
        return
    try:
        bound = bound_sockets(listen, _bind_shared)
    except OSError as error:
        raise SettingsError(f"listen: cannot listen on {listen}: {words(error)}") from None
    try:
        yield f"{listen.rpartition(':')[0]}:{bound[0].getsockname()[1]}"
    finally:
        for each in bound:
            each.close()


def _bind_shared(sock: socket.socket, address: Any) -> None:
    """Binds for sharing with processes of this user that ask for the same.

    Without SO_REUSEADDR a second supervisor that probes the port finds it taken. Only where an
    ended server's last connections still linger is it needed, as every server needs it then.
    """
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    try:
        sock.bind(address)
    except OSError as error:
        if error.errno != errno.EADDRINUSE:
            raise
        bind_alone(sock, address)
