"""Everything behind the gRPC edge, put together from the settings, and taken apart again."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import socket
import threading
import time
from collections import Counter
from functools import partial
from typing import TYPE_CHECKING, Self

from grpc_health.v1 import health_pb2_grpc

import matcher.index.hamming_scan  # noqa: F401  brings FAISS: now, not with a caller's first scan
from hashlists.access.audit_head import HeadFile
from hashlists.errors import (
    CatalogAwayError,
    HashlistsError,
    SnapshotError,
    SnapshotStoreError,
    TokenKeyError,
)
from hashlists.snapshot import current_name
from hashlists.snapshot.origin import catalog_of, has_snapshots
from matcher import hashing, selftest
from matcher._proto.hashwarden.lists.v1 import lists_pb2, lists_pb2_grpc
from matcher._proto.hashwarden.match.v1 import (
    match_pb2,
    match_pb2_grpc,
    match_records_pb2,
    match_records_pb2_grpc,
)
from matcher.admission import Admission, Throttle
from matcher.decode import choosing
from matcher.decode.choosing import Sandbox
from matcher.decode.limits import DecodeLimits, WorkerLimits
from matcher.decode.protection import EVERY_PROTECTION, told
from matcher.errors import NotReadyError, SealingKeyError
from matcher.follow.child import Publication
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.follow.vaults import make_vault
from matcher.index.holder import Holder
from matcher.policy.rules import policies_from_dict
from matcher.sealing import KeySource
from matcher.service.attempts import Attempts
from matcher.service.auditing import Auditing
from matcher.service.certificate_ends import ServedCertificates
from matcher.service.directory import Directory
from matcher.service.exports import Exports, ExportSettings
from matcher.service.gate import Gate
from matcher.service.health import Health, Pulse
from matcher.service.late_catalog import LateCatalog
from matcher.service.list_ages import ListAges
from matcher.service.list_servicer import ImportSettings, ListServicer
from matcher.service.match_counts import MatchCounting
from matcher.service.match_servicer import MatchLimits, MatchServicer
from matcher.service.metrics import IndexStatus, ServiceMetrics
from matcher.service.noticing import Noticing, NoticingSettings
from matcher.service.overload import OverloadGate
from matcher.service.record_keeping import RecordKeeping
from matcher.service.record_servicer import RecordServicer
from matcher.service.refusals import Refusals
from matcher.service.remembering import Remembering
from matcher.service.revision_log import RevisionLog
from matcher.service.stream import Drain
from matcher.service.threads import Threads, on_loop
from matcher.service.tls import certificate_files
from matcher.service.token_lookup import TokenLookup
from matcher.service.tracing import tracing_to
from matcher.service.uploads import Uploads
from matcher.settings import is_loopback
from matcher.tokens import Tokens

if TYPE_CHECKING:
    from collections.abc import Mapping

    import grpc

    from hashlists.snapshot.replica import Replica
    from hashlists.snapshot.vault import SharedMemory, Vault
    from matcher.follow.follower import FollowerState
    from matcher.pipeline import Generation
    from matcher.service.patience import Patience
    from matcher.service.peers import Peers
    from matcher.settings import Settings
    from matcher.stages import Spell, Stage

_log = logging.getLogger(__name__)
MATCHING = match_pb2.DESCRIPTOR.services_by_name["MatchService"].full_name
RECORDS = match_records_pb2.DESCRIPTOR.services_by_name["MatchRecordService"].full_name
LISTS = lists_pb2.DESCRIPTOR.services_by_name["HashListService"].full_name
#: What is offered where uploads are matched.
MATCHING_SERVICES = (MATCHING, RECORDS)
#: Between looks at who the clients are.
_CLIENTS_SECONDS = 1.0
#: Each call is one item of work in flight; those of streams are taken in one by one.
_MATCHING_ONE_BY_ONE = [
    f"/{MATCHING}/{each.name}"
    for each in match_pb2.DESCRIPTOR.services_by_name["MatchService"].methods
    if not each.client_streaming
]
#: For a build or a pull that is under way to end, once the server does.
_CLOSE_SECONDS = 5.0


class Parts:
    """Everything behind the gRPC edge.

    Args:
        settings: everything that can be set.
        catalog: belongs to the parts from now on; None for a replica that only pulls snapshots,
            which has no service for hash lists.
        shared: where encrypted snapshots are decrypted for several processes; None for nowhere.

    Attributes:
        services: full names of the services of ours that are offered.
    """

    def __init__(
        self,
        settings: Settings,
        catalog: LateCatalog | None,
        *,
        shared: SharedMemory | None = None,
    ) -> None:
        self.settings = settings
        self.catalog = catalog
        self.services = (*MATCHING_SERVICES, *(() if catalog is None else (LISTS,)))
        self.health = Health(self.services)
        self.pulse = Pulse()
        self.drain = Drain()
        self.holder: Holder[Generation] = Holder()
        self._vault = make_vault(settings.encryption_keys, shared)
        self._source = _source(settings, self._vault)
        self._policies = policies_from_dict(settings.policy_document, origin=settings.policy_origin)
        self.follower = Follower(
            catalog,
            settings.snapshots_dir,
            self._policies,
            self.holder,
            default_policy=settings.default_policy,
            catalog_url=settings.catalog_url,
            live_entries=settings.live_entries,
            lock_index=settings.lock_index,
            source=self._source,
            publication=_publication(settings),
            wake=self._wake,
            vault=self._vault,
        )
        self.tracing = tracing_to(settings.trace_endpoint, share=settings.trace_share)
        # After what a mistake in the settings may end: these are processes and threads.
        self.pool = choosing.decode_pool(
            DecodeLimits(**settings.decode_limits),
            WorkerLimits(**settings.worker_limits),
            workers=settings.decode_workers,
            sandbox=Sandbox(settings.decode_sandbox),
        )
        self.admission = Admission(
            max_items=settings.max_in_flight, max_bytes=settings.max_in_flight_bytes
        )
        self.throttle = Throttle(
            burst=settings.max_fatal_images,
            refill_seconds=settings.fatal_image_seconds,
            places=max(1, settings.decode_workers // 2),
        )
        self.metrics = ServiceMetrics(self.status)
        self.uploads = Uploads(
            *(self.holder, self.pool, self.admission, self.throttle),
            max_batch=settings.max_batch,
            batch_seconds=settings.max_batch_seconds,
            decoders=settings.decode_workers,
            observe_batch=self.metrics.batch_items.observe,
            observe_stages=self._observe_stages,
        )
        self.metrics.match_records.set_function(lambda: self.keeping.waiting)
        self.directory = Directory(
            settings.access_url, HeadFile(settings.audit_head_file), settings.token_key_file
        )
        self._noticing = Noticing(
            NoticingSettings(**settings.noticing), self.directory.database, actor=_actor()
        )
        self._certificates = ServedCertificates(certificate_files(settings))
        self._attempts = Attempts()
        self.refusals = Refusals(self.directory.database, server=_actor())
        self._auditing = Auditing(self.directory.database)
        self._knowing = Threads("clients", workers=1, max_pending=2)
        self._swaps = 0
        self._served_since: tuple[int, float] | None = None
        self._revision_log = RevisionLog()
        self._changed = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        # Of its own: a catalog that is slow or locked holds up nothing but following.
        self._following = Threads("follower", workers=1, max_pending=2)
        self._lists: ListServicer | None = None
        keys = KeySource(settings.match_keys)
        with contextlib.suppress(SealingKeyError):  # told once something is to be sealed
            keys.prepare()
        self._tokens = Tokens(keys, settings.token_days)
        self.keeping = RecordKeeping(
            settings.match_records_url,
            keys,
            days=settings.match_record_days,
            most_waiting=settings.match_record_queue,
        )
        self._remembering = Remembering(self.keeping, self._tokens, self.holder, self.pool.versions)
        self._token_lookup = TokenLookup(
            self._tokens, self.holder, catalog, most_entries=settings.token_entries
        )
        self._records: RecordServicer | None = None
        # A replica has no catalog to count in.
        self._counting = None if catalog is None else MatchCounting(catalog)
        self._ages = None if catalog is None else ListAges(catalog, self.holder)

    @classmethod
    def open(cls, settings: Settings, *, shared: SharedMemory | None = None) -> Self:
        """Opens the catalog and clears away what a crash left.

        Where the catalog cannot be opened and a snapshot is published, the parts go on without:
        they serve the snapshot, stale, and follow the catalog once it can be opened. Without a
        snapshot they wait for a catalog whose server is away, and a replica for its store.

        Args:
            settings: everything that can be set.
            shared: as for the class.

        Raises:
            SettingsError: the data folder cannot be made.
            HashlistsError: no snapshot is there, and the catalog cannot be opened in a way that
                will not pass, or the store's URL or its keys cannot be used.
        """
        settings.prepare_data_dir()
        if settings.snapshot_pull_url and not _has_snapshot(settings):
            _check_store(settings)
        if not settings.keeps_lists:
            return cls(settings, None, shared=shared)
        catalog = LateCatalog(
            settings.catalog_url,
            make=not has_snapshots(settings.snapshots_dir),
            catalog_id=catalog_of(settings.snapshots_dir),
        )
        try:
            catalog.open()
        except HashlistsError as error:
            if not _has_snapshot(settings):
                if isinstance(error, CatalogAwayError):
                    return cls(settings, catalog, shared=shared)  # `load` waits, and says so
                raise
            _log.error(
                "the catalog cannot be opened; lists are served as they were published last, and "
                "cannot be changed, until it can: %s",
                error,
            )
        return cls(settings, catalog, shared=shared)

    def join(self, peers: Peers) -> None:
        """Notices together with other processes from now on; on the event loop."""
        self._noticing.join(peers)

    def know_clients(self) -> None:
        """Reads the clients for the first time, before anybody calls.

        What cannot be read now is tried again while the server runs; who is not known may not call.

        Raises:
            TokenKeyError: callers must be known, and tokens cannot be told.
        """
        settings = self.settings
        required = any(map(settings.requires_clients, (settings.listen, settings.lists_address)))
        try:
            self.directory.refresh()
        except TokenKeyError:
            if required:
                raise
        except HashlistsError:
            return  # it is told in the log
        if required and self.directory.is_empty:
            _log.warning("nobody may call yet: add a client with `hashwarden clients add`")

    async def follow_clients(self) -> None:
        """Knows of every change of the clients soon after its commit."""
        while True:
            await asyncio.sleep(_CLIENTS_SECONDS)
            with contextlib.suppress(HashlistsError):  # it is told in the log
                await self._knowing.run(self.directory.refresh)

    def gate(self, address: str) -> Gate:
        """What decides who may call at an address."""
        return Gate(
            self.directory,
            self._attempts,
            required=self.settings.requires_clients(address),
            certificates=self.settings.tls_client_ca is not None,
            one_place=is_loopback(address),
        )

    def overload_gate(self, gate: Gate, patience: Patience) -> OverloadGate:
        """What refuses calls that there is no room for."""
        return OverloadGate(
            self.admission,
            self.metrics,
            services=self.services,
            unary=_MATCHING_ONE_BY_ONE,
            max_calls=self.settings.max_rpcs,
            max_unary=self.settings.max_unary_rpcs,
            gate=gate,
            patience=patience,
        )

    def register_matching(self, server: grpc.aio.Server) -> None:
        """Adds the servicer of matching, and health."""
        limits = MatchLimits(
            image_bytes=self.settings.image_bytes,
            stream_window=self.settings.stream_window,
            default_max_matches=self.settings.max_matches,
            exact_distances=self.settings.exact_distances,
        )
        matching = MatchServicer(
            self.uploads,
            self.provenance,
            limits,
            self.drain,
            remembering=self._remembering,
            token_lookup=self._token_lookup,
            noticing=self._noticing,
            count=self._counting.add if self._counting is not None else None,
        )
        if self._counting is not None:
            self._counting.start()
        if self._ages is not None:
            self._ages.start()
        self._noticing.start()
        file = self.settings.match_records_file
        if self.keeping.is_on or file is None or file.exists():  # else nothing is to be swept
            self.keeping.start()
        self._records = RecordServicer(self.keeping, self.holder, matching.exact_distances)
        match_records_pb2_grpc.add_MatchRecordServiceServicer_to_server(self._records, server)
        match_pb2_grpc.add_MatchServiceServicer_to_server(matching, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)

    def register_lists(self, server: grpc.aio.Server) -> None:
        """Adds the servicer of list management, and health."""
        catalog = self.catalog
        assert catalog is not None, "a replica has no service for hash lists"
        imports = ImportSettings(
            catalog_url=self.settings.catalog_url,
            spool_dir=self.settings.spool_dir,
            max_file_bytes=self.settings.import_file_bytes,
            max_rejected_share=self.settings.max_rejected_share,
            upload_seconds=self.settings.upload_seconds,
        )
        exports = ExportSettings(
            catalog_url=self.settings.catalog_url, allowed=self.settings.may_export
        )
        self._lists = ListServicer(
            catalog,
            imports,
            Exports(exports),
            self._auditing,
            self._changed.set,
            outcomes=self.keeping.outcomes,
        )
        lists_pb2_grpc.add_HashListServiceServicer_to_server(self._lists, server)
        health_pb2_grpc.add_HealthServicer_to_server(self.health.servicer, server)

    async def load(self, *, wait: bool = True) -> None:
        """Loads the lists, tests matching, and says ready.

        Args:
            wait: for first lists that can only come from what is away or empty.

        Raises:
            HashlistsError, OSError: there are none to be had, or not yet where nothing is to wait.
            PolicyError: a policy does not fit the lists.
            SelfTestError: matching gives other results here than it must.
        """
        self._loop = asyncio.get_running_loop()
        await self._load_first(wait=wait)
        await self._following.run(selftest.check, self.holder.current, self.pool)
        await self._following.run(self._tell_protection)
        await self.health.ready()
        versions = {name: each.version for name, each in self._policies.items()}
        await self._auditing.note_policies(versions, _actor())

    def _tell_protection(self) -> None:
        """Says once what protects against files that take decoders over."""
        had = self.pool.protection()
        self.pool.versions()  # known from now on, so that no answer waits for them
        level = logging.INFO if had == EVERY_PROTECTION else logging.WARNING
        _log.log(level, "decoders are %s", told(had))

    async def _load_first(self, *, wait: bool) -> None:
        """Loads the first lists; may wait where these can only come from what is away or empty.

        Whatever else is wrong would not be mended by waiting, and is raised.
        """
        waits = False
        while True:
            try:
                await self._following.run(self._build_first)
                await self._refresh()
            except (CatalogAwayError, SnapshotStoreError) as error:
                if not wait:
                    raise
                if not waits:
                    _log.warning(
                        "waiting for the first hash lists, and not ready until then: %s", error
                    )
                waits = True
                await asyncio.sleep(self.settings.follow_seconds)
            else:
                return

    async def follow(self, loading: asyncio.Task[None]) -> None:
        """Serves every new revision soon after its commit."""
        await loading
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self.settings.follow_seconds):
                    await self._changed.wait()
            self._changed.clear()
            try:
                await self._refresh()
            except Exception:  # noqa: BLE001 - following must outlive any single failure
                _log.exception("a look at the catalog failed; trying again")

    def _wake(self) -> None:
        """Has the follower look at once; from any thread."""
        if self._loop is not None:
            on_loop(self._loop, self._changed.set)

    def _build_first(self) -> None:
        """Builds a small first snapshot here: a process of its own takes longer to start than that.

        What goes wrong is left to the follower, which does it again, and tells it.
        """
        if self.catalog is None or self.settings.snapshot_pull_url:
            return
        with contextlib.suppress(HashlistsError, OSError):
            if current_name(self.settings.snapshots_dir) is not None:
                return
            with self.catalog.read() as reader:
                small = reader.changed_count(0) <= self.settings.live_entries
            if small:
                build_snapshot(
                    self.catalog.open(), self.settings.snapshots_dir, seen="", vault=self._vault
                )

    async def _refresh(self) -> None:
        self._swaps += await self._following.run(self.follower.refresh)
        index = self.holder.current.index
        self._revision_log.look(self.follower.state(), len(index.entries) - len(index.hidden))
        if self._served_since is None or self._served_since[0] != index.revision:
            self._served_since = index.revision, time.monotonic()

    def provenance(self) -> match_pb2.Provenance:
        """What every answer says of versions and age."""
        return match_pb2.Provenance(
            stale=self.follower.is_stale(self.settings.stale_after_seconds),
            hasher_version=hashing.HASHER_VERSION,
            decoder_version=self.pool.versions(),
        )

    def _observe_stages(self, spells: Mapping[Stage, Spell]) -> None:
        self.metrics.stages.observe(spells)
        self.tracing.upload(spells)

    def status(self) -> IndexStatus:
        """What health and metrics tell; from any thread."""
        state = self.follower.state()
        revision, segments = -1, Counter[str]()
        with contextlib.suppress(NotReadyError):
            index = self.holder.current.index
            revision = index.revision
            for name, segment in zip(index.segment_names, index.segments, strict=True):
                segments[name] += len(segment.entries)  # several may be live
        return IndexStatus(
            ready=self.health.is_ready and self.pulse.beats,
            stale=self.follower.is_stale(self.settings.stale_after_seconds),
            revision=revision,
            entries=sum(segments.values()),
            segments=segments,
            seconds_since_contact=state.seconds_since_contact,
            problem=state.problem,
            items_in_flight=self.admission.items,
            # Known once there was a self-test; before, asking would start decoders.
            protection=self.pool.protection() if self.health.is_ready else None,
            decoder_restarts=self.pool.restarts(),
            throttled_clients=self.throttle.held_back,
            index_age_seconds=self._index_age(),
            queues={
                "decoder": max(0, self.uploads.undecoded - self.settings.decode_workers),
                "batch": self.uploads.unbatched,
            },
            hot_entries=self._noticing.hot_entries,
            list_ages={} if self._ages is None else self._ages.seconds,
            tell_list_names=self.settings.metrics_list_names,
            counts=self._counts(state),
            certificate_ends=self._certificates.ends(),
        )

    def _index_age(self) -> float:
        since = self._served_since
        return math.inf if since is None else time.monotonic() - since[1]

    def _counts(self, state: FollowerState) -> dict[str, float]:
        made = "pull" if self.settings.snapshot_pull_url else "build"
        return {
            "swaps": self._swaps,
            "throttled_images": self.throttle.refused,
            f"snapshot_{made}s": state.builds,
            f"snapshot_{made}_failures": state.build_failures,
            f"snapshot_{made}_seconds": state.build_seconds,
            "match_records_kept": self.keeping.kept,
            "match_records_lost": self.keeping.lost,
            "tokens_unsealed": self._remembering.unsealed,
            **self._noticing.counts,
        }

    async def close(self) -> None:
        """Answers what is under way, and closes all that was opened, whatever fails at it."""
        async with contextlib.AsyncExitStack() as last_first:
            if self.catalog is not None:
                last_first.callback(self.catalog.close)
            last_first.push_async_callback(asyncio.to_thread, self.pool.close)
            last_first.push_async_callback(self._close_directory)
            last_first.push_async_callback(self._auditing.close)
            last_first.push_async_callback(self._noticing.close)
            last_first.push_async_callback(self.refusals.close)
            last_first.push_async_callback(asyncio.to_thread, self.tracing.close)
            last_first.callback(self._knowing.close)
            if self._ages is not None:
                last_first.callback(self._ages.close)
            if self._lists is not None:
                last_first.callback(self._lists.close)
            if self._records is not None:
                last_first.callback(self._records.close)
            last_first.callback(self._token_lookup.close)
            last_first.push_async_callback(self.keeping.close)
            if self._counting is not None:
                last_first.push_async_callback(self._counting.close)
            last_first.callback(self._following.close)
            last_first.push_async_callback(self._close_follower)
            last_first.push_async_callback(self.uploads.close)

    async def _close_directory(self) -> None:
        """Waits for who reads it, but not for a database that is away."""
        closing = asyncio.create_task(asyncio.to_thread(self.directory.close))
        await asyncio.wait((closing,), timeout=_CLOSE_SECONDS)

    async def _close_follower(self) -> None:
        """Ends a build or pull that is under way. One that hangs ends with the process."""
        if self._source is not None:
            self._source.stop()
        closing = threading.Thread(target=self.follower.close, name="closing", daemon=True)
        closing.start()
        await asyncio.to_thread(closing.join, _CLOSE_SECONDS)


def _actor() -> str:
    """Who this server is, for the audit."""
    return f"server:{socket.gethostname()}"


def _has_snapshot(settings: Settings) -> bool:
    """Whether anything is published here, as far as can be told without opening it."""
    try:
        return current_name(settings.snapshots_dir) is not None
    except SnapshotError:
        return False


def _check_store(settings: Settings) -> None:
    """What no waiting would mend in the settings of a replica is told at once.

    Raises:
        SnapshotStoreError: the store's URL is malformed.
        SnapshotKeyError: the file of public keys cannot be used.
    """
    from hashlists.snapshot.objects import check_url  # noqa: PLC0415 - as in `_source`
    from hashlists.snapshot.signing import load_verify_keys  # noqa: PLC0415

    assert settings.snapshot_verify_key is not None
    check_url(settings.snapshot_pull_url)
    load_verify_keys(settings.snapshot_verify_key)


def _source(settings: Settings, vault: Vault | None) -> Replica | None:
    """Where snapshots are pulled from instead of being built."""
    if not settings.snapshot_pull_url:
        return None
    # What it brings along (object storage, signatures) is for replicas alone.
    from hashlists.snapshot.replica import Replica  # noqa: PLC0415
    from hashlists.snapshot.vault import lock_of  # noqa: PLC0415

    assert settings.snapshot_verify_key is not None
    return Replica(
        settings.snapshot_pull_url,
        settings.snapshots_dir,
        verify_key=settings.snapshot_verify_key,
        pull_seconds=settings.snapshot_pull_seconds,
        check=partial(lock_of, vault),
    )


def _publication(settings: Settings) -> Publication | None:
    if not settings.snapshot_publish_url:
        return None
    assert settings.snapshot_signing_key is not None
    return Publication(
        settings.snapshot_publish_url,
        settings.snapshot_signing_key,
        settings.snapshot_publish_seconds,
    )
