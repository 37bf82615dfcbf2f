"""Building and following with keys: rotation builds anew, and no process undoes encryption."""

from __future__ import annotations

import json

import pytest

from hashlists.catalog import Catalog
from hashlists.encryption.keys import KeySource
from hashlists.errors import EncryptionKeyError, SnapshotLockedError
from hashlists.snapshot import current_name
from matcher.follow import build
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.follow.vaults import make_vault
from matcher.follow.view import Sealed
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, bring, items

ONE, TWO = "11" * 32, "22" * 32
POLICIES = {"default": default_policy()}


@pytest.fixture
def root(tmp_path):
    return tmp_path / "snapshots"


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path / 'catalog.sqlite3'}") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items("a", "b", "c"))
        yield opened


def key_in(root):
    manifest = json.loads((root / current_name(root) / "manifest.json").read_bytes())
    return manifest.get("encryption", {}).get("key", "")


def name_of(key):
    return KeySource(f"keys:{key}").newest().name.hex()


def test_no_place_is_no_vault():
    assert make_vault("") is None
    assert make_vault(f"keys:{ONE}").place == f"keys:{ONE}"


def test_what_is_encrypted_is_followed(catalog, root):
    holder = Holder()
    follower = Follower(catalog, root, POLICIES, holder, vault=make_vault(f"keys:{ONE}"))
    follower.refresh()
    bring(catalog, items("d"))
    assert follower.refresh()
    assert len(holder.current.index.entries) == 4
    assert key_in(root) == name_of(ONE)
    again = Follower(catalog, root, POLICIES, Holder(), vault=make_vault(f"keys:{ONE}"))
    assert again.refresh()
    assert again.state().problem == ""


def test_a_build_extends_what_is_encrypted(catalog, root):
    vault = make_vault(f"keys:{ONE}")
    first = build_snapshot(catalog, root, vault=vault)
    bring(catalog, items("d"))
    second = build_snapshot(catalog, root, vault=vault)
    shared = [each.name for each in second.iterdir() if each.stat().st_nlink > 1]
    assert shared
    assert all((first / name).samefile(second / name) for name in shared)
    assert len(Sealed.open_current(root, vault=vault).index.entries) == 4


@pytest.mark.parametrize(
    ("before", "after"), [("", ONE), (ONE, f"{TWO},{ONE}")], ids=["turned on", "rotated"]
)
def test_a_newer_key_has_everything_built_anew(catalog, root, before, after):
    old = build_snapshot(catalog, root, vault=make_vault(before and f"keys:{before}"))
    vault = make_vault(f"keys:{after}")
    new = build_snapshot(catalog, root, vault=vault)
    assert new != old
    assert key_in(root) == name_of(after.split(",")[0])
    assert all(each.stat().st_nlink == 1 for each in new.iterdir())
    assert old.exists() == bool(before)  # what lay in clear is gone
    assert build_snapshot(catalog, root, vault=vault) == new


@pytest.mark.parametrize("place", ["", f"keys:{TWO}"], ids=["no keys", "other keys"])
def test_a_process_without_the_key_leaves_it_as_it_is(catalog, root, place):
    path = build_snapshot(catalog, root, vault=make_vault(f"keys:{ONE}"))
    bring(catalog, items("d"))
    with pytest.raises(SnapshotLockedError):
        build_snapshot(catalog, root, vault=make_vault(place))
    follower = Follower(catalog, root, POLICIES, Holder(), vault=make_vault(place))
    with pytest.raises(SnapshotLockedError):
        follower.refresh()
    assert current_name(root) == path.name
    assert Sealed.open_current(root, vault=make_vault(f"keys:{ONE}")) is not None


def test_a_lost_key_is_replaced_only_where_that_is_said(catalog, root):
    build_snapshot(catalog, root, vault=make_vault(f"keys:{ONE}"))
    with pytest.raises(SnapshotLockedError):
        build_snapshot(catalog, root, full=True)
    build_snapshot(catalog, root, full=True, vault=make_vault(f"keys:{TWO}"))
    assert key_in(root) == name_of(TWO)


def test_what_is_served_stays_while_the_next_cannot_be_opened(catalog, root):
    holder = Holder()
    follower = Follower(None, root, POLICIES, holder, vault=make_vault(f"keys:{ONE}"))
    build_snapshot(catalog, root, vault=make_vault(f"keys:{ONE}"))
    assert follower.refresh()
    served = holder.current
    bring(catalog, items("d"))
    build_snapshot(catalog, root, vault=make_vault(f"keys:{TWO},{ONE}"))
    follower.refresh()
    follower._opener.wait()
    follower.refresh()
    assert holder.current is served
    assert "which is not here" in follower.state().problem


def test_the_child_that_builds_is_given_the_keys(catalog, root, tmp_path):
    arguments = {
        "catalog_url": f"sqlite:///{tmp_path / 'catalog.sqlite3'}",
        "snapshots_dir": str(root),
        "encryption_keys": f"keys:{ONE}",
        "full": False,
        "seen": "",
        "publish_url": "",
    }
    assert build._answer(arguments)["snapshot"] == current_name(root)
    assert key_in(root) == name_of(ONE)
    answer = build._answer(arguments | {"encryption_keys": "", "full": True, "seen": None})
    assert answer["error"]["reason"] == SnapshotLockedError.reason
    missing = arguments | {"encryption_keys": f"file:{tmp_path / 'none'}", "seen": None}
    answer = build._answer(missing)
    assert answer["error"]["reason"] in {SnapshotLockedError.reason, EncryptionKeyError.reason}
