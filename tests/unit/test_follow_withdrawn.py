"""What was retracted after the snapshot stays out of a server that starts without its catalog."""

from __future__ import annotations

import errno
import json
import math
import os
import random
import sqlite3
import threading
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from unittest import mock

import numpy as np
import pytest

from hashlists import snapshot
from hashlists.catalog import Catalog, CatalogReader, touched
from hashlists.errors import CatalogError, SnapshotError
from hashlists.model import Handling, SaidHandling
from hashlists.snapshot.files import json_bytes
from hashlists.snapshot.withdrawn import (
    WITHDRAWN_FILE,
    Withdrawn,
    _digest,
    read_withdrawn,
    remove_withdrawn,
    write_withdrawn,
)
from matcher.follow.follower import Follower
from matcher.follow.lock import build_lock, withdrawn_lock
from matcher.follow.problems import Problems
from matcher.follow.snapshots import build_snapshot
from matcher.follow.withdrawing import Withdrawals, keep_withdrawn
from matcher.index.holder import Holder
from matcher.policy.rules import default_policy
from tests.catalog_support import DEMO, Item, bring, ids_of, items, names_in_force
from tests.follow_support import found_in

POLICIES = {"default": default_policy()}
WHO = {"author": "a person", "reason": "why"}


class Server:
    """A follower that may lose its catalog, be started again, or stand beside another one."""

    def __init__(self, catalog, root, **options):
        self.catalog = catalog
        self.root = root
        self.options = options
        self.start()

    def start(self):
        self.holder = Holder()
        self.follower = Follower(
            self.catalog, self.root, POLICIES, self.holder, clock=lambda: 0.0, **self.options
        )

    def look(self):
        self.follower.refresh()
        return set(found_in(self.holder.current.index))

    def started_alone(self):
        """What it finds once it was started without its catalog."""
        self.start()
        with mock.patch.object(Catalog, "read", side_effect=CatalogError("away")):
            return self.look()

    @property
    def problem(self):
        return self.follower.state().problem


@pytest.fixture
def catalog(tmp_path):
    with Catalog.open(f"sqlite:///{tmp_path}/catalog.db") as opened:
        opened.create_list(DEMO, author="a person")
        bring(opened, items(*"abc"))
        yield opened


@pytest.fixture
def root(tmp_path):
    return tmp_path / "snapshots"


@pytest.fixture
def server(catalog, root):
    server = Server(catalog, root)
    server.look()
    return server


@pytest.fixture
def a_b_c(catalog):
    return ids_of(catalog, *"abc")


def kept(root):
    held = read_withdrawn(root)
    return None if held is None else held.ids.tolist()


class TestStartingWithoutTheCatalog:
    def test_a_retraction_that_was_served_from_memory_holds(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        assert server.look() == {b, c}
        assert server.started_alone() == {b, c}

    def test_a_purge_holds(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        server.follower._making.builder = None  # as while another process builds
        catalog.purge("demo", [a], **WHO)
        assert server.look() == {b, c}
        assert server.started_alone() == {b, c}

    def test_what_was_hidden_early_holds(self, catalog, root, a_b_c):
        """A retraction behind a revision that waits for its build."""
        a, b, c = a_b_c
        server = Server(catalog, root, live_entries=2)
        server.look()
        server.follower._making.builder = None
        bring(catalog, items(*"defghijklmnopqrstuvwxyz"))
        catalog.retract("demo", [a], **WHO)
        assert server.look() == {b, c}
        assert server.started_alone() == {b, c}

    def test_what_was_restored_matches_again(self, server, catalog, root, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a, b], **WHO)
        server.look()
        catalog.restore("demo", [a], **WHO)
        server.look()
        assert server.started_alone() == {a, c}
        catalog.restore("demo", [b], **WHO)
        server.look()  # the catalog is back
        assert server.look() == {a, b, c}
        assert not (root / WITHDRAWN_FILE).exists()
        assert server.started_alone() == {a, b, c}

    def test_what_a_rollback_took_out_holds(self, server, catalog, root, a_b_c):
        before = catalog.head()
        bring(catalog, items("d"))
        (d,) = ids_of(catalog, "d")
        build_snapshot(catalog, root)
        assert server.look() == {*a_b_c, d}
        catalog.rollback("demo", before, **WHO)
        assert server.look() == set(a_b_c)
        assert server.started_alone() == set(a_b_c)

    def test_an_entry_that_was_changed_is_not_lost(self, server, catalog, a_b_c):
        bring(catalog, [Item("a").next()])
        server.look()
        assert server.started_alone() == set(a_b_c)

    def test_a_changed_entry_that_was_retracted_then_does_not_match(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        bring(catalog, [Item("a").next()])
        server.look()
        catalog.retract("demo", [a], **WHO)
        server.look()
        assert server.started_alone() == {b, c}

    def test_it_holds_until_the_catalog_says_otherwise(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        assert server.started_alone() == {b, c}
        assert server.look() == {b, c}
        catalog.restore("demo", [a], **WHO)
        assert server.look() == {a, b, c}

    def test_the_snapshot_before_a_damaged_one_loses_nothing_either(
        self, server, catalog, root, a_b_c
    ):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        newest = build_snapshot(catalog, root)
        catalog.retract("demo", [b], **WHO)
        assert server.look() == {c}
        (newest / "manifest.json").write_text("nonsense")
        assert server.started_alone() == {c}

    def test_a_replica_of_the_same_folder_heeds_it(self, server, catalog, root, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        assert Server(None, root).look() == {b, c}


class TestEndsOfUse:
    """An end that came after the snapshot holds though the catalog is away when it comes."""

    def alone_at(self, server, moment):
        server.options["wall_clock"] = lambda: moment
        return server.started_alone()

    def test_one_that_a_list_came_to_say(self, server, catalog, a_b_c):
        soon = datetime.now(UTC) + timedelta(hours=1)
        catalog.change_handling("demo", SaidHandling(expires_at=soon), **WHO)
        assert server.look() == set(a_b_c)
        assert self.alone_at(server, soon.timestamp() - 1_000) == set(a_b_c)
        assert self.alone_at(server, soon.timestamp() + 1) == set()

    def test_one_that_comes_while_it_runs_alone(self, server, catalog, a_b_c):
        soon = datetime.now(UTC) + timedelta(hours=1)
        catalog.change_handling("demo", SaidHandling(expires_at=soon), **WHO)
        server.look()
        assert self.alone_at(server, soon.timestamp() - 1_000) == set(a_b_c)
        view = server.follower._view
        assert view.due(int(soon.timestamp()) - 5) == math.ceil(soon.timestamp())
        assert view.due(int(soon.timestamp()) + 5) is None

    def test_one_that_a_record_came_to_say(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        soon = datetime.now(UTC) + timedelta(hours=1)
        bring(catalog, [replace(Item("a").next(), handling=Handling(expires_at=soon))])
        bring(catalog, items("d", handling=Handling(expires_at=soon)))  # no snapshot holds it
        server.look()
        held = read_withdrawn(server.root)
        assert (held.ids.tolist(), held.ending.tolist()) == ([], [a])
        assert self.alone_at(server, soon.timestamp() + 1) == {b, c}

    def test_one_that_was_taken_back(self, server, catalog, root, a_b_c):
        soon = datetime.now(UTC) + timedelta(hours=1)
        catalog.change_handling("demo", SaidHandling(expires_at=soon), **WHO)
        server.look()
        catalog.change_handling("demo", SaidHandling(), endless=True, **WHO)
        server.look()
        assert not (root / WITHDRAWN_FILE).exists()
        assert self.alone_at(server, soon.timestamp() + 1) == set(a_b_c)

    def test_one_of_an_entry_that_was_retracted_and_restored(self, server, catalog, a_b_c):
        a, b, c = a_b_c
        soon = datetime.now(UTC) + timedelta(hours=1)
        bring(catalog, [replace(Item("a").next(), handling=Handling(expires_at=soon))])
        server.look()
        catalog.retract("demo", [a], **WHO)
        server.look()
        assert self.alone_at(server, soon.timestamp() - 1_000) == {b, c}
        catalog.restore("demo", [a], **WHO)
        server.start()
        server.look()
        assert self.alone_at(server, soon.timestamp() - 1_000) == {a, b, c}
        assert self.alone_at(server, soon.timestamp() + 1) == {b, c}

    def test_the_catalog_says_otherwise_once_it_is_back(self, server, catalog, a_b_c):
        soon = datetime.now(UTC) + timedelta(hours=1)
        catalog.change_handling("demo", SaidHandling(expires_at=soon), **WHO)
        server.look()
        assert self.alone_at(server, soon.timestamp() + 1) == set()
        catalog.change_handling("demo", SaidHandling(), endless=True, **WHO)
        assert server.look() == set(a_b_c)

    def test_a_file_of_an_earlier_build_is_read(self, server, catalog, root, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        line, _, ids = (root / WITHDRAWN_FILE).read_bytes().partition(b"\n")
        body = {**json.loads(line), "version": 1}
        del body["sha256"], body["ending"]
        sealed = {**body, "sha256": _digest(body, memoryview(ids))}
        (root / WITHDRAWN_FILE).write_bytes(json_bytes("line", sealed) + b"\n" + ids)
        assert server.started_alone() == {b, c}
        assert "withdrawn" not in server.problem


class TestSnapshotsThatComeMeanwhile:
    def test_one_that_was_begun_before_the_retraction(
        self, server, catalog, root, a_b_c, monkeypatch
    ):
        """The builder sees to it, so that no server has to open the snapshot first."""
        a, b, c = a_b_c
        real = snapshot.SnapshotWriter.publish

        def publish(*args, **options):
            catalog.retract("demo", [a], **WHO)
            server.look()
            return real(*args, **options)

        bring(catalog, items("d"))
        (d,) = ids_of(catalog, "d")
        with monkeypatch.context() as patch:
            patch.setattr(snapshot.SnapshotWriter, "publish", publish)
            build_snapshot(catalog, root)
        assert server.started_alone() == {b, c, d}

    def test_one_that_is_opened_while_the_catalog_is_away(self, server, catalog, root, a_b_c):
        a, b, c = a_b_c
        other = Server(catalog, root)  # it goes on seeing the catalog
        other.look()
        bring(catalog, items("d"))
        (d,) = ids_of(catalog, "d")
        build_snapshot(catalog, root)
        catalog.retract("demo", [a], **WHO)
        assert other.look() == {b, c, d}
        with mock.patch.object(Catalog, "read", side_effect=CatalogError("away")):
            assert server.look() == {b, c, d}

    def test_what_is_served_is_not_forgotten_for_an_older_file(self, server, catalog, root, a_b_c):
        a, b, _ = a_b_c
        server.follower._live_entries = 1
        server.follower._making.builder = None
        catalog.retract("demo", [a], **WHO)
        server.look()
        older = (root / WITHDRAWN_FILE).read_bytes()
        bring(catalog, items(*"defghijklmnop"))
        build_snapshot(catalog, root)
        catalog.retract("demo", [b], **WHO)
        with mock.patch.object(CatalogReader, "entry_columns", side_effect=CatalogError("cut")):
            server.look()
        (root / WITHDRAWN_FILE).write_bytes(older)
        with mock.patch.object(Catalog, "read", side_effect=CatalogError("away")):
            assert not {a, b} & server.look()

    def test_the_file_goes_with_the_last_snapshot_that_it_is_of(self, server, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        server.look()
        (named,) = read_withdrawn(root).snapshots
        assert named == snapshot.current_name(root)
        assert (root / WITHDRAWN_FILE).stat().st_mode & 0o777 == 0o600
        (root / named).rename(root / "elsewhere")
        snapshot.sweep(root)
        assert not (root / WITHDRAWN_FILE).exists()

    def test_once_no_snapshot_holds_it_nothing_is_kept(self, server, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        build_snapshot(catalog, root, full=True)
        server.look()
        assert kept(root) == a_b_c[:1]  # the snapshot before that holds it
        snapshot.sweep(root, keep_previous=False)
        keep_withdrawn(catalog, root)
        assert kept(root) is None


class TestWhatFollows:
    def test_what_was_withdrawn_before_is_not_asked_for_again(
        self, server, catalog, root, a_b_c, monkeypatch
    ):
        catalog.retract("demo", a_b_c[:2], **WHO)
        server.look()
        asked = mock.Mock(wraps=touched.retracted_among)
        monkeypatch.setattr(touched, "retracted_among", asked)
        catalog.retract("demo", a_b_c[2:], **WHO)
        server.look()
        assert [each.args[1] for each in asked.call_args_list] == [a_b_c[2:]]
        assert kept(root) == a_b_c

    @pytest.mark.parametrize("seed", range(3))
    def test_it_is_what_reading_all_anew_gives(self, seed, server, catalog, root):
        chance = random.Random(seed)
        bring(catalog, items(*"defgh"))
        for _ in range(12):
            with catalog._engine.connect() as connection:
                rows = connection.exec_driver_sql("SELECT entry_id FROM entries ORDER BY 1")
                known = rows.scalars().all()
            some = chance.sample(known, min(len(known), chance.randint(1, 3)))
            act = chance.choice(["retract", "retract", "restore", "bring", "purge", "build"])
            if act == "bring":
                bring(catalog, [Item(chance.choice("abcdefgh"), version=chance.randrange(9))])
            elif act == "build":
                build_snapshot(catalog, root, full=chance.random() < 0.5)
            else:
                getattr(catalog, act)("demo", some[:1] if act == "purge" else some, **WHO)
            if chance.random() < 0.7:
                keep_withdrawn(catalog, root)
                told = kept(root)
                remove_withdrawn(root)
                keep_withdrawn(catalog, root)
                assert told == kept(root)


class TestOtherHistories:
    def test_a_restored_catalog_takes_back_what_it_does_not_know(
        self, server, catalog, root, tmp_path, a_b_c
    ):
        a, b, c = a_b_c
        backup = tmp_path / "backup.db"
        catalog.retract("demo", [b], **WHO)
        _copy(catalog, backup)
        for _ in range(3):
            catalog.retract("demo", [a], **WHO)
            server.look()
            catalog.restore("demo", [a], **WHO)
        catalog.retract("demo", [a], **WHO)
        server.look()
        assert kept(root) == [a, b]
        with Catalog.open(f"sqlite:///{backup}") as restored:
            bring(restored, items("d"))
            assert keep_withdrawn(restored, root)
            assert read_withdrawn(root).revision == restored.head() < catalog.head()
            assert Server(restored, root).started_alone() == {a, c}

    def test_another_catalog_leaves_it_alone(self, server, catalog, root, tmp_path, a_b_c):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        with Catalog.open(f"sqlite:///{tmp_path}/other.db") as other:
            assert keep_withdrawn(other, root)
        assert server.started_alone() == {b, c}

    def test_a_snapshot_that_it_does_not_name_is_served_whole(self, server, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        server.look()
        held = read_withdrawn(root)
        names = ("snapshot-000000000001-0123456789abcdef",)
        write_withdrawn(root, Withdrawn(held.catalog_id, held.revision, held.mark, names, held.ids))
        assert server.started_alone() == set(a_b_c)
        assert "withdrawn" not in server.problem


class TestSeveralProcesses:
    def test_all_write_the_same(self, server, catalog, root, a_b_c):
        others = [Server(catalog, root) for _ in range(2)]
        for each in others:
            each.look()
        catalog.retract("demo", a_b_c[:1], **WHO)
        written = []
        for each in (server, *others):
            each.look()
            written.append((root / WITHDRAWN_FILE).stat().st_ino)
        assert len(set(written)) == 1

    def test_a_slow_one_does_not_bring_back_what_is_older(self, server, catalog, root, a_b_c):
        """It swaps what it read long ago; what it writes it reads once it has the right to."""
        slow = Server(catalog, root)
        slow.look()
        catalog.retract("demo", a_b_c[:1], **WHO)
        real = slow.follower._withdrawals.keep

        def late():
            catalog.retract("demo", a_b_c[1:2], **WHO)
            server.look()
            real()

        slow.follower._withdrawals.keep = late
        slow.look()
        assert kept(root) == a_b_c[:2]

    def test_what_is_owed_at_the_end_is_kept(self, server, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        with withdrawn_lock(root):
            server.look()
        server.follower.close()
        assert kept(root) == a_b_c[:1]

    def test_while_one_writes_the_others_come_back_later(self, server, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        with withdrawn_lock(root):
            server.look()
            assert (kept(root), server.problem) == (None, "")
        server.look()
        assert kept(root) == a_b_c[:1]

    def test_at_once_and_in_any_order(self, catalog, root):
        build_snapshot(catalog, root)
        bring(catalog, items(*"defgh"))
        build_snapshot(catalog, root)
        ids = sorted(names_in_force(catalog).values())
        done = threading.Event()

        def keep_on():
            while not done.is_set():
                keep_withdrawn(catalog, root)

        threads = [threading.Thread(target=keep_on) for _ in range(3)]
        for each in threads:
            each.start()
        for entry_id in ids:
            catalog.retract("demo", [entry_id], **WHO)
        done.set()
        for each in threads:
            each.join()
        assert keep_withdrawn(catalog, root)
        assert kept(root) == ids


class TestInTheBackground:
    """What takes long goes on in a thread, and following with it."""

    @pytest.fixture
    def held_up(self, monkeypatch):
        """Lets what is begun end once it is set."""
        go_on = threading.Event()

        def waiting(*order):
            go_on.wait()
            return keep_withdrawn(*order)

        monkeypatch.setattr("matcher.follow.withdrawing.keep_withdrawn", waiting)
        monkeypatch.setattr("matcher.follow.withdrawing._AT_ONCE_SECONDS", 0.001)
        yield go_on
        go_on.set()

    @pytest.fixture
    def withdrawals(self, server, catalog, root):
        server.look()
        withdrawals = Withdrawals(catalog, root, Problems(), background=True)
        yield withdrawals
        withdrawals.close()

    def test_nothing_waits_for_it(self, withdrawals, catalog, root, a_b_c, held_up):
        catalog.retract("demo", a_b_c[:1], **WHO)
        withdrawals.owe()
        for _ in range(3):
            withdrawals.keep()
        assert [each.name for each in threading.enumerate()].count("withdrawn-keeping") == 1
        assert kept(root) is None
        catalog.retract("demo", a_b_c[1:], **WHO)
        withdrawals.owe()  # after what is under way has read the catalog, as far as it knows
        held_up.set()
        withdrawals.close()
        assert kept(root) == a_b_c

    def test_one_that_is_quick_is_done_at_once(
        self, withdrawals, catalog, root, a_b_c, monkeypatch
    ):
        monkeypatch.setattr("matcher.follow.withdrawing._AT_ONCE_SECONDS", 600)
        catalog.retract("demo", a_b_c[:1], **WHO)
        withdrawals.owe()
        withdrawals.keep()
        assert kept(root) == a_b_c[:1]

    def test_a_failure_is_told_and_tried_again(self, withdrawals, catalog, root, a_b_c):
        catalog.retract("demo", a_b_c[:1], **WHO)
        withdrawals.owe()
        with mock.patch.object(Catalog, "read", side_effect=CatalogError("away")):
            withdrawals.keep()
            withdrawals.close()
            assert "away" in withdrawals._problems.text
        withdrawals.close()
        assert kept(root) == a_b_c[:1]
        assert not withdrawals._problems.text


class TestFailures:
    @pytest.mark.parametrize("call", ["fsync", "replace", "open"])
    def test_a_full_disk_is_told_and_tried_again(self, server, a_b_c, monkeypatch, caplog, call):
        catalog, root = server.catalog, server.root
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        catalog.retract("demo", [b], **WHO)
        real = getattr(os, call)

        def refuse(*args, **options):
            if call != "open" or args[1] & os.O_WRONLY:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return real(*args, **options)

        with monkeypatch.context() as patch:
            patch.setattr(f"hashlists.snapshot.withdrawn.os.{call}", refuse)
            for _ in range(3):
                assert server.look() == {c}
        assert "No space left" in server.problem
        assert caplog.text.count("WARNING") == 1
        assert kept(root) == [a]
        assert not [each for each in root.iterdir() if each.name.startswith(".current-")]
        server.look()
        assert (kept(root), server.problem) == ([a, b], "")

    @pytest.mark.parametrize(
        "damage", ["cut", "short", "bit", "line", "version", "foreign", "names"]
    )
    def test_a_damaged_file_is_refused_and_told(self, server, catalog, root, a_b_c, damage):
        a, b, c = a_b_c
        catalog.retract("demo", [a], **WHO)
        server.look()
        file = root / WITHDRAWN_FILE
        data = bytearray(file.read_bytes())
        line, _, ids = bytes(data).partition(b"\n")
        broken = {
            "cut": data[:20],
            "short": data[:-1],
            "bit": bytes([*data[:-1], data[-1] ^ 1]),
            "line": b"nonsense\n" + ids,
            "version": line.replace(b'"version":2', b'"version":3') + b"\n" + ids,
            "foreign": line.replace(b"hashwarden-withdrawn", b"something-else-here") + b"\n" + ids,
            "names": line.replace(b'["snapshot-', b'["../shot-') + b"\n" + ids,
        }[damage]
        file.write_bytes(broken)
        assert server.started_alone() == {a, b, c}
        assert "withdrawn" in server.problem
        assert server.look() == {b, c}  # the catalog is back, and it is written anew
        assert (kept(root), server.problem) == ([a], "")
        assert server.started_alone() == {b, c}

    def test_a_damaged_one_that_nobody_needs_is_removed(self, server, catalog, root):
        (root / WITHDRAWN_FILE).write_bytes(b"nonsense")
        snapshot.sweep(root)
        assert (root / WITHDRAWN_FILE).exists()
        bring(catalog, items("d"))
        server.look()
        assert not (root / WITHDRAWN_FILE).exists()

    def test_what_is_no_file_is_refused(self, server, root, a_b_c):
        (root / WITHDRAWN_FILE).mkdir()
        assert server.started_alone() == set(a_b_c)
        assert "not a regular file" in server.problem

    def test_a_folder_that_cannot_be_read_is_refused(self, root, monkeypatch):
        assert read_withdrawn(root) is None
        root.mkdir()
        monkeypatch.setattr(
            "hashlists.snapshot.withdrawn.open_folder", mock.Mock(side_effect=PermissionError())
        )
        with pytest.raises(SnapshotError, match="folder of snapshots"):
            read_withdrawn(root)

    def test_a_build_does_not_fail_with_it(self, server, catalog, root, a_b_c, monkeypatch):
        catalog.retract("demo", a_b_c[:1], **WHO)
        refused = mock.Mock(side_effect=OSError(errno.ENOSPC, "full"))
        monkeypatch.setattr("matcher.follow.withdrawing.write_withdrawn", refused)
        path = build_snapshot(catalog, root)
        assert refused.called
        assert path.name == snapshot.current_name(root)

    def test_a_snapshot_without_a_manifest_of_ours_is_passed_over(
        self, server, catalog, root, a_b_c
    ):
        with snapshot.SnapshotWriter(root, revision=0) as writer:
            writer.publish({}, allow_older=True)
        with snapshot.SnapshotWriter(root, revision=0) as writer:
            foreign = writer.publish({"catalog_id": 3}, allow_older=True)
        catalog.retract("demo", a_b_c[:1], **WHO)
        with build_lock(root):
            assert keep_withdrawn(catalog, root)
        assert foreign.name not in read_withdrawn(root).snapshots
        assert kept(root) == a_b_c[:1]


def test_what_is_written_is_read(root):
    root.mkdir()
    ids = np.array([1, 5, 2**62])
    names = ("snapshot-000000000007-0123456789abcdef",)
    write_withdrawn(root, Withdrawn("id", 7, "0f", names, ids))
    held = read_withdrawn(root)
    assert (held.catalog_id, held.revision, held.mark) == ("id", 7, "0f")
    assert held.ids.tolist() == ids.tolist()
    remove_withdrawn(root)
    remove_withdrawn(root)
    assert read_withdrawn(root) is None


def _copy(catalog, file):
    """A backup as operators make it."""
    source = sqlite3.connect(catalog._engine.url.database)
    target = sqlite3.connect(file)
    with target:
        source.backup(target)
    source.close()
    target.close()
