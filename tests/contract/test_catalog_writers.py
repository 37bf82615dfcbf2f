"""Many writers and readers at once: nobody's work is lost, counted twice or skipped.

Each writer has a connection of its own. A follower reads the head and what has changed since its
last revision in one transaction, again and again, as a server does.
"""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from hashlists.catalog import Catalog, commit
from hashlists.errors import ImportInProgressError
from tests.catalog_support import (
    CLASS_1,
    CLASS_2,
    DEMO,
    Item,
    batch,
    bring,
    ids_of,
    in_force,
    items,
    names_in_force,
    require_coverage,
    source,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ROOT = Path(__file__).parents[2]
WHO = {"author": "an operator", "reason": "why"}
#: More than anything here takes on a busy machine, and less than a lock is waited for.
SOON = 20.0
#: Between two looks of a follower: without any it would keep the writers from their work.
PAUSE = 0.001


@pytest.fixture
def demo(catalog: Catalog) -> Catalog:
    catalog.create_list(DEMO, author="a person")
    return catalog


class Follower(threading.Thread):
    """Adds up what it is told has changed, from revision to revision."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.stop = threading.Event()
        self.revisions: list[int] = []
        self.told: set[int] = set()
        self.held: set[int] = set()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            with Catalog.open(self.url) as catalog:
                while not self.stop.wait(PAUSE):
                    self.look(catalog)
                self.look(catalog)
        except BaseException as error:  # noqa: BLE001 - shown by `end`
            self.failure = error

    def look(self, catalog: Catalog) -> None:
        last = self.revisions[-1] if self.revisions else 0
        with catalog.read() as reader:
            changed = reader.changed_ids(last)
            assert reader.changed_count(last) >= len(changed)
            self.told |= set(changed.tolist())
            self.held -= set(changed.tolist())
            for part in reader.entry_columns(entry_ids=changed):
                self.held |= set(part.entry_ids.tolist())
            if reader.revision != last:
                self.revisions.append(reader.revision)

    def end(self) -> None:
        self.stop.set()
        self.join()
        assert self.failure is None


@contextmanager
def following(url: str) -> Iterator[Follower]:
    follower = Follower(url)
    follower.start()
    try:
        yield follower
    finally:
        follower.end()


def run_all(*works: Callable[[], object]) -> None:
    """Runs them at the same time; fails as the first of them that fails."""
    failures: list[BaseException] = []

    def run(work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - raised below
            failures.append(error)

    threads = [threading.Thread(target=run, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failures:
        raise failures[0]


def require_whole_history(catalog: Catalog) -> None:
    """Numbers without a gap, and in the order of the commits."""
    revisions = catalog.list_revisions(limit=1000)
    assert [each.number for each in revisions] == list(range(catalog.head(), 0, -1))
    moments = [each.committed_at for each in revisions]
    assert moments == sorted(moments, reverse=True)


def test_no_revision_of_interleaved_writers_is_skipped(catalog, catalog_url):
    turns, writers = 8, 2
    for number in range(writers):
        catalog.create_list(replace(DEMO, name=f"list-{number}"), author="a person")

    def write(number: int) -> None:
        name = f"list-{number}"
        with Catalog.open(catalog_url) as mine:
            for turn in range(turns):
                done = bring(mine, items(f"{number}-{turn}", f"{number}-{turn}-b"), list_name=name)
                assert done.revision is not None
                assert mine.head() >= done.revision.number
            mine.update_list(name, title="still here", **WHO)
            mine.retract(name, ids_of(mine, f"{number}-0"), **WHO)

    with following(catalog_url) as follower:
        run_all(*(lambda number=number: write(number) for number in range(writers)))
    require_whole_history(catalog)
    assert follower.revisions == sorted(set(follower.revisions))
    assert follower.revisions[-1] == catalog.head()
    assert follower.held == set(in_force(catalog))
    assert len(follower.told) == 2 * turns * writers


CHILD = """
import sys
from hashlists.catalog import Catalog
from tests.catalog_support import bring, items
url, name, turns = sys.argv[1], sys.argv[2], int(sys.argv[3])
with Catalog.open(url) as catalog:
    for turn in range(turns):
        bring(catalog, items(f"{name}-{turn}"), list_name=name)
"""


@pytest.mark.slow
def test_nor_of_writers_in_other_processes(catalog, catalog_url):
    turns = 6
    for name in ("one", "two"):
        catalog.create_list(replace(DEMO, name=name), author="a person")
    with following(catalog_url) as follower:
        children = [
            subprocess.Popen([sys.executable, "-c", CHILD, catalog_url, name, str(turns)], cwd=ROOT)
            for name in ("one", "two")
        ]
        assert [child.wait(timeout=100) for child in children] == [0, 0]
    require_whole_history(catalog)
    assert follower.held == set(in_force(catalog))
    assert len(follower.told) == 2 * turns


class Gate:
    """Holds a commit open after its number was drawn."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.drawn, self.go_on = threading.Event(), threading.Event()
        self._owner: int | None = None
        store = commit.store_counts

        def wait_first(*arguments: object) -> None:
            if threading.get_ident() == self._owner:
                self.drawn.set()
                assert self.go_on.wait(SOON)
            store(*arguments)

        monkeypatch.setattr(commit, "store_counts", wait_first)

    def commit(self, work: Callable[[], object]) -> None:
        self._owner = threading.get_ident()
        work()


def test_a_commit_held_open_holds_back_later_numbers(demo, catalog_url, monkeypatch):
    """Were the later number seen first, the follower would never ask for the earlier one."""
    demo.create_list(replace(DEMO, name="other"), author="a person")
    bring(demo, items("x", "y"))
    (x, y) = ids_of(demo, "x", "y")
    gate, heads = Gate(monkeypatch), []

    def watch() -> None:
        assert gate.drawn.wait(SOON)
        time.sleep(0.2)  # the other writer reaches the lock
        with Catalog.open(catalog_url) as mine, mine.read() as reader:
            heads.append(reader.revision)
            assert reader.changed_ids(3).tolist() == []
        gate.go_on.set()

    def retract_later() -> None:
        assert gate.drawn.wait(SOON)
        with Catalog.open(catalog_url) as mine:
            heads.append(mine.retract("demo", [y], **WHO).number)

    with following(catalog_url) as follower:
        run_all(lambda: gate.commit(lambda: demo.retract("demo", [x], **WHO)), watch, retract_later)
    assert heads == [3, 5]
    require_whole_history(demo)
    assert follower.told == {x, y}
    assert follower.held == set(in_force(demo)) == set()


def test_two_retractions_of_one_entry_are_one(demo, catalog_url, monkeypatch):
    bring(demo, items("x", "y"))
    ids = ids_of(demo, "x")
    gate, revisions = Gate(monkeypatch), []

    def first() -> None:
        gate.commit(lambda: revisions.append(demo.retract("demo", ids, **WHO)))

    def second() -> None:
        assert gate.drawn.wait(SOON)
        threading.Timer(0.2, gate.go_on.set).start()
        with Catalog.open(catalog_url) as mine:
            revisions.append(mine.retract("demo", ids, **WHO))

    run_all(first, second)
    assert [None if each is None else each.retracted for each in revisions] == [1, None]
    require_coverage(demo)


def test_a_list_is_made_once(catalog, catalog_url):
    outcomes: list[str] = []

    def make() -> None:
        with Catalog.open(catalog_url) as mine:
            try:
                mine.create_list(DEMO, author="a person")
                outcomes.append("made")
            except Exception as error:  # noqa: BLE001 - its name is what is checked
                outcomes.append(type(error).__name__)

    run_all(*[make] * 4)
    assert sorted(outcomes) == ["ListExistsError"] * 3 + ["made"]


def test_of_two_imports_into_a_list_one_begins(demo, catalog_url):
    outcomes: list[str] = []
    barrier = threading.Barrier(3)

    def begin() -> None:
        with Catalog.open(catalog_url) as mine:
            barrier.wait()
            try:
                staged = mine.begin_import("demo", source())
            except ImportInProgressError:
                outcomes.append("refused")
                barrier.wait()
            else:
                outcomes.append("begun")
                barrier.wait()
                staged.stage(batch(items("x")))
                staged.commit()

    run_all(*[begin] * 3)
    assert sorted(outcomes) == ["begun", "refused", "refused"]
    assert set(names_in_force(demo)) == {"x"}


def test_new_texts_of_two_imports_at_once(catalog, catalog_url):
    """Both bring the same classifications and handlings, in opposite orders."""
    for name in ("one", "two"):
        catalog.create_list(replace(DEMO, name=name), author="a person")
    classes = [replace(CLASS_1, code=str(code)) for code in range(12)]

    def write(name: str, order: int) -> None:
        with Catalog.open(catalog_url) as mine:
            for turn in range(4):
                records = [
                    Item(f"{turn}-{each.code}", classification=replace(each, profile=str(turn)))
                    for each in classes[::order]
                ]
                bring(mine, records, list_name=name)

    run_all(lambda: write("one", 1), lambda: write("two", -1))
    with catalog.read() as reader:
        assert len(reader.classifications()) == 4 * len(classes)
    assert len(in_force(catalog)) == 2 * 4 * len(classes)


def test_a_sweep_beside_an_import_leaves_its_texts(catalog, catalog_url):
    """One import is given up while another begins to use the same classification."""
    for name in ("one", "two"):
        catalog.create_list(replace(DEMO, name=name), author="a person")
    for turn in range(5):
        given_up = catalog.begin_import("one", source())
        given_up.stage(batch([Item("x", classification=replace(CLASS_2, code=str(turn)))]))
        record = Item(f"y{turn}", classification=replace(CLASS_2, code=str(turn)))

        def write(record: Item = record) -> None:
            with Catalog.open(catalog_url) as mine:
                bring(mine, [record], list_name="two")

        run_all(write, given_up.abort)
        (entry_id,) = ids_of(catalog, record.name)
        assert catalog.entry(entry_id).classification == record.classification
    with catalog.read() as reader:
        assert len(reader.classifications()) == 5


def test_urgent_acts_do_not_wait_for_a_staging_transaction(demo, catalog_url):
    """In SQLite they wait for that one transaction; in PostgreSQL not even for that."""
    if catalog_url.startswith("sqlite"):
        pytest.skip("SQLite has one lock for all writers: they wait for one short transaction")
    bring(demo, items("x", "y"))
    ids = ids_of(demo, "x")
    with demo.begin_import("demo", source()) as staged:
        with staged._change.transaction() as connection:
            staged._insert_new(connection, [b"held open"])
            revision = demo.retract("demo", ids, **WHO)
            assert revision is not None
            demo.create_list(replace(DEMO, name="other"), author="a person")
            bring(demo, items("z"), list_name="other")
        staged.stage(batch(items("new")))
        staged.commit()
    assert set(names_in_force(demo)) == {"y", "z", "new"}


def test_an_act_that_fails_leaves_no_gap(demo, monkeypatch):
    bring(demo, items("x"))

    def fail(*_: object) -> None:
        raise OSError("power cut")

    with monkeypatch.context() as patch:
        patch.setattr(commit, "store_counts", fail)
        with pytest.raises(OSError, match="power cut"):
            demo.retract("demo", ids_of(demo, "x"), **WHO)
    assert demo.retract("demo", ids_of(demo, "x"), **WHO).number == 3
    require_whole_history(demo)
