"""How often a server publishes: imports come together, retractions and purges at once."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import Catalog
from matcher.follow.child import Publication
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, bring, items
from tests.follow_support import found_in

if TYPE_CHECKING:
    from pathlib import Path

WHO = {"author": "an operator", "reason": "why"}
SECONDS = 10.0


class Rig:
    """A follower that builds in this thread, for publication, with its clock in hand."""

    def __init__(self, folder: Path, catalog: Catalog, **options: object) -> None:
        self.catalog = catalog
        self.now = 0.0
        self.holder: Holder = Holder()
        self.publication = Publication("file:///nowhere", folder / "key.pem", SECONDS)
        self.follower = Follower(
            catalog,
            folder / "snapshots",
            {"default": default_policy()},
            self.holder,
            clock=lambda: self.now,
            publication=self.publication,
            **options,
        )

    def look(self) -> int:
        """One look at the catalog; how many builds were ordered until then."""
        self.follower.refresh()
        assert self.holder.current.revision == self.catalog.head()  # served at once in any case
        return self.follower.state().builds


@pytest.fixture
def rig(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as catalog:
        catalog.create_list(DEMO, author="a person")
        bring(catalog, items("a", "b", "c"))
        yield Rig(tmp_path, catalog)


def test_small_imports_are_published_together(rig):
    assert rig.look() == 1
    for name in "defg":
        bring(rig.catalog, items(name))
        rig.now += SECONDS / 5
        assert rig.look() == 1
    rig.now += SECONDS / 5
    assert rig.look() == 2
    assert rig.follower.state().live_entries == 0
    rig.now += 2 * SECONDS
    assert rig.look() == 2  # nothing new
    bring(rig.catalog, items("h"))
    assert rig.look() == 3  # after a while without any, the next waits for nothing


@pytest.mark.parametrize(("act", "builds"), [("retract", 2), ("purge", 3)])
def test_what_is_withdrawn_is_published_at_once(rig, act, builds):
    rig.look()
    first, *_ = sorted(found_in(rig.holder.current.index))
    bring(rig.catalog, items("d"))
    assert rig.look() == 1
    getattr(rig.catalog, act)("demo", [first], **WHO)
    assert rig.look() == 2
    for _ in range(3):
        assert rig.look() == builds  # a purge is published twice: see the next test


def test_a_purge_that_another_process_built_is_published_here_too(tmp_path, rig):
    """That process may have failed to, or may not know of the store."""
    rig.look()
    first, *_ = sorted(found_in(rig.holder.current.index))
    rig.catalog.purge("demo", [first], **WHO)
    build_snapshot(rig.catalog, tmp_path / "snapshots")
    assert rig.look() == 2
    assert rig.look() == 2


def test_what_replicas_never_had_need_not_be_withdrawn(rig):
    rig.look()
    before = set(found_in(rig.holder.current.index))
    bring(rig.catalog, items("d"))
    rig.look()
    (new,) = set(found_in(rig.holder.current.index)) - before
    rig.catalog.retract("demo", [new], **WHO)
    assert rig.look() == 1


def test_a_failed_publication_waits_for_its_own_turn_only(rig, monkeypatch):
    def fail(*_arguments: object, **_options: object) -> None:
        raise OSError("disk full")

    rig.look()
    rig.now += SECONDS
    bring(rig.catalog, items("d"))
    with monkeypatch.context() as patched:
        patched.setattr("matcher.follow.makers.build_snapshot", fail)
        assert rig.look() == 1
    assert rig.follower.state().build_failures == 1
    rig.now += SECONDS / 2  # past the wait that a failure brings
    assert rig.look() == 2


def test_without_publication_nothing_is_built_for_it(tmp_path, rig):
    build_snapshot(rig.catalog, tmp_path / "snapshots")
    rig.publication = None
    follower = Follower(
        rig.catalog, tmp_path / "snapshots", {"default": default_policy()}, Holder()
    )
    follower.refresh()
    bring(rig.catalog, items("d"))
    follower.refresh()
    assert follower.state().builds == 0
