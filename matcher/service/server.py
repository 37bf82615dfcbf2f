"""Puts the parts together, serves until told to end, and drains without losing an item."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import signal
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import grpc
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from hashlists.catalog import Catalog
from matcher import hashing, selftest
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import match_pb2, match_pb2_grpc
from matcher.admission import Admission
from matcher.builtin_list import ensure_test_list
from matcher.decode.limits import DecodeLimits
from matcher.decode.pool import DecodePool, InProcessPool
from matcher.errors import SettingsError
from matcher.follow import Follower
from matcher.index.holder import Holder
from matcher.policy.rules import policies_from_dict
from matcher.service.health import Health
from matcher.service.imports import sweep_spool
from matcher.service.list_servicer import ImportSettings, ListServicer
from matcher.service.match_servicer import MatchLimits, MatchServicer
from matcher.service.stream import Drain
from matcher.service.threads import Threads
from matcher.service.uploads import Uploads

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from matcher.pipeline import Generation
    from matcher.settings import Settings

_log = logging.getLogger(__name__)
_SERVICES = (
    match_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name,
    lists_pb2.DESCRIPTOR.services_by_name["HashListService"].full_name,
)
_STOP_SIGNALS = (signal.SIGTERM, signal.SIGINT)


@dataclass(frozen=True, slots=True)
class RunningServer:
    """A server that answers.

    Attributes:
        address: `host:port` it listens on, with the port it was given.
        health: what it says of itself.
        ready: done once lists are loaded and the self-test passed; raises where they are not.
    """

    address: str
    health: Health
    ready: asyncio.Task[None]


async def serve(settings: Settings, *, on_ready: Callable[[str], None] | None = None) -> None:
    """Runs until SIGTERM or SIGINT, then finishes accepted work and returns.

    Args:
        settings: everything that can be set.
        on_ready: called once with the address, when lists are loaded and the self-test passed.

    Raises:
        SettingsError: the address is not loopback and nothing protects it.
        HashlistsError: the catalog or the snapshot cannot be opened, and nothing older is there.
        PolicyError: a policy does not fit the lists.
        SelfTestError: matching gives other results here than it must.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in _STOP_SIGNALS:
        loop.add_signal_handler(each, stop.set)
    try:
        async with running(settings) as server:
            await _first(server.ready, stop)
            if not stop.is_set():
                _log.info("ready")
                if on_ready is not None:
                    on_ready(server.address)
            await stop.wait()
            _log.info("draining")
    finally:
        for each in _STOP_SIGNALS:
            loop.remove_signal_handler(each)


async def _first(ready: asyncio.Task[None], stop: asyncio.Event) -> None:
    """Waits for readiness or a stop signal; a failure to get ready is raised."""
    stopping = asyncio.create_task(stop.wait())
    await asyncio.wait((ready, stopping), return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    if ready.done():
        ready.result()


@asynccontextmanager
async def running(settings: Settings) -> AsyncIterator[RunningServer]:
    """A server that listens at once, is ready once loaded, and drains at the end of the block.

    Raises:
        SettingsError: the address is not loopback and nothing protects it, or it is taken.
        CatalogError: the catalog cannot be opened.
    """
    _check_listen(settings)
    parts = await asyncio.to_thread(_Parts.open, settings)
    try:
        server = _grpc_server(settings)
        parts.register(server)
        shown = (*_SERVICES, health.SERVICE_NAME, reflection.SERVICE_NAME)
        reflection.enable_server_reflection(shown, server)
        address = _bind(server, settings)
        await parts.health.start()
        await server.start()
        loading = asyncio.create_task(parts.load())
        following = asyncio.create_task(parts.follow(loading))
        try:
            yield RunningServer(address, parts.health, loading)
        finally:
            await parts.health.drain()
            parts.drain.start()
            await server.stop(settings.drain_seconds)
            for task in (loading, following):
                task.cancel()
            await asyncio.gather(loading, following, return_exceptions=True)
    finally:
        await parts.close()


class _Parts:
    """Everything behind the gRPC edge."""

    def __init__(self, settings: Settings, catalog: Catalog) -> None:
        self.settings = settings
        self.catalog = catalog
        self.health = Health(_SERVICES)
        self.drain = Drain()
        self.pool: DecodePool = InProcessPool(
            DecodeLimits(**settings.decode_limits), workers=settings.decode_workers
        )
        self.holder: Holder[Generation] = Holder()
        self.follower = Follower(
            catalog,
            settings.snapshots_dir,
            policies_from_dict(settings.policy_document, origin=settings.policy_origin),
            self.holder,
            default_policy=settings.default_policy,
        )
        admission = Admission(
            max_items=settings.max_in_flight, max_bytes=settings.max_in_flight_bytes
        )
        self.uploads = Uploads(self.holder, self.pool, admission, max_batch=settings.max_batch)
        self._changed = asyncio.Event()
        # Of its own: a catalog that is slow or locked holds up nothing but following.
        self._following = Threads("follower", workers=1, max_pending=2)
        self._lists: ListServicer | None = None

    @classmethod
    def open(cls, settings: Settings) -> _Parts:
        settings.prepare_data_dir()
        sweep_spool(settings.spool_dir)
        catalog = Catalog.open(settings.catalog_url)
        catalog.sweep()
        ensure_test_list(catalog)
        return cls(settings, catalog)

    def register(self, server: grpc.aio.Server) -> None:
        limits = MatchLimits(
            image_bytes=self.settings.image_bytes,
            stream_window=self.settings.stream_window,
            default_max_matches=self.settings.max_matches,
            exact_distances=self.settings.exact_distances,
        )
        matching = MatchServicer(self.uploads, self.provenance, limits, self.drain)
        match_pb2_grpc.add_MatchServiceServicer_to_server(matching, server)
        imports = ImportSettings(
            catalog_url=self.settings.catalog_url,
            spool_dir=self.settings.spool_dir,
            max_file_bytes=self.settings.import_file_bytes,
            max_rejected_share=self.settings.max_rejected_share,
        )
        self._lists = ListServicer(self.catalog, imports, self._changed.set)
        lists_pb2_grpc.add_HashListServiceServicer_to_server(self._lists, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)

    async def load(self) -> None:
        """Loads the lists, tests matching, and says ready."""
        await self._following.run(self.follower.refresh)
        await self._following.run(selftest.check, self.holder.current, self.pool)
        await self.health.ready()

    async def follow(self, loading: asyncio.Task[None]) -> None:
        """Serves every new revision soon after its commit."""
        await loading
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.follow_seconds):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._following.run(self.follower.refresh)
            except Exception:  # noqa: BLE001 - following must outlive any single failure
                _log.exception("a look at the catalog failed; trying again")

    def provenance(self) -> match_pb2.Provenance:
        state = self.follower.state()
        late = state.seconds_since_contact > self.settings.stale_after_seconds
        return match_pb2.Provenance(
            stale=state.behind or late,
            hasher_version=hashing.HASHER_VERSION,
            decoder_version=self.pool.versions(),
        )

    async def close(self) -> None:
        await self.uploads.close()
        self._following.close()
        if self._lists is not None:
            self._lists.close()
        await asyncio.to_thread(self.pool.close)
        self.catalog.close()


def _grpc_server(settings: Settings) -> grpc.aio.Server:
    largest = settings.message_bytes
    return grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", largest),
            ("grpc.max_send_message_length", largest),
            ("grpc.so_reuseport", 0),
        ),
        maximum_concurrent_rpcs=settings.max_rpcs,
    )


def _check_listen(settings: Settings) -> None:
    """Nothing but loopback without TLS and known clients, unless the operator insists."""
    if settings.listens_on_loopback or settings.danger_listen_without_tls:
        return
    raise SettingsError(
        f"listen: {settings.listen} is reachable from other machines, and this version has no TLS "
        "or client authentication: listen on 127.0.0.1, or set danger_listen_without_tls"
    )


def _bind(server: grpc.aio.Server, settings: Settings) -> str:
    host = settings.listen.rpartition(":")[0]
    try:
        port = server.add_insecure_port(settings.listen)
    except RuntimeError as error:
        raise SettingsError(
            f"listen: cannot listen on {settings.listen}: is the port taken?"
        ) from error
    return f"{host}:{port}"
