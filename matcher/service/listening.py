"""Who may listen where, and one port for several processes."""

from __future__ import annotations

import contextlib
import errno
import socket
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from matcher.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from matcher.settings import Settings


def check_listen(settings: Settings) -> None:
    """Nothing but loopback without TLS and known clients, unless the operator insists.

    Raises:
        SettingsError: other machines could reach `listen`.
    """
    if settings.listens_on_loopback or settings.danger_listen_without_tls:
        return
    raise SettingsError(
        f"listen: {settings.listen} is reachable from other machines, and this version has no TLS "
        "or client authentication: listen on 127.0.0.1, or set danger_listen_without_tls"
    )


@contextmanager
def reserved(listen: str) -> Iterator[str]:
    """Holds a port for processes of this user to share, and gives its `host:port`.

    Nothing is accepted here: the kernel hands connections to those that listen. While the block
    lasts the port is nobody else's, also when all of them are down, and port 0 is one number.

    Raises:
        SettingsError: nobody can listen there.
    """
    host, _, port = listen.rpartition(":")
    number, why = int(port), "no such address"
    with contextlib.ExitStack() as sockets:
        bound = False
        for family, kind, protocol, _, address in _addresses(host, number):
            sock = sockets.enter_context(socket.socket(family, kind, protocol))
            try:
                _bind(sock, (address[0], number, *address[2:]))
            except OSError as error:  # like gRPC, content with one of a name's addresses
                why = error.strerror or str(error)
            else:
                bound, number = True, sock.getsockname()[1]
        if not bound:
            raise SettingsError(f"listen: cannot listen on {listen}: {why}")
        yield f"{host}:{number}"


def _addresses(host: str, port: int) -> list[Any]:
    name = host.removeprefix("[").removesuffix("]")
    try:
        return socket.getaddrinfo(name, port, type=socket.SOCK_STREAM)
    except OSError:
        return []


def _bind(sock: socket.socket, address: tuple[Any, ...]) -> None:
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
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        sock.bind(address)
