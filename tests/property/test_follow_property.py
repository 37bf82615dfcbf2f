"""Whatever happens to a catalog, what is served is one revision of it, entry by entry."""

from __future__ import annotations

import shutil
import tempfile
import threading
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar
from unittest import mock

import pytest
from hypothesis import HealthCheck, note, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    precondition,
    rule,
    run_state_machine_as_test,
)

from hashlists.catalog import Catalog, DerivedAction, DerivedHash
from hashlists.errors import CatalogError, DerivedHashError
from hashlists.model import NO_ONWARD_SHARING, Harm, HashKind, HashList, ListState
from matcher.follow import choosing, delta, snapshots
from matcher.follow.building import BackgroundBuilder
from matcher.follow.follower import Follower
from matcher.follow.snapshots import build_snapshot
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import CLASS_1, CLASS_2, Item, bring
from tests.follow_support import NAMES, VERSIONS, Known, State, extra, found_in, read_state

if TYPE_CHECKING:
    from matcher.index.match_index import MatchIndex

WHO = {"author": "an operator", "reason": "why"}
LISTS = ("first", "second")
START = 1_900_000_000  # seconds
KINDS = (
    (HashKind.MD5,),
    (HashKind.MD5, HashKind.PDQ),
    (HashKind.PDQ, HashKind.PHASH, HashKind.SHA256),
    (HashKind.PHOTODNA,),
)


#: Small, so that a few changes are many.
LIVE_ENTRIES = 6
LIVE_GROWTH = 2
MERGED_ENTRIES = 4
RECENT_ENTRIES = 25


class GatedBuild:
    """Builds in the background, but waits between reading and writing until it is let through."""

    def __init__(self, catalog: Catalog, folder: Path) -> None:
        self._catalog = catalog
        self._folder = folder
        self._gate = threading.Event()
        self._reached = threading.Event()
        self.builder = BackgroundBuilder(self._build)
        self._write = snapshots._Plan.write

    def _build(self, order: object) -> None:
        def write(plan, writer):
            self._reached.set()
            assert self._gate.wait(60)
            self._write(plan, writer)

        try:
            with mock.patch.object(snapshots._Plan, "write", write):
                build_snapshot(self._catalog, self._folder, full=order.full, seen=order.seen)
        finally:
            self._reached.set()

    def settle(self) -> None:
        """Waits until a build that was begun has read the catalog."""
        if self.builder.running:
            assert self._reached.wait(60)

    def finish(self) -> bool:
        was_running = self.builder.running
        self._gate.set()
        self.builder.wait()
        self._gate.clear()
        self._reached.clear()
        return was_running


class LateThread:
    """Stands in for the thread that opens a snapshot: it does so when somebody waits for it."""

    def __init__(self, *, target, name: str, daemon: bool) -> None:
        self._work = target

    def start(self) -> None:
        """Begins later."""

    def join(self) -> None:
        work, self._work = self._work, None
        if work is not None:
            work()


records = st.lists(
    st.builds(
        Item,
        st.sampled_from(NAMES),
        st.sampled_from(KINDS),
        st.integers(0, VERSIONS - 1),
        size=st.sampled_from([None, 100]),
        classification=st.sampled_from([None, CLASS_1, CLASS_2]),
        flags=st.integers(0, 3),
    ),
    min_size=1,
    max_size=8,
    unique_by=lambda item: item.name,
)
few_records = st.builds(lambda some: some[:2], records)
some_names = st.lists(st.sampled_from(NAMES), min_size=1, max_size=4, unique=True)
a_list = st.sampled_from(LISTS)


class FollowMachine(RuleBasedStateMachine):
    """A catalog that changes, is restored and goes away, and a follower that looks now and then."""

    template: ClassVar[Path]

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp())
        self.file = self.folder / "catalog.db"
        self.snapshots = self.folder / "snapshots"
        shutil.copyfile(self.template, self.file)
        self.now = START
        self.patches = [
            mock.patch("os.fsync"),
            mock.patch.object(snapshots, "RECENT_ENTRIES", RECENT_ENTRIES),
            mock.patch.object(choosing, "LIVE_GROWTH", LIVE_GROWTH),
            mock.patch.object(choosing, "READ_GROWTH", LIVE_GROWTH),
            mock.patch.object(delta, "MERGED_ENTRIES", MERGED_ENTRIES),
            mock.patch("matcher.follow.follower._FEW_CHANGES", 0),
            mock.patch("matcher.follow.follower._WITHDRAWING_SECONDS", 0.0),
            mock.patch("hashlists.catalog.catalog.now_microseconds", self.microseconds),
            mock.patch(
                "matcher.follow.opening.threading", mock.Mock(wraps=threading, Thread=LateThread)
            ),
        ]
        for each in self.patches:
            each.start()
        self.history: dict[str, State] = {}
        self.purged: set[tuple[HashKind, bytes]] = set()
        self.purged_ids: set[int] = set()
        self.backup: Path | None = None
        self.ids: dict[tuple[str, str], int] = {}
        self.catalog = Catalog.open(f"sqlite:///{self.file}")
        self.start()

    def microseconds(self) -> int:
        return self.now * 10**6

    def start(self) -> None:
        self.holder = Holder()
        self.follower = Follower(
            self.catalog,
            self.snapshots,
            {"default": default_policy()},
            self.holder,
            live_entries=LIVE_ENTRIES,
            clock=lambda: float(self.now),
            wall_clock=lambda: float(self.now),
        )
        self.build = GatedBuild(self.catalog, self.snapshots)
        self.served: dict[int, Known] | None = None
        self.expires: dict[int, int] = {}

    def started(self) -> None:
        """From here on snapshots are built and opened in the background."""
        self.follower._making.builder = self.build.builder
        self.follower._opener._background = True

    def teardown(self) -> None:
        self.build.finish()
        self.catalog.close()
        for each in self.patches:
            each.stop()
        shutil.rmtree(self.folder)

    @initialize()
    def create(self) -> None:
        for name in LISTS:
            hash_list = HashList(name, Harm.CSAM, "someone")
            self.catalog.create_list(hash_list, author="a person")
        first = [Item(name, KINDS[1]) for name in NAMES[:5]]
        self.bring("first", first, None, extras=False)
        self.look()

    def remember(self) -> None:
        with self.catalog.read() as reader:
            mark = reader.revision_mark(reader.revision)
            if mark not in self.history:
                self.history[mark] = read_state(reader)

    # What happens to the catalog

    @rule(
        name=a_list,
        chosen=few_records | records,
        lasts=st.sampled_from([None, 1, 5]),
        extras=st.booleans(),
    )
    def bring(self, name: str, chosen: list[Item], lasts: int | None, extras: bool) -> None:
        handling = NO_ONWARD_SHARING
        if lasts is not None:
            moment = datetime.fromtimestamp(self.now + lasts, UTC)
            handling = replace(handling, expires_at=moment)
        more = [
            replace(
                item,
                handling=handling,
                extra=(extra(item.name),) if extras and HashKind.PDQ in item.kinds else (),
            )
            for item in chosen
        ]
        bring(self.catalog, more, list_name=name)
        self.learn_ids()
        self.remember()

    def learn_ids(self) -> None:
        with self.catalog._engine.connect() as connection:
            rows = connection.exec_driver_sql(
                "SELECT l.name, e.source_key, e.entry_id FROM entries e"
                " JOIN hash_lists l ON l.list_id = e.list_id"
            ).all()
        self.ids = {(name, bytes(key)[1:].decode()): entry_id for name, key, entry_id in rows}

    def some_ids(self, name: str, names: list[str]) -> list[int]:
        return [self.ids[name, each] for each in names if (name, each) in self.ids]

    @rule(
        name=a_list,
        names=some_names,
        action=st.sampled_from(DerivedAction),
        made=st.sampled_from(["crop:0.02", "file"]),
    )
    def derive(self, name: str, names: list[str], action: DerivedAction, made: str) -> None:
        rows = []
        for each in names:
            for entry_id in self.some_ids(name, [each]):
                hashes = self.catalog.entry(entry_id).hashes
                digest = next((of for of in hashes.items() if of[0].is_digest), None)
                if digest is not None:
                    codes = {extra(each)[1], hashes.get(HashKind.PDQ, extra(each)[1])}
                    rows += [
                        DerivedHash(entry_id, HashKind.PDQ, code, made, *digest) for code in codes
                    ]
        with suppress(DerivedHashError):  # what was purged does not come back
            self.catalog.add_derived(name, rows, action=action, **WHO)
        self.remember()

    @rule(name=a_list, names=some_names)
    def retract(self, name: str, names: list[str]) -> None:
        self.catalog.retract(name, self.some_ids(name, names), **WHO)
        self.remember()

    @rule(name=a_list, names=some_names)
    def restore(self, name: str, names: list[str]) -> None:
        self.catalog.restore(name, self.some_ids(name, names), **WHO)
        self.remember()

    @rule(name=a_list, names=some_names)
    def purge(self, name: str, names: list[str]) -> None:
        ids = self.some_ids(name, names)
        if not ids:
            return
        for state in self.history.values():
            for each in set(ids) & state.entries.keys():
                self.purged |= state.entries[each][-1]
        self.purged_ids |= set(ids)
        self.catalog.purge(name, ids, **WHO)
        self.learn_ids()
        self.remember()

    @rule(name=a_list, back=st.integers(1, 4))
    def roll_back(self, name: str, back: int) -> None:
        numbers = [each.number for each in self.catalog.list_revisions(name)]
        if len(numbers) > back:
            self.catalog.rollback(name, numbers[back], **WHO)
            self.remember()

    @rule(name=a_list, state=st.sampled_from(ListState))
    def change_state(self, name: str, state: ListState) -> None:
        self.catalog.update_list(name, state=state, **WHO)
        self.remember()

    @rule()
    def back_up(self) -> None:
        self.catalog.close()
        self.backup = self.folder / "backup.db"
        with self.catalog._engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA wal_checkpoint(TRUNCATE)")
        self.catalog.close()
        shutil.copyfile(self.file, self.backup)

    @precondition(lambda self: self.backup is not None)
    @rule()
    def restore_backup(self) -> None:
        self.build.settle()  # it has read the catalog: copying harms nothing
        self.catalog.close()
        for each in self.folder.glob("catalog.db-*"):
            each.unlink()
        shutil.copyfile(self.backup, self.file)
        self.learn_ids()

    # What happens to the follower

    @rule()
    def look(self) -> None:
        self.follower.refresh()
        self.started()
        self.build.settle()
        self.compare()

    @rule(name=a_list, chosen=few_records)
    def bring_and_look(self, name: str, chosen: list[Item]) -> None:
        self.bring(name, chosen, None, extras=False)
        self.look()

    @rule(name=a_list, names=some_names)
    def retract_and_look(self, name: str, names: list[str]) -> None:
        self.retract(name, names[:2])
        self.look()

    @rule(seconds=st.integers(1, 3))
    def pass_time(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def finish_build(self) -> None:
        self.build.finish()

    @rule()
    def finish_opening(self) -> None:
        self.follower._opener.wait()

    @precondition(lambda self: not self.build.builder.running)
    @rule(full=st.booleans())
    def another_process_builds(self, full: bool) -> None:
        build_snapshot(self.catalog, self.snapshots, full=full)

    @rule()
    def restart(self) -> None:
        self.build.finish()
        self.start()

    @rule(name=a_list, names=some_names)
    def purge_and_settle(self, name: str, names: list[str]) -> None:
        self.purge(name, names[:1])
        self.settle()

    @rule(name=a_list, chosen=few_records)
    def bring_for_a_moment(self, name: str, chosen: list[Item]) -> None:
        self.bring(name, chosen, 2, extras=False)
        self.look()
        self.now += 2
        self.look()

    @rule(name=a_list, names=some_names, chosen=records)
    def retract_while_much_comes(self, name: str, names: list[str], chosen: list[Item]) -> None:
        self.look()
        self.retract(name, names)
        for each in LISTS:
            self.bring(each, chosen, None, extras=False)
        self.look()

    @rule(name=a_list, names=some_names, chosen=records)
    def restore_to_what_is_served(self, name: str, names: list[str], chosen: list[Item]) -> None:
        self.look()
        self.back_up()
        self.retract_while_much_comes(name, names, chosen)
        self.restore_backup()
        self.look()

    @precondition(lambda self: self.served is not None)
    @rule()
    def look_in_vain(self) -> None:
        with mock.patch.object(self.catalog, "read", side_effect=CatalogError("away")):
            self.follower.refresh()
        self.build.settle()
        view = self.follower._view
        found = found_in(self.holder.current.index)
        if view.mark in self.history:
            # Of one revision still, and nothing that has expired; some may be hidden early.
            expected = self.history[view.mark].at(self.now)
            assert found.items() <= expected.items()
            if not len(view.withdrawn) and not len(view.ending):
                assert found == expected

    @rule()
    def settle(self) -> None:
        """Left alone for a while, the follower ends at the newest revision."""
        for _ in range(8):
            self.follower.refresh()
            self.started()
            self.build.settle()
            self.build.finish()
            self.follower._opener.wait()
            self.now += 60  # any wait after a failure is over
        self.follower.refresh()
        self.build.settle()
        self.compare()
        state = self.follower.state()
        assert (state.behind, state.problem) == (False, "")
        assert state.live_entries <= LIVE_ENTRIES // 2
        self.require_erased()

    def compare(self) -> None:
        view, index = self.follower._view, self.holder.current.index
        found = found_in(index)
        with self.catalog.read() as reader:
            now = read_state(reader)
            head, stands = reader.revision, view.stands(reader)
            withdrawn = set(reader.out_of_force_since(view.revision).tolist())
            ended = set(reader.ids_with_new_ends(view.revision).tolist())
            withdrawn |= ended - now.at(self.now).keys()
        note(f"serving {view.revision} of {head}, {len(view.delta)} live, need {view.purged}")
        assert index.revision == view.revision
        if stands and view.revision == head:
            assert found == now.at(self.now)
            assert {each.name: each.state for each in index.lists} == now.lists
            assert not self.follower.state().behind
            self.compare_counts(now, index)
        else:
            assert self.follower.state().behind
            then = self.history[view.mark].at(self.now)
            if not stands:
                # A backup was restored: what was hidden early stays so until its state is served.
                withdrawn = {*view.withdrawn.tolist(), *view.ending[view.ends <= self.now].tolist()}
            assert found == {key: known for key, known in then.items() if key not in withdrawn}
        self.served = found

    def compare_counts(self, now: State, index: MatchIndex) -> None:
        for each in index.lists:
            mine = [known[-1] for known in now.entries.values() if known[0] == each.name]
            codes = {pair for values in mine for pair in values}
            for kind in HashKind:
                true = sum(1 for of_kind, _ in codes if of_kind is kind)
                assert each.counts.get(kind, 0) >= true

    def require_erased(self) -> None:
        # A value that another entry has or had may stay: that one was not purged.
        kept = {
            pair
            for state in self.history.values()
            for entry_id, known in state.entries.items()
            if entry_id not in self.purged_ids
            for pair in known[-1]
        }
        if self.backup is not None:  # what a backup brought back is not purged any more
            return
        files = [each for each in self.snapshots.rglob("*") if each.is_file()]
        left = b"".join(each.read_bytes() for each in files)
        for kind, code in self.purged - kept:
            assert (code[8:] if kind.is_digest else code) not in left


@pytest.mark.timeout(170)
def test_what_is_served_is_what_the_catalog_shows(tmp_path):
    FollowMachine.template = tmp_path / "template.db"
    with Catalog.open(f"sqlite:///{FollowMachine.template}") as catalog:
        assert catalog.wipe_deleted()
    profile = settings()
    run_state_machine_as_test(
        FollowMachine,
        settings=settings(
            max_examples=max(10, profile.max_examples // 3),
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
