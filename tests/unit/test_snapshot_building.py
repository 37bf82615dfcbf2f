"""Building and publishing snapshots: what was purged is nowhere once a build has ended well."""

from __future__ import annotations

import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

from hashlists import snapshot as snapshots
from hashlists.catalog import Catalog, DerivedAction, DerivedHash
from hashlists.errors import OtherCatalogError
from hashlists.model import HashKind
from hashlists.snapshot import current_name
from hashlists.snapshot.objects import CURRENT, MANIFESTS, Objects
from hashlists.snapshot.signing import Publication, load_verify_keys, verify
from matcher.follow import build
from matcher.follow.snapshots import build_snapshot
from tests.catalog_support import DEMO, bring, items, value
from tests.snapshot_store_support import Keys, folders

KINDS = (HashKind.MD5, HashKind.PDQ)


ROOT = Path(__file__).parents[2]
#: What takes a while to load, and is for matching, for list files, or for another database.
NEEDLESS = (
    *("faiss", "scipy", "grpc", "PIL", "alembic", "hashlists.formats.registry"),
    "sqlalchemy.dialects.postgresql",
)


def test_the_process_that_builds_loads_only_what_building_needs():
    code = "import sys, matcher.follow.build; print(*set(sys.argv[1:]) & set(sys.modules))"
    command = [sys.executable, "-c", code, *NEEDLESS]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.split() == []


class KilledError(BaseException):
    """As if the process ended here."""


@dataclass
class Machine:
    """A catalog with three entries, and a builder."""

    folder: Path
    catalog: Catalog
    keys: Keys

    @property
    def root(self) -> Path:
        return self.folder / "snapshots"

    @property
    def store(self) -> Path:
        return self.folder / "store"

    def build(self, **options: object) -> Path:
        return build_snapshot(self.catalog, self.root, **options)

    def purge(self) -> bytes:
        """Purges one entry, and gives its PDQ hash."""
        with self.catalog.read() as reader:
            columns = next(iter(reader.entry_columns()))
        _, codes = columns.codes[HashKind.PDQ]
        self.catalog.purge("demo", [int(columns.entry_ids[0])], author="a", reason="by order")
        return codes[0].tobytes()

    def derive(self) -> bytes:
        """Gives the entry that is purged next a code of a crop, and tells the code."""
        with self.catalog.read() as reader:
            columns = next(iter(reader.entry_columns()))
        _, digests = columns.codes[HashKind.MD5]
        code = value(HashKind.PDQ, "crop")
        row = DerivedHash(
            *(int(columns.entry_ids[0]), HashKind.PDQ, code, "crop:0.02"),
            *(HashKind.MD5, digests[0].tobytes()),
        )
        self.catalog.add_derived(
            "demo", [row], author="a", reason="our own file", action=DerivedAction.CONFIRM
        )
        return code

    def publish(self, **changed: object) -> dict:
        """What the child process of a build does, and answers."""
        arguments = {
            "catalog_url": f"sqlite:///{self.folder}/catalog.db",
            "encryption_keys": "",
            "snapshots_dir": str(self.root),
            "full": False,
            "seen": None,
            "publish_url": f"file://{self.store}",
            "signing_key": str(self.keys.private),
        }
        return build._answer({**arguments, **changed})

    def publication(self) -> Publication:
        return verify((self.store / CURRENT).read_bytes(), load_verify_keys(self.keys.public))

    def manifests(self) -> int:
        return len(Objects(f"file://{self.store}").list(MANIFESTS))


@pytest.fixture
def machine(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("a", "b", "c", kinds=KINDS))
        yield Machine(tmp_path, catalog, Keys(tmp_path))


def holds(folder: Path, code: bytes) -> bool:
    return any(code in path.read_bytes() for path in folder.rglob("*") if path.is_file())


class TestPurgedHashesOnDisk:
    @pytest.mark.parametrize("seen", [None, "another"])
    def test_what_a_killed_builder_left_goes_with_the_next_build(self, machine, seen, monkeypatch):
        """Also where that finds nothing to build, or that another process has built."""
        machine.build()
        code = machine.purge()
        published = snapshots.SnapshotWriter.publish

        def publish(writer, *arguments, **options):
            published(writer, *arguments, **options)
            raise KilledError

        with monkeypatch.context() as patched:
            patched.setattr(snapshots.SnapshotWriter, "publish", publish)
            with pytest.raises(KilledError):
                machine.build()
        assert len(folders(machine.root)) == 2
        assert holds(machine.root, code)
        name = current_name(machine.root)
        assert machine.build(seen=seen).name == name
        assert folders(machine.root) == [name]
        assert not holds(machine.root, code)

    def test_a_sweep_that_failed_is_told_and_made_good(self, machine, monkeypatch):
        machine.build()
        code = machine.purge()

        def busy(_path):
            raise OSError(16, "Device or resource busy")

        with monkeypatch.context() as patched:
            patched.setattr("shutil.rmtree", busy)
            for _ in range(2):
                with pytest.raises(OSError, match="busy"):
                    machine.build()
        assert holds(machine.root, code)
        machine.build()
        assert not holds(machine.root, code)

    @pytest.mark.parametrize("full", [False, True])
    def test_codes_that_were_derived_go_with_their_entry(self, machine, full):
        machine.build()
        code = machine.derive()
        machine.build(full=full)
        assert holds(machine.root, code)
        machine.purge()
        machine.build(full=full)
        assert not holds(machine.root, code)

    def test_without_a_purge_the_one_before_stays(self, machine):
        first = machine.build()
        bring(machine.catalog, items("d"))
        second = machine.build(full=True)
        assert machine.build() == second
        assert sorted(folders(machine.root)) == sorted([first.name, second.name])

    def test_after_a_purge_snapshots_stay_again(self, machine):
        machine.build()
        machine.purge()
        machine.build()
        bring(machine.catalog, items("d"))
        machine.build()
        assert len(folders(machine.root)) == 2

    @pytest.mark.parametrize("full", [False, True])
    def test_another_catalog_takes_no_place(self, machine, tmp_path, full):
        built = machine.build()
        with Catalog.open(f"sqlite:///{tmp_path}/other.db") as other:
            other.create_list(DEMO, author="a person")
            with pytest.raises(OtherCatalogError, match="is not the one"):
                build_snapshot(other, machine.root, full=full)
            assert folders(machine.root) == [built.name]
            shutil.rmtree(machine.root)  # as who begins anew
            path = build_snapshot(other, machine.root)
        assert folders(machine.root) == [path.name]


class TestPurgedHashesInTheStore:
    def test_a_failed_publication_is_made_good_by_any_later_one(self, machine):
        assert "snapshot" in machine.publish()
        code = machine.purge()
        machine.store.rename(machine.folder / "away")
        machine.store.write_text("no folder")
        assert machine.publish()["error"]["reason"] == "SNAPSHOT_STORE_UNAVAILABLE"
        machine.store.unlink()
        (machine.folder / "away").rename(machine.store)
        assert holds(machine.store, code)
        name = current_name(machine.root)
        assert machine.publish() == {"snapshot": name}  # nothing is left to build
        assert not holds(machine.store, code)
        assert machine.publication().snapshot == name

    def test_a_restart_withdraws_nothing(self, machine):
        machine.publish()
        bring(machine.catalog, items("d"))
        machine.publish(full=True)
        assert machine.manifests() == 2
        before = machine.publication()
        machine.publish()
        after = machine.publication()
        assert (after.previous, after.erases_before) == (before.previous, 0)
        assert after.previous is not None
        assert machine.manifests() == 3  # the same snapshot was published twice

    def test_what_is_current_is_published_whoever_built_it(self, machine, monkeypatch):
        """A slow process does not put back what another has replaced meanwhile."""
        real = build.build_snapshot

        def overtaken(catalog, root, **options):
            path = real(catalog, root, **options)
            machine.purge()
            real(catalog, root)
            return path

        monkeypatch.setattr(build, "build_snapshot", overtaken)
        assert "snapshot" in machine.publish()
        assert machine.publication().snapshot == current_name(machine.root)
