"""Hypothesis profiles, and what all tests share.

Pictures come from scikit-image's bundled photographs (public domain or freely licensed) or are
drawn from a seed; no test ever reads another image. A test may talk to loopback only.
"""

from __future__ import annotations

import gc
import ipaddress
import os
import shutil
import socket
import sqlite3
import sys
from collections import Counter
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from sqlalchemy import make_url, util
from sqlalchemy.sql.elements import ClauseElement

from hashlists.catalog import Catalog, migrate, on_sqlite, postgresql_wipe
from hashlists.catalog.engine import migrator, open_engine
from hashlists.catalog.migrate import fill
from hashlists.catalog.schema import metadata
from matcher.decode import choosing
from matcher.decode.pool import InProcessPool
from tests.compiled_once import arguments_of, compile_once
from tests.postgresql_server import PostgresqlServer, find_binaries
from tests.quick_folder import quick_folder
from tests.ready_schema import make_tables, run_migrations
from tests.s3_server import s3_server

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sqlalchemy import Connection, Engine

    from tests.s3_server import S3Server

# Modules are compiled once, whatever the environment says: else each run would compile every test,
# and each of the many processes that tests start all of the product.
sys.dont_write_bytecode = False
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)

# Where `tmp_path` lies, if nothing else was asked for.
os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", str(quick_folder()))

# `dev` while writing, `everyday` in `make test`, `ci` in .ci/run, `long` in `make test-long` before
# a release.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile(
    "everyday",
    max_examples=25,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile("ci", settings.get_profile("everyday"), max_examples=60)
settings.register_profile(
    "long",
    max_examples=5_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


# Tests that repeat much, or kill what they start: what they run is measured in the other tests.
_UNMEASURED = ("property", "fault")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Measures no coverage where it would double the time and tell nothing new."""
    for item in items:
        if item.path.parent.name in _UNMEASURED:
            item.add_marker("no_cover")


def pytest_collection_finish() -> None:
    """What was collected stays to the end: to look through it for cycles takes half a second."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="module", autouse=True)
def _unmeasured_children(request: pytest.FixtureRequest) -> Iterator[None]:
    """Processes of such tests measure nothing, either; those killed would leave torn data."""
    with pytest.MonkeyPatch.context() as patch:
        if request.path.parent.name in _UNMEASURED:
            for name in ("COVERAGE_PROCESS_START", "COVERAGE_PROCESS_CONFIG"):
                patch.delenv(name, raising=False)
        yield


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item: pytest.Item) -> None:
    """An error that is a parameter lives as long as the run: it lets go of where it was raised."""
    for value in getattr(getattr(item, "callspec", None), "params", {}).values():
        if isinstance(value, BaseException):
            value.__traceback__ = value.__context__ = None


@pytest.hookimpl(trylast=True, wrapper=True)
def pytest_runtestloop(session: pytest.Session) -> Iterator[object]:
    """Removes torn coverage data before it is combined: of processes killed while they wrote it."""
    outcome = yield
    if not hasattr(session.config, "workerinput"):
        for file in session.config.rootpath.glob(".coverage.*"):
            if not _is_whole(file):
                file.unlink(missing_ok=True)
    return outcome


def _is_whole(file: Path) -> bool:
    try:
        with closing(sqlite3.connect(file)) as database:
            return database.execute("SELECT count(*) FROM coverage_schema").fetchone() == (
                1,
            ) and database.execute("PRAGMA quick_check").fetchone() == ("ok",)
    except sqlite3.DatabaseError:
        return False


_MOST_OPEN_FILES = 512  # far above what any module needs, and half of what most systems allow
#: By one module: a log or a traceback may hold the mapped arrays of its last test.
_MOST_LEFT_OPEN = 128


class LeftBehindError(AssertionError):
    """What earlier tests left: `.ci/steady_tests.py` knows that no test finds this alone."""


def _require(condition: bool, problem: str) -> None:
    if not condition:
        raise LeftBehindError(problem)


def _open_files() -> Counter[str]:
    """What this process has open, by the name it was opened under."""
    names: Counter[str] = Counter()
    for handle in Path("/proc/self/fd").iterdir():
        with suppress(OSError):
            names[str(handle.readlink())] += 1
    return names


@pytest.fixture(scope="session")
def _open_before() -> Iterator[list[tuple[str, Counter[str]]]]:
    """What was open when a module began, with its name."""
    modules: list[tuple[str, Counter[str]]] = []
    yield modules
    _require(_open_files().total() <= _MOST_OPEN_FILES, "too many files are open at the end")


@pytest.fixture(scope="module", autouse=True)
def _no_files_left_open(
    request: pytest.FixtureRequest, _open_before: list[tuple[str, Counter[str]]]
) -> None:
    """A module must not leave files open: a server that did would come to its limit.

    It is judged where the next one begins, since pytest holds what its last test had until then.
    """
    now = _open_files()
    if _open_before:
        module, before = _open_before.pop()
        if (now - before).total() > _MOST_LEFT_OPEN:
            gc.collect()  # mapped arrays in cycles are nobody's leak
            now = _open_files()
        left = now - before
        most = left.most_common(5)
        _require(left.total() <= _MOST_LEFT_OPEN, f"{module} left open: {most}")
        _require(now.total() <= _MOST_OPEN_FILES, f"after {module}: {now.most_common(5)}")
    _open_before.append((request.node.nodeid, now))


class NetworkUsedError(AssertionError):
    """A test, or the product under test, tried to leave the machine."""


def _check_address(address: Any) -> None:
    """Lets Unix sockets and loopback pass.

    Raises:
        NetworkUsedError: for any other address, host names that need looking up included.
    """
    if not isinstance(address, tuple):
        return
    host = str(address[0])
    if host in {"localhost", ""}:
        return
    try:
        loopback = ipaddress.ip_address(host.partition("%")[0]).is_loopback
    except ValueError:
        loopback = False
    if not loopback:
        raise NetworkUsedError("tests talk to loopback only")


@pytest.fixture(scope="session", autouse=True)
def _loopback_only() -> Iterator[None]:
    """Nothing that Python's own sockets do in a test leaves the machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked_connect(self: socket.socket, address: Any) -> None:
        _check_address(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _check_address(address)
        return connect_ex(self, address)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", checked_connect)
        patch.setattr(socket.socket, "connect_ex", checked_connect_ex)
        yield


@pytest.fixture(scope="session", autouse=True)
def _no_settings_from_outside() -> Iterator[None]:
    """A developer's own HASHWARDEN_* variables change no test."""
    with pytest.MonkeyPatch.context() as patch:
        for name in [name for name in os.environ if name.startswith("HASHWARDEN_")]:
            patch.delenv(name)
        yield


@pytest.fixture(scope="session", autouse=True)
def _migrated_once() -> Iterator[None]:
    """Running the migrations for the catalog of each test takes longer than most tests."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(migrate, "_upgrade", make_tables)
        yield


@pytest.fixture(scope="session", autouse=True)
def _decoders_in_threads() -> Iterator[None]:
    """Servers and commands in this process start no decoders of their own, which takes a while.

    Those that are processes of their own do, and so do the tests of the sandbox.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            choosing, "_in_processes", lambda limits, _, workers: InProcessPool(limits, workers)
        )
        yield


@pytest.fixture
def sandboxed_decoders(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of servers and commands in this process with decoders as they are elsewhere."""
    monkeypatch.setattr(choosing, "_in_processes", _IN_PROCESSES)


@pytest.fixture(scope="session", autouse=True)
def _compiled_once() -> Iterator[None]:
    """Almost every test opens a catalog of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ClauseElement, "_compile_w_cache", compile_once)
        patch.setattr(util, "get_cls_kwargs", arguments_of)
        yield


_IN_PROCESSES = choosing._in_processes
_DURABLE = on_sqlite._PRAGMAS


@pytest.fixture(scope="session", autouse=True)
def _no_wait_for_the_disk() -> Iterator[None]:
    """No power is cut here: what is written into SQLite need not reach the disk."""
    with pytest.MonkeyPatch.context() as patch:
        hurried = tuple(
            each.replace("synchronous = FULL", "synchronous = OFF") for each in _DURABLE
        )
        patch.setattr(on_sqlite, "_PRAGMAS", hurried)
        yield


@pytest.fixture
def waits_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of what survives a cut of power."""
    monkeypatch.setattr(on_sqlite, "_PRAGMAS", _DURABLE)


@pytest.fixture
def real_migrations(monkeypatch: pytest.MonkeyPatch) -> None:
    """For tests of how a new catalog comes about."""
    monkeypatch.setattr(migrate, "_upgrade", run_migrations)


@pytest.fixture
def rng() -> np.random.Generator:
    """A seeded generator, fresh for each test."""
    return np.random.default_rng(20260101)


@pytest.fixture(scope="session")
def photographs() -> dict[str, np.ndarray]:
    """scikit-image's bundled colour photographs by name, (H, W, 3) uint8 RGB, read-only."""
    from skimage import data

    pictures = {
        name: np.ascontiguousarray(getattr(data, name)()[..., :3])
        for name in ("astronaut", "chelsea", "coffee", "rocket")
    }
    for picture in pictures.values():
        picture.setflags(write=False)
    return pictures


@pytest.fixture(scope="session")
def demo_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The demo's pictures and their list, painted once: who changes any of it copies it first."""
    from matcher import demo

    folder = tmp_path_factory.mktemp("demo")
    demo.write_demo(folder)
    return folder


@pytest.fixture(scope="session")
def _begun_data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    from matcher.builtin_list import ensure_test_list
    from matcher.follow.snapshots import build_snapshot
    from matcher.settings import load_settings

    folder = tmp_path_factory.mktemp("begun")
    settings = load_settings(folder, environ={})
    with Catalog.open(settings.catalog_url) as catalog:
        ensure_test_list(catalog)
        build_snapshot(catalog, settings.snapshots_dir)
    return folder


@pytest.fixture
def begun_data(_begun_data: Path, tmp_path: Path) -> Path:
    """A data folder as a server's first start leaves it, so that another need not build."""
    return shutil.copytree(_begun_data, tmp_path / "begun", symlinks=True)


@pytest.fixture(scope="session")
def postgresql_server() -> Iterator[PostgresqlServer]:
    """A server that these tests share."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql), so no catalog is kept in it")
    server = PostgresqlServer(binaries)
    yield server
    server.close()


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: PostgresqlServer) -> str:
    """One catalog that the tests use in turn: making a database for each takes them too long."""
    name = postgresql_server.make_database()
    Catalog.open(postgresql_server.url(name)).close()
    return name


_LARGE = 4 << 20
_SIZE = (
    "SELECT sum(pg_relation_size(oid)) FROM pg_class WHERE relnamespace = 'public'::regnamespace"
)
#: Nothing refers to what is gone, since everything goes.
_UNCHECKED = "SET LOCAL session_replication_role = replica"
_RESTART = "SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences"


def _empty(connection: Connection) -> None:
    """Deletes all rows, and the files only where they have grown: making new ones takes longer."""
    names = [table.name for table in reversed(metadata.sorted_tables)]
    if connection.exec_driver_sql(_SIZE).scalar_one() > _LARGE:
        connection.exec_driver_sql(f"TRUNCATE {', '.join(names)}")
    else:
        deletions = "; ".join(f"DELETE FROM {name}" for name in names)
        connection.exec_driver_sql(f"{_UNCHECKED}; {deletions}")
    connection.exec_driver_sql(_RESTART)


@pytest.fixture(scope="session")
def _kept_sessions(postgresql_server: PostgresqlServer, postgresql_database: str) -> Iterator[None]:
    """To begin a session takes longer than what most tests do in it."""
    from tests.kept_sessions import KeptSessions

    kept = KeptSessions(make_url(postgresql_server.url(postgresql_database)))
    with pytest.MonkeyPatch.context() as patch:
        kept.install(patch)
        yield
    kept.close()


@pytest.fixture(scope="session")
def _emptier(
    postgresql_server: PostgresqlServer, postgresql_database: str, _kept_sessions: None
) -> Iterator[Engine]:
    """Keeps its connection: to begin one takes longer than to delete what most tests leave."""
    engine = open_engine(postgresql_server.url(postgresql_database))
    yield migrator(engine)
    engine.dispose()


@pytest.fixture
def nobody_follows(monkeypatch: pytest.MonkeyPatch) -> None:
    """A wipe need not wait until followers have seen what it is for."""
    monkeypatch.setattr(postgresql_wipe, "_PAUSES_SECONDS", (0.0,))


@pytest.fixture
def postgresql_url(
    postgresql_server: PostgresqlServer,
    postgresql_database: str,
    _emptier: Engine,
    nobody_follows: None,
) -> str:
    """URL of an empty catalog in PostgreSQL, with an identity of its own."""
    with _emptier.begin() as connection:
        _empty(connection)
        fill(connection)
    return postgresql_server.url(postgresql_database)


@pytest.fixture(scope="session")
def s3_store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    """A real S3 server; tests empty the buckets that they use."""
    with s3_server(tmp_path_factory.mktemp("s3")) as server:
        yield server
