"""Kills a follower at every step that changes the disk, and looks at what a restart makes of it.

Run as `python -m tests.follow_kill_driver SCENARIO FOLDER`; prints one JSON line. Each run is a
process of its own (a fork, so that nothing has to be imported again) that kills itself with SIGKILL
just before, or just after, its n-th step; `n` rises until one run comes to its end.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
from collections import Counter
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from hashlists.catalog import Catalog
from hashlists.model import Harm, HashKind, HashList
from hashlists.snapshot.withdrawn import read_withdrawn
from matcher.follow import snapshots
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import Item, bring
from tests.follow_support import found_in, read_state
from tests.kill_steps import die_at, forked, need_no_syncs, was_killed

if TYPE_CHECKING:
    from collections.abc import Callable

WHO = {"author": "an operator", "reason": "why"}
#: What changes the disk, or makes it certain.
STEPS = (
    (os, "open"),
    (os, "fsync"),
    (os, "link"),
    (os, "mkdir"),
    (os, "rename"),
    (os, "replace"),
    (os, "unlink"),
    (os, "rmdir"),
)
PURGED = Item("c", (HashKind.MD5, HashKind.PDQ))


@dataclass(frozen=True)
class Scenario:
    """What lies there before, and what is killed."""

    prepare: Callable[[Catalog, Path], None]
    act: Callable[[Catalog, Path], None]


def follower(catalog: Catalog, folder: Path, **options: object) -> tuple[Follower, Holder]:
    holder: Holder = Holder()
    policies = {"default": default_policy()}
    return Follower(catalog, folder / "snapshots", policies, holder, **options), holder


def import_some(catalog: Catalog, names: str, version: int = 0) -> None:
    bring(catalog, [Item(name, (HashKind.MD5, HashKind.PDQ), version) for name in names])


def nothing(catalog: Catalog, folder: Path) -> None:
    pass


def build(catalog: Catalog, folder: Path) -> None:
    build_snapshot(catalog, folder / "snapshots")


def two_builds_and_a_change(catalog: Catalog, folder: Path) -> None:
    build(catalog, folder)
    import_some(catalog, "def")
    build(catalog, folder)
    import_some(catalog, "ab", 1)


def a_purge(catalog: Catalog, folder: Path) -> None:
    two_builds_and_a_change(catalog, folder)
    (entry_id,) = (
        entry_id
        for entry_id, known in state_of(catalog).items()
        if (HashKind.MD5, PURGED.hashes[HashKind.MD5]) in known[-1]
    )
    catalog.purge("demo", [entry_id], **WHO)


def much_changed(catalog: Catalog, folder: Path) -> None:
    two_builds_and_a_change(catalog, folder)
    snapshots.RECENT_ENTRIES = 1


def serve_and_follow(catalog: Catalog, folder: Path) -> None:
    """Serves what is there, builds since every change needs it, swaps and sweeps."""
    following, _ = follower(catalog, folder, live_entries=0)
    following.refresh()
    import_some(catalog, "g")
    following.refresh()


def retract_and_follow(catalog: Catalog, folder: Path) -> None:
    """Serves retractions from memory, and keeps beside the snapshot which they are."""
    following, _ = follower(catalog, folder)
    following.refresh()
    for entry_id in sorted(state_of(catalog))[:2]:
        catalog.retract("demo", [entry_id], **WHO)
        following.refresh()


def adopt(catalog: Catalog, folder: Path) -> None:
    """A server that finds what another process has built."""
    following, _ = follower(catalog, folder)
    following.refresh()
    build(catalog, folder)
    following.refresh()


SCENARIOS = {
    "first-build": Scenario(nothing, build),
    "recent": Scenario(two_builds_and_a_change, build),
    "compaction": Scenario(much_changed, build),
    "purge": Scenario(a_purge, build),
    "serve": Scenario(two_builds_and_a_change, serve_and_follow),
    "retract": Scenario(two_builds_and_a_change, retract_and_follow),
    "swap": Scenario(two_builds_and_a_change, adopt),
}


def state_of(catalog: Catalog) -> dict[int, tuple]:
    with catalog.read() as reader:
        return read_state(reader).entries


def open_catalog(folder: Path) -> Catalog:
    return Catalog.open(f"sqlite:///{folder}/catalog.db")


def act_until(scenario: Scenario, folder: Path, number: int, *, after: bool) -> None:
    """Acts, and dies before the `number`-th step, or after it."""
    with open_catalog(folder) as catalog:
        die_at(STEPS, number, after=after)
        scenario.act(catalog, folder)


def build_after(scenario: str, folder: Path) -> None:
    """A restarted builder, on a machine without a server, clears up by itself."""
    with open_catalog(folder) as catalog:
        build(catalog, folder)
    check_left(scenario, folder / "snapshots")


def look_after(scenario: str, folder: Path) -> None:
    """A restart answers from the last committed state, and clears up."""
    root = folder / "snapshots"
    read_withdrawn(root)  # whole, or not there
    with open_catalog(folder) as catalog:
        following, holder = follower(catalog, folder)
        following.refresh()
        following.refresh()
        assert found_in(holder.current.index) == state_of(catalog), "not the last committed state"
        assert not following.state().behind
        build_snapshot(catalog, root)
        following.refresh()
        assert following.state().problem == ""
    check_left(scenario, root)


def check_left(scenario: str, root: Path) -> None:
    """Nothing is left that nobody needs, and nothing of what was purged."""
    left = Counter(each.name.partition("-")[0] for each in root.iterdir())
    known = {"current", "snapshot", "withdrawn", ".build.lock", ".withdrawn.lock"}
    assert left.keys() <= known, f"left over: {sorted(left)}"
    assert left["snapshot"] <= 2, "snapshots pile up"
    if scenario == "purge":
        content = b"".join(each.read_bytes() for each in root.rglob("*") if each.is_file())
        assert PURGED.hashes[HashKind.PDQ] not in content, "what was purged is still there"


def main() -> None:
    need_no_syncs()
    name, folder = sys.argv[1], Path(sys.argv[2])
    stride = int(sys.argv[3])
    scenario = SCENARIOS[name]
    template = folder / "template"
    template.mkdir()
    with open_catalog(template) as catalog:
        catalog.create_list(HashList("demo", Harm.TEST, "a source"), author="a person")
        import_some(catalog, "abc")
        scenario.prepare(catalog, template)
    kills = 0
    for after in (False, True):
        number = 1 + kills % stride
        while True:
            work = folder / f"{number}-{after}"
            shutil.copytree(template, work)
            if not was_killed(forked(partial(act_until, scenario, work, number, after=after))):
                break
            copy = folder / "copy"
            shutil.copytree(work, copy)
            build_after(name, copy)
            look_after(name, work)
            shutil.rmtree(copy)
            shutil.rmtree(work)
            kills += 1
            number += stride
    print(json.dumps({"kills": kills}))  # noqa: T201 - the answer


if __name__ == "__main__":
    main()
