"""Following the catalog: snapshots, swaps, and what happens when something is away or damaged."""

from __future__ import annotations

import gc
import itertools
import json
import logging
import shutil
import threading
import weakref
from contextlib import nullcontext
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import numpy as np
import pytest

from hashlists import snapshot
from hashlists.catalog import Catalog, EntryColumns
from hashlists.catalog.entry_columns import EXPIRED_KEPT_SECONDS
from hashlists.errors import CatalogError, OtherCatalogError, SnapshotError, SnapshotStoreError
from hashlists.importer import import_file
from hashlists.model import (
    CODE64_KINDS,
    Classification,
    Handling,
    Harm,
    HashKind,
    HashList,
    ListState,
)
from matcher.builtin_list import ensure_test_list
from matcher.decode.pool import InProcessPool
from matcher.demo_data import published_test_image
from matcher.errors import PolicyError, SelfTestError
from matcher.follow.follower import Follower
from matcher.follow.one_shot import open_generation
from matcher.follow.snapshots import build_snapshot
from matcher.follow.view import Sealed
from matcher.hashing import golden
from matcher.hashing.digests import digest_bytes
from matcher.index.documents import index_to_json
from matcher.index.holder import Holder
from matcher.model import Decision, DecodeRequest, ImageHashes
from matcher.pipeline import DEFAULT_OPTIONS, Generation, hash_items, match_items
from matcher.policy.rules import default_policy, policies_from_dict
from matcher.selftest import check

POLICIES = {"default": default_policy()}


def digest(number):
    return bytes([1, 2, number]).ljust(16, b"\x07")


def fill(catalog, folder, numbers, *, name="list"):
    """Imports entries whose MD5 is `digest(number)`."""
    if name not in {each.hash_list.name for each in catalog.list_lists()}:
        catalog.create_list(HashList(name, Harm.CSAM, "someone"), author="tester")
    file = folder / "list.csv"
    file.write_text("md5\n" + "".join(f"{digest(number).hex()}\n" for number in numbers))
    return import_file(
        catalog,
        file,
        list_name=name,
        format="csv",
        options={"columns.md5": "md5"},
        importer="tester",
    )


def is_known(generation, number):
    item = ImageHashes(digests={HashKind.MD5: digest(number)}, size=None)
    (result,) = match_items(generation, [item], [DEFAULT_OPTIONS])
    return result.decision is not Decision.NO_KNOWN_MATCH


class Rig:
    """A catalog, a snapshot folder, and a follower with a clock in hand."""

    def __init__(self, folder):
        self.folder = folder
        self.snapshots = folder / "snapshots"
        self.catalog = Catalog.open(f"sqlite:///{folder / 'catalog.sqlite3'}")
        self.now = 0.0
        self.start()

    def start(self, policies=POLICIES, **options):
        self.holder = Holder()
        self.follower = Follower(
            self.catalog, self.snapshots, policies, self.holder, clock=lambda: self.now, **options
        )


@pytest.fixture
def rig(tmp_path):
    rig = Rig(tmp_path)
    yield rig
    rig.catalog.close()


def test_an_empty_catalog_is_served(rig):
    assert rig.follower.refresh()
    assert rig.holder.current.revision == 0
    assert not is_known(rig.holder.current, 1)


def test_every_new_revision_is_served(rig):
    for number in range(1, 4):
        fill(rig.catalog, rig.folder, [number])
        assert rig.follower.refresh()
        assert rig.holder.current.revision == rig.catalog.head()
        assert is_known(rig.holder.current, number)
    assert not rig.follower.refresh()
    assert not rig.follower.state().behind


def test_a_retraction_takes_the_entry_out(rig):
    fill(rig.catalog, rig.folder, [1, 2])
    rig.follower.refresh()
    entry_id = rig.holder.current.index.entry(0).catalog_id
    rig.catalog.retract("list", [entry_id], author="tester", reason="wrong")
    rig.follower.refresh()
    assert [is_known(rig.holder.current, n) for n in (1, 2)] == [False, True]


def test_a_reader_keeps_the_generation_it_holds(rig):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    held = rig.holder.current
    fill(rig.catalog, rig.folder, [2])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [3])
    rig.follower.refresh()
    assert is_known(held, 1)
    assert not is_known(held, 3)


def test_lists_and_states_reach_the_index(rig):
    shadow = HashList("trial", Harm.CSAM, "someone", state=ListState.SHADOW)
    rig.catalog.create_list(shadow, author="tester")
    fill(rig.catalog, rig.folder, [5], name="trial")
    rig.follower.refresh()
    (listed,) = rig.holder.current.index.lists
    assert (listed.name, listed.state, listed.entries) == ("trial", ListState.SHADOW, 1)
    assert listed.counts[HashKind.MD5] == 1
    assert not is_known(rig.holder.current, 5)


def test_a_restart_opens_what_was_published(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    rig.start()
    monkeypatch.setattr("matcher.follow.makers.build_snapshot", None)  # would fail
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 1)


def test_what_is_held_is_not_verified_again_for_every_revision(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    opened = []
    monkeypatch.setattr(snapshot, "open_current", opened.append)
    fill(rig.catalog, rig.folder, [2])
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 2)
    assert opened == []


def test_a_damaged_pointer_is_published_anew(rig):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    (rig.snapshots / "current").write_text("nonsense")
    rig.start()
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 1)


def test_a_damaged_snapshot_is_built_anew(rig, caplog):
    fill(rig.catalog, rig.folder, [1])
    path = build_snapshot(rig.catalog, rig.snapshots)
    victim = next(each for each in sorted(path.iterdir()) if each.stat().st_size > 200)
    data = bytearray(victim.read_bytes())
    data[-1] ^= 1
    victim.chmod(0o600)
    victim.write_bytes(data)
    with caplog.at_level(logging.WARNING):
        assert rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert "built anew" in caplog.text


def test_matching_goes_on_while_the_catalog_is_away(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    rig.now = 100.0
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    assert not rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    state = rig.follower.state()
    assert state.seconds_since_contact == 100.0
    assert "away" in state.problem


def test_a_lasting_problem_is_logged_once(rig, monkeypatch, caplog):
    rig.follower.refresh()
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    for _ in range(3):
        rig.follower.refresh()
    assert caplog.text.count("WARNING") == 1


def test_a_start_while_the_catalog_is_away_serves_what_was_published(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    rig.start()
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert rig.follower.state().seconds_since_contact == float("inf")


def test_a_start_with_nothing_at_all_is_an_error(rig, monkeypatch):
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    with pytest.raises(CatalogError, match="away"):
        rig.follower.refresh()


def test_a_snapshot_that_cannot_be_written_leaves_the_old_one_serving(rig, monkeypatch):
    rig.start(live_entries=0)  # every change waits for a build
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [2])
    monkeypatch.setattr("matcher.follow.makers.build_snapshot", _fail(OSError("disk full")))
    assert not rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert rig.follower.state().behind
    assert "disk full" in rig.follower.state().problem
    monkeypatch.undo()
    rig.now += 2.0
    assert rig.follower.refresh()
    assert rig.follower.state().problem == ""
    assert is_known(rig.holder.current, 2)


@pytest.mark.parametrize("error", [OverflowError("too large"), MemoryError(), KeyError("x")])
def test_whatever_fails_the_old_one_serves_and_is_told_stale(rig, monkeypatch, caplog, error):
    rig.start(live_entries=0)  # every change waits for a build
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [2])
    monkeypatch.setattr("matcher.follow.makers.build_snapshot", _fail(error))
    for _ in range(3):
        rig.now += 100.0
        assert not rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert rig.follower.state().behind
    assert type(error).__name__ in rig.follower.state().problem
    assert caplog.text.count("WARNING") == 1
    assert "Traceback" in caplog.text


def test_what_cannot_be_built_is_tried_at_growing_intervals(rig, monkeypatch):
    rig.start(live_entries=0)  # every change waits for a build
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [1])
    tried = []

    def fail(*_, **__):
        tried.append(rig.now)
        raise OSError("disk full")

    monkeypatch.setattr("matcher.follow.makers.build_snapshot", fail)
    for _ in range(300):
        rig.now += 1.0
        assert not rig.follower.refresh()
        assert rig.follower.state().behind
        assert rig.follower.state().seconds_since_contact == 0.0
    waits = [later - earlier for earlier, later in itertools.pairwise(tried)]
    assert waits == [2, 4, 8, 16, 32, 60, 60, 60]
    monkeypatch.undo()
    rig.now += 60.0
    assert rig.follower.refresh()
    assert (rig.follower.state().behind, rig.follower.state().problem) == (False, "")


def test_entries_expire_while_the_catalog_is_away(rig, monkeypatch):
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    expiring = HashList("brief", Harm.CSAM, "someone", handling=Handling(expires_at=soon))
    rig.catalog.create_list(expiring, author="tester")
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [1], name="brief")
    rig.follower.refresh()
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    monkeypatch.setattr(rig.follower, "_time", lambda: soon.timestamp() - 1)
    rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    monkeypatch.setattr(rig.follower, "_time", soon.timestamp)
    assert rig.follower.refresh()
    assert not is_known(rig.holder.current, 1)
    monkeypatch.setattr(rig.follower, "_time", lambda: soon.timestamp() - 1)  # a clock set right
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 1)


def test_a_snapshot_of_another_layout_is_built_anew(rig, monkeypatch, caplog):
    fill(rig.catalog, rig.folder, [1])
    with monkeypatch.context() as patch:
        patch.setattr("matcher.index.documents.LAYOUT", 1)
        build_snapshot(rig.catalog, rig.snapshots)
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert "its layout is 1" in caplog.text


def test_an_earlier_layout_is_served_until_all_is_built_anew(rig, monkeypatch):
    """It does not tell which codes were derived, and that is no reason not to match."""
    fill(rig.catalog, rig.folder, [1])
    with monkeypatch.context() as patch:
        patch.setattr("matcher.index.write.index_to_json", _earlier_index)
        build_snapshot(rig.catalog, rig.snapshots)
    with monkeypatch.context() as patch:
        patch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
        assert rig.follower.refresh()
        assert is_known(rig.holder.current, 1)
        assert [each.derivations for each in rig.holder.current.index.segments] == [None]
    fill(rig.catalog, rig.folder, [2], name="more")
    assert rig.follower.refresh()
    rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert is_known(rig.holder.current, 2)
    sealed = Sealed.open_current(rig.snapshots).index
    assert (sealed.segment_names, sealed.segments[0].derivations) == (("base",), ())


def _earlier_index(segments):
    document = index_to_json(segments)
    for each in document["segments"].values():
        del each["derivations"]
    return {**document, "layout": 3}


def test_codes_are_counted_and_not_entries(rig):
    """How many chance hits a list gives depends on its codes."""
    rig.catalog.create_list(HashList("list", Harm.CSAM, "someone"), author="tester")
    context = "http://github.com/VICSDATAMODEL/ProjectVic/DataModels/2.0.xml/US/$metadata#Media"
    rng = np.random.default_rng(1)
    codes = [[rng.bytes(32).hex() for _ in range(9)] for _ in range(4)]
    codes[1][0] = codes[0][0]
    more = [[{"HashName": "PDQ", "HashValue": code} for code in each] for each in codes]
    records = [{"MD5": digest(n).hex(), "AlternativeHashes": each} for n, each in enumerate(more)]
    file = rig.folder / "list.json"
    file.write_text(json.dumps({"@odata.context": context, "value": records}))
    import_file(rig.catalog, file, list_name="list", format="vics", importer="tester")
    rig.follower.refresh()
    (listed,) = rig.holder.current.lists
    assert listed.counts == {HashKind.MD5: 4, HashKind.PDQ: 35}


def test_only_classifications_in_use_are_numbered_and_there_may_be_many(rig, monkeypatch):
    number = 2**16 + 10
    owners = np.arange(number, dtype=np.int64)
    columns = EntryColumns(
        entry_ids=owners,
        list_ids=np.full(number, 9, np.int32),
        classification_ids=(2 * owners).astype(np.int32),
        flags=np.zeros(number, np.uint16),
        sizes=owners,
        expires=np.zeros(number, np.uint32),
        codes={},
    )
    rig.catalog.create_list(HashList("list", Harm.CSAM, "someone"), author="tester")
    with rig.catalog.read() as reader:
        classes = {i: Classification("s", "", str(i)) for i in range(1, 2 * number)}
        record = replace(reader.lists()[0], list_id=9)
        monkeypatch.setattr(reader, "lists", lambda: [record])
        monkeypatch.setattr(reader, "classifications", lambda: classes)
        monkeypatch.setattr(reader, "entry_columns", lambda: iter([columns]))
        monkeypatch.setattr(rig.catalog, "read", lambda: nullcontext(reader))
        rig.follower.refresh()
    index = rig.holder.current.index
    assert len(index.classifications) == number
    assert index.entry(0).classification is None
    assert index.entry(number - 1).classification == Classification("s", "", str(2 * number - 2))


def test_too_many_lists_are_an_error_that_says_so(rig, monkeypatch):
    monkeypatch.setattr("matcher.follow.rows.MAX_LISTS", 1)
    for name in ("one", "two"):
        rig.catalog.create_list(HashList(name, Harm.CSAM, "someone"), author="tester")
    with pytest.raises(SnapshotError, match="2 lists, and a snapshot holds at most 1"):
        rig.follower.refresh()


def test_another_catalog_of_the_same_revision_is_not_mistaken(rig):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    other = Catalog.open(f"sqlite:///{rig.folder / 'other.sqlite3'}")
    fill(other, rig.folder, [2])
    assert other.head() == rig.catalog.head()
    rig.catalog.close()
    own, rig.catalog = rig.catalog, other
    rig.start()
    rig.follower.refresh()
    assert [is_known(rig.holder.current, n) for n in (1, 2)] == [True, False]
    state = rig.follower.state()
    assert "is not the one" in state.problem
    assert state.seconds_since_contact == float("inf")
    rig.catalog = own


def test_another_catalog_takes_no_place_while_following(rig, monkeypatch, caplog):
    """Also where its revision is later, and nothing is published here any more."""
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    rig.now += 7.0
    with Catalog.open(f"sqlite:///{rig.folder / 'other.sqlite3'}") as other:
        for n in (2, 3):
            fill(other, rig.folder, [n], name=f"list-{n}")
        monkeypatch.setattr(rig.catalog, "read", other.read)
        shutil.rmtree(rig.folder / "snapshots")
        for _ in range(2):
            rig.follower.refresh()
            assert [is_known(rig.holder.current, n) for n in (1, 2, 3)] == [True, False, False]
        assert "is not the one" in rig.follower.state().problem
        assert rig.follower.state().seconds_since_contact == 7.0
        assert not (rig.folder / "snapshots").exists()  # and none is built of it
        (told,) = (each for each in caplog.records if "is not the one" in each.message)
        assert told.levelname == "ERROR"
        monkeypatch.undo()
    fill(rig.catalog, rig.folder, [4], name="more")
    rig.follower.refresh()
    assert is_known(rig.holder.current, 4)
    assert "is not the one" not in rig.follower.state().problem


def test_without_a_usable_snapshot_another_catalog_is_no_start(rig, monkeypatch):
    """What is published cannot be opened, but says which catalog it is of."""
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    built = rig.folder / "snapshots" / snapshot.current_name(rig.folder / "snapshots")
    arrays = (each for each in built.iterdir() if each.suffix != ".json")
    largest = max(arrays, key=lambda each: each.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))
    with Catalog.open(f"sqlite:///{rig.folder / 'other.sqlite3'}") as other:
        monkeypatch.setattr(rig.catalog, "read", other.read)
        rig.start()
        with pytest.raises(OtherCatalogError):
            rig.follower.refresh()


def test_a_catalog_restored_from_a_backup_is_followed_back(rig):
    fill(rig.catalog, rig.folder, [1])
    database = rig.folder / "catalog.sqlite3"
    rig.catalog.close()
    backup = database.read_bytes()
    rig.catalog = Catalog.open(f"sqlite:///{database}")
    rig.start()
    fill(rig.catalog, rig.folder, [2])
    rig.follower.refresh()
    rig.catalog.close()
    database.write_bytes(backup)
    rig.follower.refresh()
    assert [is_known(rig.holder.current, n) for n in (1, 2)] == [True, False]


def test_entries_that_expire_stop_matching_without_a_revision(rig, monkeypatch):
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(hours=1)
    expiring = HashList("brief", Harm.CSAM, "someone", handling=Handling(expires_at=soon))
    rig.catalog.create_list(expiring, author="tester")
    fill(rig.catalog, rig.folder, [1], name="brief")
    rig.follower.refresh()
    assert is_known(rig.holder.current, 1)
    assert not rig.follower.refresh()
    set_clocks(rig, monkeypatch, soon.timestamp())
    assert rig.follower.refresh()
    assert not is_known(rig.holder.current, 1)
    assert not rig.follower.refresh()


def test_a_purge_leaves_no_older_snapshot(rig):
    fill(rig.catalog, rig.folder, [1, 2])
    rig.follower.refresh()
    row = next(r for r in range(2) if is_known(rig.holder.current, 1))
    entry_id = rig.holder.current.index.entry(row).catalog_id
    rig.catalog.purge("list", [entry_id], author="tester", reason="by order")
    rig.follower.refresh()
    assert len([each for each in rig.snapshots.iterdir() if each.is_dir()]) == 1
    leads = [digest(n)[:8] for n in (1, 2)]
    left = b"".join(each.read_bytes() for each in rig.snapshots.rglob("*") if each.is_file())
    assert sum(is_known(rig.holder.current, n) for n in (1, 2)) == 1
    assert len([lead for lead in leads if lead in left or lead[::-1] in left]) == 1


def test_a_purge_of_what_is_live_leaves_it_nowhere(rig):
    rig.start(live_entries=100)
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [1, 2])
    rig.follower.refresh()
    view = rig.follower._view
    assert len(view.delta) == 1
    (entry_id,) = view.delta.touched.tolist()
    rig.catalog.purge("list", [entry_id], author="tester", reason="by order")
    rig.follower.refresh()
    assert [is_known(rig.holder.current, n) for n in (1, 2)] == [True, False]
    view = rig.follower._view
    assert (view.purged, len(view.delta), view.delta.pieces) == (False, 0, ())  # built anew at once
    assert view.sealed.lineage.purge_mark == view.mark
    assert view.sealed.lineage.base_revision == view.revision
    held = [each for each in rig.snapshots.iterdir() if each.is_dir()]
    assert [each.name for each in held] == [view.sealed.name]


def test_what_is_live_expires(rig, monkeypatch):
    rig.start(live_entries=100)
    rig.follower.refresh()
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=60)
    expiring = HashList("brief", Harm.CSAM, "someone", handling=Handling(expires_at=soon))
    rig.catalog.create_list(expiring, author="tester")
    fill(rig.catalog, rig.folder, [1], name="brief")
    rig.follower.refresh()
    assert len(rig.follower._view.delta) == 1
    assert is_known(rig.holder.current, 1)
    monkeypatch.setattr(rig.follower, "_time", soon.timestamp)
    assert rig.follower.refresh()
    assert not is_known(rig.holder.current, 1)


def test_what_is_live_is_hidden_early_too(rig, monkeypatch):
    rig.start(live_entries=4)
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    (entry_id,) = rig.follower._view.delta.touched.tolist()
    monkeypatch.setattr("matcher.follow.makers.build_snapshot", _fail(OSError("disk full")))
    rig.catalog.retract("list", [entry_id], author="tester", reason="urgent")
    fill(rig.catalog, rig.folder, range(1, 90))
    assert rig.follower.refresh()
    assert not is_known(rig.holder.current, 1)
    assert rig.follower.state().behind
    assert rig.holder.current.revision < rig.catalog.head()


def test_what_was_hidden_early_does_not_keep_the_snapshot_beneath_it(rig):
    """Or what was purged would stay mapped, and its file's blocks on the disk."""
    rig.start(live_entries=2)
    fill(rig.catalog, rig.folder, [1, 2, 3])
    rig.follower.refresh()
    old = weakref.ref(rig.follower._view.sealed.index.segments[0].arrays["entries.catalog_id"])
    entry_id = rig.holder.current.index.entry(0).catalog_id
    builder, rig.follower._making.builder = rig.follower._making.builder, None
    rig.catalog.purge("list", [entry_id], author="tester", reason="by order")
    fill(rig.catalog, rig.folder, range(2, 40))
    rig.follower.refresh()
    assert rig.follower._view.withdrawn.tolist() == [entry_id]
    rig.follower._making.builder = builder
    rig.follower.refresh()
    assert rig.holder.current.revision == rig.catalog.head()
    gc.collect()
    assert old() is None


def test_a_new_snapshot_is_served_though_the_catalog_has_moved_on_far(rig):
    """Or large changes, one after the other, would be caught up with never."""
    rig.start(live_entries=1)
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    rig.follower._making.builder.close()
    rig.follower._making.builder = None
    fill(rig.catalog, rig.folder, range(1, 40))
    assert not rig.follower.refresh()
    build_snapshot(rig.catalog, rig.snapshots)
    between = rig.catalog.head()
    fill(rig.catalog, rig.folder, range(1, 90))
    assert rig.follower.refresh()
    assert rig.holder.current.revision == between
    assert rig.follower.state().behind
    assert is_known(rig.holder.current, 39)
    assert not is_known(rig.holder.current, 89)


def test_a_snapshot_that_is_mostly_expired_is_built_anew(rig, monkeypatch):
    monkeypatch.setattr("matcher.follow.choosing.HIDDEN_ROWS", 2)
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(seconds=600)
    expiring = HashList("brief", Harm.CSAM, "someone", handling=Handling(expires_at=soon))
    rig.catalog.create_list(expiring, author="tester")
    fill(rig.catalog, rig.folder, range(5), name="brief")
    rig.follower.refresh()
    assert len(rig.holder.current.index.entries) == 5
    set_clocks(rig, monkeypatch, soon.timestamp())
    assert rig.follower.refresh()
    assert not rig.follower.refresh()  # what has only just expired stays, if the clock is wrong
    assert len(rig.holder.current.index.entries) == 5
    set_clocks(rig, monkeypatch, soon.timestamp() + EXPIRED_KEPT_SECONDS)
    rig.follower.refresh()
    assert len(rig.holder.current.index.entries) == 0


def test_base_is_built_anew_sooner_once_few_changes_come(rig, monkeypatch):
    monkeypatch.setattr("matcher.follow.choosing.RECENT_ROWS", 0)
    monkeypatch.setattr("matcher.follow.snapshots.RECENT_ENTRIES", 0)

    def segments(live_entries):
        rig.start(live_entries=live_entries)
        rig.follower.refresh()
        assert is_known(rig.holder.current, 29)
        return [len(each.entries) for each in rig.holder.current.index.segments]

    fill(rig.catalog, rig.folder, range(20))
    build_snapshot(rig.catalog, rig.snapshots)
    fill(rig.catalog, rig.folder, range(20, 29))
    build_snapshot(rig.catalog, rig.snapshots)  # more than a quarter, less than half of base
    fill(rig.catalog, rig.folder, [29])
    assert segments(live_entries=0) == [20, 10]  # what is live is much
    fill(rig.catalog, rig.folder, [0], name="other")
    assert segments(live_entries=10) == [31]
    assert segments(live_entries=10) == [31]  # once


def test_what_comes_while_the_clock_is_wrong_is_not_lost(rig, monkeypatch):
    rig.start(live_entries=100)
    rig.follower.refresh()
    soon = datetime.now(UTC).replace(microsecond=0) + timedelta(minutes=10)
    expiring = HashList("brief", Harm.CSAM, "someone", handling=Handling(expires_at=soon))
    rig.catalog.create_list(expiring, author="tester")
    fill(rig.catalog, rig.folder, [1], name="brief")
    with monkeypatch.context() as patch:
        set_clocks(rig, patch, soon.timestamp() + 3600)
        rig.follower.refresh()
        assert rig.holder.current.revision == rig.catalog.head()
        assert not is_known(rig.holder.current, 1)
    rig.follower.refresh()
    assert is_known(rig.holder.current, 1)


def set_clocks(rig, monkeypatch, seconds):
    """The follower's and the catalog's, to seconds since 1970 UTC."""
    monkeypatch.setattr(rig.follower, "_time", lambda: seconds)
    monkeypatch.setattr("hashlists.catalog.catalog.now_microseconds", lambda: int(seconds * 10**6))


def test_a_small_change_builds_nothing(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    monkeypatch.setattr("matcher.follow.makers.build_snapshot", None)  # would fail
    fill(rig.catalog, rig.folder, [1, 2])
    rig.follower.refresh()
    rig.catalog.update_list("list", state=ListState.SHADOW, author="tester", reason="trial")
    rig.follower.refresh()
    state = rig.follower.state()
    assert (state.problem, state.live_entries, state.revision) == ("", 1, rig.catalog.head())
    assert rig.holder.current.index.lists[0].state is ListState.SHADOW


def test_a_damaged_newer_snapshot_is_refused_once_and_serving_goes_on(rig, caplog):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [2])
    path = build_snapshot(rig.catalog, rig.snapshots, full=True)
    (path / "manifest.json").write_text("nonsense")
    for _ in range(3):
        rig.now += 100
        rig.follower.refresh()
    assert caplog.text.count("WARNING") == 1
    assert "manifest.json" in rig.follower.state().problem
    assert is_known(rig.holder.current, 2)  # from memory
    assert not rig.follower.state().behind
    build_snapshot(rig.catalog, rig.snapshots, full=True)
    rig.follower.refresh()
    assert rig.follower.state().problem == ""


def test_a_damaged_pointer_is_told_while_serving_goes_on(rig):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    (rig.snapshots / "current").write_text("nonsense")
    rig.follower.refresh()
    assert "current" in rig.follower.state().problem
    assert is_known(rig.holder.current, 1)


def test_the_snapshot_before_a_damaged_one_serves_while_the_catalog_is_away(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    build_snapshot(rig.catalog, rig.snapshots)
    fill(rig.catalog, rig.folder, [1, 2])
    newest = build_snapshot(rig.catalog, rig.snapshots)
    (newest / "manifest.json").write_text("nonsense")
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    assert rig.follower.refresh()
    assert [is_known(rig.holder.current, n) for n in (1, 2)] == [True, False]
    assert "away" in rig.follower.state().problem
    assert rig.follower.state().seconds_since_contact == float("inf")


def test_a_newer_snapshot_is_served_while_the_catalog_is_away(rig, monkeypatch):
    fill(rig.catalog, rig.folder, [1])
    rig.follower.refresh()
    fill(rig.catalog, rig.folder, [1, 2])
    build_snapshot(rig.catalog, rig.snapshots)
    monkeypatch.setattr(rig.catalog, "read", _fail(CatalogError("away")))
    assert rig.follower.refresh()
    assert is_known(rig.holder.current, 2)


class Source:
    """A store of snapshots: builds where the real one would fetch."""

    def __init__(self, rig):
        self.rig = rig
        self.problem = ""
        self.seconds_since_contact = float("inf")
        self.erase_previous = False
        self.looks = 0
        self.is_due = True
        self.repaired = []
        self.refused = []

    def refresh(self, *, repair=False, refused=False):
        if not (self.is_due or repair):
            return False
        self.looks += 1
        self.repaired.append(repair)
        self.refused.append(refused)
        if self.problem:
            error = getattr(self, "error", SnapshotError(self.problem))
            if error is None:
                return False
            raise error
        build_snapshot(self.rig.catalog, self.rig.snapshots, full=repair)
        self.seconds_since_contact = 0.0
        return True


class TestReplica:
    @pytest.fixture
    def source(self, rig):
        return Source(rig)

    def start(self, rig, source, catalog=None):
        rig.holder = Holder()
        clock = {"clock": lambda: rig.now}
        rig.follower = Follower(
            catalog, rig.snapshots, POLICIES, rig.holder, source=source, live_entries=1, **clock
        )

    def look(self, rig):
        """Until what is pulled and opened meanwhile is served."""
        for _ in range(4):
            rig.follower.refresh()
            rig.follower._making.puller.wait()
            rig.follower._opener.wait()

    def test_serves_what_is_pulled_without_a_catalog(self, rig, source):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source)
        assert rig.follower.refresh()
        assert is_known(rig.holder.current, 1)
        assert rig.follower.state().seconds_since_contact == 0.0
        fill(rig.catalog, rig.folder, [2])
        self.look(rig)
        assert is_known(rig.holder.current, 2)
        assert not rig.follower.state().behind

    def test_goes_on_while_the_store_is_away(self, rig, source, caplog):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source)
        rig.follower.refresh()
        source.problem = "the store is away"
        for _ in range(3):
            self.look(rig)
        assert is_known(rig.holder.current, 1)
        assert "the store is away" in rig.follower.state().problem
        assert caplog.text.count("WARNING") == 1
        source.problem = ""
        self.look(rig)
        assert rig.follower.state().problem == ""

    def test_a_failure_that_lasts_is_counted_once_for_each_look(self, rig, source):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source)
        rig.follower.refresh()
        self.look(rig)
        well, source.problem = source.looks, "the store is away"
        while source.looks < 20:
            self.look(rig)
        looks, source.is_due = source.looks, False
        for _ in range(5):
            self.look(rig)
        assert source.looks == looks
        state = rig.follower.state()
        assert (state.builds, state.build_failures) == (well, looks - well)
        assert "the store is away" in state.problem

    def test_a_start_serves_the_one_before_where_the_last_cannot_be_opened(self, rig, source):
        fill(rig.catalog, rig.folder, [1])
        first = build_snapshot(rig.catalog, rig.snapshots)
        fill(rig.catalog, rig.folder, [2])
        last = build_snapshot(rig.catalog, rig.snapshots)
        whole = (last / "manifest.json").read_bytes()
        (last / "manifest.json").write_text("nonsense")
        source.problem, source.erase_previous = "the store is away", True
        self.start(rig, source)
        assert rig.follower.refresh()
        self.look(rig)
        state = rig.follower.state()
        assert (is_known(rig.holder.current, 1), state.snapshot) == (True, first.name)
        assert (state.behind, last.name in state.problem) == (True, True)
        assert source.refused[-1]
        assert first.is_dir()  # whatever must go: there is nothing else for a next start
        (last / "manifest.json").write_bytes(whole)
        rig.now += 120
        self.look(rig)
        assert is_known(rig.holder.current, 2)
        assert not rig.follower.state().behind
        assert not first.exists()

    def test_nothing_pulled_at_the_start_is_an_error(self, rig, source):
        source.problem = "the store is away"
        self.start(rig, source)
        with pytest.raises(SnapshotError, match="the store is away"):
            rig.follower.refresh()

    def test_what_may_come_later_is_told_apart_and_served_once_it_is_there(self, rig, source):
        """So that a server may wait for it; a source tells an error once, and then by `problem`."""
        empty = SnapshotStoreError("nothing is published there")
        source.problem, source.error = "nothing is published there", empty
        self.start(rig, source)
        for _ in range(2):
            with pytest.raises(SnapshotStoreError, match="nothing is published"):
                rig.follower.refresh()
            source.error = None
        assert rig.follower.state().problem.count("nothing is published") == 1
        source.problem = ""
        fill(rig.catalog, rig.folder, [1])
        assert rig.follower.refresh()
        assert is_known(rig.holder.current, 1)
        assert rig.follower.state().problem == ""

    def test_another_process_that_pulls_is_waited_for(self, rig, source, monkeypatch):
        self.start(rig, source)
        monkeypatch.setattr(source, "refresh", lambda **_: False)  # it found the other at work
        with pytest.raises(SnapshotStoreError, match="another process"):
            rig.follower.refresh()

    def test_it_pulls_though_its_catalog_is_away(self, rig, source, monkeypatch):
        fill(rig.catalog, rig.folder, [1])
        away = mock.Mock()
        away.read.side_effect = CatalogError("away")
        self.start(rig, source, away)
        assert rig.follower.refresh()
        assert is_known(rig.holder.current, 1)
        assert "away" in rig.follower.state().problem

    def test_the_end_does_not_wait_for_a_first_pull_that_hangs(self, rig, source, monkeypatch):
        begun, go_on = threading.Event(), threading.Event()

        def refresh(**_):
            begun.set()
            go_on.wait()

        monkeypatch.setattr(source, "refresh", refresh)
        self.start(rig, source)
        failures = []

        def look():
            try:
                rig.follower.refresh()
            except SnapshotError as error:
                failures.append(str(error))

        looking = threading.Thread(target=look)
        looking.start()
        begun.wait()
        closing = threading.Thread(target=rig.follower.close)
        closing.start()
        looking.join()
        go_on.set()
        closing.join()
        assert failures == ["no snapshot is made any more: the process is ending"]

    def test_neither_catalog_nor_store_nor_snapshot_is_an_error(self, rig):
        self.start(rig, None)
        with pytest.raises(SnapshotError, match="no snapshot is published"):
            rig.follower.refresh()
        fill(rig.catalog, rig.folder, [1])
        build_snapshot(rig.catalog, rig.snapshots)
        assert rig.follower.refresh()
        assert rig.follower.state().seconds_since_contact == float("inf")

    def test_with_a_catalog_it_follows_and_never_builds(self, rig, source, monkeypatch):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source, rig.catalog)
        rig.follower.refresh()
        monkeypatch.setattr("matcher.follow.makers.build_snapshot", None)  # would fail
        fill(rig.catalog, rig.folder, [1, 2])
        assert rig.follower.refresh()
        assert is_known(rig.holder.current, 2)
        rig.follower._making.puller.wait()
        fill(rig.catalog, rig.folder, range(20))
        self.look(rig)
        assert is_known(rig.holder.current, 19)
        assert rig.follower.state().problem == ""

    def test_what_was_pulled_and_is_damaged_is_fetched_anew(self, rig, source):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source)
        rig.follower.refresh()
        fill(rig.catalog, rig.folder, [2])
        path = build_snapshot(rig.catalog, rig.snapshots, full=True)
        (path / "manifest.json").write_text("nonsense")
        self.look(rig)
        assert True in source.repaired
        assert is_known(rig.holder.current, 2)

    def test_the_previous_one_goes_where_the_store_says_so(self, rig, source):
        fill(rig.catalog, rig.folder, [1])
        self.start(rig, source)
        rig.follower.refresh()
        source.erase_previous = True
        fill(rig.catalog, rig.folder, [2])
        self.look(rig)
        assert len([each for each in rig.snapshots.iterdir() if each.is_dir()]) == 1


def test_old_snapshots_do_not_pile_up(rig):
    for number in range(6):
        fill(rig.catalog, rig.folder, [number])
        rig.follower.refresh()
    folders = [each for each in rig.snapshots.iterdir() if each.is_dir()]
    assert len(folders) <= 2


def test_a_policy_that_does_not_fit_stops_the_start_and_never_a_running_service(rig, caplog):
    document = {"policies": {"default": {"lists": ["later"]}}}
    rig.start(policies_from_dict(document, origin="test"))
    with pytest.raises(PolicyError, match="later"):
        rig.follower.refresh()


def test_the_command_line_opens_the_newest_revision_at_once(rig):
    fill(rig.catalog, rig.folder, [1])
    generation = open_generation(rig.catalog, rig.snapshots, POLICIES)
    assert is_known(generation, 1)
    assert {each.name for each in generation.index.lists} == {"hashwarden-test", "list"}


@pytest.mark.parametrize("kind", [each.value for each in CODE64_KINDS])
def test_a_list_of_64_bit_codes_alone_matches_near(rig, kind):
    image = published_test_image().data
    pool = InProcessPool(workers=1)
    try:
        request = DecodeRequest(kinds64=frozenset({HashKind(kind)}))
        (hashes,) = hash_items(
            [digest_bytes(image)], [pool.submit(image, request).result()], [request]
        )
        rig.catalog.create_list(HashList("codes", Harm.CSAM, "someone"), author="tester")
        file = rig.folder / "codes.csv"
        file.write_text(f"code\n{hashes.views[0].codes[HashKind(kind)].hex()}\n")
        import_file(
            rig.catalog,
            file,
            list_name="codes",
            format="csv",
            options={f"columns.{kind}": "code"},
            importer="tester",
        )
        rig.follower.refresh()
        wanted = rig.holder.current.policy_for(DEFAULT_OPTIONS).request
        assert wanted.kinds64 == {HashKind(kind)}
        decoded = pool.submit(image, wanted).result()
    finally:
        pool.close()
    (item,) = hash_items([digest_bytes(b"another file")], [decoded], [wanted])
    (result,) = match_items(rig.holder.current, [item], [DEFAULT_OPTIONS])
    assert result.decision is Decision.REVIEW
    assert {(each.list_name, each.kind.value) for each in result.matches} == {("codes", kind)}


def test_the_built_in_list_is_made_once(rig):
    ensure_test_list(rig.catalog)
    head = rig.catalog.head()
    ensure_test_list(rig.catalog)
    assert rig.catalog.head() == head


def test_the_built_in_list_is_filled_after_a_start_that_was_cut_off(rig):
    rig.catalog.create_list(
        HashList("hashwarden-test", Harm.TEST, "Hashwarden"), author="hashwarden"
    )
    ensure_test_list(rig.catalog)
    assert rig.catalog.get_list("hashwarden-test").coverage.entries == 1


class TestSelfTest:
    @pytest.fixture
    def pool(self):
        pool = InProcessPool(workers=1)
        yield pool
        pool.close()

    def test_passes_on_every_catalog(self, rig, pool):
        check(open_generation(rig.catalog, rig.snapshots, POLICIES), pool)

    def test_passes_whatever_policies_say(self, rig, pool):
        document = {"policies": {"default": {"lists": ["list"]}}}
        fill(rig.catalog, rig.folder, [1])
        policies = policies_from_dict(document, origin="test")
        generation = open_generation(rig.catalog, rig.snapshots, policies)
        check(generation, pool)
        image = published_test_image()
        item = ImageHashes({HashKind.SHA256: image.hashes[HashKind.SHA256]}, size=None)
        (result,) = match_items(generation, [item], [DEFAULT_OPTIONS])
        assert result.decision is Decision.MATCH

    def test_fails_where_nothing_matches(self, rig, pool):
        rig.follower.refresh()
        with pytest.raises(SelfTestError, match="no exact match"):
            check(rig.holder.current, pool)

    def test_fails_where_hashes_differ(self, rig, pool, monkeypatch):
        generation = open_generation(rig.catalog, rig.snapshots, POLICIES)
        monkeypatch.setattr("matcher.selftest.hash_items", lambda *_: [ImageHashes({}, None)])
        with pytest.raises(SelfTestError, match="another pdq"):
            check(generation, pool)

    def test_fails_where_golden_vectors_do(self, rig, pool, monkeypatch):
        generation = open_generation(rig.catalog, rig.snapshots, POLICIES)
        monkeypatch.setattr(golden, "check", _fail(ArithmeticError("phash")))
        with pytest.raises(SelfTestError, match="golden vectors: phash"):
            check(generation, pool)


def test_the_index_may_be_empty_in_a_generation():
    from matcher.index.match_index import MatchIndex

    assert Generation(MatchIndex.empty(), POLICIES).lists == ()


def test_an_unreadable_published_snapshot_is_built_anew_once(rig, monkeypatch):
    build_snapshot(rig.catalog, rig.snapshots)
    opened = iter([SnapshotError("foreign"), SnapshotError("foreign")])
    real = snapshot.open_current

    def open_current(*args, **options):
        if (error := next(opened, None)) is not None:
            raise error
        return real(*args, **options)

    monkeypatch.setattr(snapshot, "open_current", open_current)
    assert rig.follower.refresh()
    assert rig.follower.state().problem == ""


def _fail(error):
    def fail(*_, **__):
        raise error

    return fail
