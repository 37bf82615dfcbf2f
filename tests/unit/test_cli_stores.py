"""Stores are named, and what they show; none that may hold what was purged is forgotten."""

from __future__ import annotations

import hashlib
import json
from datetime import UTC, datetime, timedelta

import pytest

from hashlists.catalog import Catalog
from hashlists.errors import SnapshotError
from hashlists.snapshot.destinations import DESTINATIONS_FILE, destinations, note_destination
from hashlists.snapshot.receive import try_pull
from matcher import cli
from matcher.cli import checks, stores
from matcher.cli.context import Session
from matcher.cli.finding import Status
from matcher.follow import build
from matcher.follow.snapshots import build_snapshot
from tests.snapshot_store_support import Keys

DESCRIBED = ("--list", "demo", "--harm", "test", "--source", "Us")
COLUMNS = ("--column=md5=md5", "--column=source_id=id")


class InProcess:
    """Builds and publishes here rather than in a child process."""

    def __init__(self, catalog_url, snapshots_dir, *, publication=None, vault=None):
        self._url, self._root, self._to = catalog_url, snapshots_dir, publication
        self._vault = vault

    def build(self, order):
        with Catalog.open(self._url) as catalog:
            path = build_snapshot(
                catalog, self._root, full=order.full, seen=order.seen, vault=self._vault
            )
        if self._to is not None:
            to = {"publish_url": self._to.url, "signing_key": str(self._to.signing_key)}
            build._push(self._root, to)
        return path.name


@pytest.fixture
def keys(tmp_path):
    return Keys(tmp_path)


@pytest.fixture
def url(tmp_path):
    return f"file://{tmp_path}/store"


@pytest.fixture
def run(tmp_path, capsys, monkeypatch, keys):
    """Runs a command at a builder, which has a key."""
    monkeypatch.setattr("matcher.follow.child.ChildProcess", InProcess)
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_SIGNING_KEY", str(keys.private))

    def ran(*arguments, status=0):
        got = cli.main(["--data", str(tmp_path / "data"), *arguments])
        captured = capsys.readouterr()
        assert got == status, captured.err
        return captured

    return ran


@pytest.fixture
def filled(run, tmp_path):
    rows = [f"{hashlib.md5(b'%d' % n).hexdigest()},M-{n}" for n in range(4)]
    (tmp_path / "list.csv").write_text("\n".join(["md5,id", *rows]) + "\n")
    run("lists", "import", str(tmp_path / "list.csv"), *DESCRIBED, *COLUMNS)


@pytest.fixture
def findings(tmp_path):
    def look(name="store"):
        found = checks.check_stores(Session(tmp_path / "data"))
        return [(each.status, each.detail) for each in found if each.check == name]

    return look


PURGE = ("lists", "purge", "demo", "--source-id", "M-1", "--reason", "an order", "--yes")


def test_a_build_tells_where_it_published(filled, run, url):
    told = run("index", "build", "--publish", url).out
    assert f"published to\t{url}" in told
    assert "newest publication\trevision 4, just now (" in told
    again = json.loads(run("index", "build", "--publish", url, "--json").out)
    assert again["built"] is False
    assert (again["store"]["url"], again["store"]["problem"]) == (url, "")
    assert again["store"]["publication"]["revision"] == 4
    assert json.loads(run("index", "build", "--json").out)["store"] is None


def test_status_names_the_store_and_its_newest_publication(filled, run, url):
    assert json.loads(run("index", "status", "--json", status=1).out)["stores"] == []
    built = json.loads(run("index", "build", "--publish", url, "--json").out)
    (store,) = json.loads(run("index", "status", "--json").out)["stores"]
    assert store == built["store"]
    told = run("index", "status").out
    assert f"published to\t{url}" in told
    assert "newest publication\trevision 4" in told


def test_status_tells_of_a_wipe_that_is_owed(filled, run, monkeypatch):
    run("index", "build")
    assert json.loads(run("index", "status", "--json").out)["catalog"]["wipe_owed"] is False
    monkeypatch.setattr("hashlists.catalog.wipe.rewrite_files", lambda _engine: False)
    run(*PURGE, status=2)
    assert json.loads(run("index", "status", "--json").out)["catalog"]["wipe_owed"] is True
    assert "purge\ttraces are left" in run("index", "status").out


def test_a_purge_names_a_store_that_may_hold_it_still(filled, run, url, findings):
    run("index", "build", "--publish", url)
    assert findings() == [(Status.OK, findings()[0][1])]
    told = run(*PURGE, status=2).err
    assert f"The store {url} may hold older snapshots still" in told
    assert f"hashwarden index build --publish {url}" in told
    ((status, detail),) = findings()
    assert status is Status.FAIL
    assert "it may hold what was purged since" in detail
    run("index", "build", "--publish", url)
    ((status, detail),) = findings()
    assert status is Status.OK


def test_a_purge_publishes_to_the_store_of_the_settings(filled, run, url, monkeypatch, findings):
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PUBLISH_URL", url)
    run("index", "build")
    done = run(*PURGE, "--json")
    assert json.loads(done.out)["stores_left"] == []
    assert "stores that another machine publishes to" in done.err
    assert [status for status, _ in findings()] == [Status.OK]


def test_a_purge_without_a_snapshot_here_names_the_store_of_the_settings(
    filled, run, url, monkeypatch
):
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PUBLISH_URL", url)
    assert json.loads(run(*PURGE, "--json", status=2).out)["stores_left"] == [url]


@pytest.mark.usefixtures("filled")
def test_a_store_that_is_behind_empty_or_away_is_found(run, url, findings, tmp_path, monkeypatch):
    assert findings() == [(Status.OK, "none: snapshots are neither published nor pulled")]
    run("index", "build", "--publish", url)
    run("lists", "retract", "demo", "--source-id", "M-1", "--reason", "why")
    run("index", "build")
    ((status, detail),) = findings()
    assert status is Status.WARN
    assert "here is revision 5" in detail
    (tmp_path / "store" / "current").rename(tmp_path / "kept")
    ((status, detail),) = findings()
    assert (status, "nothing is published there yet" in detail) == (Status.WARN, True)
    (tmp_path / "store" / "current").write_text("{}")
    ((status, detail),) = findings()
    assert (status, "no signed publication" in detail) == (Status.FAIL, True)
    (tmp_path / "store").rename(tmp_path / "gone")
    ((status, detail),) = findings()
    assert (status, "no such folder" in detail) == (Status.FAIL, True)
    monkeypatch.delenv("HASHWARDEN_SNAPSHOT_SIGNING_KEY")
    ((status, detail),) = findings()
    assert (status, "snapshot_signing_key" in detail) == (Status.FAIL, True)


def test_a_key_that_cannot_be_used_is_found(filled, run, url, findings, keys):
    ((status, detail),) = findings("signature key")
    assert (status, str(keys.private) in detail) == (Status.OK, True)
    keys.private.chmod(0o644)
    ((status, detail),) = findings("signature key")
    assert (status, "open to others" in detail) == (Status.FAIL, True)


@pytest.fixture
def replica(filled, run, url, tmp_path, monkeypatch):
    """The data folder of a machine that pulls what another has published."""
    run("index", "build", "--publish", url)
    monkeypatch.delenv("HASHWARDEN_SNAPSHOT_SIGNING_KEY")
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_PULL_URL", url)
    monkeypatch.setenv("HASHWARDEN_SNAPSHOT_VERIFY_KEY", f"{tmp_path}/builder.pub.pem")
    return tmp_path / "replica"


def test_a_replica_compares_what_it_has_with_its_store(replica, url, tmp_path, keys, capsys):
    def look(check):
        return {each.check: each for each in check(Session(replica))}

    assert look(checks.check_stores)["signature key"].status is Status.OK
    found = look(checks.check_stores)["store"]
    assert (found.status, "here is nothing" in found.detail) == (Status.WARN, True)
    found = look(checks.check_snapshot)["snapshot"]
    assert (found.status, "hashwarden serve" in found.detail) == (Status.WARN, True)
    catalog = look(checks.check_catalog)["catalog"]
    assert (catalog.status, "this machine is a replica" in catalog.detail) == (Status.OK, True)
    (replica / "snapshots").mkdir(parents=True)
    (replica / "policies.toml").write_text('[policies.default]\nlists = ["demo"]\n')
    assert {each.status for each in checks.check_policies(Session(replica))} == {Status.OK}
    try_pull(url, replica / "snapshots", verify_key=keys.public)
    assert look(checks.check_stores)["store"].status is Status.OK
    assert look(checks.check_snapshot)["snapshot"].status is Status.OK
    assert {each.status for each in checks.check_policies(Session(replica))} == {Status.OK}
    (replica / "policies.toml").write_text('[policies.default]\nlists = ["other"]\n')
    assert Status.FAIL in {each.status for each in checks.check_policies(Session(replica))}
    (replica / "policies.toml").unlink()
    assert cli.main(["--data", str(replica), "index", "status"]) == 0
    told = capsys.readouterr().out
    assert f"pulled from\t{url}" in told
    assert "newest publication\trevision 4" in told
    (tmp_path / "store" / "current").unlink()
    found = look(checks.check_stores)["store"]
    assert (found.status, "publish from the builder" in found.detail) == (Status.FAIL, True)
    (tmp_path / "store").rename(tmp_path / "gone")
    found = look(checks.check_stores)["store"]
    assert (found.status, "is matched meanwhile" in found.detail) == (Status.FAIL, True)


def test_destinations_are_noted_once_and_damage_is_told(tmp_path):
    root = tmp_path / "snapshots"
    assert destinations(root) == ()
    root.mkdir()
    assert destinations(root) == ()
    for url in ("file:///a", "s3://bucket/b", "file:///a"):
        note_destination(root, url)
    assert destinations(root) == ("file:///a", "s3://bucket/b")
    assert [each.name for each in root.iterdir()] == [DESTINATIONS_FILE]
    assert (root / DESTINATIONS_FILE).stat().st_mode & 0o777 == 0o600
    for damaged in ("nonsense", "{}", "[1]"):
        (root / DESTINATIONS_FILE).write_text(damaged)
        with pytest.raises(SnapshotError, match="is damaged"):
            destinations(root)


def test_a_note_that_cannot_be_written_leaves_nothing(tmp_path, monkeypatch):
    def full(_handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("hashlists.snapshot.destinations.os.fsync", full)
    with pytest.raises(OSError, match="No space"):
        note_destination(tmp_path, "file:///a")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        *((-5, "just now"), (59, "just now"), (60, "1 minute ago"), (7_300, "2 hours ago")),
        *((86_400, "1 day ago"), (400 * 86_400, "400 days ago")),
    ],
)
def test_ages_are_told_as_people_say_them(seconds, said):
    now = datetime(2026, 11, 21, tzinfo=UTC)
    assert stores._ago(now - timedelta(seconds=seconds), now) == said
