"""Imports that are killed, starved or interleaved: the last committed revision is always live."""

from __future__ import annotations

import io
import json
import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from sqlalchemy import event, text

from hashlists.catalog import Catalog
from hashlists.errors import CatalogError
from hashlists.importer import import_file
from hashlists.model import ChangeKind, Harm, HashList
from loadtest.generate_lists import write_list
from tests.catalog_support import (
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
    from collections.abc import Iterator

ROOT = Path(__file__).parents[2]
#: Rows of a staging transaction in the child: few, so that it commits often while it stages.
CHILD_ROWS = 750
RECORDS = 20 * CHILD_ROWS
#: The module as the service starts it, but for the size of its transactions.
CHILD = f"""
import sys
from hashlists import import_process
from hashlists.importing import run
from hashlists.catalog import staging
assert {CHILD_ROWS} < staging.ROWS_PER_TRANSACTION == run.ROWS_PER_TRANSACTION
staging.ROWS_PER_TRANSACTION = run.ROWS_PER_TRANSACTION = {CHILD_ROWS}
sys.exit(import_process.main())
"""
#: Between two looks of a watcher: without any it would keep the writers from their work.
PAUSE = 0.001
STAGED = "the first rows are staged"
#: The same, but that it says when its first rows are staged, and then waits for a line.
WAITING_CHILD = CHILD.replace(
    "sys.exit",
    f"""
stage = staging.StagedImport.stage

def stage_and_wait(self, batch):
    result = stage(self, batch)
    staging.StagedImport.stage = stage
    print("{STAGED}", flush=True)
    sys.stdin.readline()
    return result

staging.StagedImport.stage = stage_and_wait
sys.exit""",
)
WHO = {"author": "an operator", "reason": "why"}


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/catalog/catalog.db"


@pytest.fixture
def catalog(url) -> Iterator[Catalog]:
    with Catalog.open(url) as opened:
        opened.create_list(DEMO, author="a person")
        yield opened


@pytest.fixture(scope="module")
def vics(tmp_path_factory):
    out = io.BytesIO()
    write_list("vics", out, records=RECORDS, seed=9)
    path = tmp_path_factory.mktemp("vics") / "list.json"
    path.write_bytes(out.getvalue())
    return path


_children: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def _no_child_is_left() -> Iterator[None]:
    yield
    while _children:
        child = _children.pop()
        child.kill()
        child.wait()
        for stream in (child.stdin, child.stdout):
            if stream is not None:
                stream.close()


def start_import(url: str, path: Path, program: str = CHILD) -> subprocess.Popen[str]:
    """A real child process, which is ended with the test whatever becomes of it."""
    child = subprocess.Popen(
        [
            *(sys.executable, "-c", program, "--catalog", url, "--file", str(path)),
            *("--list", "demo", "--format", "vics", "--importer", "me"),
            *("--idempotency-key", "key"),
        ],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
    )
    _children.append(child)
    return child


def count(catalog: Catalog, table: str, where: str = "1 = 1") -> int:
    with catalog._engine.connect() as connection:
        return connection.execute(text(f"SELECT count(*) FROM {table} WHERE {where}")).scalar_one()


def start_and_stage(url: str, path: Path) -> subprocess.Popen[str]:
    """A child that has staged some rows and waits for a line."""
    child = start_import(url, path, WAITING_CHILD)
    assert child.stdout is not None
    assert f"{STAGED}\n" in iter(child.stdout.readline, "")
    return child


@pytest.mark.slow
@pytest.mark.timeout(170)
def test_a_killed_import_is_not_seen_and_is_swept(catalog, url, vics):
    bring(catalog, items("before"))
    chance = random.Random(20260101)
    killed_while_staging = 0
    for attempt in range(3):
        if attempt == 0:
            child = start_import(url, vics)
            time.sleep(chance.random())  # it dies whenever it dies, even before it began
        else:
            child = start_and_stage(url, vics)
            if attempt == 2:
                child.stdin.write("\n")
                child.stdin.flush()
                time.sleep(chance.random() * 0.1)
        child.send_signal(signal.SIGKILL)
        child.communicate()
        if catalog.head() != 2:
            break  # it was quicker; then all of it is live, which the end checks
        killed_while_staging += count(catalog, "entry_versions") > 1
        assert set(names_in_force(catalog)) == {"before"}
        assert catalog.find_import("key") is None
        leftovers = count(catalog, "entry_versions") - 1
        with Catalog.open(url) as reopened:
            assert reopened.head() == 2
            assert reopened.sweep() == leftovers
        assert count(catalog, "entry_versions") == count(catalog, "entries") == 1
        assert count(catalog, "changes", "state IN ('staging', 'abandoned')") == 0
        require_coverage(catalog)
    assert killed_while_staging
    child = start_import(url, vics)
    output, _ = child.communicate()
    assert child.returncode == 0
    report = json.loads(output.splitlines()[-1])["report"]
    assert report["added"] + report["unchanged"] == RECORDS
    assert catalog.head() == 3
    assert len(in_force(catalog)) == RECORDS + 1
    require_coverage(catalog)


def test_a_second_import_needs_no_sweep_before_it(catalog, url, vics):
    child = start_and_stage(url, vics)
    child.kill()
    child.communicate()
    report = import_file(
        catalog, vics, list_name="demo", format="vics", importer="me", idempotency_key="key"
    )
    assert report.added == RECORDS
    assert len(in_force(catalog)) == count(catalog, "entries") == RECORDS


@pytest.mark.slow
def test_a_retraction_does_not_wait_for_an_import(catalog, url, vics):
    bring(catalog, items("x", "y"))
    (entry_id,) = ids_of(catalog, "x")
    child = start_and_stage(url, vics)
    revision = catalog.retract("demo", [entry_id], **WHO)
    assert count(catalog, "changes", "state = 'staging'") == 1
    assert catalog.head() == revision.number == 3
    child.communicate("go on\n")
    assert child.returncode == 0
    assert [each.kind for each in catalog.list_revisions()[:2]] == [
        ChangeKind.IMPORT,
        ChangeKind.RETRACT,
    ]
    assert entry_id not in in_force(catalog)
    assert len(in_force(catalog)) == RECORDS + 1
    require_coverage(catalog)


class Watcher(threading.Thread):
    """Follows the catalog as a server does, and notes what it sees at every revision."""

    def __init__(self, url: str) -> None:
        super().__init__()
        self.url = url
        self.seen: list[tuple[int, int, int]] = []
        self.stop = threading.Event()
        self._looked = threading.Condition()

    def wait_for_looks(self, more: int) -> None:
        """Returns once it has looked so often since this call."""
        with self._looked:
            wanted = len(self.seen) + more
            assert self._looked.wait_for(lambda: len(self.seen) >= wanted, timeout=100)

    def run(self) -> None:
        with Catalog.open(self.url) as catalog:
            while not self.stop.wait(PAUSE):
                with catalog.read() as reader:
                    entries = sum(map(len, reader.entry_columns()))
                    told = sum(record.coverage.entries for record in reader.lists())
                with self._looked:
                    self.seen.append((reader.revision, entries, told))
                    self._looked.notify_all()


def test_interleaved_writers_never_skip_a_revision(catalog, url):
    """Each revision adds exactly one entry, so what a reader sees tells which it has missed."""
    writers, each = 3, 12
    for number in range(writers):
        catalog.create_list(HashList(f"list-{number}", Harm.TEST, "s"), author="a person")
    base = catalog.head()
    drawn: list[int] = []

    def write(number: int) -> None:
        with Catalog.open(url) as mine:
            for turn in range(each):
                done = bring(mine, items(f"{number}-{turn}"), list_name=f"list-{number}")
                drawn.append(done.revision.number)
                assert mine.head() >= done.revision.number
                if turn % 3 == 0:
                    watcher.wait_for_looks(2)  # the first may have begun before that commit

    watcher = Watcher(url)
    watcher.start()
    threads = [threading.Thread(target=write, args=(number,)) for number in range(writers)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    watcher.stop.set()
    watcher.join()
    assert sorted(drawn) == list(range(base + 1, base + writers * each + 1))
    revisions = catalog.list_revisions(limit=1000)
    assert [revision.number for revision in revisions] == list(range(catalog.head(), 0, -1))
    moments = [revision.committed_at for revision in revisions]
    assert moments == sorted(moments, reverse=True)
    numbers = [number for number, _, _ in watcher.seen]
    assert numbers == sorted(numbers)
    assert len(set(numbers)) > 3, "the watcher saw too little to prove anything"
    for number, entries, told in watcher.seen:
        assert entries == told == number - base


@pytest.mark.timeout(120)
def test_a_full_disk_leaves_the_previous_revision(catalog, vics, monkeypatch):
    for module in ("hashlists.importing.run", "hashlists.catalog.staging"):
        monkeypatch.setattr(f"{module}.ROWS_PER_TRANSACTION", CHILD_ROWS)
    bring(catalog, items("before"))
    engine = catalog._engine
    pages: dict[str, int] = {}

    def limit(connection: object, *_: object) -> None:
        if pages:
            connection.execute(f"PRAGMA max_page_count = {pages['most']}")

    event.listen(engine, "checkout", limit)
    with engine.connect() as connection:
        now = connection.execute(text("PRAGMA page_count")).scalar_one()
    for room in (0, 3, 200, 600):
        pages["most"] = now + room
        with pytest.raises(CatalogError, match="disk is full"):
            import_file(catalog, vics, list_name="demo", format="vics", importer="me")
        assert catalog.head() == 2
        assert set(names_in_force(catalog)) == {"before"}
        assert count(catalog, "entry_versions") == 1
    pages["most"] = 1_000_000
    report = import_file(catalog, vics, list_name="demo", format="vics", importer="me")
    assert report.added == RECORDS
    require_coverage(catalog)


@pytest.mark.parametrize("step", ["heartbeat", "counts", "report"])
def test_a_commit_that_fails_half_way(catalog, monkeypatch, step):
    """An error anywhere in the last transaction leaves no revision and no gap in the numbers."""
    bring(catalog, items("before"))

    def fail(*_: object, **__: object) -> None:
        raise OSError("power cut")

    steps = {"heartbeat": "open_change.now_microseconds", "counts": "commit.store_counts"}
    with catalog.begin_import("demo", source()) as staged:
        staged.stage(batch(items("a", "b")))
        with monkeypatch.context() as patch:
            if step in steps:
                patch.setattr(f"hashlists.catalog.{steps[step]}", fail)
            with pytest.raises(OSError, match="power cut"):
                staged.commit(fail)
        assert catalog.head() == 2
        assert set(names_in_force(catalog)) == {"before"}
        with pytest.raises(CatalogError, match="failed"):
            staged.commit()
    assert bring(catalog, items("a")).revision.number == 3


def test_an_import_whose_parent_is_gone_ends(catalog, url, vics):
    """Nobody reads its progress any more: it must not end half-way, nor hang."""
    child = start_import(url, vics)
    child.stdout.close()
    assert child.wait(timeout=100) in (0, 1)
    assert len(in_force(catalog)) in (0, RECORDS)
    catalog.sweep()
    assert count(catalog, "entries") == len(in_force(catalog))


def test_many_readers_beside_an_import_see_whole_revisions(catalog, url):
    records = [Item(f"r{number}") for number in range(1_500)]
    watcher = Watcher(url)
    watcher.start()
    for version in range(3):
        bring(catalog, [Item(record.name, version=version) for record in records])
    watcher.stop.set()
    watcher.join()
    assert watcher.seen
    assert {entries for _, entries, _ in watcher.seen} <= {0, len(records)}
    assert all(entries == told for _, entries, told in watcher.seen)
