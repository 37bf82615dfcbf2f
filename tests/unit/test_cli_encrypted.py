"""Commands over encrypted snapshots: they work with the keys, and nothing of a list is in clear."""

from __future__ import annotations

import hashlib
import json
import os
from contextlib import contextmanager

import numpy as np
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
)

from hashlists import snapshot as snapshots
from hashlists.catalog import Catalog
from hashlists.encryption.keys import KeySource, shown
from hashlists.snapshot.store import push
from matcher import cli
from matcher.cli import catalog_checks, store_checks
from matcher.cli.context import Session
from matcher.cli.finding import Status
from matcher.follow.snapshots import build_snapshot
from tests.snapshot_store_support import Keys

ONE, TWO = "11" * 32, "22" * 32
LIST = ("--list", "demo", "--harm", "test", "--source", "Us")
COLUMNS = ("--column=md5=md5", "--column=pdq=pdq", "--column=source_id=id")
JSONL = ("--format", "jsonl")
EXPORT = ("--list", "demo", "--own-copy", *JSONL)
PURGE = ("lists", "purge", "demo", "--source-id", "M-3", "--reason", "an order", "--yes", "--json")


class InProcess:
    """Builds here rather than in a child process, which the end-to-end tests start."""

    def __init__(self, catalog_url, snapshots_dir, *, publication=None, vault=None):
        self._url, self._root, self._vault = catalog_url, snapshots_dir, vault

    def build(self, order):
        with Catalog.open(self._url) as catalog:
            return build_snapshot(
                catalog, self._root, full=order.full, seen=order.seen, vault=self._vault
            ).name


def values(number):
    """The MD5 and the PDQ hash of an entry."""
    return hashlib.md5(b"%d" % number).digest(), np.random.default_rng(number).bytes(32)


@pytest.fixture
def use(monkeypatch):
    """Has commands use these keys from now on."""

    def used(*keys):
        monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"keys:{','.join(keys)}" if keys else "")

    return used


@pytest.fixture
def data(tmp_path):
    return tmp_path / "data"


@pytest.fixture
def run(data, use, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr("matcher.follow.child.ChildProcess", InProcess)
    use(ONE)

    def ran(*arguments, status=0):
        got = cli.main(["--data", str(data), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        assert "this is a bug" not in captured.err
        return captured

    rows = (f"{values(n)[0].hex()},{values(n)[1].hex()},M-{n}" for n in range(8))
    (tmp_path / "list.csv").write_text("\n".join(["md5,pdq,id", *rows]) + "\n")
    ran("lists", "import", str(tmp_path / "list.csv"), *LIST, *COLUMNS)
    ran("index", "build")
    return ran


def lying_there(data):
    """What lies in the data folder, but for the catalog in use, which is not encrypted."""
    return {
        path: path.read_bytes()
        for path in data.rglob("*")
        if path.is_file() and not path.name.startswith("catalog.sqlite3")
    }


def opened_files(folder, key):
    """What every file of a snapshot says to whoever has the key."""
    found = snapshots.open_snapshot(folder, vault=Session(folder).vault)
    assert found.manifest["encryption"]["key"] == KeySource(f"keys:{key}").newest().name.hex()
    return [array.tobytes() for array in found.arrays.values()]


def test_nothing_of_a_list_lies_in_clear_beside_the_catalog(run, data):
    run("index", "status")
    run("catalog", "backup", str(data / "backup"))
    stored = lying_there(data)
    assert any("snapshot-" in str(path) for path in stored)
    for number in range(8):
        for value in values(number):
            for path, content in stored.items():
                assert value not in content, path
                assert value.hex().encode() not in content, path
    # The very same search finds them where they are: in the catalog, and with the key.
    assert values(3)[1] in (data / "catalog.sqlite3").read_bytes()
    (folder,) = (data / "snapshots").glob("snapshot-*")
    assert any(values(3)[1] in each for each in opened_files(folder, ONE))


def test_verify_compares_what_is_encrypted(run):
    lines = run("index", "verify", "--json").out.splitlines()
    assert json.loads(lines[-1])["holds"] is True
    assert json.loads(lines[-2])["compared"] is True


@pytest.mark.parametrize("keys", [(), (TWO,)], ids=["no keys", "another key"])
def test_without_the_key_commands_say_which_is_missing(run, use, data, keys):
    use(*keys)
    name = shown(KeySource(f"keys:{ONE}").newest().name)
    told = run("index", "verify", status=1).err.replace("\n", " ")
    assert f"is encrypted with key {name}" in told
    assert name in run("index", "status", status=1).out
    before = snapshots.current_name(data / "snapshots")
    assert name in run("index", "build", status=2).err
    assert snapshots.current_name(data / "snapshots") == before
    use(ONE)
    run("index", "verify")


def test_damage_is_found(run, data):
    (folder,) = (data / "snapshots").glob("snapshot-*")
    file = folder / "base.pdq.codes.bin"
    content = bytearray(file.read_bytes())
    content[-20] ^= 1
    file.write_bytes(content)
    assert "base.pdq.codes.bin" in run("index", "verify", status=1).err
    run("index", "build")
    run("index", "verify")


def test_an_erasure_leaves_nothing_that_the_key_opens(run, use, data):
    (before,) = (data / "snapshots").glob("snapshot-*")
    use(TWO, ONE)
    run("index", "build")  # under a newer key, with the older snapshot beside it
    assert before.exists()
    done = run(*PURGE)
    assert "built anew" in json.loads(done.out)["snapshots"]
    (folder,) = (data / "snapshots").glob("snapshot-*")
    told = opened_files(folder, TWO)
    for value in values(3):
        assert not any(value in each for each in told)
        assert not any(value in each.read_bytes() for each in data.rglob("*") if each.is_file())
    assert any(values(4)[1] in each for each in told)


def test_an_erasure_without_the_key_is_not_finished(run, use, data):
    use(TWO)
    told = run(*PURGE, status=2)
    assert "snapshots" in json.loads(told.out)
    assert "encrypted" in told.err
    use(ONE)
    run("index", "build")
    (folder,) = (data / "snapshots").glob("snapshot-*")
    assert not any(values(3)[1] in each for each in opened_files(folder, ONE))


def test_doctor_tells_the_keys_and_what_is_encrypted_with_which(run, use, data):
    def look():
        found = list(catalog_checks.check_snapshot(Session(data)))
        return [(each.status, each.detail) for each in found if each.check == "encryption"]

    one, two = (shown(KeySource(f"keys:{each}").newest().name) for each in (ONE, TWO))
    ((status, detail),) = look()
    assert status is Status.OK
    assert one in detail
    use(TWO, ONE)
    ((status, detail),) = look()
    assert status is Status.WARN
    assert f"older key {one}" in detail
    assert f"2 keys, the newest first: {two}, {one}" in detail
    run("index", "build")
    assert look()[0][0] is Status.OK


def test_doctor_at_a_replica_tells_that_it_lacks_the_key_of_what_is_published(
    run, use, data, tmp_path, monkeypatch
):
    signing = Keys(tmp_path)
    run("index", "build")
    current = data / "snapshots" / snapshots.current_name(data / "snapshots")
    push(current, f"file://{tmp_path}/store", signing_key=signing.private)
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PULL_URL", f"file://{tmp_path}/store")
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_VERIFY_KEY", str(signing.public))

    def store():
        found = store_checks.check_stores(Session(tmp_path / "replica"))
        return next((each.status, each.detail) for each in found if each.check == "store")

    assert store()[0] is Status.WARN  # a running server would pull it
    use(TWO)
    status, told = store()
    assert (status, f"key {shown(KeySource(f'keys:{ONE}').newest().name)}" in told) == (
        Status.FAIL,
        True,
    )
    assert "a running server pulls it" not in told
    use()
    assert store()[0] is Status.FAIL


def test_doctor_tells_what_is_not_encrypted_though_keys_are_set(run, use, data):
    use()
    (data / "snapshots" / "current").unlink()
    run("index", "build")
    use(ONE)
    (found,) = (
        each for each in catalog_checks.check_snapshot(Session(data)) if each.check == "encryption"
    )
    assert found.status is Status.WARN
    assert "not at all" in found.detail


def test_doctor_looks_at_the_keys_before_anything_is_built(run, data, tmp_path, monkeypatch):
    (data / "snapshots" / "current").unlink()
    monkeypatch.setenv("HASHWARDEN_ENCRYPTION_KEYS", f"file:{tmp_path / 'missing.keys'}")
    told = run("doctor", "--json", status=1).out
    found = {each["check"]: each for each in map(json.loads, told.splitlines())}
    assert found["snapshot"]["status"] == "fail"
    assert "missing.keys: the keys cannot be read" in found["snapshot"]["detail"]


def test_keys_of_exports_come_from_commands_too(run, tmp_path):
    """As `<(COMMAND)` hands them over: through a pipe, which can be read once."""
    private = Ed25519PrivateKey.generate()
    form = (Encoding.PEM, PrivateFormat.OpenSSH, NoEncryption())
    public = private.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    file = str(tmp_path / "list.jsonl.age")
    with handed_over(public + b"\n") as key:
        run("lists", "export", *EXPORT, "--encrypt-to-file", key, "--to", file)
    content = (tmp_path / "list.jsonl.age").read_bytes()
    assert content.startswith(b"age-encryption.org/v1")
    with handed_over(private.private_bytes(*form)) as key:
        run("lists", "import", file, "--list", "other", *LIST[2:], "--identity", key, *JSONL)


@contextmanager
def handed_over(content):
    reading, writing = os.pipe()
    os.write(writing, content)
    os.close(writing)
    try:
        yield f"/dev/fd/{reading}"
    finally:
        os.close(reading)
