"""Every setting: its type, its form, its default and its meaning.

Settings are plain numbers, texts and paths; what decoders or policies make of them is theirs.
"""

from __future__ import annotations

from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from matcher.errors import SettingsError
from matcher.settings.addresses import is_loopback
from matcher.settings.machine import usable_cpus
from matcher.settings.names import DATA_VARIABLE
from matcher.settings.parsing import (
    GIB,
    KIB,
    MIB,
    SAME,
    Parser,
    address,
    address_or_none,
    address_or_same,
    boolean,
    choice,
    http_url_or_none,
    key_place,
    key_place_or_none,
    path,
    path_or_none,
    pattern,
    real,
    roots,
    size,
    store_url,
    whole,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

_CPUS_A_PROCESS = 4  # about what one process can keep decoding


def _decoders(cpus: int) -> int:
    """As many as CPUs, and one more for each server process, of whose one is between two files.

    A single CPU has no more to do. Measured in docs/performance.md, "The service under load".
    """
    return cpus + _processes(cpus) if cpus > 1 else 1


def _processes(cpus: int) -> int:
    return max(1, cpus // _CPUS_A_PROCESS)


def knob(parse: Parser, default: object, *, repr_: bool = True) -> Any:
    """A field of `Settings`; a callable default is given the data folder."""
    return field(metadata={"parse": parse, "default": default}, repr=repr_)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """All settings, checked; made by `load_settings`. Names are those of file and environment.

    Attributes:
        data_dir: where catalog and snapshots lie: `--data`, else `HASHWARDEN_DATA`, else the
            platform's folder for data. Not settable in the file, which may lie in it.
        catalog_url: SQLAlchemy URL of the catalog. May hold a password.
        snapshots_dir: where snapshots are built and mapped from; local disk.
        snapshot_publish_url: folder or object store to which built snapshots are published; empty
            for none.
        snapshot_signing_key: file of the Ed25519 private key (PEM) that signs them.
        snapshot_publish_seconds: least time between a snapshot that a server published and the
            next; what withdraws entries does not wait for it.
        snapshot_pull_url: store from which snapshots are pulled instead of built; empty for none.
        snapshot_verify_key: file of the Ed25519 public keys (PEM) any of which must have signed.
        snapshot_pull_seconds: time between looks at that store, give or take a quarter.
        spool_dir: where uploaded list files lie while they are imported.
        policy_file: the policy document (docs/policy.md); may be absent at its default place.
        default_policy: the policy of callers who name none.
        listen: HOST:PORT of matching; port 0 takes any free one.
        lists_listen: HOST:PORT of list management; "same" for that of `listen`, on loopback only.
        processes: server processes; 0 for one for every four usable CPUs.
        admin_listen: HOST:PORT of health and metrics over HTTP; where there are several processes,
            each has the next port of its own. Empty for none.
        tls_certificate: file of the server's certificate (PEM), with the chain above it. It is read
            again when it has changed, as are the next two.
        tls_key: file of its private key (PEM).
        tls_client_ca: file of the certificates (PEM) that clients' certificates must come from;
            None: clients have none.
        authentication: "required": callers must be known clients; "off": anybody may do anything;
            "auto": required with `tls_client_ca`, and on other addresses than loopback with TLS.
        access_url: SQLAlchemy URL of the database of clients and audit. May hold a password.
        token_key_file: file of the key that tokens are digested with; made with the first token.
        match_records_url: SQLAlchemy URL of the database that records of matches are kept in. May
            hold a password.
        match_record_days: how many days a record is kept; 0 for none at all.
        match_record_queue: records that wait to be written; further ones are lost, which metrics
            and health tell.
        match_keys: what records of matches and tokens of uploads are sealed with: `file:PATH`, made
            with the first record; `command:PROGRAM ARGUMENTS`, whose output is read; or the keys
            themselves, as `keys:HEX,HEX`. The newest comes first. May be a secret.
        encryption_keys: what snapshots and backups of the catalog are encrypted with, as for
            `match_keys`; empty: snapshots are not. May be a secret.
        token_days: how many days an upload's token counts.
        token_entries: entries that tokens are checked against from memory; where more are new, from
            the index, which takes longer.
        reflection: whether services are told of by reflection: "on", "off", or "auto": on loopback.
        server_ca: for commands with `--server`: speak TLS, and trust servers with a certificate
            from one in this file (PEM), or "system"; empty: no TLS.
        server_certificate: for such commands: file of the client certificate (PEM).
        server_key: for such commands: file of its private key (PEM).
        server_token_file: for such commands: file that holds a client's token.
        max_connection_age_seconds: after which a connection is closed in good order, so that
            clients spread over processes and machines.
        client_seconds: how long a call waits for its client, to send its one message or to take an
            answer, before it is ended.
        upload_seconds: in which an upload of a list file has to bring its first message, and then
            each 64 KiB or its end, before it is given up.
        keepalive_seconds: silence of a connection after which its other end is asked whether it is
            there; after as long again without a word it is closed.
        danger_listen_without_tls: accept another address than loopback without TLS or credentials:
            whoever reaches the port can query and change the lists.
        danger_export_without_tls: export lists to callers on another address than loopback, too:
            whoever reaches the port can have every entry that may go to anybody.
        message_bytes: largest gRPC message, bytes.
        image_bytes: largest image as received, bytes; below `message_bytes`, so that "too large" is
            an answer for one item and never the end of a stream.
        stream_window: unanswered items of one stream past which the server stops reading.
        max_matches: matches that an answer lists where the caller does not say.
        max_in_flight: items accepted and not yet answered, over all callers. Of this, of the next,
            and of open calls, the last fifth is shared out among callers; one alone has 9 tenths.
        max_in_flight_bytes: their encoded bytes together.
        max_fatal_images: images of one client that may take down their decoders at once, before
            fewer of that client are in work at a time.
        fatal_image_seconds: after which one of them is forgiven.
        max_batch: items that are hashed and looked up together.
        max_batch_seconds: how long an item waits for others to be looked up with, while more items
            wait for a decoder than there are; else it waits for none.
        max_rpcs: calls that are open at once at an address, streams included and health left out.
        max_unary_rpcs: calls open at once that are one piece of matching each; more would only wait
            longer for a decoder.
        drain_seconds: how long accepted work may take at the end of a server.
        exact_distances: tell all callers exact distances, whatever their role. They help an
            attacker climb.
        follow_seconds: time between looks at the catalog's newest revision.
        live_entries: changed entries that are served from memory, beside what the snapshot holds,
            before a snapshot with them has to be built.
        lock_index: lock the index in memory, so that the system never pages it out. Needs room for
            two snapshots, and the right to lock so much (`ulimit -l`, or CAP_IPC_LOCK).
        stale_after_seconds: without word from the catalog for this long, answers say `stale`.
        decode_workers: decoders at work at once.
        decode_sandbox: where decoders run: `on`, in processes of their own that can do nothing but
            decode, as far as this system can see to it; `required`, the same or not at all; `off`,
            in threads of the process, where a file that takes over a decoder has all of it.
        decode_worker_files: after which a process that decodes is replaced; 1 for one of its own
            for each file.
        decode_niceness: by how much such a process stands back for the one that answers callers.
        decode_spare_bytes: memory of such a process beyond `decode_memory_bytes`.
        decode_grace_seconds: beyond `decode_seconds`, after which a process is killed over a file.
        decode_pixels: pixels of one picture as rendered.
        decode_jpeg_pixels: pixels stored in a JPEG, which is rendered scaled down.
        decode_jpeg_scan_pixels: pixels times scans of a JPEG that has several scans.
        decode_memory_bytes: bytes that decoding one picture may take, as estimated.
        decode_frames: frames or pages that are counted and can be reached.
        decode_frame_pixels: pixels summed over the frames that have to be rendered.
        decode_seconds: seconds after which no further view of an image is begun.
        decode_codes: views of one upload.
        max_rejected_share: rejected records as a share of all above which nothing is imported.
        import_file_bytes: largest list file sent to the service, bytes.
        hot_entry_hits: hits of an entry in a window, at all processes of a machine, below which it
            is not flagged as hit far more often than usual; 0: none ever is.
        hot_entry_factor: how many times the usual is far more.
        hot_entry_seconds: how long a window is.
        hot_entry_review: answer `REVIEW` where all that a `MATCH` rests on is flagged entries.
        climbing: series of near-identical queries by one client: "off", "tell" (metric, audit,
            log), or "throttle": tell, and hold their answers to a rate.
        climbing_queries: different codes that make a series.
        climbing_seconds: within which they come.
        climbing_answer_seconds: from one answer within a series to the next.
        scan_price_get: what a store charges for 1,000 GET requests, in any currency, for the
            estimates of scans; 0: nothing, or unknown.
        scan_price_list: the same for 1,000 LIST requests.
        scan_price_gb: the same for 10^9 bytes that leave the store.
        metrics_list_names: metrics tell the age of each list by its name.
        trace_endpoint: URL of a collector of traces, OTLP over HTTP; empty for no traces. Needs the
            extra `tracing`.
        trace_share: share of the calls that are traced, where a caller's trace does not say.
        log_level: least level that is logged.
        log_format: "human", "json" (one object a line), or "auto": human on a terminal.
        policy_document: the parsed policy file, or empty.
        policy_origin: what errors call it.
        sources: for each setting, where its value came from.
    """

    data_dir: Path
    catalog_url: str = knob(
        pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/catalog.db"),
        lambda data: f"sqlite:///{data / 'catalog.sqlite3'}",
        repr_=False,
    )
    snapshots_dir: Path = knob(path, lambda data: data / "snapshots")  # noqa: RUF009 - a field
    snapshot_publish_url: str = knob(store_url, "")
    snapshot_signing_key: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    snapshot_publish_seconds: float = knob(real(0, 86_400, "seconds"), 10.0)
    snapshot_pull_url: str = knob(store_url, "")
    snapshot_verify_key: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    snapshot_pull_seconds: float = knob(real(1, 86_400, "seconds"), 30.0)
    spool_dir: Path = knob(path, lambda data: data / "spool")  # noqa: RUF009 - a field
    policy_file: Path = knob(path, lambda data: data / "policies.toml")  # noqa: RUF009 - a field
    default_policy: str = knob(
        pattern(r"[a-z0-9][a-z0-9_-]{0,62}", "the name of a policy"), "default"
    )
    listen: str = knob(address, "127.0.0.1:50051")
    processes: int = knob(whole(0, 256), 0)
    lists_listen: str = knob(address_or_same, "127.0.0.1:50052")
    admin_listen: str = knob(address_or_none, "127.0.0.1:9464")
    tls_certificate: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    tls_key: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    tls_client_ca: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    authentication: str = knob(choice("auto", "required", "off"), "auto")
    access_url: str = knob(
        pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/access.db"),
        lambda data: f"sqlite:///{data / 'access.sqlite3'}",
        repr_=False,
    )
    token_key_file: Path = knob(path, lambda data: data / "token.key")  # noqa: RUF009 - a field
    match_records_url: str = knob(
        pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/matches.db"),
        lambda data: f"sqlite:///{data / 'match_records.sqlite3'}",
        repr_=False,
    )
    match_record_days: int = knob(whole(0, 3_650), 90)
    match_record_queue: int = knob(whole(1, 1_000_000), 10_000)
    match_keys: str = knob(key_place, lambda data: f"file:{data / 'match.keys'}", repr_=False)
    encryption_keys: str = knob(key_place_or_none, "", repr_=False)
    token_days: int = knob(whole(1, 3_650), 730)
    token_entries: int = knob(whole(1, 10_000_000), 200_000)
    reflection: str = knob(choice("auto", "on", "off"), "auto")
    server_ca: Path | str = knob(roots, "")  # noqa: RUF009 - a field
    server_certificate: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    server_key: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    server_token_file: Path | None = knob(path_or_none, None)  # noqa: RUF009 - a field
    max_connection_age_seconds: float = knob(real(1, 86_400, "seconds"), 600.0)
    client_seconds: float = knob(real(0.1, 86_400, "seconds"), 60.0)
    upload_seconds: float = knob(real(1, 86_400, "seconds"), 60.0)
    keepalive_seconds: float = knob(real(1, 86_400, "seconds"), 30.0)
    danger_listen_without_tls: bool = knob(boolean, default=False)
    danger_export_without_tls: bool = knob(boolean, default=False)
    message_bytes: int = knob(size(MIB, GIB), 32 * MIB)
    image_bytes: int = knob(size(64 * KIB, GIB), 25 * MIB)
    stream_window: int = knob(whole(1, 10_000), 32)
    max_matches: int = knob(whole(1, 100), 10)
    max_in_flight: int = knob(whole(1, 100_000), 144)
    max_in_flight_bytes: int = knob(size(MIB, 1024 * GIB), 576 * MIB)
    max_fatal_images: int = knob(whole(1, 100_000), 10)
    fatal_image_seconds: float = knob(real(0.1, 86_400, "seconds"), 60.0)
    max_batch: int = knob(whole(1, 4096), 64)
    max_batch_seconds: float = knob(real(0, 1, "seconds"), 0.025)
    max_rpcs: int = knob(whole(1, 100_000), 72)
    max_unary_rpcs: int = knob(whole(1, 100_000), lambda _: max(36, 18 * usable_cpus()))
    drain_seconds: float = knob(real(0, 3600, "seconds"), 30.0)
    exact_distances: bool = knob(boolean, default=False)
    follow_seconds: float = knob(real(0.01, 3600, "seconds"), 0.25)
    live_entries: int = knob(whole(0, 10_000_000), 50_000)
    lock_index: bool = knob(boolean, default=False)
    stale_after_seconds: float = knob(real(1, 604_800, "seconds"), 60.0)
    decode_workers: int = knob(whole(1, 1024), lambda _: _decoders(usable_cpus()))
    decode_sandbox: str = knob(choice("on", "required", "off"), "on")
    decode_worker_files: int = knob(whole(1, 10**9), 10_000)
    decode_niceness: int = knob(whole(0, 19), 10)
    decode_spare_bytes: int = knob(size(64 * MIB, 1024 * GIB), 256 * MIB)
    decode_grace_seconds: float = knob(real(0.1, 3600, "seconds"), 6.0)
    decode_pixels: int = knob(whole(1, 2**40), 2**27)
    decode_jpeg_pixels: int = knob(whole(1, 2**40), 400_000_000)
    decode_jpeg_scan_pixels: int = knob(whole(1, 2**50), 4_000_000_000)
    decode_memory_bytes: int = knob(size(MIB, 1024 * GIB), 3 * 2**29)
    decode_frames: int = knob(whole(1, 10**9), 1_000)
    decode_frame_pixels: int = knob(whole(1, 2**50), 2**30)
    decode_seconds: float = knob(real(0.01, 3600, "seconds"), 10.0)
    decode_codes: int = knob(whole(1, 64), 64)
    max_rejected_share: float = knob(real(0, 1, "a share"), 0.05)
    import_file_bytes: int = knob(size(KIB, 1024 * GIB), 16 * GIB)
    hot_entry_hits: int = knob(whole(0, 10**9), 50)
    hot_entry_factor: float = knob(real(1, 10**6, "times"), 10.0)
    hot_entry_seconds: float = knob(real(1, 604_800, "seconds"), 3_600.0)
    hot_entry_review: bool = knob(boolean, default=False)
    climbing: str = knob(choice("tell", "throttle", "off"), "tell")
    climbing_queries: int = knob(whole(6, 100), 20)
    climbing_seconds: float = knob(real(1, 86_400, "seconds"), 600.0)
    climbing_answer_seconds: float = knob(real(0.1, 3600, "seconds"), 10.0)
    scan_price_get: float = knob(real(0, 10**6, "a price"), 0.0)
    scan_price_list: float = knob(real(0, 10**6, "a price"), 0.0)
    scan_price_gb: float = knob(real(0, 10**6, "a price"), 0.0)
    metrics_list_names: bool = knob(boolean, default=False)
    trace_endpoint: str = knob(http_url_or_none, "", repr_=False)
    trace_share: float = knob(real(0, 1, "a share"), 1.0)
    log_level: str = knob(choice("debug", "info", "warning", "error"), "info")
    log_format: str = knob(choice("auto", "human", "json"), "auto")
    policy_document: Mapping[str, Any] = field(repr=False)
    policy_origin: str
    sources: Mapping[str, str] = field(repr=False, compare=False)

    @property
    def listens_on_loopback(self) -> bool:
        """True when only this machine can reach `listen`, and `lists_listen`."""
        return is_loopback(self.listen) and is_loopback(self.lists_address)

    @property
    def addresses(self) -> tuple[str, ...]:
        """Where the service listens, as it was set."""
        if self.keeps_lists and self.lists_listen != SAME:
            return self.listen, self.lists_listen
        return (self.listen,)

    @property
    def lists_address(self) -> str:
        """Where list management listens, as it was set: on port 0 the system chooses."""
        return self.listen if self.lists_listen == SAME else self.lists_listen

    @property
    def keeps_lists(self) -> bool:
        """Whether lists are managed here: a replica without a catalog has none of its own."""
        return not self.snapshot_pull_url or self.sources["catalog_url"] != "default"

    @property
    def speaks_tls(self) -> bool:
        """Whether the service has a certificate."""
        return self.tls_certificate is not None

    def requires_clients(self, address: str) -> bool:
        """Whether callers of an address must be known clients."""
        if self.authentication == "auto":
            beyond = self.speaks_tls and not is_loopback(address)
            return beyond or self.tls_client_ca is not None
        return self.authentication == "required"

    def is_protected(self, address: str) -> bool:
        """Whether an address is of this machine alone, or has TLS and knows who calls."""
        return is_loopback(address) or (self.speaks_tls and self.requires_clients(address))

    def reflects(self, address: str) -> bool:
        """Whether services are told of by reflection at an address."""
        return is_loopback(address) if self.reflection == "auto" else self.reflection == "on"

    @property
    def audit_head_file(self) -> Path:
        """Where the end of the audit is kept, apart from its database."""
        return self.data_dir / "audit.head"

    @property
    def may_export(self) -> bool:
        """Whether callers who are no clients may have lists exported: those on this machine."""
        return is_loopback(self.lists_address) or self.danger_export_without_tls

    @property
    def admin_on_loopback(self) -> bool:
        """True when only this machine can reach `admin_listen`, or nobody can."""
        return not self.admin_listen or is_loopback(self.admin_listen)

    @property
    def process_count(self) -> int:
        """How many processes serve: `processes`, or one for every four usable CPUs."""
        return self.processes or _processes(usable_cpus())

    @property
    def decode_limits(self) -> Mapping[str, Any]:
        """The keyword arguments of `matcher.decode.limits.DecodeLimits`."""
        return {
            "encoded_bytes": self.image_bytes,
            "pixels": self.decode_pixels,
            "jpeg_pixels": self.decode_jpeg_pixels,
            "jpeg_scan_pixels": self.decode_jpeg_scan_pixels,
            "memory_bytes": self.decode_memory_bytes,
            "frames": self.decode_frames,
            "frame_pixels": self.decode_frame_pixels,
            "seconds": self.decode_seconds,
            "codes": self.decode_codes,
        }

    @property
    def worker_limits(self) -> Mapping[str, Any]:
        """The keyword arguments of `matcher.decode.limits.WorkerLimits`."""
        return {
            "memory_bytes": self.decode_memory_bytes + self.decode_spare_bytes,
            "seconds": self.decode_seconds + self.decode_grace_seconds,
            "files": self.decode_worker_files,
            "niceness": self.decode_niceness,
        }

    @property
    def noticing(self) -> Mapping[str, Any]:
        """The keyword arguments of `matcher.service.noticing.NoticingSettings`."""
        return {
            "hot_hits": self.hot_entry_hits,
            "hot_factor": self.hot_entry_factor,
            "hot_seconds": self.hot_entry_seconds,
            "hot_review": self.hot_entry_review,
            "climbing": self.climbing,
            "climbing_steps": self.climbing_queries,
            "climbing_seconds": self.climbing_seconds,
            "climbing_answer_seconds": self.climbing_answer_seconds,
        }

    @property
    def catalog_file(self) -> Path | None:
        """The file of an SQLite catalog; None where the catalog is another database."""
        return _sqlite_file(self.catalog_url)

    @property
    def match_records_file(self) -> Path | None:
        """The file of an SQLite database of match records; None where it is another."""
        return _sqlite_file(self.match_records_url)

    @property
    def access_file(self) -> Path | None:
        """The file of an SQLite database of clients and audit; None where it is another."""
        return _sqlite_file(self.access_url)

    def prepare_data_dir(self) -> None:
        """Makes the data folder where there is none, for its owner alone.

        Raises:
            SettingsError: it cannot be made, or is not a folder.
        """
        try:
            self.data_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
        except OSError as error:
            raise SettingsError(
                f"{self.sources['data_dir']}: the data folder {self.data_dir} cannot be made "
                f"({error.strerror}); name another with --data or {DATA_VARIABLE}"
            ) from None


def _sqlite_file(url: str) -> Path | None:
    scheme, _, path = url.partition(":///")
    file = path.partition("?")[0]
    return Path(file) if scheme.startswith("sqlite") and file else None


#: The settings that file, environment and overrides may name.
KNOBS: Mapping[str, Field[Any]] = MappingProxyType(
    {each.name: each for each in fields(Settings) if each.metadata}
)


__all__ = ["KNOBS", "Settings"]
