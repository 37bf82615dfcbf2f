"""A proxy on loopback that carries TLS connections, as `CONNECT` asks it to, and counts them."""

from __future__ import annotations

import base64
import socket
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    from collections.abc import Iterator

USER, PASSWORD = "proxy-user", "hidden-proxy-word"


@dataclass
class Proxy:
    """A proxy under way.

    Attributes:
        url: with user and password.
        asked: what was asked for, host and port.
        heard: every header of every request, and everything else that is not carried through.
        answer: given instead of a connection; None to connect.
    """

    url: str = ""
    asked: list[str] = field(default_factory=list)
    heard: list[str] = field(default_factory=list)
    answer: int | None = None


def _carry(one: socket.socket, other: socket.socket) -> None:
    with suppress(OSError):
        while data := one.recv(65_536):
            other.sendall(data)
    for each in (one, other):
        with suppress(OSError):
            each.shutdown(socket.SHUT_RDWR)


def _handler(proxy: Proxy) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def log_message(self, *_arguments) -> None:
            pass

        def do_CONNECT(self) -> None:
            proxy.asked.append(self.path)
            proxy.heard.append(f"{self.requestline}\n{self.headers}")
            pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
            is_known = self.headers.get("Proxy-Authorization") == f"Basic {pair}"
            refusal = proxy.answer or (None if is_known else 407)
            if refusal is not None:
                self.send_error(refusal)
                return
            port = urlsplit(f"//{self.path}").port
            with socket.create_connection(("127.0.0.1", port)) as there:
                self.send_response_only(200)
                self.end_headers()
                back = threading.Thread(target=_carry, args=(there, self.connection), daemon=True)
                back.start()
                _carry(self.connection, there)
                back.join()
            self.close_connection = True

    return Handler


@contextmanager
def serve_proxy() -> Iterator[Proxy]:
    """A proxy; whatever host it is asked for, it leads to this machine."""
    proxy = Proxy()
    with ThreadingHTTPServer(("127.0.0.1", 0), _handler(proxy)) as server:
        server.daemon_threads = True
        proxy.url = f"http://{USER}:{PASSWORD}@127.0.0.1:{server.server_port}"
        thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
        thread.start()
        try:
            yield proxy
        finally:
            server.shutdown()
            thread.join()
