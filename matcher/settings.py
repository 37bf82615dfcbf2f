"""Every knob of Hashwarden, typed and with its unit, and where its value comes from.

A value comes from the built-in default, else the settings file, else the environment
(`HASHWARDEN_` and the name in capitals), else the command line; the later one wins. A name that
means nothing is an error, since a mistyped limit would silently not hold. This is the only module
that reads the environment or TOML; it opens nothing but those files, and knows nothing of decoders
or policies: their knobs are plain numbers and a plain document here.

No message repeats a value, since a catalog's URL may hold a password.
"""

from __future__ import annotations

import contextlib
import difflib
import ipaddress
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from pathlib import Path
from types import MappingProxyType
from typing import Any
from urllib.parse import SplitResult, urlsplit

import platformdirs

from matcher.errors import SettingsError

PREFIX = "HASHWARDEN_"
DATA_VARIABLE = "HASHWARDEN_DATA"
CONFIG_VARIABLE = "HASHWARDEN_CONFIG"
CONFIG_NAME = "hashwarden.toml"
#: Credentials of an exchange: this, its name and the credential's, e.g.
#: `HASHWARDEN_EXCHANGE_MY_FEED_PASSWORD` for the exchange `my-feed`. They are no settings.
EXCHANGE_PREFIX = "HASHWARDEN_EXCHANGE_"
#: What a message holds beside an image: names, options, framing.
MESSAGE_OVERHEAD_BYTES = 64 * 1024

_KIB, _MIB, _GIB = 1024, 1024**2, 1024**3
_MAX_PORT = 65_535
_CPUS_A_PROCESS = 4  # about what one process can keep decoding
_MAX_CONFIG_BYTES = _MIB
_MAX_POLICY_BYTES = 64 * _MIB
_MAX_MAPPING_BYTES = _MIB
#: What programs need to start, in the environment: all else may hold passwords and tokens.
_STARTING_NAMES = frozenset({"PATH", "LANG", "TZ", "VIRTUAL_ENV"})
_STARTING_PREFIXES = ("PYTHON", "LD_", "LC_", "COVERAGE_")
#: Not settings: test runs' own variables, and what Kubernetes sets for a service of this name.
_FOREIGN_VARIABLE = re.compile(r"HASHWARDEN_(TEST|SERVICE|PORT)(_|$)")


class _BadValueError(ValueError):
    """A value is not of the allowed form; the message says what is."""


@dataclass(frozen=True, slots=True)
class _Place:
    """Where values come from: `label` names it, relative paths start at `folder`."""

    label: str
    folder: Path


_Parser = Callable[[object, Path], Any]


def _whole(low: int, high: int) -> _Parser:
    def parse(value: object, _: Path) -> int:
        number = _number(value, int)
        if number is None or not low <= number <= high:
            raise _BadValueError(f"must be a whole number from {low} to {high}")
        return int(number)

    return parse


def _real(low: float, high: float, unit: str) -> _Parser:
    def parse(value: object, _: Path) -> float:
        number = _number(value, float)
        if number is None or not low <= number <= high:
            raise _BadValueError(f"must be {unit} from {low:g} to {high:g}")
        return float(number)

    return parse


_NUMBERS: Mapping[type, re.Pattern[str]] = {
    int: re.compile(r"-?[0-9]{1,18}"),
    float: re.compile(r"-?[0-9]{1,18}(\.[0-9]{1,18})?"),
}


def _number(value: object, kind: type[int | float]) -> float | None:
    if isinstance(value, str):
        return kind(value) if _NUMBERS[kind].fullmatch(value) else None
    allowed = int if kind is int else (int, float)
    return value if isinstance(value, allowed) and not isinstance(value, bool) else None


_SIZE = re.compile(r"(\d{1,18}) ?(|B|KiB|MiB|GiB)")
_SIZE_UNITS = {"": 1, "B": 1, "KiB": _KIB, "MiB": _MIB, "GiB": _GIB}


def _size(low: int, high: int) -> _Parser:
    def parse(value: object, _: Path) -> int:
        parts = _SIZE.fullmatch(value) if isinstance(value, str) else None
        number = int(parts[1]) * _SIZE_UNITS[parts[2]] if parts else _number(value, int)
        if number is None or not low <= number <= high:
            raise _BadValueError(
                f'must be bytes from {low} to {high}, as a whole number or e.g. "25 MiB"'
            )
        return int(number)

    return parse


_BOOLEANS = {"true": True, "1": True, "yes": True, "false": False, "0": False, "no": False}


def _boolean(value: object, _: Path) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str) and value.lower() in _BOOLEANS:
        return _BOOLEANS[value.lower()]
    raise _BadValueError("must be true or false")


def _choice(*allowed: str) -> _Parser:
    def parse(value: object, _: Path) -> str:
        if value not in allowed:
            raise _BadValueError(f"must be one of {', '.join(allowed)}")
        return str(value)

    return parse


def _pattern(pattern: str, form: str) -> _Parser:
    compiled = re.compile(pattern)

    def parse(value: object, _: Path) -> str:
        if not isinstance(value, str) or not compiled.fullmatch(value):
            raise _BadValueError(f"must be {form}")
        return value

    return parse


def _path(value: object, folder: Path) -> Path:
    if not isinstance(value, str | Path) or str(value) == "" or "\0" in str(value):
        raise _BadValueError("must be a path")
    try:
        return folder / Path(value).expanduser()
    except RuntimeError:
        raise _BadValueError("must not start with ~: no home folder is known") from None


def _path_or_none(value: object, folder: Path) -> Path | None:
    return None if value in {"", "off"} else _path(value, folder)


def _address_or_none(value: object, folder: Path) -> str:
    return "" if value in {"", "off"} else _address(value, folder)


#: In `lists_listen`: no address of its own.
SAME = "same"


def _address_or_same(value: object, folder: Path) -> str:
    return SAME if value == SAME else _address(value, folder)


def _roots(value: object, folder: Path) -> Path | str:
    """A file of certificates; `system` for those that the machine trusts; empty for no TLS."""
    if value in {"", "off"}:
        return ""
    return "system" if value == "system" else _path(value, folder)


_STORE_SCHEMES = ("file", "s3", "gs", "az")


_KEY_PLACES = ("file:", "command:", "keys:")


def _key_place(value: object, folder: Path) -> str:
    """Where keys are: a file, a command that prints them, or the keys themselves."""
    if isinstance(value, str):
        place, rest = next(
            ((each, value[len(each) :]) for each in _KEY_PLACES if value.startswith(each)), ("", "")
        )
        if place and rest.strip():
            return f"{place}{_path(rest, folder)}" if place == "file:" else value
    raise _BadValueError(
        "must be file:PATH, command:PROGRAM ARGUMENTS, or keys: with 64 hex digits for each key "
        "and commas between them"
    )


def _store_url(value: object, _: Path) -> str:
    """A folder or object store; one without credentials, since it is shown in reports."""
    if value in {"", "off"}:
        return ""
    if isinstance(value, str):
        scheme, separator, rest = value.partition("://")
        place = rest.partition("/")[0]
        if separator and rest and scheme in _STORE_SCHEMES and "@" not in place:
            return value
    raise _BadValueError(
        "must be file:///FOLDER, s3://BUCKET/PREFIX, gs://BUCKET/PREFIX or az://CONTAINER/PREFIX, "
        "without credentials in it"
    )


def _address(value: object, _: Path) -> str:
    if isinstance(value, str):
        host, colon, port = value.rpartition(":")
        bare = host.removeprefix("[").removesuffix("]")
        bracketed = bare != host
        if colon and _is_host(bare, bracketed=bracketed):
            if _is_port(port):
                return value
            if port.isascii() and port.isdigit():
                raise _BadValueError(f"must be HOST:PORT with a port from 0 to {_MAX_PORT}")
    raise _BadValueError('must be HOST:PORT, e.g. "127.0.0.1:50051" or "[::1]:50051"')


def _is_host(bare: str, *, bracketed: bool) -> bool:
    try:
        return (ipaddress.ip_address(bare).version == 6) == bracketed  # noqa: PLR2004  IPv6
    except ValueError:
        return not bracketed and re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9.-]*)", bare) is not None


def _is_port(port: str) -> bool:
    return port.isascii() and port.isdigit() and int(port) <= _MAX_PORT


def is_loopback(address: str) -> bool:
    """Whether only this machine can reach a HOST:PORT."""
    host = address.rpartition(":")[0].removeprefix("[").removesuffix("]")
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _usable_cpus() -> int:
    """CPUs that this process may run on, or fewer where its quota of their time is less."""
    affinity = getattr(os, "sched_getaffinity", None)
    count = len(affinity(0)) if affinity else os.cpu_count() or 1
    return min(count, _cpu_quota(Path("/proc/self/cgroup"), Path("/sys/fs/cgroup")) or count)


def _cpu_quota(membership: Path, root: Path) -> int | None:
    """CPUs that control groups (version 2) grant a process, rounded up; None without a bound.

    Args:
        membership: the file that names the process's group.
        root: where groups are mounted; a container sees its own group there.
    """
    quotas = []
    with contextlib.suppress(OSError, ValueError):
        named = next(
            (line[3:] for line in membership.read_text().splitlines() if line.startswith("0::")), ""
        )
        group = root / named.lstrip("/")
        for each in (group, *group.parents):
            if each.is_relative_to(root) and (each / "cpu.max").exists():
                granted, period = (each / "cpu.max").read_text().split()
                if granted != "max":
                    quotas.append(-(-int(granted) // int(period)))
    return max(1, min(quotas)) if quotas else None


def _knob(parse: _Parser, default: object, *, repr_: bool = True) -> Any:
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
        danger_listen_without_tls: accept another address than loopback without TLS or credentials:
            whoever reaches the port can query and change the lists.
        danger_export_without_tls: export lists to callers on another address than loopback, too:
            whoever reaches the port can have every entry that may go to anybody.
        message_bytes: largest gRPC message, bytes.
        image_bytes: largest image as received, bytes; below `message_bytes`, so that "too large" is
            an answer for one item and never the end of a stream.
        stream_window: unanswered items of one stream past which the server stops reading.
        max_matches: matches that an answer lists where the caller does not say.
        max_in_flight: items accepted and not yet answered, over all callers.
        max_in_flight_bytes: their encoded bytes together.
        max_fatal_images: images of one client that may take down their decoders at once, before
            fewer of that client are in work at a time.
        fatal_image_seconds: after which one of them is forgiven.
        max_batch: items that are hashed and looked up together.
        max_rpcs: calls that are open at once, streams included and health left out.
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
        log_level: least level that is logged.
        log_format: "human", "json" (one object a line), or "auto": human on a terminal.
        policy_document: the parsed policy file, or empty.
        policy_origin: what errors call it.
        sources: for each setting, where its value came from.
    """

    data_dir: Path
    catalog_url: str = _knob(
        _pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/catalog.db"),
        lambda data: f"sqlite:///{data / 'catalog.sqlite3'}",
        repr_=False,
    )
    snapshots_dir: Path = _knob(_path, lambda data: data / "snapshots")  # noqa: RUF009 - a field
    snapshot_publish_url: str = _knob(_store_url, "")
    snapshot_signing_key: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    snapshot_publish_seconds: float = _knob(_real(0, 86_400, "seconds"), 10.0)
    snapshot_pull_url: str = _knob(_store_url, "")
    snapshot_verify_key: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    snapshot_pull_seconds: float = _knob(_real(1, 86_400, "seconds"), 30.0)
    spool_dir: Path = _knob(_path, lambda data: data / "spool")  # noqa: RUF009 - a field
    policy_file: Path = _knob(_path, lambda data: data / "policies.toml")  # noqa: RUF009 - a field
    default_policy: str = _knob(
        _pattern(r"[a-z0-9][a-z0-9_-]{0,62}", "the name of a policy"), "default"
    )
    listen: str = _knob(_address, "127.0.0.1:50051")
    processes: int = _knob(_whole(0, 256), 0)
    lists_listen: str = _knob(_address_or_same, "127.0.0.1:50052")
    admin_listen: str = _knob(_address_or_none, "127.0.0.1:9464")
    tls_certificate: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    tls_key: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    tls_client_ca: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    authentication: str = _knob(_choice("auto", "required", "off"), "auto")
    access_url: str = _knob(
        _pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/access.db"),
        lambda data: f"sqlite:///{data / 'access.sqlite3'}",
        repr_=False,
    )
    token_key_file: Path = _knob(_path, lambda data: data / "token.key")  # noqa: RUF009 - a field
    match_records_url: str = _knob(
        _pattern(r"[a-z][a-z0-9+]*://.+", "an SQLAlchemy URL, e.g. sqlite:////var/lib/matches.db"),
        lambda data: f"sqlite:///{data / 'match_records.sqlite3'}",
        repr_=False,
    )
    match_record_days: int = _knob(_whole(0, 3_650), 90)
    match_record_queue: int = _knob(_whole(1, 1_000_000), 10_000)
    match_keys: str = _knob(_key_place, lambda data: f"file:{data / 'match.keys'}", repr_=False)
    token_days: int = _knob(_whole(1, 3_650), 730)
    token_entries: int = _knob(_whole(1, 10_000_000), 200_000)
    reflection: str = _knob(_choice("auto", "on", "off"), "auto")
    server_ca: Path | str = _knob(_roots, "")  # noqa: RUF009 - a field
    server_certificate: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    server_key: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    server_token_file: Path | None = _knob(_path_or_none, None)  # noqa: RUF009 - a field
    max_connection_age_seconds: float = _knob(_real(1, 86_400, "seconds"), 600.0)
    danger_listen_without_tls: bool = _knob(_boolean, default=False)
    danger_export_without_tls: bool = _knob(_boolean, default=False)
    message_bytes: int = _knob(_size(_MIB, _GIB), 32 * _MIB)
    image_bytes: int = _knob(_size(64 * _KIB, _GIB), 25 * _MIB)
    stream_window: int = _knob(_whole(1, 10_000), 32)
    max_matches: int = _knob(_whole(1, 100), 10)
    max_in_flight: int = _knob(_whole(1, 100_000), 128)
    max_in_flight_bytes: int = _knob(_size(_MIB, 1024 * _GIB), 512 * _MIB)
    max_fatal_images: int = _knob(_whole(1, 100_000), 10)
    fatal_image_seconds: float = _knob(_real(0.1, 86_400, "seconds"), 60.0)
    max_batch: int = _knob(_whole(1, 4096), 64)
    max_rpcs: int = _knob(_whole(1, 100_000), 64)
    drain_seconds: float = _knob(_real(0, 3600, "seconds"), 30.0)
    exact_distances: bool = _knob(_boolean, default=False)
    follow_seconds: float = _knob(_real(0.01, 3600, "seconds"), 0.25)
    live_entries: int = _knob(_whole(0, 10_000_000), 50_000)
    lock_index: bool = _knob(_boolean, default=False)
    stale_after_seconds: float = _knob(_real(1, 604_800, "seconds"), 60.0)
    decode_workers: int = _knob(_whole(1, 1024), lambda _: _usable_cpus())
    decode_sandbox: str = _knob(_choice("on", "required", "off"), "on")
    decode_worker_files: int = _knob(_whole(1, 10**9), 10_000)
    decode_spare_bytes: int = _knob(_size(64 * _MIB, 1024 * _GIB), 256 * _MIB)
    decode_grace_seconds: float = _knob(_real(0.1, 3600, "seconds"), 6.0)
    decode_pixels: int = _knob(_whole(1, 2**40), 2**27)
    decode_jpeg_pixels: int = _knob(_whole(1, 2**40), 400_000_000)
    decode_jpeg_scan_pixels: int = _knob(_whole(1, 2**50), 4_000_000_000)
    decode_memory_bytes: int = _knob(_size(_MIB, 1024 * _GIB), 3 * 2**29)
    decode_frames: int = _knob(_whole(1, 10**9), 1_000)
    decode_frame_pixels: int = _knob(_whole(1, 2**50), 2**30)
    decode_seconds: float = _knob(_real(0.01, 3600, "seconds"), 10.0)
    decode_codes: int = _knob(_whole(1, 64), 64)
    max_rejected_share: float = _knob(_real(0, 1, "a share"), 0.05)
    import_file_bytes: int = _knob(_size(_KIB, 1024 * _GIB), 16 * _GIB)
    log_level: str = _knob(_choice("debug", "info", "warning", "error"), "info")
    log_format: str = _knob(_choice("auto", "human", "json"), "auto")
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
        return self.processes or max(1, _usable_cpus() // _CPUS_A_PROCESS)

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


def load_settings(
    data_dir: Path | None = None,
    *,
    environ: Mapping[str, str] | None = None,
    overrides: Mapping[str, object] | None = None,
) -> Settings:
    """Reads the settings from everywhere they may stand.

    Args:
        data_dir: the data folder that the command line names.
        environ: the environment; the process's own by default.
        overrides: what the command line sets, by name; None values are passed over.

    Raises:
        SettingsError: a line for each mistake: its source, the key, and what is allowed.
    """
    variables = os.environ if environ is None else environ
    problems: list[str] = []
    folder, folder_source = _data_dir(data_dir, variables)
    reader = _Reader(problems)
    _read_file(reader, folder, variables)
    reader.take(_from_environment(variables, problems), _Place("environment", Path.cwd()))
    chosen = {key: value for key, value in (overrides or {}).items() if value is not None}
    reader.take(chosen, _Place("command line", Path.cwd()))
    values = _defaults(folder) | reader.values
    if not problems:
        problems.extend(_contradictions(values))
    if problems:
        raise SettingsError("\n".join(problems))
    sources = {"data_dir": folder_source} | dict.fromkeys(KNOBS, "default") | reader.sources
    document, origin = _policy_document(values["policy_file"], sources["policy_file"])
    return Settings(
        data_dir=folder,
        **values,
        policy_document=document,
        policy_origin=origin,
        sources=MappingProxyType(sources),
    )


def environment_to_start(environ: Mapping[str, str] | None = None) -> dict[str, str]:
    """What of the environment a program of ours needs to start, and no more.

    For processes that hostile bytes may take over: in theirs no password is to be found.

    Args:
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ
    return {
        name: value
        for name, value in variables.items()
        if name in _STARTING_NAMES or name.startswith(_STARTING_PREFIXES)
    }


def exchange_variable(exchange: str, credential: str) -> str:
    """The environment variable that holds a credential of an exchange."""
    return EXCHANGE_PREFIX + f"{exchange}_{credential}".upper().replace("-", "_")


def exchange_credentials(
    exchange: str, names: Sequence[str], environ: Mapping[str, str] | None = None
) -> dict[str, str]:
    """The credentials of an exchange that the environment holds, by name; empty ones count as none.

    Args:
        exchange: its name.
        names: of the credentials.
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ
    found = {name: variables.get(exchange_variable(exchange, name), "") for name in names}
    return {name: value for name, value in found.items() if value}


def exchange_proxy(url: str, environ: Mapping[str, str] | None = None) -> str | None:
    """The proxy that leads to an exchange, as the environment says it to every program.

    `HTTPS_PROXY` names it, else `ALL_PROXY`; `NO_PROXY` names hosts that are reached without one,
    between commas, with all below them, or `*`. The same names in small letters go before these.
    Plain HTTP is spoken with this machine only, so it has no proxy.

    Args:
        url: of the exchange.
        environ: the environment; the process's own by default.
    """
    variables = os.environ if environ is None else environ

    def told(name: str) -> str:
        return variables.get(name.lower()) or variables.get(name) or ""

    parts = urlsplit(url)
    proxy = told("HTTPS_PROXY") or told("ALL_PROXY")
    if parts.scheme != "https" or not proxy:
        return None
    if any(_is_below(parts, each.strip()) for each in told("NO_PROXY").split(",")):
        return None
    return proxy if "://" in proxy else f"http://{proxy}"


def _is_below(address: SplitResult, name: str) -> bool:
    """Whether an address is of that host, perhaps with its port, or below it; `*` is all."""
    if name == "*":
        return True
    plain = name.lower().removeprefix("*").lstrip(".")
    hosts = (address.hostname or "", address.netloc.rpartition("@")[2].lower())
    return bool(plain) and any(host == plain or host.endswith(f".{plain}") for host in hosts)


class _Reader:
    """Gathers values over the places they stand in; the latest wins."""

    def __init__(self, problems: list[str]) -> None:
        self.values: dict[str, Any] = {}
        self.sources: dict[str, str] = {}
        self._problems = problems

    def take(self, found: Mapping[str, object], place: _Place) -> None:
        for key, value in found.items():
            try:
                self.values[key] = _parse(key, value, place.folder)
                self.sources[key] = place.label
            except _BadValueError as error:
                shown = f"{PREFIX}{key.upper()}" if place.label == "environment" else key
                self._problems.append(f"{place.label}: {shown}: {error}")


def _parse(key: str, value: object, folder: Path) -> object:
    if key == "data_dir":
        raise _BadValueError(f"cannot be set here; use --data or {DATA_VARIABLE}")
    if key not in KNOBS:
        raise _BadValueError(_unknown(key, list(KNOBS)))
    parse: _Parser = KNOBS[key].metadata["parse"]
    return parse(value, folder)


def _unknown(name: str, allowed: list[str]) -> str:
    near = difflib.get_close_matches(name, allowed, n=1)
    hint = f"did you mean {near[0]}?" if near else f"there are: {', '.join(allowed)}"
    return f"unknown setting; {hint}"


def _defaults(data_dir: Path) -> dict[str, Any]:
    values = {}
    for name, knob in KNOBS.items():
        default = knob.metadata["default"]
        values[name] = default(data_dir) if callable(default) else default
    return values


def _data_dir(named: Path | None, variables: Mapping[str, str]) -> tuple[Path, str]:
    if named is not None:
        folder, source = named, "command line"
    elif variables.get(DATA_VARIABLE):
        folder, source = Path(variables[DATA_VARIABLE]), "environment"
    else:
        folder, source = platformdirs.user_data_path("hashwarden", appauthor=False), "default"
    try:
        folder = _path(folder, Path.cwd())
    except _BadValueError as error:
        raise SettingsError(f"{source}: the data folder {error}") from None
    if "?" in str(folder):  # it would end the path in the catalog's URL
        raise SettingsError(f"{source}: the data folder's path must not hold a question mark")
    return folder, source


def _read_file(reader: _Reader, data_dir: Path, variables: Mapping[str, str]) -> None:
    named = variables.get(CONFIG_VARIABLE)
    try:
        path = _path(named, Path.cwd()) if named else data_dir / CONFIG_NAME
    except _BadValueError as error:
        raise SettingsError(f"environment: {CONFIG_VARIABLE}: {error}") from None
    parsed = _read_toml(path, _MAX_CONFIG_BYTES, required=bool(named))
    reader.take(parsed or {}, _Place(str(path), path.parent))


def _from_environment(variables: Mapping[str, str], problems: list[str]) -> dict[str, object]:
    """The settings among the variables; an empty one counts as not set."""
    found: dict[str, object] = {}
    for name, value in sorted(variables.items()):
        if name in {DATA_VARIABLE, CONFIG_VARIABLE} or _FOREIGN_VARIABLE.match(name):
            continue
        if name.startswith(EXCHANGE_PREFIX):
            continue
        if name.startswith(PREFIX) and value:
            key = name.removeprefix(PREFIX).lower()
            if key in KNOBS and name == PREFIX + key.upper():
                found[key] = value
            else:
                known = [DATA_VARIABLE, CONFIG_VARIABLE, *(PREFIX + k.upper() for k in KNOBS)]
                problems.append(f"environment: {name}: {_unknown(name, known)}")
    return found


def _contradictions(values: Mapping[str, Any]) -> list[str]:
    problems = []
    if values["image_bytes"] + MESSAGE_OVERHEAD_BYTES > values["message_bytes"]:
        problems.append(
            f"image_bytes must be at least {MESSAGE_OVERHEAD_BYTES} below message_bytes, so that "
            "a large image is refused alone and not with its stream"
        )
    if values["max_in_flight_bytes"] < values["image_bytes"]:
        problems.append("max_in_flight_bytes must be at least image_bytes, or no image fits")
    problems.extend(_wrong_pairs(values))
    if values["snapshot_publish_url"] and values["snapshot_signing_key"] is None:
        problems.append("snapshot_publish_url needs snapshot_signing_key")
    if values["snapshot_pull_url"] and values["snapshot_verify_key"] is None:
        problems.append("snapshot_pull_url needs snapshot_verify_key")
    if values["snapshot_pull_url"] and values["snapshot_publish_url"]:
        problems.append("snapshot_pull_url and snapshot_publish_url exclude each other")
    return problems


#: Settings that are of no use without another.
_NEEDED = (
    ("tls_certificate", "tls_key"),
    ("tls_key", "tls_certificate"),
    ("tls_client_ca", "tls_certificate"),
    ("server_certificate", "server_key"),
    ("server_key", "server_certificate"),
    ("server_certificate", "server_ca"),
)


def _wrong_pairs(values: Mapping[str, Any]) -> Iterator[str]:
    for one, other in _NEEDED:
        if values[one] and not values[other]:
            yield f"{one} needs {other}"
    if values["tls_client_ca"] and values["authentication"] == "off":
        yield 'tls_client_ca and authentication = "off" exclude each other'


def load_mapping(path: Path) -> dict[str, str]:
    """Options of a list format from a TOML file, as `--option` would give them one by one.

    Tables become prefixes: `[columns]` with `md5 = "MD5"` is `columns.md5=MD5`. True and false are
    `yes` and `no`. In `[columns]` several texts are numbered (`columns.pdq`, `columns.pdq.2`);
    elsewhere they are joined by commas.

    Raises:
        SettingsError: the file cannot be read, is not TOML, or holds what no option can be.
    """
    return dict(_flattened(_read_toml(path, _MAX_MAPPING_BYTES, required=True) or {}, (), path))


def _flattened(
    table: Mapping[str, Any], above: tuple[str, ...], path: Path
) -> Iterator[tuple[str, str]]:
    for key, value in table.items():
        names = (*above, key)
        name = ".".join(names)
        several = value if isinstance(value, list) else [value]
        if isinstance(value, dict):
            yield from _flattened(value, names, path)
        elif not several or not all(isinstance(each, str | int | float) for each in several):
            raise SettingsError(
                f"{path}: {name}: must be a text, a number, true or false, or several"
            )
        elif above[:1] == ("columns",):
            for number, each in enumerate(several, start=1):
                yield (f"{name}.{number}" if number > 1 else name), _option_text(each)
        else:
            yield name, ",".join(map(_option_text, several))


def _option_text(value: str | float) -> str:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def _policy_document(path: Path, source: str) -> tuple[Mapping[str, Any], str]:
    parsed = _read_toml(path, _MAX_POLICY_BYTES, required=source != "default")
    return ({}, "built-in policy") if parsed is None else (parsed, str(path))


def _read_toml(path: Path, max_bytes: int, *, required: bool) -> dict[str, Any] | None:
    """The parsed file; None where it is absent and need not be there.

    Raises:
        SettingsError: it cannot be read, is too large, or is not TOML.
    """
    try:
        with path.open("rb") as stream:
            raw = stream.read(max_bytes + 1)
    except (FileNotFoundError, NotADirectoryError):
        if required:
            raise SettingsError(f"{path}: there is no such file") from None
        return None
    except OSError as error:
        raise SettingsError(f"{path}: cannot be read: {error.strerror}") from None
    if len(raw) > max_bytes:
        raise SettingsError(f"{path}: is larger than {max_bytes} bytes")
    try:
        return tomllib.loads(raw.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        raise SettingsError(f"{path}: is not UTF-8 text (byte {error.start})") from None
    except (tomllib.TOMLDecodeError, RecursionError) as error:
        raise SettingsError(f"{path}: is not TOML{_toml_place(error)}") from None


def _toml_place(error: Exception) -> str:
    """Where a TOML error is; its own words are left out, since they may repeat a value."""
    found = re.search(r"\(at (line \d+, column \d+|end of document)\)", str(error))
    return f" (at {found[1]})" if found else ""


__all__ = [
    "CONFIG_NAME",
    "CONFIG_VARIABLE",
    "DATA_VARIABLE",
    "KNOBS",
    "MESSAGE_OVERHEAD_BYTES",
    "PREFIX",
    "SAME",
    "Settings",
    "is_loopback",
    "load_mapping",
    "load_settings",
]
