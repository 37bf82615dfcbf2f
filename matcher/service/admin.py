"""Health and metrics over plain HTTP, for orchestrators and monitoring, on a port of its own.

`/livez` and `/readyz` answer 200 or 503 with a small JSON object, `/metrics` in the Prometheus text
format or as OpenMetrics, as the caller prefers. Nothing but GET is answered and no body is read.
It runs in threads of its own, so that it neither holds up calls nor waits for them.

Waitress speaks HTTP: unlike the standard library's server it is made for production and bounds
headers, bodies, idle time and connections. There is no TLS and no authentication here, so the port
is on loopback unless the operator insists.
"""

from __future__ import annotations

import json
import logging
import socket
import threading
from typing import TYPE_CHECKING, Any

from prometheus_client import make_wsgi_app
from waitress import wasyncore
from waitress.server import create_server

from matcher.errors import SettingsError
from matcher.service.listening import bind_alone, bound_sockets, words

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from typing import TypeAlias

    from prometheus_client import CollectorRegistry

    from matcher.settings import Settings

    #: Whether all is well, and what to tell beside.
    Probe: TypeAlias = Callable[[], tuple[bool, Mapping[str, object]]]


MAX_HEADER_BYTES = 8 * 1024
MAX_CONNECTIONS = 64
IDLE_SECONDS = 10
_THREADS = 2
_WAKE_SECONDS = 1.0
_log = logging.getLogger(__name__)


class AdminServer:
    """Answers until it is closed.

    Args:
        listener: a bound socket; it belongs to the server from now on.
        live, ready: the probes behind `/livez` and `/readyz`; called in threads of this server.
        registry: what `/metrics` tells.

    Attributes:
        address: `host:port`.
    """

    def __init__(
        self,
        listener: socket.socket,
        *,
        live: Probe,
        ready: Probe,
        registry: CollectorRegistry,
    ) -> None:
        self.address = address_of(listener)
        self._map: dict[int, Any] = {}
        self._server: Any = create_server(
            _Pages({"/livez": live, "/readyz": ready}, make_wsgi_app(registry)),
            map=self._map,
            sockets=[listener],
            threads=_THREADS,
            ident="",
            connection_limit=MAX_CONNECTIONS,
            channel_timeout=IDLE_SECONDS,
            cleanup_interval=IDLE_SECONDS,
            max_request_header_size=MAX_HEADER_BYTES,
            max_request_body_size=1,
            log_socket_errors=False,
        )
        self._listener = listener
        self._closing = False
        self._waking = threading.Lock()
        self._thread = threading.Thread(target=self._run, name="admin", daemon=True)
        try:
            self._thread.start()
        except BaseException:
            self._end()
            raise

    def close(self) -> None:
        """Ends what runs and frees the port."""
        with self._waking:  # the trigger must not be gone, and its number another file's
            if not self._closing:
                self._closing = True
                self._server.pull_trigger()
        self._thread.join()

    def _run(self) -> None:
        while not self._closing:
            # `poll`: `select` fails in a process that has more than 1,024 files open.
            wasyncore.loop(timeout=_WAKE_SECONDS, use_poll=True, map=self._map, count=1)
        with self._waking:
            self._end()

    def _end(self) -> None:
        self._server.task_dispatcher.shutdown(timeout=_WAKE_SECONDS)
        wasyncore.close_all(self._map, ignore_all=True)
        self._listener.close()


class _Pages:
    """The WSGI application."""

    def __init__(
        self,
        probes: Mapping[str, Probe],
        metrics: Callable[..., Iterable[bytes]],
    ) -> None:
        self._probes = probes
        self._metrics = metrics

    def __call__(
        self, environ: dict[str, Any], start_response: Callable[..., Any]
    ) -> Iterable[bytes]:
        path = environ.get("PATH_INFO", "")
        if environ["REQUEST_METHOD"] != "GET":
            return _plain(start_response, "405 Method Not Allowed", ("Allow", "GET"))
        if path == "/metrics":
            return self._metrics(environ, start_response)
        probe = self._probes.get(path)
        if probe is None:
            return _plain(start_response, "404 Not Found")
        well, told = probe()
        headers = [("Content-Type", "application/json"), ("Cache-Control", "no-store")]
        start_response("200 OK" if well else "503 Service Unavailable", headers)
        return [json.dumps(told, allow_nan=False).encode() + b"\n"]


def _plain(
    start_response: Callable[..., Any], status: str, *headers: tuple[str, str]
) -> Iterable[bytes]:
    start_response(status, [("Content-Type", "text/plain; charset=utf-8"), *headers])
    return [status.encode() + b"\n"]


def admin_listener(settings: Settings) -> socket.socket | None:
    """A socket bound to `admin_listen`; None where that is switched off.

    Where nobody chose the address and its port is taken, by another server of this machine say, a
    free port is taken instead, with a warning: what nobody asked for must not keep a server from
    starting. A chosen address fails, since monitoring looks there.

    Raises:
        SettingsError: the address is not loopback and nothing protects it, or nobody can listen
            there.
    """
    if not settings.admin_listen:
        return None
    if not (settings.admin_on_loopback or settings.danger_listen_without_tls):
        raise SettingsError(
            f"admin_listen: {settings.admin_listen} is reachable from other machines, and health "
            "and metrics have no TLS or client authentication: listen on 127.0.0.1, or set "
            "danger_listen_without_tls"
        )
    try:
        return _listener(settings.admin_listen)
    except OSError as error:
        why = words(error)
        if settings.sources.get("admin_listen") != "default":
            raise SettingsError(
                f"admin_listen: cannot listen on {settings.admin_listen}: {why}; choose another, "
                'or "off" for none'
            ) from None
    host = settings.admin_listen.rpartition(":")[0]
    _log.warning(
        "admin_listen: %s: %s; health and metrics take a free port instead",
        settings.admin_listen,
        why,
    )
    return _listener(f"{host}:0")


def _listener(address: str) -> socket.socket:
    """A socket that listens at the first address of a name at which it can.

    Raises:
        OSError: nobody can listen there.
    """
    first, *others = bound_sockets(address, _bind_and_listen)
    for each in others:
        each.close()
    return first


def _bind_and_listen(sock: socket.socket, address: Any) -> None:
    bind_alone(sock, address)
    sock.listen()  # two may be bound to one port as long as neither listens


def address_of(listener: socket.socket) -> str:
    """`host:port` of a bound socket."""
    host, port, *_ = listener.getsockname()
    return f"[{host}]:{port}" if listener.family == socket.AF_INET6 else f"{host}:{port}"
