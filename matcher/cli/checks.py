"""The checks of `hashwarden doctor`: each looks at one thing, and says what it saw.

A check never changes anything: it creates no folder, no catalog, no snapshot. A check that fails
itself tells so as a finding, and the others go on.
"""

from __future__ import annotations

import importlib.machinery
import os
import platform
import resource
import stat
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from importlib import metadata
from pathlib import Path
from typing import TYPE_CHECKING

import hashlists
import matcher
from hashlists.words import counted
from matcher.cli.access_checks import check_access
from matcher.cli.catalog_checks import check_catalog, check_policies, check_snapshot
from matcher.cli.finding import Finding, Status
from matcher.cli.store_checks import check_stores
from matcher.errors import SettingsError, in_words
from matcher.service.open_files import limits, most_connections
from matcher.settings import is_loopback

if TYPE_CHECKING:
    from matcher.cli.context import Session
    from matcher.settings import Settings

DISTRIBUTION = "hashwarden"
_OUR_PACKAGES = ("matcher", "hashlists")
#: Distributions that the product cannot work without, by the name under which each is published.
_NEEDED = (
    "alembic",
    "botocore",
    "click",
    "cryptography",
    "faiss-cpu",
    "grpcio",
    "grpcio-health-checking",
    "grpcio-reflection",
    "grpcio-status",
    "httpx",
    "msgspec",
    "numpy",
    "obstore",
    "pathspec",
    "pi-heif",
    "pillow",
    "platformdirs",
    "prometheus-client",
    "protobuf",
    "pyrage",
    "rich",
    "scipy",
    "simplejpeg",
    "sqlalchemy",
    "tenacity",
    "waitress",
    "zstandard",
)
#: Extras by name: the distribution that each brings, and what goes without it.
_EXTRAS = {
    "jxl": ("pillow-jxl-plugin", "JPEG XL is not decoded"),
    "parquet": ("pyarrow", "Parquet files are neither read nor written"),
    "postgresql": ("psycopg", "the catalog is kept in SQLite only"),
    "ray": ("ray", "no scan runs on a cluster"),
    "tracing": ("opentelemetry-exporter-otlp-proto-http", "calls are not traced"),
}
#: A server whose limit of open files is lower is easily kept busy by strangers' connections.
_ENOUGH_FILES = 4096
_NETWORK_FILE_SYSTEMS = frozenset(
    {
        *("9p", "afs", "ceph", "cifs", "fuse.glusterfs", "fuse.s3fs", "fuse.sshfs", "gpfs"),
        *("lustre", "ncpfs", "nfs", "nfs4", "smb3", "smbfs"),
    }
)
_MOUNTS = Path("/proc/self/mounts")


Check = Callable[["Session"], Iterator[Finding]]


def check_versions(_: Session) -> Iterator[Finding]:
    """What is installed."""
    yield Finding("hashwarden", Status.OK, f"{matcher.__version__} in {_our_folder()}")
    detail = f"{platform.python_version()} at {sys.executable}"
    yield Finding("python", Status.OK, f"{detail} on {platform.platform(terse=True)}")
    found: list[str] = []
    for name in _NEEDED:
        try:
            found.append(f"{name} {metadata.version(name)}")
        except metadata.PackageNotFoundError:
            yield Finding("libraries", Status.FAIL, f"{name} is not installed")
    yield Finding("libraries", Status.OK, ", ".join(found))


def check_extras(_: Session) -> Iterator[Finding]:
    """Which extras are installed. None is needed, so that one is missing is well."""
    for extra, (name, without) in _EXTRAS.items():
        try:
            detail = f"{name} {metadata.version(name)}"
        except metadata.PackageNotFoundError:
            detail = f"not installed, so {without}; to have it: pip install 'hashwarden[{extra}]'"
        yield Finding(f"extra {extra}", Status.OK, detail)


def check_packages(_: Session) -> Iterator[Finding]:
    """Whether `matcher` and `hashlists` are ours, and nobody else's are near."""
    claims = metadata.packages_distributions()
    folder = _our_folder()
    for package, module in zip(_OUR_PACKAGES, (matcher, hashlists), strict=True):
        others = sorted(set(claims.get(package, ())) - {DISTRIBUTION})
        places = [place for place in _places_of(package) if place.parent != folder]
        home = Path(module.__file__ or "").resolve().parents[1]
        if home != folder:
            detail = f"is imported from {home}, not from {folder}: a foreign package shadows it"
            yield Finding(f"package {package}", Status.FAIL, detail)
        elif others:
            detail = f"{', '.join(others)} installs a package of that name too; remove it, then "
            detail += "install hashwarden anew in an environment of its own"
            yield Finding(f"package {package}", Status.FAIL, detail)
        elif places:
            detail = f"another one lies in {', '.join(str(place.parent) for place in places)} and "
            detail += "may be imported instead; use an environment of its own"
            yield Finding(f"package {package}", Status.WARN, detail)
        else:
            yield Finding(f"package {package}", Status.OK, "the only one of its name")


def _our_folder() -> Path:
    return Path(matcher.__file__).resolve().parents[1]


def _places_of(package: str) -> list[Path]:
    """Every package or module of that name on the import path."""
    places: list[Path] = []
    for entry in dict.fromkeys(sys.path):
        spec = importlib.machinery.PathFinder.find_spec(package, [entry or os.getcwd()])  # noqa: PTH109
        if spec is None:
            continue
        origins = [spec.origin] if spec.origin else list(spec.submodule_search_locations or ())
        for origin in origins:
            path = Path(origin).resolve()
            place = path.parent if path.name == "__init__.py" else path
            if place not in places:
                places.append(place)
    return places


def check_formats(_: Session) -> Iterator[Finding]:
    """Which formats really decode, shown by decoding one image of each."""
    from matcher.decode.worker import supported_formats  # noqa: PLC0415  brings Pillow

    troubles = supported_formats()
    working = sorted(name for name, trouble in troubles.items() if not trouble)
    yield Finding("formats", Status.OK if working else Status.FAIL, ", ".join(working))
    for name, trouble in sorted(troubles.items()):
        if trouble:
            yield Finding(f"format {name}", Status.WARN, trouble)


def check_hashing(session: Session) -> Iterator[Finding]:
    """Golden vectors, and the published test image from its bytes to its hashes."""
    from matcher.demo_data import published_test_image  # noqa: PLC0415
    from matcher.hashing import golden  # noqa: PLC0415  brings numpy and scipy
    from matcher.hashing.digests import digest_bytes  # noqa: PLC0415
    from matcher.model import DecodeRequest  # noqa: PLC0415
    from matcher.pipeline import hash_items  # noqa: PLC0415

    golden.check()
    image = published_test_image()
    with session.decode_pool() as pool:
        decoded = pool.submit(image.data, DecodeRequest()).result()
    (hashed,) = hash_items([digest_bytes(image.data)], [decoded], [DecodeRequest()])
    computed = {**hashed.digests, **(hashed.views[0].codes if hashed.views else {})}
    wrong = [kind.value for kind, value in image.hashes.items() if computed.get(kind) != value]
    if wrong:
        detail = f"the published test image gives another {', '.join(wrong)} than it must"
        yield Finding("self-test", Status.FAIL, detail)
    else:
        yield Finding("self-test", Status.OK, "golden vectors and the published test image agree")


#: Bytes: what single changes take, and what is always as well kept free.
_NO_ROOM = 64 << 20
_LITTLE_ROOM = 1 << 30


def check_data(session: Session) -> Iterator[Finding]:
    """Where data and settings lie, and who else can read them."""
    settings = session.settings
    folder = settings.data_dir
    origin = f"from {settings.sources['data_dir']}"
    if not folder.exists():
        yield Finding("data folder", Status.OK, f"{folder} ({origin}); not there yet")
    else:
        yield Finding("data folder", Status.OK, f"{folder} ({origin})")
        yield from _privacy(folder)
    yield from _locality(folder)
    yield _free_space(folder)
    changed = sorted(
        f"{name} from {source}"
        for name, source in settings.sources.items()
        if source != "default" and name != "data_dir"
    )
    yield Finding("settings", Status.OK, "; ".join(changed) or "all at their defaults")


def _privacy(folder: Path) -> Iterator[Finding]:
    held = folder.stat()
    if hasattr(os, "getuid") and held.st_uid != os.getuid():
        detail = f"{folder} belongs to another account (uid {held.st_uid})"
        yield Finding("data owner", Status.WARN, detail)
    if stat.S_IMODE(held.st_mode) & 0o077 == 0:
        yield Finding("data privacy", Status.OK, "only its owner can enter the data folder")
        return
    open_files = [path for path in _files_in(folder) if stat.S_IMODE(path.lstat().st_mode) & 0o077]
    worst = Status.FAIL if stat.S_IMODE(held.st_mode) & 0o002 else Status.WARN
    detail = f"{folder} is open to other accounts (mode {stat.S_IMODE(held.st_mode):04o}), with "
    detail += f"{counted(len(open_files), 'file')} that they may read: chmod -R go= {folder}"
    yield Finding("data privacy", worst, detail)


def _files_in(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):
        for name in names:
            yield Path(parent, name)


def _locality(folder: Path) -> Iterator[Finding]:
    kind = _file_system_of(folder)
    if kind in _NETWORK_FILE_SYSTEMS:
        detail = f"{folder} lies on {kind}: SQLite and mapped snapshots need a local disk"
        yield Finding("data disk", Status.FAIL, detail)
    else:
        yield Finding("data disk", Status.OK, f"local ({kind or 'of unknown kind'})")


def _free_space(folder: Path) -> Finding:
    """Whether there is room for a snapshot more, and for records at all."""
    there = next(each for each in (folder, *folder.absolute().parents) if each.exists())
    found = os.statvfs(there)
    free = found.f_bavail * found.f_frsize
    held = 0
    with suppress(OSError):  # a snapshot may be swept meanwhile
        held = sum(path.lstat().st_blocks * 512 for path in _files_in(folder))
    told = f"{free >> 20:,} MiB free, {held >> 20:,} MiB held"
    if free < _NO_ROOM:
        detail = f"{told}: lists, clients and records of matches cannot be changed any more"
        return Finding("disk space", Status.FAIL, f"{detail}; make room")
    if free < max(_LITTLE_ROOM, held):
        detail = f"{told}: a new snapshot, an import or a wipe may not find room"
        return Finding("disk space", Status.WARN, detail)
    return Finding("disk space", Status.OK, told)


def _file_system_of(folder: Path) -> str:
    """The kind of file system that the folder lies, or will lie, on; empty where not known."""
    best, kind = Path(), ""
    with suppress(OSError):
        for line in _MOUNTS.read_text(encoding="utf-8", errors="replace").splitlines():
            _, mounted, kind_here, *_ = line.split(" ")
            place = Path(mounted.replace("\\040", " "))
            if folder.resolve().is_relative_to(place) and len(place.parts) >= len(best.parts):
                best, kind = place, kind_here
    return kind


def check_decoders(session: Session) -> Iterator[Finding]:
    """What protects against a decoder that a file has taken over."""
    from matcher.decode.protection import EVERY_PROTECTION, told  # noqa: PLC0415
    from matcher.decode.worker import supported_formats  # noqa: PLC0415  brings Pillow

    if session.settings.decode_sandbox == "off":
        detail = "in threads of the process, which a file that takes over a decoder has all of"
        yield Finding("decoders", Status.WARN, f"{detail} (decode_sandbox)")
        return
    with session.decode_pool() as pool:
        had = pool.protection()
        confined = supported_formats(lambda data, request: pool.submit(data, request).result())
    lost = [name for name, trouble in supported_formats().items() if confined[name] and not trouble]
    if lost:
        detail = f"confined, they do not decode {', '.join(lost)} any more: this is a bug"
        yield Finding("decoders", Status.FAIL, f"{detail}; please report it, with your system")
        return
    status = Status.OK if had == EVERY_PROTECTION else Status.WARN
    yield Finding("decoders", status, told(had))


def check_exposure(session: Session) -> Iterator[Finding]:
    """What makes an installation less safe than it could be."""
    settings = session.settings
    for address in settings.addresses:
        yield _exposure_of(settings, address)
    if not settings.is_protected(settings.lists_address) and settings.may_export:
        detail = "whoever reaches the server can have lists (danger_export_without_tls)"
        yield Finding("exports", Status.WARN, detail)
    if settings.exact_distances:
        detail = "callers of the server are told exact distances, which helps an attacker climb"
        yield Finding("exact distances", Status.WARN, detail)
    else:
        yield Finding("exact distances", Status.OK, "not told to callers of the server")
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        yield Finding("account", Status.WARN, "runs as root; use an account of its own")
    else:
        yield Finding("account", Status.OK, session.author)
    if resource.getrlimit(resource.RLIMIT_CORE)[0] == 0:
        yield Finding("core dumps", Status.OK, "off")
    else:
        detail = "on: a crash could write uploads and hashes to disk; use `ulimit -c 0`"
        yield Finding("core dumps", Status.WARN, detail)


def _exposure_of(settings: Settings, address: str) -> Finding:
    name = "listen address" if address == settings.listen else "address of lists"
    if settings.is_protected(address):
        asked = "known clients only" if settings.requires_clients(address) else "whoever is on it"
        where = "this machine" if is_loopback(address) else "any machine, with TLS"
        return Finding(name, Status.OK, f"{address}: {where}, {asked}")
    allowed = settings.danger_listen_without_tls
    detail = f"{address} can be reached from other machines, without TLS or without credentials"
    return Finding(name, Status.WARN if allowed else Status.FAIL, detail)


def check_settings(session: Session) -> Iterator[Finding]:
    """Where settings are wrong; most other checks cannot run without them."""
    try:
        _ = session.settings
    except SettingsError as error:
        for problem in str(error).split("\n"):
            yield Finding("settings", Status.FAIL, problem)


def check_open_files(_: Session) -> Iterator[Finding]:
    """How many files a server may have open: a connection is one."""
    soft, hard = limits()
    few = hard < _ENOUGH_FILES
    advice = "; allow more: LimitNOFILE of systemd, --ulimit nofile of containers" if few else ""
    yield Finding(
        "open files",
        Status.WARN if few else Status.OK,
        f"limit {soft:,}, which a server raises to {hard:,}: {most_connections(hard):,} "
        f"connections at each port of a process{advice}",
    )


#: The checks that look at the installation alone.
CHECKS_WITHOUT_SETTINGS = frozenset({"versions", "extras", "packages", "formats", "open files"})
LOCAL_CHECKS: Mapping[str, Check] = {
    "versions": check_versions,
    "extras": check_extras,
    "packages": check_packages,
    "formats": check_formats,
    "open files": check_open_files,
    "self-test": check_hashing,
    "decoders": check_decoders,
    "data folder": check_data,
    "catalog": check_catalog,
    "snapshot": check_snapshot,
    "store": check_stores,
    "policies": check_policies,
    "access": check_access,
    "exposure": check_exposure,
}


def check_server(session: Session, address: str) -> Iterator[Finding]:
    """What the health service of a server says."""
    with session.client(address) as client:
        said = client.health()
    serving = said == "SERVING"
    yield Finding("server", Status.OK if serving else Status.FAIL, f"{address}: {said}")


def run(checks: Mapping[str, Callable[[], Iterator[Finding]]]) -> Iterator[Finding]:
    """Runs checks one after the other; one that breaks down is a finding of its own."""
    for name, check in checks.items():
        try:
            yield from check()
        except Exception as error:  # noqa: BLE001  what the doctor is there to find
            yield Finding(name, Status.FAIL, in_words(error))
