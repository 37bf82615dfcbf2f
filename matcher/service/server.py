"""Serves until told to end, and drains without losing an item."""

from __future__ import annotations

import asyncio
import gc
import logging
import math
import signal
import sys
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health
from grpc_reflection.v1alpha import reflection

from matcher.decode.protection import told
from matcher.errors import SettingsError
from matcher.service import open_files
from matcher.service.access import AccessControl
from matcher.service.admin import AdminServer, admin_listener
from matcher.service.interceptors import CallObserver
from matcher.service.listening import check_listen, choose_lists
from matcher.service.parts import LISTS, MATCHING_SERVICES, Parts
from matcher.service.patience import Patience, PatientCalls
from matcher.service.tls import server_credentials
from matcher.settings import SAME

if TYPE_CHECKING:
    import socket
    from collections.abc import AsyncIterator, Callable, Mapping

    from hashlists.snapshot.vault import SharedMemory
    from matcher.service.health import Health
    from matcher.service.peers import Peers
    from matcher.settings import Settings

_log = logging.getLogger(__name__)
_PENDING_CALLS = 4096
_LEAST_PING_MS = 5_000
#: In which a connection has to say hello. Strangers can hold it, and its file, for so long.
_HELLO_MS = 5_000
#: So many times `keepalive_seconds` a connection without a call lasts.
_IDLE_PERIODS = 4
#: Calls that a connection can have open at the least, whatever there is room for.
_LEAST_STREAMS = 128
#: The set of compressions that has only `identity`.
_PLAIN = 1
#: After which a thread hands the interpreter on to one that waits for it. With Python's own 5 ms,
#: at each of several turns, a refusal would take longer than it may.
_SWITCH_SECONDS = 0.0005
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: `host:port` of matching, with the port it was given.
        lists: the same of list management; empty for a replica, which has none.
        admin: `host:port` of health and metrics over HTTP; empty where there are none.
        health: what it says of itself.
        ready: done once lists are loaded and the self-test passed; raises where they are not.
    """

    address: str
    lists: str
    admin: str
    health: Health
    ready: asyncio.Task[None]


async def serve(
    settings: Settings,
    *,
    share_port: bool = False,
    shared: SharedMemory | None = None,
    peers: Peers | None = None,
    on_ready: Callable[[RunningServer], None] | None = None,
    on_stop: Callable[[], None] | None = None,
) -> None:
    """Runs until SIGTERM or SIGINT, then finishes accepted work and returns.

    Args:
        settings: everything that can be set; `processes` means nothing here.
        share_port: other processes listen on the same port.
        shared: where encrypted snapshots are decrypted for several processes; None for nowhere.
        peers: other processes, with which this one notices together; None for none.
        on_ready: called once, when lists are loaded and the self-test passed.
        on_stop: called once, when the server begins to end.

    Raises:
        SettingsError: an address is not loopback and nothing protects it, or it is taken.
        HashlistsError: the catalog or the snapshot cannot be opened, and nothing older is there.
        PolicyError: a policy does not fit the lists.
        SelfTestError: matching gives other results here than it must.
    """
    sys.setswitchinterval(_SWITCH_SECONDS)
    open_files.raise_limit()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, stop.set)
    try:
        async with running(settings, share_port=share_port, shared=shared, peers=peers) as server:
            await _first(server.ready, stop)
            if not stop.is_set():
                _settle()
                _log.info("ready")
                if on_ready is not None:
                    on_ready(server)
            await stop.wait()
            _log.info("draining")
            if on_stop is not None:
                on_stop()
    finally:
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)


def _settle() -> None:
    """Takes what is loaded by now out of garbage collection, for this process serves to its end.

    Reading 50,000 changed rows makes the collector look at everything several times, and each look
    at a server's modules held all threads for up to a fifth of a second.
    """
    gc.collect()
    gc.freeze()


async def _first(ready: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Waits for readiness or a stop signal; a failure to get ready is raised."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ready.done():
        ready.result()


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    share_port: bool = False,
    shared: SharedMemory | None = None,
    peers: Peers | None = None,
) -> AsyncIterator[RunningServer]:
    """A server that listens at once, is ready once loaded, and drains at the end of the block.

    Raises:
        SettingsError: an address is not loopback and nothing protects it, or it is taken.
        CatalogError: the catalog cannot be opened.
        TokenKeyError: callers must be known, and tokens cannot be told.
    """
    check_listen(settings)
    async with _opened(settings, shared) as (parts, admin):
        if peers is not None:
            parts.join(peers)
        await asyncio.to_thread(parts.know_clients)
        patience = Patience(settings.client_seconds, parts.metrics.stalled.inc)
        listeners = _listeners(settings, parts, patience, share_port=share_port)
        await parts.health.start()
        for each in listeners:
            await each.server.start()
        loading = asyncio.create_task(parts.load())
        following = asyncio.create_task(parts.follow(loading))
        knowing = asyncio.create_task(parts.follow_clients())
        beating = asyncio.create_task(parts.pulse.run())
        waiting = asyncio.create_task(patience.run())
        recording = asyncio.create_task(parts.refusals.run())
        try:
            yield RunningServer(
                address=listeners[0].address,
                lists=listeners[-1].address if parts.catalog is not None else "",
                admin=admin.address if admin else "",
                health=parts.health,
                ready=loading,
            )
        finally:
            await parts.health.drain()
            parts.drain.start()
            await asyncio.gather(*(each.server.stop(settings.drain_seconds) for each in listeners))
            tasks = (loading, following, knowing, beating, waiting, recording)
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)


@asynccontextmanager
async def _opened(
    settings: Settings, shared: SharedMemory | None
) -> AsyncIterator[tuple[Parts, AdminServer | None]]:
    """What is behind the edge, and what tells of it; closed whatever fails, the latter last."""
    listener = admin_listener(settings)
    admin = None
    try:
        parts = await asyncio.to_thread(Parts.open, settings, shared=shared)
        try:
            if listener is not None:
                admin = _admin(listener, parts)
            yield parts, admin
        finally:
            await parts.close()
    finally:
        if admin is not None:
            await asyncio.to_thread(admin.close)
        if listener is not None:
            listener.close()


def _admin(listener: socket.socket, parts: Parts) -> AdminServer:
    def live() -> tuple[bool, Mapping[str, object]]:
        return parts.pulse.beats, {"live": parts.pulse.beats}

    def ready() -> tuple[bool, Mapping[str, object]]:
        status = parts.status()
        since = status.seconds_since_contact
        return status.ready, {
            "ready": status.ready,
            "stale": status.stale,
            "revision": status.revision if status.revision >= 0 else None,
            "seconds_since_contact": round(since, 3) if math.isfinite(since) else None,
            "decoders": None if status.protection is None else told(status.protection),
            "problem": status.problem,
            "match_records": parts.keeping.state,
        }

    admin = AdminServer(listener, live=live, ready=ready, registry=parts.metrics.registry)
    _log.info("health and metrics: http://%s", admin.address)
    return admin


@dataclass(frozen=True, slots=True)
class _Listener:
    """A gRPC server of one address.

    Attributes:
        server: not started yet.
        address: with the port that it was given.
    """

    server: grpc.aio.Server
    address: str


def _listeners(
    settings: Settings, parts: Parts, patience: Patience, *, share_port: bool
) -> list[_Listener]:
    """Matching, and list management where there is any: at two addresses, or together at one.

    Raises:
        SettingsError: an address is taken, or the certificate cannot be used.
    """
    server = _grpc_server(settings, parts, patience, settings.listen, share_port=share_port)
    parts.register_matching(server)
    together = parts.catalog is None or settings.lists_listen == SAME
    if together and parts.catalog is not None:
        parts.register_lists(server)
    shown = parts.services if together else MATCHING_SERVICES
    first = _bound(server, settings, settings.listen, services=shown)
    if together:
        return [first]
    address = settings.lists_listen if share_port else choose_lists(settings)
    other = _grpc_server(settings, parts, patience, address, share_port=share_port)
    parts.register_lists(other)
    return [
        first,
        _bound(other, settings, address, services=(LISTS,)),
    ]


def _bound(
    server: grpc.aio.Server,
    settings: Settings,
    address: str,
    *,
    services: tuple[str, ...],
) -> _Listener:
    """Opens the port of a server that has all its services."""
    if settings.reflects(address):
        shown = (*services, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(shown, server)
    credentials = server_credentials(settings)  # gRPC takes them for one port
    try:
        if credentials is None:
            port = server.add_insecure_port(address)
        else:
            port = server.add_secure_port(address, credentials)
    except RuntimeError as error:
        name = "lists_listen" if services == (LISTS,) else "listen"
        raise SettingsError(f"{name}: cannot listen on {address}: is the port taken?") from error
    return _Listener(server, f"{address.rpartition(':')[0]}:{port}")


def _grpc_server(
    settings: Settings, parts: Parts, patience: Patience, address: str, *, share_port: bool
) -> grpc.aio.Server:
    largest = settings.message_bytes
    silence = int(settings.keepalive_seconds * 1000)
    hello = min(silence, _HELLO_MS)
    connections = open_files.most_connections(open_files.limits()[0])
    gate = parts.gate(address)
    return grpc.aio.server(
        interceptors=(
            PatientCalls(patience),
            parts.overload_gate(gate, patience),
            AccessControl(gate, parts.metrics, parts.refusals),
            CallObserver(parts.metrics, parts.services, parts.tracing),
        ),
        options=(
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            # None that is packed: each would be unpacked to that length, however short it comes.
            ("grpc.compression_enabled_algorithms_bitset", _PLAIN),
            ("grpc.so_reuseport", int(share_port)),
            # What one connection can have open, also of calls that were refused and of which it
            # takes no answer, and can open and give up again.
            ("grpc.max_concurrent_streams", max(_LEAST_STREAMS, 2 * settings.max_rpcs)),
            # What nobody has looked at yet, where the event loop is late: gRPC would end calls
            # beyond with `CANCELLED`, from which nobody can tell that they should try again.
            ("grpc.server.max_pending_requests", _PENDING_CALLS),
            ("grpc.server.max_pending_requests_hard_limit", 2 * _PENDING_CALLS),
            # The client opens another connection for what comes next (gRPC itself adds jitter).
            # No limit of grace is set: calls that are open run on for as long as they take, so
            # that no stream loses an item and no import is cut off for the sake of balance.
            ("grpc.max_connection_age_ms", int(settings.max_connection_age_seconds * 1000)),
            # Who has gone without a word is found out, with or without calls of theirs, and so is
            # who opens connections and says nothing. Each of these would be a minute or more.
            ("grpc.keepalive_time_ms", silence),
            ("grpc.keepalive_timeout_ms", silence),
            ("grpc.http2.ping_timeout_ms", silence),
            ("grpc.http2.settings_timeout", hello),
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.max_pings_without_data", 0),
            ("grpc.server_handshake_timeout_ms", hello),
            # Who has said hello and then calls nothing connects anew for the next call.
            ("grpc.max_connection_idle_ms", _IDLE_PERIODS * silence),
            ("grpc.max_allowed_incoming_connections", connections),
            # Clients may ask the same of us, more often than gRPC allows by default.
            ("grpc.http2.min_ping_interval_without_data_ms", _LEAST_PING_MS),
            ("grpc.http2.min_recv_ping_interval_without_data_ms", _LEAST_PING_MS),
        ),
    )
