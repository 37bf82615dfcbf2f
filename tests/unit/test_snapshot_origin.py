"""A folder of snapshots says which catalog it is of, and takes no other."""

from __future__ import annotations

import shutil

import pytest

from hashlists.errors import OtherCatalogError
from hashlists.snapshot import SnapshotWriter, current_name
from hashlists.snapshot.origin import catalog_of, has_snapshots, require_same


def publish(root, revision, **parameters):
    with SnapshotWriter(root, revision=revision) as writer:
        return writer.publish(parameters)


def test_an_empty_folder_says_nothing(tmp_path):
    for root in (tmp_path, tmp_path / "none"):
        assert not has_snapshots(root)
        assert catalog_of(root) == ""


def test_the_published_one_says_it(tmp_path):
    publish(tmp_path, 1, catalog_id="first")
    publish(tmp_path, 2, catalog_id="second")
    assert has_snapshots(tmp_path)
    assert catalog_of(tmp_path) == "second"


@pytest.mark.parametrize("damage", ["pointer", "manifest", "no pointer"])
def test_where_that_is_damaged_another_one_says_it(tmp_path, damage):
    publish(tmp_path, 1, catalog_id="same")
    newest = publish(tmp_path, 2, catalog_id="same")
    if damage == "manifest":
        (newest / "manifest.json").write_bytes(b"{")
    elif damage == "pointer":
        (tmp_path / "current").write_bytes(b"{")
    else:
        (tmp_path / "current").unlink()
    assert has_snapshots(tmp_path)
    assert catalog_of(tmp_path) == "same"


def test_one_that_does_not_say_it_counts_for_nothing(tmp_path):
    publish(tmp_path, 1)
    publish(tmp_path, 2, catalog_id=["no", "text"])
    assert catalog_of(tmp_path) == ""
    require_same("any", catalog_of(tmp_path))


def test_a_pointer_alone_is_enough_to_make_nothing(tmp_path):
    publish(tmp_path, 1, catalog_id="same")
    shutil.rmtree(tmp_path / current_name(tmp_path))
    assert has_snapshots(tmp_path)
    assert catalog_of(tmp_path) == ""


def test_what_cannot_be_looked_into_may_hold_some(tmp_path):
    (tmp_path / "snapshots").touch()
    assert has_snapshots(tmp_path / "snapshots")
    assert catalog_of(tmp_path / "snapshots") == ""


def test_another_catalog_is_refused():
    require_same("own", "own")
    with pytest.raises(OtherCatalogError, match="what is served"):
        require_same("other", "own", "what is served")
