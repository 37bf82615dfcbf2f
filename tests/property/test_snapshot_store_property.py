"""Whatever is published, purged, pulled and lost in whatever order: what must be there is there."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

from hypothesis import given, settings
from hypothesis import strategies as st

from hashlists.errors import SnapshotStoreError
from hashlists.snapshot import current_name, sweep
from hashlists.snapshot.objects import CURRENT, MANIFESTS, OBJECTS, Objects
from hashlists.snapshot.receive import pull
from hashlists.snapshot.signing import load_verify_keys, verify
from hashlists.snapshot.store import push
from tests.snapshot_store_support import Keys, build, folders, revision_of_arrays

STEPS = st.one_of(
    st.tuples(st.just("publish"), st.sampled_from([0.0, 3600.0])),
    st.just(("purge",)),
    st.just(("again",)),
    st.tuples(st.just("pull"), st.integers(0, 1)),
    st.just(("lose",)),
)


def objects_of(objects: Objects, manifest: str) -> set[str]:
    content = objects.read(f"{MANIFESTS}/{manifest}", 1 << 20).content
    assert content is not None, "the manifest of what is published, or was before, is gone"
    body = json.loads(content)
    records = [*body["arrays"].values(), *body["documents"].values()]
    return {record["sha256"] for record in records if record["bytes"]}


class Model:
    """A store, a builder, two replicas, and what must hold after each step."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.url = folder, f"file://{folder}/store"
        self.keys = Keys(folder)
        self.revision = 0
        self.purged = 0  # the revision that erased what was before it
        self.lost = False
        self.gone: set[str] = set()

    def publish(self, *, grace: float = 3600.0, erase: bool = False, new: bool = True) -> None:
        built = self.folder / "built"
        if new:
            self.revision += 1
            self.purged = self.revision if erase else self.purged
            build(built, self.revision, shared=10, purge=f"{self.purged}")
        name = current_name(built)
        if name is None:
            return
        push(
            built / name,
            self.url,
            signing_key=self.keys.private,
            grace_seconds=grace,
        )
        self.lost = False
        self.check_store(bare=erase or grace == 0)

    def check_store(self, *, bare: bool) -> None:
        objects = Objects(self.url)
        publication = verify(
            (self.folder / "store" / CURRENT).read_bytes(), load_verify_keys(self.keys.public)
        )
        assert publication.revision == self.revision
        names = [publication.manifest_name, publication.previous]
        kept = {f"{name}.json" for name in names if name is not None}
        present = set(objects.list(MANIFESTS))
        stored = set(objects.list(OBJECTS))
        assert objects_of(objects, f"{publication.manifest_name}.json") <= stored
        assert kept <= present
        used = set().union(*(objects_of(objects, name) for name in kept))
        assert used - stored <= self.gone  # what the one before has lost is not put back
        if bare:
            assert present == kept
            assert stored <= used
        assert all(int(name[:19]) >= publication.erases_before for name in present)

    def lose(self) -> None:
        """Somebody deletes an object."""
        found = sorted((self.folder / "store" / OBJECTS).glob("*"))
        if found:
            found[-1].unlink()
            self.lost = True
            self.gone.add(found[-1].name)

    def pull(self, number: int) -> None:
        root = self.folder / f"replica-{number}"
        if not self.revision:
            return
        try:
            done = pull(self.url, root, verify_key=self.keys.public)
        except SnapshotStoreError:
            assert self.lost
            return
        assert done.name == current_name(root)
        assert revision_of_arrays(root) == self.revision
        sweep(root, keep_previous=not done.erase_previous)
        held = [int(name.split("-")[1]) for name in folders(root)]
        assert max(held) == self.revision
        assert min(held) >= self.purged


@settings(max_examples=20)
@given(st.lists(STEPS, max_size=10))
def test_what_must_be_there_is_there(steps):
    with tempfile.TemporaryDirectory() as folder:
        model = Model(Path(folder))
        for step, *arguments in steps:
            match step:
                case "publish":
                    model.publish(grace=arguments[0])
                case "purge":
                    model.publish(erase=True)
                case "again":
                    model.publish(new=False)
                case "pull":
                    model.pull(*arguments)
                case "lose":
                    model.lose()
