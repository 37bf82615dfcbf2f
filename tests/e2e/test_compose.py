"""The two services of the Compose file as processes, with its settings and volumes as folders."""

from __future__ import annotations

import json
import os
import re
import secrets
import subprocess
import sys
import time
from contextlib import contextmanager

import pytest

from hashlists.encryption.keys import KeySource
from hashlists.encryption.layout import MAGIC
from hashlists.snapshot import current_name
from matcher.client import Client, tls_credentials
from matcher.errors import ServerError
from matcher.model import Decision
from tests.certificates import Authority
from tests.deployment import ROOT, compose, mounts
from tests.snapshot_store_support import Keys

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]
#: Only what hangs takes so many seconds, however busy the machine is.
PATIENCE = 100


class Host:
    """A folder for every volume, and what an operator lays beside the file."""

    def __init__(self, folder):
        self.folder = folder
        for name in (*compose()["volumes"], "tls", "secrets", "encryption"):
            (folder / name).mkdir(mode=0o700)
        keys = Keys(folder)
        keys.private.rename(folder / "secrets" / "snapshots.pem")
        keys.public.rename(folder / "secrets" / "snapshots.pub.pem")
        self.authority = Authority(folder)
        certificate, key = self.authority.issue_for_this_machine("server")
        certificate.rename(folder / "tls" / "server.pem")
        key.rename(folder / "tls" / "server-key.pem")
        self.keys = folder / "encryption" / "encryption.keys"
        self.keys.touch(mode=0o400)
        self.new_key()
        self.tls = tls_credentials(self.authority.file)

    def new_key(self):
        """Puts a file with another key before the others in the place of the one that is there."""
        new = self.keys.with_name("new.keys")
        new.write_text(f"{secrets.token_hex(32)}\n{self.keys.read_text()}", encoding="utf-8")
        new.chmod(0o400)
        new.replace(self.keys)

    def environment(self, name):
        """What the service finds, with folders of this machine and ports that are free."""
        service = compose()["services"][name]
        places = {inside: self.folder / outside for inside, outside in mounts(service).items()}
        places["/run/secrets"] = self.folder / "secrets"
        given = {key: str(value) for key, value in service["environment"].items()}
        given |= {"HASHWARDEN_DATA": "/data", "HASHWARDEN_ADMIN_LISTEN": "127.0.0.1:0"}
        for inside, outside in places.items():
            begins = re.compile(rf"^((?:file:|sqlite:)?/*?){inside}(?=/|$)")
            for key in given:
                given[key] = begins.sub(rf"\g<1>{outside}", given[key])
        for key in ("HASHWARDEN_LISTEN", "HASHWARDEN_LISTS_LISTEN"):
            given[key] = "127.0.0.1:0"
        given |= {f"HASHWARDEN_SNAPSHOT_{each}_SECONDS": "1" for each in ("PUBLISH", "PULL")}
        given["HASHWARDEN_DECODE_SANDBOX"] = "on"  # not every machine has what `required` needs
        return os.environ | {"PYTHONPATH": str(ROOT)} | given

    def run(self, name, *arguments):
        """What `docker compose exec NAME hashwarden ...` prints."""
        done = subprocess.run(
            [sys.executable, "-m", "matcher.cli", *arguments],
            env=self.environment(name),
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()

    @contextmanager
    def serving(self, name):
        """A service, and the address at which it matches."""
        log = self.folder / f"{name}.log"
        with log.open("wb") as stream:
            served = subprocess.Popen(
                [sys.executable, "-m", "matcher.cli", "serve"],
                env=self.environment(name),
                stdout=subprocess.PIPE,
                stderr=stream,
                text=True,
            )
        try:
            line = served.stdout.readline()
            assert line.startswith("serving on "), log.read_text()
            yield line.removeprefix("serving on ").strip()
        finally:
            served.terminate()
            served.communicate(timeout=PATIENCE)
        assert served.returncode == 0


@pytest.fixture
def host(tmp_path):
    return Host(tmp_path)


def key_names(data):
    """Of the keys that the arrays of the newest snapshot in a data folder are encrypted with."""
    snapshots = data / "snapshots"
    heads = [each.read_bytes()[:16] for each in (snapshots / current_name(snapshots)).glob("*.bin")]
    assert all(each.startswith(MAGIC) for each in heads), "an array is in clear"
    return {each.removeprefix(MAGIC) for each in heads}


def until(condition):
    end = time.monotonic() + PATIENCE
    while not (result := condition()):
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.1)
    return result


def test_what_the_builder_is_given_the_replica_matches(host, demo_folder):
    image = (demo_folder / "listed-1.jpg").read_bytes()
    imported = (str(demo_folder / "demo-list.vics.json"), "--list", "demo", "--format", "vics")
    with host.serving("builder"):
        token = host.run("builder", "clients", "add", "uploads", "--role", "match")
        host.run("builder", "lists", "import", *imported, "--harm", "test", "--source", "demo")
        with (
            host.serving("replica") as address,
            Client(address, credentials=host.tls, token=token) as client,
            Client(address, credentials=host.tls) as nobody,
        ):

            def matched():
                answer = client.match_image(image, reference="upload 1")
                return answer.result if answer.result.decision is Decision.MATCH else None

            result = until(matched)
            with pytest.raises(ServerError) as caught:
                nobody.match_image(image)
            assert caught.value.reason == "UNAUTHENTICATED"

            def kept():
                told = host.run("builder", "matches", "list", "--json", "--limit", "1")
                return json.loads(told) if told else None

            record = until(kept)
            assert (record["client"], record["reference"]) == ("uploads", "upload 1")
            assert result.matches
    assert not (host.folder / "snapshots" / "catalog.sqlite3").exists()


def test_snapshots_and_backups_are_encrypted(host, demo_folder, tmp_path):
    imported = (str(demo_folder / "demo-list.vics.json"), "--list", "demo", "--format", "vics")
    folders = [host.folder / "catalog", host.folder / "snapshots"]
    names = [each.name for each in KeySource(f"file:{host.keys}").all()]
    with host.serving("builder"):
        host.run("builder", "lists", "import", *imported, "--harm", "test", "--source", "demo")
        with host.serving("replica"):
            assert all(key_names(each) == set(names) for each in folders)
            host.new_key()
            host.run("builder", "index", "build")
            newest = KeySource(f"file:{host.keys}").newest().name
            assert newest not in names
            until(lambda: all(key_names(each) == {newest} for each in folders))
        backup = tmp_path / "catalog.hwenc"
        host.run("builder", "catalog", "backup", str(backup))
    assert backup.read_bytes().startswith(MAGIC + newest)
    host.run("builder", "--data", str(tmp_path / "restored"), "catalog", "restore", str(backup))
    assert (tmp_path / "restored" / "catalog.sqlite3").exists()


def test_without_the_key_nothing_is_built_in_clear(host):
    host.keys.unlink()
    with (
        pytest.raises(AssertionError, match=r"encryption\.keys: the keys cannot be read"),
        host.serving("builder"),
    ):
        pass
    assert not list(host.folder.rglob("*.bin"))
