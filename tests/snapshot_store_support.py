"""Snapshots, keys and real store servers on loopback for the tests of publishing and pulling."""

from __future__ import annotations

import logging
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING

import numpy as np
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from hashlists.snapshot import SnapshotWriter, open_current
from hashlists.snapshot.objects import StoreOptions

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    import pytest

#: Gives up at once where it is refused; a busy machine may take long to answer.
HASTY = StoreOptions(connect_seconds=30, request_seconds=100, retries=1, retry_seconds=3)

_LIBRARY_VARIABLES = ("AWS_", "AZURE_", "AZURITE_", "GOOGLE_")


class Keys:
    """A builder's private key and its public one, as files."""

    def __init__(self, folder: Path, name: str = "builder") -> None:
        key = Ed25519PrivateKey.generate()
        self.private = folder / f"{name}.pem"
        self.public = folder / f"{name}.pub.pem"
        self.private.write_bytes(
            key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        )
        self.private.chmod(0o600)
        self.public.write_bytes(
            key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        )


def build(
    root: Path, revision: int, *, shared: int = 1000, purge: str = "", catalog: str = "test"
) -> Path:
    """Publishes a local snapshot: `base` is the same in all, `recent` is the revision's own.

    It says that the purge of that name was the last one before it, and which catalog it is of.
    """
    with SnapshotWriter(root, revision=revision) as writer:
        before = open_current(root)
        if before is None:
            writer.add_array("base.codes", np.arange(shared, dtype=np.int64))
        else:
            writer.link_array("base.codes", before)
        writer.add_array("recent.codes", np.full((10, 4), revision, np.uint32))
        writer.add_array("recent.dead", np.empty(0, np.uint32))
        writer.add_document("lists", [{"revision": revision}])
        parameters = {"catalog_id": catalog, "purge_mark": purge}
        return writer.publish(parameters, allow_older=True)


def revision_of_arrays(root: Path) -> int:
    """Opens what is current, verifying it, and reads its revision from an array."""
    opened = open_current(root)
    assert opened is not None
    assert opened.arrays["base.codes"].tolist() == list(range(len(opened.arrays["base.codes"])))
    revision = int(opened.arrays["recent.codes"][0, 0])
    assert opened.documents["lists"] == [{"revision": revision}]
    assert opened.revision == revision
    return revision


def folders(root: Path) -> list[str]:
    """What lies below a folder of snapshots, files of bookkeeping apart."""
    return sorted(each.name for each in root.iterdir() if each.is_dir())


# ---------------------------------------------------------------------------------------- servers


def forget_credentials(monkeypatch: pytest.MonkeyPatch) -> None:
    """Drops what a developer's own environment would tell the storage library."""
    for name in list(os.environ):
        if name.startswith(_LIBRARY_VARIABLES):
            monkeypatch.delenv(name)


def s3_server(monkeypatch: pytest.MonkeyPatch) -> str:
    """An S3 server that holds nothing yet; gives the URL of a bucket's prefix."""
    endpoint = _s3_endpoint()
    point_s3_at(monkeypatch, endpoint)
    _request("POST", f"{endpoint}/moto-api/reset")
    _request("PUT", f"{endpoint}/snapshots")
    return "s3://snapshots/production"


@cache
def _s3_endpoint() -> str:
    """A server in a thread, which all tests of this process use in turn; it ends with that."""
    from moto.server import ThreadedMotoServer

    logging.getLogger("werkzeug").setLevel(logging.ERROR)
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    return "http://{}:{}".format(*server.get_host_and_port())


def point_s3_at(monkeypatch: pytest.MonkeyPatch, endpoint: str) -> None:
    """Tells the storage library where S3 is, by its own variables."""
    forget_credentials(monkeypatch)
    monkeypatch.setenv("AWS_ENDPOINT", endpoint)
    monkeypatch.setenv("AWS_ALLOW_HTTP", "true")
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "test-secret")


@contextmanager
def azure_server(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Iterator[str]:
    """An Azure Blob Storage server of its own process (`azurite-blob`)."""
    forget_credentials(monkeypatch)
    port = _free_port()
    command = [str(shutil.which("azurite-blob")), "--blobHost", "127.0.0.1", "--silent"]
    command += ["--blobPort", str(port), "--location", str(folder), "--skipApiVersionCheck"]
    endpoint = f"http://127.0.0.1:{port}"
    with _running([*command, "--disableTelemetry"], f"{endpoint}/devstoreaccount1?comp=list"):
        monkeypatch.setenv("AZURITE_BLOB_STORAGE_URL", endpoint)
        monkeypatch.setenv("AZURE_STORAGE_USE_EMULATOR", "true")
        _make_azure_container(endpoint)
        yield "az://snapshots/production"


def _make_azure_container(endpoint: str) -> None:
    """Makes the container by a request signed with the emulator's published key."""
    import base64
    import hashlib
    import hmac
    from email.utils import formatdate

    key = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="
    headers = {"x-ms-date": formatdate(usegmt=True), "x-ms-version": "2021-08-06"}
    signed = (
        "PUT" + "\n" * 12 + "".join(f"{name}:{value}\n" for name, value in sorted(headers.items()))
    )
    signed += "/devstoreaccount1/devstoreaccount1/snapshots\nrestype:container"
    digest = hmac.new(base64.b64decode(key), signed.encode(), hashlib.sha256).digest()
    headers["Authorization"] = f"SharedKey devstoreaccount1:{base64.b64encode(digest).decode()}"
    headers["Content-Length"] = "0"
    _request("PUT", f"{endpoint}/devstoreaccount1/snapshots?restype=container", headers=headers)


@contextmanager
def _running(command: list[str], probe: str) -> Iterator[None]:
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while True:
            assert process.poll() is None, "the store's server ended"
            try:
                _request("GET", probe)
            except urllib.error.HTTPError:
                break  # it answers
            except OSError:
                assert time.monotonic() < deadline, "the store's server does not answer"
                time.sleep(0.05)
            else:
                break
        yield
    finally:
        process.terminate()
        process.wait(60)


def _request(
    method: str, url: str, data: bytes | None = None, headers: dict[str, str] | None = None
) -> None:
    request = urllib.request.Request(url, data, headers or {}, method=method)
    with urllib.request.urlopen(request, timeout=60) as answer:
        answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
