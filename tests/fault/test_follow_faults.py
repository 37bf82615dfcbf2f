"""Following while builders die, disks are full, and several processes want the same."""

from __future__ import annotations

import errno
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from unittest import mock

import psutil
import pytest

from hashlists.catalog import Catalog, CatalogReader
from hashlists.errors import CatalogError, SnapshotError
from hashlists.model import HashKind
from hashlists.snapshot import SnapshotWriter, current_name, sweeping
from matcher.follow import child, snapshots
from matcher.follow.building import BuildOrder
from matcher.follow.child import MAX_ANSWER_BYTES, ChildProcess
from matcher.follow.follower import Follower
from matcher.follow.lock import build_lock, is_build_locked
from matcher.follow.opening import Opener
from matcher.follow.problems import Problems
from matcher.follow.snapshots import build_snapshot
from matcher.follow.view import Sealed, View
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, bring, items
from tests.follow_support import found_in, read_state

ROOT = Path(__file__).parents[2]
POLICIES = {"default": default_policy()}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/catalog.db"


@pytest.fixture
def catalog(url):
    with Catalog.open(url) as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items("a", "b", "c", kinds=(HashKind.MD5, HashKind.PDQ)))
        yield opened


@pytest.fixture
def root(tmp_path):
    return tmp_path / "snapshots"


def snapshots_in(root: Path) -> list[str]:
    return sorted(each.name for each in root.glob("snapshot-*"))


def leftovers(root: Path) -> list[str]:
    known = ("snapshot-", "current", ".build.lock", ".withdrawn.lock")
    return [each.name for each in root.iterdir() if not each.name.startswith(known)]


def serves_the_newest(holder: Holder, catalog: Catalog) -> bool:
    with catalog.read() as reader:
        return found_in(holder.current.index) == read_state(reader).entries


def until(condition, *, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "it did not come to be"
        time.sleep(0.02)


def python_child(monkeypatch, code: str) -> None:
    """Makes the builder's child run `code` instead of the builder."""
    real = subprocess.Popen

    def popen(command, **options):
        assert command[1:] == ["-m", "matcher.follow.build"]
        return real([sys.executable, "-c", code], **options)

    monkeypatch.setattr("matcher.follow.child.subprocess.Popen", popen)


class TestChildProcess:
    def test_two_at_once_build_once(self, catalog, url, root):
        """Both are asked while nothing is published; one builds, and its snapshot does for both."""
        order = BuildOrder(seen="")
        answers = []
        threads = [
            threading.Thread(target=lambda: answers.append(ChildProcess(url, root).build(order)))
            for _ in range(2)
        ]
        for each in threads:
            each.start()
        for each in threads:
            each.join()
        assert answers == [current_name(root)] * 2
        assert snapshots_in(root) == [current_name(root)]

    def test_its_url_stands_on_no_command_line(self, url, root, monkeypatch):
        seen = []

        def popen(command, **options):
            seen.extend([command, options.get("env")])
            raise OSError("no process")

        monkeypatch.setattr("matcher.follow.child.subprocess.Popen", popen)
        with pytest.raises(OSError, match="no process"):
            ChildProcess(url, root).build(BuildOrder(seen=""))
        assert url not in str(seen)

    def test_its_error_is_the_parents(self, tmp_path, root):
        with pytest.raises(CatalogError, match="no file"):
            ChildProcess(f"sqlite:///{tmp_path}", root).build(BuildOrder(seen=""))

    @pytest.mark.parametrize(
        "code",
        [
            "import os; os.kill(os.getpid(), 9)",
            "print('nonsense')",
            "print('[1]')",
            "print('{\"snapshot\": 3}')",
            f"print('x' * {MAX_ANSWER_BYTES + 1})",
            "import os; os.close(0)",
        ],
    )
    def test_one_that_dies_or_talks_nonsense_is_an_error(self, url, root, monkeypatch, code):
        python_child(monkeypatch, code)
        with pytest.raises(SnapshotError, match="ended early"):
            ChildProcess(url, root).build(BuildOrder(seen=""))

    def test_an_error_without_a_reason_is_told(self, url, root, monkeypatch):
        answer = json.dumps({"error": {"message": "something"}})
        python_child(monkeypatch, f"print('''{answer}''')")
        with pytest.raises(SnapshotError, match="something"):
            ChildProcess(url, root).build(BuildOrder(seen=""))

    def test_one_that_hangs_is_killed(self, url, root, monkeypatch):
        python_child(monkeypatch, "import time; time.sleep(600)")
        started = time.monotonic()
        with pytest.raises(SnapshotError, match=f"status {-signal.SIGKILL}"):
            ChildProcess(url, root, seconds=0.3).build(BuildOrder(seen=""))
        assert time.monotonic() - started < 60

    def test_stopping_ends_it(self, url, root, monkeypatch):
        python_child(monkeypatch, "import time; time.sleep(600)")
        builder, converse = ChildProcess(url, root), child._converse

        def stop_and_converse(process, arguments):
            assert process.poll() is None
            builder.stop()
            return converse(process, arguments)

        monkeypatch.setattr(child, "_converse", stop_and_converse)
        with pytest.raises(SnapshotError, match="ended early"):
            builder.build(BuildOrder(seen=""))
        with pytest.raises(SnapshotError, match="process is ending"):
            builder.build(BuildOrder(seen=""))


def test_a_builder_that_hangs_ends_with_its_parent(catalog, url, root):
    """Or its lock would keep all others from building."""
    build_snapshot(catalog, root)
    code = (
        "import sys; from pathlib import Path; from matcher.follow.building import BuildOrder\n"
        "from matcher.follow.child import ChildProcess\n"
        "ChildProcess(sys.argv[1], Path(sys.argv[2])).build(BuildOrder(seen='', full=True))"
    )
    with build_lock(root):  # the builder waits for it, and so hangs
        parent = subprocess.Popen([sys.executable, "-c", code, url, str(root)], cwd=ROOT)
        try:
            builder = psutil.Process(parent.pid)
            until(lambda: builder.children() and waits_for_lock(builder.children()[0], root))
            (child_of_it,) = builder.children()
        finally:
            parent.kill()
            parent.wait()
        until(lambda: has_ended(child_of_it))


def has_ended(process: psutil.Process) -> bool:
    """Also where nobody has taken note of its end yet."""
    try:
        return process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def waits_for_lock(process: psutil.Process, root: Path) -> bool:
    return str(root / ".build.lock") in [each.path for each in process.open_files()]


class TestFollowing:
    def follow(self, catalog, root, **options):
        """A follower over a snapshot that is there, so that no first start waits for a child."""
        build_snapshot(catalog, root)
        holder = Holder()
        return Follower(catalog, root, POLICIES, holder, **options), holder

    def test_a_large_change_is_built_in_the_background(self, catalog, url, root):
        holder = Holder()
        follower = Follower(catalog, root, POLICIES, holder, catalog_url=url, live_entries=2)
        assert follower.refresh()  # the very first start waits
        bring(catalog, items("d", "e", "f"))
        held = holder.current
        assert not follower.refresh()
        assert holder.current is held
        assert follower.state().behind
        until(lambda: follower.refresh() or not follower.state().behind)
        assert serves_the_newest(holder, catalog)
        follower.close()

    def test_a_retraction_does_not_wait_for_a_build(self, catalog, url, root):
        follower, holder = self.follow(catalog, root, catalog_url=url, live_entries=2)
        follower.refresh()
        with catalog.read() as reader:
            gone = min(read_state(reader).entries)
        with build_lock(root):  # another process builds for as long as this lasts
            bring(catalog, items(*"defghijkl"))
            catalog.retract("demo", [gone], author="me", reason="urgent")
            assert follower.refresh()
            found = found_in(holder.current.index)
            assert gone not in found
            assert len(found) == 2
            assert (follower.state().behind, follower.state().building) == (True, False)
            catalog.restore("demo", [gone], author="me", reason="wrong")
            follower.refresh()
            assert gone in found_in(holder.current.index)
        follower.close()

    def test_a_killed_builder_is_told_and_another_one_comes(self, catalog, url, root, monkeypatch):
        now = [0.0]
        follower, holder = self.follow(
            catalog, root, catalog_url=url, live_entries=0, clock=lambda: now[0]
        )
        follower.refresh()
        bring(catalog, items("d"))
        with monkeypatch.context() as patch:
            python_child(patch, "import os; os.kill(os.getpid(), 9)")
            follower.refresh()
            until(lambda: not follower.state().building)
            follower.refresh()
        assert "ended early" in follower.state().problem
        now[0] += 60
        until(lambda: follower.refresh() or not follower.state().problem)
        assert serves_the_newest(holder, catalog)
        assert not follower.state().behind
        follower.close()

    def test_closing_ends_a_build(self, catalog, url, root, monkeypatch):
        follower, _ = self.follow(catalog, root, catalog_url=url, live_entries=0)
        follower.refresh()
        bring(catalog, items("d"))
        python_child(monkeypatch, "import time; time.sleep(600)")
        follower.refresh()
        assert follower.state().building
        follower.close()
        assert not follower.state().building

    def test_two_servers_end_at_the_newest(self, catalog, url, root):
        servers = [self.follow(catalog, root, catalog_url=url, live_entries=1) for _ in range(2)]
        for follower, _ in servers:
            follower.refresh()
        bring(catalog, items("d", "e", "f"))

        def all_are_there() -> bool:
            for follower, _ in servers:
                follower.refresh()
            return not any(follower.state().behind for follower, _ in servers)

        until(all_are_there)
        for follower, holder in servers:
            assert serves_the_newest(holder, catalog)
            follower.close()
        assert len(snapshots_in(root)) <= 2

    @pytest.mark.parametrize("nth", [0, 3, 9])
    def test_a_full_disk_leaves_nothing_behind(self, catalog, root, monkeypatch, caplog, nth):
        now = [0.0]
        follower, holder = self.follow(catalog, root, live_entries=0, clock=lambda: now[0])
        follower.refresh()
        before = found_in(holder.current.index)
        bring(catalog, items("d"))
        real, calls = SnapshotWriter._write, []

        def write(self, *args):
            calls.append(args)
            if len(calls) > nth:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(self, *args)

        with monkeypatch.context() as patch, caplog.at_level(logging.WARNING):
            patch.setattr(SnapshotWriter, "_write", write)
            for _ in range(3):
                assert not follower.refresh()
                now[0] += 100
                calls.clear()
        assert found_in(holder.current.index) == before
        assert caplog.text.count("WARNING") == 1
        assert "No space left" in follower.state().problem
        assert leftovers(root) == []
        assert follower.refresh()
        assert serves_the_newest(holder, catalog)
        assert follower.state().problem == ""

    def test_a_folder_that_cannot_be_locked_is_told(self, catalog, url, root, monkeypatch):
        follower, holder = self.follow(catalog, root, catalog_url=url, live_entries=0)
        follower.refresh()
        bring(catalog, items("d"))
        (root / ".build.lock").unlink()
        (root / ".build.lock").mkdir()
        assert not follower.refresh()
        assert ".build.lock: Is a directory" in follower.state().problem
        assert len(found_in(holder.current.index)) == 3
        follower.close()


READS = (
    "changed_count",
    "changed_ids",
    "entry_columns",
    "lists",
    "classifications",
    "purged_since",
    "out_of_force_since",
    "revision_mark",
)


class Server:
    """A follower over a snapshot that is there. It cannot build, as while another process does."""

    def __init__(self, catalog, root, **options):
        build_snapshot(catalog, root)
        self.catalog = catalog
        self.holder = Holder()
        self.follower = Follower(
            catalog, root, POLICIES, self.holder, **{"live_entries": 2, **options}
        )
        self.follower.refresh()
        self.follower._making.builder = None
        self.gone = min(found_in(self.holder.current.index))

    def retract(self):
        self.catalog.retract("demo", [self.gone], author="me", reason="urgent")

    def restore(self):
        self.catalog.restore("demo", [self.gone], author="me", reason="wrong")

    def finds_it(self):
        return self.gone in found_in(self.holder.current.index)


class TestRetractions:
    """What is retracted stops matching by the next look that can read the catalog at all."""

    @pytest.fixture
    def server(self, catalog, root):
        return Server(catalog, root)

    @pytest.mark.parametrize("error", [CatalogError("database is locked"), MemoryError()])
    @pytest.mark.parametrize("names", ["", "defghijkl"])
    @pytest.mark.parametrize("call", READS)
    def test_one_failed_read_delays_it_to_the_next_look(self, server, call, names, error):
        follower = server.follower
        if names:
            bring(server.catalog, items(*names))
        server.retract()
        with mock.patch.object(CatalogReader, call, side_effect=error):
            follower.refresh()
        follower.refresh()
        assert not server.finds_it()
        assert follower.state().problem == ""

    def test_nor_does_a_failed_swap(self, server, monkeypatch):
        follower = server.follower
        bring(server.catalog, items(*"defghijkl"))
        server.retract()
        with monkeypatch.context() as patch:
            patch.setattr(View, "index", mock.Mock(side_effect=MemoryError()))
            assert not follower.refresh()
        assert follower.refresh()
        assert not server.finds_it()
        assert not follower.refresh()  # nothing is read or swapped twice

    @pytest.mark.parametrize(
        ("what", "error"),
        [
            ("matcher.follow.delta.Piece.of", MemoryError()),
            ("matcher.follow.view.RowNumbers", SnapshotError("too many lists")),
        ],
    )
    def test_what_memory_cannot_take_does_not_hold_it_up(self, server, monkeypatch, what, error):
        follower = server.follower
        bring(server.catalog, items("d"))
        server.retract()
        monkeypatch.setattr(what, mock.Mock(side_effect=error))
        assert follower.refresh()
        assert not server.finds_it()
        assert follower.state().behind
        assert "changes: " in follower.state().problem

    def test_a_snapshot_that_was_begun_before_does_not_bring_it_back(
        self, catalog, root, server, monkeypatch
    ):
        follower = server.follower
        bring(catalog, items("d"))
        real = snapshots._Plan.write

        def write(plan, writer):
            bring(catalog, items(*"efghijkl"))
            server.retract()
            follower.refresh()
            real(plan, writer)

        monkeypatch.setattr(snapshots._Plan, "write", write)
        build_snapshot(catalog, root)
        with monkeypatch.context() as patch:
            patch.setattr(catalog, "read", mock.Mock(side_effect=CatalogError("away")))
            assert follower.refresh()  # the snapshot is newer than what was served
        assert server.holder.current.revision < catalog.head()
        assert not server.finds_it()

    def test_a_snapshot_of_after_it_is_served_as_it_is(self, catalog, root, server, monkeypatch):
        """What was hidden early and then restored comes back, also while the catalog is away."""
        follower = server.follower
        bring(catalog, items(*"defghijkl"))
        server.retract()
        follower.refresh()
        server.restore()
        build_snapshot(catalog, root)
        monkeypatch.setattr(catalog, "read", mock.Mock(side_effect=CatalogError("away")))
        assert follower.refresh()
        assert server.finds_it()

    def test_it_does_not_wait_for_a_snapshot_to_be_opened(self, catalog, url, root, monkeypatch):
        woken = threading.Event()
        server = Server(catalog, root, catalog_url=url, wake=woken.set)
        follower = server.follower
        bring(catalog, items("d"))
        follower.refresh()
        path = build_snapshot(catalog, root, full=True)
        let_through = threading.Event()
        real = Sealed.open_current

        def open_slowly(*args, **options):
            assert let_through.wait(60)
            return real(*args, **options)

        monkeypatch.setattr(Sealed, "open_current", open_slowly)
        assert not follower.refresh()
        server.retract()
        assert follower.refresh()
        assert not server.finds_it()
        assert (follower.state().snapshot == path.name, woken.is_set()) == (False, False)
        let_through.set()
        assert woken.wait(60)
        assert follower.refresh()
        assert follower.state().snapshot == path.name
        assert serves_the_newest(server.holder, catalog)
        follower.close()

    def test_a_catalog_restored_to_what_is_served_hides_nothing_any_more(
        self, catalog, server, tmp_path
    ):
        follower = server.follower
        catalog.close()
        shutil.copyfile(tmp_path / "catalog.db", tmp_path / "backup.db")
        bring(catalog, items(*"defghijkl"))
        server.retract()
        follower.refresh()
        assert not server.finds_it()
        catalog.close()
        for each in tmp_path.glob("catalog.db-*"):
            each.unlink()
        shutil.copyfile(tmp_path / "backup.db", tmp_path / "catalog.db")
        assert follower.refresh()
        assert serves_the_newest(server.holder, catalog)


class TestErasure:
    def test_what_could_not_be_removed_is_removed_later(self, catalog, root, monkeypatch):
        now = [0.0]
        build_snapshot(catalog, root)
        holder = Holder()
        follower = Follower(catalog, root, POLICIES, holder, clock=lambda: now[0])
        follower.refresh()
        with catalog.read() as reader:
            gone = min(read_state(reader).entries)
        catalog.purge("demo", [gone], author="me", reason="order")
        with monkeypatch.context() as patch:
            patch.setattr(sweeping.shutil, "rmtree", mock.Mock(side_effect=OSError("busy")))
            with pytest.raises(OSError, match="busy"):
                build_snapshot(catalog, root)
            follower.refresh()
        assert "may hold purged data" in follower.state().problem
        assert len(snapshots_in(root)) == 2
        follower.refresh()
        assert len(snapshots_in(root)) == 2  # not at every look
        now[0] += 2
        follower.refresh()
        assert snapshots_in(root) == [follower.state().snapshot]
        assert follower.state().problem == ""

    def test_what_the_store_said_must_go_goes_though_another_came_since(self, root, monkeypatch):
        """The word is given with one snapshot, and holds until it was obeyed."""
        now, problems = [0.0], Problems()
        opener = Opener(
            root,
            problems,
            lambda: now[0],
            background=False,
            lock=False,
            prepare=View.of,
            on_opened=lambda: None,
        )
        sweeps = mock.Mock(side_effect=OSError("busy"))
        monkeypatch.setattr("hashlists.snapshot.sweep", sweeps)
        opener.adopted(mock.Mock(erase_previous=True))
        opener.adopted(mock.Mock(erase_previous=False))
        assert problems.text
        sweeps.side_effect = None
        now[0] += 2
        opener.sweep()
        opener.adopted(mock.Mock(erase_previous=False))
        asked = [call.kwargs["keep_previous"] for call in sweeps.call_args_list]
        assert asked == [False, False, False, None]
        assert problems.text == ""


def test_a_lock_ends_with_its_process(tmp_path):
    code = (
        "import os, sys; from pathlib import Path; from matcher.follow.lock import build_lock\n"
        "with build_lock(Path(sys.argv[1])): print('held', flush=True); sys.stdin.read()"
    )
    with subprocess.Popen(
        [sys.executable, "-c", code, str(tmp_path)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        cwd=ROOT,
    ) as process:
        assert process.stdout.readline() == b"held\n"
        assert is_build_locked(tmp_path)
        process.kill()
        process.wait()
    assert not is_build_locked(tmp_path)
    assert not is_build_locked(tmp_path / "missing")


def test_the_published_one_will_do_if_it_is_another_than_was_seen(catalog, root):
    first = build_snapshot(catalog, root)
    bring(catalog, items("d"))
    assert build_snapshot(catalog, root, seen="") == first
    second = build_snapshot(catalog, root, seen=first.name)
    assert second != first
    assert build_snapshot(catalog, root) == second  # nothing has changed
    assert build_snapshot(catalog, root, full=True) != second
