"""Why a PostgreSQL server lets nobody in is told apart, with what to do, and never a password."""

from __future__ import annotations

import datetime as dt
import os
import socket
import time
import traceback
from typing import TYPE_CHECKING

import psycopg
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from hashlists.catalog import Catalog
from hashlists.catalog.postgresql_errors import as_catalog_error
from hashlists.catalog.postgresql_refusals import explain_refusal
from hashlists.errors import CatalogAwayError, CatalogError
from tests.postgresql_server import PostgresqlServer, find_binaries

if TYPE_CHECKING:
    from pathlib import Path

PASSWORD = "hunter2-of-the-keeper"
HBA = """
local   all      hashwarden  trust
local   nosuch   all         trust
local   catalog  ghost       trust
local   catalog  nologin     trust
local   catalog  keeper      scram-sha-256
local   closed   keeper      scram-sha-256
local   catalog  stranger    peer
hostssl catalog  keeper      127.0.0.1/32  scram-sha-256
"""


def certificate(host: str) -> tuple[bytes, bytes]:
    """A key and a certificate for `host` that signs itself, in PEM."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=2))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    private = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    return private, made.public_bytes(Encoding.PEM)


def free_port() -> int:
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return int(bound.getsockname()[1])


def write(path: Path, content: bytes, *, like: Path) -> None:
    """Writes a file as the server's account would; it refuses keys of another."""
    owner = like.stat()
    path.write_bytes(content)
    path.chmod(0o600)
    os.chown(path, owner.st_uid, owner.st_gid)


@pytest.fixture(scope="module")
def server():
    """A server that listens on loopback too, and speaks TLS as db.example."""
    binaries = find_binaries()
    if binaries is None:
        pytest.skip("PostgreSQL is not installed (Debian: postgresql)")
    port = str(free_port())
    made = PostgresqlServer(binaries, listen_addresses="127.0.0.1", port=port)
    try:
        private, public = certificate("db.example")
        write(made.data / "server.key", private, like=made.data)
        write(made.data / "server.crt", public, like=made.data)
        write(made.data / "pg_hba.conf", HBA.encode(), like=made.data)
        made.run_sql(
            f"CREATE ROLE keeper LOGIN PASSWORD '{PASSWORD}'",
            *("CREATE ROLE nologin", "CREATE ROLE stranger LOGIN"),
            *("CREATE DATABASE catalog OWNER keeper", "CREATE DATABASE closed"),
            "REVOKE ALL ON DATABASE closed FROM PUBLIC",
            *("ALTER SYSTEM SET ssl = on", "SELECT pg_reload_conf()"),
        )
        give_up = time.monotonic() + 60
        while made.run_sql("SHOW ssl") != [("on",)]:
            assert time.monotonic() < give_up
            time.sleep(0.02)
        yield made
    finally:
        made.close()


@pytest.fixture(scope="module")
def roots(server, tmp_path_factory):
    """Files of authorities: the server's own, and another."""
    folder = tmp_path_factory.mktemp("roots")
    (folder / "own.pem").write_bytes((server.data / "server.crt").read_bytes())
    (folder / "other.pem").write_bytes(certificate("elsewhere.example")[1])
    return folder


def refusal(url: str) -> str:
    with pytest.raises(CatalogError) as caught:
        Catalog.open(url)
    printed = "".join(traceback.format_exception(caught.value))
    assert PASSWORD not in printed
    assert "wrong-one" not in printed
    return str(caught.value)


BY_SOCKET = {
    "a wrong password": ("keeper:wrong-one", "catalog", "the password is wrong"),
    "no password": ("keeper", "catalog", "none was given: put it into ~/.pgpass"),
    "an unknown role": ("ghost", "catalog", "no user of that name: create it first"),
    "a role that may not log in": ("nologin", "catalog", "ALTER ROLE ... LOGIN"),
    "an unknown database": ("hashwarden", "nosuch", "no database of that name: create it first"),
    "no right to connect": (f"keeper:{PASSWORD}", "closed", "GRANT CONNECT ON DATABASE"),
    "no line in pg_hba.conf": ("stranger", "postgres", "add a line to its pg_hba.conf"),
    "another account": ("stranger", "catalog", "run as the account of that name"),
}


@pytest.mark.parametrize("case", BY_SOCKET.values(), ids=BY_SOCKET)
def test_what_refuses_a_login_is_told(server, case):
    user, database, told = case
    url = f"postgresql+psycopg://{user}@/{database}?host={server.folder}&port={server.port}"
    assert told in refusal(url)


BY_TLS = {
    "without TLS": ("sslmode=disable", "ask for TLS in the catalog's URL"),
    "an unknown authority": (
        "sslmode=verify-full&sslrootcert={roots}/other.pem",
        "signed by no authority in sslrootcert",
    ),
    "another host's": (
        "sslmode=verify-full&sslrootcert={roots}/own.pem",
        "of another host name than the catalog's URL",
    ),
    "no file of authorities": (
        "sslmode=verify-full&sslrootcert={roots}/missing.pem",
        "is missing or holds none",
    ),
}


@pytest.mark.parametrize("case", BY_TLS.values(), ids=BY_TLS)
def test_what_refuses_a_connection_over_tls_is_told(server, roots, case):
    query, told = case
    url = f"postgresql+psycopg://keeper:{PASSWORD}@127.0.0.1:{server.port}/catalog"
    assert told in refusal(f"{url}?{query.format(roots=roots)}")


def test_what_is_right_is_let_in(server, roots):
    url = f"postgresql+psycopg://keeper:{PASSWORD}@127.0.0.1:{server.port}/catalog"
    query = f"sslmode=verify-ca&sslrootcert={roots}/own.pem"
    with Catalog.open(f"{url}?{query}") as catalog:
        assert catalog.head() == 0


def test_a_port_where_nobody_listens_is_told():
    told = refusal(f"postgresql+psycopg://keeper:{PASSWORD}@127.0.0.1:{free_port()}/catalog")
    assert "cannot be reached" in told


@pytest.mark.parametrize(
    ("message", "told"),
    [
        ("failed to resolve host 'db.invalid': Name or service not known", "name service"),
        ("connection timeout expired", "does not answer"),
        ("server does not support SSL, but SSL was required", "does not speak TLS"),
        ('FATAL:  certificate authentication failed for user "x"', "client certificate"),
        ('FATAL:  GSSAPI authentication failed for user "x"', "refused the login"),
        ("SSL error: tlsv1 alert unknown ca", "compare sslmode"),
        ('FATAL:  Kein Eintrag in pg_hba.conf f\u00fcr Host "x"', "its log says why"),
        ("server closed the connection unexpectedly", "cannot be reached"),
    ],
)
def test_words_of_library_and_server(message, told):
    advice = explain_refusal(f'connection to server at "h", port 5432 failed: {message}')
    assert told in advice


@pytest.mark.parametrize(
    ("said", "kind"),
    [
        ("connection failed: Connection refused", CatalogAwayError),
        ("connection timeout expired", CatalogAwayError),
        ("failed to resolve host 'db': Name or service not known", CatalogAwayError),
        ("FATAL:  the database system is starting up", CatalogAwayError),
        ("FATAL:  the database system is shutting down", CatalogAwayError),
        ('FATAL:  password authentication failed for user "x"', CatalogError),
        ('FATAL:  database "x" does not exist', CatalogError),
        ("FATAL:  something else", CatalogError),
    ],
)
def test_what_may_pass_by_itself_is_told_apart(said: str, kind: type[CatalogError]) -> None:
    """A server that starts waits for the one, and ends with the other."""
    error = as_catalog_error(psycopg.OperationalError(said))
    assert type(error) is kind
    assert error.reason == "CATALOG_UNAVAILABLE"


def test_an_error_of_a_made_connection_is_no_absence() -> None:
    assert type(as_catalog_error(psycopg.errors.AdminShutdown("the words"))) is CatalogError
