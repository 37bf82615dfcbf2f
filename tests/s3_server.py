"""A real S3 server on loopback, over a folder: objects are put there as files."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pytest

ACCESS_KEY = "test-access"
SECRET_KEY = "test-secret-of-no-worth"
_LIBRARY_VARIABLES = ("AWS_", "AZURE_", "AZURITE_", "GOOGLE_")


@dataclass(frozen=True)
class S3Server:
    """A running server: its endpoint, and the folder whose folders are its buckets."""

    endpoint: str
    root: Path

    def bucket(self, name: str) -> Path:
        """An empty bucket, as a folder to put objects in."""
        folder = self.root / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder


@contextmanager
def s3_server(root: Path) -> Iterator[S3Server]:
    """Starts `rclone serve s3` over a folder, and ends it."""
    port = _free_port()
    command = [
        str(Path(sys.executable).with_name("rclone")), "serve", "s3", str(root),
        "--addr", f"127.0.0.1:{port}", "--auth-key", f"{ACCESS_KEY},{SECRET_KEY}",
        "--config", os.devnull, "--dir-cache-time", "0s", "--vfs-cache-mode", "off",
        "--log-level", "ERROR",
    ]  # fmt: skip
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        _wait_for(port, process)
        yield S3Server(f"http://127.0.0.1:{port}", root)
    finally:
        process.terminate()
        process.wait(30)


def give_credentials(monkeypatch: pytest.MonkeyPatch, home: Path) -> None:
    """What a user's environment says, and nothing of a developer's own."""
    for name in list(os.environ):
        if name.startswith(_LIBRARY_VARIABLES):
            monkeypatch.delenv(name)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS_KEY)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET_KEY)
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(home / "config"))
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(home / "credentials"))


def _free_port() -> int:
    with socket.socket() as chosen:
        chosen.bind(("127.0.0.1", 0))
        return int(chosen.getsockname()[1])


def _wait_for(port: int, process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + 60
    while time.monotonic() < until:
        assert process.poll() is None, "the server ended at once"
        try:
            with socket.create_connection(("127.0.0.1", port), timeout=1):
                return
        except OSError:
            time.sleep(0.05)
    raise AssertionError("the server does not listen")
