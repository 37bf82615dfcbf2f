"""A builder and its replicas over stores of all kinds: a folder, S3, Google Cloud Storage, Azure.

The S3 server (moto) and a simulator of Google's run in a thread. Azure's emulator is a program of
its own (`azurite-blob`, of the npm package `azurite`) and is tried where it is installed.
"""

from __future__ import annotations

import shutil
from concurrent.futures import ThreadPoolExecutor
from contextlib import nullcontext
from typing import TYPE_CHECKING

import obstore
import pytest

from hashlists.errors import (
    OtherCatalogError,
    SnapshotConflictError,
    SnapshotError,
    SnapshotStoreError,
)
from hashlists.snapshot import current_name, open_current, sweep
from hashlists.snapshot.accepted import ACCEPTED_FILE
from hashlists.snapshot.objects import CURRENT, MANIFESTS, OBJECTS, PART_BYTES, Objects
from hashlists.snapshot.receive import pull
from hashlists.snapshot.replica import Replica
from hashlists.snapshot.store import push
from tests.gcs_simulator import gcs_server
from tests.snapshot_store_support import (
    HASTY,
    Keys,
    azure_server,
    build,
    folders,
    revision_of_arrays,
    s3_server,
)

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(params=["file", "s3", "gs", "az"])
def url(request, tmp_path, monkeypatch):
    """The URL of a store that a real server serves."""
    if request.param == "file":
        yield f"file://{tmp_path}/store"
        return
    if request.param == "az" and shutil.which("azurite-blob") is None:
        pytest.skip("azurite-blob is not installed")
    folder = tmp_path / "server"
    folder.mkdir()
    servers = {
        "s3": lambda: nullcontext(s3_server(monkeypatch)),
        "gs": lambda: gcs_server(monkeypatch, folder),
        "az": lambda: azure_server(monkeypatch, folder),
    }
    with servers[request.param]() as served:
        yield served


class Site:
    """A builder, its keys and its store."""

    def __init__(self, folder: Path, url: str) -> None:
        self.keys = Keys(folder)
        self.url = url
        self.built = folder / "built"
        self.folder = folder

    def publish(self, revision: int, *, purge: str = "", **options):
        folder = build(self.built, revision, purge=purge)
        options.setdefault("options", HASTY)
        return push(folder, self.url, signing_key=self.keys.private, **options)

    def pull(self, name: str = "replica", **options):
        return pull(
            self.url,
            self.folder / name,
            verify_key=self.keys.public,
            **{"options": HASTY, **options},
        )

    def stored(self) -> dict[str, set[str]]:
        objects = Objects(self.url, HASTY)
        return {folder: set(objects.list(folder)) for folder in (OBJECTS, MANIFESTS)}


@pytest.fixture
def site(tmp_path, url):
    return Site(tmp_path, url)


def test_what_is_published_is_pulled_shared_and_swept(site):
    first = site.publish(1)
    assert first.uploaded_bytes > 8000
    pulled = site.pull()
    assert (pulled.changed, pulled.published_name, pulled.linked_bytes) == (True, first.name, 0)
    assert pulled.fetched_bytes == first.uploaded_bytes
    root = site.folder / "replica"
    assert revision_of_arrays(root) == 1
    # Byte for byte what was signed.
    manifest = (root / pulled.name / "manifest.json").read_bytes()
    assert manifest == (site.built / first.name / "manifest.json").read_bytes()
    assert not site.pull().changed

    second = site.publish(2)
    assert 0 < second.uploaded_bytes < 1000 < second.present_bytes
    pulled = site.pull()
    assert pulled.changed
    assert pulled.fetched_bytes == second.uploaded_bytes
    assert pulled.linked_bytes == second.present_bytes
    assert revision_of_arrays(root) == 2
    before, now = (root / name / "base.codes.bin" for name in folders(root))
    assert before.samefile(now)
    assert [first.sequence < second.sequence, second.problem] == [True, ""]

    # Another machine needs nothing of what was before, and the one before stays in the store.
    site.pull("other")
    assert revision_of_arrays(site.folder / "other") == 2
    assert len(site.stored()[MANIFESTS]) == 2
    site.publish(3, grace_seconds=0)
    stored = site.stored()
    assert len(stored[MANIFESTS]) == 2
    assert len(stored[OBJECTS]) == 1 + 2 * 2  # the shared one, and two of their own each
    site.pull()
    sweep(root)
    assert len(folders(root)) == 2
    assert revision_of_arrays(root) == 3


def test_a_purge_withdraws_and_reaches_replicas_that_were_away(site):
    for revision in (1, 2):
        site.publish(revision)
        site.pull()
    site.publish(3, purge="one")
    assert [len(names) for names in site.stored().values()] == [3, 1]
    site.publish(4, purge="one")
    pulled = site.pull()  # it has never seen publication 3
    root = site.folder / "replica"
    assert pulled.erase_previous
    replica = Replica(site.url, root, verify_key=site.keys.public, options=HASTY)
    assert replica.erase_previous
    assert revision_of_arrays(root) == 4
    sweep(root, keep_previous=not replica.erase_previous)
    assert folders(root) == [pulled.name]
    assert not replica.erase_previous
    assert not site.pull().erase_previous
    # From here on there is a previous one again.
    site.publish(5, purge="one")
    assert not site.pull().erase_previous
    sweep(root, keep_previous=not replica.erase_previous)
    assert len(folders(root)) == 2


def test_a_file_of_several_parts(site):
    folder = build(site.built, 1, shared=(2 * PART_BYTES + 800) // 8)
    push(folder, site.url, signing_key=site.keys.private, options=HASTY)
    assert site.pull().fetched_bytes > 2 * PART_BYTES
    opened = open_current(site.folder / "replica")
    assert opened is not None
    assert opened.arrays["base.codes"][-1] == (2 * PART_BYTES + 800) // 8 - 1


def test_an_older_snapshot_published_on_purpose_is_pulled(site):
    site.publish(7)
    site.pull()
    site.publish(3)  # as after the catalog was restored from a backup
    assert site.pull().changed
    assert revision_of_arrays(site.folder / "replica") == 3


def test_a_store_stays_with_one_catalog(site):
    """A builder whose folder was lost would publish a new, empty catalog."""
    site.publish(7)
    new = build(site.folder / "begun anew", 1, catalog="another")
    with pytest.raises(OtherCatalogError, match="what the store shows"):
        push(new, site.url, signing_key=site.keys.private, options=HASTY)
    assert site.pull().revision == 7
    site.publish(8, purge="one")  # of the same catalog
    assert site.pull().revision == 8


def test_a_replica_stays_with_one_catalog_unless_told(site):
    site.publish(7)
    pulled = site.pull()
    new = build(site.folder / "begun anew", 1, catalog="another")
    forget(site)
    push(new, site.url, signing_key=site.keys.private, options=HASTY)
    replica = Replica(site.url, site.folder / "replica", verify_key=site.keys.public, options=HASTY)
    with pytest.raises(OtherCatalogError, match="what was pulled before"):
        replica.refresh(repair=True)
    assert replica.problem
    assert replica.seconds_since_contact == float("inf")
    assert folders(site.folder / "replica") == [pulled.name]
    assert site.pull("empty").revision == 1
    (site.folder / "replica" / ACCEPTED_FILE).unlink()
    assert site.pull().revision == 1


def forget(site):
    """Has the store show what nobody signed."""
    objects = Objects(site.url, HASTY)
    objects.replace(CURRENT, b"no signature", objects.read(CURRENT, 1 << 20))


def test_of_two_builders_one_publishes(site):
    site.publish(1)
    build(site.built, 2)
    rival = site.folder / "rival"
    paths = [site.built / str(current_name(site.built)), build(rival, 3)]
    objects = Objects(site.url, HASTY)
    seen = objects.read(CURRENT, 1 << 20)
    outcomes = []
    with ThreadPoolExecutor(2) as pool:
        for future in [
            pool.submit(push, path, site.url, signing_key=site.keys.private, options=HASTY)
            for path in paths
        ]:
            try:
                outcomes.append(future.result().revision)
            except SnapshotConflictError as error:
                outcomes.append(error.reason)
    assert set(outcomes) & {2, 3}
    assert set(outcomes) <= {2, 3, "SNAPSHOT_PUBLISH_CONFLICT"}
    site.pull()
    assert revision_of_arrays(site.folder / "replica") in (2, 3)
    # And one who saw what was there before comes too late for sure.
    with pytest.raises(SnapshotConflictError):
        objects.replace(CURRENT, b"late", seen)
    with pytest.raises(SnapshotConflictError):
        objects.replace(CURRENT, b"late", type(seen)(None))


def test_damage_in_the_store_is_refused_and_repaired_by_publishing(site):
    site.publish(1)
    site.pull()
    site.publish(2)
    objects = Objects(site.url, HASTY)
    digest = next(
        name for name, each in objects.list(OBJECTS).items() if each.nbytes == 10 * 4 * 4
        and obstore.get(objects._store, f"{OBJECTS}/{name}").bytes()[0:1] == b"\2"
    )  # fmt: skip
    name = f"{OBJECTS}/{digest}"
    root = site.folder / "replica"
    held = folders(root)
    for damage, error in (
        (lambda: objects.write(name, b"x" * 160), SnapshotError),
        (lambda: objects.write(name, b"\2" * 100), SnapshotStoreError),
        (lambda: objects.delete([name, name]), SnapshotStoreError),
    ):
        damage()
        with pytest.raises(error, match=r"array recent\.codes"):
            site.pull()
        assert folders(root) == held
        assert revision_of_arrays(root) == 1
    again = push(
        site.built / str(current_name(site.built)),
        site.url,
        signing_key=site.keys.private,
        options=HASTY,
    )
    assert again.uploaded_bytes == 160
    assert site.pull().changed
    assert revision_of_arrays(root) == 2


def test_a_store_without_a_publication(site):
    Objects(site.url, HASTY, make=True)
    with pytest.raises(SnapshotStoreError, match="nothing is published"):
        site.pull()
