"""Hypothesis profiles, and what all tests share.

Pictures come from scikit-image's bundled photographs (public domain or freely licensed) or are
drawn from a seed; no test ever reads another image. A test may talk to loopback only.
"""

from __future__ import annotations

import ipaddress
import os
import socket
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import HealthCheck, settings

from hashlists.catalog import Catalog, on_postgresql
from hashlists.catalog.engine import migrator, open_engine
from hashlists.catalog.migrate import fill
from hashlists.catalog.schema import metadata
from tests.postgresql_server import PostgresqlServer, find_binaries

if TYPE_CHECKING:
    from collections.abc import Iterator

# `dev` while writing, `ci` in `make test`, `long` in `make test-long` before a release.
settings.register_profile("dev", max_examples=25, deadline=None)
settings.register_profile(
    "ci",
    max_examples=60,
    deadline=None,
    derandomize=True,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow],
)
settings.register_profile(
    "long",
    max_examples=5_000,
    deadline=None,
    print_blob=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "dev"))


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


@pytest.fixture(autouse=True)
def _loopback_only(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing that Python's own sockets do in a test leaves the machine."""
    connect, connect_ex = socket.socket.connect, socket.socket.connect_ex

    def checked_connect(self: socket.socket, address: Any) -> None:
        _check_address(address)
        connect(self, address)

    def checked_connect_ex(self: socket.socket, address: Any) -> int:
        _check_address(address)
        return connect_ex(self, address)

    monkeypatch.setattr(socket.socket, "connect", checked_connect)
    monkeypatch.setattr(socket.socket, "connect_ex", checked_connect_ex)


@pytest.fixture(autouse=True)
def _no_settings_from_outside(monkeypatch: pytest.MonkeyPatch) -> None:
    """A developer's own HASHWARDEN_* variables change no test."""
    for name in [name for name in os.environ if name.startswith("HASHWARDEN_")]:
        monkeypatch.delenv(name)


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
_RESTART = "SELECT setval(sequencename::regclass, 1, false) FROM pg_sequences"


def _empty(server: PostgresqlServer, database: str) -> None:
    """Deletes all rows, and the files only where they have grown: making new ones takes longer."""
    ((size,),) = server.run_sql(_SIZE, database=database)
    names = [table.name for table in reversed(metadata.sorted_tables)]
    if size > _LARGE:
        emptying = [f"TRUNCATE {', '.join(names)}"]
    else:
        emptying = ["; ".join(f"DELETE FROM {name}" for name in names)]
    server.run_sql(*emptying, _RESTART, database=database)


@pytest.fixture
def postgresql_url(
    postgresql_server: PostgresqlServer,
    postgresql_database: str,
    monkeypatch: pytest.MonkeyPatch,
) -> str:
    """URL of an empty catalog in PostgreSQL, with an identity of its own."""
    monkeypatch.setattr(on_postgresql, "_PAUSES_SECONDS", (0.0,))  # nobody follows it
    _empty(postgresql_server, postgresql_database)
    url = postgresql_server.url(postgresql_database)
    engine = open_engine(url)
    with migrator(engine).begin() as connection:
        fill(connection)
    engine.dispose()
    return url
